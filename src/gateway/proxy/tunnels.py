"""WebSocket connections: once both sides have switched, their bytes are passed on as they are, both ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gateway.proxy.upstream.interface import Tunnel


class _Silence:
    """Ends a tunnel in which neither side has said anything for `limit` seconds; 0 is no limit."""

    def __init__(self, limit: float, end: Callable[[], object]) -> None:
        self._limit = limit
        self._end: Callable[[], object] | None = end
        """Held no longer than needed: its task ends with an error that holds all it came through."""
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.heard = self.now()
        self._timer: asyncio.TimerHandle | None = None
        if limit:
            self._timer = self._loop.call_later(limit, self._check)

    def stop(self) -> None:
        self._end = None
        if self._timer is not None:
            self._timer.cancel()

    def _check(self) -> None:
        until = self.heard + self._limit
        if until > self.now():
            self._timer = self._loop.call_at(until, self._check)
        elif self._end is not None:
            self._end()


class Relay:
    """Counts what it passes: `inward` from the client, `outward` to it, in bytes."""

    def __init__(self, client: Tunnel, upstream: Tunnel, idle: float) -> None:
        self._client = client
        self._upstream = upstream
        self._idle = idle
        self.inward = 0
        self.outward = 0

    async def run(self) -> None:
        """Returns when either side has closed, or both are silent for too long; what was read has been written."""
        inward = asyncio.ensure_future(self._pass_inward())
        outward = asyncio.ensure_future(self._pass_outward())
        silence = self._silence = _Silence(self._idle, outward.cancel)
        try:
            await asyncio.wait((inward, outward), return_when=asyncio.FIRST_COMPLETED)
        finally:
            silence.stop()
            inward.cancel()
            outward.cancel()

    async def _pass_inward(self) -> None:
        with suppress(ConnectionError):
            while data := await self._client.read():
                self._silence.heard = self._silence.now()
                self.inward += len(data)
                await self._upstream.write(data)

    async def _pass_outward(self) -> None:
        with suppress(ConnectionError):
            while data := await self._upstream.read():
                self._silence.heard = self._silence.now()
                self.outward += len(data)
                await self._client.write(data)
