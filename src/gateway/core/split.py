"""How one version of a route shares its requests out among its backends."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.balancer import WeightedRoundRobin
from gateway.core.model import Reason, Route
from gateway.core.pool import Pool


class _Share:
    __slots__ = ("key", "pool")

    def __init__(self, key: int, pool: Pool) -> None:
        self.key = key
        self.pool = pool


class Split:
    """A route with the pools of its backends, in the route's order."""

    __slots__ = ("_choices", "_turns", "pools", "route")

    def __init__(self, route: Route, pools: Sequence[Pool]) -> None:
        self.route = route
        self.pools = pools
        self._turns: WeightedRoundRobin[_Share] = WeightedRoundRobin()
        self._choices: dict[tuple[bool, ...], tuple[Sequence[_Share], Sequence[int]]] = {}

    def choose(self) -> Pool:
        """The pool whose turn it is; one with nothing to pick from gives its share to the others.

        Where none has, the first whose circuits are open speaks for the route, or else the first.
        """
        if len(self.pools) == 1:
            return self.pools[0]
        mask = tuple(pool.block is None for pool in self.pools)
        choice = self._choices.get(mask)
        if choice is None:
            choice = self._choices[mask] = self._shares(mask)
        shares, weights = choice
        if not shares:
            return next((pool for pool in self.pools if pool.block is Reason.CIRCUIT_OPEN), self.pools[0])
        return self._turns.pick(shares, weights).pool

    def _shares(self, mask: Sequence[bool]) -> tuple[Sequence[_Share], Sequence[int]]:
        weights = [backend.weight for backend in self.route.backends]
        shares = [_Share(index, pool) for index, pool in enumerate(self.pools) if mask[index] and weights[index]]
        return shares, [weights[share.key] for share in shares]
