"""The gateway's own process, under load: told to end, or stopped and continued."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.integration.faults.conftest import RETRIED, ServeOrders, tell
from tests.support.gateway_process import eventually
from tests.support.mixed_load import Kind, MixedLoad


@pytest.mark.long
async def test_told_to_end_under_a_load_of_every_kind(serve_orders: ServeOrders) -> None:
    """Clients leave once it says that it is not ready, as a load balancer makes them; what was begun is finished."""
    orders = await asyncio.to_thread(partial(serve_orders, drain_time="2s", finish_limit="20s"))
    async with MixedLoad(orders.gateway.url + "/orders") as load:
        await eventually(lambda: all(load.whole[kind] >= 2 for kind in Kind), within=30)
        orders.gateway.send_signal(signal.SIGTERM)
        await eventually(lambda: orders.gateway.status("/readyz") == 503, within=2)
        await asyncio.sleep(0.5)  # until a balancer looks
        load.leave()
    assert await asyncio.to_thread(orders.gateway.wait, 30) == 0
    print(f"fault SIGTERM: {sum(load.begun.values())} begun, lost {load.losses}")
    assert load.losses == []
    assert load.begun == load.whole
    assert '"aborted":0' in orders.gateway.log


@pytest.mark.long
async def test_stopped_for_a_while_and_continued(serve_orders: ServeOrders) -> None:
    """As a machine that is suspended or moved: all clocks have jumped when it goes on. Requests wait meanwhile."""
    orders = await asyncio.to_thread(partial(serve_orders, timeouts={"attempt": "1s", "request": "10s"}))
    for instance in orders.instances.values():
        await instance.mode_async(delay=0.2)  # so that many are under way
    async with orders.load(clients=64) as load:
        await load.answered(150)
        orders.gateway.send_signal(signal.SIGSTOP)
        await asyncio.sleep(3)
        orders.gateway.send_signal(signal.SIGCONT)
        await load.answered(200)
        assert {orders.circuit(name) for name in orders.instances} == {"closed"}
    tell("the gateway is stopped for 3 s and continued", load.tally)
    assert load.tally.failed == 0, load.tally


@pytest.mark.long
async def test_nobody_reads_what_it_says(serve_orders: ServeOrders, tmp_path: Path) -> None:
    """A pipe to a collector that hangs: what does not fit is dropped, and requests go on."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    through = ("sh", "-c", 'exec "$@" >"$0" 2>&1', pipe)
    orders = await asyncio.to_thread(partial(serve_orders, through=through, access_log="on"))
    async with orders.load(methods=RETRIED, rate=400) as load:
        await load.answered(600)  # which is more than a pipe holds
        for _ in range(2):  # so that it has something to say of itself
            await asyncio.to_thread(orders.instances["b"].kill)
            await eventually(lambda: orders.circuit("b") == "open", what="the circuit opens")
            await asyncio.to_thread(orders.instances["b"].start)
            await eventually(lambda: orders.circuit("b") == "closed", what="the circuit closes")
        await load.answered(200)
    tell("nobody reads what it says", load.tally)
    assert load.tally.failed == 0, load.tally
    assert load.tally.quantile(0.99) < 2
    assert orders.gateway.metric("gateway_monitor_violations_total") == 0
    orders.gateway.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(orders.gateway.wait) == 0
    os.close(reader)


async def test_more_idle_clients_than_descriptors(serve_orders: ServeOrders) -> None:
    few = ("sh", "-c", 'ulimit -n 400 && exec "$@"', "sh")
    orders = await asyncio.to_thread(partial(serve_orders, through=few))
    assert "raise its limit" in orders.gateway.log
    async with orders.load(clients=16) as load:
        await load.answered(100)
        silent = []
        for _ in range(12):
            silent += [await asyncio.open_connection("127.0.0.1", orders.gateway.port) for _ in range(50)]
            await load.answered(32)  # or the load's own connections would be those that were idle for the longest
        new_instance = orders.instances["b"]
        await asyncio.to_thread(new_instance.kill)  # new connections to instances and to the agent are still to be had
        await asyncio.to_thread(new_instance.start)
        await load.answered(200)
        dropped = orders.gateway.metric("gateway_connections_dropped_total")
        for _, writer in silent:
            writer.close()
    tell("more idle clients than descriptors", load.tally)
    assert load.tally.lost(*RETRIED) == 0, load.tally
    assert dropped > 400
