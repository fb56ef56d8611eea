"""The safety properties of the specification that can be seen on events, and what breaks one."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple


class Property(StrEnum):
    """By their names in `specs/GatewayProperties.tla`."""

    ROUTING_CORRECTNESS = "RoutingCorrectness"
    CIRCUIT_BREAKER_SAFETY = "CircuitBreakerSafety"
    REGISTRY_CONSISTENCY = "RegistryConsistency"
    NO_REQUEST_LOSS = "NoRequestLoss"
    VALID_CIRCUIT_TRANSITIONS = "ValidCircuitTransitions"
    VALID_SERVICE_STATES = "ValidServiceStates"
    BOUNDED_QUEUE = "BoundedQueue"
    IN_FLIGHT_BOUNDED = "InFlightBounded"
    AT_MOST_ONE_PER_INSTANCE = "AtMostOnePerInstance"
    RETRY_ELSEWHERE = "RetryElsewhere"
    HALF_OPEN_BOUNDED = "HalfOpenBounded"


class Violation(NamedTuple):
    """`seq` is the number of the event, which a journal of the same run has as well."""

    property: Property
    seq: int
    message: str


Say = Callable[[Property, str], None]
"""Tells that the event at hand breaks a property."""
