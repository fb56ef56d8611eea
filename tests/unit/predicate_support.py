"""Expressions and inputs at random, typed but for a few, for comparison with other implementations of CEL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random

from gateway.core.predicate import Environment, Variable
from gateway.core.predicate.types import BOOL, DOUBLE, DURATION, DYN, INT, STRING, TIMESTAMP, Type, list_of, map_of
from gateway.core.predicate.values import Duration, Timestamp

Input = Mapping[str, object]

TYPES: Mapping[str, Type] = {
    "i": INT,
    "j": INT,
    "x": DOUBLE,
    "s": STRING,
    "u": STRING,
    "b": BOOL,
    "d": DYN,
    "e": DYN,
    "l": list_of(INT),
    "w": list_of(STRING),
    "m": map_of(STRING, DYN),
    "k": map_of(STRING, STRING),
    "t": TIMESTAMP,
    "r": DURATION,
}


def _reader(name: str) -> Callable[[Input], object]:
    return lambda given: given[name]


ENVIRONMENT: Environment[Input] = {name: Variable(kind, _reader(name)) for name, kind in TYPES.items()}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INTS = (0, 1, -1, 2, 3, -7, 10, 2**31, 2**63 - 1, -(2**63))
_DOUBLES = (0.0, 1.0, -1.0, 0.5, 2.0, 3.25, -7.0, 1e30)
_TEXTS = ("", "a", "b", "ab", "abc", "a,b,c", "Ab", " a ", "12", "-3", "1.5", "true", "/a/b.php")
_MOMENTS = tuple(
    datetime(*parts, tzinfo=UTC)
    for parts in (
        (2026, 11, 25, 14, 30, 5),
        (2024, 2, 29, 23, 59, 59),
        (2026, 3, 29, 1, 0, 0),
        (1969, 7, 20, 20, 17, 0),
    )
)
_SPANS = (timedelta(0), timedelta(hours=1), timedelta(seconds=-90), timedelta(days=400), timedelta(milliseconds=1500))


def python_input(random: Random) -> Input:
    """Values for every variable, as Python has them."""

    def anything(depth: int) -> object:
        kinds: list[Callable[[], object]] = [
            lambda: random.choice(_INTS),
            lambda: random.choice(_DOUBLES),
            lambda: random.choice(_TEXTS),
            lambda: random.choice((True, False)),
            lambda: None,
            lambda: [anything(depth - 1) for _ in range(random.randrange(4))],
            lambda: {name: anything(depth - 1) for name in random.sample("abc", random.randrange(3))},
        ]
        return random.choice(kinds if depth else kinds[:5])()

    return {
        "i": random.choice(_INTS),
        "j": random.randrange(-3, 4),
        "x": random.choice(_DOUBLES),
        "s": random.choice(_TEXTS),
        "u": random.choice(_TEXTS),
        "b": random.choice((True, False)),
        "d": anything(2),
        "e": anything(1),
        "l": [random.randrange(-2, 4) for _ in range(random.randrange(5))],
        "w": [random.choice(_TEXTS) for _ in range(random.randrange(4))],
        "m": {name: anything(1) for name in random.sample("abcd", random.randrange(4))},
        "k": {name: random.choice(_TEXTS) for name in random.sample("abcd", random.randrange(4))},
        "t": random.choice(_MOMENTS),
        "r": random.choice(_SPANS),
    }


def own_input(given: Input) -> Input:
    """The same, with instants and durations as the core has them."""
    return {name: _own(value) for name, value in given.items()}


def _own(value: object) -> object:
    if isinstance(value, datetime):
        return Timestamp((value - _EPOCH) // timedelta(microseconds=1) * 1000)
    return Duration(value // timedelta(microseconds=1) * 1000) if isinstance(value, timedelta) else value


def plain(value: object) -> object:
    """A value so that equal ones are equal in Python and others are not: with its type, instants to the microsecond."""
    if isinstance(value, Timestamp):
        return plain(_EPOCH + timedelta(microseconds=value.nanoseconds // 1000))
    if isinstance(value, Duration):
        return plain(timedelta(microseconds=value.nanoseconds // 1000))
    if isinstance(value, list | tuple):
        return ("list", [plain(entry) for entry in value])
    if isinstance(value, Mapping):
        return ("map", sorted((repr(plain(key)), plain(entry)) for key, entry in value.items()))
    if isinstance(value, datetime):
        return ("timestamp", value.astimezone(UTC).isoformat())
    if isinstance(value, float):
        return ("double", repr(value))
    return (type(value).__name__, value)


class Expressions:
    """Writes expressions. Each method has the type that it is named after, or now and then another."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._scope: list[tuple[str, str]] = []

    def expression(self) -> str:
        kind = self._one("bool", "bool", "bool", "bool", "int", "double", "string", "dyn", "ints", "texts", "time")
        return self._of(kind, self._random.randrange(1, 5))

    def _one(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _of(self, kind: str, depth: int) -> str:
        if self._random.random() < 0.02:
            kind = self._one("bool", "int", "double", "string", "ints", "texts")
        bound = [name for name, of in self._scope if of == kind]
        if bound and self._random.random() < 0.5:
            return self._random.choice(bound)
        written: str = getattr(self, f"_{kind}")(depth - 1)
        return written

    def _bool(self, depth: int) -> str:
        of = self._of
        if depth <= 0:
            return self._one("true", "false", "b", "b")
        comparable = self._one("int", "double", "string", "bool")
        compared = self._one("int", "double", "string", "bool", "ints", "texts", "dyn", "time", "span")
        return self._random.choice(
            (
                lambda: f"{of('bool', depth)} && {of('bool', depth)}",
                lambda: f"({of('bool', depth)} || {of('bool', depth)})",
                lambda: f"({of('bool', depth)} && {of('bool', depth)} && {of('bool', depth)})",
                lambda: f"!{of('bool', depth)}" if depth == 1 else f"!({of('bool', depth)})",
                lambda: f"({of('bool', depth)} ? {of('bool', depth)} : {of('bool', depth)})",
                lambda: f"({of(comparable, depth)} {self._one('<', '<=', '>', '>=')} {of(comparable, depth)})",
                lambda: f"({of(compared, depth)} {self._one('==', '!=')} {of(compared, depth)})",
                lambda: f"({of('dyn', depth)} {self._one('==', '!=', '<', '>=')} {of(comparable, depth)})",
                lambda: f"({of('dyn', depth)} {self._one('==', '!=')} {of('dyn', depth)})",
                lambda: f"({of('int', depth)} in {of('ints', depth)})",
                lambda: f"({of('string', depth)} in {self._one('m', 'k', of('texts', depth))})",
                lambda: f"({of('dyn', depth)} in {self._one('l', 'w', '[1, 2.0, true]', 'd')})",
                lambda: f"has({self._one('m', 'k', 'd')}.{self._one('a', 'b', 'c')})",
                lambda: f"{of('string', depth)}.{self._one(*_TESTS)}({of('string', depth)})",
                lambda: f"{of('string', depth)}.matches({self._one(*_PATTERNS)})",
                lambda: self._quantified("ints", "int", depth),
                lambda: self._quantified("texts", "string", depth),
                lambda: self._quantified("dyn", "dyn", depth),
                lambda: self._quantified("m", "string", depth),
                lambda: of("dyn", depth),
            )
        )()

    def _quantified(self, entries: str, kind: str, depth: int) -> str:
        source = entries if entries == "m" else self._of(entries, depth)
        macro = self._one("all", "exists", "exists_one")
        return f"{source}.{macro}({self._bound(kind, 'bool', depth)})"

    def _bound(self, kind: str, body: str, depth: int) -> str:
        if len(self._scope) == 2:
            return f"v, {self._one('true', 'false')}" if body == "bool" else f"v, {self._of(body, 0)}"
        name = self._one("p", "q", "s", "d")
        self._scope.append((name, kind))
        inner = self._of(body, depth)
        self._scope.pop()
        return f"{name}, {inner}"

    def _int(self, depth: int) -> str:
        of = self._of
        if depth <= 0:
            return self._one("i", "j", "0", "1", "-1", "2", "3", "0x10", "9223372036854775807", "-9223372036854775808")
        return self._random.choice(
            (
                lambda: f"({of('int', depth)} {self._one('+', '-', '*', '/', '%')} {of('int', depth)})",
                lambda: f"-{of('int', 0)}",
                lambda: f"({of('bool', depth)} ? {of('int', depth)} : {of('int', depth)})",
                lambda: f"size({of(self._one('string', 'ints', 'texts'), depth)})",
                lambda: f"{of(self._one('ints', 'texts'), depth)}.size()",
                lambda: f"int({of(self._one('double', 'string', 'int'), depth)})",
                lambda: f"{of('ints', depth)}[{of('int', depth)}]",
                lambda: f"{of('time', depth)}.{self._one(*_CLOCK)}({self._one('', '', *_ZONES)})",
                lambda: f"{of('span', depth)}.{self._one('getHours', 'getMinutes', 'getSeconds')}()",
                lambda: f"{of('string', depth)}.indexOf({of('string', depth)})",
                lambda: f"({of('dyn', depth)} {self._one('+', '-', '*')} {of('int', depth)})",
            )
        )()

    def _double(self, depth: int) -> str:
        of = self._of
        if depth <= 0:
            return self._one("x", "0.0", "1.0", "-2.5", "1e3", ".5", "0.0")
        return self._random.choice(
            (
                lambda: f"({of('double', depth)} {self._one('+', '-', '*', '/')} {of('double', depth)})",
                lambda: f"double({of(self._one('int', 'string', 'double'), depth)})",
                lambda: f"({of('bool', depth)} ? {of('double', depth)} : {of('double', depth)})",
            )
        )()

    def _string(self, depth: int) -> str:
        of = self._of
        if depth <= 0:
            return self._one("s", "u", '"a"', "'b'", '"abc"', '""', r'"\x41\n"', 'r"\\d"', '"12"', '"""a"b"""')
        return self._random.choice(
            (
                lambda: f"({of('string', depth)} + {of('string', depth)})",
                lambda: f"string({self._one('b', 'true', of('int', depth), of('string', depth))})",
                lambda: f"({of('bool', depth)} ? {of('string', depth)} : {of('string', depth)})",
                lambda: f"{of('texts', depth)}[{of('int', depth)}]",
                lambda: f"k[{of('string', depth)}]",
                lambda: f"k.{self._one('a', 'b', 'c')}",
                lambda: f"{of('string', depth)}.{self._one('lowerAscii', 'upperAscii', 'trim')}()",
                lambda: f"{of('string', depth)}.substring({of('int', depth)})",
                lambda: f"{of('string', depth)}.substring({of('int', 0)}, {of('int', 0)})",
                lambda: f"{of('texts', depth)}.join({self._one('', of('string', depth))})",
            )
        )()

    def _dyn(self, depth: int) -> str:
        of = self._of
        if depth <= 0:
            return self._one("d", "e", "null", "m.a", "dyn(1)", 'dyn("a")', "dyn(2.0)", "dyn(true)")
        return self._random.choice(
            (
                lambda: f"dyn({of(self._one('int', 'double', 'string', 'bool', 'ints', 'texts'), depth)})",
                lambda: f"m[{of('string', depth)}]",
                lambda: f"{self._one('m', 'd')}.{self._one('a', 'b', 'c')}",
                lambda: f"{of('dyn', depth)}[{self._int(depth - 1)}]",
                lambda: f"[{of('int', depth)}, {of('string', depth)}][{of('int', depth)}]",
                lambda: f"({of('bool', depth)} ? {of('dyn', depth)} : {of('int', depth)})",
                lambda: f"{{'a': {of('int', depth)}, 'b': {of('string', depth)}}}.{self._one('a', 'b')}",
            )
        )()

    def _ints(self, depth: int) -> str:
        of = self._of
        if depth <= 0:
            return self._one("l", "[]", "[1, 2, 3]", "[j, i]")
        return self._random.choice(
            (
                lambda: f"[{of('int', depth)}, {of('int', depth)}]",
                lambda: f"({of('ints', depth)} + {of('ints', depth)})",
                lambda: f"{of('ints', depth)}.filter({self._bound('int', 'bool', depth)})",
                lambda: f"{of('ints', depth)}.map({self._bound('int', 'int', depth)})",
                lambda: f"{of('texts', depth)}.map({self._bound('string', 'int', depth)})",
            )
        )()

    def _texts(self, depth: int) -> str:
        of = self._of
        if depth <= 0:
            return self._one("w", "['a', 'b']", "[s, u]", "[]")
        return self._random.choice(
            (
                lambda: f"{of('string', depth)}.split({self._one(*_SEPARATORS, of('string', depth))})",
                lambda: f"{of('string', depth)}.split(',', {of('int', depth)})",
                lambda: f"{of('texts', depth)}.filter({self._bound('string', 'bool', depth)})",
                lambda: f"{of('texts', depth)}.map({self._bound('string', 'string', depth)})",
                lambda: f"[{of('string', depth)}]",
            )
        )()

    def _time(self, depth: int) -> str:
        if depth <= 0:
            return self._one("t", 'timestamp("2026-11-25T14:30:00Z")', 'timestamp("2026-01-01T00:00:00.25+01:30")')
        return self._one("t", f"({self._of('time', depth)} {self._one('+', '-')} {self._of('span', depth)})")

    def _span(self, depth: int) -> str:
        if depth <= 0:
            return self._one("r", 'duration("1h30m")', 'duration("-1.5s")', 'duration("250ms")')
        spans = f"({self._of('span', depth)} {self._one('+', '-')} {self._of('span', depth)})"
        return self._one("r", spans, f"({self._of('time', depth)} - {self._of('time', depth)})")


_TESTS = ("startsWith", "endsWith", "contains")
_SEPARATORS = ('","', '""')
_PATTERNS = ('"a"', "'^[a-c]+$'", "r'\\d+'", "'^/'", "'b|c$'")
_CLOCK = (
    "getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfYear", "getDayOfWeek", "getHours", "getMinutes",
    "getSeconds", "getMilliseconds",
)  # fmt: skip
_ZONES = ('"Europe/Berlin"', '"America/New_York"', '"+05:45"', '"-03:00"', '"UTC"')
