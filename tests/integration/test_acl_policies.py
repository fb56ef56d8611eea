"""The ACL policies for operators are enough for all that a gateway does."""

from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import StartConsul
from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import Options, Role
from tests.support.gateway_process import eventually

_POLICIES = Path(__file__).parents[2] / "consul" / "policies"


@pytest.mark.parametrize(
    ("mode", "prefix", "service"), [("edge", "gateway", "gateway"), ("sidecar",) * 2 + ("gateway-sidecar",)]
)
async def test_a_gateway_needs_no_more(
    mode: str,
    prefix: str,
    service: str,
    start_consul: StartConsul,
    start_gateway: StartGateway,
    start_instance: StartInstance,
    register: Callable[..., str],
) -> None:
    agent = start_consul(Options(role=Role.SERVER, acl=True))
    register(agent, "orders", start_instance("a"))
    agent.admin.put(f"{prefix}/routes/orders", {"backends": [{"service": "orders"}]})
    agent.admin.create_policy("least", (_POLICIES / f"{mode}.hcl").read_text())
    secret = agent.admin.create_token("least").secret
    gateway = start_gateway(
        {**agent.environment, "CONSUL_HTTP_TOKEN": secret}, mode=mode, prefix=prefix, service=service, id="gw-1"
    )
    async with aiohttp.ClientSession() as session, session.get(gateway.url) as response:
        assert response.status == 200
    await eventually(lambda: gateway.admin("/v1/consul")["registration"]["done"])
    await eventually(lambda: gateway.admin("/v1/consul")["status"]["done"])
    assert agent.admin.get(f"{prefix}/status/gw-1") is not None
    assert [row.service_id for row in agent.admin.health(service)] == ["gw-1"]
    assert {view["state"] for view in gateway.admin("/v1/consul")["views"]} == {"live"}
    assert "not known yet" not in gateway.log
