"""`sticky` of a route: what keeps a client on one instance."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StrictStr, model_validator

from gateway.core.model import Sticky, StickyOn
from gateway.discovery.documents.model import Described, Document
from gateway.discovery.documents.syntax import HeaderName, OnlyTrue, is_token
from gateway.discovery.documents.units import DURATION, Between, format_duration, refusal


def _cookie_name(name: str) -> str:
    if not is_token(name):
        raise refusal("is not the name of a cookie: letters, digits and !#$%&'*+-.^_`|~ (RFC 6265 §4.1.1)")
    return name


CookieName = Annotated[StrictStr, Field(min_length=1, max_length=128), AfterValidator(_cookie_name)]


class StickyDocument(Document):
    """One of `cookie`, `header` and `none`. A client stays only as long as its instance may be picked."""

    cookie: CookieName | None = Field(
        None, description="Name of a cookie that the gateway sets. It tells nobody else which instance it means."
    )
    header: HeaderName | None = Field(
        None, description="Name of a request header: equal values go to equal instances, by weight."
    )
    max_age: Annotated[float, Between(DURATION, "1s", "8760h", zero="until the browser ends")] = Field(
        0.0, description="How long the cookie is kept."
    )
    none: OnlyTrue | None = Field(None, description="`true`: nothing keeps clients, whatever the defaults say.")

    @model_validator(mode="after")
    def _one_kind(self) -> StickyDocument:
        if len(self.model_fields_set & {"cookie", "header", "none"}) != 1:
            raise refusal("takes exactly one of cookie, header and none")
        if self.cookie is None and "max_age" in self.model_fields_set:
            raise refusal("max_age is for a cookie")
        return self

    def value(self) -> Sticky | None:
        if self.cookie is not None:
            return Sticky(StickyOn.COOKIE, self.cookie, self.max_age)
        return None if self.header is None else Sticky(StickyOn.HEADER, self.header.lower())


def describe_sticky(sticky: Sticky | None) -> Described:
    if sticky is None:
        return {"none": True}
    described: Described = {sticky.on.value: sticky.name}
    if sticky.on is StickyOn.COOKIE:
        described["max_age"] = format_duration(sticky.max_age)
    return described
