"""Raw bytes of a connection that has switched protocols, out of and into aiohttp's protocols."""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import StreamWriter, WebSocketReader
from aiohttp.streams import StreamReader

from gateway.proxy.client_connection import ClientConnection
from gateway.proxy.upstream_connection import UpstreamConnection


class _Pipe:
    """Where aiohttp's protocols deliver, once told so, what is no HTTP any more."""

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self._reader.feed_eof()


class PipedTunnel:
    """Both directions of one connection. At most about twice `buffer` bytes wait to be read."""

    def __init__(self, protocol: BaseProtocol, reader: StreamReader) -> None:
        self._protocol = protocol
        self._reader = reader
        self._writer = StreamWriter(protocol, asyncio.get_running_loop())

    @classmethod
    def over_upstream(cls, connection: UpstreamConnection, buffer: int) -> PipedTunnel:
        reader = StreamReader(connection, buffer, loop=asyncio.get_running_loop())
        connection.set_parser(_Pipe(reader), reader)
        return cls(connection, reader)

    @classmethod
    def over_client(cls, connection: ClientConnection, buffer: int) -> PipedTunnel:
        reader = StreamReader(connection, buffer, loop=asyncio.get_running_loop())
        connection.set_parser(cast(WebSocketReader, _Pipe(reader)))
        return cls(connection, reader)

    async def read(self) -> bytes:
        if not self._protocol.connected and not self._reader.is_eof():
            raise ConnectionResetError
        return await self._reader.readany()

    async def write(self, data: bytes) -> None:
        transport = self._protocol.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        transport.write(data)
        await self._writer.drain()
