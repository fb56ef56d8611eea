"""Keys that change: fetched beside the requests, kept while the issuer is away, never asked for too often."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from joserfc.jwk import OctKey

from gateway.core.authentication import Jwt, KeySetFile, KeySetUrl, SecretFile
from gateway.core.jwk import MAX_KEYS
from gateway.core.model import Route
from gateway.pipeline.authentication.key_sets import MAX_SIZE
from gateway.pipeline.authentication.keys import BadKeySet, ring_of_public_set, ring_of_secret, ring_of_set
from tests.support.tokens import key_of, key_set, public, token
from tests.support.virtual_time import settle
from tests.unit.authentication_support import World, bearer, refused

OLD, NEW = key_of("P-256"), key_of("P-256", 2)
OLD_SET, NEW_SET = key_set(public(OLD, kid="old")), key_set(public(NEW, kid="new"))
SOURCE = KeySetUrl("https://issuer.test/jwks", refresh=300, min_refresh=10, stale=86400)
CLAIMS = {"exp": 4_000_000_000, "sub": "alice"}
WITH_OLD, WITH_NEW = (bearer(token("ES256", key, CLAIMS, kid)) for key, kid in ((OLD, "old"), (NEW, "new")))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World(OLD_SET)
    yield world
    await world.authenticators.close()


@pytest.fixture
async def route(world: World) -> Route:
    route = world.route(Jwt(SOURCE))
    world.authenticators.follow([route])
    await settle()
    return route


async def passes(world: World, route: Route, given: tuple[str, str]) -> bool:
    return (await world.ask(route, given))[0] is None


async def test_a_key_rotated_while_the_issuer_is_down(world: World, route: Route) -> None:
    assert await passes(world, route, WITH_OLD)
    world.issuer.body = None
    for _ in range(10):
        await world.time.pass_by(60)
        assert await passes(world, route, WITH_OLD), "known keys go on"
        assert not await passes(world, route, WITH_NEW)
    world.issuer.body = NEW_SET
    await world.time.pass_by(SOURCE.refresh)
    assert await passes(world, route, WITH_NEW), "without any request that asks for it"
    assert not await passes(world, route, WITH_OLD), (
        "what the issuer withdrew is no longer taken, verified before or not"
    )


async def test_the_first_token_with_a_new_key_fetches_it(world: World, route: Route) -> None:
    world.issuer.body = NEW_SET
    await world.time.pass_by(11)
    asked = world.issuer.asked
    assert await passes(world, route, WITH_NEW)
    assert world.issuer.asked == asked + 1


async def test_invented_keys_cost_the_issuer_one_request_in_min_refresh(world: World, route: Route) -> None:
    asked = world.issuer.asked
    for second in range(100):
        await asyncio.gather(
            *(passes(world, route, bearer(token("ES256", NEW, CLAIMS, f"{second}-{number}"))) for number in range(3))
        )
        await world.time.pass_by(1)
    assert world.issuer.asked - asked == 10


async def test_one_fetch_serves_all_who_wait_and_whose_key_is_known_does_not_wait(world: World, route: Route) -> None:
    world.issuer.body = key_set(public(OLD, kid="old"), public(NEW, kid="new"))
    world.issuer.gate = asyncio.Event()
    asked = world.issuer.asked
    waiting = [asyncio.create_task(world.ask(route, WITH_NEW)) for _ in range(20)]
    await settle()
    assert await passes(world, route, WITH_OLD)
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()
    await settle()
    world.issuer.gate.set()
    done = await asyncio.gather(*waiting[1:])
    assert all(answer is None for answer, _ in done), "a client that leaves takes nobody's fetch away"
    assert world.issuer.asked == asked + 1


async def test_a_known_key_that_does_not_fit_is_no_reason_to_fetch(world: World, route: Route) -> None:
    asked = world.issuer.asked
    assert not await passes(world, route, bearer(token("RS256", key_of("RSA"), CLAIMS, "old")))
    assert world.issuer.asked == asked


async def test_known_keys_end_when_they_are_stale(world: World, route: Route) -> None:
    assert await passes(world, route, WITH_OLD)
    world.issuer.body = None
    await world.time.pass_by(SOURCE.stale - 300)
    assert await passes(world, route, WITH_OLD)
    await world.time.pass_by(600)
    answer, _ = await world.ask(route, WITH_OLD)
    assert refused(answer) == "the token is refused: no keys are known"
    world.issuer.body = OLD_SET
    await world.time.pass_by(SOURCE.refresh)
    assert await passes(world, route, WITH_OLD)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b"[" * 10000])
async def test_nonsense_takes_no_known_key_away(world: World, route: Route, body: bytes) -> None:
    world.issuer.body = body
    await world.time.pass_by(2 * SOURCE.refresh)
    assert await passes(world, route, WITH_OLD)


async def test_failing_fetches_are_spaced_out_and_then_as_often_as_ever(world: World, route: Route) -> None:
    world.issuer.body = None
    asked = world.issuer.asked
    await world.time.pass_by(3600)
    assert 12 <= world.issuer.asked - asked <= 20


async def test_after_a_recovery_the_next_failure_is_soon_followed_up(world: World, route: Route) -> None:
    world.issuer.body = None
    await world.time.pass_by(3600)
    world.issuer.body = OLD_SET
    await world.time.pass_by(SOURCE.refresh)
    world.issuer.body = None
    asked = world.issuer.asked
    await world.time.pass_by(2 * SOURCE.refresh)
    assert world.issuer.asked - asked >= 4


async def test_what_one_policy_verified_another_verifies_anew(world: World) -> None:
    lax, strict = world.route(Jwt(SOURCE)), world.route(Jwt(SOURCE, required_claims=("email",)))
    world.authenticators.follow([lax, strict])
    await settle()
    assert await passes(world, lax, WITH_OLD)
    assert not await passes(world, strict, WITH_OLD)
    assert await passes(world, lax, WITH_OLD)


async def test_a_source_is_fetched_once_for_all_its_routes_and_no_longer_than_there_are_any(world: World) -> None:
    routes = [world.route(Jwt(SOURCE)), world.route(Jwt(SOURCE, leeway=1))]
    for _ in range(3):
        world.authenticators.follow(routes)
    await settle()
    assert world.issuer.asked == 1
    assert await passes(world, routes[0], WITH_OLD)
    world.authenticators.follow([])
    await world.time.pass_by(3600)
    assert world.issuer.asked == 1
    assert await passes(world, routes[0], WITH_OLD), "a request of a route that is gone finishes with what there was"


async def test_a_request_before_the_first_fetch_waits_for_it(world: World) -> None:
    world.issuer.gate = asyncio.Event()
    route = world.route(Jwt(SOURCE))
    world.authenticators.follow([route])
    waiting = asyncio.create_task(world.ask(route, WITH_OLD))
    await settle()
    assert not waiting.done()
    world.issuer.gate.set()
    assert (await waiting)[0] is None
    assert world.issuer.asked == 1


async def until_read() -> None:
    """Files are read in threads, whose end virtual time does not know."""
    await asyncio.get_running_loop().run_in_executor(None, int)
    for _ in range(3):
        await asyncio.to_thread(int)
        await settle()


async def test_a_file_is_read_again(world: World, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(OLD_SET)
    route = world.route(Jwt(KeySetFile(str(file))))
    world.authenticators.follow([route])
    assert await passes(world, route, WITH_OLD)
    file.write_bytes(NEW_SET)
    await world.time.pass_by(10)
    assert await passes(world, route, WITH_NEW)
    file.unlink()
    await world.time.pass_by(60)
    await until_read()
    assert await passes(world, route, WITH_NEW)


async def test_a_file_that_is_too_large_is_not_taken(world: World, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(OLD_SET + b" " * MAX_SIZE)
    assert not await passes(world, world.route(Jwt(KeySetFile(str(file)))), WITH_OLD)
    file.write_bytes(OLD_SET + b" " * (MAX_SIZE - len(OLD_SET)))
    assert await passes(world, world.route(Jwt(KeySetFile(str(file)))), WITH_OLD)


async def test_a_pipe_is_no_file(world: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "jwks.json")
    assert not await passes(world, world.route(Jwt(KeySetFile(str(tmp_path / "jwks.json")))), WITH_OLD)


@pytest.mark.parametrize(
    ("algorithm", "length", "good"), [("HS256", 32, True), ("HS256", 31, False), ("HS512", 32, False)]
)
async def test_a_shared_secret_in_a_file(world: World, tmp_path: Path, algorithm: str, length: int, good: bool) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"s" * length + b"\n")
    route = world.route(Jwt(SecretFile(str(file))))
    for kid in (None, "whatever the signer calls it"):
        given = bearer(token(algorithm, OctKey.import_key(b"s" * length), CLAIMS, kid))
        assert await passes(world, route, given) is good


def test_bad_keys_of_a_set_are_left_out_alone() -> None:
    short = {"kty": "RSA", "n": "sQ", "e": "AQAB"}
    others = [
        short, 1, {"kty": "RSA"}, {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "secp256k1"},
        public(key_of("oct")), {**public(NEW), "use": "enc"}, {**public(NEW), "key_ops": ["sign"]},
        {**public(NEW), "alg": "RS256"}, {**public(NEW), "alg": ["ES256"]}, {**public(NEW), "kty": ["EC"]},
         {**public(NEW), "kid": 1}, NEW.as_dict(private=True), {"kty": "X"}, {},
    ]  # fmt: skip
    ring = ring_of_public_set(json.dumps({"keys": [*others, public(OLD, kid="old")]}).encode())
    assert len(ring) == 1
    assert len(ring.left_out) == len(others)
    assert ring.left_out[0] == "key 0: an RSA key of 8 bits is too short, 2048 are needed"
    assert not any("sQ" in told for told in ring.left_out)


def test_sets_that_nothing_is_taken_of() -> None:
    with pytest.raises(BadKeySet, match="no usable key; key 0: it is a private key"):
        ring_of_set(key_set(NEW.as_dict(private=True)))
    with pytest.raises(BadKeySet, match="shared secret"):
        ring_of_public_set(key_set(public(key_of("oct"))))
    with pytest.raises(BadKeySet, match=f"more than {MAX_KEYS}"):
        ring_of_set(key_set(*[public(OLD)] * (MAX_KEYS + 1)))
    with pytest.raises(BadKeySet, match="at least 32 bytes"):
        ring_of_secret(b"s" * 31)
    with pytest.raises(BadKeySet):
        ring_of_secret(OLD.as_pem())  # type: ignore[union-attr] # of a key on a curve
    assert len(ring_of_set(key_set(public(key_of("oct"))))) == 1
