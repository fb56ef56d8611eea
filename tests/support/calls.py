"""Requests on their way through stages, without a proxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from multidict import CIMultiDict
from pydantic import JsonValue

from gateway.core.facts import RequestFacts
from gateway.core.model import Backend, Instance, InstanceKey, Route
from gateway.pipeline.stage import Call, Field

ROUTE = Route("orders-v2", 1, (Backend("orders"),))
INSTANCE = Instance(InstanceKey("dc1", "node-1", "orders-1"), "orders", "10.0.0.7", 8080, meta={"zone": "a"})
OTHER_INSTANCE = Instance(InstanceKey("dc2", "node-2", "orders-2"), "orders", "10.0.0.8", 8080, meta={"zone": "b"})


def call(
    path: str = "/",
    query: str = "",
    headers: Sequence[Field] = (),
    *,
    route: Route = ROUTE,
    host: str | None = "api.example.com",
    claims: Mapping[str, JsonValue] | None = None,
) -> Call:
    """`query` with its question mark."""
    facts = RequestFacts("GET", host, path, query[1:], CIMultiDict(headers), "192.0.2.1")
    sent = None if host is None else f"{host}:8080"
    return Call(facts, route, sent, path, query, list(headers), id="id-1", claims=claims or {})
