"""Instances that say literal bytes, and a client that sends them: for everything that no well-behaved library does."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from gateway.core.model import Instance, InstanceKey

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
END = b"\r\n\r\n"


@dataclass(slots=True)
class ReceivedRequest:
    """One request as it came: `head` without the empty line, `body` decoded from its framing."""

    head: bytes
    body: bytes = b""

    @property
    def start_line(self) -> str:
        return self.head.split(b"\r\n")[0].decode()

    @property
    def target(self) -> str:
        return self.start_line.split(" ")[1]

    @property
    def fields(self) -> list[tuple[str, str]]:
        pairs = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return [(name.decode().lower(), value.decode(errors="surrogateescape").strip()) for name, _, value in pairs]

    def values(self, name: str) -> list[str]:
        return [value for field_name, value in self.fields if field_name == name.lower()]

    def value(self, name: str) -> str | None:
        values = self.values(name)
        return ", ".join(values) if values else None


class Exchange:
    """One request at an instance, and the connection that it came on."""

    def __init__(self, request: ReceivedRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.request = request
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> None:
        await _say(self.writer, data)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()

    async def read_body(self) -> None:
        self.request.body = await read_body(self.reader, self.request)

    async def until_closed(self) -> None:
        """Returns when the gateway has closed the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            return


Script = Callable[[Exchange], Awaitable[None]]


async def answer_ok(exchange: Exchange) -> None:
    await exchange.read_body()
    await exchange.say(OK)


def saying(data: bytes, *, close: bool = False) -> Script:
    """A script that reads a request and says these bytes."""

    async def script(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.say(data)
        if close:
            exchange.close()

    return script


@dataclass
class ScriptedUpstream:
    """An instance on a port of its own whose every request is handled by `script`."""

    script: Script = answer_ok
    service: str = "orders"
    name: str = "orders-1"
    requests: list[ReceivedRequest] = field(default_factory=list)
    connections: int = 0
    open_connections: int = 0
    port: int = 0
    tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.arrived = asyncio.Event()
        self.left = asyncio.Event()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20, ssl=self.tls)
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
        return Instance(InstanceKey("dc1", "node", self.name), self.service, "127.0.0.1", self.port)

    @property
    def last(self) -> ReceivedRequest:
        return self.requests[-1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.connections += 1
        self.open_connections += 1
        try:
            while not writer.is_closing():
                try:
                    head = await reader.readuntil(END)
                except (asyncio.IncompleteReadError, ConnectionError):
                    break
                request = ReceivedRequest(head[:-4])
                self.requests.append(request)
                self.arrived.set()
                await self.script(Exchange(request, reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # Cancelled only by __aexit__; start_server reports a cancelled task as an error.
            pass
        finally:
            self.open_connections -= 1
            self.left.set()
            writer.close()
            self._writers.discard(writer)
            self._tasks.discard(task)


async def _say(writer: asyncio.StreamWriter, data: bytes) -> None:
    if writer.transport.is_closing():
        raise ConnectionResetError  # uvloop would call it a RuntimeError
    writer.write(data)
    await writer.drain()


async def read_body(reader: asyncio.StreamReader, request: ReceivedRequest) -> bytes:
    if request.value("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return body
    length = request.value("content-length")
    return await reader.readexactly(int(length)) if length else b""


@dataclass(slots=True)
class Response:
    """A response as it came: `body` decoded from its framing; `ended` says how the connection was left."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    @property
    def fields(self) -> list[tuple[str, str]]:
        pairs = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return [(name.decode().lower(), value.decode("latin-1").strip()) for name, _, value in pairs]

    def values(self, name: str) -> list[str]:
        return [value for field_name, value in self.fields if field_name == name.lower()]

    def value(self, name: str) -> str | None:
        values = self.values(name)
        return ", ".join(values) if values else None


class LiteralClient:
    """A connection to the gateway on which bytes are sent as given."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(
        cls, port: int, *, limit: int = 2**16, tls: ssl.SSLContext | None = None, name: str | None = None
    ) -> LiteralClient:
        """With `tls` by TLS, asking for that name."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=limit, ssl=tls, server_hostname=name))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)

    async def say(self, data: bytes) -> None:
        await _say(self.writer, data)

    async def ask(self, data: bytes, *, method: str = "GET") -> Response:
        await self.say(data)
        return await self.response(method=method)

    async def head(self) -> Response:
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(END)
        return Response(head[:-4], b"")

    async def response(self, *, method: str = "GET") -> Response:
        """One whole response. Raises IncompleteReadError where it is cut off."""
        response = await self.head()
        if method == "HEAD" or response.status in (204, 304) or response.status < 200:
            return response
        coding, length = response.value("transfer-encoding"), response.value("content-length")
        if coding == "chunked":
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                response.body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
        elif length is not None:
            response.body = await self.reader.readexactly(int(length))
        else:
            response.body = await self.reader.read()
        return response

    async def rest(self) -> bytes:
        """Everything until the gateway closes; what a reset leaves of it."""
        async with asyncio.timeout(10):
            return await self.reader.read()

    async def closed(self) -> bool:
        """Whether the gateway closes now, having said nothing more."""
        try:
            return await self.rest() == b""
        except ConnectionError:
            return True


def request(
    target: str = "/",
    *lines: str,
    method: str = "GET",
    host: str = "gateway.test",
    version: str = "1.1",
    body: bytes = b"",
) -> bytes:
    """An ordinary request with these further lines."""
    head = [f"{method} {target} HTTP/{version}", f"Host: {host}", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + body
