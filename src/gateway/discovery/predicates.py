"""Predicates of operators, with what the core does not have itself: RE2, and the time zones of the IANA database."""

from __future__ import annotations

import re
from datetime import tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from gateway.core.candidate import INSTANCES, Candidate
from gateway.core.facts import RequestFacts
from gateway.core.predicate import Predicate, Search, Tools, compile_predicate
from gateway.core.require import REQUIRE, Authenticated
from gateway.core.when import WHEN
from gateway.discovery.regex import BadPattern, compile_search

_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*").fullmatch


@lru_cache(maxsize=16_384)
def compile_when(source: str) -> Predicate[RequestFacts]:
    """A route's `when`. Raises BadPredicate.

    Compiled predicates are kept, so that a table built anew on each change costs no compilation.
    """
    return compile_predicate(source, WHEN, TOOLS)


@lru_cache(maxsize=16_384)
def compile_require(source: str) -> Predicate[Authenticated]:
    """A route's `require`, kept as `compile_when` keeps. Raises BadPredicate."""
    return compile_predicate(source, REQUIRE, TOOLS)


@lru_cache(maxsize=16_384)
def compile_instances(source: str) -> Predicate[Candidate]:
    """A backend's `instances` or `prefer`, kept as `compile_when` keeps. Raises BadPredicate."""
    return compile_predicate(source, INSTANCES, TOOLS)


def find_zone(name: str) -> tzinfo:
    """A time zone by its name in the IANA database. Raises ValueError."""
    try:
        if _ZONE(name):
            return ZoneInfo(name)
    except (KeyError, OSError):
        pass
    raise ValueError("is not the name of a time zone, such as Europe/Berlin or UTC, nor an offset such as +02:00")


def _search(pattern: str) -> Search:
    try:
        return compile_search(pattern)
    except BadPattern as bad:
        raise ValueError(f"is not a regular expression that RE2 takes: {bad}") from None


TOOLS = Tools(_search, find_zone)
