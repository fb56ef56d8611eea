"""The documents that both gateways serve by, as an operator writes them.

All that has a prefix of its own is reached by the host gateway.test alone; whatever else comes goes to `bare`, except
for paths that begin with `/nowhere`, which no route takes.
"""

from __future__ import annotations

from collections.abc import Mapping

SERVICE = "orders"


def _special(prefix: str, **document: object) -> dict[str, object]:
    given: dict[str, object] = {"hostnames": ["gateway.test"], "match": {"path_prefix": prefix}}
    if not document.keys() & {"respond", "redirect"}:
        given["backends"] = [{"service": SERVICE}]
    return given | document


ROUTES: Mapping[str, Mapping[str, object]] = {
    "bare": {"match": {"path_regex": r"\*|/([^n].*|n|n[^o].*)?"}, "backends": [{"service": SERVICE}]},
    "strip": _special(
        "/strip",
        filters=[
            {"strip_prefix": "/strip"},
            {
                "request_headers": {
                    "set": {"x-tier": "edge", "x-path": "${request.path}"},
                    "add": {"x-more": "ours"},
                    "remove": ["cookie"],
                }
            },
            {
                "response_headers": {
                    "set": {"cache-control": "no-store"},
                    "add": {"x-more": "ours"},
                    "remove": ["server"],
                }
            },
        ],
    ),
    "edit": _special(
        "/edit",
        filters=[
            {"replace_prefix": {"from": "/edit", "to": "/edited"}},
            {"host": "service"},
            {"query": {"set": {"tenant": "${request.header.x-tenant:-none}"}, "remove": ["debug"]}},
        ],
    ),
    "client-host": _special("/client-host", filters=[{"host": "preserve"}]),
    "retry": _special("/retry", retry={"attempts": 3, "retry_on": ["503", "reset"]}),
    "once": _special("/once", retry={"attempts": 1}),
    "brief": _special("/brief", timeouts={"attempt": "300ms"}, retry={"attempts": 1}),
    "slashes": _special("/slashes", escaped_slashes="pass"),
    "no-websocket": _special("/no-websocket", websocket=False),
    "small": _special("/small", limits={"body": "10B", "header": "400B"}),
    "page": _special("/page", cors={"origins": ["https://app.test"], "methods": ["PUT"], "headers": ["x-a"]}),
    "closed": _special("/closed", networks={"deny": ["127.0.0.0/8"]}),
    "answer": _special("/answer", respond={"status": 418, "body": "short and stout\n", "headers": {"x-a": "b"}}),
    "moved": _special("/moved", redirect={"status": 308, "path": "/there${request.path}"}),
}

POLICY: Mapping[str, object] = {
    "circuit": {"mode": "off"},
    "retry_budget": {"ratio": "100%", "min_per_second": 1000},
    "connect": {"timeout": "2s", "keep_alive": "60s"},
}
"""Of the service: what one case meets may not depend on the ones before it."""
