"""The way of one request: read, matched, admitted, sent, answered, recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

from aiohttp import web

from gateway.core.facts import RequestFacts
from gateway.core.model import Instance, Outcome, Reason, Route
from gateway.core.paths import has_escaped_slash
from gateway.core.tickets import Attempt, Broken, Deliver, Failure, Head, Reject, Send, Ticket
from gateway.pipeline.cors import preflighted
from gateway.pipeline.stage import Answer, Call, RequestHead, ResponseHead, Stage
from gateway.proxy import via
from gateway.proxy.bodies import RequestBody
from gateway.proxy.client_connection import ClientConnection
from gateway.proxy.conductor import Waiting
from gateway.proxy.facts import Inbound
from gateway.proxy.fields import Field
from gateway.proxy.own_answer import own_answer
from gateway.proxy.records import AttemptRecord, RequestRecord
from gateway.proxy.refusals import Refusal, Refused
from gateway.proxy.request_id import request_id
from gateway.proxy.responses import framing, response_head, stream
from gateway.proxy.streams import PipedTunnel
from gateway.proxy.tunnels import Relay
from gateway.proxy.upstream import ClientBodyFailure, UpstreamFailure, UpstreamRequest, UpstreamResponse
from gateway.telemetry.trace_context import TraceContext, new_span_id, trace_context

if TYPE_CHECKING:
    from gateway.proxy.forwarding import Forwarder

_Decided = TypeVar("_Decided")

_SWITCHING_PROTOCOLS = 101
_TICK = 0.002
"""Seconds by which an event loop may call before the time."""
_OF_THE_BODY = frozenset({Reason.BODY_TOO_LARGE, Reason.REQUEST_TIMEOUT, Reason.BAD_REQUEST})
"""Refusals after which nobody knows where the next request begins, or wants to."""


class Exchange:
    """One request and what becomes of it."""

    __slots__ = (
        "_attempt",
        "_began",
        "_body",
        "_bytes_out",
        "_call",
        "_connection",
        "_context",
        "_deadline",
        "_detail",
        "_forwarder",
        "_inbound",
        "_loop",
        "_outcome",
        "_outgoing",
        "_queue",
        "_reason",
        "_request",
        "_request_id",
        "_route",
        "_stages",
        "_started",
        "_status",
        "_ticket",
        "_trace",
        "_trying",
        "keep_alive",
    )

    def __init__(self, forwarder: Forwarder, request: web.BaseRequest, connection: ClientConnection) -> None:
        self._forwarder = forwarder
        self._request = request
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._started = perf_counter()
        """For what is told of it: the loop's time moves in steps of a millisecond."""
        self._context: TraceContext | None = None
        self._inbound: Inbound | None = None
        self._route: Route | None = None
        self._call: Call | None = None
        self._stages: list[Stage] = []
        """Those that the request went through."""
        self._ticket: Ticket | None = None
        self._attempt: Attempt | None = None
        self._body: RequestBody | None = None
        self._outgoing: UpstreamRequest | None = None
        self._deadline: float | None = None
        self._outcome = Outcome.REJECTED
        self._reason: Reason | None = None
        self._detail: str | None = None
        self._status: int | None = None
        self._request_id = ""
        self._bytes_out = 0
        self._queue = 0.0
        self._trace: list[AttemptRecord] = []
        self._trying: AttemptRecord | None = None
        """The last of the trace, until it has ended."""
        self.keep_alive = False

    async def run(self) -> None:
        """Answers the client, or ends its connection. Raises nothing but CancelledError: the client has left."""
        try:
            await self._run()
        except Refused as refused:
            self._refuse(Refusal(refused.reason, refused.detail), close=refused.close)
        except ConnectionError:
            self._leave()
        except asyncio.CancelledError:
            self._leave()
            raise
        except Exception:
            self._forwarder.logger.exception("request %s failed by an error of the gateway", self._request_id)
            self._leave()
            self._outcome = Outcome.REJECTED
            self._refuse(Refusal(None), close=True)

    async def _run(self) -> None:
        forwarder, connection = self._forwarder, self._connection
        trusted = forwarder.forwarding.trusts(connection.peer)
        headers = self._request.headers
        self._request_id = request_id(headers.getall("X-Request-Id", ()) if trusted else (), trusted)
        self._context = trace_context(
            headers.getall("traceparent", ()),
            headers.getall("tracestate", ()),
            trusted=trusted,
            ratio=forwarder.options.trace_ratio,
        )
        inbound = self._inbound = forwarder.reader.read(self._request, connection.peer)
        route = self._route = self._matched(inbound.facts)
        if route is None:
            raise Refused(Reason.NO_ROUTE)
        if not route.pass_escaped_slashes and has_escaped_slash(inbound.facts.path):
            detail = "the path holds an escaped slash, which this route does not pass"
            raise Refused(Reason.BAD_REQUEST, detail, close=True)
        if inbound.has_body:
            self._expect_body(route, inbound)
        if route.timeouts.request:
            self._deadline = self._began + route.timeouts.request
        answer = await self._through_stages(route, inbound)
        if answer is not None:
            self._answer(answer)
            return
        decision: Send | Reject | Broken | None = await self._queued(forwarder.conductor.admit(route, inbound.facts))
        while isinstance(decision, Send):
            decision = await self._try(decision.attempt)
        if isinstance(decision, Reject):
            self._reason = decision.reason
            self._ticket = decision.ticket
            refusal = Refusal(decision.reason, None, decision.status, decision.retry_after)
            self._refuse(refusal, close=decision.reason in _OF_THE_BODY)
        elif decision is not None:
            self._cut_off(Outcome.BROKEN)

    def _matched(self, facts: RequestFacts) -> Route | None:
        """A preflight is answered by the route of the request that it asks about, if that route does so at all."""
        match = self._forwarder.conductor.core.match
        method = preflighted(facts)
        if method is not None:
            asked = (facts.host, facts.path, facts.query, facts.headers, facts.client_ip, facts.scheme, facts.time)
            route = match(RequestFacts(method, *asked))
            if route is not None and route.cors.origins:
                return route
        return match(facts)

    async def _through_stages(self, route: Route, inbound: Inbound) -> Answer | None:
        """What a stage answers, None where all of them let the request go on."""
        facts = inbound.facts
        call = self._call = Call(
            facts,
            route,
            inbound.host,
            facts.path,
            inbound.query,
            self._fields(inbound),
            id=self._request_id,
            head_size=inbound.sifted.size,
            body_length=inbound.length or 0,
        )
        for stage in self._forwarder.pipelines.of(route):
            verdict = stage.request(call)
            if verdict is not None and not isinstance(verdict, Answer):
                verdict = await verdict
            self._stages.append(stage)
            if verdict is not None:
                return verdict
        return None

    def _fields(self, inbound: Inbound) -> list[Field]:
        """The client's headers without those of its connection, and ours."""
        forwarder, connection, facts, sifted = self._forwarder, self._connection, inbound.facts, inbound.sifted
        return [
            *sifted.passed,
            *forwarder.forwarding.fields(
                connection.peer, facts.client_ip, "http", inbound.host, forwarder.port, sifted.hops
            ),
            ("Via", via.extended(sifted.hops.get("via", ()), forwarder.options.gateway_id, inbound.version)),
            ("X-Request-Id", self._request_id),
        ]

    def _expect_body(self, route: Route, inbound: Inbound) -> None:
        options = self._forwarder.options
        self._body = RequestBody(
            self._request.content,
            inbound.length,
            keep=route.retry.buffer if route.retry.attempts > 1 else 0,
            limit=route.limits.body,
            idle=route.timeouts.idle,
            grace=options.body_grace,
            rate=options.body_rate,
            ask=self._connection.ask_for_body if inbound.expects_continue else None,
        )

    # --- one attempt ---

    async def _try(self, attempt: Attempt) -> Send | Reject | Broken | None:
        """What to do next; None where the response has been delivered."""
        conductor, ticket, body = self._forwarder.conductor, attempt.ticket, self._body
        self._ticket, self._attempt = ticket, attempt
        if self._is_late(self._loop.time()):
            # Spent in stages, in the queue, or on other instances: nothing that this one could help.
            return conductor.reject(ticket, Reason.UPSTREAM_TIMEOUT)
        if attempt.number > 1 and body is not None:
            body.restart()
        trying = self._begun(attempt.instance)
        request = self._prepared(trying)
        request.deadline = self._deadline
        try:
            response = await self._answer_to(attempt, request)
        except UpstreamFailure as failure:
            self._note(failure.kind.value, failure.detail)
            self._deadline = request.deadline
            late = self._is_late(self._loop.time())
            if late and attempt.number > 1:
                # The request's time has run out, of which this instance may have had but little.
                return conductor.reject(ticket, Reason.UPSTREAM_TIMEOUT)
            replayable = not late and (body is None or body.replayable)
            decided = await self._queued(conductor.report(attempt, Failure(failure.kind, replayable)))
            return _not_delivered(decided)
        except ClientBodyFailure as failure:
            self._note(failure.reason.value, failure.detail)
            return conductor.reject(ticket, failure.reason)
        trying.first_byte, trying.result = self._since(trying), response.status
        self._deadline = request.deadline
        try:
            decision = conductor.process(attempt, Head(response.status, body is None or body.replayable))
            if isinstance(decision, Deliver):
                await self._deliver(attempt, response)
                return None
            self._note(response.status, None)
        finally:
            response.close()
        return _not_delivered(await self._queued(decision.wait()) if isinstance(decision, Waiting) else decision)

    async def _answer_to(self, attempt: Attempt, request: UpstreamRequest) -> UpstreamResponse:
        told = _Told(self._loop)
        sent = self._forwarder.upstream.send(attempt, request, told)
        try:
            return await told.response
        except BaseException:
            sent.close()
            raise

    async def _queued(self, decision: Awaitable[_Decided]) -> _Decided:
        began = perf_counter()
        try:
            return await decision
        finally:
            self._queue += perf_counter() - began

    def _is_late(self, now: float) -> bool:
        return self._deadline is not None and now >= self._deadline - _TICK

    def _prepared(self, trying: AttemptRecord) -> UpstreamRequest:
        """What goes upstream, the same for all attempts but for their spans, and what stages say to each instance."""
        call, context = self._call, self._context
        assert call is not None
        assert context is not None
        outgoing = self._outgoing
        if outgoing is None:
            outgoing = self._outgoing = self._outgoing_of(call)
        outgoing.connect_time = 0.0
        head = RequestHead(call.host, [*call.fields, *context.fields(trying.span_id)])
        for change in call.for_instance:
            change(trying.instance, head)
        outgoing.host, outgoing.fields = head.host, head.fields
        return outgoing

    def _outgoing_of(self, call: Call) -> UpstreamRequest:
        inbound, route = self._inbound, call.route
        assert inbound is not None
        timeouts = route.timeouts
        return UpstreamRequest(
            method=call.facts.method,
            target=call.path + call.query,
            host=call.host,
            fields=call.fields,
            body=self._body,
            upgrade=inbound.upgrade if route.websocket else None,
            attempt_timeout=timeouts.attempt,
            request_timeout=timeouts.request,
            idle_timeout=timeouts.idle,
        )

    # --- the response ---

    async def _deliver(self, attempt: Attempt, response: UpstreamResponse) -> None:
        forwarder, connection, route, inbound = self._forwarder, self._connection, self._route, self._inbound
        assert route is not None
        assert inbound is not None
        fields = self._answer_fields(attempt.instance, response)
        if response.status == _SWITCHING_PROTOCOLS:
            await self._tunnel(attempt, response, fields, route)
            return
        self.keep_alive = self._may_go_on()
        whole = response.whole()
        length = response.length if whole is None or response.bodiless else len(whole)
        lines, chunked, self.keep_alive = framing(response, length, inbound.version, keep_alive=self.keep_alive)
        start = response_head(response, fields, lines)
        try:
            self._status = response.status
            if whole is not None:
                connection.write(start + whole)
                self._bytes_out = len(whole)
            else:
                self._bytes_out = await stream(response, start, connection, chunked=chunked)
            forwarder.conductor.end(attempt)
            self._outcome = Outcome.RESPONDED
            await connection.drain()
        except UpstreamFailure as failure:
            self._detail = failure.detail
            forwarder.conductor.process(attempt, Failure(failure.kind, replayable=False))
            self._cut_off(Outcome.BROKEN)
        except ClientBodyFailure as failure:
            self._detail = failure.detail
            forwarder.conductor.abandon(attempt.ticket)
            self._cut_off(Outcome.ABANDONED)

    def _answer_fields(self, instance: Instance, response: UpstreamResponse) -> list[Field]:
        fields = self._back_through_stages(ResponseHead(response.status, list(response.fields), instance=instance))
        received_via = [value for name, value in fields if name.lower() == "via"]
        if received_via:
            fields = [field for field in fields if field[0].lower() != "via"]
        fields.append(("Via", via.extended(received_via, self._forwarder.options.gateway_id)))
        fields = [field for field in fields if field[0].lower() != "x-request-id"]
        fields.append(("X-Request-Id", self._request_id))
        if not any(name.lower() == "date" for name, _ in fields):
            fields.append(("Date", self._forwarder.dates.now()))
        return fields

    async def _tunnel(self, attempt: Attempt, response: UpstreamResponse, fields: list[Field], route: Route) -> None:
        connection, forwarder = self._connection, self._forwarder
        self._status = response.status
        connection.write(response_head(response, fields, "Connection: Upgrade\r\nUpgrade: websocket\r\n"))
        client = PipedTunnel(connection, connection.tunnel(forwarder.options.read_buffer))
        relay = Relay(client, response.tunnel(), route.timeouts.idle)
        try:
            await relay.run()
        finally:
            self._bytes_out = relay.outward
            forwarder.conductor.end(attempt)
            self._outcome = Outcome.RESPONDED

    def _may_go_on(self) -> bool:
        inbound, body = self._inbound, self._body
        return (
            inbound is not None
            and inbound.keep_alive
            and not self._forwarder.draining
            and (body is None or body.complete)
        )

    def _back_through_stages(self, head: ResponseHead) -> list[Field]:
        if self._call is not None:
            for stage in reversed(self._stages):
                stage.response(self._call, head)
        return head.fields

    # --- endings ---

    def _answer(self, answer: Answer) -> None:
        """What a stage answers."""
        self._detail = answer.note
        if answer.reason is not None:
            refusal = Refusal(answer.reason, answer.detail, retry_after=answer.retry_after)
            self._refuse(refusal, added=answer.fields)
        else:
            answered = self._answer_ourselves(answer.status, answer.fields, answer.body, close=False)
            self._outcome = Outcome.RESPONDED if answered else Outcome.ABANDONED

    def _refuse(self, refusal: Refusal, *, added: Sequence[Field] = (), close: bool = False) -> None:
        if self._status is not None:
            self._cut_off(self._outcome)
            return
        self._reason = refusal.reason
        self._detail = self._detail or refusal.detail
        body = refusal.body(self._request_id)
        self._answer_ourselves(refusal.code, [*refusal.fields(), *added], body, close=close)

    def _answer_ourselves(self, status: int, fields: Sequence[Field], body: bytes, *, close: bool) -> bool:
        """Whether the client was there to be answered."""
        unread = not self._request.content.is_eof()
        self.keep_alive = not close and not unread and self._may_go_on()
        connection = None if self.keep_alive else "close"
        if self.keep_alive and self._inbound is not None and self._inbound.version == "1.0":
            connection = "keep-alive"
        head = ResponseHead(status, [*fields, *self._forwarder.fields(self._request_id)], ours=True)
        fields = self._back_through_stages(head)
        bodiless = self._request.method == "HEAD"
        try:
            self._connection.write(own_answer(status, fields, body, bodiless=bodiless, connection=connection))
        except ConnectionError:
            self.keep_alive = False
            return False
        self._status = status
        self._bytes_out = 0 if bodiless else len(body)
        return True

    def _leave(self) -> None:
        """The client has gone; nothing is held against an instance."""
        self.keep_alive = False
        if self._outcome is Outcome.RESPONDED:
            return
        self._outcome = Outcome.ABANDONED
        if self._ticket is not None:
            self._forwarder.conductor.abandon(self._ticket)

    def _cut_off(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self.keep_alive = False
        self._connection.abort()

    # --- the record ---

    def _begun(self, instance: Instance) -> AttemptRecord:
        age = self._forwarder.observer.view_age(instance.service)
        trying = self._trying = AttemptRecord(instance, perf_counter() - self._started, age, new_span_id())
        self._trace.append(trying)
        return trying

    def _since(self, trying: AttemptRecord) -> float:
        return perf_counter() - self._started - trying.began

    def _note(self, result: int | str, detail: str | None) -> None:
        """What became of the present attempt, which has ended."""
        trying = self._trying
        assert trying is not None
        trying.result, trying.duration, self._trying = result, self._since(trying), None
        if self._outgoing is not None:
            trying.connect = self._outgoing.connect_time
        if detail is not None:
            self._detail = detail

    def record(self) -> RequestRecord:
        """The request's record, once it has ended."""
        inbound, attempt, body = self._inbound, self._attempt, self._body
        instance: Instance | None = None if attempt is None else attempt.instance
        identity = None if self._call is None else self._call.identity
        if self._trying is not None:
            self._note(self._trying.result, None)
        return RequestRecord(
            method=self._request.method,
            path="" if inbound is None else inbound.facts.path,
            route=None if self._route is None else self._route.name,
            status=self._status,
            outcome=self._outcome,
            reason=self._reason,
            duration=perf_counter() - self._started,
            queue=self._queue,
            facts=None if inbound is None else inbound.facts,
            context=self._context,
            attempts=len(self._trace),
            instance=instance,
            bytes_in=0 if body is None else body.received,
            bytes_out=self._bytes_out,
            request_id=self._request_id,
            ticket=None if self._ticket is None else self._ticket.id,
            client_ip=self._connection.peer if inbound is None else inbound.facts.client_ip,
            detail=self._detail,
            trace=tuple(self._trace),
            identity=None if identity is None else str(identity),
        )


class _Told:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.response: asyncio.Future[UpstreamResponse] = loop.create_future()

    def response_began(self, response: UpstreamResponse) -> None:
        if not self.response.done():
            self.response.set_result(response)

    def attempt_failed(self, error: Exception) -> None:
        if not self.response.done():
            self.response.set_exception(error)


def _not_delivered(decision: Deliver | Send | Reject | Broken) -> Send | Reject | Broken:
    assert not isinstance(decision, Deliver)
    return decision
