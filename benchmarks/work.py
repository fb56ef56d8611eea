"""The gateway's own work for a request, without sockets: microseconds in all, and of its parts.

Run: python -m benchmarks.work

A request's bytes are handed to a client connection, and a response's to the connection to the instance that it went
out on; what is written is dropped. Memory is as warm as it can be, so that a real request costs more.
"""

from __future__ import annotations

import asyncio
import logging
import random
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from time import thread_time
from typing import Any, cast

import uvloop
from aiohttp.streams import StreamReader

from gateway.core.gateway import Gateway
from gateway.core.model import Backend, Instance, InstanceKey, Reason, Route
from gateway.core.tickets import Deliver, Head, Send
from gateway.discovery.regex import compile_full_match
from gateway.pipeline.stage import Pipelines
from gateway.proxy.client.connection import ClientConnection
from gateway.proxy.client.facts import Entrance, Message
from gateway.proxy.client.server import ClientServer
from gateway.proxy.conductor import Conductor
from gateway.proxy.forwarding import Forwarder
from gateway.proxy.options import ProxyOptions
from gateway.proxy.upstream.pooled_upstream import PooledUpstream
from gateway.telemetry.access import AccessLog
from gateway.telemetry.counts import Counts
from gateway.telemetry.observer import Observer
from gateway.telemetry.records import RequestRecord
from gateway.telemetry.redaction import Redaction

REQUESTS = 5_000
ROUNDS = 9
_HTTP = Entrance("http", 8080)
_FIELDS = b"Host: shop.example.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n"
_REQUEST = b"GET /orders/1 HTTP/1.1\r\n" + _FIELDS + b"\r\n"
_START = b"HTTP/1.1 200 OK\r\nServer: orders\r\nDate: Mon, 30 Nov 2026 15:20:45 GMT\r\nContent-Type: text/plain\r\n"
_RESPONSE = _START + b"Content-Length: 64\r\n\r\n" + b"x" * 64


class _Wire(asyncio.Transport):
    """Takes what is written, and keeps the last of it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written = bytes(data)

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's
        return ("127.0.0.1", 4711) if name == "peername" else default

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class _Nobody:
    """Ends each exchange as soon as it has begun (Exchanges and Begun)."""

    def __init__(self) -> None:
        self.last: tuple[ClientConnection, Message] | None = None

    def begin(self, connection: ClientConnection, message: Message, content: StreamReader) -> None:
        self.last = (connection, message)
        connection.exchange_began(self)
        connection.exchange_ended(content, keep_alive=True)

    def refuse_unreadable(self, connection: ClientConnection, reason: Reason | None, detail: str | None = None) -> None:
        raise AssertionError(reason)

    def client_left(self) -> None:
        pass


class _Kept:
    """Keeps the last record (RequestObserver)."""

    def __init__(self) -> None:
        self.last: RequestRecord | None = None

    def view_age(self, _: str) -> float | None:
        return 0.0

    def request_ended(self, record: RequestRecord) -> None:
        self.last = record


class _Instance(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(_RESPONSE)


class Rig:
    """A client's connection, and one to an instance: a real one, from which the socket is taken away."""

    def __init__(self, observer: Observer | _Kept, instance: Instance) -> None:
        loop = asyncio.get_running_loop()
        options = ProxyOptions("edge-1", trace_ratio=0.01)
        core = Gateway(compile_full_match, random.random)
        self.conductor = Conductor(core, loop.time)
        self.conductor.apply_routes([Route("orders", 1, (Backend("orders"),))])
        self.conductor.apply_view("orders", [instance])
        self._upstream = PooledUpstream(options, lambda _: None)
        logger = logging.getLogger("benchmark")
        self.forwarder = Forwarder(self.conductor, Pipelines(()), self._upstream, options, observer, logger)
        self._server = ClientServer(self.forwarder, options)
        self.client, self.wire = connection(self._server)

    def flush(self) -> None:
        """What the event loop does at the end of a round."""
        self._upstream.outbox.flush()
        self._server.outbox.flush()

    async def connect(self) -> Callable[[bytes], None]:
        """What takes bytes from the instance."""
        self.client.data_received(_REQUEST)
        while not self.wire.written:
            await asyncio.sleep(0.001)
        (pool,) = self._upstream._pools.values()  # noqa: SLF001 - nobody else asks for a connection by name
        ((kept, _),) = pool._idle  # noqa: SLF001
        assert kept.transport is not None
        kept.transport.pause_reading()
        kept.transport = _Wire()
        return kept.data_received


def connection(server: ClientServer) -> tuple[ClientConnection, _Wire]:
    client, wire = server.factory(_HTTP)(), _Wire()
    client.connection_made(wire)
    return client, wire


def microseconds(step: Callable[[], object]) -> float:
    """For one call, at best; of this thread alone, whatever else the machine does."""
    found = []
    for _ in range(ROUNDS):
        began = thread_time()
        for _ in range(REQUESTS):
            step()
        found.append((thread_time() - began) / REQUESTS)
    return min(found) * 1e6


def unlike() -> Callable[[], bytes]:
    numbers = count()
    return lambda: b"GET /orders/%d HTTP/1.1\r\nX-Number: %d\r\n%b\r\n" % (n := next(numbers), n, _FIELDS)


async def whole(instance: Instance, log: str) -> tuple[float, float]:
    """For a request that is the one before it again, and for one that is not; what making its bytes costs taken off."""
    access = AccessLog(log)
    rig = Rig(Observer(Counts(), access, Redaction((), (), ()), lambda _: 0.0), instance)
    ask, answer, other = rig.client.data_received, await rig.connect(), unlike()

    def again() -> None:
        ask(_REQUEST)
        answer(_RESPONSE)
        rig.flush()

    def differently() -> None:
        ask(other())
        answer(_RESPONSE)
        rig.flush()

    alike, apart = microseconds(again), microseconds(differently) - microseconds(other)
    assert rig.wire.written.startswith(b"HTTP/1.1 200 OK\r\n")
    await access.close()
    return alike, apart


async def parts(instance: Instance) -> dict[str, float]:
    """Of a request that is unlike the one before it."""
    kept = _Kept()
    rig = Rig(kept, instance)
    answer = await rig.connect()
    rig.client.data_received(_REQUEST)
    answer(_RESPONSE)
    record = kept.last
    assert record is not None
    assert record.facts is not None
    facts, conductor, other = record.facts, rig.conductor, unlike()
    nobody = _Nobody()
    reading, _ = connection(ClientServer(nobody, ProxyOptions("edge-1")))
    route = conductor.core.match(facts)
    assert route is not None

    def read() -> None:
        reading.data_received(other())
        assert nobody.last is not None
        client, message = nobody.last
        rig.forwarder.reader.read(message, client)

    def decide() -> None:
        sent = conductor.admit(route, facts)
        assert isinstance(sent, Send)
        delivered = conductor.process(sent.attempt, Head(200, True))
        assert isinstance(delivered, Deliver)
        conductor.end(sent.attempt)

    access = AccessLog("/dev/null")
    observer = Observer(Counts(), access, Redaction((), (), ()), lambda _: 0.0)
    found = {
        "read the head, check it, normalise the path": microseconds(read) - microseconds(other),
        "find the route": microseconds(lambda: conductor.core.match(facts)),
        "decide: admission, split, pick, circuit, budget": microseconds(decide),
        "count, and write the access line": microseconds(lambda: observer.request_ended(record)),
    }
    await access.close()
    return found


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(_Instance, "127.0.0.1", 0)
    key = InstanceKey("dc1", "node", "orders-1")
    instance = Instance(key, "orders", "127.0.0.1", server.sockets[0].getsockname()[1])
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        alike, apart = await whole(instance, str(Path(folder, "access.log")))
    split = await parts(instance)
    split["all else: sending, receiving, headers, ids, times"] = apart - sum(split.values())
    print("own work for a request:")
    for name, each in split.items():
        print(f"  {name:52} {each:6.2f} µs")
    print(f"  {'in all':52} {apart:6.2f} µs")
    print(f"  {'in all, where it is the one before it again':52} {alike:6.2f} µs")
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
