"""One client connection: bytes into requests, one request at a time, with deadlines and bounds on everything.

aiohttp's strict C parser reads them. There is no task: an exchange is begun as soon as a request's head is there, and
the next one when it has ended.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from aiohttp.http import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestPayloadError

from gateway.core.model import Reason
from gateway.pipeline.peer_certificate import BadCertificate, PeerCertificate, peer_certificate
from gateway.proxy.client.facts import Entrance, Inbound, Message
from gateway.proxy.client.request_parser import RequestParser, body_length, is_of_http, request_parser, why_refused
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
_HEAD_END = b"\r\n\r\n"
_REPEATED = 4096
"""Bytes of the largest head that a connection remembers."""
_PIPELINED = 32
"""Requests that may wait for the one before them; more of what the client sends is not read until half have gone."""
_HEAD_KEPT = 1 << 19
"""Bytes of an unfinished head, and of the end of a body in front of it, that are kept to find its first line in."""


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
        self._requests: RequestParser | None = request_parser(self, options, loop)
        self._parser = self._requests
        self._server = server
        self._exchanges = exchanges
        self._options = options
        self._messages: deque[tuple[Message | None, StreamReader, Reason | None]] = deque()
        """Requests that wait for their turn; without a message, why something is none."""
        self._exchange: Begun | None = None
        self._payload: StreamReader = EMPTY_PAYLOAD
        """The body of the last request that was read."""
        self._payload_length = 0
        """The bytes that it has if its head says so, else 0."""
        self._held = b""
        """What is not for the parser yet: more pipelined requests, or what follows a request for an upgrade."""
        self._holding = False
        self._tunnel: StreamReader | None = None
        self._plain = True
        """None of what follows, nor has anything been held back."""
        self._deaf = False
        """What more comes is not read: it follows what was no request."""
        self._closing = False
        self._turning = False
        self._partial = False
        """Whether a request's head has come in part."""
        self._head_since = 0.0
        """Since when, on the loop's clock."""
        self._rests = True
        """The parser is known to be between two requests."""
        self._last_head: bytes | None = None
        """The bytes of a request without body that the parser read last, and nothing else ..."""
        self._last_message: Message | None = None
        """... and what it made of them, as it would of the same bytes again: clients that poll send nothing else."""
        self._fed = b""
        """What the parser has been fed of a head that it has not told of yet."""
        self._head_first = True
        """Whether that begins with the head, rather than with the end of a body."""
        self._head_begun = False
        """Whether somebody waits for the rest of it."""
        self._alarm = Alarm(loop, self._waited_enough)
        self._stuck_timer: asyncio.TimerHandle | None = None
        self._lingering: asyncio.Task[None] | None = None
        self.busy = False
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
        self._plain, self._closing = False, True
        self._messages.clear()
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
        # These and this object hold each other.
        self._parser = self._requests = None
        self._payload = EMPTY_PAYLOAD

    def data_received(self, data: bytes) -> None:
        if self._plain and self._exchange is None:
            if self._rests and data == self._last_head:
                assert self._last_message is not None
                self._exchanges.begin(self, self._last_message, EMPTY_PAYLOAD)
                return
            if data.find(_HEAD_END) + 4 == len(data) > 4:
                # One head and nothing else, while nothing is unfinished: nearly always.
                self._feed_head(data)
                return
        if self._closing or self._deaf:
            return
        if self._tunnel is not None:
            self._tunnel.feed_data(data)
        elif self._holding and data:
            self._hold(data)
        else:
            self._read(data)
            self._await_head()

    def resume_reading(self, resume_parser: bool = True) -> None:
        if self._closing:
            # Nothing is read any more, and asyncio's transports mind being told to, once they are closing.
            return
        super().resume_reading(resume_parser)

    # --- bytes into requests ---

    def _read(self, data: bytes) -> None:
        """Begins nothing before all of it has been fed: a body that came with its head is there at once."""
        turning, self._turning = self._turning, True
        try:
            self._feed_apart(data)
        finally:
            self._turning = turning
        if self._messages and self._exchange is None:
            self._turn()

    def _feed_apart(self, data: bytes) -> None:
        # The parser forgets a complete request when the same bytes go on with a broken one.
        while not (self._deaf or self._closing or self._holding):
            between = self._between_requests()
            if between and len(self._messages) >= _PIPELINED:
                self._hold(data)
                return
            end = self._end_of_head(data) if between else self._payload_length - self._payload.total_bytes
            if not 0 < end < len(data):
                self._feed(data)
                return
            self._feed(data[:end])
            data = data[end:]
        if self._holding:
            self._hold(data)

    def _between_requests(self) -> bool:
        """A body that is complete but has filled its stream is not told so before the stream has room again."""
        payload = self._payload
        return payload.is_eof() or 0 < self._payload_length == payload.total_bytes

    def _end_of_head(self, data: bytes) -> int:
        """Where the head that begins there, or began before, ends in `data`; 0 where it does not."""
        before = self._fed[-3:]
        found = (before + data).find(_HEAD_END)
        return 0 if found < 0 else found + len(_HEAD_END) - len(before)

    def _feed_head(self, data: bytes) -> None:
        """For what ends where a head does, and has no other in it."""
        rested, self._rests = self._rests, False
        messages, upgrade, tail = self._parsed(data)
        if len(messages) != 1 or upgrade or self._messages:
            self._take(messages, upgrade=upgrade, tail=tail)
            return
        message, self._payload = messages[0]
        if self._payload is EMPTY_PAYLOAD:
            self._rests = True
            if rested and len(data) <= _REPEATED:
                self._last_head, self._last_message = data, message
        else:
            self._payload_length = body_length(message)
        self._exchanges.begin(self, message, self._payload)

    def _feed(self, data: bytes) -> None:
        self._rests = False
        messages, upgrade, tail = self._parsed(data)
        self._take(messages, upgrade=upgrade, tail=tail)

    def _parsed(self, data: bytes) -> tuple[Sequence[tuple[Message, StreamReader]], bool, bytes]:
        parser = self._requests
        if parser is None:
            return [], False, b""
        between = self._between_requests()
        body_before = self._payload.total_bytes
        begun, self._partial = self._partial, False
        try:
            messages, upgrade, tail = parser.feed_data(data)
        except HttpProcessingError as error:
            self._misread(why_refused(error))
            # The parser tells nothing to a body that it gave up.
            if not self._payload.is_eof():
                self._payload.set_exception(RequestPayloadError("broken framing"))
            return [], False, b""
        fed, self._fed = self._fed + data if self._fed else data, b""
        head_first = self._head_first if len(fed) > len(data) else between
        for at, (message, _) in enumerate(messages):
            if not is_of_http(message, fed, first=head_first and not at):
                for good, payload in messages[:at]:
                    self._payload = payload
                    self._messages.append((good, payload, None))
                self._misread(Reason.BAD_REQUEST)
                return [], False, b""
        last = messages[-1][1] if messages else self._payload
        if not last.is_eof():
            if self._reading_paused:
                # The parser stopped at what filled the stream, and goes on with the rest when it is fed again.
                self._fed, self._head_first = fed[:_HEAD_KEPT], False
        elif not upgrade and not (messages and fed.endswith(_HEAD_END)):
            if messages:
                self._head_begins(*_behind_request(messages[-1], fed), begun)
            elif between:
                self._head_begins(fed, head_first, begun)
            else:
                self._head_begins(_behind_chunks(fed[last.total_bytes - body_before :]), False, begun)
        return messages, upgrade, tail

    def _head_begins(self, fed: bytes, head_first: bool, begun: bool) -> None:
        """With what was fed, unless that is nothing. `begun`: it had before."""
        if fed:
            self._partial = True
            self._fed, self._head_first = fed[:_HEAD_KEPT], head_first
            if not begun:
                self._head_since = self._loop.time()

    def _misread(self, reason: Reason) -> None:
        self._deaf, self._plain = True, False
        self._messages.append((None, EMPTY_PAYLOAD, reason))

    def _take(self, messages: Sequence[tuple[Message, StreamReader]], *, upgrade: bool, tail: bytes) -> None:
        for message, payload in messages:
            self._payload = payload
            self._payload_length = 0 if payload is EMPTY_PAYLOAD else body_length(message)
            self._messages.append((message, payload, None))
        if upgrade:
            self._hold(tail)
        if self._messages and self._exchange is None:
            self._turn()

    def _await_head(self) -> None:
        """Gives the rest of a head that has begun its time, once nothing goes on in front of it."""
        if self._partial and not self.busy and not self._head_begun:
            self._head_begun = True
            self._alarm.set(self._head_since + self._options.head_timeout)

    def _hold(self, data: bytes) -> None:
        self._holding, self._plain = True, False
        self._held += data
        if len(self._held) >= self._options.read_buffer and not self._buffer_paused:
            self._pause_for_buffer()

    def _let_go_at_rest(self) -> None:
        """Has the parser read what was held: the upgrade that it waits for is not made, or there is room again."""
        parser = self._requests
        if parser is None or not self._holding or self._exchange is not None or self._messages:
            return
        if self._closing or self._deaf or self._lingering is not None:
            # The last answer has been given.
            return
        parser.set_upgraded(False)
        self._holding, self._plain = False, True
        held, self._held = self._held, b""
        self._read(held)
        if self._buffer_paused and len(self._held) < self._options.read_buffer:
            self._resume_for_buffer()

    # --- requests, one after the other ---

    def _turn(self) -> None:
        """Begins exchanges until one of them has to wait."""
        if self._turning or self._lingering is not None:
            return
        self._turning = True
        try:
            while self._messages and self._exchange is None and not self._closing:
                message, content, reason = self._messages.popleft()
                if message is None:
                    self._exchanges.refuse_unreadable(self, reason)
                    self._part()
                else:
                    self._exchanges.begin(self, message, content)
                self._let_go_at_rest()
        finally:
            self._turning = False

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
        if not self._turning and (self._messages or self._holding):
            self._turn()
            self._let_go_at_rest()
        if self._partial:
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
        held, self._held = self._held, b""
        if held:
            tunnel.feed_data(held)
        if self._buffer_paused:
            self._resume_for_buffer()
        return tunnel

    # --- endings ---

    def deafen(self) -> None:
        """Reads none of what comes from now on."""
        self._deaf, self._plain = True, False

    def refuse(self, reason: Reason, detail: str | None = None) -> None:
        """Answers what is no request, and ends the connection."""
        self.deafen()
        self._exchanges.refuse_unreadable(self, reason, detail)
        self._part()

    def abort(self) -> None:
        """Ends the connection at once, so that nobody takes what was sent for complete."""
        self._plain, self._closing = False, True
        super().abort()

    def close(self) -> None:
        """Ends the connection once what was written is taken, and in bounded time."""
        self._plain, self._closing = False, True
        self._alarm.close()
        super().close()
        self._watch_unread()

    def _part(self) -> None:
        """Says no more, and hears the client out for a while, since what is still on its way would take the answer from
        it if the connection were closed at once (RFC 9112 §9.6)."""
        self._deaf, self._plain, self._head_begun = True, False, False
        self._messages.clear()
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
        self._plain = False
        self._messages.clear()
        if self._deaf or content.is_eof() or content.exception() is not None:
            self._part()
            return
        self._watch_unread()
        self._lingering = self._loop.create_task(self._linger(content))

    async def _linger(self, content: StreamReader) -> None:
        try:
            async with asyncio.timeout(self._options.lingering):
                while await content.readany():
                    pass
        except (TimeoutError, RequestPayloadError, ConnectionError, RuntimeError):
            pass
        self._lingering = None
        self.close()

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


def _behind_request(request: tuple[Message, StreamReader], fed: bytes) -> tuple[bytes, bool]:
    """What is behind a request that is complete in what was fed, and whether nothing else is with it."""
    message, payload = request
    if payload is EMPTY_PAYLOAD:
        return fed[fed.rfind(_HEAD_END) + len(_HEAD_END) :], True
    length = body_length(message)
    complete = length and fed[:-length].endswith(_HEAD_END)
    return (b"" if complete else _behind_chunks(fed)), False


def _behind_chunks(fed: bytes) -> bytes:
    """All of it, where there is anything behind a chunked body: its end looks as that of a head does."""
    return b"" if fed.endswith(_HEAD_END) or not fed.strip(b"\r\n") else fed


def _certificate(encryption: ssl.SSLObject, peer: str) -> PeerCertificate | None:
    der = encryption.getpeercert(binary_form=True)
    try:
        return None if der is None else peer_certificate(der)
    except BadCertificate as bad:
        logger.info("A client's certificate cannot be read.", extra={"peer": peer, "error": str(bad)})
        return None
