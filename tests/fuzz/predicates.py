"""Predicates in routes: judged with a place, or a value or an error for any request, in bounded work."""

from __future__ import annotations

from contextlib import suppress
from random import Random

from gateway.core.predicate import BadPredicate, PredicateError, compile_predicate
from gateway.core.when import WHEN
from gateway.discovery.predicates import TOOLS
from tests.unit.predicate_support import Expressions
from tests.unit.test_predicate_fuzz import LEXEMES, REQUEST

SEEDS = [
    b'request.headers["x-tier"] == "gold" && !request.path.endsWith(".php")',
    b"request.segments.exists(s, s.matches('^[a-z]+$')) || request.time > timestamp('2026-01-01T00:00:00Z')",
    b"has(request.query.a) ? cidr('10.0.0.0/8').contains(request.client_ip) : sample(0.5)",
    *(Expressions(Random(seed)).expression().encode("utf-8", "surrogateescape") for seed in range(40)),
    " ".join(LEXEMES).encode(),
]
FOUND: list[bytes] = []


def fuzz(data: bytes) -> None:
    with suppress(BadPredicate, PredicateError):
        predicate = compile_predicate(data.decode("utf-8", "surrogateescape"), WHEN, TOOLS)
        assert predicate.holds(REQUEST) in (True, False)
