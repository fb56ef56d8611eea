"""Denied is not empty: what a token may no longer read stays in force, and the state says so."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from gateway.discovery import service
from gateway.discovery.consul_settings import ConsulSettings
from gateway.discovery.service import DiscoveryOptions
from tests.support.consul import ConsulAgent, ttl_check
from tests.support.consul.admin import Json, Token
from tests.support.discovery import Running, discovering, eventually

ROUTE: dict[str, Json] = {"match": {"path_prefix": "/orders"}, "backends": [{"service": "orders"}]}
KEYS = 'key_prefix "gateway/" { policy = "read" }'
SERVICES = 'service_prefix "" { policy = "read" }'
NODES = 'node_prefix "" { policy = "read" }'
OPTIONS = DiscoveryOptions("test", register=False, write_status=False, grace=1)
SOON = 5.0


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "RIGHTS_INTERVAL", 0.5)


@pytest.fixture
def token(acl_consul: ConsulAgent) -> Token:
    admin = acl_consul.admin
    admin.put("gateway/routes/orders", ROUTE)
    admin.register("orders", 7001, id="o1", checks=[ttl_check("c1")])
    admin.register("orders", 7002, id="o2", checks=[ttl_check("c2")])
    for name, rules in (("keys", KEYS), ("services", SERVICES), ("nodes", NODES)):
        admin.create_policy(name, rules)
    return admin.create_token("keys", "services", "nodes")


async def test_token_loses_its_kv_policy(acl_consul: ConsulAgent, token: Token) -> None:
    admin = acl_consul.admin
    async with discovering(acl_consul, OPTIONS, token=token.secret) as running:
        admin.set_token_policies(token, "services", "nodes")
        view = await running.state("routes", "denied", within=SOON)
        assert "may not read" in (view.error or "")
        await asyncio.sleep(2 * OPTIONS.grace)
        assert set(running.sink.table) == {"orders"}
        assert running.view("service:orders").state == "live"
        # and a change under the denied prefix does not make it look empty either
        admin.put("gateway/routes/users", ROUTE)
        admin.set_check("c1", "critical")
        await running.sink.until(lambda: running.sink.health("orders")["o1"] == "critical")
        assert set(running.sink.table) == {"orders"}
        admin.set_token_policies(token, "keys", "services", "nodes")
        await running.sink.until(lambda: "users" in running.sink.table, within=15)
        await running.state("routes", "live")


@pytest.mark.parametrize("kept", [("keys", "nodes"), ("keys", "services")], ids=["services", "nodes"])
async def test_token_loses_a_policy_of_the_catalog(
    acl_consul: ConsulAgent, token: Token, kept: tuple[str, str]
) -> None:
    admin = acl_consul.admin
    async with discovering(acl_consul, OPTIONS, token=token.secret) as running:
        admin.set_token_policies(token, *kept)
        admin.set_check("c1", "warning")
        await running.state("service:orders", "denied", within=SOON)
        await asyncio.sleep(2 * OPTIONS.grace)
        assert set(running.sink.held["orders"]) == {"o1", "o2"}
        assert running.view("routes").state == "live"
        admin.set_token_policies(token, "keys", "services", "nodes")
        await running.sink.until(lambda: running.sink.health("orders")["o1"] == "warning", within=15)
        await running.state("service:orders", "live")


async def test_a_service_policy_that_goes_is_noticed_without_any_change(acl_consul: ConsulAgent, token: Token) -> None:
    async with discovering(acl_consul, OPTIONS, token=token.secret) as running:
        acl_consul.admin.set_token_policies(token, "keys", "nodes")
        await running.state("service:orders", "denied", within=SOON)
        assert set(running.sink.held["orders"]) == {"o1", "o2"}


async def test_token_is_deleted(acl_consul: ConsulAgent, token: Token) -> None:
    async with discovering(acl_consul, OPTIONS, token=token.secret) as running:
        calls = running.sink.calls
        acl_consul.admin.delete_token(token)
        acl_consul.admin.set_check("c1", "critical")
        await running.state("routes", "denied", within=SOON)
        view = await running.state("service:orders", "denied", within=SOON)
        assert "403" in (view.error or "")
        await asyncio.sleep(2 * OPTIONS.grace)
        assert set(running.sink.held["orders"]) == {"o1", "o2"}
        assert set(running.sink.table) == {"orders"}
        assert running.sink.calls == calls


async def test_a_service_that_may_never_be_read_does_not_hold_up_the_rest(
    acl_consul: ConsulAgent, token: Token
) -> None:
    admin = acl_consul.admin
    admin.create_policy("orders-only", 'service "orders" { policy = "read" }')
    admin.put("gateway/routes/users", {"backends": [{"service": "users"}]})
    admin.register("users", 7009)
    admin.set_token_policies(token, "keys", "orders-only", "nodes")
    async with discovering(acl_consul, OPTIONS, token=token.secret) as running:
        assert running.view("service:users").state == "denied"
        assert running.view("service:orders").state == "live"


async def test_without_any_right_to_keys_it_never_becomes_ready(acl_consul: ConsulAgent, token: Token) -> None:
    acl_consul.admin.set_token_policies(token, "services", "nodes")
    async with discovering(acl_consul, OPTIONS, token=token.secret, ready=False) as running:
        await running.state("routes", "denied")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running.discovery.ready(), 0.5)


async def test_one_key_of_many_is_hidden(acl_consul: ConsulAgent, token: Token) -> None:
    admin = acl_consul.admin
    admin.put("gateway/routes/users", {"backends": [{"service": "users"}]})
    async with discovering(acl_consul, OPTIONS, token=token.secret) as running:
        admin.create_policy("some-keys", KEYS + '\nkey "gateway/routes/orders" { policy = "deny" }')
        admin.set_token_policies(token, "some-keys", "services", "nodes")
        # Consul answers a parked query by the rights that the token had when it was asked: the second change tells
        for seconds in (3.0, 4.0):
            document: Json = {"backends": [{"service": "users"}], "timeouts": {"request": f"{seconds:g}s"}}
            admin.put("gateway/routes/users", document)
            await running.sink.until(partial(_has_request_timeout, running, seconds))
        assert set(running.sink.table) == {"orders", "users"}
        await running.state("routes", "denied")


async def test_token_file_is_rotated(acl_consul: ConsulAgent, token: Token, tmp_path: Path) -> None:
    admin = acl_consul.admin
    file = tmp_path / "token"
    file.write_text(token.secret + "\n")
    settings = ConsulSettings.from_environment(
        {"CONSUL_HTTP_ADDR": acl_consul.http_addr, "CONSUL_HTTP_TOKEN_FILE": str(file)}
    )
    async with discovering(settings, OPTIONS) as running:
        second = admin.create_token("keys", "services", "nodes")
        replacement = tmp_path / "token.new"
        replacement.write_text(second.secret)
        replacement.replace(file)
        admin.delete_token(token)
        admin.set_check("c1", "critical")
        await running.sink.until(lambda: running.sink.health("orders")["o1"] == "critical", within=SOON)
        await eventually(lambda: all(view.state == "live" for view in running.discovery.views()), within=10)
        assert set(running.sink.table) == {"orders"}


async def test_a_token_file_that_vanishes_leaves_the_last_token(
    acl_consul: ConsulAgent, token: Token, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(token.secret)
    settings = replace(ConsulSettings.from_environment(acl_consul.environment), token=None, token_file=file)
    async with discovering(settings, OPTIONS) as running:
        file.unlink()
        acl_consul.admin.set_check("c1", "critical")
        await running.sink.until(lambda: running.sink.health("orders")["o1"] == "critical")
        assert running.view("service:orders").state == "live"


def _has_request_timeout(running: Running, seconds: float) -> bool:
    return running.sink.table["users"].timeouts.request == seconds
