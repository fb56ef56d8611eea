"""The document under `routes/<name>`, in the vocabulary of the Kubernetes Gateway API's HTTPRoute."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    model_validator,
)

from gateway.core.model import HOLDS_ALWAYS, FailureKind, Health, RetryPolicy, Timeouts, WhenEmpty
from gateway.discovery.documents.answer_document import RedirectDocument, RespondDocument
from gateway.discovery.documents.auth_document import AuthDocument
from gateway.discovery.documents.cors_document import CorsDocument
from gateway.discovery.documents.filters_document import Filters
from gateway.discovery.documents.limits_document import LimitsDocument
from gateway.discovery.documents.model import Document, at_most_one, exactly_one, overlaid
from gateway.discovery.documents.networks_document import NetworksDocument
from gateway.discovery.documents.shadow_document import ShadowDocument
from gateway.discovery.documents.sticky_document import StickyDocument
from gateway.discovery.documents.syntax import (
    HeaderName,
    HeaderValue,
    Hostname,
    Instances,
    Method,
    Name,
    OnlyTrue,
    OtherService,
    Path,
    PathPrefix,
    Pattern,
    Require,
    Text,
    When,
    no_twins,
)
from gateway.discovery.documents.units import DURATION, SIZE, Between, refusal

_TIMEOUTS, _RETRY, _WHEN_EMPTY = Timeouts(), RetryPolicy(), WhenEmpty()
# After a response head went out nothing is tried again.
_RETRIABLE = sorted(kind.value for kind in FailureKind if kind is not FailureKind.TRUNCATED)
_RETRIABLE_STATUS = re.compile("[45][0-9][0-9]").fullmatch


def _as_list(value: JsonValue) -> JsonValue:
    return [value] if isinstance(value, dict) else value


def _as_exact(value: JsonValue) -> JsonValue:
    return {"exact": value} if isinstance(value, str) else value


# --- what a route matches -----------------------------------------------------------------------------------------


class HeaderMatchDocument(Document):
    """Exactly one of the fields; a text alone is `exact`. A header given several times matches if any value does."""

    exact: HeaderValue | None = Field(None, description="The value, letter by letter.")
    regex: Pattern | None = Field(None, description="RE2 pattern for the whole value.")
    present: OnlyTrue | None = Field(None, description="`true`: any value, the empty one too.")

    @model_validator(mode="after")
    def _one_kind(self) -> HeaderMatchDocument:
        exactly_one(self)
        return self


class QueryMatchDocument(Document):
    """Exactly one of the fields; a text alone is `exact`. Values are compared decoded; any of several may match."""

    exact: Text | None = Field(None, description="The decoded value, letter by letter.")
    regex: Pattern | None = Field(None, description="RE2 pattern for the whole decoded value.")
    present: OnlyTrue | None = Field(None, description="`true`: any value, the empty one too.")

    @model_validator(mode="after")
    def _one_kind(self) -> QueryMatchDocument:
        exactly_one(self)
        return self


HeaderMatch = Annotated[
    HeaderMatchDocument, BeforeValidator(_as_exact, json_schema_input_type=str | HeaderMatchDocument)
]
QueryMatch = Annotated[QueryMatchDocument, BeforeValidator(_as_exact, json_schema_input_type=str | QueryMatchDocument)]


_PATHS = frozenset({"path_exact", "path_prefix", "path_regex"})


class MatchDocument(Document):
    """All that is given has to hold. At most one of the three paths; none is the prefix `/`."""

    path_prefix: PathPrefix = Field(
        "/",
        description="Whole path elements from the front: `/orders` takes `/orders` and `/orders/1`, not `/ordersx`. "
        "A slash at the end changes nothing.",
    )
    path_exact: Path | None = Field(None, description="The whole normalised path.")
    path_regex: Pattern | None = Field(None, description="RE2 pattern for the whole normalised path.")
    methods: Annotated[tuple[Method, ...], Field(min_length=1, max_length=40)] = Field(
        (), description="Methods, in upper case; left out: all but CONNECT."
    )
    headers: Annotated[dict[HeaderName, HeaderMatch], Field(max_length=32), BeforeValidator(no_twins)] = Field(
        {}, description="Header name (any case) to a value, or to `{regex: …}` or `{present: true}`."
    )
    query: Annotated[dict[Name, QueryMatch], Field(max_length=32)] = Field(
        {}, description="Query parameter to a value, or to `{regex: …}` or `{present: true}`."
    )

    @model_validator(mode="after")
    def _one_path(self) -> MatchDocument:
        at_most_one(self, _PATHS)
        return self


# --- where it sends -----------------------------------------------------------------------------------------------


class BackendDocument(Document):
    service: OtherService = Field(description="Service in Consul.")
    weight: Annotated[StrictInt, Field(ge=0, le=65535)] = Field(
        1, description="Share of the route's requests, relative to its other backends; 0 gets none."
    )
    tags: Annotated[tuple[Name, ...], Field(max_length=32)] = Field(
        (), description="Only instances that carry all of these tags."
    )
    meta: Annotated[dict[Name, Text], Field(max_length=32)] = Field(
        {}, description="Only instances whose service metadata has all of these values."
    )
    instances: Instances | None = Field(
        None,
        description="A [predicate](../predicates.md) over `instance`, request and claims: only instances for which it "
        "holds. One that fails excludes its instance.",
    )
    otherwise: Literal["refuse", "any"] = Field(
        "refuse",
        description="Where none for which `instances` holds may be picked: nothing may (`refuse`), or any other "
        "instance of the backend (`any`).",
    )
    prefer: Instances | None = Field(
        None, description="A predicate as `instances`: those for which it holds are picked while any of them can be."
    )
    fallback: StrictBool = Field(False, description="Takes requests only while no other backend of the route can.")

    @model_validator(mode="after")
    def _otherwise_than_what(self) -> BackendDocument:
        if self.instances is None and "otherwise" in self.model_fields_set:
            raise refusal("otherwise goes with instances")
        return self


def _some_weight(backends: tuple[BackendDocument, ...]) -> tuple[BackendDocument, ...]:
    if not any(backend.weight for backend in backends):
        raise refusal("at least one backend needs a weight above 0")
    if all(backend.fallback for backend in backends if backend.weight):
        raise refusal("a fallback needs a backend with a weight above 0 that it is for")
    return backends


# --- under which policies -----------------------------------------------------------------------------------------


class TimeoutsDocument(Document):
    request: Annotated[float, Between(DURATION, "1ms", "24h", zero="none")] = Field(
        _TIMEOUTS.request,
        description="From the request until the response head, queueing and retries included; where a body is still "
        "being sent, from its end.",
    )
    attempt: Annotated[float, Between(DURATION, "1ms", "24h", zero="none")] = Field(
        _TIMEOUTS.attempt, description="One attempt, until its response head; a body still being sent does not count."
    )
    idle: Annotated[float, Between(DURATION, "10ms", "24h")] = Field(
        _TIMEOUTS.idle, description="Silence in either direction once streaming."
    )

    def over(self, base: Timeouts) -> Timeouts:
        return overlaid(base, self)


def _retry_condition(value: object) -> str:
    if isinstance(value, str | int) and not isinstance(value, bool):
        word = str(value)
        if word in _RETRIABLE or _RETRIABLE_STATUS(word):
            return word
    raise refusal(f"has to be one of {', '.join(_RETRIABLE)}, or a status from 400 to 599")


RetryCondition = Annotated[str, BeforeValidator(_retry_condition, json_schema_input_type=str | int)]


class RetryDocument(Document):
    attempts: Annotated[StrictInt, Field(ge=1, le=10)] = Field(
        _RETRY.attempts, description="Attempts in all, the first included; 1 is no retry."
    )
    retry_on: Annotated[tuple[RetryCondition, ...], Field(max_length=64)] = Field(
        tuple(sorted(kind.value for kind in _RETRY.on_failures)),
        description="What is tried again: `connect_failure`, `reset`, `timeout`, `stale_connection`, or a status.",
    )
    methods: Annotated[tuple[Method, ...], Field(max_length=40)] = Field(
        tuple(sorted(_RETRY.methods)), description="Methods that are tried again; by default the idempotent ones."
    )
    buffer: Annotated[int, Between(SIZE, "0B", "16MiB")] = Field(
        _RETRY.buffer, description="How much of a request body is kept for another attempt; larger ones have only one."
    )

    def over(self, base: RetryPolicy) -> RetryPolicy:
        given = self.model_fields_set
        if not given:
            return base
        statuses, failures = base.on_statuses, base.on_failures
        if "retry_on" in given:
            statuses = frozenset(int(word) for word in self.retry_on if word.isdecimal())
            failures = frozenset(FailureKind(word) for word in self.retry_on if not word.isdecimal())
        return RetryPolicy(
            attempts=self.attempts if "attempts" in given else base.attempts,
            methods=frozenset(self.methods) if "methods" in given else base.methods,
            buffer=self.buffer if "buffer" in given else base.buffer,
            on_statuses=statuses,
            on_failures=failures,
        )


_PANIC = {"none": None, "warning": Health.WARNING, "critical": Health.CRITICAL}


class WhenEmptyDocument(Document):
    status: Annotated[StrictInt, Field(ge=400, le=599)] = Field(
        _WHEN_EMPTY.status, description="Status of the refusal when no instance may be picked."
    )
    retry_after: Annotated[float, Between(DURATION, "1s", "24h", zero="none")] = Field(
        _WHEN_EMPTY.retry_after or 0.0, description="`Retry-After` of that refusal."
    )
    panic: Literal["none", "warning", "critical"] = Field(
        "none", description="Rather than refuse, pick instances up to this health; never in maintenance."
    )

    def over(self, base: WhenEmpty) -> WhenEmpty:
        return overlaid(base, self, retry_after=self.retry_after or None, panic=_PANIC[self.panic])


class RouteDocument(Document):
    """A route: what it matches, where it sends or what it answers, under which request policies."""

    hostnames: Annotated[tuple[Hostname, ...], Field(min_length=1, max_length=100)] = Field(
        (),
        description="Hosts without port; left out: any. `*.example.com` stands for one or more labels in front of "
        "`example.com`, and not for `example.com` itself.",
    )
    match: Annotated[
        tuple[MatchDocument, ...],
        Field(min_length=1, max_length=64),
        BeforeValidator(_as_list, json_schema_input_type=MatchDocument | list[MatchDocument]),
    ] = Field((MatchDocument(),), description="A mapping, or a list of mappings of which any is enough; left out: all.")
    when: When | None = Field(
        None,
        description="A [predicate](../predicates.md) over the request that has to hold besides `match`; one that is "
        "false or fails does not match.",
    )
    backends: Annotated[
        tuple[BackendDocument, ...], Field(min_length=1, max_length=64), AfterValidator(_some_weight)
    ] = Field((), description="The services that take the requests, by weight; or else `redirect` or `respond`.")
    sticky: StickyDocument | None = Field(
        None,
        description="What keeps a client on one instance, and so on one backend; left out: nothing, or what the "
        "defaults say.",
    )
    shadow: ShadowDocument | None = Field(
        None, description="A service that gets copies of the requests; left out: none, or what the defaults say."
    )
    redirect: RedirectDocument | None = Field(
        None, description="Instead of backends: the gateway sends clients elsewhere itself."
    )
    respond: RespondDocument | None = Field(None, description="Instead of backends: the gateway answers itself.")
    filters: Filters = Field(
        (),
        description="Changes to request and response, in this order; see [transformation](../transformation.md). Left "
        "out: what the defaults say.",
    )
    auth: AuthDocument = Field(
        AuthDocument.model_construct(), description="Who may send requests; left out: anyone, or what the defaults say."
    )
    require: Require = Field(
        HOLDS_ALWAYS,
        description="A [predicate](../predicates.md) over claims, sender and request; where it is "
        "false or fails, 403 `forbidden`.",
    )
    timeouts: TimeoutsDocument = Field(TimeoutsDocument(), description="Time limits.")
    retry: RetryDocument = Field(RetryDocument(), description="What is tried again.")
    limits: LimitsDocument = Field(LimitsDocument(), description="How much at once, how large, how often.")
    networks: NetworksDocument = Field(NetworksDocument(), description="Where clients may have their addresses.")
    cors: CorsDocument = Field(CorsDocument(), description="What pages of other origins may do.")
    when_empty: WhenEmptyDocument = Field(
        WhenEmptyDocument(), description="What happens when no instance may be picked."
    )
    escaped_slashes: Literal["refuse", "pass"] = Field(
        "refuse", description="Whether a path with `%2F` or `%5C` is refused (400) or passed as it is."
    )
    websocket: StrictBool = Field(True, description="Whether WebSocket handshakes are tunnelled.")
