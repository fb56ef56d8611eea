"""Strategies for random worlds: views, routes and policies as Consul and operators might bring them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from gateway.core.breaker import CircuitState
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
    Limits,
    RetryPolicy,
    WhenEmpty,
)
from gateway.core.pool import Member, Pool
from gateway.core.tickets import Attempt
from tests.unit.core_support import instance

View = Sequence[tuple[int, int, int, Health, int, bool]]
"""Of each instance: number, weight, warning weight, health, port, whether it is a canary."""

SERVICES = ("orders", "stock")
NAMES = ("r1", "r2", "r3")

instances = st.builds(
    lambda number, weight, warning, health, port, canary: (number, weight, warning, health, port, canary),
    st.integers(0, 3),
    st.sampled_from((0, 1, 1, 2, 5)),
    st.integers(0, 2),
    st.sampled_from((*[Health.PASSING] * 5, Health.WARNING, Health.CRITICAL, Health.MAINTENANCE)),
    st.sampled_from((7000, 7000, 7000, 7001)),
    st.booleans(),
)
views = st.lists(instances, max_size=4, unique_by=lambda each: each[0])
backends = st.lists(
    st.builds(
        lambda service, weight, canary: Backend(service, weight, frozenset({"canary"} if canary else ())),
        st.sampled_from(SERVICES),
        st.sampled_from((1, 1, 3, 0)),
        st.sampled_from((False, False, True)),
    ),
    min_size=1,
    max_size=3,
).filter(lambda shares: any(share.weight for share in shares))
limits = st.builds(
    Limits,
    in_flight=st.sampled_from((0, 0, 1, 2)),
    queue=st.integers(0, 4),
    queue_timeout=st.sampled_from((0.5, 2.0)),
)
retries = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 4),
    on_failures=st.just(frozenset({FailureKind.CONNECT_FAILURE, FailureKind.RESET})),
    on_statuses=st.sampled_from((frozenset[int](), frozenset({429, 503}))),
)
when_empty = st.builds(WhenEmpty, panic=st.sampled_from((None, None, Health.WARNING, Health.CRITICAL)))
circuits = st.builds(
    CircuitPolicy,
    consecutive_failures=st.sampled_from((1, 2, 3)),
    failure_ratio=st.sampled_from((0.0, 0.5)),
    min_requests=st.just(4),
    window=st.sampled_from((2.0, 10.0)),
    open_for=st.sampled_from((1.0, 3.0)),
    max_open_for=st.just(5.0),
    half_open_probes=st.integers(1, 2),
    max_open=st.sampled_from((1.0, 1.0, 0.5, 0.0)),
    mode=st.sampled_from((*[CircuitMode.ENFORCE] * 4, CircuitMode.SHADOW, CircuitMode.OFF)),
)
balances = st.sampled_from(
    (
        Balance(),
        Balance(),
        Balance(BalancePolicy.LEAST_REQUEST),
        Balance(BalancePolicy.RING_HASH, HashOn(HashSource.CLIENT_IP)),
    )
)
policies = st.builds(
    lambda circuit, balance, cap, slow: (circuit, balance, cap, slow),
    circuits,
    balances,
    st.sampled_from((0, 0, 1, 2)),
    st.sampled_from((0.0, 0.0, 2.0)),
)


def healthy_members(pool: Pool) -> list[Member]:
    """Members whose health lets them be picked, told anew from the rules."""
    selected = [each for each in pool.service.members.values() if pool.selector.selects(each.instance)]
    weighted = [each for each in selected if each.instance.weight]
    panic = pool.selector.panic
    if not weighted and panic is not None:
        weighted = [each for each in selected if each.instance.health <= panic and each.instance.weight_passing]
    return weighted


def circuit_permitted(attempt: Attempt) -> None:
    """Asserts that the circuit let this attempt begin, as far as it is still in the same epoch."""
    circuit, policy = attempt.member.circuit, attempt.policy.circuit
    if attempt.permit.epoch == circuit.epoch:
        if policy.mode is CircuitMode.ENFORCE:
            assert circuit.state is not CircuitState.OPEN
            assert attempt.permit.probe == (circuit.state is CircuitState.HALF_OPEN)
        assert circuit.probes <= policy.half_open_probes or not attempt.permit.probe


def instances_of(service: str, view: View) -> list[Instance]:
    return [
        instance(
            f"{service}{number}",
            weight,
            service=service,
            node=f"n{number % 2}",
            port=port + 10 * number,
            health=health,
            warning=warning,
            tags=("canary",) if canary else (),
        )
        for number, weight, warning, health, port, canary in view
    ]


def same_place(one: Attempt, other: Attempt) -> bool:
    """Whether both went to one instance at one endpoint, registered anew in between or not."""
    return (one.instance.service, one.instance.key, one.instance.endpoint) == (
        other.instance.service,
        other.instance.key,
        other.instance.endpoint,
    )
