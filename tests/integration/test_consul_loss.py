"""What Consul's troubles may not do: take routes or instances away."""

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.conftest import StartConsul
from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent, Options, Role
from tests.support.consul.admin import Admin, Token
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.instances import InstanceProcess
from tests.support.load import SteadyLoad

ROUTE = {"match": {"path_prefix": "/orders"}, "backends": [{"service": "orders"}]}


def _view(gateway: GatewayProcess, name: str) -> dict[str, object]:
    views: list[dict[str, object]] = gateway.admin("/v1/consul")["views"]
    return next(view for view in views if view["view"] == name)


def _arrange(agent: ConsulAgent, instances: list[InstanceProcess], register: Callable[..., str]) -> None:
    for instance in instances:
        register(agent, "orders", instance, http=True)
    agent.admin.put("gateway/routes/orders", ROUTE)


async def _outage(
    seconds: float,
    agent: ConsulAgent,
    start_gateway: StartGateway,
    start_instance: StartInstance,
    register: Callable[..., str],
) -> None:
    instances = [start_instance(name) for name in ("a", "b", "c")]
    _arrange(agent, instances[:2], register)
    gateway = start_gateway(agent.environment)
    async with SteadyLoad(gateway.url + "/orders") as load:
        await load.answered(200)
        await asyncio.to_thread(agent.kill)
        began = time.monotonic()
        await asyncio.sleep(seconds)  # the outage itself is what is tested
        age = gateway.metric("gateway_view_age_seconds", view="service:orders")
        assert seconds * 0.5 < age < time.monotonic() - began + 5
        assert gateway.status("/readyz") == 200
        await asyncio.to_thread(agent.start)
        changed = time.monotonic()
        await asyncio.to_thread(register, agent, "orders", instances[2], http=True)
        await eventually(lambda: load.tally.instances["c"] > 0, within=20, what="the new instance gets requests")
        took = time.monotonic() - changed
        await load.answered(200)
    assert load.tally.failed == 0, load.tally
    assert took < 20, f"a change after the restart took {took:.2f} s"
    print(f"a change made after the restart was live after {took:.2f} s; {load.tally}")


async def test_agent_killed_under_load_and_restarted(
    any_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    await _outage(3.0, any_consul, start_gateway, start_instance, register)


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_agent_killed_for_a_minute_under_load_and_restarted(
    any_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    await _outage(60.0, any_consul, start_gateway, start_instance, register)


async def test_agent_that_hangs_under_load(
    any_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    instances = [start_instance(name) for name in ("a", "b")]
    _arrange(any_consul, instances, register)
    gateway = start_gateway(any_consul.environment)
    async with SteadyLoad(gateway.url + "/orders") as load:
        await load.answered(100)
        await asyncio.to_thread(any_consul.pause)
        await load.answered(400)
        await asyncio.to_thread(any_consul.unpause)
        await load.answered(100)
    assert load.tally.failed == 0, load.tally


async def test_a_dev_agent_that_comes_back_empty_is_doubted_and_then_believed(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    a, b = start_instance("a"), start_instance("b")
    _arrange(dev_consul, [a], register)
    gateway = start_gateway(dev_consul.environment, grace="3s")
    async with SteadyLoad(gateway.url + "/orders") as load:
        await load.answered(50)
        await asyncio.to_thread(dev_consul.restart)
        restarted = time.monotonic()
        await load.answered(100)
        assert load.tally.failed == 0, f"the last good view was not held: {load.tally}"
        assert load.tally.instances["a"] > 100
    await eventually(lambda: gateway.admin("/v1/routes")["routes"] == [], within=30, what="the truth is believed")
    assert time.monotonic() - restarted > 1.5
    _arrange(dev_consul, [b], register)
    registered = time.monotonic()
    async with SteadyLoad(gateway.url + "/orders", clients=1, rate=50) as load:
        await eventually(lambda: load.tally.instances["b"] > 0, within=20)
    print(f"re-registered services were live after {time.monotonic() - registered:.2f} s")


GATEWAY_RULES = """
key_prefix "gateway/" { policy = "read" }
key_prefix "gateway/status/" { policy = "write" }
session_prefix "" { policy = "write" }
"""
SERVICE_RULES = """
service_prefix "" { policy = "read" }
node_prefix "" { policy = "read" }
service "gateway" { policy = "write" }
agent_prefix "" { policy = "read" }
"""


@pytest.mark.parametrize("lost", ["kv policy", "service policy", "token"])
async def test_a_token_that_loses_its_rights_keeps_what_was_seen(
    lost: str,
    start_consul: StartConsul,
    start_gateway: StartGateway,
    start_instance: StartInstance,
    register: Callable[..., str],
) -> None:
    agent = start_consul(Options(role=Role.SERVER, acl=True))
    _arrange(agent, [start_instance("a"), start_instance("b")], register)
    agent.admin.create_policy("kv", GATEWAY_RULES)
    agent.admin.create_policy("services", SERVICE_RULES)
    token = agent.admin.create_token("kv", "services")
    gateway = start_gateway({**agent.environment, "CONSUL_HTTP_TOKEN": token.secret}, grace="1s")
    async with SteadyLoad(gateway.url + "/orders") as load:
        await load.answered(100)
        await asyncio.to_thread(_lose, agent.admin, token, lost)
        denied = "routes" if lost == "kv policy" else "service:orders"
        # a blocked query notices when it returns: a change wakes it
        await asyncio.to_thread(agent.admin.maintain, "a")
        await asyncio.to_thread(agent.admin.put, "gateway/routes/other", ROUTE)
        await eventually(lambda: _view(gateway, denied)["state"] == "denied", within=30, what="state says denied")
        await load.answered(300)
    assert load.tally.failed == 0, load.tally
    assert [route["name"] for route in gateway.admin("/v1/routes")["routes"]][:1] == ["orders"]


def _lose(admin: Admin, token: Token, lost: str) -> None:
    if lost == "token":
        admin.delete_token(token)
    else:
        admin.set_token_policies(token, "services" if lost == "kv policy" else "kv")


async def test_a_start_without_consul_serves_the_snapshot(
    data_consul: ConsulAgent,
    start_gateway: StartGateway,
    start_instance: StartInstance,
    register: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    snapshot = tmp_path_factory.mktemp("snapshot") / "view.json"
    _arrange(data_consul, [start_instance("a")], register)
    first = start_gateway(data_consul.environment, snapshot=snapshot)
    await eventually(snapshot.exists, what="the snapshot is written")
    first.stop()
    data_consul.kill()
    second = start_gateway(data_consul.environment, snapshot=snapshot)
    async with SteadyLoad(second.url + "/orders") as load:
        await load.answered(50)
        assert _view(second, "service:orders")["state"] == "stale"
        await asyncio.to_thread(data_consul.start)
        await eventually(lambda: _view(second, "service:orders")["state"] == "live", within=30)
    assert load.tally.failed == 0, load.tally
