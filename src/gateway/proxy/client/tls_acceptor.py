"""Takes connections at a port that speaks TLS, and makes client connections of those whose handshake succeeds.

Sockets are accepted here and not by the loop's server, which tells nobody of handshakes that have not ended: so many
clients may be in one as may be connected at all, none for longer than a head may take, and what fails is counted.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Mapping
from functools import partial

from gateway.core.model import Reason
from gateway.proxy.client.acceptor import STAND_BACK, stands_back
from gateway.proxy.client.connection import ClientConnection
from gateway.proxy.client.facts import Entrance
from gateway.proxy.client.server import ClientServer
from gateway.proxy.client.server_certificates import ServerCertificates
from gateway.proxy.options import ProxyOptions

logger = logging.getLogger("gateway.tls")

FAILURES = ("client_certificate", "closed", "not_tls", "protocol", "timeout")
"""Why a handshake fails: the client's certificate does not hold; it left; it speaks something else, nothing that we
take, or nothing at all."""
_HANDSHAKE = b"\x16"
"""The type of the first record (RFC 8446 §5.1)."""
_AT_ONCE = 64
"""Connections accepted in one turn of the loop."""
_TICK = 0.01
"""Seconds by which the loop may call before the time."""
_REST = 0.1
"""Seconds without accepting, where the system has no more descriptors."""


class TlsAcceptor:
    """To be made in the event loop. `listening` is bound and does not block."""

    def __init__(
        self,
        listening: socket.socket,
        certificates: ServerCertificates,
        server: ClientServer,
        entrance: Entrance,
        options: ProxyOptions,
    ) -> None:
        self._listening = listening
        self._certificates = certificates
        self._server = server
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._entrance = entrance
        self._entering: set[asyncio.Task[None]] = set()
        self._failed: Counter[str] = Counter()

    @property
    def failures(self) -> Mapping[str, int]:
        """Handshakes that failed, by each of `FAILURES`."""
        return {why: self._failed[why] for why in FAILURES}

    def start(self, backlog: int) -> None:
        self._listening.listen(backlog)
        self._loop.add_reader(self._listening, self._accept)

    def close(self) -> None:
        """Takes no more, and lets go of those that have not entered; may be called more than once."""
        self.stop_accepting()
        for task in self._entering:
            task.cancel()

    def stop_accepting(self) -> None:
        """Takes no more; handshakes go on. May be called more than once."""
        if self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening)
            self._listening.close()

    def _accept(self) -> None:
        turns = self._options.turns
        if turns is None:
            self._accept_most(_AT_ONCE)
        elif stands_back(turns, self._server.size):
            self._loop.remove_reader(self._listening)
            self._loop.call_later(STAND_BACK, self._after_others)
        else:
            self._accept_most(1)

    def _after_others(self) -> None:
        self._accept_again()
        if self._listening.fileno() >= 0:
            self._accept_most(1)

    def _accept_most(self, most: int) -> None:
        for _ in range(most):
            try:
                accepted, address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                logger.warning("No connection can be accepted.", extra={"error": error.strerror})
                self._loop.remove_reader(self._listening)
                self._loop.call_later(_REST, self._accept_again)
                return
            peer = str(address[0])
            connection = self._server.enter(self._entrance, peer)
            if connection is None:
                accepted.close()
                continue
            accepted.setblocking(False)
            task = self._loop.create_task(self._enter(accepted, connection, peer))
            self._entering.add(task)
            task.add_done_callback(partial(self._entered, accepted, connection))

    def _accept_again(self) -> None:
        if self._listening.fileno() >= 0:
            self._loop.add_reader(self._listening, self._accept)

    async def emptied(self) -> None:
        """Returns when all handshakes have ended, after `close`."""
        await asyncio.gather(*self._entering, return_exceptions=True)

    async def _enter(self, accepted: socket.socket, connection: ClientConnection, peer: str) -> None:
        """Until the connection has been made, or will never be."""
        began = self._loop.time()
        try:
            if await self._speaks_tls(accepted):
                await self._shake_hands(accepted, connection, began + self._options.head_timeout)
            else:
                await self._tell_to_speak_tls(accepted, connection)
                self._failed["not_tls"] += 1
        except ssl.SSLCertVerificationError as error:
            self._failed["client_certificate"] += 1
            logger.info("A client's certificate is refused.", extra={"peer": peer, "error": error.verify_message})
        except OSError as error:
            why = self._why(error, began)
            self._failed[why] += 1
            logger.debug("A handshake failed.", extra={"peer": peer, "why": why, "error": str(error)})

    def _entered(self, accepted: socket.socket, connection: ClientConnection, task: asyncio.Task[None]) -> None:
        self._entering.discard(task)
        if self._server.is_entering(connection):
            connection.connection_lost(None)
            accepted.close()

    async def _speaks_tls(self, accepted: socket.socket) -> bool:
        """By the first byte that comes. Raises OSError where none does in time."""
        async with asyncio.timeout(self._options.head_timeout):
            first = await self._first_byte(accepted)
        if not first:
            raise ConnectionResetError("the client has left")
        return first == _HANDSHAKE

    async def _shake_hands(self, accepted: socket.socket, connection: ClientConnection, ends: float) -> None:
        """Raises OSError, of which ssl.SSLError is one."""
        await self._loop.connect_accepted_socket(
            lambda: connection,
            accepted,
            ssl=self._certificates.context,
            ssl_handshake_timeout=max(ends - self._loop.time(), 0.001),
            ssl_shutdown_timeout=self._options.write_timeout,
        )
        if self._server.is_entering(connection):
            raise ConnectionResetError("the client has left")

    async def _tell_to_speak_tls(self, accepted: socket.socket, connection: ClientConnection) -> None:
        connection.deafen()
        await self._loop.connect_accepted_socket(lambda: connection, accepted)
        connection.refuse(Reason.BAD_REQUEST, "plain HTTP was sent to a port that speaks TLS: ask it by https")

    def _why(self, error: OSError, began: float) -> str:
        if isinstance(error, ssl.SSLError):
            return "protocol"
        late = self._loop.time() >= began + self._options.head_timeout - _TICK
        return "timeout" if late else "closed"

    async def _first_byte(self, accepted: socket.socket) -> bytes:
        """Waits for it, and leaves it where it is. Empty where the client has left."""
        while True:
            try:
                return accepted.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                readable = self._loop.create_future()
                self._loop.add_reader(accepted, _settle, readable)
                try:
                    await readable
                finally:
                    self._loop.remove_reader(accepted)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
