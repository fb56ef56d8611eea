"""The demo as its users run it: every printed line answers as printed, and nothing is left behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.support import compiled
from tests.support.consul.binary import consul_binary
from tests.support.ports import free_port

COMMAND = Path(sys.executable).with_name("gateway")
STARTED_WITHIN = 60.0


class RunningDemo:
    def __init__(self, directory: Path) -> None:
        self.ports = {name: free_port() for name in ("port", "admin-port", "sidecar-port", "sidecar-admin-port")}
        self.ports["consul-port"] = free_port()
        self.ports["services-port"] = _room_for_services()
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "CONSUL_"))}
        environment = {
            **kept,
            **compiled.environment(),
            "CONSUL_BIN": str(consul_binary()),
            "TMPDIR": str(self.temporary),
        }
        flags = [text for name, port in self.ports.items() for text in (f"--{name}", str(port))]
        self._output = directory / "output"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [COMMAND, "demo", *flags],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_started(self) -> None:
        _eventually(
            lambda: "Ctrl-C stops" in self.output or self.process.poll() is not None, STARTED_WITHIN, "the demo's text"
        )
        assert self.process.poll() is None, self.output

    def commands(self) -> list[tuple[str, str]]:
        """What is printed: (what it answers, the command)."""
        found = re.findall(r"^  # (.+)\n  (.+)$", self.output, re.MULTILINE)
        return [(answer, command) for answer, command in found]

    def children(self) -> set[int]:
        return _descendants(self.process.pid)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[RunningDemo]:
    running = RunningDemo(tmp_path)
    try:
        running.wait_started()
        yield running
    finally:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(30)


def _room_for_services() -> int:
    """A port whose next 25 are free: the definitions spread the instances over that range."""
    for _ in range(100):
        first = free_port()
        if all(not _answers(first + offset) for offset in range(25)):
            return first
    raise AssertionError("no range of free ports")


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _eventually(condition: Callable[[], bool], within: float, what: str) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.05)


def _parents() -> dict[int, int]:
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            found[int(stat.parent.name)] = int(fields[1])
    return found


def _descendants(pid: int) -> set[int]:
    parents, found = _parents(), {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def _shell(command: str) -> str:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def _counts(text: str) -> dict[str, int]:
    return {name: int(count) for count, name in re.findall(r"(\d+) (orders-\d)", text)}


def _in_office() -> bool:
    now = datetime.now(ZoneInfo("Europe/Berlin"))
    return now.weekday() < 5 and 9 <= now.hour < 17


def _assert_nothing_is_left(demo: RunningDemo, children: set[int]) -> None:
    _eventually(lambda: not children & _parents().keys(), 10, "the children are gone")
    for name, port in demo.ports.items():
        assert not _answers(port), name
    assert list(demo.temporary.iterdir()) == []


def test_every_printed_line_answers_as_printed(demo: RunningDemo) -> None:
    commands = demo.commands()
    assert len(commands) == 22
    children = demo.children()
    assert len(children) >= 10, "Consul, seven instances, two gateways"
    counting = next(command for answer, command in commands if answer.startswith("weights"))
    for answer, command in commands:
        if answer.startswith("weights"):
            assert _counts(_shell(command)) == {"orders-1": 20, "orders-2": 10, "orders-3": 2}
        elif "fails its check" in answer:
            _shell(command)
            _eventually(lambda: "orders-1" not in _counts(_shell(counting)), 10, "orders-1 leaves")
        elif "it is back" in answer:
            _shell(command)
            _eventually(lambda: _counts(_shell(counting)).get("orders-1", 0) > 15, 10, "orders-1 is back")
        elif "no error is seen" in answer:
            counts = _counts(_shell(command))
            assert sum(counts.values()) == 32
            assert "orders-2" not in counts
        elif "half_open_in" in answer:
            assert re.search(r'"instance":"[^"]+/orders-2","state":"open"', _shell(command))
        elif "probe closes it" in answer:
            _shell(command)
        elif "in business hours" in answer:
            before, told, after = _in_office(), _shell(command), _in_office()
            answers = {True: '"service": "users"', False: "We are there from Monday"}
            assert answers[before] in told or answers[after] in told, (before, told)
        else:
            told = _shell(command)
            for expected, within in (
                ("an instance of orders", r'"instance": "orders-[123]"'),
                ("one session in twenty", r'"instance": "orders-3"'),
                ("the instance in that region", r'"instance": "catalog-2"'),
                ("this tenant has a route", r'"instance": "catalog-1"'),
                ("goes to the replica", r'"instance": "users-2"'),
                ("to the primary", r'"instance": "users-1"'),
                ("alice's token", r'"instance": "catalog-2"'),
                ("always orders-3", r'"instance": "orders-3"'),
                ("is written", "gateway/routes/hello is written"),
                ("an instance of users", r'"instance": "users-[12]"'),
                ("by the sidecar", r'"path": "/users/7"'),
                ("all routes", r"hello .*accepted"),
                ("views of Consul", r"service:orders\s+live"),
                ("how old", r'gateway_view_age_seconds\{view="routes"\} \d'),
                ("answers 503", r'"failing": true'),
            ):
                if expected in answer:
                    assert re.search(within, told), (answer, told)
                    break
            else:
                raise AssertionError(f"no expectation for: {answer}")

    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(30) == 0, demo.output
    assert "Everything is stopped and removed." in demo.output
    assert "Traceback" not in demo.output
    _assert_nothing_is_left(demo, children)


def test_killing_the_demo_takes_its_children_along(demo: RunningDemo) -> None:
    children = demo.children()
    demo.process.kill()
    demo.process.wait(10)
    _eventually(lambda: not children & _parents().keys(), 10, "the children are gone")


def test_a_part_that_dies_ends_the_demo_with_its_last_words(demo: RunningDemo) -> None:
    children = demo.children()
    consul = next(pid for pid in children if b"agent" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))
    os.kill(consul, signal.SIGKILL)
    assert demo.process.wait(30) == 3
    assert "gateway: consul has ended (code -9)" in demo.output
    _assert_nothing_is_left(demo, children)


def _refused(*flags: str) -> str:
    done = subprocess.run([COMMAND, "demo", *flags], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "flag", ["--port", "--admin-port", "--sidecar-port", "--sidecar-admin-port", "--services-port", "--consul-port"]
)
def test_a_taken_port_is_named_with_its_flag(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSUL_BIN", str(consul_binary()))
    others = ["--port", "--admin-port", "--sidecar-port", "--sidecar-admin-port", "--services-port", "--consul-port"]
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        flags = [text for other in others if other != flag for text in (other, str(free_port()))]
        told = _refused(*flags, flag, str(port))
    assert f"port {port}" in told
    assert f"is taken; {flag} chooses another" in told


def test_no_consul_is_an_error_that_says_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CONSUL_BIN", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert f"none in {tmp_path}/alims-gateway; run consul/get-consul" in _refused()
    monkeypatch.setenv("CONSUL_BIN", "/nowhere/consul")
    assert "CONSUL_BIN=/nowhere/consul" in _refused()
