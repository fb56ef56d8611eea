"""One instance of a service for tests: a small HTTP/1.1 server in a process of its own, which tells what it saw.

    python -m tests.support.instance_server NAME PORT

Everything but `/_control/…` is answered `200 {"instance": NAME}` after the delay that was asked for, and counted:
how many, how many at once, and when the last one began (CLOCK_MONOTONIC, which all processes of a machine share).
Control is not counted: `GET /_control/stats`, `POST /_control/mode?answer=ok|fail|hang&delay=SECONDS`,
`GET /_control/health` (200 while `answer` is ok).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
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
            status, body = self._control(target) if control else await self._answer(method, target, reader)
        finally:
            if not control:
                self.running -= 1
        payload = json.dumps(body).encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
            + (b"" if method == "HEAD" else payload)
        )
        await writer.drain()
        return headers.get("connection", "").lower() != "close"

    async def _answer(self, method: str, target: str, reader: asyncio.StreamReader) -> tuple[int, dict[str, object]]:
        pause = 3600 if self.answer == "hang" else self.delay
        if pause:
            await _pause(pause, reader)
        status = 500 if self.answer == "fail" else 200
        return status, {"instance": self.name, "method": method, "target": target}

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
