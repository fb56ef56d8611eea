"""Load: closed by `wrk`, at a constant rate by a client of our own, idle connections, WebSocket frames and back."""

from __future__ import annotations

import asyncio
import re
import resource
import select
import socket
import subprocess
import time
from base64 import b64encode
from collections import deque
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


def steady(port: int, *, rate: float, seconds: float, connections: int = 64) -> Sequence[float]:
    """Latencies in seconds, from when each request was due: what waits for a free connection waits, too.

    No event loop: asyncio's timers are up to a millisecond late, which is more than what is measured.
    """
    load = _Steady(port, connections)
    try:
        return load.run(int(rate * seconds), 1 / rate)
    finally:
        load.close()


class _Steady:
    def __init__(self, port: int, connections: int) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._due: dict[int, float] = {}
        self._come: dict[int, bytes] = {}
        for _ in range(connections):
            made = socket.create_connection(("127.0.0.1", port))
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets[made.fileno()] = made
            self._poll.register(made, select.EPOLLIN)
        self._idle = deque(self._sockets)

    def close(self) -> None:
        self._poll.close()
        for each in self._sockets.values():
            each.close()

    def run(self, count: int, apart: float) -> Sequence[float]:
        latencies: list[float] = []
        waiting: deque[float] = deque()
        began, asked = time.perf_counter(), 0
        while len(latencies) < count:
            now = time.perf_counter()
            while asked < count and (due := began + asked * apart) <= now:
                waiting.append(due)
                asked += 1
            while waiting and self._idle:
                self._ask(self._idle.popleft(), waiting.popleft())
            pause = began + asked * apart - time.perf_counter() if asked < count else 1.0
            # Where epoll counts milliseconds, this call counts microseconds.
            select.select((self._poll,), (), (), max(0.0, pause))
            for descriptor, _ in self._poll.poll(0):
                if self._answered(descriptor):
                    latencies.append(time.perf_counter() - self._due[descriptor])
                    self._idle.append(descriptor)
        return latencies

    def _ask(self, descriptor: int, due: float) -> None:
        self._due[descriptor], self._come[descriptor] = due, b""
        self._sockets[descriptor].sendall(_REQUEST)

    def _answered(self, descriptor: int) -> bool:
        data = self._sockets[descriptor].recv(65536)
        if not data:
            raise LoadError("a connection was closed")
        self._come[descriptor] += data
        return _is_whole(self._come[descriptor])


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
        if self._answered is not None and _is_whole(self._data):
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


def _is_whole(response: bytes) -> bool:
    head, end, body = response.partition(b"\r\n\r\n")
    if not end:
        return False
    found = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return len(body) >= (int(found[1]) if found else 0)


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
