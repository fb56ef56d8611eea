"""A Consul that answers wrongly, forgets, or loses its servers, under load: no request is lost for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from tests.integration.conftest import StartInstance
from tests.integration.faults.conftest import Orders, ServeOrders, tell
from tests.support.consul import Cluster, ConsulAgent
from tests.support.consul_proxy import ConsulProxy, Fault, consul_proxy, cut, empty, html, status
from tests.support.gateway_process import eventually
from tests.support.instances import InstanceProcess
from tests.support.load import SteadyLoad

VIEW = "service:orders"


def _state(orders: Orders, name: str = VIEW) -> str:
    views = orders.gateway.admin("/v1/consul")["views"]
    return next(str(view["state"]) for view in views if view["view"] == name)


def _is(orders: Orders, *states: str) -> bool:
    return _state(orders) in states


async def _joins(agent: ConsulAgent, instance: InstanceProcess, load: SteadyLoad) -> None:
    """A change that is made now reaches the gateway."""
    await asyncio.to_thread(agent.admin.register, "orders", instance.port, id=instance.name)
    await eventually(lambda: load.tally.instances[instance.name] > 0, within=30, what="the new instance gets requests")


@pytest.mark.parametrize(
    ("what", "fault"),
    [
        ("429", status(429, "rate limit exceeded, try again later or against a different server")),
        pytest.param("500", status(500, "rpc error making call: No cluster leader"), marks=pytest.mark.long),
        pytest.param("HTML", html, marks=pytest.mark.long),
        pytest.param("cut JSON", cut, marks=pytest.mark.long),
    ],
    ids=["429", "500", "html", "cut json"],
)
async def test_an_agent_that_answers(
    what: str, fault: Fault, dev_consul: ConsulAgent, serve_orders: ServeOrders, start_instance: StartInstance
) -> None:
    new = start_instance("d")
    async with consul_proxy(dev_consul) as proxy:
        orders = await asyncio.to_thread(partial(serve_orders, consul=proxy.environment))
        async with orders.load() as load:
            await load.answered(100)
            proxy.fault = fault
            await asyncio.to_thread(dev_consul.admin.maintain, "a")  # a change wakes the queries, which hear the fault
            await eventually(partial(_is, orders, "stale"), within=15, what="the view says that it is stale")
            await load.answered(300)
            assert load.tally.instances["a"] > 0
            proxy.fault = None
            await _joins(dev_consul, new, load)
        assert proxy.spoilt > 0
    tell(f"the agent answers {what}", load.tally)
    assert load.tally.failed == 0, load.tally


async def _empty_for_a_while(orders: Orders, proxy: ConsulProxy, load: SteadyLoad, before: Fault | None) -> None:
    await load.answered(100)
    if before is not None:
        proxy.fault = before
        await asyncio.to_thread(orders.agent.admin.maintain, "a")
        await eventually(partial(_is, orders, "stale"), within=15)
    proxy.fault = empty
    await asyncio.to_thread(orders.agent.admin.maintain, "a", on=before is None)


@pytest.mark.long
async def test_an_empty_list_after_a_trouble_is_doubted(dev_consul: ConsulAgent, serve_orders: ServeOrders) -> None:
    async with consul_proxy(dev_consul) as proxy:
        orders = await asyncio.to_thread(partial(serve_orders, consul=proxy.environment, grace="20s"))
        async with orders.load() as load:
            await _empty_for_a_while(orders, proxy, load, before=status(500, "No cluster leader"))
            await eventually(partial(_is, orders, "doubted"), within=20, what="the emptiness is doubted")
            await load.answered(300)
            proxy.fault = None
            await asyncio.to_thread(dev_consul.admin.maintain, "a")
            await eventually(partial(_is, orders, "live"), within=20, what="the truth is back")
            await load.answered(100)
    tell("the agent answers an empty list after a trouble", load.tally)
    assert load.tally.failed == 0, load.tally


@pytest.mark.long
async def test_an_empty_list_out_of_the_blue_is_believed_and_over_with_the_next_answer(
    dev_consul: ConsulAgent, serve_orders: ServeOrders
) -> None:
    """It looks as it does when the last instance deregisters, and instances that are gone get no requests."""
    async with consul_proxy(dev_consul) as proxy:
        orders = await asyncio.to_thread(partial(serve_orders, consul=proxy.environment))
        async with orders.load() as load:
            await _empty_for_a_while(orders, proxy, load, before=None)
            await eventually(lambda: load.tally.statuses[503] > 20, what="there is nobody")
            proxy.fault = None
            await asyncio.to_thread(dev_consul.admin.maintain, "a", on=False)
            await eventually(partial(_has, orders, 3), within=15, what="all are back")
    tell("the agent answers an empty list out of the blue", load.tally)
    assert set(load.tally.statuses) == {200, 503}, load.tally
    assert load.tally.begun == load.tally.answered, load.tally
    async with orders.load() as after:
        await after.answered(100)
    assert after.tally.failed == 0, after.tally


def _has(orders: Orders, count: int) -> bool:
    return len(orders.gateway.admin("/v1/circuits")["circuits"]) == count


@pytest.mark.long
async def test_an_agent_that_comes_back_with_a_lower_index_and_is_filled_again(
    dev_consul: ConsulAgent, serve_orders: ServeOrders, register: Callable[..., str]
) -> None:
    orders = await asyncio.to_thread(partial(serve_orders, grace="10s"))
    admin = dev_consul.admin
    for number in range(50):
        admin.put(f"elsewhere/{number}", "x")  # so that the index has somewhere to fall from
    kept = {key: entry.value for key in admin.keys("gateway/") if (entry := admin.get(key)) is not None}
    async with orders.load() as load:
        await load.answered(100)
        await asyncio.to_thread(dev_consul.restart)
        await load.answered(100)
        for instance in orders.instances.values():
            await asyncio.to_thread(register, dev_consul, "orders", instance)
        for key, value in kept.items():
            await asyncio.to_thread(admin.put, key, value)
        await eventually(partial(_is, orders, "live"), within=30, what="the view is live again")
        await asyncio.to_thread(admin.deregister, "a")
        await eventually(partial(_has, orders, 2), within=20, what="a change arrives")
        await load.answered(100)
    tell("the agent is restarted with a lower index", load.tally)
    assert load.tally.failed == 0, load.tally


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_a_cluster_that_loses_its_leader_then_its_quorum_and_gets_it_back(
    consul_cluster: Cluster, serve_orders: ServeOrders, start_instance: StartInstance
) -> None:
    late, later = start_instance("d"), start_instance("e")
    orders = await asyncio.to_thread(partial(serve_orders, agent=consul_cluster.client))
    async with orders.load() as load:
        await load.answered(100)
        leader = await asyncio.to_thread(consul_cluster.leader)
        await asyncio.to_thread(leader.kill)
        await load.answered(100)
        second = await asyncio.to_thread(partial(consul_cluster.wait_leader, other_than=leader))
        await _joins(consul_cluster.client, late, load)

        await asyncio.to_thread(second.kill)
        await eventually(partial(_is, orders, "stale"), within=60, what="without a quorum the view is stale")
        await load.answered(400)

        for server in (leader, second):
            await asyncio.to_thread(server.launch)
        for server in (leader, second):
            await asyncio.to_thread(server.wait_ready, 60.0)
        await eventually(partial(_is, orders, "live"), within=60, what="the view is live again")
        await _joins(consul_cluster.client, later, load)
    tell("a cluster loses its leader, its quorum, and gets it back", load.tally)
    assert load.tally.failed == 0, load.tally
