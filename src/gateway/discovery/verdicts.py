"""`status/<gateway id>`: what this gateway made of the keys, for operators and their tools to read back.

The key is held by a session with delete behaviour: when the gateway dies, its status goes. It is written when
verdicts or the states of views change, never because an index moved, or it would wake whoever watches, itself included.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

import msgspec

from gateway.discovery.documents import Rejection
from gateway.discovery.duty import Duty
from gateway.discovery.errors import ConsulError
from gateway.discovery.mirror import Tower
from gateway.discovery.view import ViewState

SESSION_TTL = 30
"""Seconds; Consul ends a session that is not renewed after one to two of them."""
RENEW = 10.0
INTERVAL = 1.0
"""Least seconds between two writes; changes that come faster are told together."""
TRY_AGAIN = 5.0
GOODBYE = 2.0
"""Seconds that the end may take where Consul does not answer; its session then ends by itself."""

MOST_REJECTIONS = 200
MOST_VIEWS = 1000
"""Bounds that keep the value well below the 512 kB that Consul's KV takes."""
_LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What is told. `table` is the fingerprint of all documents in force."""

    gateway: str
    version: str
    table: str
    routes: int
    policies: int
    services: int
    views: Sequence[ViewState]
    rejections: Sequence[Rejection]
    written_at: float


class _View(msgspec.Struct):
    index: int | None
    state: str


class _Rejected(msgspec.Struct):
    key: str
    line: int
    column: int
    field: str
    reason: str
    modify_index: int


class _Status(msgspec.Struct):
    format: int
    gateway: str
    version: str
    written_at: float
    table: str
    routes: int
    policies: int
    services: int
    rejected: int
    views: dict[str, _View]
    rejections: list[_Rejected]


def encode(verdicts: Verdicts) -> bytes:
    """One JSON document; `rejected` counts all, `rejections` lists the first ones."""
    rejections = [
        _Rejected(item.key, item.line, item.column, item.field, item.reason[:_LONGEST_REASON], item.modify_index)
        for item in verdicts.rejections[:MOST_REJECTIONS]
    ]
    return msgspec.json.encode(
        _Status(
            format=1,
            gateway=verdicts.gateway,
            version=verdicts.version,
            written_at=verdicts.written_at,
            table=verdicts.table,
            routes=verdicts.routes,
            policies=verdicts.policies,
            services=verdicts.services,
            rejected=len(verdicts.rejections),
            views={view.name: _View(view.index, view.state) for view in verdicts.views[:MOST_VIEWS]},
            rejections=rejections,
        )
    )


def view_states(views: Iterable[ViewState]) -> tuple[tuple[str, str], ...]:
    """What of the views makes a new status worth writing."""
    return tuple((view.name, view.state) for view in views)


class StatusStore(Protocol):
    async def session_create(self, name: str, ttl: int) -> str: ...
    async def session_renew(self, session: str) -> bool: ...
    async def session_destroy(self, session: str) -> None: ...
    async def kv_acquire(self, key: str, value: bytes, session: str) -> bool: ...


class StatusWriter:
    """Keeps the key. `compose` gives the value when it is to be written."""

    def __init__(self, store: StatusStore, key: str, name: str, compose: Callable[[], bytes], tower: Tower) -> None:
        self._store = store
        self._key = key
        self._name = name
        self._compose = compose
        self._tower = tower
        self._session: str | None = None
        self._due = True
        self._wake = asyncio.Event()
        self.duty = Duty("status")

    def note_change(self) -> None:
        self._due = True
        self._wake.set()

    async def run(self) -> NoReturn:
        """Write and renew until cancelled; then end the session, and with it the key."""
        try:
            with self._tower.listening(lambda _lost: self._wake.set()):
                while True:
                    pause = await self._turn()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._wake.wait()
                    self._wake.clear()
        finally:
            await self._close()

    async def _turn(self) -> float:
        """Seconds until the next one is due if nothing changes."""
        try:
            if self._session is not None and not await self._store.session_renew(self._session):
                self._session = None
            if self._session is None:
                self._session = await self._store.session_create(self._name, SESSION_TTL)
                self._due = True
            if self._due:
                return await self._write(self._session)
        except ConsulError as error:
            self.duty.failed(error)
            return TRY_AGAIN
        return RENEW

    async def _write(self, session: str) -> float:
        self._due = False
        try:
            held = await self._store.kv_acquire(self._key, self._compose(), session)
        except ConsulError:
            self._due = True
            raise
        if not held:
            self._due = True
            self.duty.failed(f"{self._key} is held by another session: another gateway of this id, or our last run")
            return TRY_AGAIN
        self.duty.succeeded()
        await asyncio.sleep(INTERVAL)
        return RENEW

    async def _close(self) -> None:
        session, self._session = self._session, None
        self.duty.ended()
        if session is not None:
            with contextlib.suppress(ConsulError, TimeoutError):
                async with asyncio.timeout(GOODBYE):
                    await self._store.session_destroy(session)
