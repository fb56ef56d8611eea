"""A change in a real Consul arrives at the gateway, at once and alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.core.model import Health, Route
from gateway.discovery.service import DiscoveryOptions
from tests.support.consul import ConsulAgent, ttl_check
from tests.support.consul.admin import Json
from tests.support.discovery import discovering

ROUTE: dict[str, Json] = {"match": {"path_prefix": "/orders"}, "backends": [{"service": "orders"}]}


def quiet(prefix: str = "gateway") -> DiscoveryOptions:
    return DiscoveryOptions("test", prefix=prefix, register=False, write_status=False)


async def test_a_route_key_arrives_and_goes(dev_consul: ConsulAgent) -> None:
    async with discovering(dev_consul) as running:
        sink = running.sink
        dev_consul.admin.put("gateway/routes/orders", ROUTE)
        await sink.until(lambda: "orders" in sink.table)
        assert sink.table["orders"].backends[0].service == "orders"
        dev_consul.admin.delete("gateway/routes/orders")
        await sink.until(lambda: not sink.table)


async def test_changes_are_told_in_the_log(dev_consul: ConsulAgent, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gateway.discovery")
    admin = dev_consul.admin
    async with discovering(dev_consul) as running:
        sink = running.sink

        async def told(**fields: object) -> None:
            async with asyncio.timeout(5):
                while not any(vars(record) | fields == vars(record) for record in caplog.records):
                    await asyncio.sleep(0.01)

        admin.put("gateway/routes/orders", ROUTE)
        await told(key="gateway/routes/orders", levelname="INFO")
        admin.put("gateway/routes/orders", {"backends": []})
        await told(key="gateway/routes/orders", levelname="WARNING")
        admin.put("gateway/routes/orders", ROUTE)
        admin.register("orders", 7001, id="o1", checks=[ttl_check("c1")])
        await sink.until(lambda: "o1" in sink.held.get("orders", {}))
        name = str(sink.held["orders"]["o1"].key)
        await told(service="orders", registered=[name])
        admin.set_check("c1", "warning")
        await told(service="orders", changed=[f"{name} warning"])
        admin.deregister("o1")
        await told(service="orders", deregistered=[name])
        caplog.clear()
        admin.delete("gateway/routes/orders")
        await told(key="gateway/routes/orders", levelname="INFO")


@pytest.fixture
def orders(dev_consul: ConsulAgent) -> ConsulAgent:
    dev_consul.admin.put("gateway/routes/orders", ROUTE)
    dev_consul.admin.register("orders", 7001, id="o1", weights=(10, 3), checks=[ttl_check("c1")])
    dev_consul.admin.register("orders", 7002, id="o2", checks=[ttl_check("c2")])
    return dev_consul


async def test_first_view_is_complete_when_ready(orders: ConsulAgent) -> None:
    async with discovering(orders) as running:
        assert running.sink.health("orders") == {"o1": "passing", "o2": "passing"}
        assert running.sink.held["orders"]["o1"].endpoint == ("127.0.0.1", 7001)
        assert running.view("service:orders").state == "live"


async def test_check_flips_maintenance_and_deregistration(orders: ConsulAgent) -> None:
    async with discovering(orders) as running:
        sink, admin = running.sink, orders.admin
        admin.set_check("c1", "warning")
        await sink.until(lambda: sink.health("orders")["o1"] == "warning")
        assert sink.held["orders"]["o1"].weight == 3
        admin.set_check("c1", "critical")
        await sink.until(lambda: sink.health("orders")["o1"] == "critical")
        admin.set_check("c1", "passing")
        await sink.until(lambda: sink.held["orders"]["o1"].weight == 10)
        admin.maintain("o1")
        await sink.until(lambda: sink.held["orders"]["o1"].health is Health.MAINTENANCE)
        assert sink.health("orders")["o2"] == "passing"
        admin.maintain("o1", on=False)
        await sink.until(lambda: sink.health("orders")["o1"] == "passing")
        admin.maintain_node()
        await sink.until(lambda: set(sink.health("orders").values()) == {"maintenance"})
        admin.maintain_node(on=False)
        await sink.until(lambda: set(sink.health("orders").values()) == {"passing"})
        admin.deregister("o1")
        await sink.until(lambda: set(sink.held["orders"]) == {"o2"})


async def test_weights_and_port_edits(orders: ConsulAgent) -> None:
    async with discovering(orders) as running:
        sink = running.sink
        orders.admin.register("orders", 7001, id="o1", weights=(7, 1), checks=[ttl_check("c1")])
        await sink.until(lambda: sink.held["orders"]["o1"].weight == 7)
        orders.admin.register("orders", 7009, id="o1", weights=(7, 1), checks=[ttl_check("c1")])
        await sink.until(lambda: sink.held["orders"]["o1"].port == 7009)


async def test_the_last_instance_that_deregisters_is_believed_at_once(orders: ConsulAgent) -> None:
    async with discovering(orders) as running:
        orders.admin.deregister("o1")
        orders.admin.deregister("o2")
        await running.sink.until(lambda: running.sink.held["orders"] == {})
        assert running.view("service:orders").state == "live"


async def test_only_services_that_routes_name_are_watched(orders: ConsulAgent) -> None:
    async with discovering(orders) as running:
        sink = running.sink
        orders.admin.register("users", 7003)
        orders.admin.put("gateway/routes/orders", {"backends": [{"service": "users"}]})
        await sink.until(lambda: sink.forgotten == ["orders"])
        assert set(sink.held) == {"users"}
        # the new service was known before the route that sends to it was
        assert sink.held["users"]


async def test_a_route_arrives_with_its_service(orders: ConsulAgent) -> None:
    async with discovering(orders) as running:
        sink = running.sink
        seen: list[bool] = []
        apply = sink.routes

        def spy(routes: Sequence[Route]) -> None:
            seen.append("users" in sink.held)
            apply(routes)

        sink.routes = spy  # type: ignore[method-assign]
        orders.admin.register("users", 7003)
        orders.admin.put("gateway/routes/users", {"backends": [{"service": "users"}]})
        await sink.until(lambda: "users" in sink.table)
        assert seen == [True]


async def test_a_bad_key_harms_no_other_and_its_last_good_version_stays(orders: ConsulAgent) -> None:
    async with discovering(orders) as running:
        sink = running.sink
        good = sink.table["orders"]
        orders.admin.put("gateway/routes/orders", '{"backends": [{"service": "orders"}],\n "timeouts": 3}')
        orders.admin.put("gateway/routes/users", {"backends": [{"service": "users"}]})
        await sink.until(lambda: "users" in sink.table)
        (rejection,) = running.discovery.rejections()
        assert (rejection.key, rejection.line, rejection.field) == ("gateway/routes/orders", 2, "timeouts")
        assert sink.table["orders"] == good
        orders.admin.put("gateway/routes/orders", ROUTE | {"timeouts": {"request": "3s"}})
        await sink.until(lambda: sink.table["orders"].timeouts.request == 3)
        assert not running.discovery.rejections()


async def test_policies_and_defaults(orders: ConsulAgent) -> None:
    async with discovering(orders) as running:
        sink = running.sink
        orders.admin.put("gateway/services/orders", {"in_flight_per_instance": 1})
        await sink.until(lambda: "orders" in sink.policy)
        assert sink.policy["orders"].in_flight_per_instance == 1
        orders.admin.put(
            "gateway/defaults", {"route": {"timeouts": {"request": "7s"}}, "service": {"slow_start": "5s"}}
        )
        await sink.until(lambda: sink.table["orders"].timeouts.request == 7)
        assert (sink.policy["orders"].in_flight_per_instance, sink.policy["orders"].slow_start) == (1, 5)
        orders.admin.delete("gateway/services/orders")
        await sink.until(lambda: sink.policy["orders"].in_flight_per_instance == 0)
        orders.admin.delete("gateway/defaults")
        await sink.until(lambda: sink.table["orders"].timeouts.request == 30)
        assert sink.policy == {}


async def test_keys_beside_the_configuration_wake_no_view(orders: ConsulAgent) -> None:
    orders.admin.put("gateway/services/orders", {})
    async with discovering(orders) as running:
        before = {view.name: view.wakeups for view in running.discovery.views()}
        for number in range(20):
            orders.admin.put("gateway/status/someone", str(number))
        orders.admin.put("gateway/routes/users", {"backends": [{"service": "users"}]})
        await running.sink.until(lambda: "users" in running.sink.table)
        assert running.view("routes").wakeups == before["routes"] + 1
        assert running.view("policies").wakeups == before["policies"]


async def test_a_burst_of_changes_ends_in_the_last_state(orders: ConsulAgent) -> None:
    async with discovering(orders) as running:
        for number in range(60):
            await asyncio.to_thread(orders.admin.set_check, "c1", "critical" if number % 2 else "warning")
        await running.sink.until(lambda: running.sink.health("orders")["o1"] == "critical")
        await asyncio.to_thread(orders.admin.set_check, "c1", "passing")
        await running.sink.until(lambda: running.sink.health("orders")["o1"] == "passing")
