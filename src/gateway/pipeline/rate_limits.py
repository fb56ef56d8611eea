"""A route's rate limits: which key a request counts under, and what becomes of one that is over a limit."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from socket import AF_INET6, inet_pton
from typing import NamedTuple

from gateway.core.limits import RateKey, RateLimit, RateSource
from gateway.core.model import Reason, Route
from gateway.pipeline.gcra import Gcra, Key
from gateway.pipeline.stage import Answer, Call, ResponseHead, Stage

KeyOf = Callable[[Call], Key]

_LONGEST_KEY = 64
_OF_AUTHENTICATED = frozenset({RateSource.CLAIM, RateSource.CREDENTIAL})
_NETWORK_OF_A_HOST = 8
"""Bytes: the /64 that one host or household has in IPv6, and may take any address from (RFC 6177, RFC 8981)."""


class RateLoad(NamedTuple):
    """What a route's limits remember. `forgotten` keys had to go while they were live."""

    route: str
    keys: int
    forgotten: int


class Over(NamedTuple):
    """Which limit refuses a request, and for how many seconds."""

    limit: RateLimit
    wait: float


class Asked(NamedTuple):
    """Whether a request is granted by all `limits` of a route, or of its limits of who has been authenticated, under
    one key of each."""

    route: str
    authenticated: bool
    limits: Sequence[RateLimit]
    keys: Sequence[Key]


Ask = Callable[[Asked], Awaitable[Over | None]]


class RateLimits:
    """The rate limits of all routes, and what they remember, which an edit of a route leaves alone where the limit
    stays as it is. `clock` gives monotonic seconds; `capacity` is of keys for each limit of each route."""

    def __init__(self, clock: Callable[[], float], capacity: int) -> None:
        self.ask: Ask | None = None
        """Asks whoever counts for several of us; None where this one counts itself. For stages that are made later."""
        self._clock = clock
        self._capacity = capacity
        self._held: dict[tuple[str, bool], dict[RateLimit, Gcra]] = {}
        """By route, and whether they are of those who have been authenticated."""

    def of_anyone(self, route: Route) -> Stage | None:
        """The limits that need no credential, and so hold up whoever guesses at one."""
        return self._stage(route, authenticated=False)

    def of_authenticated(self, route: Route) -> Stage | None:
        """Those by claim or credential."""
        return self._stage(route, authenticated=True)

    def _stage(self, route: Route, *, authenticated: bool) -> Stage | None:
        held = self._held.pop((route.name, authenticated), {})
        wanted = [limit for limit in route.limits.rate if (limit.by.source in _OF_AUTHENTICATED) is authenticated]
        if not wanted:
            return None
        if self.ask is not None:
            return AskedLimits(route.name, authenticated, wanted, self.ask)
        limits = {limit: held[limit] if limit in held else self._new(limit) for limit in wanted}
        self._held[route.name, authenticated] = limits
        return RateLimited(limits, self._clock)

    def judge(self, asked: Asked) -> Over | None:
        """Counts a request that all its limits grant, or tells which of them refuses it for longest."""
        held = self._held.setdefault((asked.route, asked.authenticated), {})
        for limit in asked.limits:
            if limit not in held:
                held[limit] = self._new(limit)
        return _judge([(limit, held[limit]) for limit in asked.limits], asked.keys, self._clock())

    def follow(self, routes: Iterable[Route]) -> None:
        """Forgets limits that none of the routes has any more."""
        limits = {route.name: frozenset(route.limits.rate) for route in routes}
        kept = {
            (name, of): {limit: gcra for limit, gcra in gcras.items() if limit in limits.get(name, ())}
            for (name, of), gcras in self._held.items()
        }
        self._held = {of: gcras for of, gcras in kept.items() if gcras}

    def loads(self) -> Iterator[RateLoad]:
        of_route: defaultdict[str, list[Gcra]] = defaultdict(list)
        for (route, _), limits in self._held.items():
            of_route[route] += limits.values()
        for route, every in of_route.items():
            yield RateLoad(route, sum(map(len, every)), sum(each.forgotten for each in every))

    def _new(self, limit: RateLimit) -> Gcra:
        return Gcra(limit.count, limit.period, limit.burst, self._capacity)


class RateLimited:
    """The stage of some of a route's rate limits: all have to grant a request, and one that is refused counts for none
    of them."""

    def __init__(self, limits: Mapping[RateLimit, Gcra], clock: Callable[[], float]) -> None:
        self._limits = list(limits.items())
        self._keys_of = [key_of(limit.by) for limit in limits]
        self._clock = clock

    def request(self, call: Call) -> Answer | None:
        return _answer(_judge(self._limits, [of(call) for of in self._keys_of], self._clock()))

    def response(self, _: Call, __: ResponseHead) -> None:
        """Stays as it is."""


class AskedLimits:
    """The stage of some of a route's rate limits, which somebody else counts for several of us."""

    def __init__(self, route: str, authenticated: bool, limits: Sequence[RateLimit], ask: Ask) -> None:
        self._route = route
        self._authenticated = authenticated
        self._limits = tuple(limits)
        self._keys_of = [key_of(limit.by) for limit in limits]
        self._ask = ask

    async def request(self, call: Call) -> Answer | None:
        keys = tuple([of(call) for of in self._keys_of])
        return _answer(await self._ask(Asked(self._route, self._authenticated, self._limits, keys)))

    def response(self, _: Call, __: ResponseHead) -> None:
        """Stays as it is."""


def _judge(limits: Sequence[tuple[RateLimit, Gcra]], keys: Sequence[Key], now: float) -> Over | None:
    over: Over | None = None
    for (limit, gcra), key in zip(limits, keys, strict=True):
        wait = gcra.wait(key, now)
        if wait > (0.0 if over is None else over.wait):
            over = Over(limit, wait)
    if over is None:
        for (_, gcra), key in zip(limits, keys, strict=True):
            gcra.take(key, now)
    return over


def _answer(over: Over | None) -> Answer | None:
    return None if over is None else Answer(Reason.RATE_LIMITED, note=f"over {over.limit}", retry_after=over.wait)


def key_of(by: RateKey) -> KeyOf:
    """What finds a request's key. Requests without the header, claim or credential share one key, None, so that
    leaving it out gets nobody past the limit."""
    match by.source:
        case RateSource.CLIENT_IP:
            return _client
        case RateSource.HEADER:
            return partial(_header, by.name)
        case RateSource.CLAIM:
            return partial(_claim, by.name)
        case RateSource.CREDENTIAL:
            return _credential
        case RateSource.ROUTE:
            return _route


def _client(call: Call) -> Key:
    address = call.facts.client_ip
    return inet_pton(AF_INET6, address)[:_NETWORK_OF_A_HOST] if ":" in address else address


def _header(name: str, call: Call) -> Key:
    """Several values are one, as a list is (RFC 9110 §5.3): else each side might look at another of them."""
    values = call.facts.header_values(name)
    return _bounded(", ".join(values)) if values else None


def _claim(name: str, call: Call) -> Key:
    value = call.claims.get(name)
    if value is None:
        return None
    return _bounded(value if isinstance(value, str) else json.dumps(value, sort_keys=True))


def _credential(call: Call) -> Key:
    """Whoever one issuer calls alice is not the alice of another. The length keeps the parts apart."""
    who = call.identity
    return None if who is None else _bounded(f"{who.kind}:{len(who.issuer)}:{who.issuer}:{who.owner}")


def _route(_: Call) -> Key:
    return None


def _bounded(value: str) -> Key:
    """Of no more than 64 characters, whatever a client sends."""
    if len(value) <= _LONGEST_KEY:
        return value
    return blake2b(value.encode("utf-8", "surrogatepass"), digest_size=16).digest()
