"""SIGTERM: readiness fails and the registration goes, requests go on, what is left is finished up to a limit."""

import asyncio
import signal
from collections.abc import Callable

import aiohttp

from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import eventually
from tests.support.load import SteadyLoad

ROUTE = {"backends": [{"service": "orders"}]}


async def test_registered_while_it_serves_and_gone_when_it_drains(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    register(dev_consul, "orders", start_instance("a"))
    dev_consul.admin.put("gateway/routes/orders", ROUTE)
    gateway = start_gateway(dev_consul.environment, id="gw-1", drain_time="2s", service="edge")

    def passing() -> bool:
        return any(
            set(row.statuses.values()) == {"passing"} and row.port == gateway.port
            for row in dev_consul.admin.health("edge")
        )

    await eventually(passing, what="the gateway is a passing instance of its own service")
    async with SteadyLoad(gateway.url) as load:
        await load.answered(50)
        gateway.send_signal(signal.SIGTERM)
        await eventually(lambda: gateway.status("/readyz") == 503, within=2)
        await eventually(lambda: dev_consul.admin.health("edge") == [], within=2)
        await load.answered(100)
    assert load.tally.failed == 0, load.tally
    assert await asyncio.to_thread(gateway.wait) == 0
    assert dev_consul.admin.get("gateway/status/gw-1") is None


async def test_a_request_in_flight_is_finished(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    slow = start_instance("slow")
    slow.mode(delay=1.5)
    register(dev_consul, "orders", slow)
    dev_consul.admin.put("gateway/routes/orders", ROUTE)
    gateway = start_gateway(dev_consul.environment, drain_time="100ms", finish_limit="20s")
    async with aiohttp.ClientSession() as session:
        request = asyncio.create_task(session.get(gateway.url).__aenter__())
        await eventually(lambda: slow.stats()["running"] == 1)
        gateway.send_signal(signal.SIGTERM)
        response = await request
        assert response.status == 200
        assert response.headers["Connection"] == "close"
        response.release()
    assert await asyncio.to_thread(gateway.wait) == 0
    assert '"aborted":0' in gateway.log


async def test_the_limit_ends_what_does_not_end(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    hung = start_instance("hung")
    hung.mode(answer="hang")
    register(dev_consul, "orders", hung)
    dev_consul.admin.put("gateway/routes/orders", ROUTE)
    gateway = start_gateway(dev_consul.environment, drain_time="100ms", finish_limit="300ms")
    async with aiohttp.ClientSession() as session:
        request = asyncio.create_task(session.get(gateway.url).__aenter__())
        await eventually(lambda: hung.stats()["running"] == 1)
        gateway.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.wait) == 0
        assert isinstance((await asyncio.gather(request, return_exceptions=True))[0], aiohttp.ClientError)
    assert '"aborted":1' in gateway.log
