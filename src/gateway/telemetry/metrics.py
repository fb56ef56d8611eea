"""Metrics for Prometheus, by the OpenTelemetry SDK.

Counted when a request ends: durations, refusals and failed attempts, with closed label sets only. Everything else is
read from its owner at a scrape, in the event loop, and rendered in a thread.
"""

from __future__ import annotations

import asyncio
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Metric, MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from gateway import __version__
from gateway.core.breaker import CircuitState
from gateway.core.model import Reason
from gateway.telemetry.durations import DurationHistogram
from gateway.telemetry.instruments import COUNTERS, GAUGES, read
from gateway.telemetry.lag import LoopLag
from gateway.telemetry.sources import MetricSources

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
"""Others are shown as `_OTHER` (OpenTelemetry, HTTP metrics)."""
_STATUSES = {status: str(status) for status in range(100, 600)}


class _Reader(PrometheusMetricReader):
    """Adds what we counted ourselves to what the SDK collects."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(disable_target_info=True, scope_info_enabled=False, registry=registry)
        self.durations: list[Metric] = []

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: object) -> None:
        ours = ScopeMetrics(InstrumentationScope("gateway"), self.durations, "")
        added = ResourceMetrics(Resource.get_empty(), [ours], "")
        super()._receive_metrics(MetricsData([*metrics_data.resource_metrics, added]), timeout_millis, **kwargs)


class Metrics:
    """One gateway's metrics. Made, fed and rendered in the event loop."""

    def __init__(self, sources: MetricSources, *, gateway_id: str, mode: str) -> None:
        self.lag = LoopLag()
        self._sources = sources
        self._server = DurationHistogram(
            "http.server.request.duration",
            "Requests of clients, until the last byte of the response.",
            ("http.route", "http.request.method", "http.response.status_code"),
        )
        self._client = DurationHistogram(
            "http.client.request.duration",
            "Attempts on instances, until the last byte of the response; error.type names a failure.",
            ("gateway.service", "http.response.status_code", "error.type"),
        )
        self._refusals: dict[Reason, int] = dict.fromkeys(Reason, 0)
        self._failures: Counter[tuple[str, str]] = Counter()
        self._changes: Counter[tuple[str, CircuitState]] = Counter()
        self._predicate_errors: Counter[tuple[str, str]] = Counter()
        self._copies: Counter[tuple[str, str]] = Counter()
        self._build = {"version": __version__, "id": gateway_id, "mode": mode, "python": platform.python_version()}
        self._started = time.time()
        self._readings: Mapping[str, list[Observation]] = {}
        self._rendering: asyncio.Task[bytes] | None = None

        self._registry = CollectorRegistry()
        self._reader = _Reader(self._registry)
        self._provider = MeterProvider([self._reader], resource=Resource.get_empty(), shutdown_on_exit=False)
        meter = self._provider.get_meter("gateway")
        for counter in COUNTERS:
            meter.create_observable_counter(
                counter.name, [self._callback(counter.name)], unit=counter.unit, description=counter.description
            )
        for gauge in GAUGES:
            meter.create_observable_gauge(
                gauge.name, [self._callback(gauge.name)], unit=gauge.unit, description=gauge.description
            )

    def request_ended(
        self, method: str, route: str | None, status: int | None, reason: Reason | None, duration: float
    ) -> None:
        """Counts a request, refused ones too. `status` is None where no response head went out."""
        labels = (route or "", method if method in METHODS else "_OTHER", _STATUSES.get(status or 0, ""))
        self._server.record(labels, duration)
        if reason is not None:
            self._refusals[reason] += 1

    def attempt_ended(self, service: str, result: int | str, duration: float) -> None:
        """Counts an attempt. `result` is the response's status, or the kind of failure (a closed set)."""
        if isinstance(result, str):
            self._failures[service, result] += 1
            self._client.record((service, "", result), duration)
        else:
            self._client.record((service, _STATUSES.get(result, ""), ""), duration)

    def circuit_changed(self, service: str, state: CircuitState) -> None:
        """Counts a transition into `state`."""
        self._changes[service, state] += 1

    def predicate_failed(self, route: str, where: str) -> None:
        """Counts an evaluation without a result. `where` is the field of the route that holds the predicate."""
        self._predicate_errors[route, where] += 1

    def shadow_ended(self, route: str, result: str) -> None:
        """Counts a copy for a route's shadow. `result` is of a closed set."""
        self._copies[route, result] += 1

    async def render(self) -> bytes:
        """The text for Prometheus (see `CONTENT_TYPE`). Scrapes at the same time share one rendering."""
        if self._rendering is None:
            self._rendering = asyncio.create_task(self._render())
        return await asyncio.shield(self._rendering)

    def close(self) -> None:
        """Stops measuring; to be called once."""
        self.lag.stop()
        self._provider.shutdown()

    async def _render(self) -> bytes:
        try:
            self._forget_gone()
            self._readings = self._read()
            self._reader.durations = [self._server.metric(), self._client.metric()]
            return await asyncio.to_thread(generate_latest, self._registry)
        finally:
            self._rendering = None

    def _forget_gone(self) -> None:
        """Routes and services that are gone leave the labels; what is counted for others stays."""
        routes = {*self._sources.routes(), ""}
        services = self._sources.services().keys()
        self._server.keep(lambda labels: labels[0] in routes)
        self._client.keep(lambda labels: labels[0] in services)
        for counted, kept in (
            (self._failures, services),
            (self._changes, services),
            (self._predicate_errors, routes),
            (self._copies, routes),
        ):
            for key in [key for key in counted if key[0] not in kept]:
                del counted[key]

    def _read(self) -> Mapping[str, list[Observation]]:
        own: dict[str, list[Observation]] = {
            "gateway.info": [Observation(1, self._build)],
            "process.start_time": [Observation(self._started)],
            "gateway.loop.lag": [Observation(self.lag.worst)],
            "gateway.refusals": [Observation(count, {"reason": why.value}) for why, count in self._refusals.items()],
            "gateway.attempt.failures": [
                Observation(count, {"service": service, "kind": kind})
                for (service, kind), count in self._failures.items()
            ],
            "gateway.circuit.changes": [
                Observation(count, {"service": service, "to": state.value})
                for (service, state), count in self._changes.items()
            ],
            "gateway.predicate.errors": [
                Observation(count, {"route": route, "where": where})
                for (route, where), count in self._predicate_errors.items()
            ],
            "gateway.shadow.requests": [
                Observation(count, {"route": route, "result": result})
                for (route, result), count in self._copies.items()
            ],
        }
        return own | read(self._sources)

    def _callback(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return self._readings.get(name, ())

        return observe
