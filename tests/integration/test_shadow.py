"""Copies of requests for a shadow service, on a real Consul: what they hold, and that nobody waits for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

from tests.integration.conftest import StartGateway
from tests.support.consul import ConsulAgent, ttl_check
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.serving import serving


@dataclass(frozen=True)
class Seen:
    method: str
    target: str
    host: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Instance:
    """It tells what it saw; shut, its gate holds all answers."""

    seen: list[Seen] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 200

    async def answer(self, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.seen.append(Seen(request.method, request.path_qs, request.host, headers, body))
        await self.gate.wait()
        return web.Response(status=self.status, text="y" * 100_000)


@dataclass
class World:
    consul: ConsulAgent
    gateway: GatewayProcess
    orders: Instance
    shadow: Instance

    def put(self, **shadow: object) -> None:
        document = {
            "backends": [{"service": "orders"}],
            "filters": [
                {"strip_prefix": "/api"},
                {"host": "service"},
                {"request_headers": {"set": {"x-edited": "1", "x-instance": "${instance.id}"}}},
            ],
            "shadow": {"service": "orders-next", **shadow},
        }
        self.consul.admin.put("gateway/routes/orders", document)

    async def put_in_force(self, **shadow: object) -> None:
        before = self._version()
        self.put(**shadow)
        await eventually(lambda: self._version() != before)

    def _version(self) -> object:
        return [route["version"] for route in self.gateway.admin("/v1/routes")["routes"]]

    def counted(self, result: str) -> float:
        try:
            return self.gateway.metric("gateway_shadow_requests_total", route="orders", result=result)
        except KeyError:  # none yet
            return 0.0

    async def ask(self, method: str = "GET", data: bytes | None = None) -> tuple[int, float]:
        """Status, and seconds."""
        began = time.monotonic()
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, f"{self.gateway.url}/api/1?q=2", data=data, headers={"X-A": "b", "X-Gateway-Shadow": "forged"}
            ) as response,
        ):
            await response.read()
            return response.status, time.monotonic() - began


@pytest.fixture
async def world(dev_consul: ConsulAgent, start_gateway: StartGateway) -> AsyncIterator[World]:
    orders, shadow = Instance(), Instance()
    for each in (orders, shadow):
        each.gate.set()
    async with AsyncExitStack() as stack:
        for service, instance in (("orders", orders), ("orders-next", shadow)):
            port = await stack.enter_async_context(serving(instance.answer))
            check = ttl_check(f"check:{service}", status="passing")
            dev_consul.admin.register(service, port, id=service, checks=[check])
        made = World(dev_consul, start_gateway(dev_consul.environment), orders, shadow)
        await made.put_in_force()
        yield made
        shadow.gate.set()


async def test_a_copy_is_what_the_instance_got(world: World) -> None:
    assert (await world.ask())[0] == 200
    await eventually(lambda: world.counted("answered") == 1)
    assert (await world.ask("POST", b"body"))[0] == 200
    await eventually(lambda: world.counted("answered") == 2)
    for original, copy in zip(world.orders.seen, world.shadow.seen, strict=True):
        assert (copy.method, copy.target, copy.body) == (original.method, original.target, original.body)
        for seen, service in ((original, "orders"), (copy, "orders-next")):
            assert (seen.host, seen.headers["x-instance"]) == (service, service), "each is told its own"
        assert copy.headers["x-gateway-shadow"] == "true"
        assert "x-gateway-shadow" not in original.headers
        assert copy.headers["x-edited"] == copy.headers["x-a"].replace("b", "1") == "1"
        assert copy.headers["x-request-id"] == original.headers["x-request-id"]
    assert world.shadow.seen[1].body == b"body"
    assert world.shadow.seen[1].target == "/1?q=2"


async def test_troubles_of_the_shadow_are_nobody_elses(world: World) -> None:
    world.shadow.gate.clear()
    await world.put_in_force(timeout="300ms")
    for _ in range(3):
        status, seconds = await world.ask("POST", b"body")
        assert status == 200
        assert seconds < 2
    await eventually(lambda: world.counted("failed") == 3)
    world.shadow.gate.set()
    world.shadow.status = 500
    assert (await world.ask())[0] == 200
    await eventually(lambda: world.counted("answered") == 1)
    world.consul.admin.set_check("check:orders-next", "critical")
    await eventually(lambda: "critical" in world.gateway.text("/v1/services"))
    assert (await world.ask())[0] == 200
    await eventually(lambda: world.counted("failed") == 4)


async def test_copies_under_way_are_bounded(world: World) -> None:
    world.shadow.gate.clear()
    for _ in range(30):
        await asyncio.gather(*(world.ask() for _ in range(10)))
    await eventually(lambda: world.counted("dropped") == 300 - 256)
    assert len(world.orders.seen) == 300


async def test_shares_and_large_bodies(world: World) -> None:
    await world.put_in_force(percent="0%")
    for _ in range(20):
        assert (await world.ask())[0] == 200
    await world.put_in_force(percent="50%", buffer="4B")
    for _ in range(60):
        await world.ask()
    await eventually(lambda: 10 < world.counted("answered") == len(world.shadow.seen) < 50)
    await world.put_in_force(buffer="4B")
    assert (await world.ask("POST", b"12345"))[0] == 200
    await eventually(lambda: world.counted("too_large") == 1)
    before = len(world.shadow.seen)
    assert (await world.ask("POST", b"1234"))[0] == 200
    await eventually(lambda: len(world.shadow.seen) == before + 1)


async def test_a_shadow_of_the_defaults(world: World) -> None:
    world.consul.admin.put("gateway/defaults", {"route": {"shadow": {"service": "orders-next"}}})
    for name, own in (("plain", {}), ("none", {"shadow": {"none": True}})):
        route = {"match": {"path_prefix": f"/api/1/{name}"}, "backends": [{"service": "orders"}], **own}
        world.consul.admin.put(f"gateway/routes/{name}", route)
    await eventually(lambda: len(world.gateway.admin("/v1/routes")["routes"]) == 3)
    async with aiohttp.ClientSession() as session:
        for name in ("none", "plain"):
            async with session.get(f"{world.gateway.url}/api/1/{name}") as response:
                assert response.status == 200
    await eventually(lambda: len(world.shadow.seen) == 1)
    assert [seen.target for seen in world.shadow.seen] == ["/api/1/plain"]
