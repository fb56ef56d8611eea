"""YAML 1.2 documents: JSON's data model in YAML's spelling, and nothing that YAML adds to it.

Only the parser is ruamel's. Its events are turned into values here, because what a document must not use (anchors,
aliases, tags, merge keys, directives, several documents) is refused at the event where it stands, before anything of it
is built. Plain scalars resolve as YAML 1.2.2 §10.3.2 (core schema) says: `on`, `no` and `0o` without digits are text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from pydantic import JsonValue
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from gateway.discovery.documents.rejection import MAX_DEPTH, Loc, Position, Positions, Unreadable, shown

MAX_YAML = 64 * 1024
"""Characters. YAML is read a hundred times slower than JSON, so that it gets less room."""
MAX_EVENTS = 20_000

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+").fullmatch
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?").fullmatch
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)").fullmatch
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MAX_DIGITS = 18


class NotYaml(Unreadable):
    """Text that YAML's grammar refuses, as opposed to YAML that a document must not use."""


def read_yaml(text: str) -> tuple[JsonValue, Positions]:
    """The value and where each field and list entry stands. Raises Unreadable, NotYaml among it."""
    if len(text) > MAX_YAML:
        raise Unreadable(f"a YAML document may have at most {MAX_YAML // 1024} KiB; JSON may have more")
    return _Builder(_events(text)).document()


def _events(text: str) -> Iterator[Event]:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    try:
        for count, event in enumerate(yaml.parse(io.StringIO(text))):
            if count > MAX_EVENTS:
                raise Unreadable("has too many entries", *_position(event))
            yield event
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise NotYaml(
            f"is not YAML: {shown(error.problem or error.context or 'syntax error', 200)}", line, column
        ) from None
    except ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise NotYaml("holds a character that YAML does not allow", line, column) from None
    except (
        YAMLError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        AssertionError,
        NotImplementedError,
    ) as error:
        # Hostile text reaches corners of the parser where it raises what it never meant to.
        if isinstance(error, Unreadable):
            raise
        raise NotYaml("is not YAML") from None


class _Builder:
    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._positions: Positions = {}

    def document(self) -> tuple[JsonValue, Positions]:
        next(self._events)
        start = next(self._events)
        if isinstance(start, StreamEndEvent):
            raise Unreadable("the document is empty")
        self._refuse_directives(start)
        first = next(self._events)
        self._positions[()] = _position(first)
        value = self._value(first, ())
        next(self._events)
        after = next(self._events)
        if not isinstance(after, StreamEndEvent):
            raise Unreadable("a key holds one document", *_position(after))
        return value, self._positions

    def _refuse_directives(self, event: Event) -> None:
        if isinstance(event, DocumentStartEvent) and (event.version or event.tags):
            raise Unreadable("directives are not read", *_position(event))

    def _value(self, event: Event, loc: Loc) -> JsonValue:
        where = _position(event)
        if len(loc) > MAX_DEPTH:
            raise Unreadable(f"is nested deeper than {MAX_DEPTH} levels", *where)
        if isinstance(event, AliasEvent):
            raise Unreadable("aliases are not read", *where, loc)
        if isinstance(event, NodeEvent) and event.anchor is not None:
            raise Unreadable("anchors are not read", *where, loc)
        if isinstance(event, MappingStartEvent | SequenceStartEvent | ScalarEvent) and event.tag is not None:
            raise Unreadable("tags are not read", *where, loc)
        if isinstance(event, MappingStartEvent):
            return self._mapping(loc)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(loc)
        assert isinstance(event, ScalarEvent)
        return _scalar(event, where, loc)

    def _mapping(self, loc: Loc) -> dict[str, JsonValue]:
        mapping: dict[str, JsonValue] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            where = _position(event)
            key = self._key(event, loc)
            here = (*loc, key)
            if key in mapping:
                raise Unreadable(f"the key {shown(key)} is given twice", *where, here)
            self._positions[here] = where
            mapping[key] = self._value(next(self._events), here)
        return mapping

    def _key(self, event: Event, loc: Loc) -> str:
        key = self._value(event, loc) if isinstance(event, ScalarEvent | AliasEvent) else None
        if not isinstance(key, str):
            raise Unreadable("a key has to be text; put it in quotes", *_position(event), loc)
        if key == "<<":
            raise Unreadable("merge keys are not read", *_position(event), loc)
        return key

    def _sequence(self, loc: Loc) -> list[JsonValue]:
        sequence: list[JsonValue] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            here = (*loc, len(sequence))
            self._positions[here] = _position(event)
            sequence.append(self._value(event, here))
        return sequence


def _scalar(event: ScalarEvent, where: Position, loc: Loc) -> JsonValue:
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER(text):
        if len(text) > _MAX_DIGITS:
            raise Unreadable("a number is too large", *where, loc)
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT(text):
        number = float(text)
        if abs(number) == float("inf"):
            raise Unreadable("a number is too large", *where, loc)
        return number
    if _NOT_FINITE(text):
        raise Unreadable("NaN and infinities are not read", *where, loc)
    return text


def _position(event: Event) -> Position:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
