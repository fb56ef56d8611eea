"""What was seen of a case on both sides of a gateway, freed from what differs in each run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

CONSTANT = frozenset({"0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"})
"""Identifiers that cases send, and which may not become others."""

_ID = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9a-f]{32}|[0-9a-f]{16}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?![0-9A-Za-z])"
)
_DATE = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT")
_PROBLEM = re.compile(r'^\{"type": "urn:alims-gateway:problem:(\w+)"')
_LONGEST = 300
"""Bytes of a value, a line or a body that are told as they are; of longer ones it is the digest."""

Fields = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a response. Values of one name stand in `fields` in their order."""

    start: str
    fields: Fields
    body: str
    whole: bool = True
    """Whether its end came, or the connection's before it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """`kept` says whether the client's connection took one request more."""

    client: Sequence[Message]
    kept: bool
    instance: Sequence[Message]


class Normal:
    """Takes dates, identifiers and ports out. The ports are those of the gateway and of its instance."""

    def __init__(self, gateway: int, instance: int) -> None:
        ports = {str(gateway): "<gateway>", str(instance): "<instance>"}
        self._ports = re.compile("|".join(rf"(?<![0-9A-Za-z]){port}(?![0-9A-Za-z])" for port in ports))
        self._names = ports

    def message(self, head: bytes, body: bytes, trailer: bytes = b"", *, whole: bool = True) -> Message:
        start, _, lines = head.partition(b"\r\n")
        fields: dict[str, list[str]] = {}
        for line in [*lines.split(b"\r\n"), *trailer.split(b"\r\n")]:
            if line:
                name, _, value = line.decode("latin-1").partition(":")
                fields.setdefault(name, []).append(self._text(value.removeprefix(" ").encode("latin-1")))
        return Message(self._text(start), fields, self._text(body), whole)

    def _text(self, said: bytes) -> str:
        if len(said) > _LONGEST:
            return f"{len(said)} bytes, SHA-256 {hashlib.sha256(said).hexdigest()[:16]}"
        text = said.decode("latin-1")
        text = _DATE.sub("<date>", text)
        text = _ID.sub(lambda found: found[0] if found[0] in CONSTANT else "<id>", text)
        return self._ports.sub(lambda found: self._names[found[0]], text)


def differences(before: Seen, now: Seen) -> Iterator[str]:
    """One line each, the same for the same difference in whatever case.

    Of messages that are another answer altogether it is told which, and not how their fields and bodies differ.
    """
    for side, were, are in (("client", before.client, now.client), ("instance", before.instance, now.instance)):
        if [_what(message) for message in were] != [_what(message) for message in are]:
            yield f"{side}: {_all(were)} -> {_all(are)}"
            continue
        for old, new in zip(were, are, strict=True):
            for line in _in_detail(old, new):
                yield f"{side}: {line}"
    if before.kept != now.kept:
        yield f"connection: {'kept' if before.kept else 'closed'} -> {'kept' if now.kept else 'closed'}"


def _in_detail(old: Message, new: Message) -> Iterator[str]:
    names = {*old.fields, *new.fields}
    if old.body != new.body:
        yield f"body {old.body} -> {new.body}"
        names.discard("Content-Length")
    for name in sorted(names):
        if old.fields.get(name) != new.fields.get(name):
            yield f"{name}: {_shown(old.fields.get(name))} -> {_shown(new.fields.get(name))}"


def _what(message: Message) -> str:
    """Its start, the reason of a refusal, and whether it is whole."""
    problem = _PROBLEM.search(message.body)
    start = message.start.removeprefix("HTTP/1.1 ").removesuffix(" HTTP/1.1")
    return start + (f" ({problem[1]})" if problem else "") + ("" if message.whole else ", cut off")


def _all(messages: Sequence[Message]) -> str:
    return ", ".join(map(_what, messages)) or "nothing"


def _shown(values: Sequence[str] | None) -> str:
    return "none" if values is None else " | ".join(values)
