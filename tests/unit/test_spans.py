"""What of a request is told as spans: ids that were sent, times that add up, stable names, no credentials."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from gateway.core.facts import RequestFacts
from gateway.core.model import Instance, InstanceKey, Outcome, Reason
from gateway.telemetry.records import AttemptRecord, RequestRecord
from gateway.telemetry.redaction import Redaction
from gateway.telemetry.spans import SpanMaker
from gateway.telemetry.trace_context import TraceContext

ONE = Instance(InstanceKey("dc1", "n1", "orders-1"), "orders", "10.0.0.7", 8000)
CALLER, SERVER, FIRST, SECOND = "a" * 16, "b" * 16, "1" * 16, "2" * 16
CONTEXT = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", CALLER, SERVER, sampled=True, state="a=1")
ENDED = 1_700_000_000_000_000_000
FIRST_TRY = AttemptRecord(ONE, 0.1, 0.2, FIRST, "reset", connect=0.01, duration=0.05)
FACTS = RequestFacts(
    "GET", "shop.test", "/orders", "token=s3cret&a=1", CIMultiDict({"User-Agent": "curl"}), "192.0.2.1", "https"
)


def second_try(result: int) -> AttemptRecord:
    return AttemptRecord(ONE, 0.15, 1.25, SECOND, result, connect=0.02, first_byte=0.03, duration=0.0875)


def record_of(**changes: object) -> RequestRecord:
    usual: dict[str, Any] = {
        "method": "GET",
        "path": "/orders",
        "route": "all-orders",
        "status": 200,
        "outcome": Outcome.RESPONDED,
        "reason": None,
        "duration": 0.25,
        "attempts": 2,
        "instance": ONE,
        "bytes_in": 0,
        "bytes_out": 2,
        "request_id": "r1",
        "ticket": 7,
        "client_ip": "192.0.2.1",
        "detail": None,
        "trace": (FIRST_TRY, second_try(200)),
        "facts": FACTS,
        "context": CONTEXT,
    }
    usual.update(changes)
    return RequestRecord(**usual)


RECORD = record_of()


@pytest.fixture
def maker() -> SpanMaker:
    return SpanMaker(Redaction((), ["token"]), service="edge", gateway_id="gw-1")


def _ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    """Trace, span and parent."""
    context = span.get_span_context()
    assert context is not None
    parent = None if span.parent is None else f"{span.parent.span_id:016x}"
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", parent


def _attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def test_the_ids_are_those_that_were_received_and_sent(maker: SpanMaker) -> None:
    spans = list(maker.spans(RECORD, CONTEXT, ENDED))
    trace = CONTEXT.trace_id
    assert [_ids(span) for span in spans] == [
        (trace, SERVER, CALLER),
        (trace, FIRST, SERVER),
        (trace, SECOND, SERVER),
    ]
    assert [span.kind for span in spans] == [SpanKind.SERVER, SpanKind.CLIENT, SpanKind.CLIENT]
    for span in spans:
        context = span.get_span_context()
        assert context is not None
        assert (context.trace_flags.sampled, context.trace_state.to_header()) == (True, "a=1")
    assert spans[0].parent is not None
    assert spans[0].parent.is_remote


def test_a_trace_that_begins_here_has_a_root(maker: SpanMaker) -> None:
    context = TraceContext(CONTEXT.trace_id, None, CONTEXT.span_id, CONTEXT.sampled)
    assert [_ids(span)[2] for span in maker.spans(RECORD, context, ENDED)] == [None, SERVER, SERVER]
    assert _ids(next(maker.spans(RECORD, context, ENDED)))[0] == CONTEXT.trace_id


def test_times_are_those_of_the_request_and_its_attempts(maker: SpanMaker) -> None:
    times = [(span.start_time, span.end_time) for span in maker.spans(RECORD, CONTEXT, ENDED)]
    began, millisecond = ENDED - 250_000_000, 1_000_000
    assert times == [
        (began, ENDED),
        (began + 100 * millisecond, began + 150 * millisecond),
        (began + 150 * millisecond, began + 237_500_000),
    ]


def test_names_and_attributes(maker: SpanMaker) -> None:
    server, failed, answered = maker.spans(RECORD, CONTEXT, ENDED)
    assert [span.name for span in (server, failed, answered)] == ["GET all-orders", "GET", "GET"]
    assert _attributes(server) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "all-orders",
        "url.path": "/orders",
        "url.query": "token=***&a=1",
        "url.scheme": "https",
        "server.address": "shop.test",
        "client.address": "192.0.2.1",
        "user_agent.original": "curl",
        "gateway.outcome": "responded",
        "gateway.request_id": "r1",
        "gateway.queue": 0.0,
    }
    assert _attributes(failed) == {
        "http.request.method": "GET",
        "error.type": "reset",
        "server.address": "10.0.0.7",
        "server.port": 8000,
        "gateway.service": "orders",
        "gateway.instance": "dc1/n1/orders-1",
        "gateway.connect": 0.01,
        "gateway.view_age": 0.2,
    }
    assert _attributes(answered)["http.request.resend_count"] == 1
    assert _attributes(answered)["gateway.first_byte"] == 0.03
    assert server.resource.attributes["service.name"] == "edge"
    assert server.resource.attributes["service.instance.id"] == "gw-1"


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (RECORD, None),
        (record_of(status=404), None),
        (record_of(status=401, outcome=Outcome.REJECTED, reason=Reason.UNAUTHENTICATED), None),
        (record_of(status=503), "503"),
        (
            record_of(status=503, outcome=Outcome.REJECTED, reason=Reason.CIRCUIT_OPEN),
            "circuit_open",
        ),
        (record_of(outcome=Outcome.BROKEN), "broken"),
        (record_of(status=None, outcome=Outcome.ABANDONED), None),
    ],
)
def test_what_is_an_error_of_the_server(maker: SpanMaker, record: RequestRecord, error: str | None) -> None:
    span = next(maker.spans(record, CONTEXT, ENDED))
    assert _attributes(span).get("error.type") == error
    assert span.status.status_code is (StatusCode.UNSET if error is None else StatusCode.ERROR)


def test_to_a_client_each_status_from_400_on_is_an_error(maker: SpanMaker) -> None:
    attempts = (second_try(302), second_try(404))
    _, moved, missing = maker.spans(record_of(trace=attempts), CONTEXT, ENDED)
    assert (moved.status.status_code, missing.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)
    assert _attributes(missing)["error.type"] == "404"


def test_what_clients_send_makes_no_new_name_and_is_bounded(maker: SpanMaker) -> None:
    odd = record_of(method="BREW" * 100, route=None, facts=None, path="/" + "x" * 9000, trace=())
    (span,) = maker.spans(odd, CONTEXT, ENDED)
    told = _attributes(span)
    assert (span.name, told["http.request.method"]) == ("_OTHER", "_OTHER")
    assert all(len(value) <= 1024 for value in told.values() if isinstance(value, str))


def test_bytes_that_are_no_text_can_be_delivered(maker: SpanMaker) -> None:
    """protobuf takes no surrogates, and a span that it does not take would keep its whole batch back."""
    facts = RequestFacts("GET", "a", "/", "", CIMultiDict({"User-Agent": "caf\udce9\u2028"}), "192.0.2.1")
    server = next(maker.spans(record_of(facts=facts), CONTEXT, ENDED))
    assert _attributes(server)["user_agent.original"] == "caf\\xe9\\u2028"
