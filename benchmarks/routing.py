"""How the cost of matching grows with the table: microseconds per match, and the ratio to a table of ten routes.

Run: python -m benchmarks.routing
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from multidict import CIMultiDict

from gateway.core.facts import RequestFacts
from gateway.core.model import Backend, Match, PathKind, PathMatch, Route
from gateway.core.routing import RoutingTable
from gateway.discovery.regex import compile_full_match

SIZES = (10, 1_000, 10_000)
LOOKUPS = 20_000
ROUNDS = 7


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
    headers: CIMultiDict[str] = CIMultiDict({"host": "x", "accept": "*/*", "user-agent": "benchmark"})
    requests = []
    for step in range(LOOKUPS):
        number = step * 7919 % size
        host = f"a.service{number}.example.com"
        if kind is by_host:
            host = f"team{number % 100}-service{number}.example.com"
        path = f"/team{number % 100}/service{number}/items/7"
        requests.append(RequestFacts("GET", host, path, "", headers, "192.0.2.1"))
    return requests


def measure(kind: Callable[[int], Route], size: int) -> float:
    """Microseconds per match, the best of several rounds; every request has to find its route."""
    table = RoutingTable([kind(number) for number in range(size)], compile_full_match)
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


def main() -> None:
    print(f"{'table':<24}{'routes':>8}{'us/match':>10}{'ratio':>8}")
    for kind in (by_prefix, by_exact_path, by_host, by_wildcard_and_method):
        smallest = 0.0
        for size in SIZES:
            cost = measure(kind, size)
            smallest = smallest or cost
            print(f"{kind.__name__:<24}{size:>8}{cost:>10.2f}{cost / smallest:>8.2f}")


if __name__ == "__main__":
    main()
