"""The connections to one instance: reused while they are fresh, the latest used first."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence

from gateway.core.model import Connect, FailureKind
from gateway.proxy.options import ProxyOptions
from gateway.proxy.upstream.connection import UpstreamConnection
from gateway.proxy.upstream.host_name import CheckAddress, HostName, is_name
from gateway.proxy.upstream.interface import UpstreamFailure
from gateway.proxy.upstream.tls import tls_context
from gateway.proxy.wire.outbox import Outbox

IDLE_LIMIT = 1024
"""Connections that are kept for one pool while nobody uses them."""
_TLS_GOODBYE = 0.1
"""Seconds an instance gets to say goodbye in TLS; by default it is half a minute, while a closing loop stands still."""


class UpstreamPool:
    """Connections to one endpoint under one set of connect settings: as many as the core lets be in flight, and of
    those that are not, at most `IDLE_LIMIT`."""

    def __init__(
        self,
        address: str,
        port: int,
        connect: Connect,
        outbox: Outbox,
        options: ProxyOptions,
        check: CheckAddress,
    ) -> None:
        self.address = address
        self.port = port
        self.connect = connect
        host = f"[{address}]" if ":" in address else address
        self.authority = f"{host}:{port}"
        """The instance's own name for `Host`."""
        self.loop = asyncio.get_running_loop()
        self._name = HostName(address, check) if is_name(address) else None
        self._outbox = outbox
        self._options = options
        self._idle: list[tuple[UpstreamConnection, float]] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._busy: set[UpstreamConnection] = set()
        self._closed = False

    @property
    def idle(self) -> int:
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """A kept connection to send on, the latest used; None where there is none."""
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.usable:
                self._busy.add(connection)
                return connection
        return None

    async def open(self) -> UpstreamConnection:
        """A new connection to send on. Raises UpstreamFailure(CONNECT_FAILURE)."""
        connection = await self._connect()
        self._busy.add(connection)
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """Gives a connection back after a complete exchange."""
        self._busy.discard(connection)
        connection.end()
        reader = connection.reader
        if (
            self._closed
            or not self.connect.keep_alive
            or not reader.keep_alive
            or reader.surplus
            or not connection.usable
            or len(self._idle) >= IDLE_LIMIT
        ):
            connection.close()
            return
        self._idle.append((connection, self.loop.time()))
        if self._sweep is None:
            self._sweep = self.loop.call_later(self.connect.keep_alive, self._close_stale)

    def discard(self, connection: UpstreamConnection) -> None:
        """Closes a connection whose exchange did not end well."""
        self._busy.discard(connection)
        connection.abort()

    def retire(self) -> None:
        """Closes what is idle now, and the rest as it is given back."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection, _ in self._idle:
            connection.close()
        self._idle.clear()

    def close(self) -> None:
        """Closes everything."""
        self.retire()
        for connection in tuple(self._busy):
            self.discard(connection)

    async def _connect(self) -> UpstreamConnection:
        tls = self.connect.tls
        context: ssl.SSLContext | None = None
        server_name: str | None = None
        connection = UpstreamConnection(self.loop, self._outbox, self._options)
        try:
            if tls is not None:
                context = tls_context(tls)
                server_name = tls.server_name or self.address
            async with asyncio.timeout(self.connect.timeout or None):
                addresses = [self.address] if self._name is None else await self._name.addresses()
                await self._reach(connection, addresses, context, server_name)
        except TimeoutError:
            detail = f"no connection to {self.authority} within {self.connect.timeout:g} s"
            raise UpstreamFailure(FailureKind.CONNECT_FAILURE, detail) from None
        except (OSError, UnicodeError) as error:
            detail = f"no connection to {self.authority}: {error}"
            raise UpstreamFailure(FailureKind.CONNECT_FAILURE, detail) from None
        except asyncio.CancelledError:
            connection.abort()
            raise
        return connection

    async def _reach(
        self,
        connection: UpstreamConnection,
        addresses: Sequence[str],
        context: ssl.SSLContext | None,
        server_name: str | None,
    ) -> None:
        """Connects to the first of the addresses that can be had. Raises the OSError of the last one."""
        for number, address in enumerate(addresses, 1):
            try:
                await self.loop.create_connection(
                    lambda: connection,
                    address,
                    self.port,
                    ssl=context,
                    server_hostname=server_name,
                    ssl_shutdown_timeout=None if context is None else _TLS_GOODBYE,
                )
            except OSError:
                if number == len(addresses):
                    raise
            else:
                return

    def _close_stale(self) -> None:
        self._sweep = None
        horizon = self.loop.time() - self.connect.keep_alive
        fresh = [entry for entry in self._idle if entry[1] > horizon and entry[0].usable]
        for connection, since in self._idle:
            if since <= horizon or not connection.usable:
                connection.close()
        self._idle = fresh
        if fresh:
            oldest = min(since for _, since in fresh)
            self._sweep = self.loop.call_at(oldest + self.connect.keep_alive, self._close_stale)
