"""From a parsed request to what the gateway knows about it: checked, normalised, stripped of what is not for others.

aiohttp's C parser has refused broken framing and syntax before; here are the guards that it leaves to us.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from aiohttp.http import RawRequestMessage
from multidict import CIMultiDictProxy

from gateway.core.facts import RequestFacts
from gateway.core.model import Reason
from gateway.core.paths import BadPath, normalise
from gateway.proxy import via
from gateway.proxy.fields import Field, FieldMap, elements
from gateway.proxy.forwarded import Forwarding
from gateway.proxy.hop_headers import BadField, Sifted, sift_request
from gateway.proxy.options import ProxyOptions
from gateway.proxy.refusals import Refused

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=-]+)(?::([0-9]{0,5}))?")
_WEBSOCKET = "websocket"


@dataclass(slots=True)
class Inbound:
    """A request that may be routed. `host` is the client's `Host` as sent; `version` of HTTP, `length` of the body in
    bytes (None where chunked or absent); `upgrade` the protocol it asks for, if it is one that we tunnel."""

    facts: RequestFacts
    sifted: Sifted
    host: str | None
    query: str
    """As sent, with its question mark."""
    has_body: bool
    length: int | None
    upgrade: str | None
    expects_continue: bool
    keep_alive: bool
    version: str


class Reader:
    """Reads requests of one listener. Every method raises Refused. `wall_clock` is in nanoseconds since 1970."""

    def __init__(
        self, options: ProxyOptions, forwarding: Forwarding, wall_clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._options = options
        self._forwarding = forwarding
        self._wall_clock = wall_clock

    def read(self, request: RawRequestMessage, peer: str) -> Inbound:
        version = request.version
        if version != (1, 1) and version != (1, 0):
            if version < (1, 0):
                raise Refused(Reason.BAD_REQUEST, "HTTP/0.9 is not served", close=True)
            raise Refused(Reason.VERSION_NOT_SUPPORTED, close=True)
        if request.method == "CONNECT":
            raise Refused(Reason.METHOD_NOT_ALLOWED, close=True)
        headers = request.headers
        connection = headers.getall("Connection", ())
        try:
            sifted = sift_request(headers.items(), connection)
        except BadField as bad:
            raise Refused(Reason.BAD_REQUEST, bad.reason, close=True) from None
        if sifted.size > self._options.max_head:
            raise Refused(Reason.HEADERS_TOO_LARGE, close=True)
        host_field = headers.get("Host")
        host = None if host_field is None else _host(host_field)
        path, query = _target(request, host_field)
        if sifted.hops and via.has_passed(sifted.hops.get("via", ()), self._options.gateway_id):
            raise Refused(Reason.LOOP_DETECTED)
        has_body, length = _framing(request)
        expects = _expects_continue(headers)
        upgrade, keep_alive = None, not request.should_close
        if "Upgrade" in headers:
            upgrade = _upgrade(request, connection)
            # What follows an upgrade that nobody makes is lost to the parser.
            keep_alive = keep_alive and headers["Upgrade"].lower() == _WEBSOCKET
        facts = RequestFacts(
            request.method,
            host,
            path,
            query or "",
            FieldMap(_decisive(sifted, upgrade)),
            self._forwarding.client_ip(peer, sifted.hops),
            self._forwarding.scheme(peer, sifted.hops),
            self._wall_clock(),
        )
        return Inbound(
            facts,
            sifted,
            host_field,
            f"?{query}" if query is not None else "",
            has_body,
            length,
            upgrade,
            expects and version == (1, 1),
            keep_alive,
            "1.1" if version == (1, 1) else "1.0",
        )


def _decisive(sifted: Sifted, upgrade: str | None) -> Sequence[Field]:
    """What decisions may look at: what goes upstream as the client sent it, and an upgrade that we would make.

    Never what ends at this hop, or what hops say of the client, which anyone may write; and what else a client sends
    changes nothing about which headers these are.
    """
    return sifted.passed if upgrade is None else [*sifted.passed, ("Upgrade", upgrade)]


@lru_cache(maxsize=1024)
def _host(value: str) -> str:
    """The host in lower case, without port (RFC 9110 §7.2); user information and everything odd is refused."""
    match = _HOST.fullmatch(value)
    if match is None or (match[2] and int(match[2]) > 65535):
        raise Refused(Reason.BAD_REQUEST, "Host is not a host name or address, with or without a port", close=True)
    return match[1].lower().rstrip(".") or match[1]


def _target(request: RawRequestMessage, host_field: str | None) -> tuple[str, str | None]:
    """The normalised path and the raw query (RFC 9112 §3.2)."""
    raw = request.path
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


def _framing(request: RawRequestMessage) -> tuple[bool, int | None]:
    headers = request.headers
    coding = headers.get("Transfer-Encoding")
    if coding is not None:
        if request.version == (1, 0):
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


def _upgrade(request: RawRequestMessage, connection: list[str] | tuple[str, ...]) -> str | None:
    """WebSocket's opening handshake (RFC 6455 §4.2.1); its key and version are for the instance to judge."""
    headers = request.headers
    if (
        request.method == "GET"
        and request.version == (1, 1)
        and headers["Upgrade"].lower() == _WEBSOCKET
        and "Sec-WebSocket-Key" in headers
        and "upgrade" in (element.lower() for element in elements(connection))
    ):
        return _WEBSOCKET
    return None
