"""Requests and routes for the tests of authentication."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from multidict import CIMultiDict

from gateway.core.authentication import Authentication, External, Method
from gateway.core.facts import RequestFacts
from gateway.core.model import Backend, Reason, Route
from gateway.pipeline.authentication import AskFailed, Authenticators, LoadFailed, Time
from gateway.pipeline.peer_certificate import PeerCertificate
from gateway.pipeline.stage import Answer, Call, Pipelines
from tests.support.tokens import NOW
from tests.support.virtual_time import VirtualTime


class Issuer:
    """A key-set endpoint; `body` None is one that is down. `gate`, where set, holds answers until it is set."""

    def __init__(self, body: bytes | None) -> None:
        self.body = body
        self.asked = 0
        self.gate: asyncio.Event | None = None

    async def __call__(self, url: str, *, limit: int) -> bytes:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.body is None:
            raise LoadFailed("down")
        return self.body


@dataclass
class Said:
    status: int
    fields: Sequence[tuple[str, str]] = ()


class Service:
    """A service that is asked; `says` None is one that cannot be."""

    def __init__(self) -> None:
        self.says: Said | None = None
        self.asked: list[str] = []

    async def __call__(self, policy: External, _: Call) -> Said:
        self.asked.append(policy.service)
        if self.says is None:
            raise AskFailed("no_healthy_instance")
        return self.says


class World:
    """One gateway's authentication in virtual time; the wall clock runs with it."""

    def __init__(self, body: bytes | None = None, *, certificates: bool = True) -> None:
        self.issuer = Issuer(body)
        self.service = Service()
        self.time = VirtualTime()
        self.authenticators = Authenticators(
            self.issuer,
            Time(self.time.clock, lambda: NOW + self.time.now - 1000, self.time.sleep, lambda: 0.5),
            self.service,
            certificates=certificates,
        )

        self.pipelines = Pipelines([self.authenticators.of])

    def route(self, *methods: Method, every: bool = False) -> Route:
        return Route("orders", 1, (Backend("orders"),), auth=Authentication(methods, every))

    async def ask(
        self, route: Route, *fields: tuple[str, str], query: str = "", certificate: PeerCertificate | None = None
    ) -> tuple[Answer | None, Call]:
        call = call_of(route, *fields, query=query)
        call.certificate = certificate
        (stage,) = self.pipelines.of(route)
        verdict = stage.request(call)
        return (verdict if verdict is None or isinstance(verdict, Answer) else await verdict), call


def call_of(route: Route, *fields: tuple[str, str], query: str = "") -> Call:
    facts = RequestFacts("GET", "shop.test", "/orders", query, CIMultiDict(fields), "192.0.2.1")
    return Call(facts, route, "shop.test", "/orders", f"?{query}" if query else "", list(fields))


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


def refused(answer: Answer | None, reason: Reason = Reason.UNAUTHENTICATED) -> str:
    """Why, as the log has it; the answer itself must not tell."""
    assert answer is not None
    assert answer.reason is reason
    assert answer.detail is None
    assert answer.note is not None
    return answer.note


def sent(call: Call) -> Mapping[str, str]:
    """The headers that go upstream, by name in lower case; none twice."""
    names = [name.lower() for name, _ in call.fields]
    assert len(names) == len(set(names))
    return {name.lower(): value for name, value in call.fields}
