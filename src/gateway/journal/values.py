"""The core's frozen values as a journal's lines hold them."""

from __future__ import annotations

from pydantic import TypeAdapter

from gateway.core.model import Instance, Route, ServicePolicy
from gateway.core.serving import Steering

INSTANCE = TypeAdapter(Instance)
ROUTE = TypeAdapter(Route)
POLICY = TypeAdapter(ServicePolicy)
STEERING = TypeAdapter(Steering)

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
