"""Answers that a real Consul cannot be made to give, from a fake agent on a real socket: nothing of it takes routes
or instances away."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from gateway.discovery.service import DiscoveryOptions
from gateway.discovery.view import ViewState
from tests.support.discovery import Running, discovering, eventually
from tests.support.fake_consul import Asked, answer, fake_consul, never

OPTIONS = DiscoveryOptions("test", register=False, write_status=False, grace=1)


def instance(service_id: str, **more: object) -> dict[str, object]:
    return {
        "Node": {"Node": "n", "Address": "10.0.0.1", "Datacenter": "dc1"},
        "Service": {"ID": service_id, "Service": "orders", "Port": 80} | more,
        "Checks": [],
    }


class World:
    """A Consul that works until a test replaces its answers. Queries are parked until `bump`."""

    def __init__(self) -> None:
        self.index = 10
        self.instances: list[object] = [instance("o1"), instance("o2")]
        self.routes = {"orders": b'{"backends": [{"service": "orders"}]}'}
        self.health: Callable[[Asked], bytes | None] | None = None
        self.kv: Callable[[Asked], bytes | None] | None = None
        self.leader: Callable[[], bytes | None] = lambda: answer('"10.0.0.1:8300"')
        self._bumped = asyncio.Event()

    def bump(self, to: int | None = None) -> None:
        self.index = self.index + 1 if to is None else to
        bumped, self._bumped = self._bumped, asyncio.Event()
        bumped.set()

    async def __call__(self, asked: Asked) -> bytes | None:
        if asked.path == "/v1/status/leader":
            return self.leader()
        if asked.path == "/v1/internal/acl/authorize":
            return answer("ACL support disabled", 401)
        if int(asked.query.get("index", "0")) == self.index:
            await asyncio.wait([asyncio.ensure_future(self._bumped.wait())], timeout=2)
        if asked.path.startswith("/v1/kv/"):
            return self._kv(asked)
        return self.health(asked) if self.health else answer(json.dumps(self.instances), index=self.index)

    def _kv(self, asked: Asked) -> bytes | None:
        if self.kv:
            return self.kv(asked)
        if asked.path != "/v1/kv/gateway/routes/":
            return answer("", 404, index=self.index)
        rows = [
            {"Key": f"gateway/routes/{name}", "Value": base64.b64encode(raw).decode(), "ModifyIndex": 10}
            for name, raw in self.routes.items()
        ]
        return answer(json.dumps(rows), index=self.index)


async def settle(running: Running) -> None:
    assert set(running.sink.held["orders"]) == {"o1", "o2"}
    await eventually(lambda: all(view.state == "live" for view in running.discovery.views()))


@pytest.mark.parametrize(
    "sent",
    [
        answer("No cluster leader", 500),
        answer("too many", 429),
        answer("denied", 403),
        answer("", 301, headers={"Location": "http://127.0.0.1:1/"}),
        answer("[{", index=11),
        answer("{}", index=11),
        answer(b"\xff\xfe", index=11),
        answer("[" * 50_000, index=11),
        b"\x00\x01garbage\r\n\r\n",
        None,
    ],
    ids=["500", "429", "403", "301", "cut json", "object", "bytes", "deep", "no http", "closed"],
)
@pytest.mark.parametrize("part", ["health", "kv"])
async def test_what_is_no_answer_takes_nothing_away(part: str, sent: bytes | None) -> None:
    world = World()
    async with fake_consul(world) as fake, discovering(fake.settings, OPTIONS) as running:
        await settle(running)
        setattr(world, part, lambda _asked: sent)
        world.bump()
        name = "service:orders" if part == "health" else "routes"
        view = await running.view_until(name, lambda view: view.state in {"stale", "denied"})
        assert view.error
        await asyncio.sleep(0.2)
        assert set(running.sink.held["orders"]) == {"o1", "o2"}
        assert set(running.sink.table) == {"orders"}
        setattr(world, part, None)
        await running.state(name, "live", within=8)


@pytest.mark.parametrize("index", ["0", "abc", "-1", None, "99999999999999999999999"])
async def test_an_odd_index_is_none_and_does_not_make_a_storm(index: str | None) -> None:
    world = World()
    world.health = lambda _asked: answer(json.dumps(world.instances), index=index)
    async with fake_consul(world) as fake, discovering(fake.settings, OPTIONS) as running:
        await asyncio.sleep(0.5)
        asked = [one for one in fake.asked if one.path == "/v1/health/service/orders"]
        # the first, and two that the strict bucket permits
        assert 1 <= len(asked) <= 4
        assert all("index" not in one.query for one in asked)
        assert running.view("service:orders").throttled >= 1
        assert set(running.sink.held["orders"]) == {"o1", "o2"}


async def test_an_index_that_falls_is_followed_down_and_what_is_missing_is_held_a_while() -> None:
    world = World()
    async with fake_consul(world) as fake, discovering(fake.settings, OPTIONS) as running:
        await settle(running)
        del world.instances[0]
        world.bump(to=3)
        view = await running.state("service:orders", "doubted")
        assert view.index == 3
        assert set(running.sink.held["orders"]) == {"o1", "o2"}
        await running.sink.until(lambda: set(running.sink.held["orders"]) == {"o2"}, within=4)
        queries = [one.query.get("index") for one in fake.asked if one.path == "/v1/health/service/orders"]
        assert None in queries[1:]
        assert queries[-1] in {"3", None}


@pytest.mark.parametrize(
    "headers", [{"X-Consul-KnownLeader": "false"}, {"X-Consul-LastContact": "60000"}], ids=["no leader", "old"]
)
async def test_an_empty_answer_of_a_lonely_server_is_held(headers: dict[str, str]) -> None:
    world = World()
    async with fake_consul(world) as fake, discovering(fake.settings, OPTIONS) as running:
        await settle(running)
        world.health = lambda _asked: answer("[]", index=world.index, headers=headers)
        world.bump()
        await running.state("service:orders", "doubted")
        assert set(running.sink.held["orders"]) == {"o1", "o2"}


async def test_an_empty_answer_of_a_healthy_watch_is_believed_at_once() -> None:
    world = World()
    async with fake_consul(world) as fake, discovering(fake.settings, OPTIONS) as running:
        await settle(running)
        world.instances.clear()
        world.bump()
        await running.sink.until(lambda: running.sink.held["orders"] == {}, within=0.5)


async def test_what_the_header_says_was_filtered_is_denied_not_gone() -> None:
    world = World()
    async with fake_consul(world) as fake, discovering(fake.settings, OPTIONS) as running:
        await settle(running)
        handler = world.__call__

        async def without_an_authority(asked: Asked) -> bytes | None:
            return answer("", 404) if asked.path.endswith("/authorize") else await handler(asked)

        fake.handler = without_an_authority
        headers = {"X-Consul-Results-Filtered-By-ACLs": "true"}
        world.health = lambda _asked: answer("[]", index=world.index, headers=headers)
        world.bump()
        await running.state("service:orders", "denied")
        await asyncio.sleep(1.2)
        assert set(running.sink.held["orders"]) == {"o1", "o2"}


async def test_a_half_open_connection_is_noticed_by_the_lighthouse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.discovery.lighthouse.CALM", 0.2)
    monkeypatch.setattr("gateway.discovery.lighthouse.PATIENCE", 0.3)
    world = World()
    async with fake_consul(world) as fake:
        settings = replace(fake.settings, wait=300.0)
        async with discovering(settings, OPTIONS) as running:
            await settle(running)
            fake.handler = never
            view = await running.state("service:orders", "stale")
            assert "did not answer" in (view.error or "")
            fake.handler = world
            world.instances.append(instance("o3"))
            # the query that was parked before never returns; it is asked anew
            await running.sink.until(lambda: set(running.sink.held["orders"]) == {"o1", "o2", "o3"})
            await running.state("service:orders", "live")


async def test_a_bad_entry_is_counted_and_the_good_ones_serve() -> None:
    world = World()
    world.instances += [{"Node": None}, instance("o4", Port=0), instance("o5", Address="169.254.169.254")]
    async with fake_consul(world) as fake, discovering(fake.settings, OPTIONS) as running:
        assert set(running.sink.held["orders"]) == {"o1", "o2"}
        assert running.view("service:orders").left_out == 3


async def test_output_that_churns_is_not_passed_on() -> None:
    world = World()
    async with fake_consul(world) as fake, discovering(fake.settings, OPTIONS) as running:
        await settle(running)
        calls = running.sink.calls
        for number in range(2):
            world.instances = [
                {**instance(name), "Checks": [{"CheckID": "c", "Status": "passing", "Output": f"{number}"}]}
                for name in ("o1", "o2")
            ]
            wakeups = running.view("service:orders").wakeups
            world.bump()
            await running.view_until("service:orders", partial(_woke_after, wakeups))
        assert running.sink.calls == calls
        assert running.view("service:orders").empty_wakeups == 2


def _woke_after(wakeups: int, view: ViewState) -> bool:
    return view.wakeups > wakeups


async def test_very_many_routes_one_of_them_bad_and_one_of_half_a_megabyte() -> None:
    world = World()
    world.routes = {f"r{n}": b'{"backends": [{"service": "orders"}]}' for n in range(10_000)}
    world.routes["bad"] = b"{"
    world.routes["huge"] = b'{"backends": [{"service": "' + b"x" * 512_000 + b'"}]}'
    async with fake_consul(world) as fake, discovering(fake.settings, OPTIONS) as running:
        assert len(running.sink.table) == 10_000
        assert {rejection.key for rejection in running.discovery.rejections()} == {
            "gateway/routes/bad",
            "gateway/routes/huge",
        }
