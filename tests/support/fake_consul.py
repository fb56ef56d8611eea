"""A fake agent on a real socket, only for what a real Consul cannot be made to do on demand: an index that goes
backwards, is 0, missing or garbage; cut JSON; answers that never end; 429; 500 for want of a leader; redirects; hostile
bytes. Everything else is tested on a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from gateway.discovery.consul_settings import ConsulSettings


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as it came over the wire."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


def answer(
    body: str | bytes = b"[]",
    status: int = 200,
    *,
    index: str | int | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """An answer as Consul would send it; `index` goes as it is into X-Consul-Index."""
    content = body.encode() if isinstance(body, str) else body
    fields = {"Content-Length": str(len(content)), "Content-Type": "application/json"}
    if index is not None:
        fields["X-Consul-Index"] = str(index)
    fields |= headers or {}
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + content


Handler = Callable[[Asked], "bytes | Awaitable[bytes | None] | None"]
"""The bytes to send; None is a connection that is closed without an answer."""


@dataclass(slots=True)
class FakeConsul:
    """Answers by `handler`; keeps what was asked. An unset handler answers `[]` with index 1."""

    handler: Handler = lambda _asked: answer(index=1)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    @property
    def settings(self) -> ConsulSettings:
        return ConsulSettings(port=self.port, timeout=1.0, wait=2.0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                asked = await _request(reader)
                self.asked.append(asked)
                made = self.handler(asked)
                sent = made if isinstance(made, bytes) or made is None else await made
                if sent is None:
                    return
                writer.write(sent)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Asked(method, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body)


async def never(_asked: Asked) -> bytes | None:
    """A half-open connection: asked, and nothing comes."""
    await asyncio.Event().wait()
    return None


@contextlib.asynccontextmanager
async def fake_consul(handler: Handler | None = None) -> AsyncIterator[FakeConsul]:
    """Listens on a loopback port until the block ends."""
    fake = FakeConsul()
    if handler is not None:
        fake.handler = handler
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(fake._serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=512)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
