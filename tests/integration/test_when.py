"""`when` on routes in a real Consul: by tenant, by the hour, by a path's suffix; and what its failures leave behind."""

from collections.abc import Callable
from datetime import UTC, datetime

import aiohttp

from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess, eventually

TENANT = """
match: {path_prefix: /orders}
when: |
  has(request.headers.`x-tenant`)
    && request.headers.`x-tenant` == "acme"
    && !request.path.endsWith(".php")
backends: [{service: tenant}]
"""


async def _instance(gateway: GatewayProcess, path: str, **headers: str) -> str:
    """Who answered, or the reason of the refusal."""
    async with aiohttp.ClientSession() as session:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with session.get(gateway.url + path, headers=named) as response:
            answer = await response.json()
            return str(answer["instance"]) if response.status == 200 else str(answer["type"].rsplit(":", 1)[-1])


def _when(gateway: GatewayProcess, name: str) -> object:
    (route,) = (route for route in gateway.admin("/v1/routes")["routes"] if route["name"] == name)
    return route["document"]["when"]


def _at_noon(hours: str) -> str:
    """A predicate of business hours, in an offset where it is noon now."""
    offset = 12 - datetime.now(UTC).hour
    zone = f"{'-' if offset < 0 else '+'}{abs(offset):02}:00"
    return f"request.time.getHours('{zone}') {hours} && request.time.getDayOfWeek('{zone}') in [0, 1, 2, 3, 4, 5, 6]"


async def test_tenant_business_hours_and_suffix(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    for name in ("tenant", "everyone", "office", "night"):
        register(dev_consul, name, start_instance(name))
    put = dev_consul.admin.put
    put("gateway/routes/tenant", TENANT.encode())
    put("gateway/routes/everyone", {"match": {"path_prefix": "/orders"}, "backends": [{"service": "everyone"}]})
    for service, hours in (("office", ">= 9"), ("night", "< 9")):
        put(
            f"gateway/routes/{service}",
            {"match": {"path_prefix": "/desk"}, "when": _at_noon(hours), "backends": [{"service": service}]},
        )
    gateway = start_gateway(dev_consul.environment)

    assert await _instance(gateway, "/orders/1", x_tenant="acme") == "tenant"
    assert await _instance(gateway, "/orders/1", x_tenant="other") == "everyone"
    assert await _instance(gateway, "/orders/1") == "everyone"
    assert await _instance(gateway, "/orders/index.php", x_tenant="acme") == "everyone"
    assert await _instance(gateway, "/desk") == "office"

    closed = {"match": {"path_prefix": "/desk"}, "when": "false", "backends": [{"service": "office"}]}
    put("gateway/routes/office", closed)
    await eventually(lambda: _when(gateway, "office") == "false")
    assert await _instance(gateway, "/desk") == "no_route"


async def test_failures_are_counted_and_a_bad_predicate_leaves_the_last_good_one(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    register(dev_consul, "orders", start_instance("orders"))
    route = {"when": 'request.headers["x-tier"] == "gold"', "backends": [{"service": "orders"}]}
    dev_consul.admin.put("gateway/routes/orders", route)
    gateway = start_gateway(dev_consul.environment)
    assert await _instance(gateway, "/", x_tier="gold") == "orders"
    assert await _instance(gateway, "/", x_tier="tin") == "no_route"
    assert await _instance(gateway, "/") == "no_route", "an absent header is an error, and an error is no match"
    assert gateway.metric("gateway_predicate_errors_total", route="orders", where="when") == 1

    dev_consul.admin.put("gateway/routes/orders", {**route, "when": "true &&\n  reqest.path == '/'"})
    await eventually(lambda: gateway.metric("gateway_keys_rejected") == 1)
    (rejected,) = gateway.admin("/v1/routes")["rejections"]
    assert rejected["field"] == "when"
    assert rejected["reason"].endswith("unknown name reqest; did you mean request?")
    assert await _instance(gateway, "/", x_tier="gold") == "orders"
