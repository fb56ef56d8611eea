"""A journal's lines: what is in them and what never is, and what is said of a line that makes no sense."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.core.filters import Edit, EditRequestHeaders, Respond
from gateway.core.model import (
    Backend,
    Balance,
    BalancePolicy,
    Connect,
    ConnectTls,
    HashOn,
    HashSource,
    Match,
    Route,
    ServicePolicy,
    ValueKind,
    ValueMatch,
)
from gateway.journal import checkpoint
from gateway.journal.lines import LineError, claims, encode, encode_checkpoint, parse, read
from tests.spec.simulation import events
from tests.unit.core_support import Shell, facts, instance, policy, route

GOOD = b'{"v":1,"worker":0,"seq":7,"now":12.25,"action":"Tick","inputs":{},"draws":[],"decision":{}}'


def test_a_line_has_the_fields_of_the_design() -> None:
    (first, *_) = events(3, 10)
    fields = json.loads(encode(7, first))
    assert list(fields) == ["v", "worker", "seq", "now", "action", "inputs", "draws", "decision"]
    assert (fields["v"], fields["worker"], fields["seq"], fields["now"]) == (1, 0, 7, first.now)


def test_what_is_written_is_read_back() -> None:
    for seq, event in enumerate(events(11, 3000), 1):
        text = encode(seq, event)
        line, told = parse(text, "here"), json.loads(text)
        assert (line.v, line.worker, line.seq, line.now, line.action) == (1, 0, seq, event.now, event.action)
        assert (line.inputs, line.decision) == (told["inputs"], told["decision"])
        assert line.draws == tuple(event.draws)
        assert line.claims == claims(event)
        assert "\n" not in text.decode()


def test_no_header_no_path_and_no_secret_gets_into_a_line() -> None:
    told: list[bytes] = []
    shell = Shell(trace=lambda event: told.append(encode(len(told) + 1, event)))
    edited = Route(
        "r",
        1,
        (Backend("orders"),),
        matches=(Match(headers=(ValueMatch("x-key", ValueKind.EXACT, "secret-1"),)),),
        filters=(EditRequestHeaders(Edit(set=(("authorization", "secret-2"),))),),
    )
    connect = Connect(tls=ConnectTls(key_file="/secret-3"))
    balance = Balance(BalancePolicy.RING_HASH, HashOn(HashSource.HEADER, "x-user"))
    shell.policies(ServicePolicy("orders", connect=connect, balance=balance))
    own = Route("own", 1, (), answer=Respond(200, b"secret-8", headers=(("x", "secret-9"),)))
    shell.routes(edited, own)
    shell.view(instance("a"), instance("b"))
    request = facts(headers=[("x-user", "secret-4"), ("cookie", "secret-5")], path="/secret-6", client_ip="192.0.2.77")
    shell.answer(shell.send(edited, request))
    shell.send(Route("r", 0, (Backend("orders"),), filters=edited.filters, matches=edited.matches), request)
    told.append(encode_checkpoint(9, 1.0, 2.0, checkpoint.take(shell.core)))
    text = b"\n".join(told).decode()
    assert '"hash":' in text
    assert "superseded" in text
    assert "secret" not in text
    assert "192.0.2.77" not in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "this is not JSON"),
        (b"hello", "this is not JSON"),
        (b"\xff\xfe{}", "this is not JSON"),
        (GOOD[:-1], "this is not JSON"),
        (GOOD.replace(b'"inputs":{}', b'"inputs":{"\xff":0}'), "this is not JSON: .utf-8. codec"),
        (b'{"state":' + b"[" * 10_000, "this is not JSON: maximum recursion depth"),
        (b"[1]", "no line of a journal: Expected `object`, got `array`"),
        (b"{}", "no line of a journal: Object missing required field `v`"),
        (GOOD.replace(b'"seq":7,', b""), "no line of a journal: Object missing required field `seq`"),
        (GOOD.replace(b'"seq":7', b'"seq":"7"'), r"no line of a journal: Expected `int`, got `str` - at `\$.seq`"),
        (GOOD.replace(b'"seq":7', b'"seq":-7'), r"no line of a journal: Expected `int` >= 0 - at `\$.seq`"),
        (GOOD.replace(b"12.25", b"null"), r"Expected `float`, got `null` - at `\$.now`"),
        (GOOD.replace(b"12.25", b"-1.0"), r"Expected `float` >= 0.0 - at `\$.now`"),
        (GOOD.replace(b"12.25", b"1e300"), r"Expected `float` <= 10000000000.0 - at `\$.now`"),
        (GOOD.replace(b'"draws":[]', b'"draws":["a"]'), r"got `str` - at `\$.draws\[0\]`"),
        (GOOD.replace(b'"inputs":{}', b'"inputs":[]'), r"Expected `object`, got `array` - at `\$.inputs`"),
        (GOOD.replace(b'"v":1', b'"v":2'), "this line has version 2; this gateway reads journals of version 1"),
    ],
)
def test_of_a_malformed_line_is_said_where_and_what(text: bytes, message: str) -> None:
    assert parse(GOOD, "here").seq == 7
    with pytest.raises(LineError, match=f"^journal:3: .*{message}"):
        parse(text, "journal:3")


def test_a_bad_line_is_named_by_its_file_and_number(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(GOOD + b"\n" + GOOD + b"\nhello\n")
    lines = read(path)
    assert [next(lines).seq, next(lines).seq] == [7, 7]
    with pytest.raises(LineError, match=rf"^{path}:3: this is not JSON"):
        next(lines)


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for cut in range(len(GOOD) + 1):
        path.write_bytes(GOOD + b"\n" + GOOD[:cut])
        assert len(list(read(path))) == 1


def test_routes_and_policies_keep_what_decisions_depend_on() -> None:
    told: list[bytes] = []
    shell = Shell(trace=lambda event: told.append(encode(1, event)))
    shell.policies(policy(cap=3, slow_start=2.0))
    shell.routes(route("r", Backend("orders", 9, frozenset({"canary"}), (("region", "eu"),))))
    (kept_policy,) = parse(told[0], "").inputs["policies"]
    (kept_route,) = parse(told[1], "").inputs["routes"]
    assert (kept_policy["in_flight_per_instance"], kept_policy["slow_start"]) == (3, 2.0)
    assert kept_route["backends"] == [
        {
            "service": "orders",
            "weight": 9,
            "tags": ["canary"],
            "meta": [["region", "eu"]],
            "instances": None,
            "any_otherwise": False,
            "prefer": None,
            "fallback": False,
        }
    ]
