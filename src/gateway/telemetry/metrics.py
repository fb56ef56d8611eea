"""Metrics for Prometheus, by the OpenTelemetry SDK.

What was counted as requests ended is given; everything else is read from its owner at a scrape, in the event loop. It
is rendered in a thread.
"""

from __future__ import annotations

import asyncio
import platform
import time
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
from gateway.build import COMPILED
from gateway.telemetry.counts import Counts
from gateway.telemetry.instruments import COUNTERS, GAUGES, read
from gateway.telemetry.sources import MetricSources

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


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
    """One gateway's metrics. Made and rendered in the event loop."""

    def __init__(self, sources: MetricSources, counts: Callable[[], Counts], *, gateway_id: str, mode: str) -> None:
        self._counts = counts
        self._sources = sources
        self._build = {
            "version": __version__,
            "compiled": str(COMPILED).lower(),
            "id": gateway_id,
            "mode": mode,
            "python": platform.python_version(),
        }
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

    async def render(self) -> bytes:
        """The text for Prometheus (see `CONTENT_TYPE`). Scrapes at the same time share one rendering."""
        if self._rendering is None:
            self._rendering = asyncio.create_task(self._render())
        return await asyncio.shield(self._rendering)

    def close(self) -> None:
        """To be called once."""
        self._provider.shutdown()

    async def _render(self) -> bytes:
        try:
            counts = self._counts()
            counts.retain(frozenset(self._sources.routes()), self._sources.services().keys())
            self._readings = self._read(counts)
            self._reader.durations = [counts.server.metric(), counts.client.metric()]
            return await asyncio.to_thread(generate_latest, self._registry)
        finally:
            self._rendering = None

    def _read(self, counts: Counts) -> Mapping[str, list[Observation]]:
        own: dict[str, list[Observation]] = {
            "gateway.info": [Observation(1, self._build)],
            "process.start_time": [Observation(self._started)],
            "gateway.refusals": [Observation(n, {"reason": why.value}) for why, n in counts.refusals.items()],
            "gateway.attempt.failures": [
                Observation(n, {"service": service, "kind": kind}) for (service, kind), n in counts.failures.items()
            ],
            "gateway.circuit.changes": [
                Observation(n, {"service": service, "to": state.value})
                for (service, state), n in counts.circuit_changes.items()
            ],
            "gateway.predicate.errors": [
                Observation(n, {"route": route, "where": where})
                for (route, where), n in counts.predicate_errors.items()
            ],
            "gateway.shadow.requests": [
                Observation(n, {"route": route, "result": result}) for (route, result), n in counts.copies.items()
            ],
        }
        return own | read(self._sources)

    def _callback(self, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return self._readings.get(name, ())

        return observe
