"""The keys of a source that changes: loaded again and again, beside the requests.

A request whose key is known never waits. One with an unknown key waits for a load, of which there is one at a time, and
one in `min_refresh` at most for that cause: whoever invents key ids costs the issuer next to nothing. While loads fail
the known keys go on being used, for `stale` after the last success.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

from gateway.pipeline.authentication.compact import Compact
from gateway.pipeline.authentication.keys import EMPTY, BadKeySet, KeyRing

_log = logging.getLogger("gateway.authentication")

_JITTER = 0.1
"""Share of `refresh` by which a load may come earlier, so that gateways do not all ask at once."""


class LoadFailed(Exception):
    """Why a source could not be read, for the log."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds."""

    refresh: float
    min_refresh: float
    stale: float


@dataclass(frozen=True, slots=True)
class Time:
    """What passes, and how to wait for it; `draw` is a random number below 1. In seconds; `wall` is Unix time."""

    clock: Callable[[], float]
    wall: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    draw: Callable[[], float]


class FixedKeys:
    """Keys that stand in the route itself."""

    def __init__(self, ring: KeyRing) -> None:
        self.ring = ring

    def lookup(self, _: Compact, /) -> Awaitable[None] | None:
        """Nothing to wait for."""
        return None


class LiveKeys:
    """`name` is what the log calls the source, `load` brings its bytes or raises LoadFailed."""

    def __init__(
        self,
        name: str,
        load: Callable[[], Awaitable[bytes]],
        read: Callable[[bytes], KeyRing],
        pace: Pace,
        time: Time,
    ) -> None:
        self._name = name
        self._load = load
        self._read = read
        self._pace = pace
        self._time = time
        self._raw: bytes | None = None
        self._ring = EMPTY
        self._succeeded: float | None = None
        self._asked: float | None = None
        """When a token's unknown key last made us load."""
        self._loading: asyncio.Task[None] | None = None
        self._failures = 0

    @property
    def ring(self) -> KeyRing:
        """The same object as long as the keys are the same."""
        if self._succeeded is None or self._time.clock() - self._succeeded > self._pace.stale:
            return EMPTY
        return self._ring

    def lookup(self, token: Compact) -> Awaitable[None] | None:
        """What to wait for before a token whose key is unknown is refused; None: nothing will come."""
        ring = self.ring
        if len(ring) and (token.kid is None or ring.knows(token)):
            return None
        if self._loading is None:
            now = self._time.clock()
            if self._asked is not None and now - self._asked < self._pace.min_refresh:
                return None
            self._asked = now
        return asyncio.shield(self._loaded())

    async def run(self) -> NoReturn:
        """Loads, until cancelled."""
        while True:
            await self._loaded()
            await self._time.sleep(self._pause())

    def _pause(self) -> float:
        pace = self._pace
        usual = pace.refresh * (1 - _JITTER * self._time.draw())
        return min(usual, pace.min_refresh * 2 ** min(self._failures - 1, 16)) if self._failures else usual

    def _loaded(self) -> asyncio.Task[None]:
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._take(), name=f"keys of {self._name}")
        return self._loading

    async def _take(self) -> None:
        try:
            raw = await self._load()
            if raw != self._raw:
                self._ring = self._read(raw)
                self._raw = raw
                _log.info("The keys of %s are in force.", self._name, extra=self._told())
        except (LoadFailed, BadKeySet) as error:
            self._failures += 1
            _log.warning("The keys of %s cannot be had.", self._name, extra={"error": str(error), **self._told()})
        else:
            self._failures = 0
            self._succeeded = self._time.clock()
        finally:
            self._loading = None

    def _told(self) -> dict[str, object]:
        return {"known": len(self.ring), "left_out": "; ".join(self._ring.left_out[:3])}
