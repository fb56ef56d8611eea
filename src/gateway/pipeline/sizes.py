"""How large a route's requests may be, as far as their heads tell; a body that does not tell is counted as it comes."""

from __future__ import annotations

from gateway.core.model import Limits, Reason, Route
from gateway.pipeline.stage import Answer, Call, ResponseHead


class Sizes:
    """The stage of `limits.header` and `limits.body`; 0 is no limit."""

    def __init__(self, limits: Limits) -> None:
        self._header = limits.header
        self._body = limits.body

    @classmethod
    def of(cls, route: Route) -> Sizes | None:
        return cls(route.limits) if route.limits.header or route.limits.body else None

    def request(self, call: Call) -> Answer | None:
        if self._header and call.head_size > self._header:
            return Answer(Reason.HEADERS_TOO_LARGE, f"this route takes header fields of up to {self._header} bytes")
        if self._body and call.body_length > self._body:
            return Answer(Reason.BODY_TOO_LARGE, f"this route takes bodies of up to {self._body} bytes")
        return None

    def response(self, _: Call, __: ResponseHead) -> None:
        """Stays as it is."""
