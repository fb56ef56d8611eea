"""The files under consul/ that operators copy: agents start with them, policies allow what is needed and no more."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import pytest

from tests.support.consul import Admin, ConsulAgent, ConsulError, ConsulProcess, Options, Role, consul_binary
from tests.support.consul.admin import Json
from tests.support.ports import free_port

CONSUL = Path(__file__).parents[2] / "consul"
POLICIES = sorted((CONSUL / "policies").glob("*.hcl"))
AGENTS = {
    "dev": ["dev.hcl"],
    "server": ["server.hcl"],
    "client": ["client.hcl"],
    "server with ACLs and TLS": ["server.hcl", "acl.hcl", "tls-server.hcl"],
    "client with ACLs and TLS": ["client.hcl", "acl.hcl", "tls-client.hcl"],
}


@pytest.mark.parametrize("files", AGENTS.values(), ids=AGENTS.keys())
def test_agent_configuration_is_valid(files: list[str], tmp_path: Path) -> None:
    bind = tmp_path / "bind.hcl"
    bind.write_text(f'bind_addr = "127.0.0.1"\ndata_dir = "{tmp_path}"\n')
    paths = [str(CONSUL / "agents" / name) for name in files]
    done = subprocess.run(
        [consul_binary(), "validate", *paths, str(bind)], check=False, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "valid" in done.stdout


def test_services_can_be_registered(dev_consul: ConsulAgent) -> None:
    for file in sorted((CONSUL / "services").glob("*.json")):
        subprocess.run(
            [consul_binary(), "services", "register", f"-http-addr={dev_consul.http_addr}", file],
            check=True,
            capture_output=True,
            timeout=20,
        )
    assert dev_consul.admin.services() >= {"orders", "users", "catalog"}
    weights = {row.service_id: row.weights for row in dev_consul.admin.health("orders")}
    assert weights == {"orders-1": (10, 1), "orders-2": (5, 1), "orders-3": (1, 1)}


def test_services_are_agent_configuration() -> None:
    extra = {
        "services": [s for f in (CONSUL / "services").glob("*.json") for s in json.loads(f.read_text())["services"]]
    }
    with ConsulProcess(Options(extra=extra)) as agent:
        assert {"orders-1", "users-2", "catalog-2"} <= set(cast(Mapping[str, Json], agent.admin.read("agent/services")))


@pytest.fixture(scope="module")
def guarded() -> Iterator[ConsulAgent]:
    """A server under ACLs that also guards recursive reads, with every policy of the folder and an orders service."""
    with ConsulProcess(Options(role=Role.SERVER, acl=True, extra={"acl": {"enable_key_list_policy": True}})) as agent:
        for policy in POLICIES:
            agent.admin.create_policy(policy.stem, policy.read_text())
        agent.admin.register("orders", free_port())
        for prefix in ("gateway", "sidecar"):
            agent.admin.put(f"{prefix}/routes/orders", {})
        yield agent


@pytest.fixture
def as_holder_of(guarded: ConsulAgent) -> Callable[[str], Admin]:
    return lambda policy: Admin(guarded.http_addr, guarded.admin.create_token(policy).secret)


def denied(call: Callable[[], object]) -> None:
    with pytest.raises(ConsulError, match="403"):
        call()


@pytest.mark.parametrize(
    ("policy", "service", "prefix", "other"),
    [("edge", "gateway", "gateway", "sidecar"), ("sidecar", "gateway-sidecar", "sidecar", "gateway")],
)
def test_gateway_policy(
    as_holder_of: Callable[[str], Admin], policy: str, service: str, prefix: str, other: str
) -> None:
    gateway = as_holder_of(policy)
    routes = gateway.read(f"kv/{prefix}/", recurse="true")
    assert f"{prefix}/routes/orders" in str(routes)
    assert [row.service_id[:6] for row in gateway.health("orders")] == ["orders"]
    assert {"serfHealth"} <= set(gateway.health("orders")[0].statuses)
    agent = gateway.read("agent/self")
    assert "NodeName" in str(agent)

    gateway.register(service, 8080, id="one")
    gateway.deregister("one")
    session = json.loads(gateway.call("PUT", "session/create", {"Behavior": "delete", "TTL": "10s"}))["ID"]
    assert gateway.call("PUT", f"kv/{prefix}/status/one", b"{}", acquire=session).strip() == b"true"
    gateway.call("PUT", f"session/renew/{session}")
    gateway.call("PUT", f"session/destroy/{session}")

    denied(lambda: gateway.put(f"{prefix}/routes/orders", {}))
    denied(lambda: gateway.put(f"{prefix}/services/orders", {}))
    denied(lambda: gateway.get(f"{other}/routes/orders"))
    denied(lambda: gateway.put(f"{other}/status/one", {}))
    denied(lambda: gateway.register("orders", 9001))
    denied(lambda: gateway.read("acl/tokens"))


def test_operator_policy(as_holder_of: Callable[[str], Admin]) -> None:
    operator = as_holder_of("operator")
    for key in ("gateway/routes/new", "gateway/services/orders", "gateway/defaults", "sidecar/routes/new"):
        operator.put(key, {})
        operator.delete(key)
    assert operator.keys("gateway/") == ["gateway/routes/orders"]
    denied(lambda: operator.put("gateway/status/one", {}))
    denied(lambda: operator.put("elsewhere", {}))
    denied(lambda: operator.register("orders", 9001))
    assert operator.health("orders") == []


def test_seeds_are_accepted() -> None:
    gateway = Path(sys.executable).with_name("gateway")
    done = subprocess.run([gateway, "check", CONSUL / "kv"], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kv/sidecar/routes/orders: fine" in done.stdout
