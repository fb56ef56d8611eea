"""`require` on routes in a real Consul: who is let in by the claims of a token, and what a denial leaves behind."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
from pydantic import JsonValue

from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.tokens import key_of, public, token

KEY = key_of("P-256")
ADMINS = '"admin" in claims.roles'
ROUTE = {
    "backends": [{"service": "orders"}],
    "auth": {"jwt": {"jwks": {"keys": [public(KEY, kid="k1")]}, "audiences": ["orders"]}},
    "require": ADMINS,
}


async def _ask(gateway: GatewayProcess, path: str = "/", **claims: JsonValue) -> tuple[int, dict[str, str]]:
    """Status and answer, for a token with these claims."""
    said = {"aud": "orders", "sub": "alice", "exp": int(time.time()) + 300, **claims}
    headers = {"Authorization": f"Bearer {token('ES256', KEY, said)}"}
    async with aiohttp.ClientSession() as session, session.get(gateway.url + path, headers=headers) as response:
        return response.status, await response.json(content_type=None)


def _failures(gateway: GatewayProcess) -> float:
    return gateway.metric("gateway_predicate_errors_total", route="orders", where="require")


async def test_roles(
    dev_consul: ConsulAgent,
    start_gateway: StartGateway,
    start_instance: StartInstance,
    register: Callable[..., str],
    tmp_path: Path,
) -> None:
    register(dev_consul, "orders", start_instance("orders"))
    put = dev_consul.admin.put
    put("gateway/routes/orders", ROUTE)
    access = tmp_path / "access.log"
    gateway = start_gateway(dev_consul.environment, access_log=access)

    assert (await _ask(gateway, roles=["billing", "admin"]))[0] == 200
    status, denied = await _ask(gateway, roles=["billing"])
    assert status == 403
    assert denied["type"] == "urn:alims-gateway:problem:forbidden"
    assert denied.keys() == {"type", "title", "status", "request_id"}
    status, failed = await _ask(gateway)
    assert (status, failed["type"]) == (403, denied["type"])
    assert _failures(gateway) == 1, "to be false is no failure"
    assert gateway.metric("gateway_refusals_total", reason="forbidden") == 2

    await eventually(lambda: failed["request_id"] in access.read_text())
    lines = {line["request_id"]: line for line in map(json.loads, access.read_text().splitlines())}
    assert lines[denied["request_id"]]["detail"] == "require is false"
    assert lines[failed["request_id"]]["detail"] == "require fails: there is no roles"
    assert lines[failed["request_id"]]["identity"] == "jwt:alice"

    put("gateway/routes/orders", {**ROUTE, "require": f"has(claims.roles) && {ADMINS} || route.name == 'x'"})
    await eventually(lambda: "has(claims.roles)" in gateway.text("/v1/routes"))
    assert (await _ask(gateway))[0] == 403
    assert _failures(gateway) == 1, "the edited predicate asks first"

    put("gateway/routes/orders", {**ROUTE, "require": '"admin" in clams.roles'})
    await eventually(lambda: gateway.metric("gateway_keys_rejected") == 1)
    (rejected,) = gateway.admin("/v1/routes")["rejections"]
    assert rejected["field"] == "require"
    assert rejected["reason"].endswith("unknown name clams; did you mean claims?")
    assert (await _ask(gateway, roles=["admin"]))[0] == 200, "the last good predicate stays in force"
    assert (await _ask(gateway, roles=["billing"]))[0] == 403


async def test_defaults_require_of_every_route_that_does_not_say_otherwise(
    dev_consul: ConsulAgent, start_gateway: StartGateway, start_instance: StartInstance, register: Callable[..., str]
) -> None:
    register(dev_consul, "orders", start_instance("orders"))
    dev_consul.admin.put("gateway/defaults", {"route": {"auth": ROUTE["auth"], "require": ADMINS}})
    routes: dict[str, dict[str, object]] = {
        "closed": {},
        "open": {"require": "true"},
        "nobody": {"auth": {"none": True}},
    }
    for name, document in routes.items():
        dev_consul.admin.put(
            f"gateway/routes/{name}",
            {"match": {"path_prefix": f"/{name}"}, "backends": ROUTE["backends"], **document},
        )
    gateway = start_gateway(dev_consul.environment)
    assert (await _ask(gateway, "/closed", roles=["admin"]))[0] == 200
    assert (await _ask(gateway, "/closed", roles=[]))[0] == 403
    assert (await _ask(gateway, "/open"))[0] == 200
    assert (await _ask(gateway, "/nobody", roles=["admin"]))[0] == 403, "what nobody verified is no claim"
