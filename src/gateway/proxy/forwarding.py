"""What the requests of one listener share, and what begins and ends each of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp.streams import StreamReader

from gateway.core.model import Outcome, Reason
from gateway.pipeline.stage import Pipelines
from gateway.proxy.client.connection import ClientConnection
from gateway.proxy.client.facts import Message, Reader
from gateway.proxy.conductor import Conductor
from gateway.proxy.exchange import Exchange
from gateway.proxy.http import via
from gateway.proxy.http.dates import DateClock
from gateway.proxy.http.fields import Field
from gateway.proxy.http.forwarded import Forwarding
from gateway.proxy.http.own_answer import own_answer
from gateway.proxy.http.refusals import Refusal
from gateway.proxy.http.request_id import request_id
from gateway.proxy.observing import RequestObserver
from gateway.proxy.options import ProxyOptions
from gateway.proxy.upstream.interface import Upstream
from gateway.telemetry.records import RequestRecord


class Forwarder:
    """Handles the requests of one listener."""

    def __init__(
        self,
        conductor: Conductor,
        pipelines: Pipelines,
        upstream: Upstream,
        options: ProxyOptions,
        observer: RequestObserver,
        logger: logging.Logger,
    ) -> None:
        self.conductor = conductor
        self.pipelines = pipelines
        self.upstream = upstream
        self.options = options
        self.loop = asyncio.get_running_loop()
        self.observer = observer
        self.logger = logger
        self.forwarding = Forwarding(options.trusted_hops)
        self.reader = Reader(options, self.forwarding)
        self.dates = DateClock()
        self._via = via.extended((), options.gateway_id)
        self.draining = False
        self.in_flight = 0
        self.answering = 0
        """Those of them whose response has begun: what comes of it, a tunnel or a stream, is the client's to bound."""
        self.on_idle: Callable[[], None] | None = None
        """Called when the last request in flight has ended."""

    def begin(self, connection: ClientConnection, message: Message, content: StreamReader) -> None:
        exchange = Exchange(self, connection, message, content)
        self.in_flight += 1
        connection.exchange_began(exchange)
        exchange.begin()

    @property
    def overloaded(self) -> bool:
        """Whether more requests wait for a response, the present one included, than may in one process."""
        return self.in_flight - self.answering > self.options.max_in_flight

    def ended(self, record: RequestRecord) -> None:
        """Called by each exchange at its end."""
        self.in_flight -= 1
        self._tell(record)
        if not self.in_flight and self.on_idle is not None:
            self.on_idle()

    def fields(self, request_id: str) -> list[Field]:
        """What all answers of the gateway itself have."""
        return [("Date", self.dates.now()), ("Via", self._via), ("X-Request-Id", request_id)]

    def _tell(self, record: RequestRecord) -> None:
        try:
            self.observer.request_ended(record)
        except Exception:
            # The client has its answer; telemetry must not add to it.
            self.logger.exception("the record of request %s was not taken", record.request_id)

    def refuse_unreadable(self, connection: ClientConnection, reason: Reason | None, detail: str | None = None) -> None:
        """Answers, and records, input that no request could be read from."""
        refusal = Refusal(reason, detail)
        name = request_id((), trusted=False)
        fields = [*refusal.fields(), *self.fields(name)]
        answer = own_answer(refusal.code, fields, refusal.body(name), bodiless=False, connection="close")
        sent = 0
        try:
            connection.write(answer)
            sent = len(answer)
        except ConnectionError:
            self.logger.debug("a client left before it could be refused")
        self._tell(
            RequestRecord(
                method="",
                path="",
                route=None,
                status=refusal.code,
                outcome=Outcome.REJECTED,
                reason=reason,
                duration=0.0,
                attempts=0,
                instance=None,
                bytes_in=0,
                bytes_out=sent,
                request_id=name,
                ticket=None,
                client_ip=connection.peer,
                detail=detail,
                trace=(),
            )
        )
