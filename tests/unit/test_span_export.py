"""Delivery of spans: batched, bounded, and never in a request's way, whatever the collector does."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from gateway.telemetry import span_export
from gateway.telemetry.redaction import Redaction
from gateway.telemetry.span_export import SpanExport, otlp_exporter
from gateway.telemetry.spans import SpanMaker
from tests.unit.test_spans import CONTEXT, RECORD

SPANS = 3
"""Of the one record."""


@pytest.fixture(autouse=True)
def _restore_logger() -> Iterator[None]:
    yield
    span_export._exporter_log.disabled = False


class Collector(SpanExporter):
    """Takes what it is sent, once it is `open`, and answers `result`; `down` is told when it is done with."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.result = SpanExportResult.SUCCESS
        self.error: Exception | None = None
        self.open = threading.Event()
        self.open.set()
        self.asked = threading.Event()
        self.down = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.open.wait(10)
        self.batches.append(len(spans))
        if self.error is not None:
            raise self.error
        return self.result

    def shutdown(self) -> None:
        self.down = True


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def export(collector: Collector) -> SpanExport:
    return SpanExport(collector, SpanMaker(Redaction((), ()), service="edge", gateway_id="gw-1"))


def _exporter_is_mute() -> bool:
    return span_export._exporter_log.disabled


async def _settled(export: SpanExport) -> None:
    export._deliver()
    async with asyncio.timeout(5):
        await export._idle.wait()


async def test_what_ended_is_delivered_together(export: SpanExport, collector: Collector) -> None:
    for _ in range(4):
        export.add(RECORD, CONTEXT)
    assert not collector.batches, "not at once"
    await export.close()
    assert (collector.batches, export.dropped, collector.down) == ([4 * SPANS], 0, True)


async def test_it_is_delivered_without_being_asked(
    export: SpanExport, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_export, "INTERVAL", 0.01)
    export.add(RECORD, CONTEXT)
    assert await asyncio.to_thread(collector.asked.wait, 5)
    await export.close()


async def test_a_full_batch_does_not_wait_for_the_clock(
    export: SpanExport, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_export, "INTERVAL", 60.0)
    for _ in range(span_export.BATCH):
        export.add(RECORD, CONTEXT)
    assert await asyncio.to_thread(collector.asked.wait, 5)
    await export.close()
    assert collector.batches == [span_export.BATCH * SPANS]


async def test_a_collector_that_hangs_costs_spans_alone(
    export: SpanExport, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_export, "WAITING_LIMIT", 10)
    collector.open.clear()
    export.add(RECORD, CONTEXT)
    export._deliver()
    assert await asyncio.to_thread(collector.asked.wait, 5)
    for _ in range(15):
        export.add(RECORD, CONTEXT)
    assert export.dropped == 5 * SPANS
    async with asyncio.timeout(2):
        await export.close(limit=0.05)
    assert (export.dropped, collector.down) == (15 * SPANS, True)
    export.add(RECORD, CONTEXT)
    assert export.dropped == 16 * SPANS
    collector.open.set()


async def test_at_the_end_all_that_waits_is_delivered(
    export: SpanExport, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_export, "BATCH", 2)
    collector.open.clear()
    for _ in range(7):
        export.add(RECORD, CONTEXT)
    closing = asyncio.create_task(export.close())
    collector.open.set()
    await closing
    assert (collector.batches, export.dropped) == ([2 * SPANS, 2 * SPANS, 2 * SPANS, SPANS], 0)


@pytest.mark.parametrize("error", [None, RuntimeError("no")])
async def test_what_cannot_be_delivered_is_counted_and_told_once(
    export: SpanExport, collector: Collector, error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    collector.result, collector.error = SpanExportResult.FAILURE, error
    for number in (1, 2):
        export.add(RECORD, CONTEXT)
        await _settled(export)
        assert export.dropped == number * SPANS
    assert _exporter_is_mute()
    collector.result, collector.error = SpanExportResult.SUCCESS, None
    export.add(RECORD, CONTEXT)
    await _settled(export)
    await export.close()
    assert export.dropped == 2 * SPANS
    assert not _exporter_is_mute()
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == ["Spans cannot be delivered and are dropped.", "Spans are delivered again."]


@pytest.mark.parametrize(
    ("endpoint", "environment", "url"),
    [
        ("http://127.0.0.1:1/here", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:2"}, "http://127.0.0.1:1/here"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:2"}, "http://127.0.0.1:2/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:3/x"}, "http://127.0.0.1:3/x"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        (None, {}, None),
        ("http://127.0.0.1:1/here", {"OTEL_SDK_DISABLED": "True"}, None),
    ],
)
def test_where_spans_go(
    endpoint: str | None, environment: dict[str, str], url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    exporter = otlp_exporter(endpoint, environment)
    assert (exporter and vars(exporter)["_endpoint"]) == url
    if exporter is not None:
        exporter.shutdown()
