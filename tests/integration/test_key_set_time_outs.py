"""Issuers that do not come to an end with their key sets: the time-out of fetches ends it, and whoever does not need
new keys does not wait."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import pytest
from joserfc.jwk import Key

from gateway.core.authentication import Authentication, External, Jwt, KeySetUrl
from gateway.core.model import Backend, Match, Outcome, PathKind, PathMatch, Reason, Route
from gateway.discovery.addresses import AddressPolicy
from gateway.pipeline.authentication import AskFailed, Authenticators, Time
from gateway.pipeline.authentication.external import Said
from gateway.pipeline.stage import Call, Pipelines
from gateway.proxy import fetching
from gateway.proxy.fetching import Fetcher
from tests.support.proxies import DEFAULT_ROUTE, RunningProxy, running_proxy
from tests.support.tokens import key_of, key_set, public, token
from tests.support.upstreams import Exchange, ScriptedUpstream, request

TIMEOUT = 0.4
LATEST = TIMEOUT + 2.0
OLD, NEW = key_of("P-256"), key_of("P-256", 2)
KEYS = key_set(public(OLD, kid="old"))
CLAIMS = {"exp": 4_000_000_000, "sub": "alice"}
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(KEYS) + KEYS
HEAD_END = ANSWER.index(b"{")

_numbers = count()


def with_old() -> bytes:
    """A request with a token that nobody has seen yet: of others it is known what they are."""
    return _with(OLD, "old")


def with_new() -> bytes:
    return _with(NEW, "new")


def _with(key: Key, kid: str) -> bytes:
    made = token("ES256", key, {**CLAIMS, "jti": str(next(_numbers))}, kid=kid)
    return request("/locked", f"Authorization: Bearer {made}")


TROUBLES = {"silent": (0, False), "silent in its body": (HEAD_END + 1, False), "slow": (0, True),
            "slow with its body": (HEAD_END, True)}  # fmt: skip
"""Bytes of the answer that come at once, and whether more do, one by one and by far too slowly."""


@dataclass
class Issuer:
    """Its first answers are good; of those behind them `at_once` bytes come, and then, if `slow`, one in 20 ms."""

    good: int
    at_once: int
    slow: bool
    port: int = 0
    asked: int = 0
    given_up: int = 0

    async def script(self, exchange: Exchange) -> None:
        self.asked += 1
        if self.asked <= self.good:
            await exchange.say(ANSWER)
            return
        try:
            await exchange.say(ANSWER[: self.at_once])
            gone = asyncio.create_task(exchange.until_closed())
            for byte in ANSWER[self.at_once :] if self.slow else b"":
                if (await asyncio.wait([gone], timeout=0.02))[0]:
                    break
                await exchange.say(bytes([byte]))
            await gone
        finally:
            self.given_up += 1


@dataclass
class World:
    proxy: RunningProxy
    issuer: Issuer
    orders: ScriptedUpstream

    async def served_meanwhile(self, waiting: asyncio.Task[float], asked: Callable[[], bytes]) -> float:
        """The seconds that `waiting` took; until it was done, everybody else got an answer."""
        served = 0
        while not waiting.done():
            assert (await self.proxy.ask(asked())).status == 200
            served += 1
            await asyncio.sleep(0.01)
        assert served > 3, "who waits for what `waiting` waits for is served once"
        return await waiting

    async def refused(self, asked: bytes, began: float | None = None) -> float:
        began = time.monotonic() if began is None else began
        response = await self.proxy.ask(asked)
        taken = time.monotonic() - began
        assert response.status == 401
        assert json.loads(response.body)["type"] == "urn:alims-gateway:problem:unauthenticated"
        assert response.value("www-authenticate") == 'Bearer realm="gateway", error="invalid_token"'
        return taken


async def _ask_nobody(policy: External, _: Call) -> Said:
    raise AskFailed(f"{policy.service} is not asked")


@asynccontextmanager
async def world_of(trouble: str, *, good: int) -> AsyncIterator[World]:
    at_once, slow = TROUBLES[trouble]
    issuer = Issuer(good, at_once, slow)
    clock = asyncio.get_running_loop().time
    fetcher = Fetcher(AddressPolicy().check)
    authenticators = Authenticators(
        fetcher, Time(clock, time.time, asyncio.sleep, lambda: 0.0), _ask_nobody, certificates=False
    )
    async with ScriptedUpstream(issuer.script) as issuing, ScriptedUpstream() as orders:
        keys = KeySetUrl(f"http://127.0.0.1:{issuing.port}/jwks", refresh=300, min_refresh=60, stale=86400)
        locked = Route(
            "locked",
            1,
            (Backend("orders"),),
            (Match(PathMatch(PathKind.PREFIX, "/locked")),),
            auth=Authentication((Jwt(keys),)),
        )
        async with running_proxy(
            orders, route=[DEFAULT_ROUTE, locked], pipelines=Pipelines([authenticators.of])
        ) as proxy:
            authenticators.follow([DEFAULT_ROUTE, locked])
            try:
                yield World(proxy, issuer, orders)
            finally:
                await authenticators.close()
                await fetcher.close()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    monkeypatch.setattr(fetching, "TIMEOUT", TIMEOUT)
    caplog.set_level(logging.WARNING, "gateway.authentication")
    yield
    warned = [record for record in caplog.get_records("call") if record.name == "gateway.authentication"]
    told = {getattr(record, "error", None) for record in warned}
    assert told == {f"no answer within {TIMEOUT:g} s"}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_an_issuer_that_never_had_an_answer(trouble: str) -> None:
    began = time.monotonic()
    async with world_of(trouble, good=0) as world:
        waiting = asyncio.create_task(world.refused(with_old(), began))
        taken = await world.served_meanwhile(waiting, lambda: request("/open"))
        assert TIMEOUT <= taken < LATEST
        record = next(each for each in world.proxy.records.all if each.outcome is Outcome.REJECTED)
        assert (record.reason, record.detail) == (Reason.UNAUTHENTICATED, "the token is refused: no keys are known")
        assert {each.target for each in world.orders.requests} == {"/open"}
        async with asyncio.timeout(5):
            while not world.issuer.given_up:
                await asyncio.sleep(0.01)
        assert world.issuer.asked == 1


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_an_issuer_that_has_no_answer_any_more(trouble: str) -> None:
    """Whose key is known does not wait for it; who has an unknown one waits for as long as the fetch may take."""
    async with world_of(trouble, good=1) as world:
        assert (await world.proxy.ask(with_old())).status == 200
        waiting = asyncio.create_task(world.refused(with_new()))
        taken = await world.served_meanwhile(waiting, with_old)
        assert TIMEOUT <= taken < LATEST
        record = next(each for each in world.proxy.records.all if each.outcome is Outcome.REJECTED)
        assert record.reason is Reason.UNAUTHENTICATED
        assert record.detail is not None
        assert record.detail.startswith("the token is refused: ")
        await world.refused(with_new())
        assert world.issuer.asked == 2, "the issuer is not asked again for an unknown key so soon"
