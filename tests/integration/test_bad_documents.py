"""One bad key harms no other, keeps its last good version in force, and its verdict can be read."""

import json
from collections.abc import Callable

import aiohttp
import pytest

from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess, eventually

GOOD = {"match": {"path_prefix": "/orders"}, "backends": [{"service": "orders"}]}
BAD = '{\n  "match": {"path_prefix": "/orders"},\n  "backend": [{"service": "orders"}]\n}'


async def _status(gateway: GatewayProcess, path: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(gateway.url + path) as response:
        return response.status


def _rejected(gateway: GatewayProcess) -> list[dict[str, object]]:
    rejected: list[dict[str, object]] = gateway.admin("/v1/routes")["rejections"]
    return rejected


async def test_a_bad_route_among_good_ones_then_mended(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    register(dev_consul, "orders", start_instance("a"))
    dev_consul.admin.put("gateway/routes/orders", GOOD)
    dev_consul.admin.put("gateway/routes/users", {"match": {"path_prefix": "/users"}, "backends": GOOD["backends"]})
    gateway = start_gateway(dev_consul.environment, id="gw-1")
    dev_consul.admin.put("gateway/routes/orders", BAD)
    await eventually(lambda: len(_rejected(gateway)) == 1)
    (verdict,) = _rejected(gateway)
    assert verdict["key"] == "gateway/routes/orders"
    assert verdict["line"] == 3
    assert verdict["field"] == "backend"
    assert await _status(gateway, "/orders") == 200, "its last good version stays in force"
    assert await _status(gateway, "/users") == 200

    def in_status() -> bool:
        entry = dev_consul.admin.get("gateway/status/gw-1")
        return entry is not None and json.loads(entry.value)["rejections"] == [verdict]

    await eventually(in_status, what="the verdict is in KV")
    mended = {"match": {"path_prefix": "/orders/v2"}, "backends": GOOD["backends"]}
    dev_consul.admin.put("gateway/routes/orders", mended)
    await eventually(lambda: not _rejected(gateway))
    assert await _status(gateway, "/orders") == 404
    assert await _status(gateway, "/orders/v2") == 200


@pytest.mark.parametrize("first", ["bad", "good"])
async def test_a_bad_service_policy(
    first: str,
    dev_consul: ConsulAgent,
    start_gateway: StartGateway,
    start_instance: StartInstance,
    register: Callable[..., str],
) -> None:
    register(dev_consul, "orders", start_instance("a"))
    dev_consul.admin.put("gateway/routes/orders", GOOD)
    if first == "good":
        dev_consul.admin.put("gateway/services/orders", {"in_flight_per_instance": 7})
    gateway = start_gateway(dev_consul.environment)
    dev_consul.admin.put("gateway/services/orders", {"in_flight_per_instance": -1})
    await eventually(lambda: len(_rejected(gateway)) == 1)
    assert _rejected(gateway)[0]["field"] == "in_flight_per_instance"
    policy = next(row for row in gateway.admin("/v1/services")["services"] if row["service"] == "orders")["policy"]
    assert policy["in_flight_per_instance"] == (7 if first == "good" else 0)
    assert await _status(gateway, "/orders") == 200


async def test_a_route_to_the_gateway_itself_is_rejected(dev_consul: ConsulAgent, start_gateway: StartGateway) -> None:
    dev_consul.admin.put("gateway/routes/self", {"backends": [{"service": "gateway"}]})
    gateway = start_gateway(dev_consul.environment)
    assert [row["field"] for row in _rejected(gateway)] == ["backends[0].service"]
