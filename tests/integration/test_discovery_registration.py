"""What the gateway itself has in a real Consul: its registration and its status key."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.discovery import registration, verdicts
from gateway.discovery.service import DiscoveryOptions
from tests.support.consul import ConsulAgent
from tests.support.discovery import Running, discovering, eventually

OPTIONS = DiscoveryOptions(
    "gw-1",
    register_address="127.0.0.1",
    register_port=8080,
    register_tags=("edge",),
    version="1.2.3",
    check_ttl=3,
)
KEY = "gateway/status/gw-1"


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "RENEW", 0.5)
    monkeypatch.setattr(verdicts, "INTERVAL", 0.05)
    monkeypatch.setattr(verdicts, "TRY_AGAIN", 0.5)


def statuses(consul: ConsulAgent) -> set[str]:
    return {status for instance in consul.admin.health("gateway") for status in instance.statuses.values()}


async def test_registers_with_a_passing_check_and_leaves(dev_consul: ConsulAgent) -> None:
    async with discovering(dev_consul, OPTIONS) as running:
        await running.discovery.register()
        (instance,) = dev_consul.admin.health("gateway")
        assert (instance.service_id, instance.address, instance.port) == ("gw-1", "127.0.0.1", 8080)
        assert instance.weights == (1, 1)
        assert statuses(dev_consul) == {"passing"}
        # the check outlives its time to live, because it is kept up
        await asyncio.sleep(OPTIONS.check_ttl * 1.3)
        assert statuses(dev_consul) == {"passing"}
        await running.discovery.deregister()
        assert dev_consul.admin.health("gateway") == []
        await asyncio.sleep(OPTIONS.check_ttl / 2)
        assert dev_consul.admin.health("gateway") == []


async def test_is_critical_until_ready(dev_consul: ConsulAgent) -> None:
    async with discovering(dev_consul, OPTIONS, ready=False) as running:
        running.discovery._ready.clear()
        await running.discovery.register()
        await running.discovery.ready()
        await eventually(lambda: statuses(dev_consul) == {"passing"})


async def test_registers_again_when_the_agent_forgot(dev_consul: ConsulAgent) -> None:
    async with discovering(dev_consul, OPTIONS) as running:
        await running.discovery.register()
        await asyncio.to_thread(dev_consul.restart)
        await eventually(lambda: len(dev_consul.admin.health("gateway")) == 1, within=10)
        await eventually(lambda: statuses(dev_consul) == {"passing"})


async def test_an_http_check_where_it_is_asked_for(dev_consul: ConsulAgent) -> None:
    identity = registration.Identity("gw-2", "gateway", 8080, check_url="http://127.0.0.1:9/readyz")
    async with discovering(dev_consul, OPTIONS) as running:
        await running.client.register_service(identity.definition(ready=True))
        assert await running.client.agent_has_service("gw-2")
        assert not await running.client.agent_has_service("gw-3")


async def status(consul: ConsulAgent) -> dict[str, object]:
    await eventually(lambda: consul.admin.get(KEY) is not None)
    entry = consul.admin.get(KEY)
    assert entry is not None
    found: dict[str, object] = json.loads(entry.value)
    return found


async def test_status_tells_the_verdicts_and_goes_with_the_gateway(dev_consul: ConsulAgent) -> None:
    dev_consul.admin.put("gateway/routes/good", {"backends": [{"service": "orders"}]})
    async with discovering(dev_consul, OPTIONS) as running:
        first = await status(dev_consul)
        assert (first["gateway"], first["version"], first["routes"], first["rejected"]) == ("gw-1", "1.2.3", 1, 0)
        dev_consul.admin.put("gateway/routes/bad", '{"backends":\n [{"service": 3}]}')
        entry = dev_consul.admin.get("gateway/routes/bad")
        assert entry is not None

        def told() -> bool:
            written = dev_consul.admin.get(KEY)
            return written is not None and json.loads(written.value)["rejected"] == 1

        await eventually(told)
        (rejection,) = (await status(dev_consul))["rejections"]  # type: ignore[misc]
        assert rejection["key"] == "gateway/routes/bad"  # type: ignore[has-type]
        assert rejection["line"] == 2  # type: ignore[has-type]
        assert rejection["field"] == "backends[0].service"  # type: ignore[has-type]
        assert rejection["modify_index"] == entry.modify_index  # type: ignore[has-type]
        dev_consul.admin.put("gateway/routes/good", {"backends": [{"service": "users"}]})
        await eventually(lambda: running.sink.table["good"].backends[0].service == "users")
        await eventually(lambda: _table(dev_consul) != first["table"])
        assert _is_done(running, "status")
    assert dev_consul.admin.get(KEY) is None


def _table(consul: ConsulAgent) -> object:
    entry = consul.admin.get(KEY)
    return entry and json.loads(entry.value)["table"]


async def test_status_goes_with_its_session_and_is_written_again(dev_consul: ConsulAgent) -> None:
    async with discovering(dev_consul, OPTIONS):
        await status(dev_consul)
        sessions = dev_consul.admin.read("session/list")
        assert isinstance(sessions, list)
        (session,) = [item["ID"] for item in sessions]
        dev_consul.admin.call("PUT", f"session/destroy/{session}")
        assert dev_consul.admin.get(KEY) is None
        await status(dev_consul)


async def test_our_last_run_still_holds_the_key(dev_consul: ConsulAgent) -> None:
    session = json.loads(dev_consul.admin.call("PUT", "session/create", {"Behavior": "delete", "LockDelay": "0s"}))
    dev_consul.admin.call("PUT", f"kv/{KEY}", b"{}", acquire=session["ID"])
    async with discovering(dev_consul, OPTIONS) as running:
        await eventually(lambda: _error(running, "status") is not None)
        dev_consul.admin.call("PUT", f"session/destroy/{session['ID']}")
        assert (await status(dev_consul))["gateway"] == "gw-1"


async def test_a_token_that_may_only_read_costs_only_registration_and_status(acl_consul: ConsulAgent) -> None:
    admin = acl_consul.admin
    admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}]})
    rules = """
        key_prefix "gateway/" { policy = "read" }
        service_prefix "" { policy = "read" }
        node_prefix "" { policy = "read" }
    """
    admin.create_policy("read", rules)
    token = admin.create_token("read")
    async with discovering(acl_consul, OPTIONS, token=token.secret) as running:
        await running.discovery.register()
        await eventually(lambda: _error(running, "status") is not None)
        assert "403" in str(_error(running, "status"))
        assert "403" in str(_error(running, "registration"))
        assert set(running.sink.table) == {"orders"}
        assert running.view("routes").state == "live"


def _error(running: Running, duty: str) -> str | None:
    return {state.name: state.error for state in running.discovery.duties()}[duty]


def _is_done(running: Running, duty: str) -> bool:
    return {state.name: state.done for state in running.discovery.duties()}[duty]
