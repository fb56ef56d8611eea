"""Calls for stages, as the proxy makes them."""

from __future__ import annotations

from collections.abc import Awaitable

from multidict import CIMultiDict

from gateway.core.facts import RequestFacts
from gateway.core.model import Backend, Route
from gateway.pipeline.stage import Answer, Call, Stage

ROUTE = Route("orders", 1, (Backend("orders"),))


def call(*fields: tuple[str, str], method: str = "GET", client_ip: str = "192.0.2.1") -> Call:
    facts = RequestFacts(method, "example.com", "/", "", CIMultiDict(fields), client_ip)
    return Call(facts, ROUTE, "example.com", "/", "", list(fields))


def answer_of(stage: Stage, asked: Call) -> Answer | None:
    """What a stage answers that answers at once."""
    verdict = stage.request(asked)
    assert not isinstance(verdict, Awaitable)
    return verdict
