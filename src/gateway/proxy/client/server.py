"""The client connections of one listener, within its caps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from gateway.proxy.client.connection import ClientConnection, Exchanges
from gateway.proxy.client.facts import Entrance
from gateway.proxy.http.forwarded import Forwarding, plain_address
from gateway.proxy.options import ProxyOptions
from gateway.proxy.wire.outbox import Outbox


class ClientServer:
    """All client connections of one listener, within its cap."""

    def __init__(self, exchanges: Exchanges, options: ProxyOptions) -> None:
        """To be made in the event loop."""
        self._exchanges = exchanges
        self._options = options
        self._loop = asyncio.get_running_loop()
        self.outbox = Outbox(self._loop)
        self._entering: set[ClientConnection] = set()
        self._idle: dict[ClientConnection, None] = {}
        self._all: set[ClientConnection] = set()
        self._emptied: asyncio.Event | None = None
        self._of_client: dict[str, int] = {}
        """Open connections by address, of those that are limited."""
        self._trusts = Forwarding(options.trusted_hops).trusts
        self.dropped = 0
        """Connections closed because there were too many."""

    def factory(self, entrance: Entrance) -> Callable[[], ClientConnection]:
        """What makes connections for the loop's server."""
        return partial(ClientConnection, self, self._exchanges, self._options, self._loop, self.outbox, entrance)

    def enter(self, entrance: Entrance, peer: str) -> ClientConnection | None:
        """A connection that is to be made, and counts already; None where there are too many, or of that peer."""
        if self.size >= self._options.max_connections and not self._drop_idle():
            return None
        connection = self.factory(entrance)()
        connection.peer = plain_address(peer)
        self._entering.add(connection)
        if self._is_one_too_many(connection):
            connection.connection_lost(None)
            return None
        return connection

    def is_entering(self, connection: ClientConnection) -> bool:
        """Whether it has not been made yet."""
        return connection in self._entering

    @property
    def open_connections(self) -> frozenset[ClientConnection]:
        return frozenset(self._all)

    @property
    def size(self) -> int:
        """Connections, those included that are to be made."""
        return len(self._all) + len(self._entering)

    def joined(self, connection: ClientConnection) -> None:
        entered = connection in self._entering
        self._entering.discard(connection)
        self._all.add(connection)
        if self.size > self._options.max_connections and not self._drop_idle():
            connection.abort()
        self._idle[connection] = None
        if not entered and self._is_one_too_many(connection):
            connection.abort()

    def _is_one_too_many(self, connection: ClientConnection) -> bool:
        """Counts it among its client's, and says whether these are too many."""
        limit = self._options.max_connections_per_client
        if not limit or self._trusts(connection.peer):
            return False
        count = self._of_client[connection.peer] = self._of_client.get(connection.peer, 0) + 1
        if count <= limit:
            return False
        self.dropped += 1
        return True

    def _drop_idle(self) -> bool:
        """Makes room for one more, if anyone is idle."""
        self.dropped += 1
        victim = next(iter(self._idle), None)
        if victim is None:
            return False
        del self._idle[victim]
        victim.abort()
        return True

    def busy(self, connection: ClientConnection) -> None:
        self._idle.pop(connection, None)

    def idle(self, connection: ClientConnection) -> None:
        self._idle[connection] = None

    def left(self, connection: ClientConnection) -> None:
        if (connection in self._all or connection in self._entering) and connection.peer in self._of_client:
            self._of_client[connection.peer] -= 1
            if not self._of_client[connection.peer]:
                del self._of_client[connection.peer]
        self._all.discard(connection)
        self._entering.discard(connection)
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
            connection.close()
