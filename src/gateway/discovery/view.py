"""What is known of each view of Consul: its state, its age, and what it cost. For metrics, admin and readiness."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from gateway.discovery.errors import ConsulDenied, ConsulError, ConsulUnavailable, ConsulUnreachable

_log = logging.getLogger("gateway.discovery.view")

State = Literal["pending", "live", "stale", "denied", "doubted", "failing"]
"""pending: nothing asked yet was answered. live: what Consul says is in force. stale: Consul is lost, the last good
view is in force. denied: our token may not see (all of) it, the last good view is in force. doubted: Consul's answer
lacks what was there before and is not believed yet. failing: no answer and nothing to go by."""


@dataclass(frozen=True, slots=True)
class ViewState:
    """`age` is seconds since the view was last confirmed to be what Consul holds, None if it never was; `last_change`
    is Unix time. `empty_wakeups` returned without a change of content, `throttled` were delayed by a token bucket,
    `left_out` entries of the last answer could not be used."""

    name: str
    state: State
    index: int | None
    age: float | None
    error: str | None
    last_change: float | None
    wakeups: int
    empty_wakeups: int
    throttled: int
    left_out: int


class View:
    """The record of one view, kept by its watch."""

    def __init__(self, name: str, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self.name = name
        self.state: State = "pending"
        self.index: int | None = None
        self.error: str | None = None
        self.wakeups = 0
        self.empty_wakeups = 0
        self.throttled = 0
        self.left_out = 0
        self.parked = False
        """Whether a blocking query waits at Consul for the next change."""
        self.settled = asyncio.Event()
        """Whether it is known what there is to know at first: an answer came, or one that says that none will."""
        self.confirmed = asyncio.Event()
        """Whether it ever was live, in this run or in the one that wrote the disk snapshot."""
        self._clock = clock
        self._wall = wall
        self._confirmed_at: float | None = None
        self._last_change: float | None = None

    @property
    def has_content(self) -> bool:
        return self.confirmed.is_set()

    def loaded(self, saved_at: float) -> None:
        """What was taken over, as it was at Unix time `saved_at`, is in force."""
        self._confirmed_at = self._clock() - max(0.0, self._wall() - saved_at)
        self.confirmed.set()
        self._become("stale", "taken over from before; Consul has not answered yet")

    def answered(self, state: Literal["live", "denied", "doubted"], error: str | None, *, changed: bool) -> None:
        if state == "live":
            self._confirmed_at = self._clock()
            self.confirmed.set()
        if changed:
            self._last_change = self._wall()
        self._become(state, error)
        self.settled.set()

    def failed(self, error: ConsulError) -> None:
        if isinstance(error, ConsulDenied):
            self._become("denied", str(error))
        else:
            self._become("stale" if self.has_content else "failing", str(error))
        if not isinstance(error, ConsulUnreachable | ConsulUnavailable):
            self.settled.set()

    def state_at(self, now: float, consul_seen_at: float | None, lost: str | None) -> ViewState:
        """`consul_seen_at` is when Consul last answered anything, `lost` why it does not now.

        A query parked at a Consul that answers and has a leader is confirmation: it would return on a change.
        """
        state, error = self.state, self.error
        if state == "live" and lost is not None:
            state, error = "stale", lost
        return ViewState(
            name=self.name,
            state=state,
            index=self.index,
            age=self.age_at(now, consul_seen_at, lost),
            error=error,
            last_change=self._last_change,
            wakeups=self.wakeups,
            empty_wakeups=self.empty_wakeups,
            throttled=self.throttled,
            left_out=self.left_out,
        )

    def age_at(self, now: float, consul_seen_at: float | None, lost: str | None) -> float | None:
        """The `age` of `state_at` alone."""
        confirmed = self._confirmed_at
        if confirmed is None:
            return None
        if self.state == "live" and lost is None and self.parked and consul_seen_at is not None:
            confirmed = max(confirmed, consul_seen_at)
        return max(0.0, now - confirmed)

    def _become(self, state: State, error: str | None) -> None:
        if state != self.state:
            level = logging.INFO if state == "live" else logging.WARNING
            told = {"view": self.name, "state": state, "was": self.state, "error": error}
            _log.log(level, "view %s is %s%s", self.name, state, f": {error}" if error else "", extra=told)
        self.state, self.error = state, error
