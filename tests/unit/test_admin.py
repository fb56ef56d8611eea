"""The admin surface: what it shows, when it says ready, and whom it does not answer."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
from pydantic import JsonValue

from gateway.admin.readiness import judge
from gateway.admin.server import ENDPOINTS, AdminServer
from gateway.admin.sources import ConsulStanding, Readiness
from gateway.core.breaker import CircuitState
from gateway.core.model import Backend, CircuitMode, Instance, InstanceKey, Route, ServicePolicy
from gateway.core.views import CircuitView, RouteLoad
from gateway.discovery.documents import Rejection, describe, describe_policy

ONE = Instance(InstanceKey("dc1", "n1", "orders-1"), "orders", "10.0.0.1", 80, weight_passing=10, tags=frozenset("ab"))
CIRCUIT = CircuitView(ONE.key, "orders", CircuitState.OPEN, CircuitMode.ENFORCE, 90.0, 103.5, 5, 2, 1)


@dataclass(frozen=True)
class View:
    name: str = "routes"
    state: str = "live"
    index: int | None = 12
    age: float | None = 1.5
    error: str | None = None
    last_change: float | None = 0.0
    wakeups: int = 3
    empty_wakeups: int = 1
    throttled: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class Duty:
    done: bool
    error: str | None = None


@dataclass(frozen=True)
class Certificate:
    file: str = "/etc/shop.pem"
    names: Sequence[str] = ("shop.test",)
    not_after: float = 0.0
    error: str | None = None


@dataclass
class World:
    ready: Readiness = field(default_factory=lambda: Readiness(True))
    drained: int = 0
    table: list[Route] = field(default_factory=lambda: [Route("orders", 7, (Backend("orders"),))])
    broken: bool = False

    def now(self) -> float:
        return 100.0

    def identity(self) -> Mapping[str, str]:
        return {"id": "gw-1", "mode": "edge", "prefix": "gateway", "version": "0"}

    def routes(self) -> Iterable[Route]:
        if self.broken:
            raise RuntimeError("secret detail")
        return self.table

    def describe_route(self, route: Route) -> Mapping[str, JsonValue]:
        return describe(route)

    def describe_policy(self, policy: ServicePolicy) -> Mapping[str, JsonValue]:
        return describe_policy(policy)

    def policies(self) -> Mapping[str, ServicePolicy]:
        return {"orders": ServicePolicy("orders", version=9, in_flight_per_instance=1)}

    def services(self) -> Mapping[str, Sequence[Instance]]:
        return {"users": (), "orders": (ONE,)}

    async def refresh(self) -> None:
        """All is up to date always."""

    def circuits(self) -> Iterable[CircuitView]:
        return [CIRCUIT]

    def loads(self) -> Iterable[RouteLoad]:
        return [RouteLoad("orders", 2, 5)]

    def views(self) -> Sequence[View]:
        return [View(), View("service:orders", "pending", None, None, "no answer", None)]

    def rejections(self) -> Sequence[Rejection]:
        return [Rejection("gateway/routes/bad", 2, 3, "backends", "is missing", 44)]

    def certificates(self) -> Sequence[Certificate]:
        return [Certificate(), Certificate("/etc/b.pem", error="/etc/b.key: is not the key")]

    def consul(self) -> ConsulStanding:
        return ConsulStanding("http://127.0.0.1:8500", Duty(True), Duty(False, "denied"))

    def readiness(self) -> Readiness:
        return self.ready

    def drain(self) -> None:
        self.drained += 1

    async def metrics(self) -> tuple[bytes, str]:
        return b"gateway_info 1\n", "text/plain; version=0.0.4; charset=utf-8"


@pytest.fixture
def world() -> World:
    return World()


@dataclass
class Client:
    server: AdminServer
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, **headers: str) -> tuple[int, Any, Mapping[str, str]]:
        url = f"http://127.0.0.1:{self.server.port}{path}"
        async with self.session.request(method, url, headers=headers) as answer:
            body = await answer.read()
            parsed = json.loads(body) if "json" in answer.headers["Content-Type"] and body else body
            return answer.status, parsed, answer.headers

    async def get(self, path: str) -> Any:  # noqa: ANN401
        status, body, _ = await self.ask("GET", path)
        assert status == 200
        return body


@pytest.fixture
async def client(world: World) -> AsyncIterator[Client]:
    server = AdminServer(world, "127.0.0.1", 0)
    await server.start()
    async with aiohttp.ClientSession() as session:
        yield Client(server, session)
    await server.stop()


async def test_the_index_lists_every_endpoint_and_each_answers(client: Client) -> None:
    body = await client.get("/")
    assert body["id"] == "gw-1"
    assert body["endpoints"].keys() == ENDPOINTS.keys()
    for path in ENDPOINTS:
        status, _, headers = await client.ask("POST" if path == "/v1/drain" else "GET", path)
        assert status in (200, 202)
        assert headers["Cache-Control"] == "no-store"


async def test_alive_is_not_ready(client: Client, world: World) -> None:
    assert await client.get("/readyz") == {"ready": True, "reasons": []}
    world.ready = Readiness(False, ("draining",))
    assert await client.get("/healthz") == {"alive": True}
    status, body, _ = await client.ask("GET", "/readyz")
    assert (status, body) == (503, {"ready": False, "reasons": ["draining"]})


def test_readiness_names_the_view_that_is_waited_for() -> None:
    pending = View("service:orders", "denied", None, None, "no permission")
    assert judge([View(), pending], started=False, draining=False, max_age=None) == Readiness(
        False, ("view service:orders is denied: no permission",)
    )
    assert not judge([], started=False, draining=False, max_age=None).ready
    assert judge([View()], started=False, draining=False, max_age=None).reasons


def test_a_stale_view_leaves_ready_unless_age_is_to_count() -> None:
    stale = [View(state="stale", age=3600.0)]
    assert judge(stale, started=True, draining=False, max_age=None).ready
    judged = judge(stale, started=True, draining=False, max_age=60.0)
    assert judged == Readiness(False, ("view routes is 3600 s old, more than 60 s",))
    assert judge(stale, started=True, draining=True, max_age=None) == Readiness(False, ("draining",))


async def test_routes_are_shown_with_version_load_and_verdicts(client: Client) -> None:
    body = await client.get("/v1/routes")
    (route,) = body["routes"]
    assert (route["name"], route["version"], route["in_flight"], route["queued"]) == ("orders", 7, 2, 5)
    assert route["document"]["match"] == [{"path_prefix": "/"}]
    assert body["rejections"] == [
        {
            "key": "gateway/routes/bad",
            "line": 2,
            "column": 3,
            "field": "backends",
            "reason": "is missing",
            "modify_index": 44,
        }
    ]


async def test_services_show_health_weight_circuit_and_policy(client: Client) -> None:
    orders, users = (await client.get("/v1/services"))["services"]
    assert (orders["service"], users["service"], users["instances"]) == ("orders", "users", [])
    (instance,) = orders["instances"]
    assert (instance["instance"], instance["health"], instance["weight"]) == ("dc1/n1/orders-1", "passing", 10)
    assert (instance["circuit"], instance["in_flight"], instance["tags"]) == ("open", 1, ["a", "b"])
    assert orders["policy"]["in_flight_per_instance"] == 1
    assert (orders["policy_version"], users["policy_version"]) == (9, None)


async def test_circuits_show_spans_from_now(client: Client) -> None:
    (circuit,) = (await client.get("/v1/circuits"))["circuits"]
    assert (circuit["state"], circuit["mode"]) == ("open", "enforce")
    assert (circuit["in_state_for"], circuit["half_open_in"]) == (10.0, 3.5)


async def test_consul_shows_the_age_of_each_view_and_our_duties(client: Client) -> None:
    body = await client.get("/v1/consul")
    assert body["oldest_age"] == 1.5
    assert [(view["view"], view["state"], view["age"]) for view in body["views"]] == [
        ("routes", "live", 1.5),
        ("service:orders", "pending", None),
    ]
    assert body["views"][0]["last_change"] == "1970-01-01T00:00:00.000+00:00"
    assert body["registration"] == {"done": True, "error": None}
    assert body["status"] == {"done": False, "error": "denied"}


async def test_tls_shows_certificates_and_what_is_wrong_with_their_files(client: Client) -> None:
    first, second = (await client.get("/v1/tls"))["certificates"]
    assert (first["file"], first["names"], first["error"]) == ("/etc/shop.pem", ["shop.test"], None)
    assert first["expires"] == "1970-01-01T00:00:00.000+00:00"
    assert second["error"] == "/etc/b.key: is not the key"


TOKEN = "a token of 16 characters and more"


@pytest.fixture
async def guarded(world: World) -> AsyncIterator[Client]:
    tokens.append(TOKEN)
    server = AdminServer(world, "127.0.0.1", 0, lambda: tokens[-1])
    await server.start()
    async with aiohttp.ClientSession() as session:
        yield Client(server, session)
    await server.stop()
    tokens.clear()


tokens: list[str | None] = []


async def test_with_a_token_all_but_health_asks_for_it(guarded: Client, world: World) -> None:
    for path in ("/", *ENDPOINTS, "/v2"):
        method = "POST" if path == "/v1/drain" else "GET"
        for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"X-Token": TOKEN}):
            status, body, headers = await guarded.ask(method, path, **given)
            if path in ("/healthz", "/readyz"):
                assert status == 200
                continue
            assert (status, body["type"]) == (401, "urn:alims-gateway:problem:unauthenticated")
            assert headers["WWW-Authenticate"] == 'Bearer realm="admin"'
    assert world.drained == 0
    for path in ENDPOINTS:
        method = "POST" if path == "/v1/drain" else "GET"
        status, _, _ = await guarded.ask(method, path, Authorization=f"bearer {TOKEN}")
        assert status in (200, 202)


async def test_the_token_of_the_moment_counts(guarded: Client) -> None:
    assert (await guarded.ask("GET", "/", Authorization=f"Bearer {TOKEN}"))[0] == 200
    tokens.append("another token, just as long")
    assert (await guarded.ask("GET", "/", Authorization=f"Bearer {TOKEN}"))[0] == 401
    tokens.append(None)
    assert (await guarded.ask("GET", "/", Authorization="Bearer None"))[0] == 401
    assert (await guarded.ask("GET", "/", Authorization="Bearer "))[0] == 401


async def test_strangers_are_not_told_why_it_is_not_ready(guarded: Client, world: World) -> None:
    world.ready = Readiness(False, ("view routes is failing: connection refused at 10.0.0.1",))
    status, body, _ = await guarded.ask("GET", "/readyz")
    assert (status, body) == (503, {"ready": False})
    status, body, _ = await guarded.ask("GET", "/readyz", Authorization=f"Bearer {TOKEN}")
    assert (status, len(body["reasons"])) == (503, 1)


async def test_the_guards_of_loopback_hold_with_a_token_too(guarded: Client) -> None:
    status, body, _ = await guarded.ask("GET", "/", Host="evil.example", Authorization=f"Bearer {TOKEN}")
    assert (status, body["type"]) == (403, "urn:alims-gateway:problem:foreign_host")


async def test_metrics_keep_their_content_type(client: Client) -> None:
    _, body, headers = await client.ask("GET", "/metrics")
    assert body == b"gateway_info 1\n"
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")


async def test_drain_is_a_post(client: Client, world: World) -> None:
    status, problem, headers = await client.ask("GET", "/v1/drain")
    assert (status, headers["Allow"], problem["type"]) == (405, "POST", "urn:alims-gateway:problem:method_not_allowed")
    assert world.drained == 0
    status, body, _ = await client.ask("POST", "/v1/drain")
    assert (status, body, world.drained) == (202, {"draining": True}, 1)


async def test_unknown_paths_and_our_own_failures_are_problems(client: Client, world: World) -> None:
    status, problem, headers = await client.ask("GET", "/v2")
    assert (status, problem["status"], headers["Content-Type"]) == (404, 404, "application/problem+json")
    world.broken = True
    status, problem, _ = await client.ask("GET", "/v1/routes")
    assert status == 500
    assert "secret" not in str(problem)


async def test_a_page_cannot_reach_it_by_a_name_of_its_own(client: Client, world: World) -> None:
    for host in ("evil.example", "evil.example:8081", "127.0.0.1.evil.example", ""):
        status, problem, _ = await client.ask("POST", "/v1/drain", Host=host)
        assert (status, problem["type"]) == (403, "urn:alims-gateway:problem:foreign_host")
    for host in ("localhost:1", "127.0.0.1", "[::1]:8081", "127.1.2.3:5"):
        assert (await client.ask("GET", "/healthz", Host=host))[0] == 200
    assert world.drained == 0


async def test_a_page_of_another_origin_cannot_write(client: Client, world: World) -> None:
    status, problem, headers = await client.ask("POST", "/v1/drain", Origin="http://evil.example")
    assert (status, problem["type"]) == (403, "urn:alims-gateway:problem:foreign_origin")
    assert "Access-Control-Allow-Origin" not in headers
    own = f"127.0.0.1:{client.server.port}"
    assert (await client.ask("POST", "/v1/drain", Origin=f"http://{own}"))[0] == 202
    assert world.drained == 1


async def test_a_taken_port_is_an_error_at_start(client: Client, world: World) -> None:
    other = AdminServer(world, "127.0.0.1", client.server.port)
    with pytest.raises(OSError, match="address already in use"):
        await other.start()
    await other.stop()


async def test_a_large_table_is_rendered_off_the_loop(
    client: Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()

    def noted(route: Route) -> Mapping[str, JsonValue]:
        threads.add(threading.get_ident())
        return describe(route)

    monkeypatch.setattr(world, "describe_route", noted)
    world.table = [replace(world.table[0], name=f"route{number}") for number in range(3000)]
    assert len((await client.get("/v1/routes"))["routes"]) == 3000
    assert threads
    assert threading.get_ident() not in threads
