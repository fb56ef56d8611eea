"""`limits` of a route: how much at once, how large, how often."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    PlainValidator,
    StrictInt,
    WithJsonSchema,
    model_validator,
)

from gateway.core.limits import PERIODS, RateKey, RateLimit, RateSource
from gateway.core.model import Limits
from gateway.discovery.documents.model import Document, overlaid
from gateway.discovery.documents.syntax import HeaderName, Name, OnlyTrue
from gateway.discovery.documents.units import DURATION, SIZE, Between, refusal

_LIMITS = Limits()
_RATE = re.compile(r"([1-9][0-9]{0,6})/([smhd])").fullmatch
_FASTEST = 100_000
_SHORT = re.compile(r"(\S+)(?: by (\S+)(?: (\S.*))?)?").fullmatch
_WORDS = frozenset({"client_ip", "credential", "route"})
_NAMED = frozenset({"header", "claim"})


class Rate(NamedTuple):
    requests: int
    period: float


def _rate(value: object) -> Rate:
    found = _RATE(value) if isinstance(value, str) else None
    if found is None:
        raise refusal("a rate is a number of requests in a second, minute, hour or day, such as 100/s, 600/m or 1000/h")
    rate = Rate(int(found[1]), PERIODS[found[2]])
    if rate.requests > _FASTEST * rate.period:
        raise refusal(f"has to be at most {_FASTEST}/s")
    return rate


class RateByDocument(Document):
    """Exactly one of the fields. `client_ip`, `credential` and `route` alone, without a mapping, will do."""

    client_ip: OnlyTrue | None = Field(
        None, description="`true`: the client's address, as trusted hops tell it; of IPv6 the /64."
    )
    header: HeaderName | None = Field(None, description="Name of a request header. A client may write what it likes.")
    claim: Name | None = Field(None, description="Name of a claim of the verified credential.")
    credential: OnlyTrue | None = Field(None, description="`true`: whose credential it is, once that is verified.")
    route: OnlyTrue | None = Field(None, description="`true`: all requests of the route together.")

    @model_validator(mode="after")
    def _one_key(self) -> RateByDocument:
        if len(self.model_fields_set) != 1:
            raise refusal("takes exactly one of client_ip, header, claim, credential and route")
        return self

    def value(self) -> RateKey:
        (source,) = self.model_fields_set
        if self.header is not None:
            return RateKey(RateSource.HEADER, self.header.lower())
        return RateKey(RateSource(source), self.claim or "")


def _by(value: JsonValue) -> JsonValue:
    if not isinstance(value, str):
        return value
    if value not in _WORDS:
        raise refusal(f"has to be {', '.join(sorted(_WORDS))}, or a mapping with header or claim")
    return {value: True}


class RateDocument(Document):
    """`100/s by client_ip` is short for `{limit: 100/s, by: client_ip}`, `100/s by header x-tenant` for
    `{limit: 100/s, by: {header: x-tenant}}`. Requests without the header, claim or credential count together."""

    limit: Annotated[Rate, PlainValidator(_rate), WithJsonSchema({"type": "string"})] = Field(
        description="Requests in a second, minute, hour or day: `100/s`, `600/m`, `1000/h`, `10000/d`."
    )
    burst: Annotated[StrictInt, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="Requests that may come at once; left out: the number in `limit`."
    )
    by: Annotated[RateByDocument, BeforeValidator(_by, json_schema_input_type=str | RateByDocument)] = Field(
        RateByDocument(client_ip=True), description="What is counted apart; left out: `client_ip`."
    )

    def value(self) -> RateLimit:
        count, period = self.limit
        return RateLimit(count, period, self.burst or count, self.by.value())


def _as_rates(value: JsonValue) -> JsonValue:
    return [_as_rate(each) for each in value] if isinstance(value, list) else [_as_rate(value)]


def _as_rate(value: JsonValue) -> JsonValue:
    if not isinstance(value, str):
        return value
    found = _SHORT(value)
    if found is None:
        raise refusal("is not a rate such as 100/s, or 100/s by client_ip")
    limit, source, name = found.groups()
    if source is None:
        return {"limit": limit}
    if source in _WORDS and name is None:
        return {"limit": limit, "by": source}
    if source in _NAMED and name is not None:
        return {"limit": limit, "by": {source: name}}
    raise refusal("a rate is by client_ip, header NAME, claim NAME, credential or route")


def _no_twins(rates: tuple[RateDocument, ...]) -> tuple[RateDocument, ...]:
    if len({rate.value() for rate in rates}) < len(rates):
        raise refusal("two of the rates are the same")
    return rates


class LimitsDocument(Document):
    in_flight: Annotated[StrictInt, Field(ge=0, le=1_000_000)] = Field(
        _LIMITS.in_flight, description="Requests of this route at once; 0 is no limit."
    )
    queue: Annotated[StrictInt, Field(ge=0, le=100_000)] = Field(
        _LIMITS.queue, description="Requests that may wait for a place; 0 refuses at once."
    )
    queue_timeout: Annotated[float, Between(DURATION, "1ms", "5m")] = Field(
        _LIMITS.queue_timeout, description="How long each may wait."
    )
    body: Annotated[int, Between(SIZE, "0B", "1024GiB")] = Field(
        _LIMITS.body, description="Largest request body; 0 is no limit."
    )
    header: Annotated[int, Between(SIZE, "0B", "1GiB")] = Field(
        _LIMITS.header,
        description="Largest size of all header fields together; 0 is no limit but that of the setting `max_head`.",
    )
    rate: Annotated[
        tuple[RateDocument, ...],
        Field(max_length=8),
        BeforeValidator(_as_rates, json_schema_input_type=str | RateDocument | list[str | RateDocument]),
        AfterValidator(_no_twins),
    ] = Field(
        (),
        description="How often requests may come: a rate, or a list of rates that all have to grant a request. `[]` "
        "is no limit, where there is one by default.",
    )

    def over(self, base: Limits) -> Limits:
        return overlaid(base, self, rate=tuple(rate.value() for rate in self.rate))
