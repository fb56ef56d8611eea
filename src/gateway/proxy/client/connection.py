"""One client connection: one request at a time, with deadlines and bounds on everything.

There is no task: an exchange is begun as soon as a request's head is there, and the next one when it has ended.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestPayloadError

from gateway.core.model import Reason
from gateway.pipeline.peer_certificate import BadCertificate, PeerCertificate, peer_certificate
from gateway.proxy.client.facts import Entrance, Inbound, Message
from gateway.proxy.client.request_reader import HEAD_END, RequestReader
from gateway.proxy.client.sockets import reset_at_close
from gateway.proxy.http.forwarded import plain_address
from gateway.proxy.options import ProxyOptions
from gateway.proxy.wire.alarm import Alarm
from gateway.proxy.wire.connection import Connection
from gateway.proxy.wire.outbox import Outbox

if TYPE_CHECKING:
    from gateway.proxy.client.server import ClientServer

logger = logging.getLogger("gateway.tls")

_UNSENT = 65536
"""Bytes for a client that wait to be taken before whoever makes them has to."""


class Begun(Protocol):
    """An exchange that has begun: it calls `exchange_ended` of its connection, once."""

    def client_left(self) -> None:
        """The connection is gone."""


class Exchanges(Protocol):
    """What is done with what a connection reads."""

    def begin(self, connection: ClientConnection, message: Message, content: StreamReader) -> None:
        """Answers a request; `exchange_began` is told before anything else."""

    def refuse_unreadable(self, connection: ClientConnection, reason: Reason | None, detail: str | None = None) -> None:
        """Answers and records what never became a request."""


class ClientConnection(Connection):
    """Made by `ClientServer`. `busy` from a request's head until its response has been written."""

    def __init__(
        self,
        server: ClientServer,
        exchanges: Exchanges,
        options: ProxyOptions,
        loop: asyncio.AbstractEventLoop,
        outbox: Outbox,
        entrance: Entrance,
    ) -> None:
        super().__init__(loop, outbox)
        self._reader = RequestReader(self, options, loop)
        self._parser = self._reader.parser
        self._server = server
        self._exchanges = exchanges
        self._options = options
        self._exchange: Begun | None = None
        self._tunnel: StreamReader | None = None
        self._closing = False
        self._turning = False
        self._head_begun = False
        """Whether somebody waits for the rest of a request's head."""
        self._alarm = Alarm(loop, self._waited_enough)
        self._stuck_timer: asyncio.TimerHandle | None = None
        self._lingering: asyncio.Task[None] | None = None
        self.busy = False
        self.is_end = False
        """Whether nothing but the connection's end says where the response ends (RFC 9112 §6.3 rule 8)."""
        self.entrance = entrance
        self.certificate: PeerCertificate | None = None
        """The client's, verified."""
        self.peer = ""
        self.known: Inbound | None = None
        """What the last request came to."""

    # --- events of the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        accepted = self.transport
        assert accepted is not None
        peername = transport.get_extra_info("peername")
        self.peer = plain_address(peername[0]) if isinstance(peername, tuple) else plain_address("")
        encryption = transport.get_extra_info("ssl_object")
        if encryption is not None:
            # Those of TLS are eight times as large by default.
            accepted.set_write_buffer_limits(_UNSENT)
            self.certificate = _certificate(encryption, self.peer)
        self._server.joined(self)
        self._alarm.set(self._loop.time() + self._options.keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._closing = True
        self._reader.close()
        self._parser = None
        self._alarm.close()
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None
        self._server.left(self)
        if self._lingering is not None:
            self._lingering.cancel()
        if self._tunnel is not None:
            self._tunnel.feed_eof()
            self._tunnel = None
        if self._exchange is not None:
            self._exchange.client_left()

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader.plain and self._exchange is None:
            message = reader.known(data)
            if message is not None:
                self._exchanges.begin(self, message, EMPTY_PAYLOAD)
                return
            if data.find(HEAD_END) + 4 == len(data) > 4:
                # One head and nothing else, while nothing is unfinished: nearly always.
                message = reader.head(data)
                if message is None:
                    self._after_reading()
                else:
                    self._exchanges.begin(self, message, reader.payload)
                return
        if reader.deaf:
            return
        if self._tunnel is not None:
            self._tunnel.feed_data(data)
        elif reader.holding and data:
            reader.hold(data)
            self._pause_if_full()
        else:
            reader.feed(data)
            self._after_reading()
            self._await_head()

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._closing:
            # Nothing is read any more, and asyncio's transports mind being told to, once they are closing.
            return
        super().resume_reading(resume_parser)

    # --- requests, one after the other ---

    def _after_reading(self) -> None:
        self._pause_if_full()
        if self._reader.waiting and self._exchange is None:
            self._turn()

    def _pause_if_full(self) -> None:
        if self._reader.full and not self._buffer_paused:
            self._pause_for_buffer()

    def _turn(self) -> None:
        """Begins exchanges until one of them has to wait."""
        if self._turning or self._lingering is not None:
            return
        waiting = self._reader.waiting
        self._turning = True
        try:
            while waiting and self._exchange is None and not self._closing:
                message, content, reason = waiting.popleft()
                if message is None:
                    self._exchanges.refuse_unreadable(self, reason)
                    self._part()
                else:
                    self._exchanges.begin(self, message, content)
                self._let_go_at_rest()
        finally:
            self._turning = False

    def _let_go_at_rest(self) -> None:
        """Has what was held read, unless something is to be answered before it, or the last answer has been given."""
        reader = self._reader
        if not reader.holding or reader.deaf or reader.waiting:
            return
        if self._exchange is not None or self._lingering is not None:
            return
        reader.let_go()
        self._after_reading()
        if self._buffer_paused and not reader.full:
            self._resume_for_buffer()

    def _await_head(self) -> None:
        """Gives the rest of a head that has begun its time, once nothing goes on in front of it."""
        if self._reader.partial and not self.busy and not self._head_begun:
            self._head_begun = True
            self._alarm.set(self._reader.head_since + self._options.head_timeout)

    def exchange_began(self, exchange: Begun) -> None:
        self._exchange = exchange
        self.busy = True
        self._head_begun = False
        self._alarm.clear()
        self._server.busy(self)

    def exchange_ended(self, content: StreamReader, *, keep_alive: bool) -> None:
        """The response has been written, or there is none; `content` is the request's body."""
        self._exchange = None
        self.busy = False
        if self._closing:
            return
        if not keep_alive:
            self._hang_up(content)
            return
        self._server.idle(self)
        self._alarm.set(self._loop.time() + self._options.keep_alive)
        if not self._unsent:
            self._watch_unread()
        reader = self._reader
        if not self._turning and (reader.waiting or reader.holding):
            self._turn()
            self._let_go_at_rest()
        if reader.partial:
            self._await_head()

    def flush(self) -> None:
        super().flush()
        if self._exchange is None:
            self._watch_unread()

    async def drain(self) -> None:
        """Waits until the client has taken enough of what was written; a client that does not read is cut off."""
        if not self.writing_paused:
            return
        timer = self._loop.call_later(self._options.write_timeout, self.abort)
        try:
            await self._drain()
        finally:
            timer.cancel()

    def ask_for_body(self) -> None:
        with suppress(ConnectionResetError):
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def tunnel(self, limit: int) -> StreamReader:
        """From now on all that comes, beginning with what came behind the head; about twice `limit` bytes wait."""
        tunnel = self._tunnel = self.stream(limit)
        # What is no HTTP is not for the parser, nor is the parser to be paused for it.
        self._upgraded = True
        held = self._reader.take_held()
        if held:
            tunnel.feed_data(held)
        if self._buffer_paused:
            self._resume_for_buffer()
        return tunnel

    # --- endings ---

    def deafen(self) -> None:
        """Reads none of what comes from now on."""
        self._reader.stop()

    def refuse(self, reason: Reason, detail: str | None = None) -> None:
        """Answers what is no request, and ends the connection."""
        self.deafen()
        self._exchanges.refuse_unreadable(self, reason, detail)
        self._part()

    def abort(self) -> None:
        """Ends the connection at once, so that nobody takes what was sent for complete."""
        self._closing = True
        self._reader.stop()
        if self.is_end and self.transport is not None:
            reset_at_close(self.transport)
        super().abort()

    def close(self) -> None:
        """Ends the connection once what was written is taken, and in bounded time."""
        self._closing = True
        self._reader.stop()
        self._alarm.close()
        super().close()
        self._watch_unread()

    def _part(self) -> None:
        """Says no more, and hears the client out for a while, since what is still on its way would take the answer from
        it if the connection were closed at once (RFC 9112 §9.6)."""
        self._head_begun = False
        self._reader.stop()
        accepted = self.transport
        if accepted is None or accepted.is_closing() or not accepted.can_write_eof():
            self.close()
            return
        self.flush()
        accepted.write_eof()
        self._server.idle(self)
        if self._buffer_paused:
            self._resume_for_buffer()
        self._watch_unread()
        self._alarm.set(self._loop.time() + self._options.lingering)

    def _hang_up(self, content: StreamReader) -> None:
        """Reads the rest of a body for a while: a client that is still sending would not see its answer."""
        deaf = self._reader.deaf
        self._reader.drop()
        if deaf or content.is_eof() or content.exception() is not None:
            self._part()
            return
        self._watch_unread()
        self._lingering = self._loop.create_task(self._linger(content))

    async def _linger(self, content: StreamReader) -> None:
        try:
            async with asyncio.timeout(self._options.lingering):
                while await content.readany():
                    pass
        except (TimeoutError, ConnectionError, RuntimeError):
            self._lingering = None
            self.close()
            return
        except RequestPayloadError:
            pass
        self._lingering = None
        self._part()

    def _watch_unread(self) -> None:
        """Sees to it that what was written is taken in bounded time, though nobody waits for it."""
        accepted = self.transport
        if accepted is not None and self._stuck_timer is None and (unread := accepted.get_write_buffer_size()):
            self._stuck_timer = self._loop.call_later(self._options.write_timeout, self._still_unread, accepted, unread)

    def _still_unread(self, transport: asyncio.Transport, before: int) -> None:
        self._stuck_timer = None
        unread = transport.get_write_buffer_size()
        if unread >= before:
            transport.abort()
        elif unread:
            self._stuck_timer = self._loop.call_later(
                self._options.write_timeout, self._still_unread, transport, unread
            )

    def _waited_enough(self) -> None:
        """A silent client is left without a word; one that began a request and does not go on is told so."""
        if self._head_begun:
            self.refuse(Reason.REQUEST_TIMEOUT)
        else:
            self.close()


def _certificate(encryption: ssl.SSLObject, peer: str) -> PeerCertificate | None:
    der = encryption.getpeercert(binary_form=True)
    try:
        return None if der is None else peer_certificate(der)
    except BadCertificate as bad:
        logger.info("A client's certificate cannot be read.", extra={"peer": peer, "error": str(bad)})
        return None
