"""Servers that the benchmark brings itself, each in a process of its own: `python -m benchmarks.harness.servers KIND`.

`forwarder` is what a gateway of this stack is without any work of a gateway: aiohttp's low-level server and its client
session. `echo` answers WebSocket handshakes, and sends every byte after them back.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha1
from typing import cast

import uvloop
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from yarl import URL

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 §1.3."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE).search
_TAKEN = b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + b"x" * 64


async def forwarder(port: int, behind: Mapping[str, int]) -> None:
    """`behind` are ports by path; the others go to the one of `/`."""
    session = ClientSession(
        connector=TCPConnector(limit=0), cookie_jar=DummyCookieJar(), auto_decompress=False, trust_env=False
    )

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        origin = behind.get(request.raw_path, behind["/"])
        url = URL(f"http://127.0.0.1:{origin}{request.raw_path}", encoded=True)
        body = request.content if request.can_read_body else None
        headers = {name: value for name, value in request.headers.items() if name.lower() != "transfer-encoding"}
        async with session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as response:
            kept = {name: value for name, value in response.headers.items() if name.lower() != "transfer-encoding"}
            answer = web.StreamResponse(status=response.status, headers=kept)
            await answer.prepare(request)
            async for piece in response.content.iter_any():
                await answer.write(piece)
            await answer.write_eof()
            return answer

    server = web.Server(handle, access_log=None)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)


class _Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._head = b""
        self._open = False

    def data_received(self, data: bytes) -> None:
        if self._open:
            self._transport.write(unmasked(data))
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        lines = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
        key = next(value for name, _, value in lines if name.lower() == b"sec-websocket-key")
        accept = b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + rest
        )
        self._open = True


def unmasked(data: bytes) -> bytes:
    """Whole frames of one length without their masks, which only clients have; their masks here are zeros."""
    size = 2 + (data[1] & 0x7F)
    masked = size + 4
    frames = [data[at : at + masked] for at in range(0, len(data) - masked + 1, masked)]
    return b"".join(bytes((frame[0], frame[1] & 0x7F)) + frame[6:] for frame in frames)


async def echo(port: int, _: Mapping[str, int]) -> None:
    await asyncio.get_running_loop().create_server(_Echo, "127.0.0.1", port, backlog=1024)


class _Sink(asyncio.Protocol):
    """Reads bodies to their end, and answers each with as many bytes as a small GET has."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._head = b""
        self._left: int | None = None
        """Bytes of the body that have not come; None between requests, -1 where its end is a chunk of none."""

    def data_received(self, data: bytes) -> None:
        if self._left is None:
            self._head += data
            head, end, data = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = b""
            found = _LENGTH(head)
            self._left = int(found[1]) if found else -1
        if self._left < 0:
            ended = data.endswith(b"0\r\n\r\n")
        else:
            self._left -= len(data)
            ended = self._left <= 0
        if ended:
            self._left = None
            self._transport.write(_TAKEN)


async def sink(port: int, _: Mapping[str, int]) -> None:
    await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", port, backlog=1024)


Serve = Callable[[int, Mapping[str, int]], Awaitable[None]]
KINDS: Mapping[str, Serve] = {"forwarder": forwarder, "echo": echo, "sink": sink}


async def _serve(kind: str, port: int, behind: Mapping[str, int]) -> None:
    await KINDS[kind](port, behind)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])))
