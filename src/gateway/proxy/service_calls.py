"""Calls of our own to mirrored services: tickets like any other, for instances that the core picks, but with no client.

They hold to the service's policy, circuits and weights, and a journal has them under a route that matches nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gateway.core.facts import RequestFacts
from gateway.core.model import FailureKind, Route
from gateway.core.tickets import Attempt, Deliver, Failure, Head, Reject, Send
from gateway.pipeline.stage import ForInstance, RequestHead
from gateway.proxy.conductor import Conductor, Waiting
from gateway.proxy.http.fields import Field, lines
from gateway.proxy.upstream.interface import Sent, Upstream, UpstreamFailure, UpstreamRequest, UpstreamResponse

LARGEST_REPLY = 65536
"""Bytes of a reply's body that are read; the connection of a larger one is given up."""


class CallFailed(Exception):
    """There was no answer; says why, for the log."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent. `host` None is the instance's own address."""

    method: str
    target: str
    host: str | None
    fields: Collection[Field]
    body: bytes | None = None
    for_instance: tuple[ForInstance, ...] = ()
    """What can be said only once an instance is picked."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; the body is read to its end, and thrown away."""

    status: int
    fields: Sequence[Field]


class ServiceCalls:
    def __init__(self, conductor: Conductor, upstream: Upstream) -> None:
        self._conductor = conductor
        self._upstream = upstream

    async def call(self, route: Route, facts: RequestFacts, message: Message) -> Reply:
        """The answer of an instance of the route's backends, within its time-outs. Raises CallFailed.

        Cancelled, it holds nothing against the instance.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + route.timeouts.request
        decision: object = self._conductor.admit(route, facts)
        while True:
            if isinstance(decision, Waiting):
                decision = await decision.wait()
            if isinstance(decision, Reject):
                raise CallFailed(decision.reason.value)
            assert isinstance(decision, Send)
            attempt = decision.attempt
            head = RequestHead(message.host, [*message.fields])
            for change in message.for_instance:
                change(attempt.instance, head)
            request = UpstreamRequest(
                message.method,
                message.target,
                head.host,
                lines(head.fields),
                None if message.body is None else _Body(message.body),
                attempt_timeout=route.timeouts.attempt,
                request_timeout=route.timeouts.request,
                idle_timeout=route.timeouts.idle,
                deadline=deadline,
            )
            found = await self._attempt(attempt, request, deadline, late=loop.time() >= deadline)
            if isinstance(found, Reply):
                return found
            decision = found

    async def _attempt(self, attempt: Attempt, request: UpstreamRequest, deadline: float, *, late: bool) -> object:
        """The reply, or what the core decided instead."""
        conductor, answered = self._conductor, _Answered()
        sent: Sent | None = None
        try:
            sent = self._upstream.send(attempt, request, answered)
            response = await answered.response
            decision = conductor.process(attempt, Head(response.status, replayable=True))
            if not isinstance(decision, Deliver):
                return decision
            await self._finish(attempt, response, deadline)
            return Reply(response.status, response.head.fields)
        except UpstreamFailure as failure:
            decision = conductor.process(attempt, Failure(failure.kind, replayable=not late))
            if failure.kind is FailureKind.TRUNCATED or isinstance(decision, Reject):
                raise CallFailed(failure.detail) from None
            return decision
        except asyncio.CancelledError:
            conductor.abandon(attempt.ticket)
            raise
        finally:
            if sent is not None:
                sent.close()

    async def _finish(self, attempt: Attempt, response: UpstreamResponse, deadline: float) -> None:
        """Raises UpstreamFailure(TRUNCATED)."""
        left = LARGEST_REPLY
        if response.whole() is None:
            try:
                # One byte at a time is no silence to the idle time-out, and would take hours.
                async with asyncio.timeout_at(deadline):
                    while left > 0 and (data := await response.read()):
                        left -= len(data)
            except TimeoutError:
                raise UpstreamFailure(FailureKind.TRUNCATED, "the response did not end in time") from None
        self._conductor.end(attempt)


class _Answered:
    """Who is told of the response."""

    def __init__(self) -> None:
        self.response: asyncio.Future[UpstreamResponse] = asyncio.get_running_loop().create_future()

    def response_began(self, response: UpstreamResponse) -> None:
        if not self.response.done():
            self.response.set_result(response)

    def attempt_failed(self, error: Exception) -> None:
        if not self.response.done():
            self.response.set_exception(error)


class _Body:
    """A body that is at hand."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._begun = False
        self.length: int | None = len(data)
        self.complete = self.replayable = True

    def whole(self) -> bytes:
        return self._data

    def restart(self) -> None:
        self._begun = False

    async def read(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return self._data
