"""A service in Consul that is asked about each request: what it lets pass and refuses, and what its troubles do."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from gateway.journal.properties import Property
from tests.integration.conftest import StartGateway
from tests.support.consul import ConsulAgent, ttl_check
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.serving import serving
from tests.support.upstreams import Exchange, ScriptedUpstream

ROUTE = {
    "match": {"path_prefix": "/orders"},
    "backends": [{"service": "orders"}],
    "auth": {
        "external": {
            "service": "authz",
            "path": "/check",
            "request_headers": ["authorization", "cookie"],
            "headers": {"x-user": "x-auth-user"},
            "refusal_headers": ["location"],
            "owner": "x-auth-user",
            "timeout": "500ms",
        }
    },
    "require": 'claims["x-auth-user"] != "mallory"',
}


@dataclass
class Authoriser:
    """A service that lets `token NAME` pass as that name."""

    port: int = 0
    asked: list[web.BaseRequest] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 200

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.asked.append(request)
        await self.gate.wait()
        if self.status != 200:
            return web.Response(status=self.status, text="x" * 100_000)
        kind, _, name = request.headers.get("Authorization", "").partition(" ")
        if kind != "token":
            return web.Response(status=401, headers={"WWW-Authenticate": "token", "Location": "/login", "X-No": "1"})
        if name == "eve":
            return web.Response(status=403, text="not eve")
        return web.Response(headers={"X-Auth-User": name, "X-Secret": "s"})


@dataclass
class World:
    consul: ConsulAgent
    gateway: GatewayProcess
    authoriser: Authoriser
    access: Path

    def register(self) -> None:
        check = ttl_check("authz", status="passing")
        self.consul.admin.register("authz", self.authoriser.port, id="authz", checks=[check])

    async def in_force(self) -> None:
        """Until the gateway has the service."""
        await eventually(lambda: any(each["service"] == "authz" and each["instances"] for each in self._services()))

    def _services(self) -> list[dict[str, object]]:
        return list(self.gateway.admin("/v1/services")["services"])

    async def ask(self, **headers: str) -> tuple[int, dict[str, object], dict[str, str]]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.gateway.url}/orders/1?q=2", headers=named, data=b"body") as response,
        ):
            return response.status, await response.json(content_type=None), dict(response.headers)

    async def told(self, request_id: object) -> dict[str, object]:
        """The access line of a request."""
        await eventually(lambda: str(request_id) in self.access.read_text())
        lines = map(json.loads, self.access.read_text().splitlines())
        return next(dict(line) for line in lines if line["request_id"] == request_id)


@pytest.fixture
async def world(dev_consul: ConsulAgent, start_gateway: StartGateway, tmp_path: Path) -> AsyncIterator[World]:
    async def echo(request: web.BaseRequest) -> web.Response:
        body = await request.read()
        return web.json_response({"headers": dict(request.headers), "body": body.decode(), "target": request.path_qs})

    authoriser = Authoriser()
    authoriser.gate.set()
    async with AsyncExitStack() as stack:
        authoriser.port = await stack.enter_async_context(serving(authoriser.answer))
        orders = await stack.enter_async_context(serving(echo))
        dev_consul.admin.register("orders", orders, id="orders")
        dev_consul.admin.put("gateway/routes/orders", ROUTE)
        access = tmp_path / "access"
        gateway = start_gateway(dev_consul.environment, access_log=access, journal=tmp_path / "journal")
        made = World(dev_consul, gateway, authoriser, access)
        yield made
        for name in Property:
            assert gateway.metric("gateway_monitor_violations_total", property=name) == 0


async def test_who_passes_and_who_does_not(world: World) -> None:
    status, answer, _ = await world.ask(authorization="token ann")
    assert status == 503, "the service is not there yet"
    assert str(answer["type"]).endswith(":authorisation_unavailable")
    line = await world.told(answer["request_id"])
    assert line["detail"] == "authz: no_healthy_instance"

    world.register()
    await world.in_force()
    status, answer, _ = await world.ask(authorization="token ann", x_user="forged", cookie="a=b", accept="x/y")
    assert status == 200
    seen = {name.lower(): value for name, value in dict(answer["headers"]).items()}  # type: ignore[call-overload]
    assert seen["x-user"] == "ann"
    assert answer["body"] == "body"
    assert "authorization" not in seen
    assert "x-secret" not in seen
    (asked,) = world.authoriser.asked
    assert (asked.method, asked.path) == ("GET", "/check")
    assert asked.headers["X-Forwarded-Method"] == "POST"
    assert asked.headers["X-Forwarded-Uri"] == "/orders/1?q=2"
    assert asked.headers["X-Forwarded-For"] == "127.0.0.1"
    assert asked.headers["Cookie"] == "a=b"
    assert "Accept" not in asked.headers
    assert not asked.can_read_body
    line = await world.told(seen["x-request-id"])
    assert line["identity"] == "external:ann"

    status, answer, headers = await world.ask()
    assert status == 401
    assert headers["WWW-Authenticate"] == "token"
    assert headers["Location"] == "/login"
    assert "X-No" not in headers
    assert "authz" not in json.dumps(answer)
    assert (await world.told(answer["request_id"]))["detail"] == "authz answered 401"
    assert (await world.ask(authorization="token eve"))[0] == 403
    status, answer, _ = await world.ask(authorization="token mallory")
    assert (status, str(answer["type"]).rsplit(":", 1)[-1]) == (403, "forbidden")


async def test_troubles_of_the_service_let_nobody_pass(world: World) -> None:
    world.register()
    await world.in_force()
    assert (await world.ask(authorization="token ann"))[0] == 200

    world.authoriser.status = 500
    status, answer, _ = await world.ask(authorization="token ann")
    assert status == 503
    assert (await world.told(answer["request_id"]))["detail"] == "authz answered 500"
    world.authoriser.status = 200

    world.authoriser.gate.clear()
    began = asyncio.get_running_loop().time()
    status, answer, _ = await world.ask(authorization="token ann")
    assert status == 503
    assert asyncio.get_running_loop().time() - began < 5
    assert "no response head in time" in str((await world.told(answer["request_id"]))["detail"])
    world.authoriser.gate.set()
    assert (await world.ask(authorization="token ann"))[0] == 200

    world.consul.admin.set_check("authz", "critical")
    await eventually(lambda: '"critical"' in world.gateway.text("/v1/services"))
    status, answer, _ = await world.ask(authorization="token ann")
    assert status == 503
    assert world.gateway.metric("gateway_refusals_total", reason="authorisation_unavailable") == 3


async def test_a_client_that_leaves_while_the_service_is_asked_leaves_nothing_behind(world: World) -> None:
    world.register()
    await world.in_force()
    world.authoriser.gate.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await world.ask(authorization="token ann")
    in_flight = '"in_flight":1'
    await eventually(lambda: in_flight not in world.gateway.text("/v1/circuits").replace(" ", ""))
    world.authoriser.gate.set()
    assert (await world.ask(authorization="token ann"))[0] == 200


async def test_defaults_that_would_ask_the_gateway_itself_are_rejected(world: World, dev_consul: ConsulAgent) -> None:
    dev_consul.admin.put("gateway/defaults", {"route": {"auth": {"external": {"service": "gateway"}}}})
    await eventually(lambda: "would go in a circle" in world.gateway.log, what="the verdict is told")
    assert world.gateway.metric("gateway_keys_rejected") >= 1


OPEN_ROUTE = {"match": {"path_prefix": "/open"}, "backends": [{"service": "orders"}]}
TIMEOUT = 0.5
HEAD = b"HTTP/1.1 200 OK\r\nX-Auth-User: ann\r\nContent-Length: 1000\r\n\r\n"
TROUBLES = {
    "silent": (b"", b""),
    "slow": (b"", HEAD),
    "silent in its body": (HEAD, b""),
    "slow with its body": (HEAD, b"x" * 1000),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_service_that_does_not_come_to_an_end_ends_at_the_time_out(world: World, trouble: str) -> None:
    """What it says at once, and what it says byte by byte behind that, each in time to be no silence."""
    at_once, slowly = TROUBLES[trouble]

    async def script(exchange: Exchange) -> None:
        await exchange.say(at_once)
        gone = asyncio.create_task(exchange.until_closed())
        for byte in slowly:
            if (await asyncio.wait([gone], timeout=0.05))[0]:
                break
            await exchange.say(bytes([byte]))
        await gone

    async def timed() -> tuple[int, dict[str, object], float]:
        began = time.monotonic()
        status, answer, _ = await world.ask(authorization="token ann")
        return status, answer, time.monotonic() - began

    async with ScriptedUpstream(script) as authoriser, aiohttp.ClientSession() as session:
        world.authoriser.port = authoriser.port
        world.register()
        await world.in_force()
        world.consul.admin.put("gateway/routes/open", OPEN_ROUTE)
        await eventually(lambda: "/open" in world.gateway.text("/v1/routes"))
        asking, served = asyncio.create_task(timed()), 0
        while not asking.done():
            async with session.get(f"{world.gateway.url}/open") as response:
                assert response.status == 200
            served += 1
            await asyncio.sleep(0.01)
        status, answer, taken = await asking
        assert (status, str(answer["type"]).rsplit(":", 1)[-1]) == (503, "authorisation_unavailable")
        assert TIMEOUT <= taken < TIMEOUT + 2
        assert served > 3, "others do not wait for it"
        assert str((await world.told(answer["request_id"]))["detail"]).startswith("authz: ")
        async with asyncio.timeout(5):
            await authoriser.left.wait()
        assert len(authoriser.requests) == 1
    assert world.gateway.metric("gateway_refusals_total", reason="authorisation_unavailable") == 1
