"""Cross-origin requests: which pages of other origins may read a route's answers (the Fetch standard, CORS protocol).

It protects people who browse, and keeps nobody out: a request of an origin that is not allowed goes on as any other,
and its answer says nothing that would let a browser show it to the page. Preflights, which ask before, never go
upstream, and need no credentials: browsers send none with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from gateway.core.facts import RequestFacts
from gateway.core.limits import ANY, Cors
from gateway.core.model import Reason, Route
from gateway.pipeline.stage import Answer, Call, Field, ResponseHead

_LABELS = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*").fullmatch
_PREFIX = "access-control-"
_WILDCARD = "*."


def preflighted(facts: RequestFacts) -> str | None:
    """The method that a preflight asks about; None for all other requests."""
    if facts.method != "OPTIONS" or not facts.header_values("origin"):
        return None
    methods = facts.header_values("access-control-request-method")
    return methods[0] if methods else None


class Origins:
    """Which origins are allowed. Browsers write them in one way only, so that letters are compared as they are."""

    def __init__(self, origins: Iterable[str]) -> None:
        origins = tuple(origins)
        wildcards = [origin.partition(_WILDCARD) for origin in origins if _WILDCARD in origin]
        self.any = ANY in origins
        self._exact = frozenset(origin for origin in origins if ANY not in origin)
        self._wildcards = [(before, f".{host}") for before, _, host in wildcards]

    def __contains__(self, origin: str) -> bool:
        return self.any or origin in self._exact or any(_between(origin, *each) for each in self._wildcards)


def _between(origin: str, before: str, after: str) -> bool:
    """Whether there is a host, or several labels of one, between the two."""
    if not (origin.startswith(before) and origin.endswith(after)):
        return False
    return _LABELS(origin[len(before) : len(origin) - len(after)]) is not None


class CrossOrigin:
    """The stage of a route's CORS. What the upstream itself says of it is replaced."""

    def __init__(self, cors: Cors) -> None:
        self._origins = Origins(cors.origins)
        self._credentials: list[Field] = [("Access-Control-Allow-Credentials", "true")] if cors.credentials else []
        self._exposed = _listed("Access-Control-Expose-Headers", cors.expose)
        self._permitted = (
            *_listed("Access-Control-Allow-Methods", cors.methods),
            *_listed("Access-Control-Allow-Headers", cors.headers),
            ("Access-Control-Max-Age", str(int(cors.max_age))),
        )

    @classmethod
    def of(cls, route: Route) -> CrossOrigin | None:
        return cls(route.cors) if route.cors.origins else None

    def request(self, call: Call) -> Answer | None:
        if preflighted(call.facts) is None:
            return None
        if self._allowed(call.facts) is None:
            return Answer(Reason.FORBIDDEN, "pages of this origin may not ask")
        return Answer(status=204, fields=self._permitted)

    def response(self, call: Call, head: ResponseHead) -> None:
        preflight = preflighted(call.facts) is not None
        if not head.ours:
            head.fields = [field for field in head.fields if not field[0].lower().startswith(_PREFIX)]
        if not self._origins.any:
            head.fields.append(("Vary", "Origin"))
        allowed = self._allowed(call.facts)
        if allowed is not None:
            head.fields.append(("Access-Control-Allow-Origin", allowed))
            head.fields += self._credentials
            head.fields += [] if preflight else self._exposed

    def _allowed(self, facts: RequestFacts) -> str | None:
        """The value of `Access-Control-Allow-Origin`; None where the header stays away."""
        origins = facts.header_values("origin")
        if len(origins) != 1 or origins[0] not in self._origins:
            return None
        return ANY if self._origins.any else origins[0]


def _listed(name: str, values: Iterable[str]) -> list[Field]:
    joined = ", ".join(values)
    return [(name, joined)] if joined else []
