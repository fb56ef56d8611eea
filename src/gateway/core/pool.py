"""The members of a service that a backend selects, and the choice among them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Container, Hashable, Sequence
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from mypy_extensions import mypyc_attr

from gateway.core.balancer import LeastRequest, RingHash, WeightedRoundRobin
from gateway.core.breaker import Circuit, CircuitState
from gateway.core.facts import TicketFacts
from gateway.core.model import (
    Backend,
    BalancePolicy,
    Health,
    Instance,
    InstanceKey,
    Reason,
    ServicePolicy,
)
from gateway.core.retry import Budget
from gateway.core.serving import ANYBODY, Serving

if TYPE_CHECKING:
    from gateway.core.admission import Lane

WARM_STEPS = 10
MAX_POOLS = 256
"""Of one service for requests that say which members they want: those used last are kept."""
_ROUNDING = 1e-3
"""Of a step of slow start: by more than that no rounding makes its timer early."""
_CLOSED = CircuitState.CLOSED


class Selector(NamedTuple):
    """Which members a pool holds; backends that differ only in weight share one pool."""

    tags: frozenset[str]
    meta: tuple[tuple[str, str], ...]
    panic: Health | None
    serving: Serving = ANYBODY
    """What the requests of this pool say about its members."""

    @classmethod
    def of(cls, backend: Backend, panic: Health | None) -> Selector:
        """Of the pool for requests that say nothing."""
        return cls(backend.tags, backend.meta, panic)

    def selects(self, instance: Instance) -> bool:
        only = self.serving.only
        return (
            self.tags <= instance.tags
            and all(instance.meta.get(name) == value for name, value in self.meta)
            and (only is None or instance.key in only)
        )


@mypyc_attr(allow_interpreted_subclasses=True)
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

    def rejoin(self, service: Service, instance: Instance, now: float) -> None:
        """Registered again before all that was in flight had ended: only that count stays."""
        self.service = service
        self.instance = instance
        self.circuit = Circuit(now, self.circuit.epoch + 1)
        self.warm_since = now


@mypyc_attr(allow_interpreted_subclasses=True)
class Service:
    """A service as the gateway runs it.

    `version` moves whenever other members may be picked, `load_version` whenever one reaches or leaves its most in
    flight, `view_version` with what the mirror holds.
    """

    __slots__ = (
        "budget",
        "lanes",
        "load_version",
        "members",
        "name",
        "policy",
        "pools",
        "prefer_node",
        "steered",
        "version",
        "view_version",
    )

    def __init__(self, name: str, policy: ServicePolicy, prefer_node: str | None) -> None:
        self.name = name
        self.policy = policy
        self.prefer_node = prefer_node
        self.members: dict[InstanceKey, Member] = {}
        self.version = 0
        self.load_version = 0
        self.view_version = 0
        self.pools: dict[Selector, Pool] = {}
        self.steered: OrderedDict[Selector, Pool] = OrderedDict()
        """Pools for requests that say which members they want, the one used last at the end."""
        self.budget = Budget()
        self.lanes: dict[Lane, None] = {}

    def pool(self, selector: Selector) -> Pool:
        pool = self.pools.get(selector)
        if pool is None:
            pool = self.pools[selector] = Pool(self, selector)
        return pool

    def steered_pool(self, base: Pool, serving: Serving) -> Pool:
        """A pool of those members of `base` that a request wants. It goes on with the turns of the one made before."""
        selector = base.selector._replace(serving=serving)
        pool = self.steered.get(selector)
        if pool is not None:
            self.steered.move_to_end(selector)
            return pool
        pool = self.steered[selector] = Pool(self, selector)
        pool.succeed(base.successor or base)
        base.successor = pool
        if len(self.steered) > MAX_POOLS:
            self._forget_steered()
        return pool

    def _forget_steered(self) -> None:
        waiting = {lane.pool for lane in self.lanes}
        for selector, pool in self.steered.items():
            if pool not in waiting:
                del self.steered[selector]
                return

    def retain_pools(self, selectors: Collection[Selector]) -> None:
        """Forgets pools that no route uses any more; one in which tickets wait stays with them."""
        waiting = {lane.pool for lane in self.lanes}
        self.pools = {key: pool for key, pool in self.pools.items() if key in selectors or pool in waiting}
        for selector in [each for each, pool in self.steered.items() if pool not in waiting]:
            if selector._replace(serving=ANYBODY) not in self.pools:
                del self.steered[selector]

    def may_open_another(self) -> bool:
        """Whether `max_open` lets one more circuit open (floor of the share, so one of one needs 100 %).

        Instances that Consul takes out of the choice do not use it up: nothing would ever probe and close them.
        """
        allowed = int(self.policy.circuit.max_open * len(self.members) + 1e-9)
        not_closed = sum(
            member.circuit.state is not _CLOSED for member in self.members.values() if member.instance.weight
        )
        return not_closed < allowed

    def warm_step(self, member: Member, now: float) -> int:
        """How warm a member is, from 1 to 10 tenths of its weight (10: slow start is over, or off)."""
        length = self.policy.slow_start
        if not length:
            return WARM_STEPS
        return min(WARM_STEPS, 1 + int((WARM_STEPS - 1) * (now - member.warm_since) / length + _ROUNDING))


class Candidates(NamedTuple):
    """Members with their weights beside them."""

    members: Sequence[Member]
    weights: Sequence[int]

    def only(self, wanted: Callable[[Member], bool]) -> Candidates:
        kept = [wanted(member) for member in self.members]
        return Candidates(list(compress(self.members, kept)), list(compress(self.weights, kept)))

    def rather(self, wanted: Callable[[Member], bool]) -> Candidates:
        """Only those wanted, if there are any."""
        found = self.only(wanted)
        return found if found.members else self

    def keys(self) -> frozenset[InstanceKey]:
        return frozenset(member.key for member in self.members)


_NOBODY = Candidates((), ())


@mypyc_attr(allow_interpreted_subclasses=True)
class Pool:
    """What a backend may pick from at this moment, kept until the service's versions move."""

    __slots__ = (
        "_eligible",
        "_eligible_keys",
        "_instances",
        "_least_request",
        "_permitted",
        "_permitted_keys",
        "_reserve",
        "_retry_turns",
        "_ring",
        "_ring_of",
        "_seen",
        "_seen_load",
        "_seen_view",
        "_turns",
        "block",
        "reopens_at",
        "selector",
        "service",
        "successor",
    )

    def __init__(self, service: Service, selector: Selector) -> None:
        self.service = service
        self.selector = selector
        self.block: Reason | None = Reason.NO_HEALTHY_INSTANCE
        """Why no member is permitted; None while at least one is."""
        self.reopens_at: float | None = None
        """With all circuits open: when the first of them lets a probe through."""
        self.successor: Pool | None = None
        """The pool made last for requests that say which of these members they want."""
        self._seen = self._seen_load = self._seen_view = -1
        self._instances: tuple[Instance, ...] = ()
        self._permitted = _NOBODY
        """Members whose health and circuit permit a pick, be they busy or not."""
        self._permitted_keys: frozenset[InstanceKey] = frozenset()
        self._eligible = self._reserve = _NOBODY
        """Permitted and not busy: the preferred ones, if there are any; all of them."""
        self._eligible_keys: frozenset[InstanceKey] = frozenset()
        self._turns: WeightedRoundRobin[Member] = WeightedRoundRobin()
        self._retry_turns: WeightedRoundRobin[Member] = WeightedRoundRobin()
        """Apart, so that what a retry must leave out does not disturb the turns of first attempts."""
        self._least_request: LeastRequest[Member] = LeastRequest()
        self._ring: RingHash[Member] | None = None
        self._ring_of = _NOBODY

    def refresh(self, now: float) -> None:
        """Recomputes what may be picked, if anything changed."""
        service = self.service
        if self._seen != service.version:
            self._seen, self._seen_load = service.version, -1
            self._refresh_permitted(now)
        if self._seen_load != service.load_version:
            self._seen_load = service.load_version
            self._refresh_eligible()

    def _refresh_permitted(self, now: float) -> None:
        policy = self.service.policy
        healthy = self._healthy()
        self._permitted = self._warmed(healthy.only(lambda member: member.circuit.permits(policy.circuit)), now)
        self._permitted_keys = self._permitted.keys()
        self.block, self.reopens_at = None, None
        if not self._permitted_keys:
            self.block = Reason.CIRCUIT_OPEN if healthy.members else Reason.NO_HEALTHY_INSTANCE
            self.reopens_at = min(
                (member.circuit.open_until for member in healthy.members if member.circuit.is_open), default=None
            )
        if policy.balance.policy is BalancePolicy.RING_HASH and (self._ring is None or healthy != self._ring_of):
            self._ring, self._ring_of = RingHash(*healthy), healthy

    def _refresh_eligible(self) -> None:
        policy, node, preferred = self.service.policy, self.service.prefer_node, self.selector.serving.preferred
        cap = policy.in_flight_per_instance
        eligible = self._permitted.only(lambda member: member.in_flight < cap) if cap else self._permitted
        self._reserve = eligible
        if preferred:
            eligible = eligible.rather(lambda member: member.key in preferred)
        if node is not None:
            eligible = eligible.rather(lambda member: member.key.node == node)
        self._eligible = eligible
        if policy.balance.policy is BalancePolicy.RING_HASH:
            self._eligible_keys = self._eligible.keys()

    @property
    def permitted(self) -> frozenset[InstanceKey]:
        """Those whose health and circuit permit a pick, as of the last `refresh`."""
        return self._permitted_keys

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The members' instances, the very same object until the mirror has others."""
        if self._seen_view != self.service.view_version:
            self._seen_view = self.service.view_version
            self._instances = tuple(
                member.instance for member in self.service.members.values() if self.selector.selects(member.instance)
            )
        return self._instances

    def succeed(self, other: Pool) -> None:
        """Goes on with the turns of another pool."""
        self._turns.succeed(other._turns)
        self._retry_turns.succeed(other._retry_turns)

    def offers(self, tried: Collection[InstanceKey]) -> bool:
        """Whether some member, be it busy or not, is permitted and not among those tried."""
        return not self._permitted_keys.issubset(tried)

    def pick(self, tried: Collection[InstanceKey], facts: TicketFacts, draw: Callable[[], float]) -> Member | None:
        """One eligible member, another than those tried if there is one; None where the ticket has to wait."""
        if not tried:
            eligible = self._eligible
            return self._among(eligible, self._eligible_keys, self._turns, facts, draw) if eligible.members else None
        others = self._eligible.only(lambda member: member.key not in tried)
        if not others.members:
            others = self._reserve.only(lambda member: member.key not in tried)
        if not others.members and not self.offers(tried):
            others = self._eligible
        return self._among(others, others.keys(), self._retry_turns, facts, draw) if others.members else None

    def retain(self, keys: frozenset[Hashable]) -> None:
        self._turns.retain(keys)
        self._retry_turns.retain(keys)

    def _healthy(self) -> Candidates:
        """Members whose health lets them be picked, or in a panic, those that are not too sick."""
        selected = [member for member in self.service.members.values() if self.selector.selects(member.instance)]
        weights = [member.instance.weight for member in selected]
        panic = self.selector.panic
        if panic is not None and not any(weights):
            weights = [member.instance.weight_passing if member.instance.health <= panic else 0 for member in selected]
        return Candidates(list(compress(selected, weights)), [weight for weight in weights if weight])

    def _among(
        self,
        candidates: Candidates,
        keys: Container[InstanceKey],
        turns: WeightedRoundRobin[Member],
        facts: TicketFacts,
        draw: Callable[[], float],
    ) -> Member:
        balance = self.service.policy.balance
        if balance.policy is BalancePolicy.LEAST_REQUEST:
            return self._least_request.pick(*candidates, draw)
        if balance.policy is BalancePolicy.RING_HASH and self._ring is not None and balance.on is not None:
            point = facts.hash_point(balance.on)
            picked = None if point is None else self._ring.pick(point, keys)
            if picked is not None:
                return picked
        return turns.pick(*candidates)

    def _warmed(self, candidates: Candidates, now: float) -> Candidates:
        if not self.service.policy.slow_start:
            return candidates
        steps = [self.service.warm_step(member, now) for member in candidates.members]
        weights = [weight * step for weight, step in zip(candidates.weights, steps, strict=True)]
        return Candidates(candidates.members, weights)
