"""One instance of a service for tests: a small HTTP/1.1 server in a process of its own, which tells what it saw.

    python -m tests.support.instance_server NAME PORT

Everything but `/_control/…` is answered `200 {"instance": NAME}` after the delay that was asked for, and counted:
how many, how many at once, and when the last one began (CLOCK_MONOTONIC, which all processes of a machine share).
Control is not counted: `GET /_control/stats`, `POST /_control/mode?answer=ANSWER&delay=SECONDS`,
`GET /_control/health` (200 while `answer` is ok). `ANSWER` is `ok`, `fail` (500), `hang` (nothing), `cut` (head and
half the body, then a reset) or `trickle` (a byte of the body every 50 ms).

Some paths are answered in their own way while `answer` is `ok` or `trickle`: `…/download/BYTES`, `…/events/COUNT` (an
event each 50 ms) and `…/echo` (a WebSocket, if asked for one).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qs, urlsplit


class Instance:
    """What the instance saw, and how it is to answer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.answer = "ok"
        self.delay = 0.0
        self.count = 0
        self.running = 0
        self.most_at_once = 0
        self.last_began = 0.0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        began = time.monotonic()
        line, *fields = head.split("\r\n")
        method, target, _ = line.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        control = target.startswith("/_control/")
        if not control:
            self.count += 1
            self.running += 1
            self.most_at_once = max(self.most_at_once, self.running)
            self.last_began = began
        try:
            await _read_body(reader, headers)
            if control:
                await _say(writer, *self._control(target), head_only=method == "HEAD")
            else:
                await self._answer(method, target, headers, reader, writer)
        finally:
            if not control:
                self.running -= 1
        return headers.get("connection", "").lower() != "close"

    async def _answer(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        answer = self.answer
        pause = 3600 if answer == "hang" else self.delay
        if pause:
            await _pause(pause, reader)
        *_, kind, last = ["", *urlsplit(target).path.split("/")]
        usual = answer in ("ok", "trickle")
        if usual and kind == "download":
            await _download(writer, int(last))
        elif usual and kind == "events":
            await _events(writer, int(last))
        elif usual and last == "echo" and "upgrade" in headers:
            await _echo(headers, reader, writer)
        else:
            body = {"instance": self.name, "method": method, "target": target}
            status = 500 if answer == "fail" else 200
            bit_by_bit = {"cut": _cut, "trickle": _trickle}.get(answer)
            await _say(writer, status, body, head_only=method == "HEAD", write_body=bit_by_bit)

    def _control(self, target: str) -> tuple[int, dict[str, object]]:
        url = urlsplit(target)
        if url.path == "/_control/health":
            return (200 if self.answer == "ok" else 503), {}
        if url.path == "/_control/mode":
            asked = parse_qs(url.query)
            self.answer = asked.get("answer", [self.answer])[0]
            self.delay = float(asked.get("delay", [str(self.delay)])[0])
        return 200, {
            "instance": self.name,
            "count": self.count,
            "running": self.running,
            "most_at_once": self.most_at_once,
            "last_began": self.last_began,
        }


async def _say(
    writer: asyncio.StreamWriter,
    status: int,
    body: Mapping[str, object],
    *,
    head_only: bool,
    write_body: Callable[[asyncio.StreamWriter, bytes], Awaitable[None]] | None = None,
) -> None:
    payload = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
    if head_only or write_body is None:
        writer.write(head if head_only else head + payload)
        await writer.drain()
        return
    writer.write(head)
    await write_body(writer, payload)


async def _cut(writer: asyncio.StreamWriter, payload: bytes) -> None:
    writer.write(payload[: len(payload) // 2])
    await writer.drain()
    await asyncio.sleep(0.02)  # what is sent just before a reset may never be read
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    raise ConnectionResetError


async def _trickle(writer: asyncio.StreamWriter, payload: bytes) -> None:
    for number in range(len(payload)):
        writer.write(payload[number : number + 1])
        await writer.drain()
        await asyncio.sleep(0.05)


async def _download(writer: asyncio.StreamWriter, size: int) -> None:
    writer.write(f"HTTP/1.1 200 X\r\nContent-Length: {size}\r\n\r\n".encode())
    while size > 0:
        writer.write(bytes(min(size, 65536)))
        await writer.drain()
        size -= 65536


async def _events(writer: asyncio.StreamWriter, count: int) -> None:
    writer.write(b"HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for number in range(count):
        event = f"data: {number}\n\n".encode()
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(0.05)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _echo(headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A WebSocket (RFC 6455) of small frames: data and closing come back as they were, unmasked."""
    key = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    writer.write(
        "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while True:
        first, length = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        masked = await reader.readexactly(length & 0x7F)
        writer.write(bytes((first, len(masked))) + bytes(each ^ mask[at % 4] for at, each in enumerate(masked)))
        await writer.drain()
        if first & 0x0F == 8:
            raise ConnectionResetError


async def _pause(seconds: float, reader: asyncio.StreamReader) -> None:
    """Raises ConnectionError where the client leaves meanwhile."""
    try:
        async with asyncio.timeout(seconds):
            if not await reader.read(1):
                raise ConnectionResetError
    except TimeoutError:
        return


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> None:
    if "content-length" in headers:
        await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            await reader.readexactly(size + 2)
            if not size:
                return


async def _main(name: str, port: int) -> None:
    instance = Instance(name)
    server = await asyncio.start_server(instance.serve, "127.0.0.1", port, backlog=512)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(_main(sys.argv[1], int(sys.argv[2])))
    except KeyboardInterrupt:
        sys.exit(0)
