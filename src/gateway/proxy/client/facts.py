"""From a parsed request to what the gateway knows about it: checked, normalised, stripped of what is not for others.

aiohttp's C parser has refused broken framing and syntax before; here are the guards that it leaves to us.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Protocol

from aiohttp.http import HttpVersion, HttpVersion11
from multidict import CIMultiDictProxy

from gateway.core.facts import Headers, RequestFacts
from gateway.core.model import Reason
from gateway.core.paths import BadPath, normalise, normalise_query
from gateway.proxy.http import via, websocket
from gateway.proxy.http.fields import Field, FieldMap, elements, lines
from gateway.proxy.http.forwarded import Forwarding
from gateway.proxy.http.hop_headers import BadField, Sifted, sift_request
from gateway.proxy.http.refusals import Refused
from gateway.proxy.options import ProxyOptions

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)\.?)(?::([0-9]{0,5}))?")
"""An address in brackets, or a name. RFC 3986 lets more stand in a name, such as commas, which others read as lists."""
_MOST_DIGITS = 9
"""More hops than there are."""


_NOT_SERVED = frozenset({"CONNECT", "TRACE"})
"""TRACE would tell the client what we say to instances (RFC 9110 §9.3.8)."""


class Message(Protocol):
    """What we take of a request's head from the parser."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def version(self) -> HttpVersion: ...
    @property
    def headers(self) -> CIMultiDictProxy[str]: ...
    @property
    def raw_headers(self) -> tuple[tuple[bytes, bytes], ...]: ...
    @property
    def should_close(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Entrance:
    """Where clients come in: what they speak there, `http` or `https`, and the port."""

    scheme: str
    port: int


class Peer(Protocol):
    """The connection that a request came on."""

    entrance: Entrance
    peer: str
    """The address at its other end."""
    known: Inbound | None
    """What the last request came to."""


@dataclass(slots=True)
class KnownHead:
    """What the header fields of a request come to, apart from its request line.

    Clients send the same ones again and again on a connection, which therefore keeps what the last ones came to.
    """

    received: tuple[tuple[bytes, bytes], ...]
    version: str
    """Of HTTP."""
    sifted: Sifted
    host: str | None
    """As sent."""
    hostname: str | None
    """In lower case, without port."""
    headers: Headers
    """What decisions may look at."""
    has_body: bool
    length: int | None
    """Bytes of the body; None where it is chunked or absent."""
    expects_continue: bool
    handshake: FieldMap | None
    """The same with `Upgrade`, where this is WebSocket's opening handshake but for the method."""
    reusable: bool
    """Whether what follows on the connection can be read."""
    max_forwards: str | None
    """As sent."""
    trusted: bool
    """Whether a trusted hop sends it."""
    client_ip: str
    scheme: str
    fields: tuple[Field, ...]
    """What goes upstream: the client's fields without those of its connection, and ours, but for the ids."""
    lines: bytes
    """The same, encoded."""


class Inbound:
    """A request that may be routed. `upgrade` is the protocol it asks for, if it is one that we tunnel."""

    __slots__ = ("facts", "head", "keep_alive", "message", "query", "upgrade")

    def __init__(
        self,
        message: Message,
        facts: RequestFacts,
        head: KnownHead,
        query: str,
        upgrade: str | None,
        keep_alive: bool,
    ) -> None:
        self.message = message
        self.facts = facts
        self.head = head
        self.query = query
        """As sent, with its question mark."""
        self.upgrade = upgrade
        self.keep_alive = keep_alive


class Reader:
    """Reads requests of one listener. Every method raises Refused. `wall_clock` is in nanoseconds since 1970."""

    def __init__(
        self, options: ProxyOptions, forwarding: Forwarding, wall_clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._options = options
        self._forwarding = forwarding
        self._wall_clock = wall_clock

    def read(self, message: Message, connection: Peer) -> Inbound:
        """Leaves what it came to with the connection."""
        known = connection.known
        if known is not None and known.message is message:
            # The same bytes again, at another time.
            last = known.facts
            facts = RequestFacts(
                last.method,
                last.host,
                last.path,
                last.query,
                last.headers,
                last.client_ip,
                last.scheme,
                self._wall_clock(),
            )
            known = Inbound(message, facts, known.head, known.query, known.upgrade, known.keep_alive)
        else:
            head = None if known is None else known.head
            known = self._read(message, head, connection.peer, connection.entrance)
        connection.known = known
        return known

    def _read(self, message: Message, head: KnownHead | None, peer: str, entrance: Entrance) -> Inbound:
        """`head` is the last request's, in the hope that this one has the same."""
        version = message.version
        if version is not HttpVersion11 and version != (1, 0):
            if version < (1, 0):
                raise Refused(Reason.BAD_REQUEST, "HTTP/0.9 is not served", close=True)
            raise Refused(Reason.VERSION_NOT_SUPPORTED, close=True)
        method = message.method
        if method in _NOT_SERVED:
            raise Refused(Reason.METHOD_NOT_ALLOWED, close=True)
        if head is None or head.received != message.raw_headers or (head.version == "1.1") != (version == (1, 1)):
            head = self._learn(message, peer, entrance)
        path, query = _target(message.path, method, head)
        if method == "OPTIONS" and head.max_forwards is not None:
            _check_max_forwards(head.max_forwards)
        upgrade, headers = None, head.headers
        if head.handshake is not None and method == "GET":
            upgrade, headers = websocket.PROTOCOL, head.handshake
        facts = RequestFacts(
            method, head.hostname, path, query or "", headers, head.client_ip, head.scheme, self._wall_clock()
        )
        keep_alive = head.reusable and not message.should_close
        return Inbound(message, facts, head, f"?{query}" if query is not None else "", upgrade, keep_alive)

    def _learn(self, message: Message, peer: str, entrance: Entrance) -> KnownHead:
        forwarding, options = self._forwarding, self._options
        version = "1.1" if message.version == (1, 1) else "1.0"
        headers = message.headers
        connection = headers.getall("Connection", ())
        try:
            sifted = sift_request(headers.items(), connection)
        except BadField as bad:
            raise Refused(Reason.BAD_REQUEST, bad.reason, close=True) from None
        if sifted.size > options.max_head:
            raise Refused(Reason.HEADERS_TOO_LARGE, close=True)
        host = headers.get("Host")
        hostname = None if host is None else _host(host)
        max_forwards = headers.get("Max-Forwards")
        hops = sifted.hops
        if hops and via.has_passed(hops.get("via", ()), options.gateway_id):
            raise Refused(Reason.LOOP_DETECTED)
        has_body, length = _framing(headers, version)
        expects = _expects_continue(headers)
        passed = sifted.passed if max_forwards is None else _forwarded_once_more(sifted.passed)
        # Decisions see what goes upstream as the client sent it, and an upgrade that we would make; never what ends at
        # this hop, or what hops say of the client, which anyone may write.
        handshake, reusable = None, True
        if "Upgrade" in headers:
            if not has_body and _is_handshake(headers, version, connection, passed):
                handshake = FieldMap([*passed, ("Upgrade", websocket.PROTOCOL)])
            # What follows an upgrade that nobody makes is lost to the parser.
            reusable = headers["Upgrade"].lower() == websocket.PROTOCOL
        client_ip, scheme = forwarding.client_ip(peer, hops), forwarding.scheme(peer, hops, entrance.scheme)
        fields = (
            *passed,
            *forwarding.fields(peer, client_ip, entrance.scheme, host, entrance.port, hops),
            ("Via", via.extended(hops.get("via", ()), options.gateway_id, version)),
        )
        return KnownHead(
            message.raw_headers,
            version,
            sifted,
            host,
            hostname,
            FieldMap(passed),
            has_body,
            length,
            expects and version == "1.1",
            handshake,
            reusable,
            max_forwards,
            forwarding.trusts(peer),
            client_ip,
            scheme,
            fields,
            lines(fields),
        )


@lru_cache(maxsize=1024)
def _host(value: str) -> str:
    """The host in lower case, without port (RFC 9110 §7.2); user information and everything odd is refused."""
    match = _HOST.fullmatch(value)
    if match is None or (match[1] and not _is_ipv6(match[1])) or (match[3] and int(match[3]) > 65535):
        raise Refused(Reason.BAD_REQUEST, "Host is not a host name or address, with or without a port", close=True)
    return f"[{match[1]}]".lower() if match[1] else match[2].lower()


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _target(raw: str, method: str, head: KnownHead) -> tuple[str, str | None]:
    """The normalised path and query (RFC 9112 §3.2)."""
    if not raw.startswith("/"):
        if raw != "*":
            raw = _absolute(raw, method, head)
        if raw == "*":
            if method != "OPTIONS":
                raise Refused(Reason.BAD_REQUEST, "only OPTIONS asks about no resource in particular", close=True)
            # It asks about the server as a whole (RFC 9110 §9.3.7), and routes lead to parts of it.
            raise Refused(Reason.NO_ROUTE)
    if "#" in raw:
        raise Refused(Reason.BAD_REQUEST, "a request target has no fragment", close=True)
    path, mark, query = raw.partition("?")
    try:
        return normalise(path), normalise_query(query) if mark else None
    except BadPath as bad:
        raise Refused(Reason.BAD_REQUEST, f"the target cannot be served: {bad.reason}", close=True) from None


def _absolute(raw: str, method: str, head: KnownHead) -> str:
    """What remains of the absolute form in the form that it is forwarded in."""
    scheme, separator, rest = raw.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in ("http", "https"):
        raise Refused(Reason.BAD_REQUEST, "the request target is of another scheme than http", close=True)
    if scheme == "https" and head.scheme != "https":
        # RFC 9110 §7.4: nothing that is to be had by TLS alone is to be had without.
        raise Refused(Reason.BAD_REQUEST, "the request target is of a scheme that was not spoken", close=True)
    end = min((at for at in (rest.find("/"), rest.find("?"), rest.find("#")) if at >= 0), default=len(rest))
    authority, local = rest[:end], rest[end:]
    if head.host is None or authority.lower() != head.host.lower():
        raise Refused(Reason.BAD_REQUEST, "the request target names another host than Host", close=True)
    if not local and method == "OPTIONS":
        # RFC 9112 §3.2.4
        return "*"
    return local if local.startswith("/") else f"/{local}"


def _check_max_forwards(value: str) -> None:
    """Raises Refused where the request is not to go on (RFC 9110 §7.6.2)."""
    if not _is_number(value):
        raise Refused(Reason.BAD_REQUEST, "Max-Forwards is not a number", close=True)
    if not value.strip("0"):
        # It asks about this gateway, and routes lead to others.
        raise Refused(Reason.NO_ROUTE)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _forwarded_once_more(fields: list[Field]) -> list[Field]:
    """With one less in `Max-Forwards`; without the field, where there is no one number in it."""
    others = [field for field in fields if field[0].lower() != "max-forwards"]
    values = [value for name, value in fields if name.lower() == "max-forwards"]
    if len(values) != 1 or not _is_number(values[0]) or len(values[0]) > _MOST_DIGITS:
        return others
    return [*others, ("Max-Forwards", str(max(0, int(values[0]) - 1)))]


def _framing(headers: CIMultiDictProxy[str], version: str) -> tuple[bool, int | None]:
    """Whether there is a body, and its length where that is known."""
    coding = headers.get("Transfer-Encoding")
    if coding is not None:
        if version == "1.0":
            raise Refused(Reason.BAD_REQUEST, "HTTP/1.0 has no transfer codings", close=True)
        if coding.lower() != "chunked":
            raise Refused(Reason.NOT_IMPLEMENTED, "no transfer coding but chunked is understood", close=True)
        return True, None
    length = headers.get("Content-Length")
    # Python refuses to read very many digits, which may all be zeros.
    return (False, None) if length is None else (True, int(length.lstrip("0") or "0"))


def _expects_continue(headers: CIMultiDictProxy[str]) -> bool:
    expected = elements(headers.getall("Expect", ()))
    if any(element.lower() != "100-continue" for element in expected):
        raise Refused(Reason.EXPECTATION_FAILED, close=True)
    return bool(expected)


def _is_handshake(
    headers: CIMultiDictProxy[str], version: str, connection: Sequence[str], passed: Sequence[Field]
) -> bool:
    """WebSocket's opening handshake (RFC 6455 §4.2.1) but for its method; its version is for the instance."""
    keys = [value for name, value in passed if name.lower() == "sec-websocket-key"]
    return (
        version == "1.1"
        and [value.lower() for value in headers.getall("Upgrade")] == [websocket.PROTOCOL]
        and len(keys) == 1
        and websocket.is_key(keys[0])
        and "upgrade" in (element.lower() for element in elements(connection))
    )
