"""How a route shares its requests out among its backends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from gateway.core.balancer import WeightedRoundRobin
from gateway.core.model import Backend, InstanceKey, Reason, Route
from gateway.core.pool import Pool


class _Share:
    __slots__ = ("key", "pool", "weight")

    def __init__(self, key: int, pool: Pool, weight: int) -> None:
        self.key = key
        self.pool = pool
        self.weight = weight


class Split:
    """The pools of a route's backends, in the route's order, but for those of weight 0.

    It serves all versions of the route that have the same backends, so that an edit of something else, or of another
    route, does not begin the turns anew.
    """

    __slots__ = ("_mask", "_open", "_retry_turns", "_route", "_shares", "_turns", "_weights", "pools")

    def __init__(self, route: Route, pool_of: Callable[[Backend], Pool]) -> None:
        self._route = route
        self._shares = [
            _Share(index, pool_of(backend), backend.weight)
            for index, backend in enumerate(route.backends)
            if backend.weight
        ]
        assert self._shares, f"route {route.name} has no backend with a weight"
        self.pools = [share.pool for share in self._shares]
        self._turns: WeightedRoundRobin[_Share] = WeightedRoundRobin()
        self._retry_turns: WeightedRoundRobin[_Share] = WeightedRoundRobin()
        self._mask: Sequence[bool] = ()
        self._open: Sequence[_Share] = ()
        self._weights: Sequence[int] = ()

    def fits(self, route: Route) -> bool:
        mine = self._route
        return mine is route or (mine.backends == route.backends and mine.when_empty.panic is route.when_empty.panic)

    def choose(self) -> Pool:
        """The pool whose turn it is; one with nothing to pick from gives its share to the others.

        Where none has, the first whose circuits are open speaks for the route, or else the first.
        """
        if len(self.pools) == 1:
            return self.pools[0]
        mask = [pool.block is None for pool in self.pools]
        if mask != self._mask:
            self._mask = mask
            self._open = [share for share, is_open in zip(self._shares, mask, strict=True) if is_open]
            self._weights = [share.weight for share in self._open]
        if not self._open:
            return next((pool for pool in self.pools if pool.block is Reason.CIRCUIT_OPEN), self.pools[0])
        return self._turns.pick(self._open, self._weights).pool

    def choose_other(self, tried: Collection[InstanceKey]) -> Pool | None:
        """A pool with a permitted instance that was not tried, by turns of retries alone; None where there is none."""
        shares = [share for share in self._shares if share.pool.offers(tried)]
        return self._retry_turns.pick(shares, [share.weight for share in shares]).pool if shares else None
