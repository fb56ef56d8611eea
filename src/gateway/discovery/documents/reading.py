"""From the bytes of a key to plain values, with the positions of what stands where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from pydantic import JsonValue

from gateway.discovery.documents.json_text import NotJson, json_positions, read_json
from gateway.discovery.documents.rejection import Positions, Unreadable
from gateway.discovery.documents.yaml_text import NotYaml, read_yaml

MAX_DOCUMENT = 512 * 1024
"""Bytes: the most that Consul's KV takes (Consul API, KV Store: Create/Update Key)."""


@dataclass(frozen=True, slots=True)
class Text:
    """What a document says, and a way to find out where it says it."""

    value: JsonValue
    positions: Callable[[], Positions]
    may_hold_null: bool = True


def read(raw: bytes) -> Text:
    """JSON first, which is a hundred times faster, then YAML 1.2. Raises Unreadable."""
    if len(raw) > MAX_DOCUMENT:
        raise Unreadable(f"is larger than {MAX_DOCUMENT // 1024} KiB")
    text = _decoded(raw)
    if not text.strip():
        raise Unreadable("the document is empty")
    try:
        return Text(read_json(text), partial(json_positions, text), "null" in text)
    except NotJson as not_json:
        return _read_as_yaml(text, not_json)


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # `start` counts from behind a byte order mark, if there is one.
        before = raw.removeprefix(b"\xef\xbb\xbf")[: error.start].decode(errors="replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise Unreadable("is not UTF-8", line, column) from None


def _read_as_yaml(text: str, not_json: NotJson) -> Text:
    meant_as_json = text.lstrip()[0] in "{["
    try:
        value, positions = read_yaml(text)
    except NotYaml:
        if meant_as_json:
            raise _bad_json(not_json) from None
        raise
    except Unreadable as refused:
        if meant_as_json and refused.line == 1 and refused.column == 1 and not refused.loc:
            raise _bad_json(not_json) from None
        raise
    return Text(value, lambda: positions)


def _bad_json(not_json: NotJson) -> Unreadable:
    reason = not_json.reason
    return Unreadable(f"is not valid JSON: {reason[:1].lower()}{reason[1:]}", not_json.line, not_json.column)
