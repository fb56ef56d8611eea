"""Requests that say where they may go, on a real Consul: by region, role, claim, cookie and header; and fallbacks."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp
import pytest
from pydantic import JsonValue

from gateway.journal.properties import Property
from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.consul.admin import ttl_check
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.tokens import key_of, public, token

KEY = key_of("P-256")
Register = Callable[..., None]


@pytest.fixture
def registered(dev_consul: ConsulAgent, start_instance: StartInstance) -> Register:
    """`registered("orders", "eu-1", tags=["canary"], region="eu")`: an instance, or that one with other metadata."""
    started: dict[str, int] = {}

    def registered(service: str, name: str, tags: tuple[str, ...] = (), **meta: str) -> None:
        if name not in started:
            started[name] = start_instance(name).port
        dev_consul.admin.register(
            service,
            started[name],
            id=name,
            tags=tags,
            meta=meta,
            checks=[ttl_check(f"check:{name}", status="passing")],
        )

    return registered


async def answer(
    gateway: GatewayProcess, path: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None
) -> str:
    """Who answered, or the reason of the refusal."""
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.request(method, gateway.url + path, headers=headers) as response,
    ):
        told = await response.json(content_type=None)
        return str(told["instance"]) if response.status == 200 else str(told["type"].rsplit(":", 1)[-1])


async def answers(gateway: GatewayProcess, count: int, **asked: object) -> Counter[str]:
    return Counter([await answer(gateway, **asked) for _ in range(count)])  # type: ignore[arg-type]


def metadata(gateway: GatewayProcess, instance: str) -> Mapping[str, str]:
    services = gateway.admin("/v1/services")["services"]
    return next(
        (dict(each["meta"]) for service in services for each in service["instances"] if each["service_id"] == instance),
        {},
    )


async def test_the_nearest_region_and_what_a_change_of_metadata_does(
    dev_consul: ConsulAgent, start_gateway: StartGateway, registered: Register, tmp_path: Path
) -> None:
    for name, region in (("eu-1", "eu"), ("eu-2", "eu"), ("us-1", "us")):
        registered("orders", name, region=region)
    put = dev_consul.admin.put
    near = 'instance.meta.region == request.headers["x-region"]'
    put(
        "gateway/routes/near",
        {"match": {"path_prefix": "/near"}, "backends": [{"service": "orders", "instances": near}]},
    )
    backend = {"service": "orders", "instances": near, "otherwise": "any"}
    put("gateway/routes/any", {"match": {"path_prefix": "/any"}, "backends": [backend]})
    rather = {"service": "orders", "prefer": near}
    put("gateway/routes/rather", {"match": {"path_prefix": "/rather"}, "backends": [rather]})
    access = tmp_path / "access.log"
    gateway = start_gateway(dev_consul.environment, access_log=access)

    eu, us, jp = ({"X-Region": region} for region in ("eu", "us", "jp"))
    assert await answers(gateway, 10, path="/near", headers=eu) == {"eu-1": 5, "eu-2": 5}
    assert await answers(gateway, 3, path="/near", headers=us) == {"us-1": 3}
    assert await answer(gateway, "/near", headers=jp) == "no_healthy_instance"
    assert await answer(gateway, "/near") == "no_healthy_instance", "an absent header excludes all"
    assert gateway.metric("gateway_predicate_errors_total", route="near", where="instances") == 3
    why = "no instance for which a backend's instances holds may be picked"
    await eventually(lambda: access.read_text().count(why) == 2)
    for path in ("/any", "/rather"):
        assert await answers(gateway, 4, path=path, headers=us) == {"us-1": 4}
        assert len(await answers(gateway, 6, path=path, headers=jp)) == 3

    dev_consul.admin.set_check("check:us-1", "critical")
    await eventually(lambda: "critical" in gateway.text("/v1/services"))
    assert await answer(gateway, "/near", headers=us) == "no_healthy_instance"
    assert await answers(gateway, 4, path="/any", headers=us) == {"eu-1": 2, "eu-2": 2}
    assert await answers(gateway, 4, path="/rather", headers=us) == {"eu-1": 2, "eu-2": 2}

    registered("orders", "eu-2", region="jp")
    await eventually(lambda: metadata(gateway, "eu-2") == {"region": "jp"})
    assert await answers(gateway, 4, path="/near", headers=eu) == {"eu-1": 4}
    assert await answers(gateway, 4, path="/near", headers=jp) == {"eu-2": 4}


async def test_reads_go_to_replicas_and_writes_to_the_primary(
    dev_consul: ConsulAgent, start_gateway: StartGateway, registered: Register
) -> None:
    registered("store", "primary", role="primary")
    registered("store", "replica-1", role="replica")
    registered("store", "replica-2", role="replica")
    dev_consul.admin.put(
        "gateway/routes/store",
        b"""
backends:
  - service: store
    instances: |
      instance.meta.role == (request.method in ["GET", "HEAD"] ? "replica" : "primary")
    otherwise: any
""",
    )
    gateway = start_gateway(dev_consul.environment)
    assert await answers(gateway, 6) == {"replica-1": 3, "replica-2": 3}
    assert await answers(gateway, 3, method="POST") == {"primary": 3}
    for name in ("replica-1", "replica-2"):
        dev_consul.admin.set_check(f"check:{name}", "critical")
    await eventually(lambda: gateway.text("/v1/services").count('"critical"') == 2)
    assert await answers(gateway, 3) == {"primary": 3}


async def test_a_canary_for_five_percent_of_one_tenant_and_instances_by_claim(
    dev_consul: ConsulAgent, start_gateway: StartGateway, registered: Register
) -> None:
    registered("orders", "stable", tags=("stable",), tier="tin")
    registered("orders", "canary", tags=("canary",), tier="gold")
    put = dev_consul.admin.put
    put(
        "gateway/routes/acme",
        {
            "match": {"headers": {"x-tenant": "acme"}},
            "backends": [
                {"service": "orders", "weight": 95, "tags": ["stable"]},
                {"service": "orders", "weight": 5, "tags": ["canary"]},
            ],
        },
    )
    put("gateway/routes/rest", {"backends": [{"service": "orders", "tags": ["stable"]}]})
    put(
        "gateway/routes/tiers",
        {
            "match": {"path_prefix": "/tiers"},
            "auth": {"jwt": {"jwks": {"keys": [public(KEY, kid="k1")]}, "audiences": ["orders"]}},
            "backends": [{"service": "orders", "instances": "instance.meta.tier == claims.tier"}],
        },
    )
    gateway = start_gateway(dev_consul.environment)
    assert await answers(gateway, 200, headers={"X-Tenant": "acme"}) == {"stable": 190, "canary": 10}
    assert await answers(gateway, 20) == {"stable": 20}
    for tier, instance in (("gold", "canary"), ("tin", "stable"), ("lead", "no_healthy_instance")):
        claims: Mapping[str, JsonValue] = {"aud": "orders", "sub": "a", "exp": int(time.time()) + 300, "tier": tier}
        bearer = {"Authorization": f"Bearer {token('ES256', KEY, claims)}"}
        assert await answers(gateway, 3, path="/tiers", headers=bearer) == {instance: 3}


async def test_a_sticky_cookie_keeps_its_client_until_the_instance_is_gone(
    dev_consul: ConsulAgent, start_gateway: StartGateway, registered: Register
) -> None:
    for name in ("a", "b", "c"):
        registered("orders", name)
    dev_consul.admin.put("gateway/routes/orders", {"sticky": {"cookie": "at"}, "backends": [{"service": "orders"}]})
    key = {"sticky_key": "sixteen characters"}
    gateway = start_gateway(dev_consul.environment, **key)

    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:

        async def ask(of: GatewayProcess) -> tuple[str, str | None]:
            async with client.get(of.url) as response:
                return (await response.json())["instance"], response.headers.get("Set-Cookie")

        first, told = await ask(gateway)
        assert told is not None
        assert told.startswith("at=")
        for _ in range(6):
            assert await ask(gateway) == (first, None)
        assert set(await answers(gateway, 6)) == {"a", "b", "c"}, "others are shared out as ever"

        other = start_gateway(dev_consul.environment, **key)
        assert await ask(other) == (first, None), "a gateway with the same key takes the cookie"
        stranger = start_gateway(dev_consul.environment)
        moved = {(await ask(stranger))[1] is not None for _ in range(3)}
        assert True in moved, "one with another key does not"

        first, _ = await ask(gateway)
        dev_consul.admin.set_check(f"check:{first}", "critical")
        await eventually(lambda: "critical" in gateway.text("/v1/services"))
        second, told = await ask(gateway)
        assert second != first
        assert told is not None
        assert await ask(gateway) == (second, None)


async def test_a_sticky_header_and_a_fallback_with_the_journal_and_the_monitor_on(
    dev_consul: ConsulAgent, start_gateway: StartGateway, registered: Register, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        registered("orders", name)
    registered("spare", "spare")
    dev_consul.admin.put(
        "gateway/routes/orders",
        {
            "sticky": {"header": "x-session"},
            "backends": [
                {"service": "orders", "instances": 'instance.id != request.headers["x-not"] || true'},
                {"service": "spare", "fallback": True},
            ],
        },
    )
    journal = tmp_path / "journal"
    gateway = start_gateway(dev_consul.environment, journal=journal)
    seen = {}
    for number in range(30):
        (seen[number],) = await answers(gateway, 3, headers={"X-Session": f"s{number}"})
    assert set(seen.values()) == {"a", "b", "c"}
    dev_consul.admin.set_check("check:c", "critical")
    await eventually(lambda: "critical" in gateway.text("/v1/services"))
    for number, before in seen.items():
        after = await answer(gateway, headers={"X-Session": f"s{number}"})
        assert after == before if before != "c" else after in {"a", "b"}
    for name in ("a", "b"):
        dev_consul.admin.set_check(f"check:{name}", "critical")
    await eventually(lambda: gateway.text("/v1/services").count('"critical"') == 3)
    assert await answers(gateway, 3) == {"spare": 3}

    for name in Property:
        assert gateway.metric("gateway_monitor_violations_total", property=name) == 0
    gateway.stop()
    told = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "replay", "--quiet", journal], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert b"x-session" not in journal.read_bytes()
    assert b'"s7"' not in journal.read_bytes()


async def test_a_sticky_cookie_of_the_defaults(
    dev_consul: ConsulAgent, start_gateway: StartGateway, registered: Register
) -> None:
    for name in ("a", "b"):
        registered("orders", name)
    dev_consul.admin.put("gateway/defaults", {"route": {"sticky": {"cookie": "at"}}})
    for name, own in (("plain", {}), ("none", {"sticky": {"none": True}})):
        route = {"match": {"path_prefix": f"/{name}"}, "backends": [{"service": "orders"}], **own}
        dev_consul.admin.put(f"gateway/routes/{name}", route)
    gateway = start_gateway(dev_consul.environment)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        served: dict[str, set[str]] = {"/none": set(), "/plain": set()}
        for path, seen in served.items():
            for _ in range(4):
                async with session.get(gateway.url + path) as response:
                    seen.add((await response.json())["instance"])
    assert {path: len(seen) for path, seen in served.items()} == {"/none": 2, "/plain": 1}
