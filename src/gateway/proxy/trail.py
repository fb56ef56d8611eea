"""What is noted of a request on its way, for its record: its attempts, their times, and why things went wrong."""

from __future__ import annotations

from time import perf_counter

from gateway.core.model import Instance
from gateway.telemetry.records import AttemptRecord
from gateway.telemetry.trace_context import new_span_id


class Trail:
    """Of one request, from when it is made on. `queue`: the seconds that it waited to be sent; `detail`: for people."""

    __slots__ = ("_started", "_trying", "attempts", "detail", "queue")

    def __init__(self) -> None:
        self._started = perf_counter()
        """Not the loop's time, which moves in steps of a millisecond."""
        self._trying: AttemptRecord | None = None
        """The last of the attempts, until it has ended."""
        self.attempts: list[AttemptRecord] = []
        self.detail: str | None = None
        self.queue = 0.0

    def elapsed(self) -> float:
        """Seconds so far."""
        return perf_counter() - self._started

    def begin(self, instance: Instance, view_age: float | None) -> AttemptRecord:
        """An attempt begins."""
        trying = self._trying = AttemptRecord(instance, self.elapsed(), view_age, new_span_id())
        self.attempts.append(trying)
        return trying

    def head(self, status: int) -> None:
        """The response's head has come."""
        trying = self._trying
        assert trying is not None
        trying.first_byte, trying.result = self.elapsed() - trying.began, status

    def end(self, result: int | str | None, connect: float, detail: str | None = None) -> None:
        """The present attempt, if there is one, has ended; None for `result` leaves it what is known. `connect` is how
        long it took to have a connection."""
        if detail is not None:
            self.detail = detail
        trying, self._trying = self._trying, None
        if trying is None:
            return
        if result is not None:
            trying.result = result
        trying.duration, trying.connect = self.elapsed() - trying.began, connect
