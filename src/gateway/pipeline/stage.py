"""What happens to a request around the forwarding: stages in a row, each with one method each way.

On the way in a stage reads the call, changes what goes upstream, or answers itself; on the way out it changes the head
of the response. A route's stages are made once for each of its versions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from pydantic import JsonValue

from gateway.core.facts import RequestFacts
from gateway.core.model import Instance, Reason, Route
from gateway.pipeline.peer_certificate import PeerCertificate

Field = tuple[str, str]
Claims = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sent a request, and by what they proved it: `jwt`, `api_key`, `basic`, `external` or `client_certificate`."""

    kind: str
    owner: str
    issuer: str = ""
    """Who says so, where a token (`iss`) or a certificate names it: an owner is one person of one issuer (RFC 7519
    §4.1.2)."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.owner}"


@dataclass(slots=True)
class RequestHead:
    """What is sent to one instance."""

    host: str | None
    fields: list[Field]


ForInstance = Callable[[Instance, RequestHead], None]
"""Changes what one attempt sends; another attempt begins with what the stages left."""


class Received(NamedTuple):
    """What came of a request's body: all of it, if it is `whole`; None where it has none."""

    body: bytes | None
    whole: bool


Afterwards = Callable[[Received], None]


@dataclass(slots=True)
class Call:
    """One request on its way through its route's stages. `facts` are the client's; the rest goes upstream."""

    facts: RequestFacts
    route: Route
    host: str | None
    """`Host` as it is sent."""
    path: str
    """Normalised."""
    query: str
    """Raw, with its question mark; empty where there is none."""
    fields: list[Field]
    """The headers, but for those that frame the message."""
    id: str = ""
    """As in `X-Request-Id`."""
    head_size: int = 0
    """Bytes of all header fields as the client sent them."""
    body_length: int = 0
    """Bytes of the body where the head tells; 0 where it is chunked, too."""
    certificate: PeerCertificate | None = None
    """Of the client's end of the connection, verified; None where there is none."""
    identity: Identity | None = None
    """None until authenticated, and on routes that ask for nothing."""
    claims: Claims = field(default_factory=dict)
    """Verified."""
    for_instance: tuple[ForInstance, ...] = ()
    """What can be said only once an instance is picked."""
    afterwards: Afterwards | None = None
    """Called once the request is over, if any instance got it."""


@dataclass(slots=True)
class ResponseHead:
    """The head of an answer to the client. `ours`: the gateway itself answers, not an instance."""

    status: int
    fields: list[Field]
    ours: bool = False
    instance: Instance | None = None
    """Which answers, where it is not `ours`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a stage answers instead of going on. With a `reason` it is a refusal, and has that reason's status and
    problem document; without, it has `status` and `body`."""

    reason: Reason | None = None
    detail: str | None = None
    """For the client: echoes nothing."""
    note: str | None = None
    """For the log alone."""
    retry_after: float | None = None
    """Seconds."""
    status: int = 200
    fields: tuple[Field, ...] = ()
    body: bytes = b""


Verdict = Answer | None
"""None: go on."""


class Stage(Protocol):
    def request(self, call: Call, /) -> Verdict | Awaitable[Verdict]:
        """At once wherever it can be."""

    def response(self, call: Call, head: ResponseHead, /) -> None:
        """Of those that the request went through, the last one first."""


Maker = Callable[[Route], Stage | None]
"""Makes None for a route without its stage."""


class Pipelines:
    """The stages of each route. `makers` are in their order."""

    def __init__(self, makers: Sequence[Maker]) -> None:
        self._makers = makers
        self._made: dict[str, tuple[Route, tuple[Stage, ...]]] = {}

    def of(self, route: Route) -> tuple[Stage, ...]:
        made = self._made.get(route.name)
        if made is not None and made[0] is route:
            return made[1]
        stages = tuple(stage for make in self._makers if (stage := make(route)) is not None)
        self._made[route.name] = (route, stages)
        return stages

    def retain(self, names: frozenset[str]) -> None:
        """Forgets routes that are gone."""
        for name in self._made.keys() - names:
            del self._made[name]
