"""A client's request on its way to an instance: its route and body, what its stages see, what each attempt sends."""

from __future__ import annotations

from aiohttp.streams import StreamReader

from gateway.core.facts import RequestFacts
from gateway.core.gateway import Gateway
from gateway.core.model import Route
from gateway.pipeline.cors import preflighted
from gateway.pipeline.peer_certificate import PeerCertificate
from gateway.pipeline.stage import Call, RequestHead
from gateway.proxy.bodies import RequestBody
from gateway.proxy.client.connection import ClientConnection
from gateway.proxy.client.facts import Inbound
from gateway.proxy.http.fields import lines
from gateway.proxy.options import ProxyOptions
from gateway.proxy.upstream.interface import UpstreamRequest
from gateway.telemetry.records import AttemptRecord
from gateway.telemetry.trace_context import TraceContext


def matched(core: Gateway, facts: RequestFacts) -> Route | None:
    """A preflight is answered by the route of the request that it asks about, if that route does so at all."""
    method = preflighted(facts)
    if method is not None:
        asked = (facts.host, facts.path, facts.query, facts.headers, facts.client_ip, facts.scheme, facts.time)
        route = core.match(RequestFacts(method, *asked))
        if route is not None and route.cors.origins:
            return route
    return core.match(facts)


def expected_body(
    connection: ClientConnection, content: StreamReader, inbound: Inbound, route: Route, options: ProxyOptions
) -> RequestBody:
    """For a request that has one."""
    return RequestBody(
        content,
        inbound.head.length,
        keep=_kept_of(route),
        limit=route.limits.body,
        idle=route.timeouts.idle,
        grace=options.body_grace,
        rate=options.body_rate,
        ask=connection.ask_for_body if inbound.head.expects_continue else None,
        prompt=options.prompt,
    )


def _kept_of(route: Route) -> int:
    """How many bytes of a body are of use after they were sent once."""
    retried = route.retry.buffer if route.retry.attempts > 1 else 0
    return retried if route.shadow is None else max(retried, route.shadow.buffer)


def call_of(inbound: Inbound, route: Route, request_id: str, certificate: PeerCertificate | None) -> Call:
    """For a route that has stages, or steers by what they find."""
    head = inbound.head
    return Call(
        inbound.facts,
        route,
        head.host,
        inbound.facts.path,
        inbound.query,
        [*head.fields, ("X-Request-Id", request_id)],
        id=request_id,
        head_size=head.sifted.size,
        body_length=head.length or 0,
        certificate=certificate,
    )


def outgoing(inbound: Inbound, route: Route, call: Call | None, body: RequestBody | None) -> UpstreamRequest:
    """What goes upstream, the same for all attempts but for their fields."""
    facts, timeouts = inbound.facts, route.timeouts
    return UpstreamRequest(
        facts.method,
        facts.path + inbound.query if call is None else call.path + call.query,
        inbound.head.host,
        b"",
        body,
        inbound.upgrade if route.websocket else None,
        timeouts.attempt,
        timeouts.request,
        timeouts.idle,
    )


def spell(
    request: UpstreamRequest,
    inbound: Inbound,
    call: Call | None,
    context: TraceContext,
    request_id: str,
    trying: AttemptRecord,
) -> None:
    """Gives it the fields of this attempt: its span, and what stages say to its instance."""
    if call is None:
        state = f"tracestate: {context.state}\r\n" if context.state else ""
        own = f"X-Request-Id: {request_id}\r\ntraceparent: {context.parent(trying.span_id)}\r\n{state}"
        request.lines = inbound.head.lines + own.encode()
        return
    head = RequestHead(call.host, [*call.fields, *context.fields(trying.span_id)])
    for change in call.for_instance:
        change(trying.instance, head)
    request.host, request.lines = head.host, lines(head.fields)
