"""A sidecar listens on loopback, talks to its local agent, and prefers instances of its own node."""

import asyncio
import socket
from collections.abc import Callable

import aiohttp

from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import Cluster
from tests.support.gateway_process import eventually
from tests.support.load import SteadyLoad

ROUTE = {"match": {"path_prefix": "/orders"}, "backends": [{"service": "orders"}]}


async def test_own_node_first_then_the_others(
    consul_cluster: Cluster, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    here, there = start_instance("here"), start_instance("there")
    register(consul_cluster.client, "orders", here, weights=(1, 1))
    register(consul_cluster.servers[0], "orders", there, weights=(100, 1))
    consul_cluster.client.admin.put("sidecar/routes/orders", ROUTE)
    gateway = start_gateway(consul_cluster.client.environment, mode="sidecar", prefix="sidecar", service="sidecar")
    await eventually(lambda: len(gateway.admin("/v1/circuits")["circuits"]) == 2)

    async with SteadyLoad(gateway.url + "/orders", clients=4, rate=0) as load:
        await load.answered(5)
        await eventually(lambda: load.tally.instances["here"] > 0)
        settled = load.tally.instances["there"]
        await load.answered(200)
        assert load.tally.instances["there"] == settled, "an instance of another node was picked beside our own"

        await asyncio.to_thread(here.kill)
        await load.answered(50)
        assert load.tally.instances["there"] > settled
        await asyncio.to_thread(consul_cluster.client.admin.set_check, "check:here", "critical")
        await load.answered(50)
    assert load.tally.failed == 0, load.tally


async def test_listens_on_loopback_without_being_told(consul_cluster: Cluster, start_gateway: StartGateway) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start_gateway(consul_cluster.client.environment, mode="sidecar", prefix="sidecar", listen=f":{port}")
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/nothing") as response:
        assert response.status == 404
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in others - {"127.0.1.1"}:
        with socket.socket() as client:
            client.settimeout(1)
            assert client.connect_ex((address, port)) != 0
