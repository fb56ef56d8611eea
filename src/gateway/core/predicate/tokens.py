"""From text to tokens (CEL language definition, Syntax)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

from gateway.core.predicate.rejection import Misplaced
from gateway.core.predicate.values import MAX_INT


class Kind(Enum):
    INT = auto()
    DOUBLE = auto()
    STRING = auto()
    NAME = auto()
    QUOTED_NAME = auto()
    SYMBOL = auto()
    END = auto()


class Token(NamedTuple):
    """`value` is what a literal means; `text` what is written."""

    kind: Kind
    text: str
    at: int
    value: int | float | str = ""


_TOKEN = re.compile(
    r"""
      (?P<space>    (?: [ \t\n\f\r]+ | //[^\n]* )+ )
    | (?P<double>   (?: [0-9]*\.[0-9]+ (?:[eE][+-]?[0-9]+)? | [0-9]+[eE][+-]?[0-9]+ ) )
    | (?P<int>      (?: 0x[0-9a-fA-F]+ | [0-9]+ ) [uU]? )
    | (?P<string>   (?P<prefix> [bB]?[rR]? ) (?P<quote> \"{3} | '{3} | \" | ' ) )
    | (?P<name>     [A-Za-z_][A-Za-z0-9_]* )
    | (?P<quoted>   ` [A-Za-z0-9_.\-/\ ]+ ` )
    | (?P<symbol>   && | \|\| | [=!<>]= | [-+*/%<>!?:.,()\[\]{}] )
    """,
    re.VERBOSE,
).match
_ESCAPE = re.compile(
    r"""\\(?: (?P<plain>[abfnrtv\\?"'`]) | [xX](?P<x>[0-9a-fA-F]{2}) | u(?P<u>[0-9a-fA-F]{4})
        | U(?P<U>[0-9a-fA-F]{8}) | (?P<octal>[0-3][0-7]{2}) )""",
    re.VERBOSE,
).match
_PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_MAX_DIGITS = 19


def tokens(source: str) -> Iterator[Token]:
    """The last is END. Raises Misplaced, for what no token begins with too."""
    at = 0
    while at < len(source):
        found = _TOKEN(source, at)
        if found is None:
            raise Misplaced(f"nothing in CEL begins with {_shown(source[at])}", at)
        kind, text, start = found.lastgroup, found.group(), at
        at = found.end()
        if found["string"] is not None:
            token, at = _string(source, start, found["prefix"].lower(), found["quote"], at)
            yield token
        elif kind == "double":
            yield Token(Kind.DOUBLE, text, start, float(text))
        elif kind == "int":
            yield Token(Kind.INT, text, start, _whole_number(text, start))
        elif kind == "name":
            yield Token(Kind.NAME, text, start)
        elif kind == "quoted":
            yield Token(Kind.QUOTED_NAME, text, start, text[1:-1])
        elif kind == "symbol":
            yield Token(Kind.SYMBOL, text, start)
    yield Token(Kind.END, "", len(source.rstrip()))


def _whole_number(text: str, at: int) -> int:
    if text[-1] in "uU":
        raise Misplaced("unsigned numbers are not part of this subset of CEL; leave out the u", at)
    digits = text.removeprefix("0x")
    if len(digits.lstrip("0")) <= _MAX_DIGITS:
        value = int(digits, 16 if digits != text else 10)
        # One more than the largest: the parser knows whether a minus stands in front.
        if value <= MAX_INT + 1:
            return value
    raise Misplaced("a whole number has 64 bits at most", at)


def _string(source: str, start: int, prefix: str, quote: str, at: int) -> tuple[Token, int]:
    if "b" in prefix:
        raise Misplaced("bytes are not part of this subset of CEL; leave out the b", start)
    raw = "r" in prefix
    several_lines = len(quote) == 3
    parts: list[str] = []
    while not source.startswith(quote, at):
        if at >= len(source) or (source[at] in "\r\n" and not several_lines):
            raise Misplaced(f"this text is not closed; {quote} is expected at its end", start)
        if source[at] == "\\" and not raw:
            part, at = _escaped(source, at)
            parts.append(part)
        else:
            parts.append(source[at])
            at += 1
    at += len(quote)
    return Token(Kind.STRING, source[start:at], start, "".join(parts)), at


def _escaped(source: str, at: int) -> tuple[str, int]:
    found = _ESCAPE(source, at)
    if found is None:
        raise Misplaced(f"CEL has no escape {_shown(source[at : at + 2])}; a backslash is written \\\\", at)
    plain = found["plain"]
    if plain is not None:
        return _PLAIN.get(plain, plain), found.end()
    octal = found["octal"]
    code = int(octal, 8) if octal else int(found["x"] or found["u"] or found["U"], 16)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise Misplaced("this escape is not a character of Unicode", at)
    return chr(code), found.end()


def _shown(text: str) -> str:
    return text if text.isprintable() else ascii(text)[1:-1]
