"""A deadline that is set and taken back for next to nothing.

Almost every deadline here is taken back before its time, and a timer of the loop costs as much as parsing a head. So
the timer stays when the deadline goes, and looks, once it rings, whether there is a later one by then.

A loop that was held up, because the process was stopped, the machine suspended or a processor not to be had, comes to
its timers before it has heard what came meanwhile. Those whom it waits for are not to blame, so it hears them first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_LATE = 0.1
"""Seconds by which a loop that is well never misses a timer; and how long one that was held up gets to hear."""


def _nobody() -> None:
    """Is called where nobody waits any more."""


class Alarm:
    """Calls `call` at the time that was set last, unless it was taken back. Times are the loop's, in seconds."""

    __slots__ = ("_call", "_due", "_heard", "_loop", "_rings_at", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, call: Callable[[], object]) -> None:
        self._loop = loop
        self._call = call
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = 0.0
        self._heard = False
        """Whether the loop was late for this deadline, and has heard since; it is waited for once."""

    @property
    def is_set(self) -> bool:
        return self._due is not None

    def set(self, when: float) -> None:
        self._due = when
        self._heard = False
        if self._timer is None:
            self._arm(when)
        elif when < self._rings_at:
            self._timer.cancel()
            self._arm(when)

    def clear(self) -> None:
        self._due = None

    def close(self) -> None:
        """To be called at the end, or the two would hold each other: it must not be set again."""
        self._due = None
        self._call = _nobody
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, when: float) -> None:
        self._rings_at = when
        self._timer = self._loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer, due = None, self._due
        if due is None:
            return
        # Compared with the time that was asked for: the loop may be early by a part of a millisecond.
        if due > self._rings_at:
            self._arm(due)
        elif not self._heard and (now := self._loop.time()) - self._rings_at > _LATE:
            self._heard = True
            self._arm(now + _LATE)
        else:
            self._due = None
            self._call()
