"""What the gateway itself answers: problem documents (RFC 9457), with one stable `type` for each reason.

They say what is wrong with the request or with the service behind us; never an address, never what the client sent.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.model import Reason
from gateway.proxy.http.fields import Field

PROBLEM_TYPE = "urn:alims-gateway:problem:"

TITLES: Mapping[Reason, tuple[int, str]] = {
    Reason.NO_ROUTE: (404, "No route matches the request"),
    Reason.NO_HEALTHY_INSTANCE: (503, "No healthy instance of the service"),
    Reason.CIRCUIT_OPEN: (503, "The circuits of all instances are open"),
    Reason.QUEUE_FULL: (503, "The queue is full"),
    Reason.QUEUE_TIMEOUT: (503, "No instance became free in time"),
    Reason.UPSTREAM_TIMEOUT: (504, "The service did not answer in time"),
    Reason.UPSTREAM_RESET: (502, "The service did not answer properly"),
    Reason.UPSTREAM_UNREACHABLE: (502, "The service cannot be reached"),
    Reason.LOOP_DETECTED: (508, "The request has passed this gateway before"),
    Reason.BAD_REQUEST: (400, "Bad request"),
    Reason.BODY_TOO_LARGE: (413, "The body is too large"),
    Reason.REQUEST_TIMEOUT: (408, "The request did not arrive in time"),
    Reason.EXPECTATION_FAILED: (417, "The expectation cannot be met"),
    Reason.METHOD_NOT_ALLOWED: (405, "The method is not allowed"),
    Reason.URI_TOO_LONG: (414, "The request line is too long"),
    Reason.HEADERS_TOO_LARGE: (431, "The header fields are too large"),
    Reason.NOT_IMPLEMENTED: (501, "Not implemented"),
    Reason.VERSION_NOT_SUPPORTED: (505, "The version of HTTP is not supported"),
    Reason.UNAUTHENTICATED: (401, "The request carries no valid credential"),
    Reason.FORBIDDEN: (403, "The request is not allowed"),
    Reason.RATE_LIMITED: (429, "Too many requests"),
    Reason.AUTHORISATION_UNAVAILABLE: (503, "Nobody can say whether the request is allowed"),
    Reason.OVERLOADED: (503, "The gateway has more requests than it can answer in time"),
}
_INTERNAL = ("internal_error", 500, "Internal error")


class Refused(Exception):
    """A request that the gateway refuses before it has a ticket. `detail` is for the client, and echoes nothing."""

    def __init__(
        self, reason: Reason, detail: str | None = None, *, close: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail
        self.close = close
        """Whether the connection cannot be used any further: what follows on it may not be what it seems."""
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Refusal:
    """`reason` None is an error of our own. `status` None is the reason's usual one; `retry_after` in seconds."""

    reason: Reason | None
    detail: str | None = None
    status: int | None = None
    retry_after: float | None = None

    @property
    def code(self) -> int:
        if self.status is not None:
            return self.status
        return _INTERNAL[1] if self.reason is None else TITLES[self.reason][0]

    def body(self, request_id: str) -> bytes:
        reason = self.reason
        kind, title = (_INTERNAL[0], _INTERNAL[2]) if reason is None else (reason.value, TITLES[reason][1])
        problem: dict[str, str | int] = {"type": PROBLEM_TYPE + kind, "title": title, "status": self.code}
        if self.detail is not None:
            problem["detail"] = self.detail
        problem["request_id"] = request_id
        return json.dumps(problem).encode()

    def fields(self) -> list[Field]:
        """What a refusal has besides what all answers of the gateway have."""
        found = [("Content-Type", "application/problem+json"), ("Cache-Control", "no-store")]
        if self.retry_after is not None:
            found.append(("Retry-After", str(max(1, math.ceil(self.retry_after)))))
        if self.reason is Reason.METHOD_NOT_ALLOWED:
            found.append(("Allow", "GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH"))
        return found
