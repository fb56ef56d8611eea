"""JSON documents (RFC 8259): values on the way in, and positions only once something is wrong."""

from __future__ import annotations

import json
import re

from pydantic import JsonValue

from gateway.discovery.documents.rejection import MAX_DEPTH, Loc, Position, Positions, Unreadable, shown

_LEXEME = re.compile(r'[ \t\r\n]*("(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+)').match


class NotJson(ValueError):
    """Text that is not JSON at all, and may yet be YAML."""

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.column = column


def read_json(text: str) -> JsonValue:
    """Raises NotJson, or Unreadable for JSON with duplicate keys, NaN, infinities or too deep nesting."""
    slips = 0

    def mapping(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        nonlocal slips
        made = dict(pairs)
        slips += len(pairs) - len(made)
        return made

    def constant(_: str) -> None:
        nonlocal slips
        slips += 1

    try:
        value: JsonValue = json.loads(text, object_pairs_hook=mapping, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise NotJson(error.msg, error.lineno, error.colno) from None
    except RecursionError:
        raise Unreadable(f"is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError:
        raise NotJson("a number is too large", 1, 1) from None
    if slips:
        # Told only now, since the walk that finds the place takes text that is JSON to its end.
        json_positions(text)
    return value


def json_positions(text: str) -> Positions:
    """Where each field and list entry of valid JSON stands.

    Raises Unreadable for duplicate keys, constants that JSON does not know and too deep nesting, each with its place.
    """
    return _Walk(text).positions


class _Walk:
    """One pass over the lexemes of text that `json.loads` understood."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self._line = 0
        self.positions: Positions = {}
        lexeme, where = self._next()
        self.positions[()] = where
        self._value(lexeme, where, ())

    def _next(self) -> tuple[str, Position]:
        match = _LEXEME(self._text, self._at)
        assert match is not None
        self._at = match.end()
        start = match.start(1)
        while self._line + 1 < len(self._line_starts) and self._line_starts[self._line + 1] <= start:
            self._line += 1
        return match.group(1), (self._line + 1, start - self._line_starts[self._line] + 1)

    def _value(self, lexeme: str, where: Position, loc: Loc) -> None:
        if len(loc) > MAX_DEPTH:
            raise Unreadable(f"is nested deeper than {MAX_DEPTH} levels", *where)
        if lexeme == "{":
            self._object(loc)
        elif lexeme == "[":
            self._array(loc)
        elif lexeme in ("NaN", "Infinity", "-Infinity"):
            raise Unreadable(f"{lexeme} is not a number that JSON knows", *where, loc)

    def _object(self, loc: Loc) -> None:
        lexeme, where = self._next()
        while lexeme != "}":
            if lexeme != ",":
                key = json.loads(lexeme)
                here = (*loc, key)
                if here in self.positions:
                    raise Unreadable(f"the key {shown(key)} is given twice", *where, here)
                self.positions[here] = where
                self._next()
                self._value(*self._next(), here)
            lexeme, where = self._next()

    def _array(self, loc: Loc) -> None:
        index = 0
        lexeme, where = self._next()
        while lexeme != "]":
            if lexeme != ",":
                self.positions[(*loc, index)] = where
                self._value(lexeme, where, (*loc, index))
                index += 1
            lexeme, where = self._next()
