"""API keys and users with passwords, alone and combined with others."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import scrypt
from threading import Event

import pytest

from gateway.core.authentication import (
    ApiKey,
    Basic,
    Credential,
    Jwt,
    KeyHash,
    KeySetText,
    PasswordHash,
    Place,
    PlaceKind,
)
from gateway.core.model import Reason
from gateway.discovery.documents import hashed_key, hashed_password, new_key
from gateway.discovery.documents.credential_document import password_hash
from gateway.pipeline.authentication import passwords
from gateway.pipeline.authentication.passwords import MAX_WAITING
from gateway.pipeline.authentication.verified import Verified
from gateway.pipeline.stage import Identity
from tests.support.tokens import NOW, key_of, key_set, public, token
from tests.unit.authentication_support import World, bearer, refused, sent

KEY, OTHER_KEY = new_key(), new_key()
IN_HEADER = ApiKey(Place(PlaceKind.HEADER, "x-api-key"))
IN_QUERY = ApiKey(Place(PlaceKind.QUERY, "key"))
CHEAP = PasswordHash(b"salt", scrypt(b"wonderland", salt=b"salt", n=1 << 4, r=8, p=1), log_n=4, p=1)


def api_key(key: str = KEY, expires: float | None = None, owner: str = "acme") -> Credential:
    hashed = KeyHash(bytes.fromhex(hashed_key(key)))
    return Credential("acme-1", 1, hashed, owner, frozenset({"read", "list"}), expires)


def user(expires: float | None = None) -> Credential:
    return Credential("alice", 1, CHEAP, "", frozenset({"read"}), expires)


def basic(text: str, scheme: str = "Basic") -> tuple[str, str]:
    return ("Authorization", f"{scheme} {base64.b64encode(text.encode()).decode()}")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.authenticators.credentials([api_key(), user()])
    yield world
    await world.authenticators.close()


# --- API keys ---


async def test_a_key_in_a_header(world: World) -> None:
    policy = ApiKey(IN_HEADER.place, headers=(("x-owner", "owner"), ("x-scopes", "scope"), ("x-id", "sub")))
    answer, call = await world.ask(world.route(policy), ("X-API-Key", KEY), ("x-owner", "root"), ("accept", "*/*"))
    assert answer is None
    assert call.identity == Identity("api_key", "acme")
    assert sent(call) == {"accept": "*/*", "x-owner": "acme", "x-scopes": "list read", "x-id": "acme-1"}


async def test_a_key_in_the_query(world: World) -> None:
    answer, call = await world.ask(world.route(IN_QUERY), query=f"a=1&key={KEY}&b=2")
    assert (answer, call.query) == (None, "?a=1&b=2")


async def test_a_key_goes_on_where_the_route_says_so(world: World) -> None:
    _, call = await world.ask(world.route(ApiKey(IN_HEADER.place, forward=True)), ("x-api-key", KEY))
    assert sent(call) == {"x-api-key": KEY}


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ([], "no API key"),
        ([""], "no API key"),
        ([OTHER_KEY], "the API key is not known"),
        ([KEY + " "], "the API key is not known"),
        ([KEY.upper()], "the API key is not known"),
        ([hashed_key(KEY)], "the API key is not known"),
        (["acme-1"], "the API key is not known"),
        (["\udcff" * 40], "the API key is not known"),
        (["x" * 100_000], "the API key is not known"),
        ([KEY, KEY], "several API keys"),
    ],
)
async def test_keys_that_are_refused(world: World, values: list[str], note: str) -> None:
    answer, _ = await world.ask(world.route(IN_HEADER), *(("x-api-key", value) for value in values))
    assert refused(answer) == note
    assert answer is not None
    assert answer.fields == (("WWW-Authenticate", 'ApiKey realm="gateway"'),)


async def test_a_key_that_lacks_a_scope(world: World) -> None:
    policy = ApiKey(IN_HEADER.place, scopes=frozenset({"read", "write"}))
    answer, _ = await world.ask(world.route(policy), ("x-api-key", KEY))
    assert refused(answer, Reason.FORBIDDEN) == "the api_key credential acme-1 lacks write"


async def test_an_expired_and_a_revoked_key(world: World) -> None:
    route = world.route(IN_HEADER)
    world.authenticators.credentials([api_key(expires=NOW + 1)])
    assert (await world.ask(route, ("x-api-key", KEY)))[0] is None
    world.time.now += 1
    answer, _ = await world.ask(route, ("x-api-key", KEY))
    assert refused(answer) == "the api_key credential acme-1 has expired"
    world.authenticators.credentials([])
    answer, _ = await world.ask(route, ("x-api-key", KEY))
    assert refused(answer) == "the API key is not known"


# --- passwords ---


async def test_a_user_with_the_password(world: World) -> None:
    answer, call = await world.ask(world.route(Basic(headers=(("x-user", "sub"),))), basic("alice:wonderland"))
    assert answer is None
    assert call.identity == Identity("basic", "alice")
    assert sent(call) == {"x-user": "alice"}


@pytest.mark.parametrize(
    ("given", "note"),
    [
        (basic("alice:Wonderland"), "the user's name or password is wrong"),
        (basic("alice:"), "the user's name or password is wrong"),
        (basic("bob:wonderland"), "the user's name or password is wrong"),
        (basic("acme-1:wonderland"), "the user's name or password is wrong"),
        (basic("alice"), "user and password cannot be read"),
        (("Authorization", "Basic YWxpY2U6d29u*ZGVybGFuZA"), "user and password cannot be read"),
        (("Authorization", "Basic "), "user and password cannot be read"),
        (("Authorization", "Basic /zph"), "user and password cannot be read"),
        (("Authorization", "Basic é"), "user and password cannot be read"),
        (basic("alice:" + "x" * 1024), "user and password cannot be read"),
        (basic("alice:wonderland", "Bearer"), "no user and password"),
    ],
)
async def test_users_that_are_refused(world: World, given: tuple[str, str], note: str) -> None:
    answer, _ = await world.ask(world.route(Basic()), given)
    assert refused(answer) == note
    assert answer is not None
    assert answer.fields == (("WWW-Authenticate", 'Basic realm="gateway", charset="UTF-8"'),)


async def test_a_password_is_hashed_once_and_again_when_it_changes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = 0

    def counting(secret: PasswordHash, password: bytes) -> bool:
        nonlocal hashed
        hashed += 1
        return password == b"wonderland" and secret is CHEAP

    monkeypatch.setattr(passwords, "matches", counting)
    route, given = world.route(Basic()), basic("alice:wonderland")
    for _ in range(3):
        assert (await world.ask(route, given))[0] is None
    assert hashed == 1
    for _ in range(2):
        await world.ask(route, basic("alice:guess"))
    assert hashed == 3, "failures are not remembered"
    await world.ask(route, basic("nobody:guess"))
    assert hashed == 4, "time does not tell who is a user"
    world.authenticators.credentials([Credential("alice", 2, PasswordHash(b"", b""))])
    refused((await world.ask(route, given))[0])
    assert hashed == 5


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Passwords are not verified until it is set."""
    release = Event()
    monkeypatch.setattr(passwords, "matches", lambda *_: release.wait(10))
    yield release
    release.set()


async def test_as_many_as_may_wait_and_no_more(world: World, held: Event) -> None:
    route = world.route(Basic())
    waiting = [asyncio.create_task(world.ask(route, basic(f"alice:{number}"))) for number in range(MAX_WAITING)]
    await asyncio.sleep(0)
    answer, _ = await world.ask(route, basic("alice:wonderland"))
    assert refused(answer, Reason.QUEUE_FULL) == "too many passwords to verify"
    assert answer is not None
    assert (answer.retry_after, answer.fields) == (1.0, ())
    held.set()
    assert all(answer is None for answer, _ in await asyncio.gather(*waiting))


def test_hashes_are_read_as_they_are_written() -> None:
    made = password_hash(hashed_password("wonderland"))
    assert passwords.matches(made, b"wonderland")
    assert not passwords.matches(made, b"wonderland ")
    assert "wonderland" not in repr(user())
    assert repr(CHEAP) not in repr(user())


def test_what_is_remembered_is_bounded() -> None:
    kept: Verified[int] = Verified(3)
    grounds = object()
    for number in range(5):
        kept.put(bytes([number]), grounds, number, until=10)
        assert kept.get(b"\0", grounds, 0) == 0
    assert len(kept) == 3
    assert kept.get(b"\1", grounds, 0) is None, "the least recently used one goes"
    assert kept.get(b"\0", object(), 0) is None
    assert kept.get(b"\4", grounds, 10) is None
    assert len(kept) == 1


# --- several ---

EC = key_of("P-256")
JWT = Jwt(KeySetText(key_set(public(EC, kid="k1")).decode()), headers=(("x-user", "sub"),))
TOKEN = bearer(token("ES256", EC, {"sub": "alice", "exp": NOW + 60, "scope": "a"}))


async def test_any_takes_the_first_that_succeeds(world: World) -> None:
    route = world.route(JWT, Basic(), IN_HEADER)
    for fields, kind in (
        ([TOKEN], "jwt"),
        ([basic("alice:wonderland")], "basic"),
        ([("x-api-key", KEY)], "api_key"),
        ([bearer("rubbish"), ("x-api-key", KEY)], "api_key"),
        ([("x-api-key", KEY), TOKEN], "jwt"),
    ):
        answer, call = await world.ask(route, *fields, ("x-user", "root"))
        assert answer is None
        assert call.identity is not None
        assert call.identity.kind == kind
        assert sent(call) == ({"x-user": "alice"} if kind == "jwt" else {}), (
            "no credential goes on, nor a client's header"
        )


async def test_any_that_none_passes(world: World) -> None:
    answer, _ = await world.ask(world.route(JWT, IN_HEADER), ("x-api-key", OTHER_KEY))
    assert refused(answer) == "no token; the API key is not known"
    assert answer is not None
    assert [value for _, value in answer.fields] == ['Bearer realm="gateway"', 'ApiKey realm="gateway"']
    scoped = ApiKey(IN_HEADER.place, scopes=frozenset({"write"}))
    for methods in ((scoped, JWT), (JWT, scoped)):
        answer, _ = await world.ask(world.route(*methods), ("x-api-key", KEY), bearer("rubbish"))
        refused(answer, Reason.FORBIDDEN)


async def test_all_needs_each_of_them(world: World) -> None:
    route = world.route(IN_HEADER, JWT, every=True)
    answer, call = await world.ask(route, TOKEN, ("x-api-key", KEY))
    assert answer is None
    assert call.identity == Identity("api_key", "acme")
    assert call.claims["scope"] == "list read", "the first one's claims stand above the others'"
    assert call.claims["exp"] == NOW + 60
    assert sent(call) == {"x-user": "alice"}
    for fields, note in (([TOKEN], "no API key"), ([("x-api-key", KEY)], "no token"), ([], "no API key")):
        answer, call = await world.ask(route, *fields)
        assert refused(answer) == note
        assert (call.identity, call.claims) == (None, {})


async def test_a_credential_goes_on_only_where_the_method_that_took_it_says_so(world: World) -> None:
    forwarding = Jwt(JWT.keys, forward=True)
    route = world.route(forwarding, Basic())
    _, call = await world.ask(route, TOKEN)
    assert sent(call) == {"authorization": TOKEN[1]}
    _, call = await world.ask(route, basic("alice:wonderland"))
    assert sent(call) == {}


def test_the_threads_are_few() -> None:
    made = passwords.Passwords()
    assert isinstance(made._threads, ThreadPoolExecutor)
    assert made._threads._max_workers == passwords.THREADS
    made.close()
