"""`cors` of a route: what pages of other origins may do."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool, StrictStr

from gateway.core.limits import ANY, NO_CORS, Cors
from gateway.discovery.documents.model import Document, overlaid
from gateway.discovery.documents.rejection import Problem
from gateway.discovery.documents.syntax import HeaderName, Method, is_hostname
from gateway.discovery.documents.units import DURATION, Between, refusal

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[^\]]*\]|[^:/]*)(?::([0-9]{1,5}))?").fullmatch
_USUAL_PORTS = {"http": "80", "https": "443"}


def _origin(origin: str) -> str:
    if origin == ANY:
        return origin
    if origin == "null":
        raise refusal("null is what every sandboxed page calls itself; it cannot be allowed alone")
    found = _ORIGIN(origin)
    if found is None or found[2] != found[2].lower() or not is_hostname(found[2]):
        raise refusal(
            "is not an origin as browsers write it: https://app.example.com, in lower case, with a port if it is not "
            "the usual one, without a path; *. allowed in front of the host, or * alone"
        )
    if found[3] is not None and found[3] == _USUAL_PORTS.get(found[1]):
        raise refusal(f"browsers leave the usual port out; write {found[1]}://{found[2]}")
    return origin


Origin = Annotated[StrictStr, Field(min_length=1, max_length=300), AfterValidator(_origin)]
_HeaderNames = Annotated[tuple[HeaderName, ...], Field(max_length=64)]


class CorsDocument(Document):
    """Preflights are answered by the gateway; they need no credentials, and never reach an instance."""

    origins: Annotated[tuple[Origin, ...], Field(max_length=100)] = Field(
        NO_CORS.origins,
        description="`https://app.example.com`, `https://*.example.com` (one or more labels in front), or `*`. "
        "`[]` is no CORS, where there is some by default.",
    )
    methods: Annotated[tuple[Method, ...], Field(max_length=40)] = Field(
        NO_CORS.methods, description="Methods that pages may use, or `*`."
    )
    headers: _HeaderNames = Field(NO_CORS.headers, description="Request headers that pages may set, or `*`.")
    expose: _HeaderNames = Field(NO_CORS.expose, description="Response headers that pages may read, or `*`.")
    credentials: StrictBool = Field(
        NO_CORS.credentials,
        description="Whether pages may send cookies and the like; then nothing else can be `*`.",
    )
    max_age: Annotated[float, Between(DURATION, "1s", "24h", zero="not at all")] = Field(
        NO_CORS.max_age, description="How long browsers may keep the answer to a preflight."
    )

    def over(self, base: Cors) -> Cors:
        if "origins" in self.model_fields_set and not self.origins:
            return NO_CORS
        return overlaid(base, self)


def cors_conflicts(cors: Cors) -> list[Problem]:
    if not cors.origins:
        return [] if cors == NO_CORS else [Problem(("cors",), "needs to know which origins")]
    if not cors.credentials:
        return []
    return [
        Problem(("cors", name), "with credentials, * would allow every page to act for the user; browsers refuse it")
        for name in ("origins", "methods", "headers", "expose")
        if ANY in getattr(cors, name)
    ]
