"""Whole messages over a socket pair, in order, either way.

A message is its length in four bytes, and a pickle. Pickles run code of whoever wrote them; here both ends are
processes of one program, one version and one user, which trust each other anyhow, and the pair is theirs alone.
Frozen values are made again by their classes: those that are compiled cannot be pickled in the usual way.
"""

from __future__ import annotations

import asyncio
import io
import pickle
import socket
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Generic, TypeVar, cast

BUFFER_LIMIT = 64 << 20
"""Bytes that may wait for the other end to read them."""
_LENGTH = 4

T = TypeVar("T")
"""What comes in."""


def pickled(message: object) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(message)
    return buffer.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: object) -> tuple[type, tuple[object, ...]]:
        cls = type(value)
        if cls is type or not is_dataclass(cls):
            return NotImplemented  # type: ignore[no-any-return] # goes over as usual
        return cls, tuple([getattr(value, name) for name in _given(cls)])


@cache
def _given(cls: type) -> Sequence[str]:
    """What its values are made of, in the order in which a class takes them."""
    return [each.name for each in fields(cls) if each.init]


class Channel(asyncio.Protocol, Generic[T]):
    """One end. `received` is called with each message, `lost` once, when the other end has gone."""

    def __init__(self, received: Callable[[T], None], lost: Callable[[], None]) -> None:
        self.sent = 0
        self.taken = 0
        """Messages that were handed to `received`, the one at hand included."""
        self._received = received
        self._lost = lost
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    async def open(self, end: socket.socket) -> None:
        """Goes on with an end of a pair, and owns it."""
        end.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=end)

    def send(self, message: object) -> None:
        """Soon. Nothing happens once the other end has gone; one that does not read is as gone."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        data = pickled(message)
        self.sent += 1
        transport.write(len(data).to_bytes(_LENGTH, "big") + data)
        if transport.get_write_buffer_size() > BUFFER_LIMIT:
            transport.abort()

    def close(self) -> None:
        """What was sent goes out first."""
        if self._transport is not None:
            self._transport.close()

    # --- events of the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is of no class of asyncio's

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        begin = 0
        while len(buffer) - begin >= _LENGTH:
            end = begin + _LENGTH + int.from_bytes(buffer[begin : begin + _LENGTH], "big")
            if len(buffer) < end:
                break
            message: T = pickle.loads(memoryview(buffer)[begin + _LENGTH : end])  # noqa: S301 - see above
            begin = end
            self.taken += 1
            self._received(message)
        del buffer[:begin]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._transport = None
        self._lost()
