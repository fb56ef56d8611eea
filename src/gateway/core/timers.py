"""What has to happen at a time: a heap of steps, run when a shell says that their time has come."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

Step = Callable[[float], None]


class Timers:
    """Steps by their time in monotonic seconds; equal times run in the order they were set.

    Nothing is cancelled: a step whose cause is gone finds that out and does nothing.
    """

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Step]] = []
        self._count = 0

    def at(self, when: float, step: Step) -> None:
        self._count += 1
        heappush(self._heap, (when, self._count, step))

    @property
    def next(self) -> float | None:
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            heappop(self._heap)[2](now)
