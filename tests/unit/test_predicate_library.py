"""Functions of texts, instants, networks and samples."""

from __future__ import annotations

import pytest

from gateway.core.predicate import Environment, PredicateError, Variable, compile_program
from gateway.core.predicate.types import STRING
from gateway.core.predicate.values import Duration, Timestamp
from gateway.discovery.predicates import TOOLS

S: Environment[str] = {"s": Variable(STRING, lambda facts: facts)}


def value(source: str, s: str = "") -> object:
    return compile_program(source, S, TOOLS).evaluate(s)


def error(source: str, s: str = "") -> str:
    with pytest.raises(PredicateError) as failed:
        value(source, s)
    return failed.value.reason


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("'abc'.matches('b')", True),
        ("'abc'.matches('^b')", False),
        ("matches('abc', 'c$')", True),
        ("'É A'.lowerAscii()", "É a"),
        ("'é a'.upperAscii()", "é A"),
        ("'Ab'.lowerAscii() + 'Ab'.upperAscii()", "abAB"),
        (r"'\u2003\u00a0 a \x1c'.trim()", "a \x1c"),
        ("'a,b,c'.split(',')", ["a", "b", "c"]),
        ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
        ("'a,b,c'.split(',', 1)", ["a,b,c"]),
        ("'a,b,c'.split(',', 0)", []),
        ("'a,b,c'.split(',', -1)", ["a", "b", "c"]),
        ("''.split(',')", [""]),
        ("''.split('')", [""]),
        ("'abc'.split('')", ["a", "b", "c"]),
        ("'abc'.split('', 2)", ["a", "bc"]),
        ("'abc'.split('', 3)", ["a", "b", "c"]),
        ("'abc'.split('', 9)", ["a", "b", "c"]),
        ("['a', 'b'].join()", "ab"),
        ("['a', 'b'].join('-')", "a-b"),
        ("'abc'.substring(1)", "bc"),
        ("'abc'.substring(3)", ""),
        ("'abc'.substring(1, 3)", "bc"),
        ("'abcb'.indexOf('b')", 1),
        ("'abcb'.indexOf('b', 2)", 3),
        ("'abc'.indexOf('z')", -1),
    ],
)
def test_texts(source: str, expected: object) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("'abc'.substring(4)", "a substring is out of range"),
        ("'abc'.substring(-1)", "a substring is out of range"),
        ("'abc'.substring(2, 1)", "a substring is out of range"),
        ("'abc'.substring(0, 4)", "a substring is out of range"),
        ("'abc'.indexOf('a', 4)", "an index is out of range"),
        ("[1, 'a'].join()", "join takes a list of strings"),
        ("duration(s).getHours()", "a duration is written as 1h30m, 10s or 250ms"),
        ("timestamp(s).getHours()", "a timestamp is written as 2026-11-25T14:30:00Z (RFC 3339)"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "a timestamp is out of range: years 1 to 9999"),
        ("timestamp('9999-12-31T23:59:59Z').getHours('+01:00')", "a timestamp is out of range in this time zone"),
        ("timestamp('9999-12-31T00:00:00Z') - timestamp('0001-01-01T00:00:00Z')", "integer overflow"),
        ("ip(s).isLoopback()", "the text is not an IP address"),
        ("cidr('10.0.0.0/8').containsIP(s)", "the text is not an IP address"),
    ],
)
def test_errors(source: str, reason: str) -> None:
    assert error(source) == reason


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("1h30m", 5_400_000_000_000),
        ("-1.5s", -1_500_000_000),
        ("+.5ms", 500_000),
        ("1us1ns", 1001),
        ("2µs", 2000),
        ("9223372036854775807ns", 2**63 - 1),
    ],
)
def test_durations(text: str, nanoseconds: int) -> None:
    assert value("duration(s)", text) == Duration(nanoseconds)


@pytest.mark.parametrize("text", ["", "1", "s", "1 s", "1d", "--1s", "1.2.3s", "9223372036854775808ns", "99999999999h"])
def test_what_is_no_duration(text: str) -> None:
    assert error("duration(s)", text)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t01:00:00.25+01:00", 250_000_000),
        ("1969-12-31T23:59:59.999999999z", -1),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000_000),
        ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999_999),
    ],
)
def test_timestamps(text: str, nanoseconds: int) -> None:
    assert value("timestamp(s)", text) == Timestamp(nanoseconds)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:60Z", "0001-01-01T00:00:00+01:00", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00.Z",
    ],
)  # fmt: skip
def test_what_is_no_timestamp(text: str) -> None:
    assert error("timestamp(s)", text)


@pytest.mark.parametrize(
    ("accessor", "expected"),
    [
        ("getFullYear()", 2026), ("getMonth()", 2), ("getDate()", 29), ("getDayOfMonth()", 28), ("getDayOfYear()", 87),
        ("getDayOfWeek()", 0), ("getHours()", 0), ("getMinutes()", 59), ("getSeconds()", 58),
        ("getMilliseconds()", 250),
        ("getHours('Europe/Berlin')", 1), ("getHours('-01:30')", 23), ("getDate('-01:30')", 28),
        ("getMinutes('05:45')", 44), ("getDayOfWeek('America/New_York')", 6), ("getHours('UTC')", 0),
    ],
)  # fmt: skip
def test_clock_and_calendar(accessor: str, expected: int) -> None:
    assert value(f"timestamp('2026-03-29T00:59:58.25Z').{accessor}") == expected


def test_a_second_lasts_to_its_last_nanosecond() -> None:
    assert value("timestamp('2026-01-01T00:00:59.999999999Z').getSeconds()") == 59


def test_summer_time_begins_at_its_second() -> None:
    hours = "timestamp('2026-03-29T0{}Z').getHours('Europe/Berlin')"
    assert value(hours.format("0:59:59")) == 1
    assert value(hours.format("1:00:00")) == 3


def test_durations_round_towards_zero() -> None:
    assert value("[duration('-90s').getMinutes(), duration('5399s').getHours(), duration('-1.9s').getSeconds()]") == [
        -1,
        1,
        -1,
    ]


def test_arithmetic_of_time() -> None:
    assert value("timestamp('2026-01-01T00:00:00Z') - duration('1s') < timestamp('2026-01-01T00:00:00Z')") is True
    assert value("duration('1h') + timestamp('2026-01-01T00:00:00Z') == timestamp('2026-01-01T01:00:00Z')") is True
    assert value("timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h')") is True


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", True),
        ("cidr('10.0.0.0/8').containsIP('11.1.2.3')", False),
        ("cidr('10.0.0.0/8').containsIP('::1')", False),
        ("cidr('10.1.2.3/8').containsIP(ip('10.9.9.9'))", True),
        ("cidr('2001:db8::/32').containsIP('2001:db8::1')", True),
        ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", True),
        ("cidr('10.0.0.0/8').containsCIDR(cidr('::/0'))", False),
        ("cidr('::/0').containsCIDR('10.0.0.0/8')", False),
        ("ip('127.0.0.1').isLoopback() && ip('::1').isLoopback()", True),
        ("ip('10.0.0.1').family()", 4),
        ("ip('::1').family()", 6),
        ("isIP('10.0.0.1') && isIP('::1')", True),
        ("['', '10.0.0', '010.0.0.1', '::ffff:1.2.3.4', 'fe80::1%eth0', '1.2.3.4/8'].exists(x, isIP(x))", False),
        ("isCIDR('10.0.0.0/8')", True),
        (
            "['10.0.0.0', '10.0.0.0/33', '10.0.0.0/', '10.0.0.0/255.0.0.0', '/8', '10.0.0.0/-1'].exists(x, isCIDR(x))",
            False,
        ),
        ("ip('::1') == ip('0:0:0:0:0:0:0:1')", True),
        ("dyn(ip('::1')) == 'a'", False),
    ],
)
def test_networks(source: str, expected: object) -> None:
    assert value(source) == expected


def test_a_sample_is_the_same_forever() -> None:
    """Who is in a canary stays in it over a restart, an upgrade and another gateway."""
    assert value("sample(s)", "canary:192.0.2.1") == 0.34027391989515754
    assert value("sample(s)", "\udce9") == 0.2450717634043642


def test_samples_are_evenly_spread() -> None:
    program = compile_program("sample(s) < 0.05", S, TOOLS)
    taken = sum(bool(program.evaluate(f"client-{number}")) for number in range(20_000))
    assert 900 < taken < 1100
