"""The lines of a journal: one JSON object for each event, and one for each checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.core.events import Event
from gateway.core.model import Route, ServicePolicy

VERSION = 1
CHECKPOINT = "Checkpoint"


class LineError(Exception):
    """A line that is no event: what is wrong, and in which line of which file."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `state` is a checkpoint's; `draws` and `inputs` are empty there. `now` in monotonic seconds."""

    worker: int
    seq: int
    now: float
    action: str
    inputs: Mapping[str, Any]
    draws: tuple[float, ...]
    decision: Mapping[str, Any]
    state: object = None

    @property
    def claims(self) -> Mapping[str, object]:
        """What a replay has to come to again: all but a call's inputs, which it is given."""
        return {"action": self.action, "draws": list(self.draws), "decision": self.decision}


_encoder = msgspec.json.Encoder()


def encode(seq: int, event: Event, worker: int = 0) -> bytes:
    """The line of an event, without its line's end."""
    now, action, inputs, draws, decision = event
    line = {
        "v": VERSION,
        "worker": worker,
        "seq": seq,
        "now": now,
        "action": action.value,
        "inputs": _bared(inputs),
        "draws": draws,
        "decision": decision,
    }
    return _encoder.encode(line)


def encode_checkpoint(seq: int, now: float, state: object, worker: int = 0) -> bytes:
    """The line of a checkpoint, which is taken after event `seq`."""
    line = {"v": VERSION, "worker": worker, "seq": seq, "now": now, "action": CHECKPOINT, "state": state}
    return _encoder.encode(line)


def claims(event: Event) -> Mapping[str, object]:
    """`Line.claims` of an event, as they would read back from its line."""
    return parse(encode(0, event), "an event").claims


def read(path: Path) -> Iterator[Line]:
    """The lines of one segment. Raises OSError, and LineError where one makes no sense.

    A last line without its end was cut off as it was written: it is left out.
    """
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            if not text.endswith(b"\n"):
                return
            yield parse(text, f"{path}:{number}")


def parse(text: bytes, where: str) -> Line:
    """Raises LineError, which names `where`."""
    try:
        fields = msgspec.json.decode(text)
    except msgspec.DecodeError as trouble:
        raise LineError(f"{where}: this is not JSON: {trouble}") from trouble
    if not isinstance(fields, dict) or fields.get("v") != VERSION:
        found = fields.get("v") if isinstance(fields, dict) else None
        raise LineError(f"{where}: this is no line of a journal of version {VERSION} (v is {found!r})")
    try:
        return Line(
            worker=int(fields["worker"]),
            seq=int(fields["seq"]),
            now=float(fields["now"]),
            action=str(fields["action"]),
            inputs=dict(fields.get("inputs", {})),
            draws=tuple(fields.get("draws", ())),
            decision=dict(fields.get("decision", {})),
            state=fields.get("state"),
        )
    except (KeyError, TypeError, ValueError) as trouble:
        raise LineError(f"{where}: a field is missing or of another type: {trouble}") from trouble


def _bared(inputs: Mapping[str, object]) -> Mapping[str, object]:
    """Routes and policies with those parts only that decisions depend on: the others may be large, or hold secrets."""
    return {name: _bare(value) for name, value in inputs.items()}


def _bare(value: object) -> object:
    if isinstance(value, tuple):
        return [_bare(each) for each in value]
    if isinstance(value, Route):
        return {name: getattr(value, name) for name in _OF_ROUTE}
    if isinstance(value, ServicePolicy):
        return {name: getattr(value, name) for name in _OF_POLICY}
    return value


_OF_ROUTE = ("name", "version", "backends", "retry", "limits", "when_empty")
_OF_POLICY = ("service", "version", "circuit", "balance", "in_flight_per_instance", "slow_start", "retry_budget")
