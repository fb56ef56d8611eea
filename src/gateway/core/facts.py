"""What the core is told of a request: parsed parts only, never bodies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import parse_qs

from gateway.core.balancer import ring_point
from gateway.core.model import HashOn, HashSource


class Headers(Protocol):
    """The client's headers; names compare without case (aiohttp's CIMultiDictProxy fits)."""

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]: ...


class TicketFacts(Protocol):
    """What decisions about a ticket ask of its request once the route is found."""

    @property
    def method(self) -> str: ...

    def hash_point(self, on: HashOn) -> int | None:
        """Where `ring_hash` places the request; None where the request has none of what it hashes."""


class RequestFacts:
    """The facts that routing and balancing may look at.

    `host` is in lower case without port, None where HTTP/1.0 sent none; `path` is normalised (`core.paths`);
    `query` is raw, without the question mark; `client_ip` is the first untrusted hop's address in its one spelling,
    IPv4 never in its IPv6 form.
    """

    __slots__ = ("_query_values", "client_ip", "headers", "host", "method", "path", "query")

    def __init__(self, method: str, host: str | None, path: str, query: str, headers: Headers, client_ip: str) -> None:
        self.method = method
        self.host = host
        self.path = path
        self.query = query
        self.headers = headers
        self.client_ip = client_ip
        self._query_values: dict[str, list[str]] | None = None

    def header_values(self, name: str) -> Sequence[str]:
        return self.headers.getall(name, ())

    def query_values(self, name: str) -> Sequence[str]:
        """Decoded values of one parameter; parsed on first use. Undecodable bytes become U+FFFD."""
        if self._query_values is None:
            self._query_values = parse_qs(self.query, keep_blank_values=True, max_num_fields=None)
        return self._query_values.get(name, ())

    def cookie(self, name: str) -> str | None:
        """The first cookie of that name (RFC 6265 §4.2)."""
        for line in self.header_values("cookie"):
            for pair in line.split(";"):
                key, _, value = pair.strip().partition("=")
                if key == name:
                    return value
        return None

    def hash_point(self, on: HashOn) -> int | None:
        value = self._hashed(on)
        return None if value is None else ring_point(value)

    def _hashed(self, on: HashOn) -> str | None:
        if on.source is HashSource.CLIENT_IP:
            return self.client_ip
        if on.source is HashSource.COOKIE:
            return self.cookie(on.name)
        values = self.header_values(on.name)
        return values[0] if values else None
