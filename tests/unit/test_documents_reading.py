"""Text into values: JSON first, YAML 1.2 else; what neither may hold, and where it stands."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.discovery.documents.reading import read
from gateway.discovery.documents.rejection import Unreadable

PLACES_JSON = (
    b'{\n\t"match": {"path_prefix": "/a"},\n  "backends": [\n    {"service": "x"},\n    {"service": "y \\" ,"}]}'
)
PLACES_YAML = b"match:\n  path_prefix: /a\nbackends:\n  - service: x\n  - {service: y}\n"


def refusal(raw: bytes) -> Unreadable:
    with pytest.raises(Unreadable) as caught:
        read(raw)
    return caught.value


def test_json_places() -> None:
    assert read(PLACES_JSON).positions() == {
        (): (1, 1),
        ("match",): (2, 2),
        ("match", "path_prefix"): (2, 12),
        ("backends",): (3, 3),
        ("backends", 0): (4, 5),
        ("backends", 0, "service"): (4, 6),
        ("backends", 1): (5, 5),
        ("backends", 1, "service"): (5, 6),
    }


def test_yaml_places() -> None:
    assert read(PLACES_YAML).positions() == {
        (): (1, 1),
        ("match",): (1, 1),
        ("match", "path_prefix"): (2, 3),
        ("backends",): (3, 1),
        ("backends", 0): (4, 5),
        ("backends", 0, "service"): (4, 5),
        ("backends", 1): (5, 5),
        ("backends", 1, "service"): (5, 6),
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on: no", {"on": "no"}),
        ("yes: off", {"yes": "off"}),
        ("a: 0123", {"a": 123}),
        ("a: 0o17", {"a": 15}),
        ("a: 0x1F", {"a": 31}),
        ("a: 1_000", {"a": "1_000"}),
        ("a: 12:30:45", {"a": "12:30:45"}),
        ("a: 2026-11-01", {"a": "2026-11-01"}),
        ("a: True", {"a": True}),
        ("a: 'true'", {"a": "true"}),
        ("a: 1.5", {"a": 1.5}),
        ("a: '1'", {"a": "1"}),
        ("a: ~", {"a": None}),
        ("a:", {"a": None}),
        ("a: |\n  x\n  y\n", {"a": "x\ny\n"}),
        ("{a: [1, x], b: {c: d},}", {"a": [1, "x"], "b": {"c": "d"}}),
        ("# a comment\na: 1 # another", {"a": 1}),
        ("---\na: 1\n...\n", {"a": 1}),
    ],
)
def test_yaml_is_version_1_2(text: str, value: object) -> None:
    assert read(text.encode()).value == value


@pytest.mark.parametrize(
    ("text", "line", "column", "reason"),
    [
        ("", 1, 1, "the document is empty"),
        (" \n", 1, 1, "the document is empty"),
        ("# nothing\n", 1, 1, "the document is empty"),
        ('{"a": 1,\n "a": 2}', 2, 2, "the key a is given twice"),
        ('{"a": {"b": 1, "\\u0062": 2}}', 1, 16, "the key b is given twice"),
        ("a: 1\na: 2", 2, 1, "the key a is given twice"),
        ("a: {b: 1, 'b': 2}", 1, 11, "the key b is given twice"),
        ('{"a": NaN}', 1, 7, "NaN is not a number that JSON knows"),
        ('{"a": [1,\n-Infinity]}', 2, 1, "-Infinity is not a number that JSON knows"),
        ('{"a": NaN, "b\n": 1', 1, 14, "is not valid JSON: invalid control character at"),
        ("a: .nan", 1, 4, "NaN and infinities are not read"),
        ("a: -.inf", 1, 4, "NaN and infinities are not read"),
        ("a: 1e999", 1, 4, "a number is too large"),
        ("a: 1234567890123456789", 1, 4, "a number is too large"),
        ("a: &x 1\nb: *x", 1, 4, "anchors are not read"),
        ("a: &x {b: 1}", 1, 4, "anchors are not read"),
        ("a: *x", 1, 4, "aliases are not read"),
        ("a: !!str x", 1, 4, "tags are not read"),
        ("a: !x [1]", 1, 4, "tags are not read"),
        ("!!map {a: 1}", 1, 1, "tags are not read"),
        ("a: 1\n<<: {b: 2}", 2, 1, "merge keys are not read"),
        ("a: 1\n---\nb: 2", 2, 1, "a key holds one document"),
        ("%YAML 1.1\n---\na: 1", 2, 1, "directives are not read"),
        ("%TAG ! !x\n---\na: 1", 2, 1, "directives are not read"),
        ("1: a", 1, 1, "a key has to be text; put it in quotes"),
        ('"<<": {b: 2}', 1, 1, "merge keys are not read"),
        ("? [a]\n: 1", 1, 3, "a key has to be text; put it in quotes"),
        ('{"a": 1\n "b": 2}', 2, 2, "is not valid JSON: expecting ',' delimiter"),
        ("a: \x01", 1, 4, "holds a character that YAML does not allow"),
    ],
)
def test_what_is_refused_and_where(text: str, line: int, column: int, reason: str) -> None:
    refused = refusal(text.encode())
    assert (refused.line, refused.column, refused.reason) == (line, column, reason)


def test_yaml_syntax_errors_have_a_place() -> None:
    refused = refusal(b"a: 1\nb: [1, 2\nc: 3\n")
    assert refused.line in (2, 3)
    assert refused.reason.startswith("is not YAML: ")


def test_bytes_that_are_not_utf_8_have_a_place() -> None:
    refused = refusal(b'{"a": 1,\n "b": "\xff"}')
    assert (refused.line, refused.column, refused.reason) == (2, 8, "is not UTF-8")
    assert refusal(b"\xef\xbb\xbfa\xff").column == 2


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read(b'\xef\xbb\xbf{"a": 1}').value == {"a": 1}


def test_the_size_is_bounded() -> None:
    assert read(b'{"a": "' + b"x" * (512 * 1024 - 9) + b'"}').value
    assert refusal(b'{"a": "' + b"x" * (512 * 1024 - 8) + b'"}').reason == "is larger than 512 KiB"
    assert "64 KiB" in refusal(b"a: " + b"x" * 64 * 1024).reason


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 60_000,
        b"{" * 60_000,
        b'{"a":' * 60_000,
        b"- " * 30_000,
        b"? " * 30_000,
        b"[" * 200_000 + b"]" * 200_000,
        b'{"a":' * 90_000 + b"1" + b"}" * 90_000,
        b"a: &a [x]\n" + b"".join(b"b%d: [*a, *a, *a, *a]\n" % index for index in range(3000)),
        b"[" + b"1," * 30_000 + b"]",
        b"x: [" + b"1," * 30_000 + b"]",
        b"9" * 60_000,
        b"- x\n" * 16_000,
        b"a: '" + b"\n" * 60_000 + b"'",
        b"!" * 60_000,
        b"&" * 60_000,
        b"{? " * 20_000,
        b"[a: " * 15_000,
        b"? - " * 15_000,
        b"\n".join(b" " * depth + b"a:" for depth in range(300)),
        b"%" * 60_000,
        b"a b\n" * 16_000,
    ],
    ids=lambda raw: repr(raw[:8]),
)
def test_a_bomb_costs_nothing(raw: bytes) -> None:
    started = time.process_time()
    with contextlib.suppress(Unreadable):
        read(raw).positions()
    assert time.process_time() - started < 3


VALUES = st.recursive(
    st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4), VALUES, min_size=1, max_size=4), st.sampled_from([None, 1, "\t"]))
def test_json_of_any_shape_has_all_its_places(value: dict[str, object], indent: int | str | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    read_back = read(text.encode())
    assert read_back.value == value
    lines = text.split("\n")
    for loc, (line, column) in read_back.positions().items():
        rest = lines[line - 1][column - 1 :]
        if loc and isinstance(loc[-1], str):
            assert rest.startswith(json.dumps(loc[-1], ensure_ascii=False) + ":")
