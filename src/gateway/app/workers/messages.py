"""What parent and workers tell each other. Both are of one program and version, and nobody else has their pipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.app.figures import Figures
from gateway.app.in_force import Taker
from gateway.core.authentication import Credential
from gateway.core.breaker import Imposition
from gateway.core.model import Instance, InstanceKey, Route, ServicePolicy
from gateway.pipeline.gcra import Key
from gateway.pipeline.rate_limits import Asked
from gateway.settings import Settings

# --- from the parent ---


@dataclass(frozen=True, slots=True)
class Begin:
    """The first message: what the worker is. Numbers begin with 1."""

    settings: Settings
    sticky_key: bytes
    number: int


@dataclass(frozen=True, slots=True)
class Routes:
    routes: Sequence[Route]

    def tell(self, taker: Taker) -> None:
        taker.routes(self.routes)


@dataclass(frozen=True, slots=True)
class Policies:
    policies: Mapping[str, ServicePolicy]

    def tell(self, taker: Taker) -> None:
        taker.policies(self.policies)


@dataclass(frozen=True, slots=True)
class Credentials:
    credentials: Sequence[Credential]

    def tell(self, taker: Taker) -> None:
        taker.credentials(self.credentials)


@dataclass(frozen=True, slots=True)
class Instances:
    service: str
    instances: Sequence[Instance]

    def tell(self, taker: Taker) -> None:
        taker.instances(self.service, self.instances)


@dataclass(frozen=True, slots=True)
class Forget:
    service: str

    def tell(self, taker: Taker) -> None:
        taker.forget(self.service)


@dataclass(frozen=True, slots=True)
class Prefer:
    node: str

    def tell(self, taker: Taker) -> None:
        taker.prefer(self.node)


@dataclass(frozen=True, slots=True)
class Ages:
    """How old the view of each service was at `at`, which is monotonic seconds: of the whole machine."""

    at: float
    ages: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Impose:
    """What other workers made of a circuit."""

    service: str
    key: InstanceKey
    imposed: Imposition


@dataclass(frozen=True, slots=True)
class Serve:
    """Take requests from now on."""


@dataclass(frozen=True, slots=True)
class Ask:
    """For figures, at once."""


@dataclass(frozen=True, slots=True)
class Drain:
    """As `Listener.drain`; then end."""

    linger: float
    limit: float
    accepting: bool


@dataclass(frozen=True, slots=True)
class Close:
    """End at once, and cut off what is in flight."""


News = Routes | Policies | Credentials | Instances | Forget | Prefer
"""What is in force from now on; `tell` tells it to whoever serves by it."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Answers one `RatesAsked`, in its order: None grants a request; else it is the place of the limit that refuses it,
    and for how many seconds."""

    answers: Sequence[tuple[int, float] | None]


FromParent = Begin | News | Ages | Impose | Serve | Ask | Judged | Drain | Close

# --- from a worker ---


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot begin."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Made:
    """It has all that it needs but what is in force."""


@dataclass(frozen=True, slots=True)
class Serves:
    """It takes requests."""


@dataclass(frozen=True, slots=True)
class Told:
    """What this worker made of a circuit: opened or closed it; or, half-open, gives it to another to probe.

    `seen` counts the parent's messages that it had taken before.
    """

    service: str
    key: InstanceKey
    circuit: Imposition
    seen: int


@dataclass(frozen=True, slots=True)
class RateKind:
    """What is the same for all requests of a stage; from now on it has that number. Its `keys` are none."""

    number: int
    asked: Asked


@dataclass(frozen=True, slots=True)
class RatesAsked:
    """Whether requests, of these kinds and keys, are within their rates, which the parent counts for all workers."""

    asked: Sequence[tuple[int, Sequence[Key]]]


@dataclass(frozen=True, slots=True)
class Report:
    """Unasked each second, which shows that it lives; and in answer to `Ask`."""

    figures: Figures
    asked: bool


@dataclass(frozen=True, slots=True)
class Drained:
    """Its last message."""

    finished: int
    aborted: int
    figures: Figures


FromWorker = Failed | Made | Serves | Told | RateKind | RatesAsked | Report | Drained
