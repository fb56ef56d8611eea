"""A load generator that counts every request it began, for loopback only."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp

_METHODS = ("GET", "PUT")
_BODY = b"x" * 256


@dataclass
class Tally:
    """What became of the requests; `latencies` in seconds, of answered ones."""

    begun: int = 0
    answered: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    instances: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return self.begun - self.statuses[200]

    @property
    def ended(self) -> int:
        """Answered with whatever status, or failed without one."""
        return self.statuses[200] + len(self.failures)

    def lost(self, *methods: str) -> int:
        """How many requests of these methods, or of all, were not answered 200."""
        return sum(not methods or failure.split(" ", 1)[0] in methods for failure in self.failures)

    @property
    def median(self) -> float:
        return statistics.median(self.latencies)

    def quantile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def __str__(self) -> str:
        return f"{self.begun} begun, {dict(self.statuses)}, failures: {self.failures[:5]}"


class SteadyLoad:
    """`clients` keep-alive clients that share `rate` requests a second of these methods in turn, PUT and POST with a
    small body.

    As a context manager: the load runs inside, and has ended with all its requests at the exit. `rate` 0 is: each
    client sends its next request as soon as the last was answered. Nothing is ever resent.
    """

    def __init__(
        self,
        url: str,
        *,
        clients: int = 16,
        rate: float = 200.0,
        methods: Sequence[str] = _METHODS,
        headers: dict[str, str] | None = None,
        time_limit: float = 600.0,
    ) -> None:
        if not url.startswith("http://127.0.0.1:"):
            raise ValueError(f"load goes to loopback only, not to {url}")
        self.tally = Tally()
        self._url = url
        self._clients = clients
        self._interval = clients / rate if rate else 0.0
        self._methods = methods
        self._headers = headers
        self._until = time.monotonic() + time_limit
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._clients, keepalive_timeout=60)
        timeout = aiohttp.ClientTimeout(total=30)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers)
        self._session._retry_connection = False  # aiohttp would resend idempotent requests without telling
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(self._clients)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)
        assert self._session is not None
        await self._session.close()

    async def answered(self, more: int) -> None:
        """Returns once `more` further requests have been answered or have failed."""
        goal = self.tally.ended + more
        while self.tally.ended < goal:
            await asyncio.sleep(0.005)

    async def _client(self, number: int) -> None:
        due = time.monotonic() + self._interval * number / self._clients
        turn = number
        while not self._stop.is_set() and time.monotonic() < self._until:
            pause = due - time.monotonic()
            if pause > 0 and await self._stopped_within(pause):
                break
            due = max(due + self._interval, time.monotonic() - self._interval)
            await self._one(self._methods[turn % len(self._methods)])
            turn += 1

    async def _stopped_within(self, pause: float) -> bool:
        try:
            await asyncio.wait_for(self._stop.wait(), pause)
        except TimeoutError:
            return False
        return True

    async def _one(self, method: str) -> None:
        assert self._session is not None
        tally = self.tally
        tally.begun += 1
        began = time.monotonic()
        data = _BODY if method in ("PUT", "POST") else None
        try:
            async with self._session.request(method, self._url, data=data) as response:
                text = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            tally.failures.append(f"{method} {type(error).__name__}: {error}")
            return
        tally.answered += 1
        tally.statuses[response.status] += 1
        tally.latencies.append(time.monotonic() - began)
        if response.status == 200:
            tally.instances[text.split(b'"', 4)[3].decode()] += 1
        else:
            tally.failures.append(f"{method} {response.status}: {text[:200]!r}")
