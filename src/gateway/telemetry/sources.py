"""What the metrics are read from at a scrape: callables of whoever owns the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.model import Instance
from gateway.core.views import CircuitView, Counters, RouteLoad


class ViewLike(Protocol):
    """One watched view of Consul. `age` is seconds since it was last confirmed, None before the first time."""

    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def age(self) -> float | None: ...
    @property
    def wakeups(self) -> int: ...
    @property
    def empty_wakeups(self) -> int: ...
    @property
    def throttled(self) -> int: ...


class RateLoadLike(Protocol):
    """What a route's rate limits remember. `forgotten` keys had to go while they were live."""

    @property
    def route(self) -> str: ...
    @property
    def keys(self) -> int: ...
    @property
    def forgotten(self) -> int: ...


class CertificateLike(Protocol):
    """A certificate that clients are shown. `not_after` in Unix time; `error`: why what its files hold now is not in
    force."""

    @property
    def file(self) -> str: ...
    @property
    def not_after(self) -> float: ...
    @property
    def error(self) -> str | None: ...


VIEW_STATES = ("pending", "live", "stale", "denied", "doubted", "failing")


def _none() -> int:
    return 0


@dataclass(frozen=True, kw_only=True)
class MetricSources:
    """Each is called in the event loop, once for each scrape, and has to be quick."""

    counters: Callable[[], Counters]
    routes: Callable[[], Iterable[str]]
    """Names of the effective routes; the series of others are forgotten."""
    services: Callable[[], Mapping[str, Sequence[Instance]]]
    circuits: Callable[[], Iterable[CircuitView]]
    loads: Callable[[], Iterable[RouteLoad]]
    views: Callable[[], Iterable[ViewLike]]
    rate_limits: Callable[[], Iterable[RateLoadLike]] = tuple
    rejected_keys: Callable[[], int] = _none
    dropped_instances: Callable[[], int] = _none
    """Instances that Consul lists and the gateway leaves out: malformed, or of a denied address."""
    dropped_log_lines: Callable[[], int] = _none
    dropped_spans: Callable[[], int] = _none
    dropped_journal_events: Callable[[], int] = _none
    violations: Callable[[], Mapping[str, int]] = dict
    """What the monitor found, by each property it watches over; empty where it is off."""
    connections: Callable[[], int] = _none
    """Client connections that are open."""
    connections_dropped: Callable[[], int] = _none
    """Client connections closed because there were too many."""
    workers: Callable[[], int] = lambda: 1
    """That serve."""
    worker_restarts: Callable[[], int] = _none
    certificates: Callable[[], Iterable[CertificateLike]] = tuple
    handshake_failures: Callable[[], Mapping[str, int]] = dict
    """By each reason; empty without TLS."""
    lag: Callable[[], float] = lambda: 0.0
    """Worst lateness of the event loop of late, in seconds."""
    ready: Callable[[], bool] = lambda: True
