"""How the cost of matching grows with the table: microseconds per match, and the ratio to a table of ten routes, to be
no more than 3 with ten thousand. Ends with 1 where it is.

Run: python -m benchmarks.routing
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from multidict import CIMultiDict, CIMultiDictProxy

from benchmarks.harness.figures import Target
from gateway.core.facts import RequestFacts
from gateway.core.model import Backend, Match, PathKind, PathMatch, Route
from gateway.core.routing import RoutingTable
from gateway.discovery.predicates import compile_when
from gateway.discovery.regex import compile_full_match

SIZES = (10, 100, 1_000, 10_000)
LOOKUPS = 20_000
ROUNDS = 9
FLAT = Target(at_most=3.0)
HEADERS = CIMultiDictProxy(
    CIMultiDict(
        {"Host": "a.example.com", "Accept": "*/*", "User-Agent": "benchmark", "X-Tier": "gold", "X-Tenant": "acme"}
    )
)


def by_prefix(number: int) -> Route:
    return _route(number, Match(path=PathMatch(PathKind.PREFIX, f"/team{number % 100}/service{number}")))


def by_exact_path(number: int) -> Route:
    return _route(number, Match(path=PathMatch(PathKind.EXACT, f"/team{number % 100}/service{number}/items/7")))


def by_host(number: int) -> Route:
    return _route(number, Match(), hostnames=(f"team{number % 100}-service{number}.example.com",))


def by_wildcard_and_method(number: int) -> Route:
    match = Match(path=PathMatch(PathKind.PREFIX, "/"), methods=frozenset({"GET"}))
    return _route(number, match, hostnames=(f"*.service{number}.example.com",))


def _route(number: int, match: Match, hostnames: tuple[str, ...] = ()) -> Route:
    return Route(f"r{number}", 1, (Backend("s"),), (match,), hostnames)


def _requests(kind: Callable[[int], Route], size: int) -> Sequence[RequestFacts]:
    requests = []
    for step in range(LOOKUPS):
        number = step * 7919 % size
        host = f"a.service{number}.example.com"
        if kind is by_host:
            host = f"team{number % 100}-service{number}.example.com"
        path = f"/team{number % 100}/service{number}/items/7"
        requests.append(RequestFacts("GET", host, path, "", HEADERS, "192.0.2.1"))
    return requests


def measure(kind: Callable[[int], Route], size: int) -> float:
    """Microseconds per match, the best of several rounds; every request has to find its route."""
    table = RoutingTable([kind(number) for number in range(size)], compile_full_match, compile_when)
    requests = _requests(kind, size)
    match = table.match
    if any(match(request) is None for request in requests):
        raise AssertionError(f"{kind.__name__}: a request found no route among {size}")
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for request in requests:
            match(request)
        best = min(best, time.perf_counter() - started)
    return best / len(requests) * 1e6


def is_flat(kind: Callable[[int], Route], name: str) -> bool:
    """Prints a line for each size."""
    costs = [measure(kind, size) for size in SIZES]
    for size, cost in zip(SIZES, costs, strict=True):
        print(f"{name:<24}{size:>8}{cost:>10.2f}{cost / costs[0]:>8.2f}")
    flat = FLAT.met(costs[-1] / costs[0])
    if not flat:
        print(f"missed: {name} costs {costs[-1] / costs[0]:.2f} times as much, to be {FLAT}", file=sys.stderr)
    return flat


def main() -> int:
    print(f"{'table':<24}{'routes':>8}{'us/match':>10}{'ratio':>8}")
    kinds = (by_prefix, by_exact_path, by_host, by_wildcard_and_method)
    flat = [is_flat(kind, kind.__name__) for kind in kinds]
    return 0 if all(flat) else 1


if __name__ == "__main__":
    sys.exit(main())
