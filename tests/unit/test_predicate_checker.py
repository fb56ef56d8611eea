"""Types and names are checked when an expression is read, and a refusal helps."""

from __future__ import annotations

import pytest

from gateway.core.predicate import (
    BadPredicate,
    Environment,
    Search,
    Tools,
    Variable,
    compile_predicate,
    compile_program,
)
from gateway.core.predicate.bounds import MAX_NESTED_COMPREHENSIONS
from gateway.core.predicate.types import DYN, INT, STRING, Elsewhere, list_of
from gateway.core.require import REQUIRE
from gateway.core.when import WHEN
from gateway.discovery.predicates import TOOLS, compile_when


def refusal(source: str) -> tuple[str, int, int]:
    with pytest.raises(BadPredicate) as refused:
        compile_when(source)
    return refused.value.reason, refused.value.line, refused.value.column


@pytest.mark.parametrize(
    ("source", "reason", "line", "column"),
    [
        ("reqest.path == '/'", "unknown name reqest; did you mean request?", 1, 1),
        ("zzz", "unknown name zzz; known are request", 1, 1),
        ("true &&\n  request.pth == '/'", "request has no field pth; did you mean path?", 2, 11),
        ("request.path.startWith('/')", "unknown function startWith; did you mean startsWith?", 1, 14),
        ("[1].exist(x, x == 1)", "unknown function exist; did you mean exists?", 1, 5),
        ("zzzzz(1)", "unknown function zzzzz", 1, 1),
        ("request.zzzzz", ("request has no field zzzzz; known are client_ip, cookies, headers, host, method, path, "
         "query, scheme, segments, time"), 1, 9),
        ("startsWith(request.path, '/')", "startsWith is written behind its first argument: a.startsWith()", 1, 1),
        ("'10.0.0.0/8'.cidr()", "cidr is written in front of its arguments: cidr(a)", 1, 14),
        ("[1].exists(entry, entri == 1)", "unknown name entri; did you mean entry?", 1, 19),
        ("request.path == 1", "== compares values of one type, not string and int", 1, 14),
        ("1 == 1.0", "== compares values of one type, not int and double", 1, 3),
        ("1 < 1.5", "< does not take (int, double); it takes (int, int) or (double, double)", 1, 3),
        ("request.path + 1 == 'a'", "+ does not take (string, int); it takes (int, int) or (string, string)", 1, 14),
        ("size(1) == 1", "size does not take (int); it takes (list(dyn)) or (map(dyn, dyn)) or (string)", 1, 1),
        ("request.path.size('a') == 1", "size does not take (string, string); it takes (string)", 1, 14),
        ("request.path && true", "&& takes bool, not string", 1, 9),
        ("false || 1", "|| takes bool, not int", 1, 10),
        ("1 ? true : false", "?: takes bool, not int", 1, 1),
        ("true ? 1 : 'a'", "?: has values of one type, not int and string", 1, 6),
        ("request.path.a", "string has no fields", 1, 14),
        ("request.path[0] == 'a'", "string has no entry by int", 1, 13),
        ("request.segments['a'] == 'a'", "list(string) has no entry by string", 1, 17),
        ("1 in request.segments", "a value of type int is never in a list(string)", 1, 3),
        ("'a' in 'abc'", "in looks into a list or a map, not into string", 1, 5),
        ("request.path.all(c, true)", "all goes through a list or a map, not through string", 1, 14),
        ("[1].all(x, x)", "all takes bool, not int", 1, 12),
        ("[1] + ['a'] == []", "+ joins lists of one type, not list(int) and list(string)", 1, 5),
        ("{1.5: 1} == {}", "the keys of a map are string or int, not double", 1, 2),
        ("{'a': 1, 'a': 2} == {}", "this key is in the map already", 1, 10),
        ("request.path", "a predicate is a bool, and this is a string", 1, 1),
        ("request.headers['X-Tier'] == 'a'", "the names of headers are in lower case here; write x-tier", 1, 17),
        ("'X-Tier' in request.headers", "the names of headers are in lower case here; write x-tier", 1, 1),
        ("has(request.headers.Host)", "the names of headers are in lower case here; write host", 1, 1),
        ("request.path.matches(request.host)",
         "the last argument of matches has to be a text that is written out", 1, 30),
        ("request.path.matches('(')", "is not a regular expression that RE2 takes: missing ): (", 1, 22),
        ("request.time.getHours(request.host) == 1",
         "the last argument of getHours has to be a text that is written out", 1, 31),
        ("request.time.getHours('Europe/Nowhere') == 1",
         "is not the name of a time zone, such as Europe/Berlin or UTC, nor an offset such as +02:00", 1, 23),
        ("cidr('10.0.0.0/33').containsIP(request.client_ip)", "the text is not a network such as 10.0.0.0/8", 1, 6),
        ("duration('1 hour') > duration('1s')", "a duration is written as 1h30m, 10s or 250ms", 1, 10),
        ("request.time > timestamp('2026')", "a timestamp is written as 2026-11-25T14:30:00Z (RFC 3339)", 1, 26),
    ],
)  # fmt: skip
def test_refusals_name_place_and_remedy(source: str, reason: str, line: int, column: int) -> None:
    assert refusal(source) == (reason, line, column)


@pytest.mark.parametrize(
    "source",
    [
        "request.headers['x'] == 1",
        "request.headers['x'].startsWith('a')",
        "request.headers['x'][0] == 'a'",
        "request.headers.exists(name, name == 'a' && request.headers[name] == 'b')",
        "null == request.time",
        "[] == [1] || [[]] == [[1]] || {} == {'a': 1}",
        "[].exists(x, x + 1 == 2)",
        "(true ? [] : [1])[0] == 1",
        "[1, 'a'][0] == 'a'",
        "request.headers.x",
        "has(request.host)",
        "[request.path].exists(request, request.startsWith('/'))",
    ],
)
def test_what_may_be_right_is_accepted(source: str) -> None:
    compile_when(source)


def test_comprehensions_are_nested_only_so_deep() -> None:
    def nested(depth: int) -> str:
        return f"[1].all(x, {nested(depth - 1)})" if depth else "true"

    compile_when(nested(MAX_NESTED_COMPREHENSIONS))
    reason, _, column = refusal(nested(MAX_NESTED_COMPREHENSIONS + 1))
    assert reason == f"comprehensions are nested deeper than {MAX_NESTED_COMPREHENSIONS} levels"
    assert column == 5 + len("[1].all(x, ") * MAX_NESTED_COMPREHENSIONS


def test_patterns_and_zones_are_prepared_once() -> None:
    asked: list[str] = []

    def compile_search(pattern: str) -> Search:
        asked.append(pattern)
        return TOOLS.compile_search(pattern)

    tools = Tools(compile_search, TOOLS.find_zone)
    names: Environment[list[str]] = {"names": Variable(list_of(STRING), lambda facts: facts)}
    predicate = compile_predicate("names.all(name, name.matches('^a'))", names, tools)
    assert predicate.holds(["ab"] * 100)
    assert asked == ["^a"]


def test_types_are_told_apart() -> None:
    environment: Environment[int] = {"d": Variable(DYN, lambda facts: facts), "i": Variable(INT, lambda facts: facts)}
    kinds = {
        "d + 1": "int",
        "d + d": "dyn",
        "[1, d]": "list(dyn)",
        "[]": "list(nothing)",
        "{'a': [1]}": "map(string, list(int))",
        "[1] + []": "list(int)",
        "d + [1]": "list(int)",
        "[1, 2].map(x, string(x))": "list(string)",
        "{'a': 1}.filter(k, true)": "list(string)",
        "i in d": "bool",
        "true ? i : d": "dyn",
        "duration('1s') + duration('1s')": "duration",
        "{1: 'a'}[1]": "string",
    }
    assert {source: str(compile_program(source, environment, TOOLS).type) for source in kinds} == kinds


def test_what_when_and_require_know() -> None:
    assert [name for name, variable in WHEN.items() if not isinstance(variable.type, Elsewhere)] == ["request"]
    assert list(REQUIRE) == ["request", "claims", "identity", "route", "instance"]


def test_a_name_of_another_predicate_may_be_that_of_a_variable() -> None:
    compile_when("request.segments.exists(claims, claims == 'a')")
