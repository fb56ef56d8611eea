"""A route's rate limits: which key a request counts under, and what becomes of one that is over a limit."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from socket import AF_INET6, inet_pton

from gateway.core.limits import RateKey, RateLimit, RateSource
from gateway.core.model import Reason, Route
from gateway.pipeline.gcra import Gcra, Key
from gateway.pipeline.stage import Answer, Call, ResponseHead

KeyOf = Callable[[Call], Key]

_LONGEST_KEY = 64
_OF_AUTHENTICATED = frozenset({RateSource.CLAIM, RateSource.CREDENTIAL})
_NETWORK_OF_A_HOST = 8
"""Bytes: the /64 that one host or household has in IPv6, and may take any address from (RFC 6177, RFC 8981)."""


@dataclass(frozen=True, slots=True)
class RateLoad:
    """What a route's limits remember. `forgotten` keys had to go while they were live."""

    route: str
    keys: int
    forgotten: int


class RateLimits:
    """The rate limits of all routes, and what they remember, which an edit of a route leaves alone where the limit
    stays as it is. `clock` gives monotonic seconds; `capacity` is of keys for each limit of each route."""

    def __init__(self, clock: Callable[[], float], capacity: int) -> None:
        self._clock = clock
        self._capacity = capacity
        self._held: dict[tuple[str, bool], Mapping[RateLimit, Gcra]] = {}
        """By route, and whether they are of those who have been authenticated."""

    def of_anyone(self, route: Route) -> RateLimited | None:
        """The limits that need no credential, and so hold up whoever guesses at one."""
        return self._stage(route, authenticated=False)

    def of_authenticated(self, route: Route) -> RateLimited | None:
        """Those by claim or credential."""
        return self._stage(route, authenticated=True)

    def _stage(self, route: Route, *, authenticated: bool) -> RateLimited | None:
        held = self._held.pop((route.name, authenticated), {})
        limits = {
            limit: held[limit] if limit in held else self._new(limit)
            for limit in route.limits.rate
            if (limit.by.source in _OF_AUTHENTICATED) is authenticated
        }
        if not limits:
            return None
        self._held[route.name, authenticated] = limits
        return RateLimited(limits, self._clock)

    def retain(self, names: frozenset[str]) -> None:
        """Forgets routes that are gone."""
        self._held = {of: limits for of, limits in self._held.items() if of[0] in names}

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
        self._limits: Sequence[tuple[RateLimit, KeyOf, Gcra]] = [
            (limit, key_of(limit.by), gcra) for limit, gcra in limits.items()
        ]
        self._clock = clock

    def request(self, call: Call) -> Answer | None:
        now = self._clock()
        keys: list[Key] = []
        longest, over = 0.0, None
        for limit, of, gcra in self._limits:
            key = of(call)
            wait = gcra.wait(key, now)
            if wait > longest:
                longest, over = wait, limit
            keys.append(key)
        if over is not None:
            return Answer(Reason.RATE_LIMITED, note=f"over {over}", retry_after=longest)
        for (_, _, gcra), key in zip(self._limits, keys, strict=True):
            gcra.take(key, now)
        return None

    def response(self, _: Call, __: ResponseHead) -> None:
        """Stays as it is."""


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
