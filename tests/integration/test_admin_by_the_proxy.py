"""The proxy's port does not know the admin surface: its paths, under whatever host, are requests like any other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import pytest

from gateway.admin.server import ENDPOINTS
from tests.integration.conftest import StartGateway
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.upstreams import LiteralClient, Response, ScriptedUpstream, request

PATHS = (*ENDPOINTS, "/v1/explain?method=GET&url=http://gateway.test/")
METHODS = ("GET", "POST", "OPTIONS")


def attempts(gateway: GatewayProcess) -> Iterable[tuple[str, bytes]]:
    """What says the admin listener in every way that a request can name somebody, for each of its paths."""
    port = gateway.admin_port
    for path in ("/", *PATHS):
        for method in METHODS:
            for host in (f"127.0.0.1:{port}", f"localhost:{port}", "localhost"):
                yield f"{method} {host} {path}", request(path, method=method, host=host)
                absolute = f"http://{host}{path}"
                yield f"{method} {absolute}", request(absolute, method=method, host=host)
        lied = ("Forwarded: for=127.0.0.1;host=localhost", f"X-Forwarded-Host: localhost:{port}")
        yield f"{path} by other fields", request(path, *lied, "X-Original-URL: /v1/routes", "Origin: null")
        yield f"{path} with a dot segment", request(f"/orders/..{path}", host=f"localhost:{port}")


async def answers(gateway: GatewayProcess) -> Sequence[tuple[str, Response]]:
    async with await LiteralClient.connect(gateway.port) as client:
        return [(name, await client.ask(data)) for name, data in attempts(gateway)]


@pytest.fixture
def gateway(dev_consul: ConsulAgent, start_gateway: StartGateway) -> GatewayProcess:
    return start_gateway(dev_consul.environment)


async def test_what_admin_answers_is_no_route_to_clients(gateway: GatewayProcess) -> None:
    for name, response in await answers(gateway):
        assert response.status == 404, name
        assert response.value("content-type") == "application/problem+json", name
        assert b"urn:alims-gateway:problem:no_route" in response.body, name
    assert await asyncio.to_thread(gateway.ready), "nobody made it drain"


async def test_what_admin_answers_goes_to_the_instance_of_a_route(
    gateway: GatewayProcess, dev_consul: ConsulAgent
) -> None:
    async with ScriptedUpstream() as orders:
        dev_consul.admin.register("orders", orders.port, id="orders")
        dev_consul.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}]})
        await eventually(lambda: bool(gateway.admin("/v1/routes")["routes"]), what="the route is in force")
        await eventually(lambda: any(each["instances"] for each in gateway.admin("/v1/services")["services"]))
        answered = await answers(gateway)
        assert [name for name, response in answered if (response.status, response.body) != (200, b"ok")] == []
        assert len(orders.requests) == len(answered)
        assert {each.target for each in orders.requests} == {"/", *PATHS}
    assert await asyncio.to_thread(gateway.ready), "nobody made it drain"
