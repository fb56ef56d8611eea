"""What predicates cost: each against a Python function written by hand for it, the most that one may cost, and matching
in tables of routes that all have one, which has to be as flat as without (`benchmarks.routing`).

Run: python -m benchmarks.predicates
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from random import Random
from textwrap import shorten
from typing import NamedTuple

from multidict import CIMultiDict

from benchmarks import routing, steering
from gateway.core.facts import RequestFacts
from gateway.core.model import Backend, Match, PathKind, PathMatch, Route
from gateway.core.predicate import PredicateError
from gateway.core.serving import Standing
from gateway.core.steering import Steerer
from gateway.discovery.predicates import compile_instances, compile_when
from gateway.pipeline.stage import Call

EVALUATIONS = 100_000
ROUNDS = 5

REQUEST = RequestFacts(
    "GET", "a.example.com", "/orders/1", "", routing.HEADERS, "10.1.2.3", "http", 1_795_615_382_000_000_000
)


class Pair(NamedTuple):
    predicate: str
    by_hand: Callable[[RequestFacts], bool]


PAIRS = (
    Pair(
        'request.headers["x-tier"] == "gold" && !request.path.endsWith(".php")',
        lambda facts: facts.headers.getall("x-tier", ()) == ["gold"] and not facts.path.endswith(".php"),
    ),
    Pair('request.path == "/orders/1"', lambda facts: facts.path == "/orders/1"),
    Pair(
        'has(request.headers.`x-tier`) && request.headers["x-tier"].startsWith("g")',
        lambda facts: any(value.startswith("g") for value in facts.headers.getall("x-tier", ())),
    ),
    Pair(
        'request.method in ["GET", "HEAD"] && request.segments.exists(s, s == "1")',
        lambda facts: facts.method in ("GET", "HEAD") and any(s == "1" for s in facts.path.split("/")),
    ),
)
DEAREST = (
    "request.headers.all(a, request.headers.all(b, request.headers.all(c, !(a + b + c).matches('[^0-9x-]'))))",
    "request.headers.all(a, request.headers[a].split('').all(b, b.lowerAscii() < 'b'))",
    "request.headers.all(a, request.headers[a].split('').all(b, dyn(b) < dyn(b) || true))",
    "request.headers.all(a, request.headers[a].split('').all(b, dyn(b) / 1 == 1 || true))",
    "request.headers.map(a, request.headers[a].split('')).all(a, a == a)",
    "request.headers.all(a, request.headers[a].split('').all(b, b.matches('a')))",
    " || ".join(["request.headers.x.split('').join() == ''"] * 90),
    " || ".join(["request.headers.x.matches('a.{60}b')"] * 95),
)

DEAREST_OF_INSTANCES = " || ".join(["(request.headers.x + instance.id).matches('a.{60}b')"] * 60)


def best_of(work: Callable[[], object], count: int) -> float:
    """Microseconds for each of `count`, the best of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best / count * 1e6


def evaluation(holds: Callable[[RequestFacts], bool]) -> float:
    def work() -> None:
        for _ in range(EVALUATIONS):
            holds(REQUEST)

    return best_of(work, EVALUATIONS)


def largest() -> RequestFacts:
    """The largest head that a gateway takes by default: fields of up to 8 KiB, 64 KiB in all."""
    headers = CIMultiDict({f"x-{number:0>125}": "a" * 380 for number in range(112)})
    headers["x"] = "".join(Random(7).choices("ac", k=8192))
    return RequestFacts("GET", "a", "/", "", headers, "10.1.2.3")


def dearest(predicate: str) -> float:
    facts = largest()
    holds = compile_when(predicate).holds

    def work() -> None:
        with suppress(PredicateError):
            holds(facts)

    return best_of(work, 1)


def dearest_of(count: int) -> float:
    """Of one backend's `instances`, with so many of them."""
    route = Route("r", 1, (Backend("orders", instances=DEAREST_OF_INSTANCES),))
    standing = Standing(route.backends[0], steering.instances(count), frozenset())
    call = Call(largest(), route, None, "/", "", [])
    steerer = Steerer(compile_instances, lambda _: "", lambda *_: None)
    return best_of(lambda: steerer.steer(call, [standing]), 1)


def with_when(number: int) -> Route:
    path = PathMatch(PathKind.PREFIX, f"/team{number % 100}/service{number}")
    return Route(f"r{number}", 1, (Backend("s"),), (Match(path=path),), when=PAIRS[0].predicate)


def main() -> int:
    print(f"{'us':>8}{'by hand':>10}{'ratio':>8}  predicate")
    for pair in PAIRS:
        holds = compile_when(pair.predicate).holds
        if not (holds(REQUEST) and pair.by_hand(REQUEST)):
            raise AssertionError(f"not true: {pair.predicate}")
        ours, theirs = evaluation(holds), evaluation(pair.by_hand)
        print(f"{ours:>8.2f}{theirs:>10.2f}{ours / theirs:>8.1f}  {pair.predicate}")
    print(f"\n{'ms':>8}  the dearest, on the largest head")
    for predicate in DEAREST:
        print(f"{dearest(predicate) / 1000:>8.2f}  {shorten(predicate, 110, placeholder=' …')}")
    for count in (1, 300, 1000):
        print(f"{dearest_of(count) / 1000:>8.2f}  `instances` with {count} of them")
    print(f"\n{'table':<24}{'routes':>8}{'us/match':>10}{'ratio':>8}")
    return 0 if routing.is_flat(with_when, "each with `when`") else 1


if __name__ == "__main__":
    sys.exit(main())
