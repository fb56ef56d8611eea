"""Consul dies, hangs, loses its leader or its data, and comes back: the last good view stays, its age shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from gateway.core.model import Instance
from gateway.discovery.service import DiscoveryOptions
from tests.support.consul import Cluster, ConsulAgent, ConsulError, http_check, ttl_check
from tests.support.consul.admin import Admin, Json
from tests.support.discovery import IN_TIME, discovering, eventually

ROUTE: dict[str, Json] = {"match": {"path_prefix": "/orders"}, "backends": [{"service": "orders"}]}
GRACE = 3.0


def quiet(grace: float = GRACE) -> DiscoveryOptions:
    return DiscoveryOptions("test", register=False, write_status=False, grace=grace)


def arrange(consul: ConsulAgent) -> None:
    consul.admin.put("gateway/routes/orders", ROUTE)
    consul.admin.register("orders", 7001, id="o1", checks=[ttl_check("c1")])
    consul.admin.register("orders", 7002, id="o2", checks=[ttl_check("c2")])
    # an agent keeps over a restart what a TTL check was set to, not what it was registered with
    consul.admin.set_check("c1", "passing")
    consul.admin.set_check("c2", "passing")


async def test_killed_and_restarted_with_its_data(any_consul: ConsulAgent) -> None:
    arrange(any_consul)
    async with discovering(any_consul, quiet()) as running:
        sink = running.sink
        calls = sink.calls
        await asyncio.to_thread(any_consul.kill)
        for name in ("routes", "service:orders"):
            view = await running.view_until(name, lambda view: view.state == "stale" and (view.age or 0) > 1, within=8)
            assert view.error
        assert set(sink.held["orders"]) == {"o1", "o2"}
        assert set(sink.table) == {"orders"}
        assert sink.calls == calls
        await asyncio.to_thread(any_consul.start)
        # what is written the moment Consul is ready again arrives though all watches were backing off
        began = time.monotonic()
        any_consul.admin.put("gateway/routes/users", {"backends": [{"service": "users"}]})
        await sink.until(lambda: "users" in sink.table)
        assert time.monotonic() - began < IN_TIME
        await running.state("service:orders", "live")
        assert running.view("routes").age is not None
        assert (running.view("routes").age or 0) < IN_TIME
        any_consul.admin.deregister("o1")
        await sink.until(lambda: set(sink.held["orders"]) == {"o2"})


async def test_a_restart_passes_nothing_on_if_nothing_changed(data_consul: ConsulAgent) -> None:
    arrange(data_consul)
    async with discovering(data_consul, quiet()) as running:
        calls = running.sink.calls
        await asyncio.to_thread(data_consul.kill)
        await running.state("routes", "stale", within=8)
        await asyncio.to_thread(data_consul.start)
        await running.state("routes", "live", within=5)
        await running.state("service:orders", "live", within=5)
        assert running.sink.calls == calls


async def test_a_dev_agent_restarted_holds_for_the_grace_and_then_believes(dev_consul: ConsulAgent) -> None:
    arrange(dev_consul)
    # an index high enough that the new agent's is lower
    for number in range(100):
        dev_consul.admin.put("other/key", str(number))
        dev_consul.admin.set_check("c1", "warning" if number % 2 else "passing")
    async with discovering(dev_consul, quiet()) as running:
        sink = running.sink
        await asyncio.to_thread(dev_consul.restart)
        began = time.monotonic()
        await running.state("service:orders", "doubted", within=5)
        await running.state("routes", "doubted", within=5)
        dev_consul.admin.register("orders", 7003, id="o3", checks=[ttl_check("c3")])
        await sink.until(lambda: "o3" in sink.held["orders"])
        # what is new counts at once, what is missing is held
        assert set(sink.held["orders"]) == {"o1", "o2", "o3"}
        assert set(sink.table) == {"orders"}
        await sink.until(lambda: not sink.table, within=GRACE + 3)
        assert time.monotonic() - began > GRACE - 1


async def test_after_the_grace_the_truth_about_instances(dev_consul: ConsulAgent) -> None:
    arrange(dev_consul)
    async with discovering(dev_consul, quiet()) as running:
        sink = running.sink
        await asyncio.to_thread(dev_consul.restart)
        await asyncio.to_thread(dev_consul.admin.put, "gateway/routes/orders", ROUTE)
        await running.state("service:orders", "doubted", within=5)
        assert set(sink.held["orders"]) == {"o1", "o2"}
        await sink.until(lambda: sink.held["orders"] == {}, within=GRACE + 3)
        await running.state("service:orders", "live")
        assert set(sink.table) == {"orders"}
        dev_consul.admin.register("users", 7009)
        dev_consul.admin.register("orders", 7001, id="o1")
        await sink.until(lambda: set(sink.held["orders"]) == {"o1"})


async def test_many_reregistrations_after_a_lost_catalog_are_live_in_time(dev_consul: ConsulAgent) -> None:
    """A watch of an absent service wakes on each stranger's registration; that must not use up its allowance."""
    for service in ("a", "b", "c"):
        dev_consul.admin.put(f"gateway/routes/{service}", {"backends": [{"service": service}]})
    async with discovering(dev_consul, quiet(grace=1)) as running:
        for number in range(8):
            for service in ("a", "b", "stranger"):
                dev_consul.admin.register(service, 7000 + number)
        dev_consul.admin.register("c", 7100)
        await running.sink.until(lambda: "c-7100" in running.sink.held["c"])
        await running.sink.until(lambda: len(running.sink.held["b"]) == 8)


class _Checked(BaseHTTPRequestHandler):
    """What the agent's HTTP checks ask; well until a test says otherwise."""

    well = True

    def do_GET(self) -> None:
        self.send_response(200 if self.well else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Stay silent."""


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(_Checked, "well", True)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Checked) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


async def test_checks_that_have_not_run_since_a_restart_are_not_believed(
    data_consul: ConsulAgent, checked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent calls each check that it makes itself critical until it has made it, which it does in its interval."""
    admin = data_consul.admin
    admin.put("gateway/routes/orders", ROUTE)
    for number in range(4):
        admin.register("orders", 7001 + number, id=f"o{number}", checks=[http_check(checked, interval="4s")])
    await eventually(lambda: _statuses(admin, "orders") == {"passing"}, within=10)
    async with discovering(data_consul, quiet(grace=10)) as running:
        sink = running.sink
        seen: list[set[str]] = []
        apply = sink.instances

        def spy(service: str, instances: Sequence[Instance]) -> None:
            seen.append({str(instance.health) for instance in instances})
            apply(service, instances)

        sink.instances = spy  # type: ignore[method-assign]
        await asyncio.to_thread(data_consul.kill)
        await asyncio.to_thread(data_consul.start)
        await eventually(lambda: "critical" in _statuses(admin, "orders"))
        await running.state("service:orders", "doubted")
        await eventually(lambda: _statuses(admin, "orders") == {"passing"}, within=10)
        await running.state("service:orders", "live")
        # a check that did run is believed, though the doubt could still last
        monkeypatch.setattr(_Checked, "well", False)
        await sink.until(lambda: "critical" in sink.health("orders").values(), within=8)
        assert seen[:-1] == [{"passing"}] * (len(seen) - 1)


def _statuses(admin: Admin, service: str) -> set[str]:
    return {
        status
        for instance in admin.health(service)
        for name, status in instance.statuses.items()
        if name != "serfHealth"
    }


async def test_hung_and_back(any_consul: ConsulAgent) -> None:
    arrange(any_consul)
    async with discovering(any_consul, quiet()) as running:
        await asyncio.to_thread(any_consul.pause)
        await running.state("routes", "stale", within=12)
        await asyncio.to_thread(any_consul.unpause)
        await running.state("routes", "live", within=8)
        any_consul.admin.set_check("c1", "critical")
        await running.sink.until(lambda: running.sink.health("orders")["o1"] == "critical")
        assert set(running.sink.held["orders"]) == {"o1", "o2"}


async def test_hung_and_then_killed_while_queries_are_parked(data_consul: ConsulAgent) -> None:
    arrange(data_consul)
    async with discovering(data_consul, quiet()) as running:
        await asyncio.to_thread(data_consul.pause)
        await running.state("routes", "stale", within=12)
        await asyncio.to_thread(data_consul.restart)
        data_consul.admin.set_check("c1", "critical")
        await running.sink.until(lambda: running.sink.health("orders").get("o1") == "critical")


@pytest.mark.timeout(120)
async def test_the_leader_is_killed(consul_cluster: Cluster) -> None:
    arrange(consul_cluster.client)
    async with discovering(consul_cluster.client, quiet()) as running:
        sink = running.sink
        await eventually(lambda: len(sink.held.get("orders", {})) == 2)
        leader = await asyncio.to_thread(consul_cluster.leader)
        await asyncio.to_thread(leader.kill)
        deadline = time.monotonic() + 30
        written = False
        while not written:
            assert time.monotonic() < deadline
            try:
                await asyncio.to_thread(consul_cluster.client.admin.put, "gateway/routes/users", ROUTE)
                written = True
            except ConsulError:
                await asyncio.sleep(0.05)
            assert set(sink.held["orders"]) == {"o1", "o2"}
            assert "orders" in sink.table
        await sink.until(lambda: "users" in sink.table)
        await asyncio.to_thread(consul_cluster.client.admin.set_check, "c1", "critical")
        await sink.until(lambda: sink.health("orders")["o1"] == "critical")
        assert set(sink.held["orders"]) == {"o1", "o2"}
