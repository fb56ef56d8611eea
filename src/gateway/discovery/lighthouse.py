"""Whether Consul answers at all: one tiny request now and then, on behalf of all watches.

A watch that failed backs off up to 15 s, and one that is parked at a machine that vanished hears nothing for five
minutes. The lighthouse asks for the leader every few seconds, more often while Consul is lost, and rouses all watches
when it is back, so that a change after an outage arrives within a second or two and an outage costs one request a
second and not one for each service.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from gateway.discovery.errors import ConsulError

_log = logging.getLogger("gateway.discovery.lighthouse")

CALM = 5.0
"""Seconds between two requests while all is well."""
ALARMED = 0.5
"""The same while Consul is lost."""
PATIENCE = 3.0
"""Seconds that an answer may take."""


class Beacon(Protocol):
    """What is asked: address of the leader, and whether the token is still the same."""

    async def leader(self) -> str: ...

    @property
    def token_generation(self) -> int: ...


class Lighthouse:
    """Run it as a task. `clock` is monotonic seconds."""

    def __init__(self, beacon: Beacon, clock: Callable[[], float]) -> None:
        self._beacon = beacon
        self._clock = clock
        self._generation = beacon.token_generation
        self._look_now = asyncio.Event()
        self._roused = asyncio.Event()
        self._listeners: set[Callable[[bool], None]] = set()
        self._lost_at: float | None = None
        self.lost: str | None = None
        """Why Consul counts as lost, None while it does not."""
        self.seen_at: float | None = None

    async def run(self) -> None:
        while True:
            await self.look()
            self._look_now.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CALM if self.lost is None else ALARMED):
                    await self._look_now.wait()
                    # a hundred watches that fail at once make one request, not a hundred
                    await asyncio.sleep(ALARMED / 5)

    async def look(self) -> None:
        """Ask once, and rouse the watches if Consul is back or the token is a new one."""
        asked_at = self._clock()
        try:
            async with asyncio.timeout(PATIENCE):
                leader = await self._beacon.leader()
            trouble = None if leader else "Consul's servers have no leader"
        except TimeoutError:
            trouble = f"Consul did not answer within {PATIENCE:g} s"
        except ConsulError as error:
            trouble = str(error)
        if trouble is not None:
            self._lose(trouble)
            return
        self.seen_at = asked_at
        generation, self._generation = self._generation, self._beacon.token_generation
        if self.lost is not None:
            away = self._clock() - (self._lost_at or 0.0)
            _log.info("Consul is back after %.1f s", away, extra={"away": away})
            self.lost = None
            self._rouse(lost=True)
        elif generation != self._generation:
            self._rouse(lost=False)

    def suspect(self) -> None:
        """A watch failed: look now and not in some seconds."""
        self._look_now.set()

    async def rest(self, seconds: float) -> bool:
        """Sleep, but not beyond Consul's return. Whether it was that."""
        try:
            async with asyncio.timeout(seconds):
                return await self._roused.wait()
        except TimeoutError:
            return False

    @contextlib.contextmanager
    def listening(self, listener: Callable[[bool], None]) -> Iterator[None]:
        """`listener` is called when Consul is back after a loss (True) or the token changed (False)."""
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    def _lose(self, trouble: str) -> None:
        if self.lost is None:
            self._lost_at = self._clock()
            what = "does not answer yet" if self.seen_at is None else "is lost, the last good views stay in force"
            _log.warning("Consul %s: %s", what, trouble, extra={"error": trouble})
        self.lost = trouble

    def _rouse(self, *, lost: bool) -> None:
        roused, self._roused = self._roused, asyncio.Event()
        roused.set()
        for listener in tuple(self._listeners):
            listener(lost)
