"""What has to happen at a time: a heap of steps, run when a shell says that their time has come."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

from mypy_extensions import mypyc_attr

Step = Callable[[float], None]


@mypyc_attr(allow_interpreted_subclasses=True)
class Timer:
    """One step to come; cancelled, it lets go of the step at once."""

    __slots__ = ("step",)

    def __init__(self, step: Step) -> None:
        self.step: Step | None = step


@mypyc_attr(allow_interpreted_subclasses=True)
class Timers:
    """Steps by their time in monotonic seconds; equal times run in the order they were set."""

    __slots__ = ("_cancelled", "_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._count = 0
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, when: float, step: Step) -> Timer:
        self._count += 1
        timer = Timer(step)
        heappush(self._heap, (when, self._count, timer))
        return timer

    def cancel(self, timer: Timer) -> None:
        """Does nothing where the step has run. Cancelled timers are swept out once they are the greater part."""
        if timer.step is None:
            return
        timer.step = None
        self._cancelled += 1
        if 2 * self._cancelled > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].step is not None]
            heapify(self._heap)
            self._cancelled = 0

    @property
    def next(self) -> float | None:
        heap = self._heap
        while heap and heap[0][2].step is None:
            heappop(heap)
            self._cancelled -= 1
        return heap[0][0] if heap else None

    def run(self, now: float) -> None:
        when = self.next
        while when is not None and when <= now:
            timer = heappop(self._heap)[2]
            step, timer.step = timer.step, None
            if step is not None:
                step(now)
            when = self.next
