"""Where credentials stand in a request: read from what the client sent, taken out of what goes upstream."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import unquote_plus

from gateway.core.authentication import Place, PlaceKind
from gateway.core.facts import RequestFacts
from gateway.pipeline.stage import Call, Field
from gateway.pipeline.twins import as_seen_by_servers


class Ambiguous(Exception):
    """There are several, and an instance may take another one than we."""


def present(facts: RequestFacts, place: Place) -> str | None:
    """The one value at that place. Raises Ambiguous."""
    found = _values(facts, place)
    if len(found) > 1:
        raise Ambiguous
    return found[0] if found else None


def of_scheme(value: str | None, scheme: str) -> str | None:
    """The credential of an `Authorization` of that scheme (RFC 9110 §11.4: compared without case)."""
    if value is None:
        return None
    name, _, credential = value.partition(" ")
    return credential.lstrip(" ") if name.lower() == scheme else None


class Removal:
    """Takes credentials and headers out of what goes upstream. Headers go with their twins that have underscores, since
    many servers make one variable of both (CGI, RFC 3875 §4.1.18)."""

    def __init__(self, places: Collection[Place], headers: Collection[str]) -> None:
        of_kind = {kind: frozenset(place.name for place in places if place.kind is kind) for kind in PlaceKind}
        named = {*headers, *of_kind[PlaceKind.AUTHORIZATION], *of_kind[PlaceKind.HEADER]}
        self._headers = frozenset(as_seen_by_servers(name) for name in named)
        self._cookies = of_kind[PlaceKind.COOKIE]
        self._parameters = of_kind[PlaceKind.QUERY]

    def apply(self, call: Call) -> None:
        dropped = self._headers
        call.fields = [field for field in call.fields if as_seen_by_servers(field[0]) not in dropped]
        if self._cookies:
            call.fields = _without_cookies(call.fields, self._cookies)
        if self._parameters:
            call.query = _without_parameters(call.query, self._parameters)


def _values(facts: RequestFacts, place: Place) -> list[str]:
    if place.kind is PlaceKind.QUERY:
        return [*facts.query_values(place.name)]
    if place.kind is PlaceKind.COOKIE:
        pairs = [pair.strip().partition("=") for line in facts.header_values("cookie") for pair in line.split(";")]
        return [value for name, _, value in pairs if name == place.name]
    return [*facts.header_values(place.name)]


def _without_parameters(query: str, names: frozenset[str]) -> str:
    parts = query.removeprefix("?").split("&")
    kept = [part for part in parts if unquote_plus(part.partition("=")[0]) not in names]
    left = "&".join(kept)
    return f"?{left}" if left else ""


def _without_cookies(fields: list[Field], names: frozenset[str]) -> list[Field]:
    kept: list[Field] = []
    for header, value in fields:
        if header.lower() == "cookie":
            pairs = [pair for pair in value.split(";") if pair.strip().partition("=")[0] not in names]
            value = ";".join(pairs).strip()
            if not value:
                continue
        kept.append((header, value))
    return kept
