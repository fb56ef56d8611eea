"""The nouns of the core, as frozen values: what Consul says, what operators ask for, what happened to an attempt.

All durations are seconds, all sizes bytes, all shares fractions between 0 and 1. `now` is monotonic seconds
everywhere in the core; it comes in as an argument and is never read from a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import NamedTuple

from gateway.core.authentication import Authentication
from gateway.core.filters import Filter, OwnResponse
from gateway.core.limits import EVERYWHERE, NO_CORS, Cors, Networks, RateLimit


class Health(IntEnum):
    """Worst of an instance's service checks and its node's checks, ordered so that `max` is the worst."""

    PASSING = 0
    WARNING = 1
    CRITICAL = 2
    MAINTENANCE = 3

    def __str__(self) -> str:
        return self.name.lower()


class InstanceKey(NamedTuple):
    """Identity of an instance: a Consul service id is unique on its node only."""

    datacenter: str
    node: str
    service_id: str

    def __str__(self) -> str:
        return f"{self.datacenter}/{self.node}/{self.service_id}"


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as the mirror holds it.

    `address` is `Service.Address`, or the node's where the service names none (Consul API, Health: List Service
    Instances). A changed address or port makes a new circuit and a new connection pool.
    """

    key: InstanceKey
    service: str
    address: str
    port: int
    health: Health = Health.PASSING
    weight_passing: int = 1
    weight_warning: int = 1
    tags: frozenset[str] = frozenset()
    meta: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def weight(self) -> int:
        """Consul's `Weights` under the present health; 0 means: never picked."""
        if self.health is Health.PASSING:
            return self.weight_passing
        if self.health is Health.WARNING:
            return self.weight_warning
        return 0

    @property
    def endpoint(self) -> tuple[str, int]:
        return (self.address, self.port)


# --- routes -----------------------------------------------------------------------------------------------------


class PathKind(IntEnum):
    """Kinds of path match, in order of precedence."""

    EXACT = 0
    REGEX = 1
    PREFIX = 2


@dataclass(frozen=True, slots=True)
class PathMatch:
    """`value` is a normalised path, or for REGEX the pattern, which has to match the whole path."""

    kind: PathKind
    value: str


class ValueKind(Enum):
    EXACT = "exact"
    REGEX = "regex"
    PRESENT = "present"


@dataclass(frozen=True, slots=True)
class ValueMatch:
    """How a header or a query parameter has to look. `name` of a header is in lower case."""

    name: str
    kind: ValueKind
    value: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """One alternative of a route's `match`; everything that is given has to hold."""

    path: PathMatch = PathMatch(PathKind.PREFIX, "/")
    methods: frozenset[str] = frozenset()
    headers: tuple[ValueMatch, ...] = ()
    query: tuple[ValueMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class Backend:
    """A weighted share of a route's requests; `tags` and `meta` select among the instances (all must hold)."""

    service: str
    weight: int = 1
    tags: frozenset[str] = frozenset()
    meta: tuple[tuple[str, str], ...] = ()
    instances: str | None = None
    """A predicate over request and instance, as the operator wrote it (`core.steering`): who may serve a request."""
    any_otherwise: bool = False
    """Whether, where no instance that may be picked satisfies `instances`, the others may serve after all."""
    prefer: str | None = None
    """A predicate as `instances`: who is picked rather than the others, as long as any of them is free."""
    fallback: bool = False
    """Whether it takes requests only while no other backend can."""


class StickyOn(Enum):
    COOKIE = "cookie"
    """Set by the gateway, and naming an instance in a way that nobody else can."""
    HEADER = "header"
    """The client's own; equal values go to equal instances."""


@dataclass(frozen=True, slots=True)
class Sticky:
    """What keeps a client on one instance, and so on one backend, as long as that may be picked."""

    on: StickyOn
    name: str
    max_age: float = 0.0
    """Of the cookie, in seconds; 0 is until the browser ends."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """A service that gets copies of a route's requests; `tags` and `meta` as of a backend."""

    service: str
    tags: frozenset[str] = frozenset()
    meta: tuple[tuple[str, str], ...] = ()
    share: float = 1.0
    """Of the requests, that are copied."""
    buffer: int = 65536
    """Bytes of the largest body that is."""
    timeout: float = 10.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; 0 is none. `request` spans the ticket's life until the response head, `attempt` one try until its
    head, `idle` a silence in either direction once streaming."""

    request: float = 30.0
    attempt: float = 15.0
    idle: float = 60.0


class FailureKind(Enum):
    """Why an attempt failed. The values are what `retry_on` names."""

    CONNECT_FAILURE = "connect_failure"
    """No connection could be made: nothing was sent."""
    TIMEOUT = "timeout"
    """No response head within `timeouts.attempt`."""
    RESET = "reset"
    """The connection broke, or what came back was not HTTP, before the response head."""
    STALE_CONNECTION = "stale_connection"
    """A reused connection closed without one response byte: the keep-alive race, not held against the instance."""
    TRUNCATED = "truncated"
    """The response ended early, after its head went out."""


IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110 §9.2.2."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`attempts` counts the first one. `buffer` bytes of a body are kept for replay."""

    attempts: int = 3
    on_failures: frozenset[FailureKind] = frozenset({FailureKind.CONNECT_FAILURE, FailureKind.RESET})
    on_statuses: frozenset[int] = frozenset()
    methods: frozenset[str] = IDEMPOTENT_METHODS
    buffer: int = 65536


@dataclass(frozen=True, slots=True)
class Limits:
    """`in_flight` 0 is no limit; `queue` tickets may wait, each for at most `queue_timeout` seconds."""

    in_flight: int = 0
    queue: int = 100
    queue_timeout: float = 1.0
    body: int = 0
    """Largest request body in bytes; 0 is no limit."""
    header: int = 0
    """Largest size of all header fields together in bytes; 0 is no limit but the listener's."""
    rate: tuple[RateLimit, ...] = ()
    """All have to grant a request."""


@dataclass(frozen=True, slots=True)
class WhenEmpty:
    """What a matched route does when no instance may be picked. `panic` lets sicker instances be picked then, up to
    that health, never into maintenance."""

    status: int = 503
    retry_after: float | None = None
    panic: Health | None = None


HOLDS_ALWAYS = "true"
"""The predicate that asks for nothing."""


@dataclass(frozen=True, slots=True)
class Route:
    """One accepted KV key under `routes/`. `version` is its `ModifyIndex`; a ticket keeps the version it matched.

    It has either backends or an answer of its own, and with the latter no request of it becomes a ticket.
    """

    name: str
    version: int
    backends: tuple[Backend, ...]
    matches: tuple[Match, ...] = (Match(),)
    hostnames: tuple[str, ...] = ()
    """Lower case, `*.` allowed in front; none means any host."""
    when: str | None = None
    """A predicate over the request (`core.predicate`), as the operator wrote it; it has to hold besides a match."""
    filters: tuple[Filter, ...] = ()
    timeouts: Timeouts = Timeouts()
    retry: RetryPolicy = RetryPolicy()
    limits: Limits = Limits()
    when_empty: WhenEmpty = WhenEmpty()
    sticky: Sticky | None = None
    shadow: Shadow | None = None
    networks: Networks = EVERYWHERE
    cors: Cors = NO_CORS
    pass_escaped_slashes: bool = False
    """Whether `%2F` and `%5C` in the path are passed upstream; refused with 400 otherwise."""
    websocket: bool = True
    answer: OwnResponse | None = None
    auth: Authentication | None = None
    require: str = HOLDS_ALWAYS
    """A predicate over the authenticated request, as the operator wrote it (`core.require`)."""
    steers: bool = field(init=False, compare=False, repr=False, default=False)
    """Whether what a request says decides which instances it may go to, or rather goes to."""

    def services(self) -> frozenset[str]:
        """All whose instances it needs."""
        asked = frozenset[str]() if self.auth is None else self.auth.services()
        copied = frozenset[str]() if self.shadow is None else {self.shadow.service}
        return asked | copied | {backend.service for backend in self.backends}

    def __post_init__(self) -> None:
        says = any(backend.instances or backend.prefer for backend in self.backends)
        object.__setattr__(self, "steers", says or self.sticky is not None)


# --- service policies -------------------------------------------------------------------------------------------


class CircuitMode(Enum):
    ENFORCE = "enforce"
    SHADOW = "shadow"
    """The circuit runs and reports, and permits every pick."""
    OFF = "off"


@dataclass(frozen=True, slots=True)
class CircuitPolicy:
    consecutive_failures: int = 5
    """Failures in a row that open; 0 disables the rule."""
    failure_ratio: float = 0.5
    """Share of failures within `window` that opens, once `min_requests` were judged in it; 0 disables the rule."""
    window: float = 10.0
    min_requests: int = 20
    open_for: float = 10.0
    """Doubles with each re-opening, up to `max_open_for`, plus up to a tenth of jitter."""
    max_open_for: float = 300.0
    half_open_probes: int = 1
    """Probes at once while half-open, and successes in a row that close."""
    max_open: float = 1.0
    """Largest share of a service's instances whose circuits may be open or half-open at once."""
    failure_statuses: frozenset[int] = frozenset({500, 502, 503, 504})
    mode: CircuitMode = CircuitMode.ENFORCE


class BalancePolicy(Enum):
    WEIGHTED_ROUND_ROBIN = "weighted_round_robin"
    LEAST_REQUEST = "least_request"
    RING_HASH = "ring_hash"


class HashSource(Enum):
    HEADER = "header"
    COOKIE = "cookie"
    CLIENT_IP = "client_ip"


class HashOn(NamedTuple):
    source: HashSource
    name: str = ""


@dataclass(frozen=True, slots=True)
class Balance:
    policy: BalancePolicy = BalancePolicy.WEIGHTED_ROUND_ROBIN
    on: HashOn | None = None
    """What RING_HASH hashes; a request without it is balanced by weighted round robin."""


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Retries of the last 10 s may reach `ratio` of its requests, and always `min_per_second`."""

    ratio: float = 0.2
    min_per_second: float = 10.0


@dataclass(frozen=True, slots=True)
class ConnectTls:
    """TLS towards the instances. `ca_file` etc. are paths on the gateway's machine; `server_name` overrides SNI."""

    verify: bool = True
    server_name: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None


@dataclass(frozen=True, slots=True)
class Connect:
    timeout: float = 0.25
    keep_alive: float = 4.0
    """Seconds an idle connection is kept; less than common upstreams keep it (5 s), to stay clear of the race."""
    tls: ConnectTls | None = None


@dataclass(frozen=True, slots=True)
class ServicePolicy:
    """One KV key under `services/`: what belongs to the instances, which several routes may share."""

    service: str
    version: int = 0
    circuit: CircuitPolicy = CircuitPolicy()
    balance: Balance = Balance()
    in_flight_per_instance: int = 0
    slow_start: float = 0.0
    connect: Connect = Connect()
    retry_budget: RetryBudget = RetryBudget()


# --- decisions --------------------------------------------------------------------------------------------------


class Reason(Enum):
    """Why the gateway itself answers; the stable last part of the problem's `type` (RFC 9457)."""

    NO_ROUTE = "no_route"
    NO_HEALTHY_INSTANCE = "no_healthy_instance"
    CIRCUIT_OPEN = "circuit_open"
    QUEUE_FULL = "queue_full"
    QUEUE_TIMEOUT = "queue_timeout"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_RESET = "upstream_reset"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    LOOP_DETECTED = "loop_detected"
    BAD_REQUEST = "bad_request"
    BODY_TOO_LARGE = "body_too_large"
    REQUEST_TIMEOUT = "request_timeout"
    EXPECTATION_FAILED = "expectation_failed"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    URI_TOO_LONG = "uri_too_long"
    HEADERS_TOO_LARGE = "headers_too_large"
    NOT_IMPLEMENTED = "not_implemented"
    VERSION_NOT_SUPPORTED = "version_not_supported"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    AUTHORISATION_UNAVAILABLE = "authorisation_unavailable"
    OVERLOADED = "overloaded"


class Outcome(Enum):
    """How a ticket ended: each ends exactly once."""

    RESPONDED = "responded"
    REJECTED = "rejected"
    ABANDONED = "abandoned"
    BROKEN = "broken"
