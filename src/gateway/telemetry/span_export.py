"""Delivers spans to a collector (OTLP over HTTP) by a thread, so that neither their making nor a collector that hangs
holds the loop. What is waiting is bounded; what does not fit, or cannot be delivered, is dropped and counted.

The SDK's own batch processor counts neither, and blocks whoever shuts it down.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from gateway.telemetry.records import RequestRecord
from gateway.telemetry.spans import SpanMaker
from gateway.telemetry.trace_context import TraceContext

WAITING_LIMIT = 2048
"""Requests kept while a delivery runs."""
BATCH = 256
"""Requests delivered at once."""
INTERVAL = 1.0

_log = logging.getLogger(__name__)
_exporter_log = logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter")


class _Ended(NamedTuple):
    record: RequestRecord
    context: TraceContext
    at: int

    @property
    def spans(self) -> int:
        return 1 + len(self.record.trace)


def otlp_exporter(endpoint: str | None, environment: Mapping[str, str]) -> SpanExporter | None:
    """Delivers to the URL `endpoint`, or where OpenTelemetry's variables say; None without either, or where these
    disable the SDK.

    Its other variables (`OTEL_EXPORTER_OTLP_HEADERS`, `…_CERTIFICATE`, `…_TIMEOUT`, `…_COMPRESSION`) hold as well.
    """
    named = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    wanted = endpoint is not None or any(environment.get(name) for name in named)
    if not wanted or environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint)


class SpanExport:
    """To be used in the event loop. The exporter and the maker are the thread's alone."""

    def __init__(self, exporter: SpanExporter, maker: SpanMaker) -> None:
        self.dropped = 0
        """Spans."""
        self._exporter = exporter
        self._maker = maker
        self._waiting: list[_Ended] = []
        self._timer: asyncio.TimerHandle | None = None
        self._batches: SimpleQueue[tuple[asyncio.AbstractEventLoop, list[_Ended]]] = SimpleQueue()
        self._thread: Thread | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closing = False
        self._failed = False

    def add(self, record: RequestRecord, context: TraceContext) -> None:
        """Takes a request that ends now."""
        ended = _Ended(record, context, time.time_ns())
        if len(self._waiting) >= WAITING_LIMIT or self._closing:
            self.dropped += ended.spans
            return
        self._waiting.append(ended)
        if not self._idle.is_set():
            return
        if len(self._waiting) >= BATCH:
            self._deliver()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._deliver)

    async def close(self, limit: float = 2.0) -> None:
        """Delivers what is waiting, for at most `limit` seconds."""
        self._closing = True
        if self._idle.is_set():
            self._deliver()
        try:
            async with asyncio.timeout(limit):
                await self._idle.wait()
        except TimeoutError:
            self.dropped += sum(ended.spans for ended in self._waiting)
            self._waiting.clear()
        self._exporter.shutdown()

    def _deliver(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        if not batch:
            return
        if self._thread is None:
            # A daemon: a collector that hangs must not keep the process from ending.
            self._thread = Thread(target=self._run, name="spans", daemon=True)
            self._thread.start()
        self._idle.clear()
        self._batches.put((asyncio.get_running_loop(), batch))

    def _delivered(self, batch: list[_Ended], ok: bool) -> None:
        if not ok:
            self.dropped += sum(ended.spans for ended in batch)
        if ok == self._failed:
            self._failed = not ok
            # It has told the reason; it would tell it again for each batch.
            _exporter_log.disabled = self._failed
            _log.warning("Spans cannot be delivered and are dropped." if self._failed else "Spans are delivered again.")
        if self._waiting and (len(self._waiting) >= BATCH or self._closing):
            self._deliver()
            return
        self._idle.set()
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._deliver)

    def _run(self) -> None:
        while True:
            loop, batch = self._batches.get()
            ok = self._export(batch)
            try:
                loop.call_soon_threadsafe(self._delivered, batch, ok)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def _export(self, batch: list[_Ended]) -> bool:
        try:
            spans = [span for ended in batch for span in self._maker.spans(*ended)]
            return self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001 - whatever it is, a request was served all the same
            _log.exception("Spans failed by an error of the gateway.")
            return False
