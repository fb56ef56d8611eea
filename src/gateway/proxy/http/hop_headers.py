"""What ends at a hop (RFC 9110 §7.6.1): fields that describe a connection, and fields that only we may set.

The order is what matters. First everything goes that the sender's own `Connection` names, from the sender's set alone;
only then do others add ours, so that nobody outside can make us drop what we say about them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.proxy.http.fields import Field, elements, is_safe_value, is_token

HOP_BY_HOP = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_FRAMING = frozenset({"content-length", "expect", "host"})
"""Written anew for each leg."""
_TRACE_CONTEXT = frozenset({"traceparent", "tracestate"})
"""Written anew for each attempt."""
_FORWARDING = frozenset({"forwarded", "via", "x-real-ip", "x-request-id"})
_FORWARDING_PREFIX = "x-forwarded-"
_OURS_PREFIX = "x-gateway-"
_OURS = frozenset({"x-consul-token"})
_HTTPOXY = frozenset({"proxy"})
"""No field of HTTP: CGI makes HTTP_PROXY of it, which programs take for the proxy that they are to use."""

_PASS, _DROP, _KEEP = range(3)
_REQUEST_ACTION = {
    **dict.fromkeys(HOP_BY_HOP | _FRAMING | _TRACE_CONTEXT | _OURS | _HTTPOXY, _DROP),
    **dict.fromkeys(_FORWARDING, _KEEP),
    **dict.fromkeys((_FORWARDING_PREFIX + part for part in ("for", "host", "port", "proto")), _KEEP),
    **dict.fromkeys(("accept", "accept-encoding", "accept-language", "cookie", "user-agent", "content-type"), _PASS),
}
_TWINS_REFUSED = frozenset(_REQUEST_ACTION) | {"authorization"}
_RESPONSE_DROPPED = HOP_BY_HOP | _OURS | {"content-length"}


class BadField(ValueError):
    """A field that must not be passed on; `reason` says why and never echoes the input."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Sifted:
    """A request's fields: `passed` go on; `hops` are what earlier hops say, by name in lower case."""

    passed: list[Field]
    hops: Mapping[str, list[str]]
    size: int
    """Bytes of all fields as they were received."""


_NO_HOPS: Mapping[str, list[str]] = {}


def sift_request(received: Iterable[Field], connection: Iterable[str] = ()) -> Sifted:
    """Sorts a client's fields in one pass; `connection` are the values of its `Connection`.

    Bytes of 0x80 and above pass as they are (RFC 9110 §5.5). Raises BadField for one in a field that is ours to read,
    where letters and digits of other scripts could be taken for those of ASCII; and for a name that upstreams which
    turn `-` into `_` (CGI, WSGI) would take for a field that decides about framing, forwarding or credentials.
    """
    passed: list[Field] = []
    hops: dict[str, list[str]] | None = None
    size = 0
    for pair in received:
        name, value = pair
        size += len(name) + (len(value) if value.isascii() else len(value.encode("utf-8", "surrogateescape"))) + 4
        lower = name.lower()
        action = _REQUEST_ACTION.get(lower)
        if action is None:
            action = _unknown(lower)
        if action == _PASS:
            passed.append(pair)
        elif not value.isascii():
            raise BadField("a header field that ends here holds a byte that is not ASCII")
        elif action == _KEEP:
            if hops is None:
                hops = {}
            hops.setdefault(lower, []).append(value)
    sifted = Sifted(passed, _NO_HOPS if hops is None else hops, size)
    for value in connection:
        if value not in _ORDINARY_CONNECTION:
            _strip_named(sifted, frozenset(element.lower() for element in elements((value,))))
    return sifted


_ORDINARY_CONNECTION = frozenset({"keep-alive", "close", "Keep-Alive", "Close", "Upgrade", "upgrade"})


def _unknown(lower: str) -> int:
    if "_" in lower:
        twin = lower.replace("_", "-")
        if twin in _TWINS_REFUSED or twin.startswith((_FORWARDING_PREFIX, _OURS_PREFIX)):
            raise BadField("a header field's name is the underscore twin of a field that is not to be forged")
    if lower.startswith((_OURS_PREFIX, _FORWARDING_PREFIX)):
        return _DROP
    return _PASS


def _strip_named(sifted: Sifted, names: frozenset[str]) -> None:
    kept = [pair for pair in sifted.passed if pair[0].lower() not in names]
    if len(kept) != len(sifted.passed):
        sifted.passed = kept
    if sifted.hops and not names.isdisjoint(sifted.hops):
        sifted.hops = {name: values for name, values in sifted.hops.items() if name not in names}


def sift_response(received: Iterable[Field]) -> list[Field]:
    """An upstream's fields without what ends at this hop; framing is the receiver's to write anew.

    Raises BadField for a name that is no token, for control characters in a value, and for a transfer coding other
    than `chunked` (which would have to be undone here), or one that is there twice.
    """
    passed: list[Field] = []
    named: set[str] | None = None
    coded = False
    for pair in received:
        name, value = pair
        if not is_token(name):
            raise BadField("a response field's name is not a token")
        if not is_safe_value(value):
            raise BadField("a response field's value holds control characters")
        lower = name.lower()
        plain = lower.replace("_", "-") if "_" in lower else lower
        if lower in _RESPONSE_DROPPED:
            if lower == "connection":
                named = (named or set()).union(element.lower() for element in elements((value,)))
            elif lower == "transfer-encoding":
                if coded or value.lower() != "chunked":
                    raise BadField("a response has a transfer coding other than chunked")
                coded = True
        elif not plain.startswith(_OURS_PREFIX) and plain not in _OURS:
            passed.append(pair)
    if named:
        return [pair for pair in passed if pair[0].lower() not in named]
    return passed
