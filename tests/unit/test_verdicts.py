"""The status that a gateway writes about itself: bounded, and written no more often than it has to be."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from gateway.discovery import verdicts
from gateway.discovery.documents import Rejection
from gateway.discovery.documents_view import Document, fingerprint
from gateway.discovery.errors import ConsulDenied, ConsulUnreachable
from gateway.discovery.verdicts import StatusWriter, Verdicts, encode
from gateway.discovery.view import ViewState

LARGEST_VALUE = 512 * 1024
"""Of Consul's KV."""


def view(name: str) -> ViewState:
    return ViewState(name, "live", 12, 0.5, None, 1.0, 3, 1, 0, 0)


def test_the_largest_status_fits_into_a_key() -> None:
    rejections = [Rejection(f"gateway/routes/{'k' * 200}{n}", 1, 2, "f" * 60, "r" * 5000, n) for n in range(10_000)]
    views = [view(f"service:{'s' * 128}{n}") for n in range(10_000)]
    written = encode(Verdicts("gw", "1", "t" * 64, 10_000, 10_000, 10_000, views, rejections, 1.0))
    assert len(written) < LARGEST_VALUE
    status = json.loads(written)
    assert status["rejected"] == 10_000
    assert len(status["rejections"]) == verdicts.MOST_REJECTIONS


def test_gateways_with_the_same_documents_have_the_same_fingerprint() -> None:
    a, b = Document("routes/a", b"1", 5), Document("routes/b", b"2", 6)
    again = [Document("routes/b", b"2", 60), Document("routes/a", b"1", 50)]
    assert fingerprint([a, b]) == fingerprint(again)
    assert fingerprint([a, b]) != fingerprint([a, Document("routes/b", b"3", 6)])
    assert fingerprint([a, b]) != fingerprint([a])
    # moving a byte from the key to the value makes another table
    assert fingerprint([Document("routes/ab", b"c", 1)]) != fingerprint([Document("routes/a", b"bc", 1)])


class Store:
    def __init__(self) -> None:
        self.sessions = 0
        self.alive: set[str] = set()
        self.written: list[tuple[str, bytes, str]] = []
        self.acquired = True
        self.trouble: Exception | None = None
        self.progress = asyncio.Event()

    async def session_create(self, name: str, ttl: int) -> str:
        self._step()
        self.sessions += 1
        self.alive.add(f"s{self.sessions}")
        return f"s{self.sessions}"

    async def session_renew(self, session: str) -> bool:
        self._step()
        return session in self.alive

    async def session_destroy(self, session: str) -> None:
        self.alive.discard(session)
        await asyncio.sleep(3600 if self.trouble else 0)

    async def kv_acquire(self, key: str, value: bytes, session: str) -> bool:
        self._step()
        self.written.append((key, value, session))
        return self.acquired

    def _step(self) -> None:
        self.progress.set()
        if self.trouble is not None:
            raise self.trouble


class Tower:
    def suspect(self) -> None: ...

    async def rest(self, seconds: float) -> bool:
        raise AssertionError("is not asked here")

    @contextlib.contextmanager
    def listening(self, listener: object) -> Iterator[None]:
        yield


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"RENEW": 0.02, "INTERVAL": 0.0, "TRY_AGAIN": 0.01, "GOODBYE": 0.05}.items():
        monkeypatch.setattr(verdicts, name, seconds)


@contextlib.asynccontextmanager
async def writing(store: Store) -> AsyncIterator[StatusWriter]:
    number = iter(range(1000))
    writer = StatusWriter(store, "gateway/status/gw", "gateway gw", lambda: str(next(number)).encode(), Tower())
    running = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def until(store: Store, condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            store.progress.clear()
            await store.progress.wait()
            await asyncio.sleep(0)


async def test_it_is_written_on_change_and_not_with_each_renewal() -> None:
    store = Store()
    async with writing(store) as writer:
        await until(store, lambda: store.written)
        await asyncio.sleep(0.1)
        assert store.written == [("gateway/status/gw", b"0", "s1")]
        for _ in range(10):
            writer.note_change()
        await until(store, lambda: len(store.written) > 1)
        await asyncio.sleep(0.1)
        assert [value for _, value, _ in store.written] == [b"0", b"1"]
        assert writer.duty.state.done
    assert store.alive == set()


async def test_a_session_that_was_ended_is_made_anew_and_the_key_written_again() -> None:
    store = Store()
    async with writing(store):
        await until(store, lambda: store.written)
        store.alive.clear()
        await until(store, lambda: len(store.written) > 1)
        assert store.written[-1][2] == "s2"


async def test_trouble_is_told_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    store.trouble = ConsulDenied("403", "PUT /v1/session/create")
    async with writing(store) as writer:
        await asyncio.sleep(0.1)
        assert "403" in (writer.duty.state.error or "")
        assert len(caplog.records) == 1
        store.trouble = None
        await until(store, lambda: store.written)
        await asyncio.sleep(0)
        assert writer.duty.state.error is None


async def test_a_write_that_fails_is_made_up_for() -> None:
    store = Store()
    async with writing(store) as writer:
        await until(store, lambda: store.written)
        store.trouble = ConsulUnreachable("refused", "x")
        writer.note_change()
        await asyncio.sleep(0.05)
        store.trouble = None
        await until(store, lambda: len(store.written) > 1)


async def test_a_key_that_another_holds_is_tried_again() -> None:
    store = Store()
    store.acquired = False
    async with writing(store) as writer:
        await until(store, lambda: len(store.written) > 2)
        assert "another session" in (writer.duty.state.error or "")
        store.acquired = True
        await asyncio.sleep(0.1)
        assert writer.duty.state.done


async def test_the_end_does_not_wait_for_a_consul_that_hangs() -> None:
    store = Store()
    async with asyncio.timeout(2):
        async with writing(store):
            await until(store, lambda: store.written)
            store.trouble = ConsulUnreachable("hangs", "x")
