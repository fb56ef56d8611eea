"""One request per instance at a time; and a service that hangs disturbs no other."""

import asyncio
from collections.abc import Callable

import aiohttp

from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.instances import InstanceProcess
from tests.support.load import SteadyLoad


async def test_one_request_per_instance_at_a_time(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    instances = [start_instance(name) for name in ("a", "b", "c")]
    for instance in instances:
        instance.mode(delay=0.005)
        register(dev_consul, "orders", instance)
    dev_consul.admin.put(
        "gateway/routes/orders",
        {"backends": [{"service": "orders"}], "limits": {"queue": 100, "queue_timeout": "30s"}},
    )
    dev_consul.admin.put("gateway/services/orders", {"in_flight_per_instance": 1})
    gateway = start_gateway(dev_consul.environment)
    async with SteadyLoad(gateway.url, clients=50, rate=0) as load:
        await load.answered(1500)
    assert load.tally.failed == 0, load.tally
    assert [instance.stats()["most_at_once"] for instance in instances] == [1, 1, 1]
    shares = [load.tally.instances[instance.name] / load.tally.answered for instance in instances]
    assert all(0.28 < share < 0.39 for share in shares), shares
    assert load.tally.quantile(1.0) < 20 * load.tally.median, "somebody starved"


async def test_a_hung_service_does_not_slow_another(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    well, hung = start_instance("well"), start_instance("hung")
    register(dev_consul, "well", well)
    register(dev_consul, "hung", hung)
    for name in ("well", "hung"):
        dev_consul.admin.put(
            f"gateway/routes/{name}", {"match": {"path_prefix": f"/{name}"}, "backends": [{"service": name}]}
        )
    gateway = start_gateway(dev_consul.environment)
    async with SteadyLoad(gateway.url + "/well", clients=8) as quiet:
        await quiet.answered(400)
    hung.mode(answer="hang")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        stuck = [asyncio.create_task(_status(session, gateway.url + "/hung")) for _ in range(60)]
        await asyncio.to_thread(_until_running, hung, 60)
        async with SteadyLoad(gateway.url + "/well", clients=8) as disturbed:
            await disturbed.answered(400)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
    assert disturbed.tally.failed == 0, disturbed.tally
    ratio = disturbed.tally.median / quiet.tally.median
    print(f"median latency beside a hung service: {ratio:.2f} of that without")
    assert ratio < 10


async def _status(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(url) as response:
        return response.status


def _until_running(instance: InstanceProcess, count: int) -> None:
    while instance.stats()["running"] < count:
        pass
