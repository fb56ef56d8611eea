"""Instances that fail in every way they can, under load: what is lost, and what is not.

Idempotent requests that another instance can answer are not lost. Others are lost where an instance may have acted on
them, and no more of them than it takes to open its circuit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from tests.integration.faults.conftest import RETRIED, Orders, ServeOrders, tell
from tests.support.gateway_process import eventually
from tests.support.load import SteadyLoad
from tests.support.silence import silent_port

TO_OPEN = 5
"""Failures in a row that open a circuit, by default."""
AT_ONCE = 32
"""Clients of a load, and so requests that can be on an instance when its circuit opens."""


async def test_one_that_hangs(serve_orders: ServeOrders) -> None:
    orders = serve_orders(
        retry={"retry_on": ["connect_failure", "reset", "timeout"]}, timeouts={"attempt": "300ms", "request": "5s"}
    )
    async with orders.load() as load:
        await load.answered(150)
        await orders.instances["b"].mode_async(answer="hang")
        await eventually(lambda: orders.circuit("b") == "open", what="the circuit opens")
        await load.answered(300)
        await orders.instances["b"].mode_async(answer="ok")
        await eventually(lambda: orders.circuit("b") == "closed", what="the circuit closes")
    tell("one of three hangs", load.tally)
    assert load.tally.lost(*RETRIED) == 0, load.tally
    # each probe that is sent while it still hangs may cost one more
    assert load.tally.lost("POST") <= TO_OPEN + AT_ONCE
    assert all(" 504: " in failure for failure in load.tally.failures)


@pytest.mark.long
async def test_one_that_answers_500(serve_orders: ServeOrders) -> None:
    orders = serve_orders(retry={"retry_on": ["connect_failure", "reset", "500"]})
    async with orders.load() as load:
        await load.answered(150)
        await orders.instances["b"].mode_async(answer="fail")
        await eventually(lambda: orders.circuit("b") == "open", what="the circuit opens")
        await load.answered(200)
        await orders.instances["b"].mode_async(answer="ok")
        await eventually(lambda: orders.circuit("b") == "closed", what="the circuit closes")
    tell("one of three answers 500", load.tally)
    assert load.tally.lost(*RETRIED) == 0, load.tally
    assert load.tally.lost("POST") <= TO_OPEN + AT_ONCE


@pytest.mark.long
async def test_one_that_resets_in_the_middle_of_its_answers(serve_orders: ServeOrders) -> None:
    """The head is out, so nothing can be tried again; but no client takes half an answer for a whole one."""
    orders = serve_orders()
    async with orders.load() as load:
        await load.answered(150)
        await orders.instances["b"].mode_async(answer="cut")
        await eventually(lambda: orders.circuit("b") == "open", what="the circuit opens")
        await load.answered(200)
        await orders.instances["b"].mode_async(answer="ok")
        await eventually(lambda: orders.circuit("b") == "closed", what="the circuit closes")
    tell("one of three resets amid its answers", load.tally)
    assert TO_OPEN <= load.tally.failed <= TO_OPEN + AT_ONCE, load.tally
    assert all("Error" in failure for failure in load.tally.failures), load.tally.failures


@pytest.mark.long
async def test_one_that_trickles_holds_nobody_else_up(serve_orders: ServeOrders) -> None:
    orders = serve_orders(policy={"balance": {"policy": "least_request"}})
    async with orders.load() as load:
        await load.answered(100)
        await orders.instances["b"].mode_async(answer="trickle")
        await load.answered(600)
        await orders.instances["b"].mode_async(answer="ok")
        await load.answered(100)
    tell("one of three trickles", load.tally)
    assert load.tally.failed == 0, load.tally
    assert load.tally.median < 0.5, "those on other instances are as fast as ever"


@pytest.mark.long
async def test_one_that_flaps(serve_orders: ServeOrders) -> None:
    orders = serve_orders(http=True)
    flapping = orders.instances["b"]
    async with orders.load(methods=RETRIED) as load:
        for _ in range(4):
            await load.answered(80)
            await asyncio.to_thread(flapping.kill)
            await load.answered(80)
            await asyncio.to_thread(flapping.start)
        for answer in ("fail", "ok") * 3:  # its check in Consul follows
            await flapping.mode_async(answer=answer)
            await load.answered(60)
        await eventually(lambda: orders.circuit("b") == "closed", within=20, what="the circuit closes")
    tell("one of three flaps", load.tally)
    answered_500 = sum(" 500: " in failure for failure in load.tally.failures)
    assert load.tally.failed == answered_500, "only what it answered itself, which the route does not try again"


@pytest.mark.long
async def test_all_but_one_down(serve_orders: ServeOrders) -> None:
    orders = serve_orders()
    async with orders.load(methods=RETRIED) as load:
        await load.answered(150)
        await asyncio.gather(*(asyncio.to_thread(orders.instances[name].kill) for name in "ab"))
        await load.answered(400)
        await asyncio.gather(*(asyncio.to_thread(orders.instances[name].start) for name in "ab"))
        await eventually(lambda: {orders.circuit(name) for name in "ab"} == {"closed"}, what="the circuits close")
        await load.answered(100)
    tell("all but one of three down", load.tally)
    assert load.tally.failed == 0, load.tally


@pytest.mark.long
async def test_all_down_is_told_at_once_and_over_soon(serve_orders: ServeOrders) -> None:
    orders = serve_orders()
    async with orders.load() as before:
        await before.answered(150)
    assert before.tally.failed == 0, before.tally
    async with orders.load() as outage:
        await asyncio.gather(*(asyncio.to_thread(each.kill) for each in orders.instances.values()))
        await outage.answered(400)
    tell("all down", outage.tally)
    refused = outage.tally.statuses[502] + outage.tally.statuses[503]
    assert outage.tally.begun == outage.tally.answered == refused + outage.tally.statuses[200], outage.tally
    assert outage.tally.quantile(0.99) < 2.5, "nobody waits for what cannot come"
    await asyncio.gather(*(asyncio.to_thread(each.start) for each in orders.instances.values()))
    async with orders.load(clients=4, rate=100):
        took = await eventually(partial(_all_closed, orders), within=15, what="the circuits close")
    async with orders.load() as after:
        await after.answered(200)
    assert after.tally.failed == 0, after.tally
    print(f"all circuits were closed {took:.1f} s after the instances came back")


def _all_closed(orders: Orders) -> bool:
    return {orders.circuit(name) for name in orders.instances} == {"closed"}


async def _with_another(
    orders: Orders, arrive: Callable[[], object], leave: Callable[[], object], fault: str
) -> SteadyLoad:
    """Load while another instance is registered that cannot be reached, and goes again."""
    async with orders.load() as load:
        await load.answered(100)
        await asyncio.to_thread(arrive)
        await eventually(lambda: orders.circuit("bad") == "open", what="the circuit opens")
        await load.answered(300)
        await asyncio.to_thread(leave)
        await load.answered(100)
    tell(fault, load.tally)
    assert load.tally.failed == 0, load.tally
    return load


async def test_connects_that_time_out_are_made_elsewhere_whatever_the_method(serve_orders: ServeOrders) -> None:
    orders = serve_orders()
    admin = orders.agent.admin
    with silent_port() as port:
        await _with_another(
            orders,
            lambda: admin.register("orders", port, id="bad"),
            lambda: admin.deregister("bad"),
            "connects to one time out",
        )


@pytest.mark.long
async def test_a_host_name_that_leads_nowhere(serve_orders: ServeOrders) -> None:
    orders = serve_orders()
    admin = orders.agent.admin
    await _with_another(
        orders,
        lambda: admin.register("orders", 80, id="bad", address="no-such-host.invalid"),
        lambda: admin.deregister("bad"),
        "a host name leads nowhere",
    )


async def test_a_host_name_that_leads_into_a_denied_network(serve_orders: ServeOrders) -> None:
    """`localhost` stands for a name that somebody aims at what the gateway can reach, and they cannot."""
    orders = serve_orders(names="a", denied_addresses="127.0.0.0/8,::1/128")
    secret = orders.instances["a"]
    await asyncio.to_thread(orders.agent.admin.register, "orders", secret.port, id="a", address="localhost")
    await eventually(lambda: "localhost" in orders.gateway.text("/v1/services"), what="the name is known")
    async with orders.load(clients=4) as load:
        await load.answered(20)
    assert set(load.tally.statuses) <= {502, 503}, load.tally
    assert load.tally.begun == load.tally.answered
    assert secret.stats()["count"] == 0


@pytest.mark.long
async def test_host_names_as_addresses_of_instances(serve_orders: ServeOrders) -> None:
    orders = serve_orders()
    admin = orders.agent.admin
    async with orders.load() as load:
        await load.answered(100)
        for name, instance in orders.instances.items():
            await asyncio.to_thread(admin.register, "orders", instance.port, id=name, address="localhost")
        await eventually(lambda: {row.address for row in admin.health("orders")} == {"localhost"})
        await load.answered(400)
    tell("host names as addresses", load.tally)
    assert load.tally.failed == 0, load.tally
    assert set(load.tally.instances) == set("abc")
