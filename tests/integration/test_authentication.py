"""Who may send requests: a real Consul, an issuer of tokens, a gateway, and an instance that tells what it saw."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.integration.conftest import StartGateway
from tests.support.consul import ConsulAgent, ttl_check
from tests.support.gateway_process import GatewayProcess, eventually
from tests.support.serving import serving
from tests.support.tokens import encoded, key_of, key_set, public, signed, token

COMMAND = Path(sys.executable).with_name("gateway")
OLD, NEW = key_of("P-256"), key_of("RSA", 2)
OLD_SET = key_set(public(OLD, kid="old"))


def claims(**changed: object) -> dict[str, object]:
    return {"iss": "https://issuer.test", "aud": "orders", "sub": "alice", "exp": int(time.time()) + 300, **changed}


class Issuer:
    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 200
        self.keys = OLD_SET
        self.asked = 0


@dataclass(frozen=True)
class Seen:
    """What came of a request, and of what the instance got of it."""

    status: int
    answer: dict[str, object]
    answer_headers: dict[str, str]
    headers: dict[str, str]
    target: str


class World:
    def __init__(self, consul: ConsulAgent, gateway: GatewayProcess, issuer: Issuer) -> None:
        self.consul = consul
        self.gateway = gateway
        self.issuer = issuer

    async def route(self, name: str, auth: object, **policies: object) -> None:
        """Written and in force."""
        document = {"match": {"path_prefix": f"/{name}"}, "backends": [{"service": "echo"}], "auth": auth, **policies}
        self.consul.admin.put(f"gateway/routes/{name}", document)
        await eventually(lambda: any(route["name"] == name for route in self.gateway.admin("/v1/routes")["routes"]))

    async def ask(self, target: str, *headers: tuple[str, str]) -> Seen:
        async with aiohttp.ClientSession() as session, session.get(self.gateway.url + target, headers=headers) as got:
            answer = await got.json(content_type=None)
            headers_seen, target_seen = (answer["headers"], answer["target"]) if got.status == 200 else ({}, "")
            return Seen(got.status, answer, dict(got.headers), headers_seen, target_seen)

    def cli(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "CONSUL_"))}
        return subprocess.run(
            [COMMAND, "credentials", *arguments],
            input=stdin,
            env=kept | dict(self.consul.environment),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    async def until_status(self, status: int, target: str, *headers: tuple[str, str]) -> Seen:
        async with asyncio.timeout(10):
            while (seen := await self.ask(target, *headers)).status != status:
                pass
        return seen


@pytest.fixture
async def world(dev_consul: ConsulAgent, start_gateway: StartGateway, tmp_path: Path) -> AsyncIterator[World]:
    issuer = Issuer("")

    async def keys(_: web.BaseRequest) -> web.Response:
        issuer.asked += 1
        return web.Response(body=issuer.keys, status=issuer.status)

    async def echo(request: web.BaseRequest) -> web.Response:
        headers = {name.lower(): ",".join(request.headers.getall(name)) for name in request.headers}
        return web.json_response({"headers": headers, "target": request.path_qs})

    async with serving(keys) as issuing, serving(echo) as instance:
        issuer.url = f"http://127.0.0.1:{issuing}/jwks"
        dev_consul.admin.register("echo", instance, id="echo", checks=[ttl_check("check:echo", status="passing")])
        # Processes are waited for in a thread: the instance is in this loop.
        gateway = await asyncio.to_thread(
            start_gateway, dev_consul.environment, access_log=tmp_path / "access.log", journal=tmp_path / "journal"
        )
        yield World(dev_consul, gateway, issuer)


def bearer(given: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {given}")


async def test_tokens(world: World, tmp_path: Path) -> None:
    jwt = {
        "jwks_url": world.issuer.url, "allow_http": True, "min_refresh": "1s", "issuer": "https://issuer.test",
        "audiences": ["orders"], "headers": {"x-user": "sub"},
    }  # fmt: skip
    await world.route("orders", {"jwt": jwt})
    good = token("ES256", OLD, claims(), "old")
    seen = await world.ask("/orders?a=1", bearer(good), ("X-User", "root"), ("X_User", "root"))
    assert seen.status == 200
    assert seen.headers["x-user"] == "alice"
    assert not seen.headers.keys() & {"authorization", "x_user"}
    assert seen.target == "/orders?a=1"

    seen = await world.ask("/orders")
    assert seen.status == 401
    assert seen.answer["type"] == "urn:alims-gateway:problem:unauthenticated"
    assert seen.answer_headers["Content-Type"] == "application/problem+json"
    assert seen.answer_headers["WWW-Authenticate"] == 'Bearer realm="gateway"'
    expired = token("ES256", OLD, claims(exp=1), "old")
    seen = await world.ask("/orders", bearer(expired))
    assert seen.status == 401
    assert "detail" not in seen.answer

    world.issuer.keys = key_set(public(NEW, kid="new"))
    assert (await world.ask("/orders", bearer(good))).status == 200, "known keys go on"
    rotated = token("PS256", NEW, claims(sub="bob"), "new")
    seen = await world.until_status(200, "/orders", bearer(rotated))
    assert seen.headers["x-user"] == "bob"
    assert (await world.ask("/orders", bearer(good))).status == 401, "the issuer has withdrawn its key"
    world.issuer.status = 503
    assert (await world.ask("/orders", bearer(rotated))).status == 200

    access = tmp_path / "access.log"
    await eventually(lambda: "expired (exp)" in access.read_text())
    lines = [json.loads(line) for line in access.read_text().splitlines()]
    assert "the token is refused: expired (exp)" in {line.get("detail") for line in lines}
    assert {"jwt:alice", "jwt:bob"} <= {line.get("identity") for line in lines}
    assert world.gateway.metric("gateway_refusals_total", reason="unauthenticated") >= 3
    written = (
        world.gateway.log
        + access.read_text()
        + "".join(path.read_text() for path in tmp_path.glob("journal*") if path.is_file())
    )
    assert not [given for given in (good, expired, rotated) if given in written]


async def test_api_keys(world: World) -> None:
    await world.route(
        "keys", {"api_key": {"header": "X-Api-Key", "headers": {"x-owner": "owner", "x-scopes": "scope"}}}
    )
    await world.route("write", {"api_key": {"query": "key", "scopes": ["write"]}})
    made = await asyncio.to_thread(world.cli, "create", "acme-1", "--owner", "acme", "--scope", "read")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert key not in made.stderr

    seen = await world.until_status(200, "/keys", ("x-api-key", key), ("x-owner", "root"))
    assert (seen.headers["x-owner"], seen.headers["x-scopes"]) == ("acme", "read")
    assert "x-api-key" not in seen.headers
    assert (await world.ask("/keys", ("x-api-key", key + "x"))).status == 401
    seen = await world.ask(f"/write?key={key}")
    assert (seen.status, seen.answer["type"]) == (403, "urn:alims-gateway:problem:forbidden")

    again = await asyncio.to_thread(world.cli, "create", "acme-1")
    assert again.returncode == 1
    assert "there is a key gateway/credentials/acme-1 already" in again.stderr
    listed = await asyncio.to_thread(world.cli, "list", "--json")
    assert json.loads(listed.stdout) == [
        {"id": "acme-1", "kind": "api_key", "owner": "acme", "scopes": "read", "expires": "", "verdict": "accepted"}
    ]
    world.consul.admin.put("gateway/credentials/bad", {"kind": "api_key", "sha256": "secret?"})
    await eventually(lambda: "gateway/credentials/bad" in world.gateway.text("/v1/routes"))
    assert (await world.ask("/keys", ("x-api-key", key))).status == 200

    revoked = await asyncio.to_thread(world.cli, "revoke", "acme-1")
    assert revoked.returncode == 0, revoked.stderr
    await world.until_status(401, "/keys", ("x-api-key", key))
    assert key not in world.gateway.log


def attacks() -> dict[str, tuple[str, str]]:
    """A token of each kind that somebody may try, and what the log has to say of it."""
    head, body, signature = token("RS256", NEW, claims(), "new").split(".")
    none = encoded(b'{"alg":"none","kid":"new"}')
    confused = f"{encoded(json.dumps({'alg': 'HS256', 'kid': 'new'}).encode())}.{body}"
    secret = NEW.as_bytes("PEM", private=False)  # type: ignore[union-attr] # of an RSA key
    twice = json.dumps(claims()).encode()[:-1] + b',"sub":"root"}'
    two_kids = b'{"alg":"RS256","kid":"other","kid":"new"}'
    unknown = "no key is known that goes with its kid and alg"
    return {
        "alg none": (f"{none}.{body}.", "no algorithm that is known"),
        "alg none, with a signature": (f"{none}.{body}.{signature}", "no algorithm that is known"),
        "HS with the public key": (
            f"{confused}.{encoded(hmac.digest(secret, confused.encode(), 'sha256'))}",
            unknown,
        ),
        "a path as kid": (token("RS256", NEW, claims(), "../../../../dev/null"), unknown),
        "SQL as kid": (token("RS256", NEW, claims(), "' UNION SELECT 'secret' --"), unknown),
        "two kids": (signed(two_kids, json.dumps(claims()).encode(), "RS256", NEW), "each member once"),
        "somebody else's key": (token("RS256", key_of("RSA", 3), claims(), "new"), "its signature is wrong"),
        "expired": (token("RS256", NEW, claims(exp=1), "new"), "expired (exp)"),
        "not valid yet": (token("RS256", NEW, claims(nbf=int(time.time()) + 100), "new"), "not valid yet (nbf)"),
        "another audience": (token("RS256", NEW, claims(aud="users"), "new"), "for another audience (aud)"),
        "another issuer": (token("RS256", NEW, claims(iss="https://evil.test"), "new"), "of another issuer (iss)"),
        "oversized": (token("RS256", NEW, claims(more="x" * 2000), "new"), "longer than 2048 bytes"),
        "claims twice": (signed(b'{"alg":"RS256","kid":"new"}', twice, "RS256", NEW), "each member once"),
        "nothing of it": (f"{head}.{body}", "the token is refused"),
    }


async def test_tokens_that_somebody_made_up(world: World, tmp_path: Path) -> None:
    keys = json.loads(key_set(public(NEW, kid="new")))
    jwt = {"jwks": keys, "issuer": "https://issuer.test", "audiences": ["orders"], "max_size": "2KiB"}
    await world.route("orders", {"jwt": jwt})
    assert (await world.ask("/orders", bearer(token("RS256", NEW, claims(), "new")))).status == 200
    wanted = {}
    for name, (given, reason) in attacks().items():
        seen = await world.ask("/orders", bearer(given))
        assert seen.status == 401, name
        assert seen.answer.keys() == {"type", "title", "status", "request_id"}, name
        assert seen.answer_headers["WWW-Authenticate"] == 'Bearer realm="gateway", error="invalid_token"'
        wanted[seen.answer["request_id"]] = reason
    seen = await world.ask("/orders", bearer(token("RS256", NEW, claims(more="x" * 9000), "new")))
    assert seen.status == 431, "longer than any header may be"
    access = tmp_path / "access.log"
    await eventually(lambda: len(access.read_text().splitlines()) == len(wanted) + 2)
    *lines, last = [json.loads(line) for line in access.read_text().splitlines()[1:]]
    assert last["reason"] == "headers_too_large"
    told = {line["request_id"]: line["detail"] for line in lines}
    assert {id_: reason for id_, reason in wanted.items() if reason not in told[id_]} == {}


async def test_whom_two_issuers_call_the_same_are_counted_apart(world: World, tmp_path: Path) -> None:
    ours, theirs = claims(), claims(iss="https://partner.test")
    auth = {"jwt": {"jwks": json.loads(OLD_SET), "issuer": [ours["iss"], theirs["iss"]], "audiences": ["orders"]}}
    await world.route("both", auth, limits={"rate": "2/d by credential"}, require='identity.owner == "alice"')
    taken = [(await world.ask("/both", bearer(token("ES256", OLD, theirs, "old")))).status for _ in range(3)]
    assert taken == [200, 200, 429]
    assert (await world.ask("/both", bearer(token("ES256", OLD, ours, "old")))).status == 200

    await world.route("claim", auth, limits={"rate": "1/d by claim tenant"})
    asked = [("acme", 200), ("acme", 429), ("bolt", 200)]
    for tenant, status in asked:
        given = token("ES256", OLD, {**ours, "tenant": tenant}, "old")
        assert (await world.ask("/claim", bearer(given))).status == status

    await eventually(lambda: len((tmp_path / "access.log").read_text().splitlines()) == 7)
    lines = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert {line["identity"] for line in lines} == {"jwt:alice"}
    assert [line["issuer"] for line in lines] == ["https://partner.test"] * 3 + ["https://issuer.test"] * 4


async def test_keys_and_secrets_in_files(world: World, tmp_path: Path) -> None:
    keys, secret = tmp_path / "jwks.json", tmp_path / "secret"
    keys.write_bytes(OLD_SET)
    secret.write_bytes(bytes([1]) * 64)
    shared = key_of("oct")
    await world.route("keys", {"jwt": {"jwks_file": str(keys), "audiences": ["orders"]}})
    await world.route("secret", {"jwt": {"secret_file": str(secret), "audiences": ["orders"], "cookie": "token"}})
    old, new = bearer(token("ES256", OLD, claims(), "old")), bearer(token("RS256", NEW, claims(), "new"))
    await world.until_status(200, "/keys", old)
    assert (await world.ask("/keys", new)).status == 401
    keys.write_bytes(key_set(public(NEW, kid="new")))
    await world.until_status(200, "/keys", new)
    assert (await world.ask("/keys", old)).status == 401

    cookie = ("Cookie", f"a=b; token={token('HS256', shared, claims(), None)}")
    seen = await world.until_status(200, "/secret", cookie)
    assert seen.headers["cookie"] == "a=b"
    assert (
        await world.ask("/secret", ("Cookie", f"token={token('HS256', key_of('oct', 2), claims(), None)}"))
    ).status == 401


async def test_basic_and_several_at_once(world: World) -> None:
    await world.route("any", {"any": [{"basic": {"headers": {"x-user": "sub"}}}, {"api_key": {"header": "x-api-key"}}]})
    await world.route("all", {"all": [{"api_key": {"header": "x-api-key"}}, {"basic": {"forward": True}}]})
    made = await asyncio.to_thread(world.cli, "create", "alice", "--basic", stdin="wonderland\n")
    assert (made.returncode, made.stdout) == (0, "")
    key = (await asyncio.to_thread(world.cli, "create", "acme")).stdout.strip()
    alice = ("Authorization", aiohttp.encode_basic_auth("alice", "wonderland"))
    seen = await world.until_status(200, "/any", alice)
    assert seen.headers["x-user"] == "alice"
    assert "authorization" not in seen.headers
    seen = await world.until_status(200, "/any", ("x-api-key", key))
    assert "x-user" not in seen.headers
    mallory = ("Authorization", aiohttp.encode_basic_auth("alice", "looking-glass"))
    assert (await world.ask("/any", mallory)).status == 401
    assert (await world.ask("/all", alice)).status == 401
    assert (await world.ask("/all", ("x-api-key", key))).status == 401
    seen = await world.ask("/all", alice, ("x-api-key", key))
    assert seen.status == 200
    assert seen.headers["authorization"] == alice[1]


async def test_defaults_ask_on_every_route_that_does_not_say_otherwise(world: World) -> None:
    world.consul.admin.put("gateway/defaults", {"route": {"auth": {"api_key": {"header": "x-api-key"}}}})
    await world.route("open", {"none": True})
    world.consul.admin.put(
        "gateway/routes/closed", {"match": {"path_prefix": "/closed"}, "backends": [{"service": "echo"}]}
    )
    await world.until_status(401, "/closed")
    assert (await world.ask("/open")).status == 200
