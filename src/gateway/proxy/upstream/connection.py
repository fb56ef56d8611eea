"""One connection to an instance: what comes goes to the exchange that is on it, or into a tunnel."""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiohttp.streams import StreamReader
from aiohttp.tcp_helpers import tcp_keepalive

from gateway.proxy.options import ProxyOptions
from gateway.proxy.upstream.response_reader import BadResponse, ResponseReader
from gateway.proxy.wire.alarm import Alarm
from gateway.proxy.wire.connection import Connection
from gateway.proxy.wire.outbox import Outbox


class OnConnection(Protocol):
    """The exchange that a connection serves."""

    def heard(self, bad: BadResponse | None) -> None:
        """The connection's reader was fed; `bad` says what it took offence at."""

    def interrupted(self) -> None:
        """Something came before anything was sent."""

    def timed_out(self) -> None:
        """The connection's alarm rang."""

    def lost(self, error: Exception | None) -> None:
        """The connection has ended; None is an end in good order."""


class UpstreamConnection(Connection):
    """`requests` were sent on it so far; `answered`: a byte has come back for the last one."""

    def __init__(self, loop: asyncio.AbstractEventLoop, outbox: Outbox, options: ProxyOptions) -> None:
        super().__init__(loop, outbox)
        self.reader = ResponseReader(
            line_limit=options.max_line, head_limit=options.max_response_head, fields_limit=options.max_fields
        )
        self.requests = 0
        self.answered = False
        self.alarm = Alarm(loop, self._rang)
        self._exchange: OnConnection | None = None
        self._tunnel: StreamReader | None = None

    @property
    def usable(self) -> bool:
        """Whether another request may be sent on it."""
        transport = self.transport
        return transport is not None and not transport.is_closing()

    @property
    def asked(self) -> bool:
        """Whether anything of the last request was sent."""
        return self._given

    def begin(self, exchange: OnConnection, *, head_only: bool) -> None:
        """Gets ready for one more response; `head_only` for one to HEAD."""
        self.requests += 1
        self.answered = self._given = False
        self._exchange = exchange
        self.reader.begin(head_only=head_only)

    def end(self) -> None:
        """The exchange is over."""
        self._exchange = None
        self.alarm.clear()
        if self._reading_paused:
            self.resume_reading()

    def tunnel(self, limit: int) -> StreamReader:
        """From now on all that comes, beginning with what came behind the head; about twice `limit` bytes wait."""
        self.alarm.close()
        self._tunnel = tunnel = self.stream(limit)
        tail = self.reader.tail
        if tail:
            tunnel.feed_data(tail)
        return tunnel

    def abort(self) -> None:
        """Ends the connection at once. What was not sent stays so: the request may go elsewhere, or nobody waits."""
        self._exchange, self._unsent = None, b""
        super().abort()

    # --- events of the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A tunnel without a time-out ends, too, when the instance has vanished."""
        super().connection_made(transport)
        if self.transport is not None:
            tcp_keepalive(self.transport)

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if self._tunnel is not None:
            self._tunnel.feed_data(data)
        elif exchange is None:
            # What an instance says while nobody asked must not become the answer to the next request.
            self.close()
        elif not self._given:
            exchange.interrupted()
        else:
            self.answered = True
            try:
                self.reader.feed(data)
            except BadResponse as bad:
                exchange.heard(bad)
            else:
                exchange.heard(None)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        exchange, self._exchange = self._exchange, None
        self.alarm.close()
        self.reader.close()
        if self._tunnel is not None:
            self._tunnel.feed_eof()
            self._tunnel = None
        elif exchange is not None:
            exchange.lost(exc)

    def _rang(self) -> None:
        if self._exchange is not None:
            self._exchange.timed_out()
