"""What stands between the admin surface and strangers: its token, and what a browser that was lured to it is not
answered; and its errors as problem+json."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.settings import is_loopback

_log = logging.getLogger(__name__)

OPEN = frozenset({"/healthz", "/readyz"})
"""What load balancers and Consul's checks ask, who have no token."""
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def problem(status: int, reason: str, title: str, headers: dict[str, str] | None = None) -> web.Response:
    """RFC 9457, with the `type` that refusals of the gateway have."""
    body = (
        msgspec.json.encode({"type": f"urn:alims-gateway:problem:{reason}", "title": title, "status": status}) + b"\n"
    )
    return web.Response(
        status=status, body=body, content_type="application/problem+json", headers={**HEADERS, **(headers or {})}
    )


Token = Callable[[], str | None]
"""The token of this moment; None if it cannot be had."""


def authorised(request: web.Request, token: Token | None) -> bool:
    """Whether the request has the token (RFC 6750 §2.1), if there is one to have."""
    if token is None:
        return True
    wanted = token()
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if wanted is None or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), wanted.encode())


def guard(*, loopback: bool, token: Token | None) -> Middleware:
    """`loopback`: only names of this machine are taken in `Host`, because a page that makes its own name resolve to
    127.0.0.1 would otherwise be of the same origin. A write from a page of another origin is always refused."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if loopback and not is_loopback(_host(request)):
            return problem(403, "foreign_host", "The admin surface answers to names of this machine only.")
        origin = request.headers.get("Origin")
        if request.method not in ("GET", "HEAD") and origin not in (None, f"http://{request.host}"):
            return problem(403, "foreign_origin", "Pages of other origins may not write here.")
        if request.path not in OPEN and not authorised(request, token):
            challenge = {"WWW-Authenticate": 'Bearer realm="admin"'}
            return problem(401, "unauthenticated", "The admin surface asks for its token.", challenge)
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as refused:
            allowed = ", ".join(sorted(refused.allowed_methods))
            return problem(405, "method_not_allowed", f"This takes {allowed}.", {"Allow": allowed})
        except web.HTTPNotFound:
            return problem(404, "not_found", "There is nothing here; / lists what there is.")
        except web.HTTPException as refused:
            return problem(refused.status, "bad_request", refused.reason)
        except Exception:  # noqa: BLE001 - whatever it was, its client gets a problem and the log the traceback
            _log.exception("An admin request failed.", extra={"path": request.path})
            return problem(500, "internal_error", "The gateway could not answer this; its log says why.")

    return middleware


def _host(request: web.Request) -> str:
    host = request.host
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
