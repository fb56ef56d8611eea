"""One view of Consul, kept by blocking queries (https://developer.hashicorp.com/consul/api-docs/features/blocking).

A turn asks with the index of the last answer, and Consul holds the question until that index is passed or `wait` is
over. The rules, each of which somebody learned the hard way:

- An answer has not necessarily changed anything: what is compared is the content, and an equal one is not passed on.
- An index that goes backwards starts again from nothing, as does any failure; an index that is missing, below 1 or no
  number counts as none.
- Returns without a change are paced by a strict bucket, real changes by a generous one, in which changes that come
  faster are taken together. A view of something that does not exist wakes on *every* change of the catalog, and what
  is awaited there is its first appearance; one in doubt may be confirmed piece by piece without any change to what is
  in force. These have a bucket of their own in between.
- After a failure the next tries are spread by full jitter and at most 15 s apart; the first success ends that.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NoReturn, Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from gateway.discovery.bucket import TokenBucket
from gateway.discovery.doubt import Sign, signs_of
from gateway.discovery.errors import ConsulBadAnswer, ConsulError
from gateway.discovery.transport import Reply
from gateway.discovery.view import View

_log = logging.getLogger("gateway.discovery.watch")
SPREAD = 0.25
"""Seconds over which all watches of a gateway ask again when Consul is back."""

_back_off = wait_exponential(multiplier=0.5, max=15)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of an answer. `empty`: there is nothing of that name in Consul. `recheck`: ask afresh after so many
    seconds even if nothing changes, because doubts end and permissions return without any notice."""

    state: Literal["live", "denied", "doubted"]
    changed: bool
    empty: bool = False
    recheck: float | None = None
    error: str | None = None
    left_out: int = 0


class Subject(Protocol):
    """What is watched."""

    async def read(self, index: int | None, wait: float) -> Reply[bytes]:
        """Ask Consul. Raises ConsulError."""

    async def take(self, reply: Reply[bytes], signs: Sign, /) -> Taken:
        """Make the answer count, or hold it in doubt. Raises ConsulError, and then nothing of it counts."""


class Watchtower(Protocol):
    """The part of the lighthouse that a watch needs."""

    def suspect(self) -> None: ...
    async def rest(self, seconds: float) -> bool: ...


@dataclass(slots=True)
class Pace:
    """Buckets for returns with a change, without one, and of what does not exist or is in doubt."""

    changes: TokenBucket
    wakeups: TokenBucket
    awaited: TokenBucket

    @classmethod
    def standard(cls) -> Pace:
        """Consul's own advice for the strict one: two at once, degrading to one in 15 s."""
        return cls(TokenBucket(20, 10), TokenBucket(2, 1 / 15), TokenBucket(10, 1))


class Watch:
    """Run it as a task; it ends by being cancelled only. `clock` is monotonic seconds, `draw` random in [0, 1)."""

    def __init__(
        self,
        subject: Subject,
        view: View,
        tower: Watchtower,
        *,
        wait: float,
        clock: Callable[[], float],
        draw: Callable[[], float] = random.random,
        stagger: float = 0.0,
        reconnected: bool = False,
        pace: Pace | None = None,
    ) -> None:
        self._subject = subject
        self._tower = tower
        self._wait = wait
        self._clock = clock
        self._draw = draw
        self._stagger = stagger
        self._pace = pace or Pace.standard()
        self._index: int | None = None
        self._highest = 0
        self._fresh = True
        self._losses = int(reconnected)
        """How often Consul was lost."""
        self._judged = 0
        """That many losses have an answer behind them that was asked for since, and counts."""
        self._recheck_at: float | None = None
        self._last: tuple[int, bool, bytes] | None = None
        self._empty = False
        self._scope: asyncio.Timeout | None = None
        self.view = view

    async def run(self) -> NoReturn:
        await self._tower.rest(self._draw() * self._stagger)
        while True:
            try:
                await self.turn()
            except ConsulError as error:
                await self._recover(error)

    def kick(self, lost: bool) -> None:
        """Ask afresh now; `lost`: Consul was away, and what waits there may never return."""
        self._fresh = True
        self._losses += lost
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    @property
    def recheck_in(self) -> float | None:
        """Seconds until a doubted or denied view wants to be asked afresh, None if it is neither."""
        return None if self._recheck_at is None else max(0.0, self._recheck_at - self._clock())

    async def turn(self) -> None:
        """One question and its answer, and then the pause that it earned. Raises ConsulError."""
        if self._fresh or (self._recheck_at is not None and self._clock() >= self._recheck_at):
            self._index, self._recheck_at, self._fresh = None, None, False
            voluntary = True
        else:
            voluntary = False
        asked_with, began, losses = self._index, self._clock(), self._losses
        wait = self._wait if self._recheck_at is None else max(0.01, min(self._wait, self._recheck_at - began))
        reply = await self._read(asked_with, wait)
        if reply is None:
            await self._tower.rest(self._draw() * SPREAD)
            return
        quiet = asked_with is not None and reply.index == asked_with and self._clock() - began >= wait / 2
        signs = self._signs(reply)
        taken = await self._take(reply, signs)
        self._judged = losses
        self._move_on(reply.index)
        self._record(reply, taken)
        await self._rest_after(taken, unpaced=voluntary or quiet)

    async def _read(self, index: int | None, wait: float) -> Reply[bytes] | None:
        """None if the watch was kicked meanwhile."""
        self.view.parked = index is not None
        try:
            async with asyncio.timeout(None) as self._scope:
                return await self._subject.read(index, wait)
        except TimeoutError:
            return None
        finally:
            self._scope = None
            self.view.parked = False

    def _signs(self, reply: Reply[bytes]) -> Sign:
        """Reasons to doubt this answer."""
        signs = signs_of(reply)
        if self._losses > self._judged:
            signs |= Sign.RECONNECTED
        if self._fell(reply.index):
            signs |= Sign.RESET
        return signs

    def _fell(self, index: int | None) -> bool:
        return index is not None and index < self._highest

    def _move_on(self, index: int | None) -> None:
        """An answer with this index counts."""
        self._index = None if self._fell(index) else index
        self._highest = index or self._highest

    async def _take(self, reply: Reply[bytes], signs: Sign) -> Taken:
        """Pass the answer on, unless it is byte for byte the one that is in force.

        One with signs is passed on all the same: after an agent's restart the first answer may be as ever, and what it
        makes doubtful comes in the next ones.
        """
        digest = (reply.status, reply.filtered_by_acls, hashlib.blake2b(reply.data, digest_size=16).digest())
        if digest == self._last and self.view.state == "live" and not signs:
            taken = Taken("live", changed=False, empty=self._empty, left_out=self.view.left_out)
        else:
            try:
                taken = await self._subject.take(reply, signs)
            except ConsulError:
                raise
            except Exception as error:
                _log.exception("an answer of Consul to %s tripped us over", self.view.name)
                raise ConsulBadAnswer(f"{type(error).__name__}: {error}", self.view.name) from error
        self._last = digest if taken.recheck is None else None
        self._empty = taken.empty
        return taken

    def _record(self, reply: Reply[bytes], taken: Taken) -> None:
        view = self.view
        view.index = reply.index
        view.wakeups += 1
        view.empty_wakeups += not taken.changed
        view.left_out = taken.left_out
        view.answered(taken.state, taken.error, changed=taken.changed)
        if taken.recheck is None:
            self._recheck_at = None
        else:
            due = self._clock() + taken.recheck
            self._recheck_at = due if self._recheck_at is None else min(due, self._recheck_at)

    async def _rest_after(self, taken: Taken, *, unpaced: bool) -> None:
        if taken.changed:
            bucket = self._pace.changes
        elif unpaced or taken.recheck == 0:
            return
        else:
            awaited = taken.empty or taken.state != "live"
            bucket = self._pace.awaited if awaited else self._pace.wakeups
        delay = bucket.take(self._clock())
        if delay > 0:
            self.view.throttled += 1
            await self._tower.rest(delay)

    async def _recover(self, error: ConsulError) -> None:
        """From the first failure to the next success. The back-off starts anew when Consul was seen to be back."""
        failure = error
        while True:
            try:
                await self._retry(failure)
            except ConsulError as again:
                failure = again
            else:
                return

    async def _retry(self, failure: ConsulError) -> None:
        roused = False
        pending: ConsulError | None = failure

        async def rest(seconds: float) -> None:
            nonlocal roused
            roused = await self._tower.rest(seconds)
            if roused:
                await self._tower.rest(self._draw() * SPREAD)

        async def again() -> None:
            # the failure that has brought us here counts as the first try, so that a pause comes before the second
            nonlocal pending
            if pending is not None:
                first, pending = pending, None
                raise first
            try:
                await self.turn()
            except ConsulError as error:
                self.failed(error)
                raise

        def spread(state: RetryCallState) -> float:
            return self._draw() * _back_off(state)

        self.failed(failure)
        await AsyncRetrying(
            retry=retry_if_exception_type(ConsulError),
            stop=lambda _state: roused,
            wait=spread,
            sleep=rest,
            reraise=True,
        )(again)

    def failed(self, error: ConsulError) -> None:
        """A turn raised: the next one asks afresh, and its answer is one after a reconnect."""
        self._fresh = True
        self._losses += 1
        self._index = None
        self.view.failed(error)
        self._tower.suspect()
