"""What must not be told in logs and traces: values of headers and query parameters that carry credentials."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from urllib.parse import unquote_plus

from gateway.core.authentication import PlaceKind
from gateway.core.facts import Headers
from gateway.core.model import Route

REDACTED = "***"
_ALWAYS = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
"""Headers that are credentials by definition (RFC 9110 §11, RFC 6265), whatever the operator names."""
_PART_OF_NAME = re.compile(r"[\[\].]+")


class Redaction:
    """Names compare without case, `-` as `_`, and by each part: `user[password]` is a `password`."""

    def __init__(self, headers: Collection[str], parameters: Collection[str], shown: Sequence[str] = ()) -> None:
        """`shown` are the request headers that are told at all."""
        self._shown = tuple(name.lower() for name in shown)
        self._headers, self._parameters = _alike(_ALWAYS | {*headers}), _alike(parameters)

    def follow(self, routes: Iterable[Route]) -> None:
        """Adds what these routes take credentials from.

        It holds for all requests: a credential that is sent to the wrong path is one still. And it holds on when a
        route has gone, since its requests may go on for long, and are told of when they end.
        """
        every = (method.place for route in routes if route.auth is not None for method in route.auth.methods)
        places = [place for place in every if place is not None]
        headers = _alike(place.name for place in places if place.kind is PlaceKind.HEADER)
        parameters = _alike(place.name for place in places if place.kind is PlaceKind.QUERY)
        self._headers |= headers
        self._parameters |= parameters

    def query(self, query: str) -> str:
        """A raw query, its order and spelling kept."""
        if not query:
            return query
        return "&".join(map(self._parameter, query.split("&")))

    def headers(self, headers: Headers) -> Mapping[str, str]:
        """Those that are shown, where the request has them; of an address in one the query is redacted too."""
        if not self._shown:
            return {}
        found = ((name, headers.getall(name, ())) for name in self._shown)
        return {name: self._header(name, ", ".join(values)) for name, values in found if values}

    def _header(self, name: str, value: str) -> str:
        if name.replace("-", "_") in self._headers:
            return REDACTED
        before, mark, query = value.partition("?")
        return before + mark + self.query(query)

    def _parameter(self, text: str) -> str:
        """Servers differ about `;`: it may separate, and so hide a name, or be a part of the secret before it."""
        told: list[str] = []
        for part in text.split(";"):
            name, sign, _ = part.partition("=")
            if sign and self._is_secret(name):
                told.append(f"{name}={REDACTED}")
                break
            told.append(part)
        return ";".join(told)

    def _is_secret(self, name: str) -> bool:
        plain = unquote_plus(name).lower().replace("-", "_")
        return plain in self._parameters or not self._parameters.isdisjoint(_PART_OF_NAME.split(plain))


def _alike(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower().replace("-", "_") for name in names)
