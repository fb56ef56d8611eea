"""The listening sockets and the life of what is behind it: start, drain, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import http_parser

from gateway.pipeline.stage import Pipelines
from gateway.proxy.client.acceptor import Acceptor, Counting
from gateway.proxy.client.facts import Entrance
from gateway.proxy.client.server import ClientServer
from gateway.proxy.client.server_certificates import ServerCertificates
from gateway.proxy.client.sockets import ListenError, bind, prepare
from gateway.proxy.client.tls_acceptor import TlsAcceptor
from gateway.proxy.conductor import Conductor
from gateway.proxy.forwarding import Forwarder
from gateway.proxy.observing import RequestObserver
from gateway.proxy.options import ProxyOptions
from gateway.proxy.upstream.interface import Upstream

logger = logging.getLogger("gateway.proxy")

_BACKLOG = 1024
_MADE_WITHIN = 0.05
"""Seconds in which a connection that was accepted becomes one that is known."""


class NoCParser(ListenError):
    """aiohttp runs on its Python parser, which reads hostile input differently."""


@dataclass(frozen=True, slots=True)
class Drained:
    """`finished` requests ended by themselves after the socket was closed; `aborted` were cut off at the limit."""

    finished: int
    aborted: int


class Listener:
    """Serves the clients of one event loop: on one port, by TLS on another, or both. `certificates` go with
    `options.tls_socket`."""

    def __init__(
        self,
        conductor: Conductor,
        pipelines: Pipelines,
        upstream: Upstream,
        options: ProxyOptions,
        telemetry: RequestObserver,
        certificates: ServerCertificates | None = None,
    ) -> None:
        self._options = options
        self._upstream = upstream
        self._forwarder = Forwarder(conductor, pipelines, upstream, options, telemetry, logger)
        self._server: ClientServer | None = None
        self._sockets: asyncio.Server | Acceptor | None = None
        self._certificates = certificates
        self._tls: TlsAcceptor | None = None
        self._counting: Counting | None = None
        self.port = 0
        """The one that is served, chosen by the system where `options.port` is 0; 0 before the start, and where none
        is."""
        self.tls_port = 0
        """The one that is served by TLS; 0 before the start, and where none is."""

    async def start(self) -> None:
        """Raises ListenError where the port is taken or may not be bound, or aiohttp has no C parser."""
        require_c_parser()
        options = self._options
        self._server = server = ClientServer(self._forwarder, options)
        listening = options.listening_socket
        if listening is None and options.port is not None:
            listening = bind(options.host, options.port, "--listen")
        if listening is not None:
            prepare(listening)
            self.port = int(listening.getsockname()[1])
            factory = server.factory(Entrance("http", self.port))
            if options.turns is None:
                loop = asyncio.get_running_loop()
                self._sockets = await loop.create_server(factory, sock=listening, backlog=_BACKLOG)
            else:
                self._sockets = Acceptor(listening, factory, lambda: server.size, options.turns)
                self._sockets.start(_BACKLOG)
        if options.turns is not None:
            self._counting = Counting(options.turns, lambda: server.size)
        if options.tls_socket is not None:
            assert self._certificates is not None
            prepare(options.tls_socket)
            self.tls_port = int(options.tls_socket.getsockname()[1])
            entrance = Entrance("https", self.tls_port)
            self._tls = TlsAcceptor(options.tls_socket, self._certificates, server, entrance, options)
            self._tls.start(_BACKLOG)

    @property
    def handshake_failures(self) -> Mapping[str, int]:
        """Handshakes of TLS that failed, by a closed set of reasons; empty without TLS."""
        return {} if self._tls is None else self._tls.failures

    @property
    def connections(self) -> int:
        """Client connections that are open, or in a handshake."""
        return 0 if self._server is None else self._server.size

    @property
    def connections_dropped(self) -> int:
        """Client connections closed because there were more than `max_connections`, or than one client may have."""
        return 0 if self._server is None else self._server.dropped

    @property
    def in_flight(self) -> int:
        """Requests being handled."""
        return self._forwarder.in_flight

    def stop_reuse(self) -> None:
        """From now on each response is the last on its connection."""
        self._forwarder.draining = True

    async def drain(self, linger: float, limit: float, *, accepting: bool = True) -> Drained:
        """Serves on for `linger` seconds, each response the last on its connection; then takes no more, and gives the
        requests in flight up to `limit` seconds before it cuts them off. Without `accepting`, since another process
        does in its place, it takes no more connections from the beginning, and lingers only while it has any."""
        self.stop_reuse()
        if accepting:
            await asyncio.sleep(linger)
        else:
            self._stop_accepting()
            await self._linger_while_connected(linger)
        self._close_sockets()
        if self._server is not None:
            self._server.close_idle()
        before = self.in_flight
        try:
            async with asyncio.timeout(limit):
                await self._finished()
        except TimeoutError:
            logger.warning("%d requests were still in flight after %g s of draining", self.in_flight, limit)
        aborted = self.in_flight
        await self._cut_off()
        return Drained(finished=before - aborted, aborted=aborted)

    async def _linger_while_connected(self, linger: float) -> None:
        await asyncio.sleep(_MADE_WITHIN)
        if self._server is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(linger):
                    await self._server.emptied()

    async def stop(self) -> None:
        """Takes no more requests and cuts off those in flight; may be called more than once."""
        self.stop_reuse()
        self._close_sockets()
        await self._cut_off()

    def _stop_accepting(self) -> None:
        if self._sockets is not None:
            self._sockets.close()
        if self._tls is not None:
            self._tls.stop_accepting()

    def _close_sockets(self) -> None:
        self._stop_accepting()
        if self._tls is not None:
            self._tls.close()
        if self._counting is not None:
            self._counting.stop()

    async def _cut_off(self) -> None:
        if self._server is None:
            return
        if self._tls is not None:
            await self._tls.emptied()
        for connection in self._server.open_connections:
            connection.abort()
        await self._server.emptied()
        await self._finished()

    async def _finished(self) -> None:
        """Returns when no request is in flight."""
        if self.in_flight:
            idle = asyncio.Event()
            self._forwarder.on_idle = idle.set
            await idle.wait()


def require_c_parser() -> None:
    """Raises NoCParser."""
    for parser in (http_parser.HttpRequestParser, http_parser.HttpResponseParser):
        if parser.__module__ != "aiohttp._http_parser":
            raise NoCParser(
                "aiohttp runs without its C parser (AIOHTTP_NO_EXTENSIONS, or a build without extensions); "
                "the gateway does not serve on the other one"
            )
