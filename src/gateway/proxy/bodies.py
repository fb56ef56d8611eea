"""A request's body on its way from the client: streamed as it comes, kept for replay while it is small."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestPayloadError

from gateway.core.model import Reason
from gateway.proxy.upstream.interface import ClientBodyFailure


class RequestBody:
    """One body, for all attempts of its request.

    What is read is passed on at once. It is kept as well, until more than `keep` bytes have come; from then on the
    request cannot be sent again. The client has to send at `rate` bytes a second while it is waited for, after `grace`
    seconds; and a silence may last `idle` seconds (0: no such limit).
    """

    def __init__(
        self,
        content: StreamReader,
        length: int | None,
        *,
        keep: int,
        limit: int,
        idle: float,
        grace: float,
        rate: float,
        ask: Callable[[], None] | None = None,
        prompt: bool = True,
    ) -> None:
        """`limit` is the largest body in bytes, 0 is none. `ask` tells the client to begin (100 Continue). Unless
        `prompt`, it is never taken as a whole."""
        self.length = length
        self._content = content
        self._keep = keep
        self._limit = limit
        self._idle = idle
        self._grace = grace
        self._rate = rate
        self._ask = ask
        self._prompt = prompt
        self._kept: list[bytes] = []
        self._kept_size = 0
        self._next = 0
        self._waited = 0.0
        self.received = 0
        self.replayable = True
        """Whether all that was read so far is kept."""

    @property
    def complete(self) -> bool:
        return self._content.is_eof() and self._content.exception() is None

    def kept(self) -> bytes | None:
        """The whole body, if it has come and was small enough to be kept."""
        return b"".join(self._kept) if self.complete and self.replayable else None

    def whole(self) -> bytes | None:
        if not self.complete or not self._prompt or self._kept_size < self.received:
            return None
        parts = list(self._kept)
        fresh = self._content.read_nowait()
        if fresh:
            self._take(fresh)
            parts.append(fresh)
        self._next = len(self._kept)
        return b"".join(parts)

    def restart(self) -> None:
        assert self.replayable
        self._next = 0

    async def read(self) -> bytes:
        if self._next < len(self._kept):
            self._next += 1
            return self._kept[self._next - 1]
        if self._ask is not None:
            ask, self._ask = self._ask, None
            if not self._content.is_eof():
                ask()
        data = await self._receive()
        if data:
            self._take(data)
        return data

    async def _receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._patience()):
                return await self._content.readany()
        except TimeoutError:
            raise ClientBodyFailure(
                Reason.REQUEST_TIMEOUT, "the client stopped sending its body, or was too slow"
            ) from None
        except RequestPayloadError:
            raise ClientBodyFailure(Reason.BAD_REQUEST, "the body's framing is broken") from None
        except (ConnectionError, RuntimeError):
            raise ClientBodyFailure(Reason.BAD_REQUEST, "the client left in the middle of its body") from None
        finally:
            self._waited += loop.time() - began

    def _patience(self) -> float | None:
        limits = []
        if self._idle:
            limits.append(self._idle)
        if self._rate:
            limits.append(max(0.0, self._grace + self.received / self._rate - self._waited))
        return min(limits, default=None)

    def _take(self, data: bytes) -> None:
        self.received += len(data)
        if self._limit and self.received > self._limit:
            self.replayable = False
            raise ClientBodyFailure(Reason.BODY_TOO_LARGE, f"the body has more than {self._limit} bytes")
        if not self.replayable:
            return
        if self.received <= self._keep:
            self._kept.append(data)
            self._kept_size += len(data)
            self._next = len(self._kept)
        else:
            self.replayable = False
            self._kept = []
            self._kept_size = self._next = 0
