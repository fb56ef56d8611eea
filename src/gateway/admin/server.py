"""The admin listener: health, metrics, the effective table, the order to drain."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import msgspec
from aiohttp import web

from gateway.admin import views
from gateway.admin.guards import HEADERS, Token, authorised, guard
from gateway.admin.sources import AdminSources, Object
from gateway.settings import is_loopback

ENDPOINTS = {
    "/healthz": "200 while the process lives",
    "/readyz": "200 while requests should be sent here, else 503 with the reasons",
    "/metrics": "metrics for Prometheus",
    "/v1/routes": "the effective routes with their versions, and the rejected keys",
    "/v1/services": "instances with health, weight and circuit, and the policy of each service",
    "/v1/circuits": "the circuit of each instance",
    "/v1/tls": "certificates towards clients: names, expiry, and what is wrong with their files",
    "/v1/consul": "age and state of each view of Consul, registration, status writing",
    "/v1/drain": "POST: stop as SIGTERM does",
}


class AdminServer:
    """Serves `sources` on `host` and `port` (0: any free one, see `port` after `start`), or on a socket bound there, to
    those who have the token if there is one."""

    def __init__(
        self,
        sources: AdminSources,
        host: str,
        port: int,
        token: Token | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        self._sources = sources
        self._host = host or None
        self._port = port
        self._token = token
        self._listening = listening
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port that is listened at."""
        return self._port

    async def start(self) -> None:
        """Listens. Raises OSError if the port is taken."""
        loopback = self._host is not None and is_loopback(self._host)
        app = web.Application(middlewares=[guard(loopback=loopback, token=self._token)], client_max_size=65536)
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/v1/routes", self._routes),
                web.get("/v1/services", self._services),
                web.get("/v1/circuits", self._circuits),
                web.get("/v1/tls", self._tls),
                web.get("/v1/consul", self._consul),
                web.post("/v1/drain", self._drain),
            ]
        )
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=30.0, shutdown_timeout=1.0)
        await runner.setup()
        site: web.BaseSite = (
            web.TCPSite(runner, self._host, self._port, reuse_address=True)
            if self._listening is None
            else web.SockSite(runner, self._listening)
        )
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Closes the listener and its connections; idempotent."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _index(self, _: web.Request) -> web.Response:
        return await _json(lambda: {**self._sources.identity(), "endpoints": dict(ENDPOINTS)})

    async def _healthz(self, _: web.Request) -> web.Response:
        return await _json(lambda: {"alive": True})

    async def _readyz(self, request: web.Request) -> web.Response:
        readiness = self._sources.readiness()
        body: Object = {"ready": readiness.ready}
        if authorised(request, self._token):
            body["reasons"] = list(readiness.reasons)
        return await _json(lambda: body, status=200 if readiness.ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        text, content_type = await self._sources.metrics()
        return web.Response(body=text, headers={**HEADERS, "Content-Type": content_type})

    async def _routes(self, _: web.Request) -> web.Response:
        await self._sources.refresh()
        routes, loads = list(self._sources.routes()), list(self._sources.loads())
        rejections = list(self._sources.rejections())
        describe = self._sources.describe_route
        return await _json(lambda: views.routes_body(routes, loads, rejections, describe), len(routes))

    async def _services(self, _: web.Request) -> web.Response:
        await self._sources.refresh()
        services, policies = dict(self._sources.services()), dict(self._sources.policies())
        circuits = {circuit.key: circuit for circuit in self._sources.circuits()}
        describe, size = self._sources.describe_policy, len(circuits) + len(services)
        return await _json(lambda: views.services_body(services, policies, circuits, describe), size)

    async def _circuits(self, _: web.Request) -> web.Response:
        await self._sources.refresh()
        circuits, now = list(self._sources.circuits()), self._sources.now()
        return await _json(lambda: views.circuits_body(circuits, now), len(circuits))

    async def _tls(self, _: web.Request) -> web.Response:
        await self._sources.refresh()
        certificates = list(self._sources.certificates())
        return await _json(lambda: views.tls_body(certificates))

    async def _consul(self, _: web.Request) -> web.Response:
        standing, seen = self._sources.consul(), list(self._sources.views())
        return await _json(lambda: views.consul_body(standing, seen), len(seen))

    async def _drain(self, _: web.Request) -> web.Response:
        self._sources.drain()
        return await _json(lambda: {"draining": True}, status=202)


async def _json(make: Callable[[], Object], size: int = 0, *, status: int = 200) -> web.Response:
    """`make` works on copies: where there is much of it, in a thread."""

    def encode() -> bytes:
        return msgspec.json.encode(make()) + b"\n"

    body = await asyncio.to_thread(encode) if size > 100 else encode()
    return web.Response(status=status, body=body, content_type="application/json", headers=HEADERS)
