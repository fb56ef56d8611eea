"""How the gateway comes by its first view: from Consul, over TLS, or from the disk while Consul is away."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from gateway.discovery.consul_client import ConsulClient
from gateway.discovery.consul_settings import ConsulSettings
from gateway.discovery.errors import ConsulUnreachable
from gateway.discovery.service import DiscoveryOptions
from tests.support.consul import ConsulAgent, ConsulProcess, Options, Role, ttl_check
from tests.support.consul.admin import Json
from tests.support.discovery import discovering, eventually

ROUTE: dict[str, Json] = {"match": {"path_prefix": "/orders"}, "backends": [{"service": "orders"}]}


def with_snapshot(path: Path, grace: float = 2) -> DiscoveryOptions:
    return DiscoveryOptions("test", register=False, write_status=False, snapshot_path=path, grace=grace)


def arrange(consul: ConsulAgent) -> None:
    consul.admin.put("gateway/routes/orders", ROUTE)
    consul.admin.put("gateway/services/orders", {"in_flight_per_instance": 2})
    consul.admin.put("gateway/defaults", {"route": {"timeouts": {"request": "9s"}}})
    consul.admin.register("orders", 7001, id="o1", weights=(5, 1), tags=["stable"], checks=[ttl_check("c1")])
    consul.admin.set_check("c1", "passing")


async def test_a_cold_start_without_consul_serves_the_last_view(data_consul: ConsulAgent, tmp_path: Path) -> None:
    arrange(data_consul)
    options = with_snapshot(tmp_path / "view")
    async with discovering(data_consul, options) as running:
        before = dict(running.sink.table), dict(running.sink.policy), dict(running.sink.held)
    await asyncio.to_thread(data_consul.kill)
    async with discovering(data_consul, options) as running:
        # ready at once, on what the disk holds
        assert (running.sink.table, running.sink.policy, running.sink.held) == before
        assert running.sink.table["orders"].timeouts.request == 9
        for view in running.discovery.views():
            assert view.state == "stale"
            assert view.age is not None
        calls = running.sink.calls
        await asyncio.to_thread(data_consul.start)
        for name in ("routes", "policies", "defaults", "service:orders"):
            await running.state(name, "live", within=5)
        assert running.sink.calls == calls
        data_consul.admin.set_check("c1", "critical")
        await running.sink.until(lambda: running.sink.health("orders") == {"o1": "critical"}, within=4)


async def test_no_route_is_read_without_the_defaults_that_are_there(dev_consul: ConsulAgent) -> None:
    """They may ask for credentials on every route: a mistake in them must open none."""
    arrange(dev_consul)
    dev_consul.admin.put("gateway/defaults", {"route": {"auth": {"basic": {}}, "limitz": {}}})
    options = DiscoveryOptions("test", register=False, write_status=False)
    async with discovering(dev_consul, options) as running:
        assert running.sink.table == {}
        told = {rejection.key: rejection.reason for rejection in running.discovery.rejections()}
        assert told.keys() == {"gateway/defaults", "gateway/routes/orders"}
        assert told["gateway/routes/orders"].startswith("waits for the defaults")
        dev_consul.admin.put("gateway/defaults", {"route": {"auth": {"basic": {}}}})
        await running.sink.until(lambda: "orders" in running.sink.table)
        assert running.sink.table["orders"].auth is not None
        dev_consul.admin.put("gateway/defaults", {"route": {"limitz": {}}})
        await eventually(lambda: bool(running.discovery.rejections()))
        assert running.sink.table["orders"].auth is not None, "the last good version stays in force"


async def test_a_last_good_version_outlives_a_restart(dev_consul: ConsulAgent, tmp_path: Path) -> None:
    arrange(dev_consul)
    options = with_snapshot(tmp_path / "view")
    async with discovering(dev_consul, options) as running:
        good = running.sink.table["orders"]
    dev_consul.admin.put("gateway/routes/orders", "{")
    async with discovering(dev_consul, options) as running:
        await running.state("routes", "live")
        assert running.sink.table["orders"] == good
        assert [rejection.key for rejection in running.discovery.rejections()] == ["gateway/routes/orders"]


async def test_a_snapshot_beside_an_empty_consul_is_held_for_the_grace(dev_consul: ConsulAgent, tmp_path: Path) -> None:
    arrange(dev_consul)
    options = with_snapshot(tmp_path / "view")
    async with discovering(dev_consul, options):
        pass
    await asyncio.to_thread(dev_consul.restart)
    async with discovering(dev_consul, options) as running:
        await running.state("routes", "doubted")
        assert set(running.sink.table) == {"orders"}
        await running.sink.until(lambda: not running.sink.table, within=5)


async def test_without_consul_and_without_a_snapshot_it_is_not_ready(tmp_path: Path) -> None:
    settings = ConsulSettings(port=1)
    async with discovering(settings, with_snapshot(tmp_path / "view"), ready=False) as running:
        await running.state("routes", "failing")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running.discovery.ready(), 0.2)
        assert running.view("routes").age is None


async def test_consul_comes_up_after_the_gateway() -> None:
    consul = ConsulProcess(Options(role=Role.DEV))
    try:
        settings = ConsulSettings.from_environment(consul.environment)
        async with discovering(settings, ready=False) as running:
            await running.state("routes", "failing")
            await asyncio.to_thread(consul.start)
            began = time.monotonic()
            await running.discovery.ready()
            assert time.monotonic() - began < 2
    finally:
        consul.close()


async def test_over_tls_with_a_client_certificate(tls_consul: ConsulAgent, unique: str) -> None:
    tls_consul.admin.put(f"{unique}/routes/orders", {"backends": [{"service": unique}]})
    tls_consul.admin.register(unique, 7001)
    options = DiscoveryOptions("test", prefix=unique, register=False, write_status=False)
    async with discovering(tls_consul, options) as running:
        assert len(running.sink.held[unique]) == 1
        tls_consul.admin.register(unique, 7002)
        await running.sink.until(lambda: len(running.sink.held[unique]) == 2)


def test_a_loop_ends_at_once_though_queries_are_parked_over_tls(tls_consul: ConsulAgent) -> None:
    """Closing a uvloop waits for every TLS connection's goodbye, and Consul gives it when its 300 s are over."""

    async def park() -> None:
        client = ConsulClient(ConsulSettings.from_environment(tls_consul.environment))
        index = (await client.health_any()).index
        query = asyncio.create_task(client.health_any(index, 300))
        await asyncio.sleep(0.2)
        query.cancel()
        await client.close()

    began = time.monotonic()
    uvloop.run(park())
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("spoilt", ["no client certificate", "unknown authority", "wrong name"])
async def test_tls_that_does_not_fit_is_refused(tls_consul: ConsulAgent, spoilt: str) -> None:
    settings = ConsulSettings.from_environment(tls_consul.environment)
    if spoilt == "no client certificate":
        settings = replace(settings, cert_file=None, key_file=None)
    elif spoilt == "unknown authority":
        settings = replace(settings, ca_file=None)
    else:
        settings = replace(settings, server_name="other.example")
    client = ConsulClient(settings)
    with pytest.raises(ConsulUnreachable, match="TLS"):
        await client.leader()
    await client.close()


async def test_tls_variations_that_fit(tls_consul: ConsulAgent) -> None:
    settings = ConsulSettings.from_environment(tls_consul.environment)
    for fitting in (
        replace(settings, server_name="localhost"),
        replace(settings, ca_file=None, verify=False),
    ):
        client = ConsulClient(fitting)
        assert await client.leader()
        await client.close()


async def test_over_a_unix_socket(start_consul: object, tmp_path: Path) -> None:
    socket = tmp_path / "consul.sock"
    assert callable(start_consul)
    consul = start_consul(Options(extra={"addresses": {"http": f"127.0.0.1 unix://{socket}"}}))
    client = ConsulClient(ConsulSettings.from_environment({"CONSUL_HTTP_ADDR": f"unix://{socket}"}))
    assert await client.agent_node() == consul.node
    await client.close()
