"""What the admin surface shows, and the one thing that it can do, as `app` wires it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.model import Instance, Route, ServicePolicy
from gateway.core.views import CircuitView, RouteLoad
from gateway.telemetry.sources import ViewLike

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
Object = dict[str, Json]


class ShownView(ViewLike, Protocol):
    """One view of Consul. `last_change` in Unix time; `left_out` counts entries that could not be used."""

    @property
    def index(self) -> int | None: ...
    @property
    def error(self) -> str | None: ...
    @property
    def last_change(self) -> float | None: ...
    @property
    def left_out(self) -> int: ...


class RejectionLike(Protocol):
    """Why a key's present version is not in force; line and column count from 1."""

    @property
    def key(self) -> str: ...
    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...
    @property
    def field(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def modify_index(self) -> int: ...


class CertificateLike(Protocol):
    """A certificate that clients are shown. `not_after` in Unix time; `error`: why what its files hold now is not in
    force."""

    @property
    def file(self) -> str: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def not_after(self) -> float: ...
    @property
    def error(self) -> str | None: ...


class DutyLike(Protocol):
    """Something that the gateway keeps in Consul. `done` is whether it is there; `error` is why not, None where it was
    not asked for."""

    @property
    def done(self) -> bool: ...
    @property
    def error(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class ConsulStanding:
    """`address` without credentials."""

    address: str
    registration: DutyLike
    status: DutyLike


@dataclass(frozen=True, slots=True)
class Readiness:
    """`reasons` says why not, in stable words that a person can act on."""

    ready: bool
    reasons: tuple[str, ...] = ()


class AdminSources(Protocol):
    """All but `refresh` and `metrics` are synchronous, quick, and called in the event loop."""

    def now(self) -> float:
        """The core's monotonic seconds."""

    def identity(self) -> Mapping[str, str]:
        """Such as id, mode, prefix, version."""

    def routes(self) -> Iterable[Route]: ...
    def describe_route(self, route: Route) -> Mapping[str, Json]:
        """As a document, in operators' words; may be called in a thread."""

    def describe_policy(self, policy: ServicePolicy) -> Mapping[str, Json]:
        """As a document, in operators' words; may be called in a thread."""

    def policies(self) -> Mapping[str, ServicePolicy]: ...
    def services(self) -> Mapping[str, Sequence[Instance]]: ...
    async def refresh(self) -> None:
        """Brings circuits, loads and certificates up to date."""

    def circuits(self) -> Iterable[CircuitView]: ...
    def loads(self) -> Iterable[RouteLoad]: ...
    def views(self) -> Sequence[ShownView]: ...
    def rejections(self) -> Sequence[RejectionLike]: ...
    def certificates(self) -> Sequence[CertificateLike]: ...
    def consul(self) -> ConsulStanding: ...
    def readiness(self) -> Readiness: ...

    def drain(self) -> None:
        """Starts to drain, as SIGTERM does; a second call changes nothing."""

    async def metrics(self) -> tuple[bytes, str]:
        """The text and its content type."""
