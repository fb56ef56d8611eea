"""Clients of many kinds at once, for loopback only: what was begun is counted by kind, and so is what became of it.

They talk to `tests.support.instance_server`, which knows the paths. Nothing is ever resent.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self, TypeAlias

import aiohttp

_SMALL = b"x" * 256
_LARGE = 1 << 20
"""Bytes: more than the gateway keeps to try again."""
_EVENTS = 20
_ECHOES = 20
_SESSION_TIMEOUT = aiohttp.ClientTimeout(total=60)

Ask: TypeAlias = Callable[["MixedLoad", aiohttp.ClientSession], Awaitable[None]]


class Kind(Enum):
    GET = "get"
    PUT = "put"
    POST = "post"
    CONNECT = "connect"
    """A GET on a connection of its own."""
    UPLOAD = "upload"
    DOWNLOAD = "download"
    SLOW = "slow"
    """A client that takes its time to read."""
    EVENTS = "events"
    WEBSOCKET = "websocket"


LONG = frozenset({Kind.UPLOAD, Kind.DOWNLOAD, Kind.SLOW, Kind.EVENTS, Kind.WEBSOCKET})
"""What is under way for a while, and lost with the instance that it is on."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What did not come to its right end. Times are of the monotonic clock; `why` is for people."""

    kind: Kind
    began: float
    ended: float
    why: str


class NotRight(Exception):
    """Another answer than the instance gives, or a part of it."""


@dataclass(frozen=True, slots=True)
class _Clients:
    ask: Ask
    count: int
    pause: float
    """Seconds between the end of one and the beginning of the next."""


class MixedLoad:
    """As a context manager: runs inside, and has ended with all that it began at the exit."""

    def __init__(self, url: str, *, on_loss: Callable[[Loss], None] = lambda _: None) -> None:
        if not url.startswith("http://127.0.0.1:"):
            raise ValueError(f"load goes to loopback only, not to {url}")
        self.url = url
        self.begun: Counter[Kind] = Counter()
        self.whole: Counter[Kind] = Counter()
        self.losses: list[Loss] = []
        self._on_loss = on_loss
        self._left = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._client(kind, clients))
            for kind, clients in _CLIENTS.items()
            for _ in range(clients.count)
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        await asyncio.gather(*self._tasks)

    def leave(self) -> None:
        """Begin nothing more."""
        self._left.set()

    async def _client(self, kind: Kind, clients: _Clients) -> None:
        async with _session() as session:
            while not self._left.is_set():
                await self._one(kind, clients.ask, session)
                try:
                    await asyncio.wait_for(self._left.wait(), clients.pause)
                except TimeoutError:
                    continue

    async def _one(self, kind: Kind, ask: Ask, session: aiohttp.ClientSession) -> None:
        self.begun[kind] += 1
        began = time.monotonic()
        try:
            await ask(self, session)
        except (aiohttp.ClientError, NotRight, TimeoutError, OSError) as error:
            loss = Loss(kind, began, time.monotonic(), f"{type(error).__name__}: {error}"[:200])
            self.losses.append(loss)
            self._on_loss(loss)
        else:
            self.whole[kind] += 1


def _session() -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(timeout=_SESSION_TIMEOUT)
    session._retry_connection = False  # aiohttp would resend idempotent requests without telling
    return session


async def _small(load: MixedLoad, session: aiohttp.ClientSession, method: str, body: bytes | None = None) -> None:
    async with session.request(method, load.url, data=body) as answer:
        _is_right(answer, await answer.read(), b'"instance"')


async def _get(load: MixedLoad, session: aiohttp.ClientSession) -> None:
    await _small(load, session, "GET")


async def _put(load: MixedLoad, session: aiohttp.ClientSession) -> None:
    await _small(load, session, "PUT", _SMALL)


async def _post(load: MixedLoad, session: aiohttp.ClientSession) -> None:
    await _small(load, session, "POST", _SMALL)


async def _connect(load: MixedLoad, _: aiohttp.ClientSession) -> None:
    async with _session() as session:
        await _small(load, session, "GET")


async def _upload(load: MixedLoad, session: aiohttp.ClientSession) -> None:
    await _small(load, session, "POST", bytes(_LARGE))


async def _download(load: MixedLoad, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{load.url}/download/{_LARGE}") as answer:
        _is_right(answer, await answer.read(), bytes(_LARGE))


async def _slow(load: MixedLoad, session: aiohttp.ClientSession) -> None:
    got = 0
    async with session.get(f"{load.url}/download/{_LARGE}") as answer:
        _is_right(answer)
        async for piece in answer.content.iter_chunked(_LARGE // 32):
            got += len(piece)
            await asyncio.sleep(0.05)
    if got != _LARGE:
        raise NotRight(f"{got} bytes")


async def _events(load: MixedLoad, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{load.url}/events/{_EVENTS}") as answer:
        _is_right(answer, await answer.read(), f"data: {_EVENTS - 1}\n\n".encode())


async def _websocket(load: MixedLoad, session: aiohttp.ClientSession) -> None:
    async with session.ws_connect(f"{load.url}/echo") as socket:
        for number in range(_ECHOES):
            await socket.send_str(str(number))
            message = await socket.receive()
            if message.data != str(number):
                raise NotRight(f"echo {number} was {message}"[:200])
            await asyncio.sleep(0.05)


def _is_right(answer: aiohttp.ClientResponse, body: bytes = b"", part: bytes = b"") -> None:
    if answer.status != 200 or part not in body:
        raise NotRight(f"{answer.status}: {body[:120]!r}")


_CLIENTS: Mapping[Kind, _Clients] = {
    Kind.GET: _Clients(_get, 8, 0.1),
    Kind.PUT: _Clients(_put, 4, 0.1),
    Kind.POST: _Clients(_post, 4, 0.1),
    Kind.CONNECT: _Clients(_connect, 2, 0.1),
    Kind.UPLOAD: _Clients(_upload, 2, 0.25),
    Kind.DOWNLOAD: _Clients(_download, 2, 0.25),
    Kind.SLOW: _Clients(_slow, 2, 0.1),
    Kind.EVENTS: _Clients(_events, 4, 0.1),
    Kind.WEBSOCKET: _Clients(_websocket, 4, 0.1),
}
