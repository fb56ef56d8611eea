"""Raw bytes of a connection that has switched protocols."""

from __future__ import annotations

from aiohttp.streams import StreamReader

from gateway.proxy.wire.connection import Connection


class PipedTunnel:
    """Both directions of one connection."""

    def __init__(self, connection: Connection, reader: StreamReader) -> None:
        self._connection = connection
        self._reader = reader

    async def read(self) -> bytes:
        if not self._connection.connected and not self._reader.is_eof():
            raise ConnectionResetError
        return await self._reader.readany()

    async def write(self, data: bytes) -> None:
        self._connection.write(data)
        await self._connection.drain()
