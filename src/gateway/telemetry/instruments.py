"""The instruments that are read at a scrape: their names, and how they are read from their owners."""

from __future__ import annotations

from typing import NamedTuple

from opentelemetry.metrics import Observation

from gateway.core.breaker import CircuitState
from gateway.telemetry.sources import VIEW_STATES, MetricSources


class Instrument(NamedTuple):
    name: str
    unit: str
    description: str


COUNTERS = (
    Instrument("gateway.tickets", "", "Accepted requests that have ended, by outcome."),
    Instrument("gateway.attempts", "", "Attempts on instances."),
    Instrument("gateway.retries", "", "Attempts after a ticket's first."),
    Instrument("gateway.retries.denied", "", "Retries that the route allowed and the retry budget did not."),
    Instrument("gateway.circuit.openings.held", "", "Circuits that max_open kept closed."),
    Instrument("gateway.circuit.changes", "", "Transitions of a service's circuits, by the state entered."),
    Instrument("gateway.refusals", "", "Requests that the gateway itself refused, by reason."),
    Instrument("gateway.attempt.failures", "", "Failed attempts, by service and kind."),
    Instrument(
        "gateway.rate.keys.forgotten", "", "Keys of a route's rate limits that were forgotten early, for want of room."
    ),
    Instrument(
        "gateway.predicate.errors", "", "Predicates of a route that failed while they were evaluated, by its field."
    ),
    Instrument("gateway.shadow.requests", "", "Copies for a route's shadow, by what became of them."),
    Instrument("gateway.view.wakeups", "", "Answers of Consul to a view's blocking queries."),
    Instrument("gateway.view.wakeups.empty", "", "Those of them that changed nothing."),
    Instrument("gateway.view.throttled", "", "Times that a view's token bucket made it wait."),
    Instrument("gateway.worker.restarts", "", "Workers that ended by themselves and were replaced."),
    Instrument("gateway.connections.dropped", "", "Client connections closed because there were too many."),
    Instrument("gateway.tls.handshakes.failed", "", "Handshakes of TLS with clients that failed, by reason."),
    Instrument(
        "gateway.log.lines.dropped", "", "Access log lines that did not fit the buffer or could not be written."
    ),
    Instrument("gateway.spans.dropped", "", "Spans that did not fit the queue or could not be delivered."),
    Instrument("gateway.journal.events.dropped", "", "Events that the journal could not keep."),
    Instrument(
        "gateway.monitor.violations",
        "",
        "Decisions that broke a property of the specification, by property; only while monitored.",
    ),
)

GAUGES = (
    Instrument("gateway.info", "", "Always 1; its labels tell what runs."),
    Instrument("gateway.ready", "", "1 while /readyz answers 200."),
    Instrument("gateway.workers", "", "Workers that serve; without `workers` the one process counts as one."),
    Instrument("gateway.loop.lag", "s", "Worst lateness of an event loop that serves, in the last ten seconds."),
    Instrument("process.start_time", "s", "When the process started, in seconds since the epoch."),
    Instrument("gateway.connections", "", "Client connections that are open."),
    Instrument("gateway.tls.certificate.expiry", "s", "When a certificate expires, in seconds since the epoch."),
    Instrument(
        "gateway.tls.certificate.rejected",
        "",
        "1 while what a certificate's files hold cannot be used: the last one stays.",
    ),
    Instrument("gateway.tickets.open", "", "Accepted requests that have not ended."),
    Instrument("gateway.view.age", "s", "Time since a view of Consul was last confirmed."),
    Instrument("gateway.view.state", "", "1 for the state that a view of Consul is in, 0 for the others."),
    Instrument("gateway.keys.rejected", "", "Keys in KV whose present version was rejected."),
    Instrument(
        "gateway.instances.dropped", "", "Instances in Consul that are left out: malformed or of a denied address."
    ),
    Instrument("gateway.instance.health", "", "0 passing, 1 warning, 2 critical, 3 maintenance."),
    Instrument("gateway.instance.weight", "", "Consul's weight under the present health; 0 is never picked."),
    Instrument("gateway.circuit.state", "", "0 closed, 1 half_open, 2 open."),
    Instrument("gateway.instance.in_flight", "", "Attempts on an instance that have not ended."),
    Instrument("gateway.route.in_flight", "", "Requests of a route that are being served."),
    Instrument("gateway.route.queued", "", "Requests of a route that wait in its queue."),
    Instrument("gateway.rate.keys", "", "Keys (clients, header values …) that a route's rate limits remember."),
)

_CIRCUIT = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}

Readings = dict[str, list[Observation]]


def read(sources: MetricSources) -> Readings:
    """All figures of the owners, at one moment."""
    return {
        **_totals(sources),
        **_tls(sources),
        **_views(sources),
        **_instances(sources),
        **_circuits(sources),
        **_routes(sources),
    }


def _totals(sources: MetricSources) -> Readings:
    counters = sources.counters()
    return {
        "gateway.tickets": [Observation(n, {"outcome": outcome.value}) for outcome, n in counters.outcomes.items()],
        "gateway.tickets.open": [Observation(counters.tickets - sum(counters.outcomes.values()))],
        "gateway.attempts": [Observation(counters.attempts)],
        "gateway.retries": [Observation(counters.retries)],
        "gateway.retries.denied": [Observation(counters.retries_denied)],
        "gateway.circuit.openings.held": [Observation(counters.openings_held)],
        "gateway.keys.rejected": [Observation(sources.rejected_keys())],
        "gateway.instances.dropped": [Observation(sources.dropped_instances())],
        "gateway.log.lines.dropped": [Observation(sources.dropped_log_lines())],
        "gateway.spans.dropped": [Observation(sources.dropped_spans())],
        "gateway.journal.events.dropped": [Observation(sources.dropped_journal_events())],
        "gateway.monitor.violations": [Observation(n, {"property": name}) for name, n in sources.violations().items()],
        "gateway.connections.dropped": [Observation(sources.connections_dropped())],
        "gateway.connections": [Observation(sources.connections())],
        "gateway.workers": [Observation(sources.workers())],
        "gateway.worker.restarts": [Observation(sources.worker_restarts())],
        "gateway.loop.lag": [Observation(sources.lag())],
        "gateway.ready": [Observation(int(sources.ready()))],
    }


def _tls(sources: MetricSources) -> Readings:
    every = [(certificate, {"certificate": certificate.file}) for certificate in sources.certificates()]
    failed = sources.handshake_failures()
    return {
        "gateway.tls.handshakes.failed": [Observation(count, {"reason": why}) for why, count in failed.items()],
        "gateway.tls.certificate.expiry": [Observation(each.not_after, labels) for each, labels in every],
        "gateway.tls.certificate.rejected": [
            Observation(int(each.error is not None), labels) for each, labels in every
        ],
    }


def _views(sources: MetricSources) -> Readings:
    ages, states, wakeups, empty, throttled = [], [], [], [], []
    for view in sources.views():
        labels = {"view": view.name}
        if view.age is not None:
            ages.append(Observation(view.age, labels))
        states += [Observation(int(view.state == state), labels | {"state": state}) for state in VIEW_STATES]
        wakeups.append(Observation(view.wakeups, labels))
        empty.append(Observation(view.empty_wakeups, labels))
        throttled.append(Observation(view.throttled, labels))
    return {
        "gateway.view.age": ages,
        "gateway.view.state": states,
        "gateway.view.wakeups": wakeups,
        "gateway.view.wakeups.empty": empty,
        "gateway.view.throttled": throttled,
    }


def _instances(sources: MetricSources) -> Readings:
    health, weight = [], []
    for service, instances in sources.services().items():
        for instance in instances:
            labels = {"service": service, "instance": str(instance.key)}
            health.append(Observation(int(instance.health), labels))
            weight.append(Observation(instance.weight, labels))
    return {"gateway.instance.health": health, "gateway.instance.weight": weight}


def _circuits(sources: MetricSources) -> Readings:
    states, in_flight = [], []
    for circuit in sources.circuits():
        labels = {"service": circuit.service, "instance": str(circuit.key)}
        states.append(Observation(_CIRCUIT[circuit.state], labels | {"mode": circuit.mode.value}))
        in_flight.append(Observation(circuit.in_flight, labels))
    return {
        "gateway.circuit.state": states,
        "gateway.instance.in_flight": in_flight,
    }


def _routes(sources: MetricSources) -> Readings:
    loads = list(sources.loads())
    rates = list(sources.rate_limits())
    return {
        "gateway.rate.keys": [Observation(rate.keys, {"route": rate.route}) for rate in rates],
        "gateway.rate.keys.forgotten": [Observation(rate.forgotten, {"route": rate.route}) for rate in rates],
        "gateway.route.in_flight": [Observation(load.in_flight, {"route": load.route}) for load in loads],
        "gateway.route.queued": [Observation(load.queued, {"route": load.route}) for load in loads],
    }
