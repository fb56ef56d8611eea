"""How a route shares its requests out among its backends."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from mypy_extensions import mypyc_attr

from gateway.core.balancer import WeightedRoundRobin
from gateway.core.model import Backend, InstanceKey, Reason, Route
from gateway.core.pool import Pool
from gateway.core.serving import ANYBODY, Serving, Standing, Steering


@mypyc_attr(allow_interpreted_subclasses=True)
class _Share:
    __slots__ = ("fallback", "key", "pool", "weight")

    def __init__(self, key: int, backend: Backend, pool: Pool) -> None:
        self.key = key
        """Its place among the shares."""
        self.fallback = backend.fallback
        self.pool = pool
        self.weight = backend.weight


@mypyc_attr(allow_interpreted_subclasses=True)
class Ways:
    """Where one ticket may go, by what its request said: a pool for each share.

    A pool that has nothing to pick from gives way to its reserve, if its backend lets others serve then.
    """

    __slots__ = ("_pools", "_reserves", "held")

    def __init__(self, pools: Sequence[Pool], reserves: Sequence[Pool | None], held: int | None) -> None:
        self._pools = pools
        self._reserves = reserves
        self.held = held
        """The share that has the instance at which the client stays."""

    def refresh(self, now: float) -> None:
        for pool in (*self._pools, *self._reserves):
            if pool is not None:
                pool.refresh(now)

    def pools(self) -> Sequence[Pool]:
        return [
            pool if reserve is None or pool.block is None else reserve
            for pool, reserve in zip(self._pools, self._reserves, strict=True)
        ]

    def pools_beside(self, tried: Collection[InstanceKey]) -> Sequence[Pool]:
        return [
            pool if reserve is None or pool.offers(tried) else reserve
            for pool, reserve in zip(self._pools, self._reserves, strict=True)
        ]


@mypyc_attr(allow_interpreted_subclasses=True)
class Split:
    """The pools of a route's backends, in the route's order, but for those of weight 0.

    It serves all versions of the route that have the same backends, so that an edit of something else, or of another
    route, does not begin the turns anew.
    """

    __slots__ = ("_mask", "_open", "_retry_turns", "_route", "_shares", "_turns", "_weights", "pools")

    def __init__(self, route: Route, pool_of: Callable[[Backend], Pool]) -> None:
        self._route = route
        self._shares = [_Share(place, backend, pool_of(backend)) for place, backend in enumerate(weighty(route))]
        assert self._shares, f"route {route.name} has no backend with a weight"
        self.pools: Sequence[Pool] = [share.pool for share in self._shares]
        self._turns: WeightedRoundRobin[_Share] = WeightedRoundRobin()
        self._retry_turns: WeightedRoundRobin[_Share] = WeightedRoundRobin()
        self._mask: Sequence[bool] = ()
        self._open: Sequence[_Share] = ()
        self._weights: Sequence[int] = ()

    def fits(self, route: Route) -> bool:
        mine = self._route
        return mine is route or (mine.backends == route.backends and mine.when_empty.panic is route.when_empty.panic)

    def standings(self) -> Sequence[Standing]:
        """What each backend has, as of the last refresh of `pools`."""
        backends = weighty(self._route)
        return [
            Standing(backend, pool.instances, pool.permitted)
            for backend, pool in zip(backends, self.pools, strict=True)
        ]

    def ways(self, steering: Steering) -> Ways:
        """Where a request with this steering may go; to be refreshed."""
        pools: list[Pool] = []
        reserves: list[Pool | None] = []
        for backend, pool, serving in zip(weighty(self._route), self.pools, steering.serving, strict=True):
            pools.append(_steered(pool, serving))
            narrow = serving.only is not None and backend.any_otherwise
            reserves.append(_steered(pool, Serving(None, serving.preferred)) if narrow else None)
        return Ways(pools, reserves, steering.held)

    def choose(self, ways: Ways | None) -> Pool:
        """The pool whose turn it is; one with nothing to pick from gives its share to the others, and a fallback has
        one only then.

        Where none has, the first whose circuits are open speaks for the route, or else the first.
        """
        pools = self.pools if ways is None else ways.pools()
        if len(pools) == 1:
            return pools[0]
        mask = [pool.block is None for pool in pools]
        if mask != self._mask:
            self._mask = mask
            self._open = _foremost([share for share, is_open in zip(self._shares, mask, strict=True) if is_open])
            self._weights = [share.weight for share in self._open]
        held = None if ways is None else ways.held
        if held is not None and any(share.key == held for share in self._open):
            return pools[held]
        if not self._open:
            return next((pool for pool in pools if pool.block is Reason.CIRCUIT_OPEN), pools[0])
        return pools[self._turns.pick(self._open, self._weights).key]

    def choose_other(self, ways: Ways | None, tried: Collection[InstanceKey]) -> Pool | None:
        """A pool with a permitted instance that was not tried, by turns of retries alone; None where there is none."""
        pools = self.pools if ways is None else ways.pools_beside(tried)
        shares = _foremost([share for share in self._shares if pools[share.key].offers(tried)])
        return pools[self._retry_turns.pick(shares, [share.weight for share in shares]).key] if shares else None


def weighty(route: Route) -> Sequence[Backend]:
    """The backends of a route that get requests."""
    return [backend for backend in route.backends if backend.weight]


def _foremost(shares: Sequence[_Share]) -> Sequence[_Share]:
    """Without the fallbacks, unless there is nothing else."""
    return [share for share in shares if not share.fallback] or shares


def _steered(pool: Pool, serving: Serving) -> Pool:
    return pool if serving == ANYBODY else pool.service.steered_pool(pool, serving)
