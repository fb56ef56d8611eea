"""W3C Trace Context (Recommendation of 23 November 2021): `traceparent` and `tracestate`, read strictly, written anew.

A trace is continued whoever began it: its id only names things. Whether it is *recorded* costs something, and so is
believed of trusted hops alone; for anybody else, and for a trace that begins here, our own dice decide, not the trace's
id, which a stranger may choose as he likes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import random

from gateway.telemetry.ids import digits

Field = tuple[str, str]

STATE_LIMIT = 512
"""Characters of `tracestate` that go on (§3.3.1.5: at least so many); members beyond it are left out."""
_MEMBERS_LIMIT = 32
_LONG_MEMBER = 128
"""What is longer goes first where there is no room (§3.3.1.5)."""

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_KEY = r"[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_MEMBER = re.compile(rf"({_KEY})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{{0,255}}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_SAMPLED = 1


class TraceContext:
    """One request's place in its trace. Ids are lower-case hexadecimal: 32 digits of the trace, 16 of a span.

    `parent_id` is the caller's span, None where the trace begins here; `span_id` is of the request as a whole; `state`
    is `tracestate` as it goes on.
    """

    __slots__ = ("parent_id", "sampled", "span_id", "state", "trace_id")

    def __init__(self, trace_id: str, parent_id: str | None, span_id: str, sampled: bool, state: str = "") -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.span_id = span_id
        self.sampled = sampled
        self.state = state

    def fields(self, span_id: str) -> list[Field]:
        """What an attempt with that span sends."""
        parent = ("traceparent", self.parent(span_id))
        return [parent, ("tracestate", self.state)] if self.state else [parent]

    def parent(self, span_id: str) -> str:
        """The value of `traceparent` for what that span asks for."""
        return f"00-{self.trace_id}-{span_id}-{'01' if self.sampled else '00'}"


def new_span_id() -> str:
    return digits.take(16)


def trace_context(parents: Sequence[str], states: Sequence[str], *, trusted: bool, ratio: float) -> TraceContext:
    """Continues the trace that the values of `traceparent` and `tracestate` name, or begins one.

    `trusted`: the sender's decision to record is ours; otherwise `ratio` is the share that is recorded.
    """
    received = _parent(parents[0]) if len(parents) == 1 else None
    if received is None:
        return TraceContext(digits.take(32), None, new_span_id(), random() < ratio)
    trace_id, parent_id, flags = received
    sampled = bool(flags & _SAMPLED) if trusted else random() < ratio
    return TraceContext(trace_id, parent_id, new_span_id(), sampled, _state(states) if states else "")


def _parent(value: str) -> tuple[str, str, int] | None:
    """Trace id, parent id and flags (§3.2.2). Of a later version what we know is read, and the rest ignored (§4.2)."""
    found = _PARENT.fullmatch(value)
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None) or trace_id == _NO_TRACE or parent_id == _NO_SPAN:
        return None
    return trace_id, parent_id, int(flags, 16)


def _state(values: Sequence[str]) -> str:
    """The members that fit, in their order (§3.3.1); empty where any of them is malformed or there are too many."""
    members = [member for value in values for part in value.split(",") if (member := part.strip(" \t"))]
    keys = set()
    for member in members:
        found = _MEMBER.fullmatch(member)
        if found is None:
            return ""
        keys.add(found[1])
    if len(members) > _MEMBERS_LIMIT or len(keys) < len(members):
        return ""
    if _length(members) > STATE_LIMIT:
        members = [member for member in members if len(member) <= _LONG_MEMBER]
    while _length(members) > STATE_LIMIT:
        members.pop()
    return ",".join(members)


def _length(members: Sequence[str]) -> int:
    return sum(map(len, members)) + len(members) - 1
