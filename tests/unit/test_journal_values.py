"""The core's frozen values go into a journal's lines and come back the same, whatever is in them."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import cast

import msgspec
import pytest

from gateway.core.limits import RateKey, RateLimit, RateSource
from gateway.core.model import (
    Backend,
    Balance,
    BalancePolicy,
    CircuitMode,
    CircuitPolicy,
    FailureKind,
    HashOn,
    HashSource,
    Health,
    Instance,
    InstanceKey,
    Limits,
    RetryBudget,
    RetryPolicy,
    Route,
    ServicePolicy,
    WhenEmpty,
)
from gateway.core.serving import Serving, Steering
from gateway.journal.values import INSTANCE, POLICY, ROUTE, STEERING, Kind, bare
from tests.unit.core_support import route

KEY = InstanceKey("dc2", "node-7", "orders-1")
RATE = RateLimit(600, 60.0, 9, RateKey(RateSource.HEADER, "x-tenant"))
WHOLE = Route(
    "orders",
    7,
    (
        Backend("orders", 9, frozenset({"stable"}), (("region", "eu"),), "true", True, "false", False),
        Backend("spare", fallback=True),
    ),
    retry=RetryPolicy(5, frozenset({FailureKind.TIMEOUT}), frozenset({502}), frozenset({"PUT"}), 9),
    limits=Limits(1, 2, 3.5, 4, 5, (RATE,)),
    when_empty=WhenEmpty(404, 2.5, Health.CRITICAL),
)
CIRCUIT = CircuitPolicy(1, 0.25, 3.0, 4, 5.0, 6.0, 7, 0.5, frozenset({418}), CircuitMode.SHADOW)
BALANCE = Balance(BalancePolicy.RING_HASH, HashOn(HashSource.COOKIE, "cart"))
VALUES: list[tuple[Kind[object], object]] = [
    (
        cast(Kind[object], INSTANCE),
        Instance(KEY, "orders", "192.0.2.1", 8080, Health.WARNING, 3, 2, frozenset({"eu"}), {"zone": "b"}),
    ),
    (cast(Kind[object], ROUTE), WHOLE),
    (
        cast(Kind[object], POLICY),
        ServicePolicy("orders", 8, CIRCUIT, BALANCE, 2, 30.0, retry_budget=RetryBudget(0.5, 3.0)),
    ),
    (cast(Kind[object], STEERING), Steering((Serving(frozenset({KEY}), frozenset({KEY})), Serving()), 1)),
]


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=lambda each: type(each).__name__)
def test_what_is_written_is_read_back_whole(kind: Kind[object], value: object) -> None:
    written = _steering(value) if isinstance(value, Steering) else bare(value)
    assert kind.made(json.loads(msgspec.json.encode(written))) == value


def _steering(value: Steering) -> object:
    """As `core.events` tells it."""
    return {"serving": [each._asdict() for each in value.serving], "held": value.held}


@pytest.mark.parametrize("value", [value for _, value in VALUES], ids=lambda each: type(each).__name__)
def test_here_nothing_is_left_as_it_is_by_default(value: object) -> None:
    """Or the test above would not notice what is not read."""
    for path, given, default in _against_defaults(value, type(value).__name__):
        assert given != default, path


def _against_defaults(value: object, path: str) -> list[tuple[str, object, object]]:
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return [each for item in value[:1] for each in _against_defaults(item, path)]
    if not is_dataclass(value):
        return []
    found: list[tuple[str, object, object]] = []
    told = bare(value)
    for field in fields(value):
        if isinstance(told, dict) and field.name not in told:
            continue
        if field.init and not (type(value) is Backend and field.name == "fallback"):
            given = getattr(value, field.name)
            found.append((f"{path}.{field.name}", given, field.default))
            found += _against_defaults(given, f"{path}.{field.name}")
    return found


def test_what_is_missing_or_unknown_is_refused() -> None:
    told = json.loads(msgspec.json.encode(bare(route())))
    without = {name: each for name, each in told.items() if name != "limits"}
    for damaged in (without, told | {"colour": "blue"}, told | {"version": "seven"}, [told]):
        with pytest.raises(ValueError, match="for a route"):
            ROUTE.made(damaged)
