"""Requests a second through the data plane, against a plain aiohttp proxy (web.Server and ClientSession).

    python benchmarks/proxy.py [SECONDS] [CONNECTIONS]

Needs `wrk` (Debian has it). One process each for the instance and each proxy, on loopback; what counts is the ratio.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import uvloop
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from yarl import URL

from gateway.core.gateway import Gateway
from gateway.core.model import Backend, Connect, Instance, InstanceKey, Route, ServicePolicy
from gateway.discovery.regex import compile_full_match
from gateway.pipeline.stage import Pipelines
from gateway.proxy.conductor import Conductor
from gateway.proxy.listener import Listener
from gateway.proxy.options import ProxyOptions
from gateway.proxy.pooled_upstream import PooledUpstream
from gateway.proxy.records import RequestRecord

_BODY = b"x" * 64
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 64\r\n\r\n" + _BODY

Serve = Callable[[int], Awaitable[int]]


class _Instance(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(_ANSWER * data.count(b"\r\n\r\n"))


async def instance(_: int) -> int:
    server = await asyncio.get_running_loop().create_server(_Instance, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


class _Deaf:
    def view_age(self, service: str) -> float | None:  # noqa: ARG002
        return None

    def request_ended(self, record: RequestRecord) -> None:
        pass


async def gateway(port: int) -> int:
    core = Gateway(compile_full_match, random.random)
    conductor = Conductor(core, asyncio.get_running_loop().time)
    conductor.apply_routes([Route("orders", 1, (Backend("orders"),))])
    conductor.apply_policies({"orders": ServicePolicy("orders", connect=Connect(timeout=2))})
    instances = [Instance(InstanceKey("dc1", "n", name), "orders", "127.0.0.1", port) for name in "ab"]
    conductor.apply_view("orders", instances)
    options = ProxyOptions(gateway_id="bench", host="127.0.0.1", port=0)
    pipelines = Pipelines(())
    listener = Listener(conductor, pipelines, PooledUpstream(options), options, _Deaf())
    await listener.start()
    return listener.port


async def plain(port: int) -> int:
    session = ClientSession(
        connector=TCPConnector(limit=0), cookie_jar=DummyCookieJar(), auto_decompress=False, trust_env=False
    )

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        url = URL(f"http://127.0.0.1:{port}{request.raw_path}", encoded=True)
        async with session.request(request.method, url, headers=request.headers, allow_redirects=False) as response:
            return web.Response(status=response.status, headers=response.headers, body=await response.read())

    server = web.Server(handle, access_log=None)
    sockets = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    return int(sockets.sockets[0].getsockname()[1])


def _process(serve: Serve, port: int, told: Connection) -> None:
    async def main() -> None:
        told.send(await serve(port))
        await asyncio.Event().wait()

    uvloop.run(main())


def _start(serve: Serve, port: int = 0) -> tuple[Process, int]:
    here, there = Pipe()
    process = Process(target=_process, args=(serve, port, there), daemon=True)
    process.start()
    return process, here.recv()


def _cpu_seconds(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(process: Process, port: int, seconds: int, connections: int) -> tuple[float, float]:
    """Requests a second, and microseconds of the proxy's CPU for each."""
    before = _cpu_seconds(process)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{port}/a"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(said)
    rate = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    count = re.search(r"(\d+) requests in", said)
    assert rate is not None
    assert count is not None
    return float(rate[1]), (_cpu_seconds(process) - before) / int(count[1]) * 1e6


def main() -> None:
    if shutil.which("wrk") is None:
        print("wrk is missing: skipped")
        return
    seconds, connections = (int(value) for value in [*sys.argv[1:], "4", "32"][:2])
    origin, port = _start(instance)
    ours, our_port = _start(gateway, port)
    theirs, their_port = _start(plain, port)
    try:
        rounds = [
            (_measure(ours, our_port, seconds, connections), _measure(theirs, their_port, seconds, connections))
            for _ in range(3)
        ]
    finally:
        for process in (ours, theirs, origin):
            process.terminate()
            process.join()
    for (our_rate, our_cpu), (their_rate, their_cpu) in rounds:
        print(
            f"gateway {our_rate:6.0f}/s {our_cpu:4.0f} us CPU   "
            f"plain aiohttp {their_rate:6.0f}/s {their_cpu:4.0f} us CPU   "
            f"ratio {our_rate / their_rate:.2f} by rate, {their_cpu / our_cpu:.2f} by CPU"
        )


if __name__ == "__main__":
    main()
