"""An instance that keeps every byte that it is sent, and answers each request with what h11 took it for."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import h11

from gateway.core.model import Instance, InstanceKey
from tests.support.second_opinion import Heard, requests


class RecordingUpstream:
    """`connections` holds what came on each, in the order that they were made."""

    def __init__(self) -> None:
        self.connections: list[bytearray] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    @property
    def instance(self) -> Instance:
        return Instance(InstanceKey("dc1", "node", "recording"), "orders", "127.0.0.1", self.port)

    def heard(self) -> list[Heard]:
        """All complete requests. Asserts that each is well-formed, and that two parsers agree about it."""
        return [message for data in self.connections for message in requests(bytes(data)).messages]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        received = bytearray()
        self.connections.append(received)
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=2**20)
        name = b""
        try:
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    data = await reader.read(65536)
                    if not data:
                        break
                    received += data
                    connection.receive_data(data)
                elif isinstance(event, h11.Request):
                    name = event.method + b" " + event.target
                elif isinstance(event, h11.EndOfMessage):
                    body = b"" if name.startswith(b"HEAD ") else name
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), body))
                    connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                    connection.send(h11.EndOfMessage())
                    connection.start_next_cycle()
                elif not isinstance(event, h11.Data):
                    break
        except (h11.RemoteProtocolError, ConnectionError, asyncio.CancelledError):
            # What h11 minds is found in `heard`; cancelled only by __aexit__.
            pass
        finally:
            writer.close()
            self._writers.discard(writer)
            self._tasks.discard(task)
