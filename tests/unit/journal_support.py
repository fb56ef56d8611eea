"""Runs whose events are kept, in memory or on disk, and made again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gateway.core.events import Event
from gateway.core.gateway import Gateway
from gateway.journal import checkpoint
from gateway.journal.lines import CHECKPOINT, Line, encode, encode_checkpoint, parse, read
from gateway.journal.replay import Replay, Step
from gateway.journal.stream import EventStream
from gateway.journal.writer import Journal
from tests.spec.simulation import Simulation
from tests.unit.core_support import compile_regex

Look = Callable[[Gateway], None]


def lines_of(seed: int, steps: int, *, every: int = 0, look: Look | None = None) -> Sequence[Line]:
    """A simulated run's lines; with `every`, and a checkpoint after each so many steps. `look` sees the core there."""
    lines: list[Line] = []
    seq = 0

    def tell(event: Event) -> None:
        nonlocal seq
        seq += 1
        lines.append(parse(encode(seq, event), f"event {seq}"))

    simulation = Simulation(seed, tell)
    for step in range(0, steps, every or steps):
        if step:
            state = checkpoint.take(simulation.core)
            lines.append(parse(encode_checkpoint(seq, simulation.now, 0.0, state), "a checkpoint"))
            if look is not None:
                look(simulation.core)
        simulation.run(every or steps)
    return lines


def made_again(lines: Iterable[Line]) -> Sequence[Step]:
    return list(Replay(compile_regex).steps(lines))


def first_difference(lines: Iterable[Line]) -> int | None:
    """The number of the first event that is decided differently now."""
    return next((step.line.seq for step in made_again(lines) if step.difference is not None), None)


def segment_from(lines: Sequence[Line], seq: int) -> Sequence[Line]:
    """From the last checkpoint before that event on."""
    start = max(at for at, line in enumerate(lines) if line.action == CHECKPOINT and line.seq < seq)
    return lines[start:]


class KeptRun:
    """A simulated run whose journal is on disk. Events before the journal begins are not in it."""

    def __init__(self, path: Path, *, seed: int = 5, segment: int = 1 << 20, kept: int = 3) -> None:
        self._stream: EventStream | None = None
        self.simulation = Simulation(seed, self._tell)
        self.journal = Journal(path, segment=segment, kept=kept)
        self._stream = EventStream([self.journal])
        self.journal.begin(lambda: checkpoint.take(self.simulation.core))

    @property
    def events(self) -> int:
        assert self._stream is not None
        return self._stream.last

    async def run(self, steps: int) -> None:
        """The loop gets its turn now and then, as a gateway's does."""
        for _ in range(0, steps, 50):
            self.simulation.run(50)
            await asyncio.sleep(0)

    def _tell(self, event: Event) -> None:
        if self._stream is not None:
            self._stream(event)


def events_in(*segments: Path) -> Sequence[int]:
    """The numbers of the events in these segments."""
    return [line.seq for segment in segments for line in read(segment) if line.action != CHECKPOINT]


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)
