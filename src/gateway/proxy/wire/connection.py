"""What a connection of either leg has: its transport, and flow control both ways.

It stands where aiohttp's parser and streams expect `aiohttp.base_protocol.BaseProtocol`, and has all that these ask of
one. It is a class of our own because that one's `__slots__` forbid compiling those who inherit from it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol, cast

from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

from gateway.proxy.wire.outbox import SMALL, Outbox


class Pausable(Protocol):
    """A parser that can be told to keep what it has."""

    def pause_reading(self) -> None: ...


class Connection(asyncio.Protocol):
    """`transport` is None before the connection is made and after it is lost."""

    def __init__(self, loop: asyncio.AbstractEventLoop, outbox: Outbox) -> None:
        self._loop = loop
        self._outbox = outbox
        self._unsent = b""
        """What is in the outbox."""
        self._given = False
        """Whether the transport was given something since this was last set back."""
        self._writing_paused = False
        self._drained: asyncio.Future[None] | None = None
        self._reading_paused = False
        """By a stream that is full."""
        self._buffer_paused = False
        """By a buffer of our own that is full."""
        self._parser: Pausable | None = None
        self._upgraded = False
        """What comes is not for the parser any more."""
        self.transport: asyncio.Transport | None = None

    @property
    def connected(self) -> bool:
        return self.transport is not None

    # --- writing ---

    def write(self, data: bytes) -> None:
        """Sends, soon where it is little. Raises ConnectionResetError where the peer has gone."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the peer has gone")
        unsent = self._unsent
        if unsent:
            data = unsent + data
        if len(data) > SMALL or self._writing_paused:
            self._unsent, self._given = b"", True
            transport.write(data)
            return
        self._unsent = data
        if not unsent:
            self._outbox.add(self)

    def flush(self) -> None:
        """Sends what is in the outbox."""
        unsent, self._unsent = self._unsent, b""
        transport = self.transport
        if unsent and transport is not None and not transport.is_closing():
            self._given = True
            transport.write(unsent)

    def close(self) -> None:
        """Ends the connection once what was written has been taken."""
        self.flush()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Ends the connection at once."""
        self.flush()
        if self.transport is not None:
            self.transport.abort()

    @property
    def writing_paused(self) -> bool:
        return self._writing_paused

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    async def drain(self) -> None:
        """Waits until the peer has taken enough of what was written. Raises ConnectionError."""
        await self._drain()

    async def _drain(self) -> None:
        if self.transport is None:
            raise ConnectionResetError("the connection is gone")
        if not self._writing_paused:
            return
        if self._drained is None:
            self._drained = self._loop.create_future()
        await self._drained

    # --- reading ---

    def stream(self, limit: int) -> StreamReader:
        """A stream that pauses this connection at about twice `limit` bytes."""
        return StreamReader(cast(BaseProtocol, self), limit, loop=self._loop)

    @property
    def reading_paused(self) -> bool:
        """Whether a stream is full."""
        return self._reading_paused

    def pause_reading(self) -> None:
        self._reading_paused = True
        if not self._upgraded and self._parser is not None:
            self._parser.pause_reading()
        self._pause_transport()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """`resume_parser`: what the parser kept is read as well."""
        self._reading_paused = False
        if resume_parser and not self._upgraded and self._parser is not None:
            self.data_received(b"")
        if not self._reading_paused and not self._buffer_paused:
            self._resume_transport()

    def _pause_for_buffer(self) -> None:
        self._buffer_paused = True
        self._pause_transport()

    def _resume_for_buffer(self) -> None:
        self._buffer_paused = False
        if not self._reading_paused:
            self._resume_transport()

    def _pause_transport(self) -> None:
        if self.transport is not None:
            with suppress(RuntimeError):
                self.transport.pause_reading()

    def _resume_transport(self) -> None:
        if self.transport is not None:
            with suppress(RuntimeError):
                self.transport.resume_reading()

    # --- events of the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._unsent = b""
        drained, self._drained = self._drained, None
        if drained is None or drained.done():
            return
        if exc is None:
            drained.set_result(None)
        else:
            lost = ConnectionError("the connection was lost")
            lost.__cause__ = exc
            drained.set_exception(lost)
