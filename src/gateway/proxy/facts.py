"""From a parsed request to what the gateway knows about it: checked, normalised, stripped of what is not for others.

aiohttp's C parser has refused broken framing and syntax before; here are the guards that it leaves to us.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from aiohttp.http import HttpVersion, HttpVersion11
from multidict import CIMultiDictProxy

from gateway.core.facts import Headers, RequestFacts
from gateway.core.model import Reason
from gateway.core.paths import BadPath, normalise
from gateway.proxy import via
from gateway.proxy.fields import Field, FieldMap, elements, lines
from gateway.proxy.forwarded import Forwarding
from gateway.proxy.hop_headers import BadField, Sifted, sift_request
from gateway.proxy.options import ProxyOptions
from gateway.proxy.refusals import Refused

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=-]+)(?::([0-9]{0,5}))?")
_WEBSOCKET = "websocket"


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


class Peer(Protocol):
    """The connection that a request came on."""

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
        self.port = options.port
        """The one that clients reach us at."""

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
            known = self._read(message, None if known is None else known.head, connection.peer)
        connection.known = known
        return known

    def _read(self, message: Message, head: KnownHead | None, peer: str) -> Inbound:
        """`head` is the last request's, in the hope that this one has the same."""
        version = message.version
        if version is not HttpVersion11 and version != (1, 0):
            if version < (1, 0):
                raise Refused(Reason.BAD_REQUEST, "HTTP/0.9 is not served", close=True)
            raise Refused(Reason.VERSION_NOT_SUPPORTED, close=True)
        method = message.method
        if method == "CONNECT":
            raise Refused(Reason.METHOD_NOT_ALLOWED, close=True)
        if head is None or head.received != message.raw_headers or (head.version == "1.1") != (version == (1, 1)):
            head = self._learn(message, peer)
        path, query = _target(message.path, head.host)
        upgrade, headers = None, head.headers
        if head.handshake is not None and method == "GET":
            upgrade, headers = _WEBSOCKET, head.handshake
        facts = RequestFacts(
            method, head.hostname, path, query or "", headers, head.client_ip, head.scheme, self._wall_clock()
        )
        keep_alive = head.reusable and not message.should_close
        return Inbound(message, facts, head, f"?{query}" if query is not None else "", upgrade, keep_alive)

    def _learn(self, message: Message, peer: str) -> KnownHead:
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
        hops = sifted.hops
        if hops and via.has_passed(hops.get("via", ()), options.gateway_id):
            raise Refused(Reason.LOOP_DETECTED)
        has_body, length = _framing(headers, version)
        expects = _expects_continue(headers)
        # Decisions see what goes upstream as the client sent it, and an upgrade that we would make; never what ends at
        # this hop, or what hops say of the client, which anyone may write.
        handshake, reusable = None, True
        if "Upgrade" in headers:
            if _is_handshake(headers, version, connection):
                handshake = FieldMap([*sifted.passed, ("Upgrade", _WEBSOCKET)])
            # What follows an upgrade that nobody makes is lost to the parser.
            reusable = headers["Upgrade"].lower() == _WEBSOCKET
        client_ip, scheme = forwarding.client_ip(peer, hops), forwarding.scheme(peer, hops)
        fields = (
            *sifted.passed,
            *forwarding.fields(peer, client_ip, "http", host, self.port, hops),
            ("Via", via.extended(hops.get("via", ()), options.gateway_id, version)),
        )
        return KnownHead(
            message.raw_headers,
            version,
            sifted,
            host,
            hostname,
            FieldMap(sifted.passed),
            has_body,
            length,
            expects and version == "1.1",
            handshake,
            reusable,
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
    if match is None or (match[2] and int(match[2]) > 65535):
        raise Refused(Reason.BAD_REQUEST, "Host is not a host name or address, with or without a port", close=True)
    return match[1].lower().rstrip(".") or match[1]


def _target(raw: str, host_field: str | None) -> tuple[str, str | None]:
    """The normalised path and the raw query (RFC 9112 §3.2)."""
    if not raw.startswith("/"):
        if raw == "*":
            # It asks about the server as a whole (RFC 9110 §9.3.7), and routes lead to parts of it.
            raise Refused(Reason.NO_ROUTE)
        raw = _absolute(raw, host_field)
    if "#" in raw:
        raise Refused(Reason.BAD_REQUEST, "a request target has no fragment", close=True)
    path, mark, query = raw.partition("?")
    if not query.isascii():
        raise Refused(Reason.BAD_REQUEST, "the request target holds a byte that is not ASCII", close=True)
    try:
        return normalise(path), query if mark else None
    except BadPath as bad:
        raise Refused(Reason.BAD_REQUEST, f"the path cannot be served: {bad.reason}", close=True) from None


def _absolute(raw: str, host_field: str | None) -> str:
    scheme, separator, rest = raw.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise Refused(Reason.BAD_REQUEST, "the request target is of another scheme than http", close=True)
    end = min((at for at in (rest.find("/"), rest.find("?"), rest.find("#")) if at >= 0), default=len(rest))
    authority, local = rest[:end], rest[end:]
    if host_field is None or authority.lower() != host_field.lower():
        raise Refused(Reason.BAD_REQUEST, "the request target names another host than Host", close=True)
    return local if local.startswith("/") else f"/{local}"


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
    return (False, None) if length is None else (True, int(length))


def _expects_continue(headers: CIMultiDictProxy[str]) -> bool:
    expected = headers.getall("Expect", ())
    if not expected:
        return False
    if any(element.lower() != "100-continue" for element in elements(expected)):
        raise Refused(Reason.EXPECTATION_FAILED, close=True)
    return True


def _is_handshake(headers: CIMultiDictProxy[str], version: str, connection: list[str] | tuple[str, ...]) -> bool:
    """WebSocket's opening handshake (RFC 6455 §4.2.1) but for its method; key and version are for the instance."""
    return (
        version == "1.1"
        and headers["Upgrade"].lower() == _WEBSOCKET
        and "Sec-WebSocket-Key" in headers
        and "upgrade" in (element.lower() for element in elements(connection))
    )
