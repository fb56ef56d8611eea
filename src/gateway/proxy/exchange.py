"""The way of one request: read, matched, admitted, sent, answered, recorded.

Plain calls from the request's head to the response's end, as long as nothing has to be waited for: no task, no future.
What has to be waited for (a verdict that takes its time, a place in the queue, a body that comes in pieces, a tunnel,
a client that reads slowly) is waited for in a task, which goes on with the very same calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from aiohttp.streams import StreamReader

from gateway.core.model import Instance, Outcome, Reason, Route
from gateway.core.paths import has_escaped_slash
from gateway.core.tickets import Attempt, Broken, Deliver, Failure, Head, Reject, Send, Ticket
from gateway.pipeline.stage import Answer, Call, Received, ResponseHead, Stage, Verdict
from gateway.proxy import requests
from gateway.proxy.bodies import RequestBody
from gateway.proxy.client.connection import ClientConnection
from gateway.proxy.client.facts import Inbound, Message
from gateway.proxy.conductor import Waiting
from gateway.proxy.http.fields import Field
from gateway.proxy.http.own_answer import own_answer
from gateway.proxy.http.refusals import Refusal, Refused
from gateway.proxy.http.request_id import request_id
from gateway.proxy.responses import Written, framing, stream, written
from gateway.proxy.trail import Trail
from gateway.proxy.tunnels import Relay
from gateway.proxy.upstream.interface import ClientBodyFailure, Sent, UpstreamFailure, UpstreamRequest, UpstreamResponse
from gateway.proxy.wire.streams import PipedTunnel
from gateway.telemetry.records import AttemptRecord, RequestRecord
from gateway.telemetry.trace_context import TraceContext, trace_context

if TYPE_CHECKING:
    from gateway.proxy.forwarding import Forwarder

_Come = TypeVar("_Come")

_SWITCHING_PROTOCOLS = 101
_TICK = 0.002
"""Seconds by which an event loop may call before the time."""
_SOON = 1.0
"""Seconds after which a client may come again that came when there were too many."""
_OF_THE_BODY = frozenset({Reason.BODY_TOO_LARGE, Reason.REQUEST_TIMEOUT, Reason.BAD_REQUEST})
"""Refusals after which nobody knows where the next request begins, or wants to."""
_NOBODY_SERVES = "no instance for which a backend's instances holds may be picked"
_WITHOUT_INSTANCE = frozenset({Reason.NO_HEALTHY_INSTANCE, Reason.CIRCUIT_OPEN})


class Exchange:
    """One request and what becomes of it. It is a Receiver of what its attempts bring."""

    def __init__(
        self, forwarder: Forwarder, connection: ClientConnection, message: Message, content: StreamReader
    ) -> None:
        self._forwarder = forwarder
        self._connection = connection
        self._message = message
        self._content = content
        self._loop = forwarder.loop
        self._began = self._loop.time()
        self._trail = Trail()
        self._request_id = ""
        self._context: TraceContext | None = None
        self._inbound: Inbound | None = None
        self._route: Route | None = None
        self._stages: list[Stage] = []
        """Those that the request went through."""
        self._call: Call | None = None
        self._ticket: Ticket | None = None
        self._attempt: Attempt | None = None
        self._body: RequestBody | None = None
        self._outgoing: UpstreamRequest | None = None
        self._sent: Sent | None = None
        self._waiting: Waiting | None = None
        self._task: asyncio.Task[None] | None = None
        """What the exchange waits in, if it has to."""
        self._awaited: Awaitable[object] | None = None
        """What that task waits for, until it begins to."""
        self._deadline: float | None = None
        self._tunnelled = False
        self._answering = False
        self._ended = False
        self._outcome = Outcome.REJECTED
        self._reason: Reason | None = None
        self._status: int | None = None
        self._bytes_out = 0
        self.keep_alive = False

    def begin(self) -> None:
        """Answers the client, or ends its connection, in time."""
        try:
            self._begin()
        except Exception as error:  # noqa: BLE001  told to whoever it concerns
            self._fail(error)

    def client_left(self) -> None:
        if self._ended or self._tunnelled:
            # A tunnel ends by itself, when nothing more comes out of it.
            return
        if self._waiting is not None:
            self._ticket = self._waiting.ticket
            self._forwarder.conductor.give_up(self._ticket)
        self._leave()
        self._end()

    # --- waiting ---

    def _when(self, awaited: Awaitable[_Come], then: Callable[[_Come], None]) -> None:
        """Goes on with what is awaited, once it has come."""
        self._awaited = awaited
        self._task = self._loop.create_task(self._await(awaited, then))

    async def _await(self, awaited: Awaitable[_Come], then: Callable[[_Come], None]) -> None:
        task, self._awaited = self._task, None
        try:
            come = await awaited
            if self._task is task:
                self._task = None
            then(come)
        except Exception as error:  # noqa: BLE001  told to whoever it concerns
            self._fail(error)

    # --- the request ---

    def _begin(self) -> None:
        forwarder, connection = self._forwarder, self._connection
        headers = self._message.headers
        trusted = forwarder.forwarding.trusts(connection.peer)
        self._request_id = request_id(headers.getall("X-Request-Id", ()) if trusted else (), trusted)
        self._context = trace_context(
            headers.getall("traceparent", ()),
            headers.getall("tracestate", ()),
            trusted=trusted,
            ratio=forwarder.options.trace_ratio,
        )
        inbound = self._inbound = forwarder.reader.read(self._message, connection)
        if forwarder.overloaded:
            raise Refused(Reason.OVERLOADED, retry_after=_SOON)
        route = self._route = requests.matched(forwarder.conductor.core, inbound.facts)
        if route is None:
            raise Refused(Reason.NO_ROUTE)
        if not route.pass_escaped_slashes and has_escaped_slash(inbound.facts.path):
            detail = "the path holds an escaped slash, which this route does not pass"
            raise Refused(Reason.BAD_REQUEST, detail, close=True)
        if inbound.head.has_body:
            self._body = requests.expected_body(connection, self._content, inbound, route, forwarder.options)
        if route.timeouts.request:
            self._deadline = self._began + route.timeouts.request
        stages = forwarder.pipelines.of(route)
        if stages or route.steers:
            self._call = requests.call_of(inbound, route, self._request_id, connection.certificate)
            self._through(self._call, iter(stages))
        else:
            self._admit()

    def _through(self, call: Call, stages: Iterator[Stage]) -> None:
        """Through these stages, and if all of them let the request go on, to an instance."""
        prompt = self._forwarder.options.prompt
        for stage in stages:
            verdict = stage.request(call)
            if prompt and (verdict is None or isinstance(verdict, Answer)):
                self._stages.append(stage)
                if verdict is not None:
                    self._answer(verdict)
                    return
            else:
                self._when(_verdict(verdict), partial(self._judged, call, stage, stages))
                return
        self._admit()

    def _judged(self, call: Call, stage: Stage, stages: Iterator[Stage], verdict: Verdict) -> None:
        self._stages.append(stage)
        if verdict is None:
            self._through(call, stages)
        else:
            self._answer(verdict)

    def _admit(self) -> None:
        route, inbound = self._route, self._inbound
        assert route is not None
        assert inbound is not None
        self._follow(self._forwarder.conductor.admit(route, inbound.facts, self._call))

    def _follow(self, decision: Send | Reject | Broken | Waiting) -> None:
        """Does what the core decided."""
        self._waiting = None
        if isinstance(decision, Send):
            self._try(decision.attempt)
        elif isinstance(decision, Waiting):
            self._waiting = decision
            self._when(decision.wait(), partial(self._waited, self._trail.elapsed()))
        elif isinstance(decision, Reject):
            self._reason = decision.reason
            self._ticket = decision.ticket
            if decision.reason in _WITHOUT_INSTANCE and any(each.instances for each in decision.ticket.route.backends):
                self._trail.detail = self._trail.detail or _NOBODY_SERVES
            refusal = Refusal(decision.reason, None, decision.status, decision.retry_after)
            self._refuse(refusal, close=decision.reason in _OF_THE_BODY)
        else:
            self._cut_off(Outcome.BROKEN)

    def _waited(self, began: float, decision: Send | Reject) -> None:
        self._trail.queue += self._trail.elapsed() - began
        self._follow(decision)

    # --- one attempt ---

    def _try(self, attempt: Attempt) -> None:
        conductor, ticket, body = self._forwarder.conductor, attempt.ticket, self._body
        self._ticket, self._attempt = ticket, attempt
        if self._is_late(self._loop.time()):
            # Spent in stages, in the queue, or on other instances: nothing that this one could help.
            self._follow(conductor.reject(ticket, Reason.UPSTREAM_TIMEOUT))
            return
        if attempt.number > 1 and body is not None:
            body.restart()
        age = self._forwarder.observer.view_age(attempt.instance.service)
        request = self._prepared(self._trail.begin(attempt.instance, age))
        request.deadline = self._deadline
        self._sent = self._forwarder.upstream.send(attempt, request, self)

    def response_began(self, response: UpstreamResponse) -> None:
        try:
            self._answered(response)
        except Exception as error:  # noqa: BLE001  told to whoever it concerns
            self._fail(error)

    def attempt_failed(self, error: Exception) -> None:
        try:
            self._unanswered(error)
        except Exception as failed:  # noqa: BLE001  told to whoever it concerns
            self._fail(failed)

    def _answered(self, response: UpstreamResponse) -> None:
        attempt, outgoing, body = self._attempt, self._outgoing, self._body
        assert attempt is not None
        assert outgoing is not None
        self._trail.head(response.status)
        self._deadline = outgoing.deadline
        replayable = body is None or body.replayable
        decision = self._forwarder.conductor.process(attempt, Head(response.status, replayable))
        if isinstance(decision, Deliver):
            self._deliver(attempt, response)
            return
        self._attempt_over(response.status)
        response.close()
        self._follow(decision)

    def _unanswered(self, error: Exception) -> None:
        """The attempt has failed before its response's head."""
        conductor, attempt, outgoing, body = self._forwarder.conductor, self._attempt, self._outgoing, self._body
        assert attempt is not None
        assert outgoing is not None
        if isinstance(error, ClientBodyFailure):
            self._attempt_over(error.reason.value, error.detail)
            self._follow(conductor.reject(attempt.ticket, error.reason))
            return
        if not isinstance(error, UpstreamFailure):
            raise error
        self._attempt_over(error.kind.value, error.detail)
        self._deadline = outgoing.deadline
        late = self._is_late(self._loop.time())
        if late and attempt.number > 1:
            # The request's time has run out, of which this instance may have had but little.
            self._follow(conductor.reject(attempt.ticket, Reason.UPSTREAM_TIMEOUT))
            return
        replayable = not late and (body is None or body.replayable)
        decision = conductor.process(attempt, Failure(error.kind, replayable))
        assert not isinstance(decision, Deliver)
        self._follow(decision)

    def _is_late(self, now: float) -> bool:
        return self._deadline is not None and now >= self._deadline - _TICK

    def _prepared(self, trying: AttemptRecord) -> UpstreamRequest:
        call, context, inbound, route = self._call, self._context, self._inbound, self._route
        assert context is not None
        assert inbound is not None
        assert route is not None
        outgoing = self._outgoing
        if outgoing is None:
            outgoing = self._outgoing = requests.outgoing(inbound, route, call, self._body)
        outgoing.connect_time = 0.0
        requests.spell(outgoing, inbound, call, context, self._request_id, trying)
        return outgoing

    # --- the response ---

    def _deliver(self, attempt: Attempt, response: UpstreamResponse) -> None:
        connection, inbound = self._connection, self._inbound
        assert inbound is not None
        answer = self._written(attempt.instance, response)
        if response.status == _SWITCHING_PROTOCOLS:
            self._tunnelled = True
            self._goes_on()
            self._when(self._tunnel(attempt, response, answer), self._over)
            return
        keep_alive = self._may_go_on()
        whole = response.whole() if self._forwarder.options.prompt else None
        length = response.length if whole is None or response.bodiless else len(whole)
        framed, chunked, self.keep_alive = framing(response, length, inbound.head.version, keep_alive=keep_alive)
        start = self._start(response, framed, answer, whole or b"")
        self._status = response.status
        if whole is None:
            connection.is_end = length is None and not (chunked or response.bodiless)
            self._goes_on()
            self._when(self._stream(attempt, response, start, chunked=chunked), self._over)
            return
        connection.write(start)
        self._bytes_out = len(whole)
        self._delivered(attempt)
        if connection.writing_paused:
            self._when(connection.drain(), self._over)
        else:
            self._end()

    def _goes_on(self) -> None:
        """The response has begun, and may take its time."""
        self._answering = True
        self._forwarder.answering += 1

    def _delivered(self, attempt: Attempt) -> None:
        self._forwarder.conductor.end(attempt)
        self._outcome = Outcome.RESPONDED

    def _over(self, _: None) -> None:
        self._end()

    async def _stream(self, attempt: Attempt, response: UpstreamResponse, start: bytes, *, chunked: bool) -> None:
        conductor = self._forwarder.conductor
        try:
            self._bytes_out = await stream(response, start, self._connection, chunked=chunked)
            self._delivered(attempt)
            await self._connection.drain()
        except UpstreamFailure as failure:
            self._trail.detail = failure.detail
            conductor.process(attempt, Failure(failure.kind, replayable=False))
            self._cut_off(Outcome.BROKEN)
        except ClientBodyFailure as failure:
            self._trail.detail = failure.detail
            conductor.abandon(attempt.ticket)
            self._cut_off(Outcome.ABANDONED)

    def _written(self, instance: Instance, response: UpstreamResponse) -> Written:
        """What the instance said, as it goes to the client; where no stage has a say, as it went the last time."""
        pseudonym, head = self._forwarder.options.gateway_id, response.head
        if self._stages:
            fields = self._back_through_stages(ResponseHead(response.status, list(head.fields), instance=instance))
            return written(fields, pseudonym)
        if head.written is None:
            head.written = written(head.fields, pseudonym)
        return Written(*head.written)

    def _start(self, response: UpstreamResponse, framed: str, answer: Written, body: bytes = b"") -> bytes:
        """The response's head and what there is of its body."""
        date = "" if answer.dated else f"Date: {self._forwarder.dates.now()}\r\n"
        line = f"HTTP/1.1 {response.status} {response.phrase}\r\n{framed}X-Request-Id: {self._request_id}\r\n{date}"
        return b"".join((line.encode(), answer.lines, b"\r\n", body))

    async def _tunnel(self, attempt: Attempt, response: UpstreamResponse, answer: Written) -> None:
        connection, forwarder, route = self._connection, self._forwarder, self._route
        assert route is not None
        self._status = response.status
        connection.write(self._start(response, "Connection: Upgrade\r\nUpgrade: websocket\r\n", answer))
        client = PipedTunnel(connection, connection.tunnel(forwarder.options.read_buffer))
        relay = Relay(client, response.tunnel(), route.timeouts.idle)
        try:
            await relay.run()
        finally:
            self._bytes_out = relay.outward
            self._delivered(attempt)

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

    def _fail(self, error: Exception) -> None:
        """Ends with an error, which may be the client's, the network's, or ours."""
        if self._ended:
            self._forwarder.logger.error("request %s failed after its end", self._request_id, exc_info=error)
        elif isinstance(error, Refused):
            refusal = Refusal(error.reason, error.detail, retry_after=error.retry_after)
            self._refuse(refusal, close=error.close)
        elif isinstance(error, ConnectionError):
            self._leave()
            self._end()
        else:
            self._forwarder.logger.error(
                "request %s failed by an error of the gateway", self._request_id, exc_info=error
            )
            self._leave()
            self._outcome = Outcome.REJECTED
            self._refuse(Refusal(None), close=True)

    def _answer(self, answer: Answer) -> None:
        """What a stage answers."""
        self._trail.detail = answer.note
        if answer.reason is not None:
            refusal = Refusal(answer.reason, answer.detail, retry_after=answer.retry_after)
            self._refuse(refusal, added=answer.fields)
            return
        answered = self._answer_ourselves(answer.status, answer.fields, answer.body, close=False)
        self._outcome = Outcome.RESPONDED if answered else Outcome.ABANDONED
        self._end()

    def _refuse(self, refusal: Refusal, *, added: Sequence[Field] = (), close: bool = False) -> None:
        if self._status is not None:
            self._cut_off(self._outcome)
            return
        self._reason = refusal.reason
        self._trail.detail = self._trail.detail or refusal.detail
        body = refusal.body(self._request_id)
        self._answer_ourselves(refusal.code, [*refusal.fields(), *added], body, close=close)
        self._end()

    def _answer_ourselves(self, status: int, fields: Sequence[Field], body: bytes, *, close: bool) -> bool:
        """Whether the client was there to be answered."""
        unread = not self._content.is_eof()
        self.keep_alive = not close and not unread and self._may_go_on()
        connection = None if self.keep_alive else "close"
        if self.keep_alive and self._inbound is not None and self._inbound.head.version == "1.0":
            connection = "keep-alive"
        head = ResponseHead(status, [*fields, *self._forwarder.fields(self._request_id)], ours=True)
        fields = self._back_through_stages(head)
        bodiless = self._message.method == "HEAD"
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
        self._end()

    def _end(self) -> None:
        """Lets go of everything, and tells what became of the request."""
        if self._ended:
            return
        self._ended = True
        if self._answering:
            self._forwarder.answering -= 1
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            if asyncio.iscoroutine(self._awaited):
                # A task that never began leaves what it was to wait for as it was.
                self._awaited.close()
        if self._sent is not None:
            self._sent.close()
        if self._call is not None and self._call.afterwards is not None and self._trail.attempts:
            self._call.afterwards(self._received())
        self._forwarder.ended(self._record())
        self._connection.exchange_ended(self._content, keep_alive=self.keep_alive)

    def _received(self) -> Received:
        body = self._body
        kept = None if body is None else body.kept()
        return Received(kept, whole=body is None or kept is not None)

    # --- the record ---

    def _attempt_over(self, result: int | str | None, detail: str | None = None) -> None:
        outgoing = self._outgoing
        self._trail.end(result, 0.0 if outgoing is None else outgoing.connect_time, detail)

    def _record(self) -> RequestRecord:
        inbound, attempt, body = self._inbound, self._attempt, self._body
        instance: Instance | None = None if attempt is None else attempt.instance
        identity = None if self._call is None else self._call.identity
        trail = self._trail
        self._attempt_over(None)
        return RequestRecord(
            self._message.method,
            "" if inbound is None else inbound.facts.path,
            None if self._route is None else self._route.name,
            self._status,
            self._outcome,
            self._reason,
            trail.elapsed(),
            len(trail.attempts),
            instance,
            0 if body is None else body.received,
            self._bytes_out,
            self._request_id,
            None if self._ticket is None else self._ticket.id,
            self._connection.peer if inbound is None else inbound.facts.client_ip,
            trail.detail,
            tuple(trail.attempts),
            trail.queue,
            None if inbound is None else inbound.facts,
            self._context,
            None if identity is None else str(identity),
            None if identity is None else identity.issuer or None,
        )


async def _verdict(given: Verdict | Awaitable[Verdict]) -> Verdict:
    return given if given is None or isinstance(given, Answer) else await given
