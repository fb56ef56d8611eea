"""One client connection: aiohttp's server protocol with the deadlines, bounds and refusals that it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from logging import Logger
from typing import Protocol, cast

from aiohttp import web
from aiohttp.http import HttpProcessingError, RawRequestMessage, WebSocketReader
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError

from gateway.core.model import Reason
from gateway.proxy.forwarded import plain_address
from gateway.proxy.options import ProxyOptions

_HEAD_END = b"\r\n\r\n"


class Written(web.StreamResponse):
    """A response that has been written already: aiohttp only has to know whether the connection goes on."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:  # noqa: ARG002
        return None

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002
        return None


class _Pipe:
    """Where aiohttp's protocol delivers, once told so, what is no HTTP any more."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self._reader.feed_eof()


class Refuser(Protocol):
    """Answers and records what never became a request."""

    def refuse_unreadable(self, connection: ClientConnection, reason: Reason | None) -> None: ...


class ClientConnection(RequestHandler):
    """Made by `ClientServer`. `idle` while it waits for the first byte of a request."""

    __slots__ = (
        "_accepted",
        "_broken",
        "_head_timer",
        "_options",
        "_payload",
        "_server",
        "_stuck_timer",
        "busy",
        "peer",
    )

    def __init__(
        self, server: ClientServer, options: ProxyOptions, loop: asyncio.AbstractEventLoop, logger: Logger
    ) -> None:
        # aiohttp's `Server` drops every keyword when one is misspelt; here that is an error.
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=options.keep_alive,
            logger=logger,
            access_log=None,  # type: ignore[arg-type]  # None is what turns it off
            max_line_size=options.max_line,
            max_field_size=options.max_field,
            max_headers=options.max_fields,
            lingering_time=options.lingering,
            read_bufsize=options.read_buffer,
            auto_decompress=False,
            timeout_ceil_threshold=1e9,
        )
        self._server = server
        self._options = options
        self._head_timer: asyncio.TimerHandle | None = None
        self._stuck_timer: asyncio.TimerHandle | None = None
        self._payload: StreamReader | None = None
        self._accepted: asyncio.Transport | None = None
        self._broken = False
        self.busy = False
        self.peer = ""

    # --- events of the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # aiohttp forgets the transport when it closes it, which is long before the last byte is taken.
        self._accepted = self.transport
        peername = transport.get_extra_info("peername")
        self.peer = plain_address(peername[0]) if isinstance(peername, tuple) else plain_address("")
        self._server.joined(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timers()
        self._accepted = None
        self._server.left(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._broken:
            return
        # The parser forgets a complete request when the same bytes go on with a broken one: feed them apart.
        while self._between_bodies() and (end := data.find(_HEAD_END)) >= 0 and end + 4 < len(data):
            self._feed(data[: end + 4])
            data = data[end + 4 :]
        if not self._broken:
            self._feed(data)
        if not (self.busy or self._messages or self._head_timer) and data and self._between_bodies():
            self._head_timer = self._loop.call_later(self._options.head_timeout, self._head_is_late)

    def _between_bodies(self) -> bool:
        return not self._broken and not self._upgraded and (self._payload is None or self._payload.is_eof())

    def _feed(self, data: bytes) -> None:
        super().data_received(data)
        if self._messages:
            message, payload = self._messages[-1]
            if isinstance(message, RawRequestMessage):
                self._payload = payload
                return
            self._broken = True
            # The parser tells nothing to a body that it gave up.
            if self._payload is not None and not self._payload.is_eof():
                self._payload.set_exception(RequestPayloadError("broken framing"))

    # --- requests ---

    def request_began(self) -> None:
        self.busy = True
        self._server.busy(self)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def request_ended(self, content: StreamReader) -> None:
        self.busy = False
        if self.transport is not None:
            self._server.idle(self)
        self.watch_unread()
        if content.exception() is not None:
            # Nothing more is to be had of this body; aiohttp must not wait for its end.
            content.feed_eof()

    def write(self, data: bytes) -> None:
        """Raises ConnectionResetError where the client has gone."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client has gone")
        transport.write(data)

    def tunnel(self, limit: int) -> StreamReader:
        """From now on all that comes, beginning with what came behind the head; about twice `limit` bytes wait."""
        reader = StreamReader(self, limit, loop=self._loop)
        self.set_parser(cast(WebSocketReader, _Pipe(reader)))
        return reader

    async def drain(self) -> None:
        """Waits until the client has taken enough of what was written; a client that does not read is cut off."""
        if not self.writing_paused:
            return
        timer = self._loop.call_later(self._options.write_timeout, self.abort)
        try:
            await self._drain_helper()
        finally:
            timer.cancel()

    def ask_for_body(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def abort(self) -> None:
        """Ends the connection at once, so that nobody takes what was sent for complete."""
        if self._accepted is not None:
            self._accepted.abort()

    def force_close(self) -> None:
        """Ends the connection once what was written is taken, and in bounded time."""
        super().force_close()
        self.watch_unread()

    def watch_unread(self) -> None:
        """Sees to it that what was written is taken in bounded time, though nobody waits for it."""
        accepted = self._accepted
        if accepted is not None and self._stuck_timer is None and (unread := accepted.get_write_buffer_size()):
            self._stuck_timer = self._loop.call_later(self._options.write_timeout, self._still_unread, accepted, unread)

    # --- refusals of what is no request ---

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002
        status: int = 500,  # noqa: ARG002
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """What aiohttp calls for input that it cannot parse, and for errors of our own."""
        self._server.refuser.refuse_unreadable(self, _reason(exc))
        return Written(keep_alive=False)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self.busy and self.transport is not None:
            self._broken = True
            self._server.refuser.refuse_unreadable(self, Reason.REQUEST_TIMEOUT)
            self.force_close()

    # --- time ---

    def _still_unread(self, transport: asyncio.Transport, before: int) -> None:
        self._stuck_timer = None
        unread = transport.get_write_buffer_size()
        if unread >= before:
            transport.abort()
        elif unread:
            self._stuck_timer = self._loop.call_later(
                self._options.write_timeout, self._still_unread, transport, unread
            )

    def _stop_timers(self) -> None:
        for timer in (self._head_timer, self._stuck_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._stuck_timer = None


def _reason(error: BaseException | None) -> Reason | None:
    if not isinstance(error, HttpProcessingError):
        return None
    if isinstance(error, LineTooLong):
        # The parser gives the line it read: a bytearray for the target, bytes for a field.
        return Reason.URI_TOO_LONG if isinstance(error.args[0], bytearray) else Reason.HEADERS_TOO_LARGE
    if "Too many headers" in error.message:
        return Reason.HEADERS_TOO_LARGE
    if "Invalid HTTP version" in error.message or "Pause on PRI" in error.message:
        return Reason.VERSION_NOT_SUPPORTED
    return Reason.BAD_REQUEST


class ClientServer(web.Server):
    """All client connections of one listener, within its cap."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        refuser: Refuser,
        options: ProxyOptions,
        logger: Logger,
    ) -> None:
        super().__init__(handler, handler_cancellation=True)
        self.refuser = refuser
        self._options = options
        self._logger = logger
        self._idle: dict[ClientConnection, None] = {}
        self._all: set[ClientConnection] = set()
        self._emptied: asyncio.Event | None = None
        self.dropped = 0
        """Connections closed because there were too many."""

    def __call__(self) -> ClientConnection:
        return ClientConnection(self, self._options, self._loop, self._logger)

    @property
    def open_connections(self) -> frozenset[ClientConnection]:
        return frozenset(self._all)

    def joined(self, connection: ClientConnection) -> None:
        self._all.add(connection)
        if len(self._all) > self._options.max_connections:
            self.dropped += 1
            victim = next(iter(self._idle), connection)
            victim.abort()
        self._idle[connection] = None

    def busy(self, connection: ClientConnection) -> None:
        self._idle.pop(connection, None)

    def idle(self, connection: ClientConnection) -> None:
        self._idle[connection] = None

    def left(self, connection: ClientConnection) -> None:
        self._all.discard(connection)
        self._idle.pop(connection, None)
        if not self._all and self._emptied is not None:
            self._emptied.set()

    async def emptied(self) -> None:
        """Returns when no connection is left."""
        if self._all:
            self._emptied = asyncio.Event()
            await self._emptied.wait()

    def close_idle(self) -> None:
        for connection in tuple(self._idle):
            connection.force_close()
