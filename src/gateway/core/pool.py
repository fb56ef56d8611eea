"""The members of a service that a backend selects, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.balancer import RingHash, WeightedRoundRobin, pick_least_request
from gateway.core.breaker import Circuit, CircuitState
from gateway.core.facts import RequestFacts
from gateway.core.model import (
    Backend,
    BalancePolicy,
    HashOn,
    HashSource,
    Health,
    Instance,
    InstanceKey,
    Reason,
    ServicePolicy,
)
from gateway.core.retry import Budget

if TYPE_CHECKING:
    from gateway.core.admission import Lane

_WARM_STEPS = 10
_CLOSED = CircuitState.CLOSED


class Selector(NamedTuple):
    """Which members a backend's pool holds; backends that differ only in weight share one pool."""

    tags: frozenset[str]
    meta: tuple[tuple[str, str], ...]
    panic: Health | None

    @classmethod
    def of(cls, backend: Backend, panic: Health | None) -> Selector:
        return cls(backend.tags, backend.meta, panic)

    def selects(self, instance: Instance) -> bool:
        return self.tags <= instance.tags and all(instance.meta.get(name) == value for name, value in self.meta)


class Member:
    """One instance with what the gateway keeps locally about it: its circuit, and what it has in flight."""

    __slots__ = ("circuit", "in_flight", "instance", "key", "service", "warm_since")

    def __init__(self, service: Service, instance: Instance, now: float) -> None:
        self.service = service
        self.key: InstanceKey = instance.key
        self.instance = instance
        self.circuit = Circuit(now)
        self.in_flight = 0
        self.warm_since = now


class Service:
    """A service as the gateway runs it. `version` moves whenever a pick could turn out differently."""

    __slots__ = ("budget", "lanes", "members", "name", "policy", "pools", "version")

    def __init__(self, name: str, policy: ServicePolicy) -> None:
        self.name = name
        self.policy = policy
        self.members: dict[InstanceKey, Member] = {}
        self.version = 0
        self.pools: dict[Selector, Pool] = {}
        self.budget = Budget()
        self.lanes: dict[Lane, None] = {}

    def pool(self, selector: Selector) -> Pool:
        pool = self.pools.get(selector)
        if pool is None:
            pool = self.pools[selector] = Pool(self, selector)
        return pool

    def retain_pools(self, selectors: Collection[Selector]) -> None:
        """Forgets pools that no route uses any more; one in which tickets wait stays with them."""
        waiting = {lane.pool for lane in self.lanes}
        self.pools = {key: pool for key, pool in self.pools.items() if key in selectors or pool in waiting}

    def may_open_another(self) -> bool:
        """Whether `max_open` lets one more circuit open (floor of the share, so one of one needs 100 %)."""
        allowed = int(self.policy.circuit.max_open * len(self.members) + 1e-9)
        not_closed = sum(member.circuit.state is not _CLOSED for member in self.members.values())
        return not_closed < allowed

    def warm_step(self, member: Member, now: float) -> int:
        """How warm a member is, from 1 to 10 tenths of its weight (10: slow start is over, or off)."""
        length = self.policy.slow_start
        elapsed = now - member.warm_since
        if elapsed >= length:
            return _WARM_STEPS
        return 1 + int((_WARM_STEPS - 1) * elapsed / length)


class Pool:
    """What a backend may pick from at this moment, kept until the service's version moves."""

    __slots__ = (
        "_fresh",
        "_reserve",
        "_ring",
        "_ring_of",
        "_turns",
        "block",
        "eligible",
        "permitted",
        "selector",
        "service",
        "warming",
        "weights",
    )

    def __init__(self, service: Service, selector: Selector) -> None:
        self.service = service
        self.selector = selector
        self._fresh = -1
        self._reserve: Sequence[tuple[Member, int]] = ()
        self._turns: WeightedRoundRobin[Member] = WeightedRoundRobin()
        self._ring: RingHash[Member] | None = None
        self._ring_of: tuple[object, ...] = ()
        self.eligible: Sequence[Member] = ()
        """Members that may be picked now."""
        self.weights: Sequence[int] = ()
        self.permitted: frozenset[InstanceKey] = frozenset()
        """Members whose health and circuit permit a pick, be they busy or not."""
        self.block: Reason | None = Reason.NO_HEALTHY_INSTANCE
        """Why no member is permitted; None while at least one is."""
        self.warming = False

    def refresh(self, prefer_node: str | None, now: float) -> None:
        """Recomputes what may be picked, if anything changed."""
        service = self.service
        if self._fresh == service.version:
            return
        self._fresh = service.version
        selected = [member for member in service.members.values() if self.selector.selects(member.instance)]
        weighted = [(member, member.instance.weight) for member in selected if member.instance.weight > 0]
        panic = self.selector.panic
        if not weighted and panic is not None:
            weighted = [
                (member, max(1, member.instance.weight_passing))
                for member in selected
                if member.instance.health <= panic
            ]
        policy = service.policy
        permitted = [pair for pair in weighted if pair[0].circuit.permits(policy.circuit)]
        cap = policy.in_flight_per_instance
        eligible = [pair for pair in permitted if not cap or pair[0].in_flight < cap]
        self._reserve = eligible
        if prefer_node is not None:
            eligible = [pair for pair in eligible if pair[0].key.node == prefer_node] or eligible
        self.block = None if permitted else (Reason.CIRCUIT_OPEN if weighted else Reason.NO_HEALTHY_INSTANCE)
        self.permitted = frozenset(member.key for member, _ in permitted)
        self.eligible = [member for member, _ in eligible]
        self.weights = self._warmed(eligible, now)
        if policy.balance.policy is BalancePolicy.RING_HASH:
            self._build_ring(weighted)

    def pick(self, tried: Collection[InstanceKey], facts: RequestFacts, draw: Callable[[], float]) -> Member | None:
        """One eligible member, another than those tried if there is one; None where the ticket has to wait."""
        members, weights = self.eligible, self.weights
        if tried:
            others = [pair for pair in zip(members, weights, strict=True) if pair[0].key not in tried]
            others = others or [pair for pair in self._reserve if pair[0].key not in tried]
            if others:
                members, weights = [pair[0] for pair in others], [pair[1] for pair in others]
            elif not self.permitted.issubset(tried):
                return None
        if not members:
            return None
        balance = self.service.policy.balance
        if balance.policy is BalancePolicy.LEAST_REQUEST:
            return pick_least_request(members, weights, draw)
        if balance.policy is BalancePolicy.RING_HASH and self._ring is not None and balance.on is not None:
            value = hash_value(balance.on, facts)
            if value is not None:
                picked = self._ring.pick(value, frozenset(member.key for member in members))
                if picked is not None:
                    return picked
        return self._turns.pick(members, weights)

    def retain(self, keys: frozenset[Hashable]) -> None:
        self._turns.retain(keys)

    def _warmed(self, eligible: Sequence[tuple[Member, int]], now: float) -> Sequence[int]:
        steps = [self.service.warm_step(member, now) for member, _ in eligible]
        self.warming = any(step < _WARM_STEPS for step in steps)
        if not self.warming:
            return [weight for _, weight in eligible]
        return [weight * step for (_, weight), step in zip(eligible, steps, strict=True)]

    def _build_ring(self, weighted: Sequence[tuple[Member, int]]) -> None:
        of = tuple((member, weight) for member, weight in weighted)
        if self._ring is None or of != self._ring_of:
            self._ring = RingHash([member for member, _ in of], [weight for _, weight in of])
            self._ring_of = of


def hash_value(on: HashOn, facts: RequestFacts) -> str | None:
    """The part of the request that `ring_hash` hashes; None where the request has none."""
    if on.source is HashSource.CLIENT_IP:
        return facts.client_ip
    if on.source is HashSource.COOKIE:
        return facts.cookie(on.name)
    values = facts.header_values(on.name)
    return values[0] if values else None
