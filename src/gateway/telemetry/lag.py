"""How late the event loop is: what every request waits for, whatever else it waits for."""

from __future__ import annotations

import asyncio
from collections import deque

INTERVAL = 0.25
WINDOW = 40
"""Measurements remembered: the last ten seconds."""


class LoopLag:
    """A timer that measures how late it was called."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=WINDOW)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def worst(self) -> float:
        """Seconds, of the last ten."""
        return max(self._lags, default=0.0)

    def start(self) -> None:
        """To be called in the event loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(INTERVAL, self._measure, loop, loop.time() + INTERVAL)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _measure(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        self._lags.append(max(0.0, now - due))
        self._timer = loop.call_at(now + INTERVAL, self._measure, loop, now + INTERVAL)
