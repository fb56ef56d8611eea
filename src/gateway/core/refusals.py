"""What the gateway answers where it refuses: the status of each reason, and the reason of each kind of failure."""

from __future__ import annotations

from gateway.core.model import FailureKind, Reason

STATUSES = {
    Reason.NO_ROUTE: 404,
    Reason.NO_HEALTHY_INSTANCE: 503,
    Reason.CIRCUIT_OPEN: 503,
    Reason.QUEUE_FULL: 503,
    Reason.QUEUE_TIMEOUT: 503,
    Reason.UPSTREAM_UNREACHABLE: 502,
    Reason.UPSTREAM_RESET: 502,
    Reason.UPSTREAM_TIMEOUT: 504,
    Reason.BODY_TOO_LARGE: 413,
    Reason.REQUEST_TIMEOUT: 408,
    Reason.EXPECTATION_FAILED: 417,
    Reason.BAD_REQUEST: 400,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.URI_TOO_LONG: 414,
    Reason.HEADERS_TOO_LARGE: 431,
    Reason.NOT_IMPLEMENTED: 501,
    Reason.VERSION_NOT_SUPPORTED: 505,
    Reason.LOOP_DETECTED: 508,
    Reason.UNAUTHENTICATED: 401,
    Reason.FORBIDDEN: 403,
    Reason.RATE_LIMITED: 429,
    Reason.AUTHORISATION_UNAVAILABLE: 503,
    Reason.OVERLOADED: 503,
}
"""Of all reasons, so that a shell may end a ticket for any; a route may choose others for the empty pool."""

REASON_OF_FAILURE = {
    FailureKind.CONNECT_FAILURE: Reason.UPSTREAM_UNREACHABLE,
    FailureKind.TIMEOUT: Reason.UPSTREAM_TIMEOUT,
    FailureKind.RESET: Reason.UPSTREAM_RESET,
    FailureKind.STALE_CONNECTION: Reason.UPSTREAM_RESET,
}
"""Of the kinds that come before the response head."""
