"""What whoever serves requests knows of itself, at one moment."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from gateway.core.breaker import CircuitState
from gateway.core.model import InstanceKey
from gateway.core.views import CircuitView, Counters, RouteLoad
from gateway.pipeline.rate_limits import RateLoad
from gateway.proxy.client.server_certificates import CertificateStanding
from gateway.telemetry.counts import Counts


@dataclass(frozen=True, slots=True)
class Figures:
    """Goes from process to process: plain values only."""

    counters: Counters = field(default_factory=Counters)
    counts: Counts = field(default_factory=Counts)
    circuits: Sequence[CircuitView] = ()
    loads: Sequence[RouteLoad] = ()
    rate_limits: Sequence[RateLoad] = ()
    violations: Mapping[str, int] = field(default_factory=dict)
    connections: int = 0
    connections_dropped: int = 0
    certificates: Sequence[CertificateStanding] = ()
    handshake_failures: Mapping[str, int] = field(default_factory=dict)
    in_flight: int = 0
    dropped_log_lines: int = 0
    dropped_spans: int = 0
    dropped_journal_events: int = 0
    lag: float = 0.0
    """Seconds."""
    workers: int = 1
    """That serve."""
    restarts: int = 0
    """Workers that were replaced."""


def together(every: Sequence[Figures]) -> Figures:
    """Of several workers as of one: sums, and of the lag the worst."""
    return Figures(
        counters=_counters(each.counters for each in every),
        counts=_counts(each.counts for each in every),
        circuits=_circuits(circuit for each in every for circuit in each.circuits),
        loads=_loads(load for each in every for load in each.loads),
        rate_limits=_rate_limits(load for each in every for load in each.rate_limits),
        violations=_summed(each.violations for each in every),
        connections=sum(each.connections for each in every),
        connections_dropped=sum(each.connections_dropped for each in every),
        in_flight=sum(each.in_flight for each in every),
        dropped_log_lines=sum(each.dropped_log_lines for each in every),
        certificates=next((each.certificates for each in every if each.certificates), ()),
        handshake_failures=_summed(each.handshake_failures for each in every),
        dropped_spans=sum(each.dropped_spans for each in every),
        dropped_journal_events=sum(each.dropped_journal_events for each in every),
        lag=max((each.lag for each in every), default=0.0),
        workers=sum(each.workers for each in every),
        restarts=sum(each.restarts for each in every),
    )


def remains(figures: Figures) -> Figures:
    """What stays of a worker that has died: all that it counted, and nothing of what it had in hand."""
    counters = replace(figures.counters, tickets=sum(figures.counters.outcomes.values()))
    return replace(
        figures,
        counters=counters,
        circuits=(),
        loads=(),
        certificates=(),
        rate_limits=tuple(RateLoad(load.route, 0, load.forgotten) for load in figures.rate_limits),
        connections=0,
        in_flight=0,
        lag=0.0,
        workers=0,
    )


def _counters(every: Iterable[Counters]) -> Counters:
    total = Counters()
    for counters in every:
        for each in fields(Counters):
            value = getattr(counters, each.name)
            if isinstance(value, int):
                setattr(total, each.name, getattr(total, each.name) + value)
            else:
                of_total = getattr(total, each.name)
                for key, count in value.items():
                    of_total[key] += count
    return total


def _counts(every: Iterable[Counts]) -> Counts:
    total = Counts()
    for counts in every:
        total.add(counts)
    return total


def _summed(every: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for counts in every:
        total.update(counts)
    return total


def _circuits(every: Iterable[CircuitView]) -> Sequence[CircuitView]:
    """Of each instance as the worker has it whose its circuit is; with what all of them have in flight there."""
    of_key: defaultdict[InstanceKey, list[CircuitView]] = defaultdict(list)
    for view in every:
        of_key[view.key].append(view)
    return [
        replace(max(views, key=_tells), in_flight=sum(view.in_flight for view in views)) for views in of_key.values()
    ]


def _tells(view: CircuitView) -> tuple[bool, bool, int]:
    """How much a worker has to say of a circuit. Where all have it closed, the one with the most failures says more."""
    not_closed = view.state is not CircuitState.CLOSED
    return not_closed, not view.elsewhere, view.consecutive_failures


def _loads(every: Iterable[RouteLoad]) -> Sequence[RouteLoad]:
    in_flight: Counter[str] = Counter()
    queued: Counter[str] = Counter()
    for load in every:
        in_flight[load.route] += load.in_flight
        queued[load.route] += load.queued
    return [RouteLoad(route, count, queued[route]) for route, count in in_flight.items()]


def _rate_limits(every: Iterable[RateLoad]) -> Sequence[RateLoad]:
    keys: Counter[str] = Counter()
    forgotten: Counter[str] = Counter()
    for load in every:
        keys[load.route] += load.keys
        forgotten[load.route] += load.forgotten
    return [RateLoad(route, count, forgotten[route]) for route, count in keys.items()]
