"""The key sets that routes name: one for each source, however many routes share it, loaded while any route names it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

from gateway.core.authentication import KeySetFile, KeySetText, KeySetUrl, KeySource, SecretFile
from gateway.pipeline.authentication.jwt import Keys
from gateway.pipeline.authentication.keys import EMPTY, BadKeySet, ring_of_public_set, ring_of_secret, ring_of_set
from gateway.pipeline.authentication.live_keys import FixedKeys, LiveKeys, LoadFailed, Pace, Time

MAX_SIZE = 256 * 1024
"""Bytes of a key set."""
_FILES = Pace(refresh=10.0, min_refresh=1.0, stale=86400.0)


class Fetch(Protocol):
    def __call__(self, url: str, /, *, limit: int) -> Awaitable[bytes]:
        """The body of a 200, of up to `limit` bytes; follows no redirect. Raises LoadFailed."""


class KeySets:
    def __init__(self, fetch: Fetch, time: Time) -> None:
        self._fetch = fetch
        self._time = time
        self._running: dict[KeySource, tuple[LiveKeys, asyncio.Task[None]]] = {}

    def of(self, source: KeySource) -> Keys:
        """Of a route that is no longer in force, a source has the keys that it still finds."""
        if isinstance(source, KeySetText):
            return _fixed(source)
        running = self._running.get(source)
        return self._live(source) if running is None else running[0]

    def want(self, sources: Iterable[KeySource]) -> None:
        """Begins with those that are new, before a request needs them, and ends those that are not named."""
        wanted = {source for source in sources if not isinstance(source, KeySetText)}
        for source in self._running.keys() - wanted:
            self._running.pop(source)[1].cancel()
        for source in wanted - self._running.keys():
            keys = self._live(source)
            task: asyncio.Task[None] = asyncio.get_running_loop().create_task(keys.run(), name=f"key set {source}")
            self._running[source] = keys, task

    async def close(self) -> None:
        tasks = [task for _, task in self._running.values()]
        self.want(())
        await asyncio.gather(*tasks, return_exceptions=True)

    def _live(self, source: KeySetUrl | KeySetFile | SecretFile) -> LiveKeys:
        if isinstance(source, KeySetUrl):
            load: Callable[[], Awaitable[bytes]] = partial(self._fetch, source.url, limit=MAX_SIZE)
            pace = Pace(source.refresh, source.min_refresh, source.stale)
            return LiveKeys(source.url, load, ring_of_public_set, pace, self._time)
        read = ring_of_secret if isinstance(source, SecretFile) else ring_of_set
        return LiveKeys(source.path, partial(_file, source.path), read, _FILES, self._time)


def _fixed(source: KeySetText) -> FixedKeys:
    try:
        return FixedKeys(ring_of_public_set(source.text.encode()))
    except BadKeySet:
        return FixedKeys(EMPTY)


async def _file(path: str) -> bytes:
    """Raises LoadFailed."""

    def read() -> bytes:
        if Path(path).exists() and not Path(path).is_file():
            # A pipe would hold the thread for good.
            raise LoadFailed("it is no regular file")
        with Path(path).open("rb") as file:
            return file.read(MAX_SIZE + 1)

    try:
        raw = await asyncio.to_thread(read)
    except OSError as error:
        raise LoadFailed(f"the file cannot be read: {error.strerror}") from None
    if len(raw) > MAX_SIZE:
        raise LoadFailed(f"the file is larger than {MAX_SIZE} bytes")
    return raw
