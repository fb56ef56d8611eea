"""Instances that die or are replaced under load: no client sees it."""

import asyncio
from collections.abc import Callable

from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.instances import InstanceProcess
from tests.support.load import SteadyLoad

ROUTE = {"backends": [{"service": "orders"}]}


def _circuits(gateway: GatewayProcess) -> dict[str, str]:
    return {row["instance"].rsplit("/", 1)[1]: row["state"] for row in gateway.admin("/v1/circuits")["circuits"]}


async def test_one_of_three_killed_is_not_seen_and_comes_back_through_half_open(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    instances = {name: start_instance(name) for name in ("a", "b", "c")}
    for instance in instances.values():
        register(dev_consul, "orders", instance)
    dev_consul.admin.put("gateway/routes/orders", ROUTE)
    dev_consul.admin.put("gateway/services/orders", {"circuit": {"open_for": "1s"}})
    gateway = start_gateway(dev_consul.environment)
    async with SteadyLoad(gateway.url, clients=64, rate=400) as load:
        await load.answered(400)
        await asyncio.to_thread(instances["b"].kill)
        await eventually(lambda: _circuits(gateway)["b"] == "open", what="the circuit opens")
        await load.answered(400)
        await asyncio.to_thread(instances["b"].start)
        await eventually(lambda: _circuits(gateway)["b"] == "closed", within=30, what="the circuit closes")
        seen = load.tally.instances["b"]
        await load.answered(300)
        assert load.tally.instances["b"] > seen
    assert load.tally.failed == 0, load.tally
    changes = [line for line in gateway.log.splitlines() if "circuit" in line]
    assert any("half_open" in line for line in changes), changes


async def test_rolling_replacement_of_every_instance(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    old = [start_instance(f"old-{number}") for number in range(3)]
    for instance in old:
        register(dev_consul, "orders", instance)
    dev_consul.admin.put("gateway/routes/orders", ROUTE)
    gateway = start_gateway(dev_consul.environment)
    async with SteadyLoad(gateway.url) as load:
        await load.answered(100)
        for number, leaving in enumerate(old):
            fresh = await asyncio.to_thread(start_instance, f"new-{number}")
            await asyncio.to_thread(register, dev_consul, "orders", fresh)
            await eventually(lambda name=fresh.name: load.tally.instances[name] > 0)  # type: ignore[misc]
            await asyncio.to_thread(dev_consul.admin.deregister, leaving.name)
            await eventually(lambda name=leaving.name: name not in _circuits(gateway))  # type: ignore[misc]
            await asyncio.to_thread(_stop_when_idle, leaving)
        await load.answered(200)
    assert load.tally.failed == 0, load.tally
    assert set(_circuits(gateway)) == {"new-0", "new-1", "new-2"}


def _stop_when_idle(instance: InstanceProcess) -> None:
    while instance.stats()["running"]:
        pass
    instance.stop()


async def test_circuits_are_kept_and_shared(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    """Two routes to one service share a circuit per instance, and neither registry changes nor edits reset one."""
    good, bad = start_instance("good"), start_instance("bad")
    bad.mode(answer="fail")
    for instance in (good, bad):
        register(dev_consul, "orders", instance)
    for name in ("one", "two"):
        dev_consul.admin.put(f"gateway/routes/{name}", {"match": {"path_prefix": f"/{name}"}, **ROUTE})
    dev_consul.admin.put("gateway/services/orders", {"circuit": {"open_for": "60s", "max_open_for": "60s"}})
    gateway = start_gateway(dev_consul.environment)
    async with SteadyLoad(gateway.url + "/one", rate=0, clients=1) as load:
        await eventually(lambda: _circuits(gateway)["bad"] == "open")
    assert load.tally.statuses[500] == 5
    async with SteadyLoad(gateway.url + "/two", rate=0, clients=1) as other:
        await other.answered(20)
    assert set(other.tally.instances) == {"good"}
    assert other.tally.failed == 0, other.tally

    third = start_instance("third")
    register(dev_consul, "orders", third)
    await eventually(lambda: "third" in _circuits(gateway))
    assert _circuits(gateway)["bad"] == "open"
    dev_consul.admin.deregister("third")
    await eventually(lambda: "third" not in _circuits(gateway))
    dev_consul.admin.put("gateway/routes/one", {"match": {"path_prefix": "/uno"}, **ROUTE})
    await eventually(lambda: "/uno" in gateway.text("/v1/routes"))
    assert _circuits(gateway) == {"good": "closed", "bad": "open"}
