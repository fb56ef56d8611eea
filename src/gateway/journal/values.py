"""The core's frozen values as a journal's lines hold them, and made again from there.

What a line has to hold is told here in full, and not taken from the classes' annotations: those of compiled classes do
not say what is in a tuple or a set.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Generic, TypeVar, cast

from pydantic_core import CoreSchema, SchemaValidator
from pydantic_core import core_schema as of

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

T = TypeVar("T")

_OF_ROUTE = ("name", "version", "backends", "retry", "limits", "when_empty")
_OF_POLICY = ("service", "version", "circuit", "balance", "in_flight_per_instance", "slow_start", "retry_budget")


def bare(value: object) -> object:
    """Routes and policies with those parts only that decisions depend on: the others may be large, or hold secrets."""
    if isinstance(value, tuple):
        return [bare(each) for each in value]
    if isinstance(value, Route):
        return {name: getattr(value, name) for name in _OF_ROUTE}
    if isinstance(value, ServicePolicy):
        return {name: getattr(value, name) for name in _OF_POLICY}
    return value


class Kind(Generic[T]):
    """What a value of some class looks like in a line."""

    def __init__(self, name: str, schema: CoreSchema) -> None:
        """`name` is for people."""
        self._validator = SchemaValidator(schema, of.CoreConfig(title=name))

    def made(self, told: object) -> T:
        """Raises ValueError where `told` is no such value."""
        return cast(T, self._validator.validate_python(told))


def _record(cls: Callable[..., object], fields: dict[str, CoreSchema]) -> CoreSchema:
    """By name, and all of them."""
    given = {name: of.typed_dict_field(schema) for name, schema in fields.items()}
    shape = of.typed_dict_schema(given, extra_behavior="forbid")
    return of.no_info_after_validator_function(lambda values: cls(**values), shape)


def _row(cls: Callable[..., object], *items: CoreSchema) -> CoreSchema:
    """By place, as named tuples go."""
    return of.no_info_after_validator_function(lambda values: cls(*values), of.tuple_schema([*items]))


def _member(cls: type[Enum]) -> CoreSchema:
    return of.enum_schema(cls, [*cls], sub_type="int" if issubclass(cls, int) else None)


def _tuple(schema: CoreSchema) -> CoreSchema:
    return of.tuple_schema([schema], variadic_item_index=0)


_TEXT, _WHOLE, _NUMBER, _FLAG = of.str_schema(), of.int_schema(), of.float_schema(), of.bool_schema()
_TEXTS, _WHOLES = of.frozenset_schema(_TEXT), of.frozenset_schema(_WHOLE)
_KEY = _row(InstanceKey, _TEXT, _TEXT, _TEXT)
_KEYS = of.frozenset_schema(_KEY)

_INSTANCE = _record(
    Instance,
    {
        "key": _KEY,
        "service": _TEXT,
        "address": _TEXT,
        "port": _WHOLE,
        "health": _member(Health),
        "weight_passing": _WHOLE,
        "weight_warning": _WHOLE,
        "tags": _TEXTS,
        "meta": of.dict_schema(_TEXT, _TEXT),
    },
)
_BACKEND = _record(
    Backend,
    {
        "service": _TEXT,
        "weight": _WHOLE,
        "tags": _TEXTS,
        "meta": _tuple(of.tuple_schema([_TEXT, _TEXT])),
        "instances": of.nullable_schema(_TEXT),
        "any_otherwise": _FLAG,
        "prefer": of.nullable_schema(_TEXT),
        "fallback": _FLAG,
    },
)
_RETRY = _record(
    RetryPolicy,
    {
        "attempts": _WHOLE,
        "on_failures": of.frozenset_schema(_member(FailureKind)),
        "on_statuses": _WHOLES,
        "methods": _TEXTS,
        "buffer": _WHOLE,
    },
)
_RATE = _record(
    RateLimit,
    {"count": _WHOLE, "period": _NUMBER, "burst": _WHOLE, "by": _row(RateKey, _member(RateSource), _TEXT)},
)
_LIMITS = _record(
    Limits,
    {
        "in_flight": _WHOLE,
        "queue": _WHOLE,
        "queue_timeout": _NUMBER,
        "body": _WHOLE,
        "header": _WHOLE,
        "rate": _tuple(_RATE),
    },
)
_WHEN_EMPTY = _record(
    WhenEmpty,
    {
        "status": _WHOLE,
        "retry_after": of.nullable_schema(_NUMBER),
        "panic": of.nullable_schema(_member(Health)),
    },
)
_ROUTE = _record(
    Route,
    {
        "name": _TEXT,
        "version": _WHOLE,
        "backends": _tuple(_BACKEND),
        "retry": _RETRY,
        "limits": _LIMITS,
        "when_empty": _WHEN_EMPTY,
    },
)
_CIRCUIT = _record(
    CircuitPolicy,
    {
        "consecutive_failures": _WHOLE,
        "failure_ratio": _NUMBER,
        "window": _NUMBER,
        "min_requests": _WHOLE,
        "open_for": _NUMBER,
        "max_open_for": _NUMBER,
        "half_open_probes": _WHOLE,
        "max_open": _NUMBER,
        "failure_statuses": _WHOLES,
        "mode": _member(CircuitMode),
    },
)
_BALANCE = _record(
    Balance,
    {
        "policy": _member(BalancePolicy),
        "on": of.nullable_schema(_row(HashOn, _member(HashSource), _TEXT)),
    },
)
_POLICY = _record(
    ServicePolicy,
    {
        "service": _TEXT,
        "version": _WHOLE,
        "circuit": _CIRCUIT,
        "balance": _BALANCE,
        "in_flight_per_instance": _WHOLE,
        "slow_start": _NUMBER,
        "retry_budget": _record(RetryBudget, {"ratio": _NUMBER, "min_per_second": _NUMBER}),
    },
)

_SERVING = _record(Serving, {"only": of.nullable_schema(_KEYS), "preferred": _KEYS})
_STEERING = _record(Steering, {"serving": _tuple(_SERVING), "held": of.nullable_schema(_WHOLE)})

INSTANCE: Kind[Instance] = Kind("an instance", _INSTANCE)
ROUTE: Kind[Route] = Kind("a route", _ROUTE)
"""Without what `bare` leaves out, which becomes what a route has by default."""
POLICY: Kind[ServicePolicy] = Kind("a service policy", _POLICY)
"""As ROUTE."""
STEERING: Kind[Steering] = Kind("what a request says of its backends", _STEERING)
