"""What the core is told of a request: parsed parts only, never bodies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol
from urllib.parse import parse_qs

from gateway.core.balancer import ring_point
from gateway.core.model import HashOn, HashSource


class Headers(Protocol):
    """The client's headers; names compare without case (aiohttp's CIMultiDictProxy fits)."""

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]: ...

    def keys(self) -> Iterable[str]: ...


class TicketFacts(Protocol):
    """What decisions about a ticket ask of its request once the route is found."""

    @property
    def method(self) -> str: ...

    def hash_point(self, on: HashOn) -> int | None:
        """Where `ring_hash` places the request; None where the request has none of what it hashes."""


Given = str | list[str]
"""What one name was given: once, the value; several times, all values in their order."""


class HeaderMap(Mapping[str, Given]):
    """Headers by name in lower case; found one by one, since most predicates ask for one or two."""

    __slots__ = ("_headers", "_names")

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._names: dict[str, None] | None = None

    def __getitem__(self, name: object) -> Given:
        values = self._headers.getall(name, ()) if isinstance(name, str) and name == name.lower() else ()
        if len(values) == 1:
            return values[0]
        if values:
            return list(values)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name == name.lower() and bool(self._headers.getall(name, ()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._all_names())

    def __len__(self) -> int:
        return len(self._all_names())

    def _all_names(self) -> Collection[str]:
        if self._names is None:
            self._names = dict.fromkeys(name.lower() for name in self._headers.keys())  # noqa: SIM118 - names twice
        return self._names


class RequestFacts:
    """The facts that routing and balancing may look at.

    `host` is in lower case without port, None where HTTP/1.0 sent none; `path` is normalised (`core.paths`);
    `query` is raw, without the question mark; `client_ip` is the first untrusted hop's address in its one spelling,
    IPv4 never in its IPv6 form; `scheme` is what the client spoke to the first trusted hop; `time` is the wall clock
    when the request came, in nanoseconds since 1970.
    """

    __slots__ = (
        "_cookie_map",
        "_header_map",
        "_query_values",
        "client_ip",
        "headers",
        "host",
        "method",
        "path",
        "query",
        "scheme",
        "time",
    )

    def __init__(
        self,
        method: str,
        host: str | None,
        path: str,
        query: str,
        headers: Headers,
        client_ip: str,
        scheme: str = "http",
        time: int = 0,
    ) -> None:
        self.method = method
        self.host = host
        self.path = path
        self.query = query
        self.headers = headers
        self.client_ip = client_ip
        self.scheme = scheme
        self.time = time
        self._query_values: dict[str, list[str]] | None = None
        self._header_map: HeaderMap | None = None
        self._cookie_map: dict[str, str] | None = None

    @property
    def segments(self) -> Sequence[str]:
        """The path's elements, escapes in them as they are; `/` has none, and a slash at the end adds none."""
        return [segment for segment in self.path.split("/") if segment]

    @property
    def header_map(self) -> Mapping[str, Given]:
        found = self._header_map
        if found is None:
            found = self._header_map = HeaderMap(self.headers)
        return found

    @property
    def query_map(self) -> Mapping[str, Given]:
        """Decoded, as `query_values`."""
        return {name: values[0] if len(values) == 1 else values for name, values in self._parameters().items()}

    @property
    def cookie_map(self) -> Mapping[str, str]:
        """The first cookie of each name (RFC 6265 §4.2)."""
        if self._cookie_map is None:
            self._cookie_map = {}
            for line in self.header_values("cookie"):
                for pair in line.split(";"):
                    name, _, value = pair.strip().partition("=")
                    if name:
                        self._cookie_map.setdefault(name, value)
        return self._cookie_map

    def header_values(self, name: str) -> Sequence[str]:
        return self.headers.getall(name, ())

    def query_values(self, name: str) -> Sequence[str]:
        """Decoded values of one parameter; parsed on first use. Undecodable bytes become U+FFFD."""
        return self._parameters().get(name, ())

    def _parameters(self) -> Mapping[str, list[str]]:
        if self._query_values is None:
            self._query_values = parse_qs(self.query, keep_blank_values=True, max_num_fields=None)
        return self._query_values

    def cookie(self, name: str) -> str | None:
        """The first cookie of that name (RFC 6265 §4.2)."""
        return self.cookie_map.get(name)

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
