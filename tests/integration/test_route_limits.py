"""Rates, networks and CORS of routes in a real Consul, and an edit of each while requests come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import count

import aiohttp
import pytest

from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.instances import InstanceProcess

APP = "https://app.example.com"
KEYS = 10
"""Most that each limit remembers."""
_edits = count(1)


class World:
    """A gateway with one instance of `orders`, and the route `orders`."""

    def __init__(self, agent: ConsulAgent, gateway: GatewayProcess, instance: InstanceProcess) -> None:
        self._agent = agent
        self.gateway = gateway
        self.instance = instance

    async def delete(self) -> None:
        """Deletes the route, and returns when it is gone."""
        self._agent.admin.delete("gateway/routes/orders")
        await eventually(lambda: not self.gateway.admin("/v1/routes")["routes"])

    async def put(self, **policies: object) -> None:
        """Writes the route, and returns when it is in force."""
        host = f"edit-{next(_edits)}.test"
        document = {"hostnames": [host, "127.0.0.1"], "backends": [{"service": "orders"}], **policies}
        self._agent.admin.put("gateway/routes/orders", document)
        await eventually(lambda: host in self.gateway.text("/v1/routes"))

    def put_defaults(self, **parts: object) -> None:
        self._agent.admin.put("gateway/defaults", parts)

    async def ask(self, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str]]:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.gateway.url, headers=headers) as response,
        ):
            return response.status, response.headers

    async def statuses(self, times: int, **headers: str) -> list[int]:
        return [(await self.ask(**headers))[0] for _ in range(times)]


@pytest.fixture
def world(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> World:
    instance = start_instance("a")
    register(dev_consul, "orders", instance)
    gateway = start_gateway(dev_consul.environment, trusted_hops="127.0.0.0/8", rate_limit_keys=KEYS)
    return World(dev_consul, gateway, instance)


async def test_who_is_over_the_rate_is_told_when_to_come_again(world: World) -> None:
    await world.put(limits={"rate": "2/h"})
    assert await world.statuses(2) == [200, 200]
    async with aiohttp.ClientSession() as session, session.get(world.gateway.url) as response:
        assert response.status == 429
        assert 1790 <= int(response.headers["Retry-After"]) <= 1800
        assert (await response.json())["type"] == "urn:alims-gateway:problem:rate_limited"
    assert world.instance.stats()["count"] == 2
    assert world.gateway.metric("gateway_refusals_total", reason="rate_limited") == 1
    assert world.gateway.metric("gateway_rate_keys", route="orders") == 1
    assert world.gateway.metric("gateway_rate_keys_forgotten_total", route="orders") == 0


async def test_clients_and_tenants_are_counted_apart(world: World) -> None:
    await world.put(limits={"rate": ["3/h by header x-tenant", {"limit": "2/h", "by": "client_ip"}]})
    assert await world.statuses(3, **{"X-Forwarded-For": "192.0.2.1", "X-Tenant": "acme"}) == [200, 200, 429]
    assert await world.statuses(2, **{"X-Forwarded-For": "192.0.2.2", "X-Tenant": "acme"}) == [200, 429]
    assert await world.statuses(2, **{"X-Forwarded-For": "192.0.2.2", "X-Tenant": "bolt"}) == [200, 429]
    network = [{"X-Forwarded-For": f"2001:db8::{number}"} for number in range(1, 4)]
    assert [await world.statuses(1, **each) for each in network] == [[200], [200], [429]]
    await world.put(limits={"rate": "1/h"})
    spellings = ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2")
    assert [(await world.ask(**{"X-Forwarded-For": each}))[0] for each in spellings] == [200, 429, 200]


async def test_a_limit_remembers_no_more_keys_than_the_setting_says(world: World) -> None:
    await world.put(limits={"rate": "1/h by header x-tenant"})
    for number in range(3 * KEYS):
        assert await world.statuses(1, **{"X-Tenant": str(number)}) == [200]
    assert world.gateway.metric("gateway_rate_keys", route="orders") == KEYS
    assert world.gateway.metric("gateway_rate_keys_forgotten_total", route="orders") == 2 * KEYS


async def test_an_edit_keeps_the_counts_of_a_limit_that_it_leaves_alone(world: World) -> None:
    await world.put(limits={"rate": "2/h"})
    assert await world.statuses(3) == [200, 200, 429]
    await world.put(limits={"rate": "2/h", "queue": 7})
    assert await world.statuses(1) == [429]
    await world.put(limits={"rate": "3/h"})
    assert await world.statuses(4) == [200, 200, 200, 429]
    await world.put()
    assert await world.statuses(2) == [200, 200]


async def test_a_route_that_was_deleted_begins_anew(world: World) -> None:
    await world.put(limits={"rate": "1/h"})
    assert await world.statuses(2) == [200, 429]
    await world.delete()
    with pytest.raises(KeyError):
        world.gateway.metric("gateway_rate_keys", route="orders")
    await world.put(limits={"rate": "1/h"})
    assert await world.statuses(2) == [200, 429]


async def test_a_routes_limit_of_header_size(world: World) -> None:
    await world.put(limits={"header": "1KiB"})
    assert await world.statuses(1, **{"X-Large": "a" * 500}) == [200]
    assert await world.statuses(1, **{"X-Large": "a" * 1100}) == [431]


async def test_a_routes_limit_of_body_size(world: World) -> None:
    async def chunked(size: int) -> AsyncIterator[bytes]:
        yield b"a" * size

    await world.put(limits={"body": "1KiB"})
    async with aiohttp.ClientSession() as session:
        for body, expected in ((b"a" * 1024, 200), (b"a" * 1025, 413), (chunked(1024), 200), (chunked(1025), 413)):
            async with session.post(world.gateway.url, data=body) as response:
                assert response.status == expected
    assert world.gateway.metric("gateway_refusals_total", reason="body_too_large") == 2


async def test_a_routes_limit_of_requests_at_once(world: World) -> None:
    await world.put(limits={"in_flight": 2, "queue": 1, "queue_timeout": "30s"})
    await world.instance.mode_async(answer="hang")
    served = [asyncio.create_task(world.ask()) for _ in range(2)]
    await eventually(lambda: world.instance.stats()["running"] == 2)
    waiting = asyncio.create_task(world.ask())
    await eventually(lambda: world.gateway.metric("gateway_route_queued", route="orders") == 1)
    assert world.gateway.metric("gateway_route_in_flight", route="orders") == 2
    assert (await world.ask())[0] == 503, "there is room for one to wait"
    assert world.instance.stats()["running"] == 2
    await world.instance.mode_async(answer="ok")
    served[0].cancel()
    assert (await waiting)[0] == 200
    served[1].cancel()
    await asyncio.gather(*served, return_exceptions=True)
    assert world.gateway.metric("gateway_refusals_total", reason="queue_full") == 1


async def test_limits_networks_and_cors_of_the_defaults(world: World) -> None:
    policies = {
        "limits": {"rate": "1/h", "header": "1KiB"},
        "networks": {"deny": ["192.0.2.0/24"]},
        "cors": {"origins": [APP]},
    }
    world.put_defaults(route=policies)
    await world.put()
    assert (await world.ask(**{"X-Forwarded-For": "192.0.2.1"}))[0] == 403
    assert (await world.ask(**{"X-Large": "a" * 1100}))[0] == 431
    status, fields = await world.ask(Origin=APP)
    assert (status, fields["Access-Control-Allow-Origin"]) == (200, APP)
    assert await world.statuses(1) == [429]
    await world.put(limits={"rate": [], "header": "0B"}, networks={"deny": []}, cors={"origins": []})
    status, fields = await world.ask(Origin=APP, **{"X-Forwarded-For": "192.0.2.1", "X-Large": "a" * 1100})
    assert (status, "Access-Control-Allow-Origin" in fields) == (200, False), "a route may say otherwise"
    assert await world.statuses(2) == [200, 200]


async def test_networks_let_in_and_keep_out(world: World) -> None:
    await world.put(networks={"allow": ["10.0.0.0/8", "127.0.0.0/8", "2001:db8::/32"], "deny": ["10.6.6.0/24"]})
    addresses = ["10.1.1.1", "10.6.6.6", "::ffff:10.6.6.6", "192.0.2.1", "2001:db8::1"]
    found = [(await world.ask(**{"X-Forwarded-For": each}))[0] for each in addresses]
    assert found == [200, 403, 403, 403, 200]
    assert await world.statuses(1) == [200], "the trusted hop itself"
    assert world.gateway.metric("gateway_refusals_total", reason="forbidden") == 3
    await world.put(networks={"deny": ["127.0.0.0/8"]})
    assert await world.statuses(1) == [403]


async def test_pages_of_other_origins(world: World) -> None:
    cors = {"origins": [APP], "headers": ["x-tenant"], "credentials": True, "max_age": "60s"}
    await world.put(cors=cors, limits={"rate": "1/h"})
    status, fields = await world.ask("OPTIONS", **{"Origin": APP, "Access-Control-Request-Method": "POST"})
    assert status == 204
    assert fields["Access-Control-Allow-Origin"] == APP
    assert fields["Access-Control-Allow-Methods"] == "GET, HEAD, POST"
    assert fields["Access-Control-Allow-Headers"] == "x-tenant"
    assert fields["Access-Control-Allow-Credentials"] == "true"
    assert fields["Access-Control-Max-Age"] == "60"
    assert world.instance.stats()["count"] == 0
    for expected in (200, 429):
        status, fields = await world.ask(Origin=APP)
        assert (status, fields["Access-Control-Allow-Origin"], fields["Vary"]) == (expected, APP, "Origin")
    status, fields = await world.ask(Origin="https://other.test")
    assert "Access-Control-Allow-Origin" not in fields
    assert fields["Vary"] == "Origin"
