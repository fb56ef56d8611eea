"""What connections have to send, kept until the event loop has heard all that came in this round, and sent then.

A write to a socket wakes whoever reads at its other end, and to wake a process that sleeps costs about as much as to
parse a request. An instance or a client that is quicker than we are falls asleep between two writes; what is sent in
one go finds it awake. A connection alone in its round has to wait for nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.proxy.wire.connection import Connection

SMALL = 16384
"""Bytes that a connection may keep back; more is sent at once, as copying it would cost more than it saves."""
MOST = 64
"""Connections that wait for each other at most: what it costs to wake somebody is shared by enough of them then."""


class Outbox:
    """Of all connections of one event loop on one side."""

    __slots__ = ("_connections", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._connections: list[Connection] = []

    def add(self, connection: Connection) -> None:
        """To be flushed when the round ends."""
        if not self._connections:
            self._loop.call_soon(self.flush)
        self._connections.append(connection)
        if len(self._connections) >= MOST:
            self.flush()

    def flush(self) -> None:
        connections, self._connections = self._connections, []
        for connection in connections:
            try:
                connection.flush()
            except Exception as error:  # noqa: BLE001  told; what others have to send has to go
                about = {"message": "what a connection has to send could not be sent", "exception": error}
                self._loop.call_exception_handler(about)
