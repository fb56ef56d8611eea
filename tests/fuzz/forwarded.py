"""What hops before us say: trace context, `Forwarded`, `Via`, request ids. What goes on is fit to be sent."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from gateway.proxy.http import via
from gateway.proxy.http.fields import is_safe_value
from gateway.proxy.http.forwarded import Forwarding
from gateway.proxy.http.request_id import request_id
from gateway.telemetry.trace_context import STATE_LIMIT, trace_context

_PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SEEDS = [
    _PARENT + b"\nrojo=00f067aa0ba902b7,congo=t61rcWkgMzE\n",
    b"01" + _PARENT[2:] + b"-more\na@b=c , d=e\n",
    b"\n\n203.0.113.7, 10.0.0.1\nfor=192.0.2.60;proto=http;by=203.0.113.43\n1.1 edge-1",
    b'\n\n[2001:db8::1]:80\nfor="[2001:db8:cafe::17]:4711";host="a\\"b"\n1.1 x, 1.0 edge-1 (y)',
    b"\n\nunknown, _hidden\nFor=unknown,for=_secret\nHTTP/1.1 edge-1",
]
FOUND: list[bytes] = []

_PEER = "10.0.0.9"
_TRUSTING = Forwarding((ip_network("10.0.0.0/8"),))


def fuzz(data: bytes) -> None:
    """Lines: traceparent, tracestate, X-Forwarded-For, Forwarded, Via; as field values they are ASCII by then."""
    parent, state, address, forwarded, passed, *_ = [*data.decode("ascii", "replace").split("\n"), *[""] * 5]
    context = trace_context([parent], [state], trusted=True, ratio=0.5)
    for _, value in context.fields("b7ad6b7169203331"):
        assert is_safe_value(value)
        assert value.isascii()
    assert len(context.state) <= STATE_LIMIT
    for hops in ({"x-forwarded-for": [address]}, {"forwarded": [forwarded]}, {"x-forwarded-proto": [address]}):
        ip_address(_TRUSTING.client_ip(_PEER, hops))
        assert _TRUSTING.scheme(_PEER, hops, "http") in ("http", "https")
        assert _TRUSTING.client_ip("192.0.2.1", hops) == "192.0.2.1", "a stranger is not believed"
    via.has_passed([passed], "edge-1")
    assert request_id([address], trusted=False) != address
    assert is_safe_value(request_id([address], trusted=True))
