"""`shadow` of a route: a service that gets copies of its requests."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from gateway.core.model import Shadow
from gateway.discovery.documents.model import Described, Document
from gateway.discovery.documents.syntax import Name, OnlyTrue, OtherService, Text
from gateway.discovery.documents.units import (
    DURATION,
    PERCENT,
    SIZE,
    Between,
    format_duration,
    format_percent,
    format_size,
    refusal,
)

_SHADOW = Shadow("")


class ShadowDocument(Document):
    """Copies of what instances get, sent once the request is over. Nobody waits for the answers, or sees them."""

    service: OtherService | None = Field(
        None, description="Service in Consul. Its copies have the header `X-Gateway-Shadow: true`."
    )
    none: OnlyTrue | None = Field(None, description="`true`, alone: nothing gets copies, whatever the defaults say.")
    tags: Annotated[tuple[Name, ...], Field(max_length=32)] = Field(
        (), description="Only instances that carry all of these tags."
    )
    meta: Annotated[dict[Name, Text], Field(max_length=32)] = Field(
        {}, description="Only instances whose service metadata has all of these values."
    )
    percent: Annotated[float, Between(PERCENT, "0%", "100%")] = Field(
        _SHADOW.share, description="Share of the requests that are copied, drawn for each."
    )
    buffer: Annotated[int, Between(SIZE, "0B", "16MiB")] = Field(
        _SHADOW.buffer, description="Requests with a larger body are not copied."
    )
    timeout: Annotated[float, Between(DURATION, "10ms", "10m")] = Field(
        _SHADOW.timeout, description="How long an answer is waited for."
    )

    @model_validator(mode="after")
    def _service_or_none(self) -> ShadowDocument:
        if self.service is None and self.model_fields_set != {"none"}:
            raise refusal("needs a service, or none alone")
        if self.service is not None and self.none:
            raise refusal("takes a service or none, not both")
        return self

    def value(self) -> Shadow | None:
        if self.service is None:
            return None
        meta = tuple(sorted(self.meta.items()))
        return Shadow(self.service, frozenset(self.tags), meta, self.percent, self.buffer, self.timeout)


def describe_shadow(shadow: Shadow | None) -> Described:
    if shadow is None:
        return {"none": True}
    described: Described = {"service": shadow.service}
    if shadow.tags:
        described["tags"] = [*sorted(shadow.tags)]
    if shadow.meta:
        described["meta"] = dict(shadow.meta)
    return described | {
        "percent": format_percent(shadow.share),
        "buffer": format_size(shadow.buffer),
        "timeout": format_duration(shadow.timeout),
    }
