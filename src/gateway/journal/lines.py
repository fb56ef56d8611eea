"""The lines of a journal: one JSON object for each event, and one for each checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from gateway.core.events import Event
from gateway.journal.values import bare

VERSION = 1
CHECKPOINT = "Checkpoint"

Monotonic = Annotated[float, msgspec.Meta(ge=0, le=1e10)]
"""Three hundred years. With these bounds there is a date for whatever a line and a checkpoint say together."""
Wall = Annotated[float, msgspec.Meta(ge=-1e10, le=1e11)]


class LineError(Exception):
    """A line that is no event: what is wrong, and in which line of which file."""


class Line(msgspec.Struct, frozen=True):
    """One line. `state` is a checkpoint's; `draws` and `inputs` are empty there. `now` in monotonic seconds."""

    v: int
    worker: int
    seq: Annotated[int, msgspec.Meta(ge=0)]
    now: Monotonic
    action: str
    inputs: dict[str, Any] = {}
    draws: tuple[float, ...] = ()
    decision: dict[str, Any] = {}
    state: Any = None
    wall: Wall | None = None
    """A checkpoint's: what the wall clock said at `now`, in seconds since the epoch."""

    @property
    def claims(self) -> Mapping[str, object]:
        """What a replay has to come to again: all but a call's inputs, which it is given."""
        return {"now": self.now, "action": self.action, "draws": list(self.draws), "decision": self.decision}


_decoder = msgspec.json.Decoder(Line)
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
        "inputs": {name: bare(value) for name, value in inputs.items()},
        "draws": draws,
        "decision": decision,
    }
    return _encoder.encode(line)


def encode_checkpoint(seq: int, now: float, wall: float, state: object, worker: int = 0) -> bytes:
    """The line of a checkpoint, which is taken after event `seq`."""
    line = {
        "v": VERSION,
        "worker": worker,
        "seq": seq,
        "now": now,
        "action": CHECKPOINT,
        "wall": wall,
        "state": state,
    }
    return _encoder.encode(line)


def claims(event: Event) -> Mapping[str, object]:
    """`Line.claims` of an event, as they would read back from its line."""
    return parse(encode(0, event), "an event").claims


def read(path: Path, cut_off: Callable[[], None] | None = None) -> Iterator[Line]:
    """The lines of one segment. Raises OSError, and LineError where one makes no sense.

    A last line without its end was cut off as it was written: it is left out, and `cut_off` called.
    """
    with path.open("rb") as file:
        for number, text in enumerate(file, 1):
            if not text.endswith(b"\n"):
                if cut_off is not None:
                    cut_off()
                return
            yield parse(text, f"{path}:{number}")


def parse(text: bytes, where: str) -> Line:
    """Raises LineError, which names `where`."""
    try:
        line = _decoder.decode(text)
    except msgspec.ValidationError as trouble:
        raise LineError(f"{where}: this is no line of a journal: {trouble}") from trouble
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as trouble:
        raise LineError(f"{where}: this is not JSON: {trouble}") from trouble
    if line.v != VERSION:
        raise LineError(f"{where}: this line has version {line.v}; this gateway reads journals of version {VERSION}")
    return line
