"""In front of a real agent: passes everything on, until a test wants answers that no real agent gives on demand.

What came before a fault and what comes after it is real, and so is the waiting of blocking queries.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import aiohttp
from aiohttp import web

from tests.support.consul import ConsulAgent
from tests.support.serving import serving

_PASSED_ON = ("X-Consul-Index", "X-Consul-KnownLeader", "X-Consul-LastContact", "Content-Type")


@dataclass(frozen=True, slots=True)
class Reply:
    path: str
    status: int
    headers: Mapping[str, str]
    body: bytes


Fault = Callable[[Reply], Reply]


def status(code: int, text: str) -> Fault:
    return lambda reply: replace(reply, status=code, body=text.encode(), headers={"Content-Type": "text/plain"})


def html(reply: Reply) -> Reply:
    """As a proxy or a captive portal in between would answer."""
    return replace(reply, status=200, body=b"<html><body>Sign in</body></html>", headers={"Content-Type": "text/html"})


def cut(reply: Reply) -> Reply:
    """JSON that ends in the middle."""
    return replace(reply, body=reply.body[: len(reply.body) // 2])


def empty(reply: Reply) -> Reply:
    """Nobody there: with an index as good as before."""
    return replace(reply, body=b"[]") if reply.path.startswith("/v1/health/service/") else reply


@dataclass(slots=True)
class ConsulProxy:
    agent: ConsulAgent
    fault: Fault | None = None
    port: int = 0
    spoilt: int = 0
    """Answers that were a fault's."""

    @property
    def environment(self) -> Mapping[str, str]:
        return {**self.agent.environment, "CONSUL_HTTP_ADDR": f"http://127.0.0.1:{self.port}"}


@asynccontextmanager
async def consul_proxy(agent: ConsulAgent) -> AsyncIterator[ConsulProxy]:
    """Listens on a loopback port until the block ends."""
    proxy = ConsulProxy(agent)
    timeout = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            data = await request.read()
            headers = {"Accept-Encoding": "identity"}  # or faults would be made of gzip
            if "X-Consul-Token" in request.headers:
                headers["X-Consul-Token"] = request.headers["X-Consul-Token"]
            url = agent.http_addr + request.raw_path
            try:
                async with session.request(request.method, url, data=data or None, headers=headers) as answer:
                    kept = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
                    reply = Reply(request.path, answer.status, kept, await answer.read())
            except aiohttp.ClientError:  # no agent: no answer
                if request.transport is not None:
                    request.transport.abort()
                return web.Response()
            if proxy.fault is not None:
                reply = proxy.fault(reply)
                proxy.spoilt += 1
            return web.Response(status=reply.status, headers=reply.headers, body=reply.body)

        async with serving(handle) as proxy.port:
            yield proxy
