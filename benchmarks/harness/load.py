"""Load: closed by `wrk`, at a constant rate by a client of our own, idle connections, WebSocket frames and back."""

from __future__ import annotations

import asyncio
import re
import resource
import subprocess
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_REQUEST = b"GET /small HTTP/1.1\r\nHost: bench\r\n\r\n"
_FRAME = bytes((0x81, 0x80 | 64, 0, 0, 0, 0)) + b"x" * 64


class LoadError(Exception):
    """Requests were not answered as they should be."""


@dataclass(frozen=True)
class Closed:
    """What a closed load came to: requests a second, and latencies in seconds."""

    requests: int
    rate: float
    p50: float
    p99: float
    p999: float


def closed(
    url: str,
    *,
    connections: int,
    seconds: float,
    headers: Mapping[str, str],
    folder: Path,
    body: int = 0,
    differ: bool = False,
) -> Closed:
    """Each connection sends its next request when it has its answer; with `body`, POSTs of so many bytes. Where they
    `differ`, no two requests have the same path or the same header fields."""
    script = folder / f"wrk-{body}-{differ}.lua"
    sent = f'wrk.method = "POST"; wrk.body = string.rep("x", {body})\n' if body else ""
    if differ:
        sent += (
            "local sent = 0\n"
            'function request() sent = sent + 1; wrk.headers["X-Number"] = sent; '
            'return wrk.format(nil, "/items/" .. sent) end\n'
        )
    script.write_text(
        f"{sent}function done(summary, latency, _) "
        'io.write(string.format("told %d %d %d %d %d\\n", summary.requests, summary.duration, '
        "latency:percentile(50), latency:percentile(99), latency:percentile(99.9))) end\n"
    )
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", str(script)]
    command += [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    said = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    return told(f"{url}\n{said}")


def told(said: str) -> Closed:
    """What `wrk` printed. Raises LoadError for answers that are not 2xx, and for broken connections."""
    if "Non-2xx" in said or re.search(r"Socket errors: .*(read|write|connect) [1-9]", said):
        raise LoadError(said)
    found = re.search(r"^told (\d+) (\d+) (\d+) (\d+) (\d+)$", said, re.MULTILINE)
    if found is None:
        raise LoadError(said)
    requests, duration, p50, p99, p999 = (int(number) for number in found.groups())
    if not requests:
        raise LoadError("there was no answer")
    return Closed(requests, requests / (duration * 1e-6), p50 * 1e-6, p99 * 1e-6, p999 * 1e-6)


# --- at a constant rate -------------------------------------------------------------------------------------------


async def steady(port: int, *, rate: float, seconds: float, connections: int = 64) -> Sequence[float]:
    """Latencies in seconds, from when each request was due: what waits for a free connection waits, too."""
    loop = asyncio.get_running_loop()
    idle: asyncio.Queue[_Client] = asyncio.Queue()
    clients = [await _connected(port) for _ in range(connections)]
    for client in clients:
        idle.put_nowait(client)
    latencies: list[float] = []
    tasks: set[asyncio.Task[None]] = set()

    async def one(due: float) -> None:
        client = await idle.get()
        await client.ask()
        latencies.append(loop.time() - due)
        idle.put_nowait(client)

    began = loop.time()
    for number in range(int(rate * seconds)):
        due = began + number / rate
        if (pause := due - loop.time()) > 0:
            await asyncio.sleep(pause)
        task = loop.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    for client in clients:
        client.close()
    return latencies


class _Client(asyncio.Protocol):
    """One keep-alive connection; responses are known to end with the instance's body."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[None] | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        if end and len(body) >= _length(head) and self._answered is not None:
            self._data = b""
            if not self._answered.done():
                self._answered.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error or ConnectionResetError("closed"))

    async def ask(self, request: bytes = _REQUEST) -> None:
        assert self._transport is not None
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._answered

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _length(head: bytes) -> int:
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return int(found[1]) if found else 0


async def _connected(port: int) -> _Client:
    _, client = await asyncio.get_running_loop().create_connection(_Client, "127.0.0.1", port)
    return client


# --- idle ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def idle(port: int, count: int, headers: Mapping[str, str]) -> AsyncIterator[None]:
    """So many connections, each of which has had one answer."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = _REQUEST[:-2] + fields.encode() + b"\r\n"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(count + 1024, 1024)), hard))
    clients: list[_Client] = []
    try:
        for start in range(0, count, 200):
            batch = [await _connected(port) for _ in range(min(200, count - start))]
            clients += batch
            await asyncio.gather(*(client.ask(request) for client in batch))
        yield
    finally:
        for client in clients:
            client.close()


# --- WebSocket ----------------------------------------------------------------------------------------------------


async def echoes(port: int, *, connections: int, seconds: float) -> float:
    """Frames of 64 bytes there and back a second."""
    until = time.monotonic() + seconds
    counts = await asyncio.gather(*(_echoing(port, until) for _ in range(connections)))
    return sum(counts) / seconds


async def _echoing(port: int, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = b64encode(b"0123456789abcdef").decode()
    writer.write(
        f"GET /ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head.split(b"\r\n")[0]:
        raise LoadError(head.decode(errors="replace"))
    count = 0
    while time.monotonic() < until:
        writer.write(_FRAME)
        await reader.readexactly(66)
        count += 1
    writer.close()
    return count
