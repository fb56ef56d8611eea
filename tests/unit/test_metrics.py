"""Metrics: stable names, closed labels, and a scrape that does not hold the loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from multidict import CIMultiDict
from opentelemetry.sdk.metrics.export import HistogramDataPoint
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.core.breaker import CircuitState
from gateway.core.facts import RequestFacts
from gateway.core.model import CircuitMode, Health, Instance, InstanceKey, Outcome, Reason
from gateway.core.views import CircuitView, Counters, RouteLoad
from gateway.journal.properties import Property
from gateway.telemetry import durations
from gateway.telemetry.access import AccessEntry, AccessLog
from gateway.telemetry.counts import Counts
from gateway.telemetry.durations import DurationHistogram
from gateway.telemetry.instruments import COUNTERS, GAUGES
from gateway.telemetry.lag import LoopLag
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.observer import Observer
from gateway.telemetry.records import AttemptRecord, RequestRecord
from gateway.telemetry.redaction import Redaction
from gateway.telemetry.sources import MetricSources
from gateway.telemetry.trace_context import TraceContext

ONE = Instance(InstanceKey("dc1", "n1", "orders-1"), "orders", "127.0.0.1", 1, weight_passing=10)
CIRCUIT = CircuitView(ONE.key, "orders", CircuitState.CLOSED, CircuitMode.ENFORCE, 0.0, None, 0, 0, 2)


@dataclass
class View:
    name: str = "routes"
    state: str = "live"
    age: float | None = 1.5
    wakeups: int = 3
    empty_wakeups: int = 1
    throttled: int = 0


@dataclass
class Rates:
    route: str = "orders"
    keys: int = 11
    forgotten: int = 12


@dataclass
class Certificate:
    file: str = "/a.pem"
    not_after: float = 1801353600.0
    error: str | None = None


@dataclass
class World:
    """What the owners of the figures would tell."""

    counters: Counters = field(default_factory=Counters)
    routes: set[str] = field(default_factory=lambda: {"orders", "users"})
    services: dict[str, tuple[Instance, ...]] = field(default_factory=lambda: {"orders": (ONE,)})
    circuits: list[CircuitView] = field(default_factory=lambda: [CIRCUIT])
    loads: list[RouteLoad] = field(default_factory=lambda: [RouteLoad("orders", 2, 5)])
    rates: list[Rates] = field(default_factory=lambda: [Rates()])
    views: list[View] = field(default_factory=lambda: [View()])
    violations: dict[str, int] = field(default_factory=lambda: dict.fromkeys(Property, 0))

    def sources(self) -> MetricSources:
        return MetricSources(
            counters=lambda: self.counters,
            routes=lambda: self.routes,
            services=lambda: self.services,
            circuits=lambda: self.circuits,
            loads=lambda: self.loads,
            rate_limits=lambda: self.rates,
            views=lambda: self.views,
            rejected_keys=lambda: 4,
            dropped_instances=lambda: 5,
            dropped_log_lines=lambda: 6,
            dropped_journal_events=lambda: 8,
            dropped_spans=lambda: 9,
            violations=lambda: self.violations,
            connections=lambda: 7,
            certificates=lambda: [Certificate(), Certificate("/b.pem", error="is not the key")],
            handshake_failures=lambda: {"timeout": 3, "protocol": 0},
        )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
async def metrics(world: World, counts: Counts) -> AsyncIterator[Metrics]:
    made = Metrics(world.sources(), lambda: counts, gateway_id="gw-1", mode="edge")
    yield made
    made.close()


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def _scrape(metrics: Metrics) -> Samples:
    text = (await metrics.render()).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def _get(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


def _labels(samples: Samples, name: str) -> list[dict[str, str]]:
    return [dict(labels) for found, labels in samples if found == name]


async def test_request_durations_have_the_stable_names(metrics: Metrics, counts: Counts) -> None:
    counts.request_ended("GET", "orders", 200, None, 0.02)
    counts.request_ended("GET", "orders", 200, None, 0.025)
    samples = await _scrape(metrics)
    labels = {"http_route": "orders", "http_request_method": "GET", "http_response_status_code": "200"}
    name = "http_server_request_duration_seconds"
    assert _get(samples, f"{name}_count", **labels) == 2
    assert _get(samples, f"{name}_sum", **labels) == pytest.approx(0.045)
    assert _get(samples, f"{name}_bucket", **labels, le="0.01") == 0
    assert _get(samples, f"{name}_bucket", **labels, le="0.025") == 2, "a bound belongs to its bucket"
    assert _get(samples, f"{name}_bucket", **labels, le="+Inf") == 2


async def test_label_sets_are_closed_whatever_clients_send(metrics: Metrics, counts: Counts) -> None:
    for number in range(100):
        counts.request_ended(f"METHOD{number}", None, 400, Reason.BAD_REQUEST, 0.001)
        counts.request_ended("GET", "orders", 600 + number, None, 0.001)
    samples = await _scrape(metrics)
    found = _labels(samples, "http_server_request_duration_seconds_count")
    assert sorted(labels["http_request_method"] for labels in found) == ["GET", "_OTHER"]
    assert {labels["http_response_status_code"] for labels in found} == {"400", ""}
    assert _get(samples, "gateway_refusals_total", reason="bad_request") == 100


async def test_attempts_are_told_by_service_and_failure(metrics: Metrics, counts: Counts) -> None:
    counts.attempt_ended("orders", 200, 0.01)
    counts.attempt_ended("orders", "reset", 0.01)
    samples = await _scrape(metrics)
    name = "http_client_request_duration_seconds_count"
    ok = {"gateway_service": "orders", "http_response_status_code": "200", "error_type": ""}
    failed = {"gateway_service": "orders", "http_response_status_code": "", "error_type": "reset"}
    assert (_get(samples, name, **ok), _get(samples, name, **failed)) == (1, 1)
    assert _get(samples, "gateway_attempt_failures_total", service="orders", kind="reset") == 1


async def test_failures_of_predicates_are_told_by_route_and_field(
    metrics: Metrics, counts: Counts, world: World
) -> None:
    name, labels = "gateway_predicate_errors_total", {"route": "orders", "where": "when"}
    for _ in range(2):
        counts.predicate_failed("orders", "when")
    counts.predicate_failed("users", "when")
    assert _get(await _scrape(metrics), name, **labels) == 2
    world.routes.remove("users")
    assert _labels(await _scrape(metrics), name) == [labels]


async def test_series_of_what_is_gone_vanish(metrics: Metrics, counts: Counts, world: World) -> None:
    counts.request_ended("GET", "users", 200, None, 0.01)
    counts.request_ended("GET", None, 404, Reason.NO_ROUTE, 0.01)
    counts.attempt_ended("orders", "reset", 0.01)
    counts.circuit_changed("orders", CircuitState.OPEN)
    assert "orders-1" in (await metrics.render()).decode()
    world.routes.remove("users")
    world.services.clear()
    world.circuits.clear()
    text = (await metrics.render()).decode()
    assert "users" not in text
    assert "orders-1" not in text
    assert 'service="orders"' not in text
    assert 'http_response_status_code="404"' in text


async def test_the_core_and_consul_are_read_at_a_scrape(metrics: Metrics, counts: Counts, world: World) -> None:
    world.counters.tickets = 9
    world.counters.outcomes[Outcome.RESPONDED] = 6
    world.counters.retries_denied = 2
    open_circuit = replace(CIRCUIT, state=CircuitState.HALF_OPEN)
    world.circuits = [open_circuit]
    world.services = {"orders": (replace(ONE, health=Health.WARNING),)}
    world.views = [View(state="stale"), View("service:orders", "pending", None)]
    counts.circuit_changed("orders", CircuitState.OPEN)
    samples = await _scrape(metrics)
    one = {"service": "orders", "instance": "dc1/n1/orders-1"}
    assert _get(samples, "gateway_tickets_total", outcome="responded") == 6
    assert _get(samples, "gateway_tickets_open") == 3
    assert _get(samples, "gateway_retries_denied_total") == 2
    assert _get(samples, "gateway_circuit_state", **one, mode="enforce") == 1
    assert _get(samples, "gateway_circuit_changes_total", service="orders", to="open") == 1
    assert _get(samples, "gateway_instance_in_flight", **one) == 2
    assert _get(samples, "gateway_instance_health", **one) == 1
    assert _get(samples, "gateway_instance_weight", **one) == 1
    assert _get(samples, "gateway_route_queued", route="orders") == 5
    assert _get(samples, "gateway_route_in_flight", route="orders") == 2
    assert _get(samples, "gateway_view_age_seconds", view="routes") == 1.5
    assert _get(samples, "gateway_rate_keys", route="orders") == 11
    assert _get(samples, "gateway_rate_keys_forgotten_total", route="orders") == 12
    assert {"view": "service:orders"} not in _labels(samples, "gateway_view_age_seconds"), "no age before the first"
    assert _get(samples, "gateway_view_state", view="routes", state="stale") == 1
    assert _get(samples, "gateway_view_state", view="routes", state="live") == 0
    assert _get(samples, "gateway_view_wakeups_total", view="routes") == 3
    assert _get(samples, "gateway_view_wakeups_empty_total", view="routes") == 1
    assert _get(samples, "gateway_keys_rejected") == 4
    assert _get(samples, "gateway_instances_dropped") == 5
    assert _get(samples, "gateway_log_lines_dropped_total") == 6
    assert _get(samples, "gateway_journal_events_dropped_total") == 8
    assert _get(samples, "gateway_spans_dropped_total") == 9
    assert _get(samples, "gateway_connections") == 7
    assert _get(samples, "gateway_ready") == 1
    assert _labels(samples, "gateway_info")[0]["id"] == "gw-1"
    assert _get(samples, "process_start_time_seconds") == pytest.approx(time.time(), abs=60)


async def test_each_property_has_a_series_from_the_start_while_it_is_watched(metrics: Metrics, world: World) -> None:
    name = "gateway_monitor_violations_total"
    world.violations["BoundedQueue"] = 2
    samples = await _scrape(metrics)
    assert {labels["property"] for labels in _labels(samples, name)} == {*Property}
    assert _get(samples, name, property="BoundedQueue") == 2
    assert _get(samples, name, property="NoRequestLoss") == 0
    world.violations.clear()
    assert not _labels(await _scrape(metrics), name), "a 0 that nobody counted"


async def test_certificates_tell_when_they_end_and_whether_their_files_are_in_force(metrics: Metrics) -> None:
    samples = await _scrape(metrics)
    assert _get(samples, "gateway_tls_certificate_expiry_seconds", certificate="/a.pem") == 1801353600
    assert _get(samples, "gateway_tls_certificate_rejected", certificate="/a.pem") == 0
    assert _get(samples, "gateway_tls_certificate_rejected", certificate="/b.pem") == 1
    assert _get(samples, "gateway_tls_handshakes_failed_total", reason="timeout") == 3
    assert _get(samples, "gateway_tls_handshakes_failed_total", reason="protocol") == 0


async def test_every_instrument_is_fed(metrics: Metrics, counts: Counts) -> None:
    counts.predicate_failed("orders", "when")
    counts.shadow_ended("orders", "answered")
    counts.attempt_ended("orders", "reset", 0.01)
    counts.circuit_changed("orders", CircuitState.OPEN)
    names = {name for name, _ in await _scrape(metrics)}
    for counter in COUNTERS:
        assert counter.name.replace(".", "_") + "_total" in names
    for gauge in GAUGES:
        assert gauge.name.replace(".", "_") + ("_seconds" if gauge.unit == "s" else "") in names


def test_series_are_bounded() -> None:
    histogram = DurationHistogram("x", "", ("a",), limit=3)
    for number in range(10):
        histogram.record((str(number),), 0.1)
    points = [point for point in histogram.metric().data.data_points if isinstance(point, HistogramDataPoint)]
    assert len(points) == 4
    assert {point.count for point in points} == {1, 7}
    histogram.keep(lambda _: False)
    assert [dict(point.attributes or {}) for point in histogram.metric().data.data_points] == [
        {"otel.metric.overflow": True}
    ]


def test_what_is_above_the_last_bound_is_counted() -> None:
    histogram = DurationHistogram("x", "", ("a",))
    histogram.record(("",), durations.BOUNDS[-1] + 1)
    (point,) = histogram.metric().data.data_points
    assert isinstance(point, HistogramDataPoint)
    assert point.attributes == {}
    assert (point.count, point.bucket_counts[-1]) == (1, 1)


async def test_a_scrape_is_rendered_off_the_loop(
    metrics: Metrics, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def noted(registry: CollectorRegistry) -> bytes:
        threads.append(threading.get_ident())
        return generate_latest(registry)

    monkeypatch.setattr("gateway.telemetry.metrics.generate_latest", noted)
    counts.request_ended("GET", "orders", 200, None, 0.01)
    assert b"http_server_request_duration" in await metrics.render()
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


async def test_scrapes_at_once_share_one_rendering(metrics: Metrics) -> None:
    one, two = await asyncio.gather(metrics.render(), metrics.render())
    assert one is two
    assert await metrics.render() is not one


async def test_a_cancelled_scrape_does_not_spoil_the_next(metrics: Metrics) -> None:
    scrape = asyncio.create_task(metrics.render())
    await asyncio.sleep(0)
    scrape.cancel()
    assert b"gateway_info" in await metrics.render()


async def test_a_blocked_loop_shows_as_lag() -> None:
    lag = LoopLag()
    lag.start()
    assert lag.worst == 0
    time.sleep(0.4)
    async with asyncio.timeout(5):
        while lag.worst == 0:
            await asyncio.sleep(0.01)
    assert 0.1 < lag.worst < 5
    lag.stop()


async def test_recording_is_cheap(metrics: Metrics, counts: Counts) -> None:
    rounds = 20_000
    began = time.perf_counter()
    for _ in range(rounds):
        counts.request_ended("GET", "orders", 200, None, 0.01)
        counts.attempt_ended("orders", 200, 0.01)
    cost = (time.perf_counter() - began) / rounds * 1e6
    print(f"\n{cost:.2f} µs for each request with one attempt")
    assert cost < 15


FACTS = RequestFacts(
    "GET", "x", "/orders", "page=2&token=s3cret", CIMultiDict({"User-Agent": "curl", "Cookie": "a=b"}), ""
)
CONTEXT = TraceContext("ab" * 16, None, "cd" * 8, sampled=False)


def _record(**changes: object) -> RequestRecord:
    usual: dict[str, Any] = {
        "method": "GET",
        "path": "/orders",
        "route": "orders",
        "status": 200,
        "outcome": Outcome.RESPONDED,
        "reason": None,
        "duration": 0.25,
        "attempts": 2,
        "instance": ONE,
        "bytes_in": 1,
        "bytes_out": 2,
        "request_id": "r1",
        "ticket": 7,
        "client_ip": "10.0.0.1",
        "detail": None,
        "trace": (
            AttemptRecord(ONE, 0.1, 0.2, "1" * 16, "reset", connect=0.01, duration=0.05),
            AttemptRecord(ONE, 0.15, 1.25, "2" * 16, 200, connect=0.02, first_byte=0.03, duration=0.04),
        ),
        "queue": 0.1,
        "facts": FACTS,
        "context": CONTEXT,
    }
    usual.update(changes)
    return RequestRecord(**usual)


def _no_age(service: str) -> float | None:
    return None


class Entries(AccessLog):
    def __init__(self) -> None:
        super().__init__("off")
        self.enabled = True
        self.seen: list[AccessEntry] = []

    def write(self, make: Callable[[], AccessEntry]) -> None:
        self.seen.append(make())


async def test_a_record_goes_to_metrics_and_access_log(metrics: Metrics, counts: Counts) -> None:
    entries = Entries()
    observer = Observer(counts, entries, Redaction(["cookie"], ["token"], ["user-agent", "cookie", "referer"]), _no_age)
    observer.request_ended(_record())
    refused = _record(status=404, route=None, outcome=Outcome.REJECTED, reason=Reason.NO_ROUTE, trace=())
    observer.request_ended(refused)
    samples = await _scrape(metrics)
    assert _get(samples, "gateway_attempt_failures_total", service="orders", kind="reset") == 1
    assert _get(samples, "gateway_refusals_total", reason="no_route") == 1
    first, second = entries.seen
    assert first.ticket == 7
    assert first.tries == (("dc1/n1/orders-1", "reset", 0.05), ("dc1/n1/orders-1", "200", 0.04))
    assert first.ts <= datetime.now(UTC)
    assert (first.duration, first.queue, first.connect, first.first_byte) == (0.25, 0.1, 0.02, 0.03)
    assert (first.view_age, first.trace_id) == (1.25, CONTEXT.trace_id)
    assert (first.query, first.headers) == ("page=2&token=***", {"user-agent": "curl", "cookie": "***"})
    assert (second.reason, second.outcome, second.tries) == ("no_route", "rejected", ())
    assert (second.connect, second.first_byte, second.view_age) == (None, None, None)


async def test_what_could_not_be_read_has_a_line_too(counts: Counts) -> None:
    entries = Entries()
    observer = Observer(counts, entries, Redaction((), (), ["user-agent"]), _no_age)
    observer.request_ended(_record(facts=None, context=None, trace=()))
    (entry,) = entries.seen
    assert (entry.query, entry.headers, entry.trace_id) == ("", {}, None)
