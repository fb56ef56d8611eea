"""Accepts connections from a socket that other processes accept from as well.

The event loops' own servers take all that wait in one go, so that of a burst one worker gets nearly all, and keeps it
as long as the connections live. Here one is taken at a time; and a worker that has clearly more than the one with the
least leaves a connection to the others for a moment.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from gateway.proxy.options import Turns

SLACK = 1
"""Connections that a worker may have more than the least before it stands back."""
STAND_BACK = 0.002
"""Seconds, after which it takes a connection that nobody else took."""
COUNT_INTERVAL = 0.05
OUT_OF_DESCRIPTORS_PAUSE = 1.0
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

logger = logging.getLogger("gateway.proxy")


def stands_back(turns: Turns, own: int) -> bool:
    """Whether who has so many connections leaves the next one to the others, for `STAND_BACK`."""
    return own > turns.least() + SLACK


class Acceptor:
    """Serves one listening socket, as the `asyncio.Server` of an event loop would. `open_connections` counts those that
    this worker has."""

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        open_connections: Callable[[], int],
        turns: Turns,
    ) -> None:
        """To be made in the event loop. `listening` is non-blocking, and this end of it is owned."""
        self.sockets = (listening,)
        self._socket = listening
        self._protocol = protocol
        self._open_connections = open_connections
        self._turns = turns
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[object]] = set()
        self._later: asyncio.TimerHandle | None = None

    def start(self, backlog: int) -> None:
        """Takes connections from now on."""
        self._socket.listen(backlog)
        self._watch()

    def close(self) -> None:
        """Takes no more; may be called more than once."""
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        if self._later is not None:
            self._later.cancel()
        self._socket.close()

    def _watch(self) -> None:
        self._later = None
        self._loop.add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        if stands_back(self._turns, self._open_connections() + len(self._opening)):
            self._pause(STAND_BACK, self._after_all)
        else:
            self._accept()

    def _after_all(self) -> None:
        self._watch()
        self._accept()

    def _accept(self) -> None:
        try:
            accepted, _ = self._socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            logger.error("A connection cannot be accepted.", extra={"error": str(error)})
            self._pause(OUT_OF_DESCRIPTORS_PAUSE, self._watch)
            return
        accepted.setblocking(False)
        opening = self._loop.create_task(self._open(accepted))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        self._turns.write(self._open_connections() + len(self._opening))

    async def _open(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, accepted)
        except OSError:  # the client has left already
            accepted.close()

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._socket)
        self._later = self._loop.call_later(seconds, then)


class Counting:
    """Tells every now and then how many connections a worker has."""

    def __init__(self, turns: Turns, open_connections: Callable[[], int]) -> None:
        """To be made in the event loop."""
        self._turns = turns
        self._open_connections = open_connections
        self._loop = asyncio.get_running_loop()
        self._count()

    def stop(self) -> None:
        """May be called more than once."""
        self._next.cancel()

    def _count(self) -> None:
        self._turns.write(self._open_connections())
        self._next = self._loop.call_later(COUNT_INTERVAL, self._count)
