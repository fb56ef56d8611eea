"""A request that ended as OpenTelemetry spans: one of the server, and one of the client for each attempt.

They are made of the record, once all is over, by whoever delivers them: while a request is served, a trace costs it no
more than its ids. Names are those of the semantic conventions for HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from gateway import __version__
from gateway.core.model import Outcome
from gateway.telemetry.counts import METHODS
from gateway.telemetry.records import AttemptRecord, RequestRecord
from gateway.telemetry.redaction import Redaction
from gateway.telemetry.text import clean
from gateway.telemetry.trace_context import TraceContext

Attributes = Mapping[str, str | int | float]

_TEXT_LIMIT = 1024
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


class _GivenIds(IdGenerator):
    """The ids that the request itself has had from its beginning."""

    def __init__(self) -> None:
        self.trace_id = 0
        self.span_id = 0

    def generate_span_id(self) -> int:
        return self.span_id

    def generate_trace_id(self) -> int:
        return self.trace_id


class SpanMaker:
    """For one thread. `service` and `gateway_id` name us; `OTEL_RESOURCE_ATTRIBUTES` add to that."""

    def __init__(self, redaction: Redaction, *, service: str, gateway_id: str) -> None:
        self._redaction = redaction
        self._ids = _GivenIds()
        resource = Resource.create(
            {"service.name": service, "service.instance.id": gateway_id, "service.version": __version__}
        )
        provider = TracerProvider(
            ALWAYS_ON,
            resource,
            shutdown_on_exit=False,
            id_generator=self._ids,
            span_limits=SpanLimits(max_span_attribute_length=_TEXT_LIMIT),
        )
        self._tracer = provider.get_tracer("gateway", __version__)

    def spans(self, record: RequestRecord, context: TraceContext, ended: int) -> Iterator[ReadableSpan]:
        """`ended` is when the request did, in nanoseconds since 1970."""
        began = ended - _nanoseconds(record.duration)
        method = record.method if record.method in METHODS else "_OTHER"
        name = method if record.route is None else f"{method} {record.route}"
        error = _error(record)
        above = _parent(context, context.parent_id)
        attributes = _without_empty(self._of_request(record, method) | {"error.type": error})
        yield self._span(context, context.span_id, above, name, SpanKind.SERVER, attributes, error, (began, ended))
        ours = _parent(context, context.span_id, remote=False)
        for number, attempt in enumerate(record.trace):
            start = began + _nanoseconds(attempt.began)
            times = (start, start + _nanoseconds(attempt.duration))
            error = _attempt_error(attempt)
            attributes = _without_empty(_of_attempt(attempt, method, number) | {"error.type": error})
            yield self._span(context, attempt.span_id, ours, method, SpanKind.CLIENT, attributes, error, times)

    def _span(
        self,
        context: TraceContext,
        span_id: str,
        parent: Context,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        error: str | None,
        times: tuple[int, int],
    ) -> ReadableSpan:
        self._ids.trace_id, self._ids.span_id = int(context.trace_id, 16), int(span_id, 16)
        span = self._tracer.start_span(name, parent, kind, attributes, start_time=times[0])
        if error is not None:
            span.set_status(Status(StatusCode.ERROR))
        span.end(times[1])
        assert isinstance(span, ReadableSpan), "the SDK is disabled, which `otlp_exporter` looks at"
        return span

    def _of_request(self, record: RequestRecord, method: str) -> dict[str, str | int | float | None]:
        facts = record.facts
        told: dict[str, str | int | float | None] = {
            "http.request.method": method,
            "http.request.method_original": None if method == record.method else clean(record.method, 64),
            "http.response.status_code": record.status,
            "http.route": record.route,
            "url.path": record.path,
            "client.address": record.client_ip,
            "gateway.outcome": record.outcome.value,
            "gateway.request_id": record.request_id,
            "gateway.queue": record.queue,
        }
        if facts is not None:
            agent = next(iter(facts.headers.getall("user-agent", ())), None)
            told |= {
                "url.scheme": facts.scheme,
                "url.query": self._redaction.query(facts.query) or None,
                "server.address": facts.host,
                "user_agent.original": None if agent is None else clean(agent),
            }
        return told


def _of_attempt(attempt: AttemptRecord, method: str, number: int) -> dict[str, str | int | float | None]:
    instance = attempt.instance
    return {
        "http.request.method": method,
        "http.request.resend_count": number or None,
        "http.response.status_code": attempt.result if isinstance(attempt.result, int) else None,
        "server.address": instance.address,
        "server.port": instance.port,
        "gateway.service": instance.service,
        "gateway.instance": str(instance.key),
        "gateway.connect": attempt.connect,
        "gateway.first_byte": attempt.first_byte,
        "gateway.view_age": attempt.view_age,
    }


def _error(record: RequestRecord) -> str | None:
    """Of a server only what is not the client's fault is an error (semantic conventions, HTTP spans, status)."""
    if record.outcome is Outcome.BROKEN:
        return str(record.outcome.value)
    if record.status is not None and record.status >= 500:
        return str(record.status if record.reason is None else record.reason.value)
    return None


def _attempt_error(attempt: AttemptRecord) -> str | None:
    if isinstance(attempt.result, str):
        return attempt.result
    return str(attempt.result) if attempt.result >= 400 else None


def _parent(context: TraceContext, span_id: str | None, *, remote: bool = True) -> Context:
    """With that span as the parent, or with none."""
    if span_id is None:
        return Context()
    state = TraceState.from_header([context.state]) if context.state else None
    parent = SpanContext(int(context.trace_id, 16), int(span_id, 16), remote, _SAMPLED, state)
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _without_empty(attributes: Mapping[str, str | int | float | None]) -> Attributes:
    return {name: value for name, value in attributes.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
