"""`gateway check`: the verdict of the gateway's own parsers, with the line, and codes for scripts."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.cli.main import main

GOOD = '{"match": {"path_prefix": "/orders"}, "backends": [{"service": "orders"}]}'


class Told(NamedTuple):
    code: int
    out: str
    err: str


Gateway = Callable[..., Told]


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Gateway:
    for name in list(os.environ):
        if name.startswith("GATEWAY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, stdin: bytes = b"") -> Told:
        monkeypatch.setattr(sys, "argv", ["gateway", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as ended:
            main()
        seen = capsys.readouterr()
        return Told(int(ended.value.code or 0), seen.out, seen.err)

    return run


def _write(name: str, text: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


def test_a_fine_document_is_fine(gateway: Gateway) -> None:
    file = _write("kv/gateway/routes/orders", GOOD)
    assert gateway("check", file) == Told(0, f"{file}: fine\n", "")
    assert gateway("check", "-q", file) == Told(0, "", "")


def test_each_problem_is_told_with_its_line_and_a_mark(gateway: Gateway) -> None:
    file = _write("routes/orders.yaml", "match:\n  path_prefix: orders\nbackends:\n  - {service: orders, wieght: 1}\n")
    told = gateway("check", file)
    assert told.code == 1
    lines = told.err.splitlines()
    assert lines[0].startswith(f"{file}:2:3: match.path_prefix: ")
    assert lines[1] == "      path_prefix: orders"
    assert lines[2].index("^") == lines[1].index("path_prefix")
    assert lines[3] == f"{file}:4:23: backends[0].wieght: unknown field; did you mean weight?"
    assert lines[5].index("^") == lines[4].index("wieght")


def test_a_predicate_is_marked_where_it_is_wrong(gateway: Gateway) -> None:
    text = "when: |\n  request.path.startsWith('/a')\n    && request.pth != '/a/b'\nbackends: [{service: orders}]\n"
    told = gateway("check", _write("routes/orders.yaml", text))
    first, line, mark = told.err.splitlines()
    assert first == "routes/orders.yaml:3:16: when: request has no field pth; did you mean path?"
    assert mark.index("^") == line.index("pth")


def test_the_mark_stays_near_in_a_long_line(gateway: Gateway) -> None:
    long = '{"hostnames": ["' + "a" * 300 + '"], "backends": [], "x": 1}'
    told = gateway("check", _write("routes/long", long))
    shown = [line for line in told.err.splitlines() if line.startswith("    ")]
    assert shown
    assert max(map(len, shown)) <= 114


@pytest.mark.parametrize(
    ("file", "text", "code"),
    [
        ("routes/r.json", GOOD, 0),
        ("services/orders.yml", "circuit: {mode: shadow}", 0),
        ("services/orders", GOOD, 1),
        ("gateway/defaults", "route: {timeouts: {request: 5s}}", 0),
        ("gateway/defaults.yaml", "rout: {}", 1),
        ("services/routes/orders", GOOD, 0),
    ],
)
def test_the_kind_is_told_by_the_path(gateway: Gateway, file: str, text: str, code: int) -> None:
    assert gateway("check", _write(file, text)).code == code


def test_otherwise_the_kind_has_to_be_said(gateway: Gateway) -> None:
    file = _write("orders.json", GOOD)
    told = gateway("check", file)
    assert told == Told(
        2, "", f"gateway: {file}: its path does not tell what it is; say --kind route, service or defaults\n"
    )
    assert gateway("check", "--kind", "route", file).code == 0
    assert gateway("check", "--kind", "service", file).code == 1
    assert gateway("check", "--kind", "defaults", file).code == 1


def test_standard_input(gateway: Gateway) -> None:
    assert gateway("check", "--kind", "route", "-", stdin=GOOD.encode()).code == 0
    told = gateway("check", "--kind", "route", "-", stdin=b"\xff")
    assert told.code == 1
    assert told.err.startswith("-:1:1: ")


def test_folders_are_walked(gateway: Gateway) -> None:
    _write("kv/gateway/routes/a", GOOD)
    _write("kv/gateway/routes/team/b", "{}")
    _write("kv/gateway/services/.hidden", "x")
    told = gateway("check", "kv")
    assert (told.code, told.out) == (1, "kv/gateway/routes/a: fine\n")
    assert told.err.startswith("kv/gateway/routes/team/b:1:1: backends")


def test_a_route_to_the_gateway_itself_is_a_problem(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _write("routes/self", '{"backends": [{"service": "edge"}]}')
    assert gateway("check", file).code == 0
    monkeypatch.setenv("GATEWAY_SERVICE", "edge")
    assert gateway("check", file).code == 1


def test_a_missing_file_is_no_traceback(gateway: Gateway) -> None:
    assert gateway("check", "routes/none") == Told(
        2, "", "gateway: routes/none: cannot be read: No such file or directory\n"
    )


def test_hostile_text_is_not_printed_raw(gateway: Gateway) -> None:
    told = gateway("check", _write("routes/x", '{"a\x1b[2J": 1}'))
    assert told.code == 1
    assert "\x1b" not in told.err
