"""Consul's own weights decide, exactly, and change with a check's state."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import aiohttp

from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess, eventually


async def _answers(gateway: GatewayProcess, count: int, path: str = "/orders") -> list[str]:
    async with aiohttp.ClientSession() as session:
        answers = []
        for _ in range(count):
            async with session.get(gateway.url + path) as response:
                assert response.status == 200
                answers.append((await response.json())["instance"])
        return answers


async def test_ten_to_one_exactly_and_the_warning_weight_after(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    heavy, light = start_instance("heavy"), start_instance("light")
    register(dev_consul, "orders", heavy, weights=(10, 2))
    register(dev_consul, "orders", light, weights=(1, 1))
    dev_consul.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}]})
    gateway = start_gateway(dev_consul.environment)

    answers = await _answers(gateway, 1100)
    assert Counter(answers) == {"heavy": 1000, "light": 100}
    assert not any(first == second == "light" for first, second in pairwise(answers))

    dev_consul.admin.set_check("check:heavy", "warning")
    await eventually(lambda: _weight(gateway, "heavy") == 2)
    await _answers(gateway, 3)  # one round after the change, the shares are exact again
    assert Counter(await _answers(gateway, 300)) == {"heavy": 200, "light": 100}


async def test_two_backends_share_by_weight_and_an_empty_one_gives_its_share_away(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    stable, canary = start_instance("stable"), start_instance("canary")
    register(dev_consul, "orders", stable)
    register(dev_consul, "orders-canary", canary)
    dev_consul.admin.put(
        "gateway/routes/orders",
        {"backends": [{"service": "orders", "weight": 9}, {"service": "orders-canary", "weight": 1}]},
    )
    gateway = start_gateway(dev_consul.environment)
    assert Counter(await _answers(gateway, 100)) == {"stable": 90, "canary": 10}
    dev_consul.admin.set_check("check:canary", "critical")
    await eventually(lambda: _weight(gateway, "canary") == 0)
    assert Counter(await _answers(gateway, 20)) == {"stable": 20}


async def test_a_canary_by_tag_and_metadata(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance
) -> None:
    for name, tags, region in (
        ("stable-1", ["stable"], "eu"),
        ("stable-2", ["stable"], "us"),
        ("canary-eu", ["canary", "next"], "eu"),
        ("canary-us", ["canary", "next"], "us"),
    ):
        port = start_instance(name).port
        dev_consul.admin.register("orders", port, id=name, tags=tags, meta={"region": region})
    backends = [
        {"service": "orders", "weight": 95, "tags": ["stable"]},
        {"service": "orders", "weight": 5, "tags": ["canary", "next"], "meta": {"region": "eu"}},
    ]
    dev_consul.admin.put("gateway/routes/orders", {"backends": backends})
    gateway = start_gateway(dev_consul.environment)
    assert Counter(await _answers(gateway, 200)) == {"stable-1": 95, "stable-2": 95, "canary-eu": 10}


def _weight(gateway: GatewayProcess, instance: str) -> int:
    for service in gateway.admin("/v1/services")["services"]:
        for row in service["instances"]:
            if row["service_id"] == instance:
                weight: int = row["weight"]
                return weight
    return -1
