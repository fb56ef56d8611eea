"""What a request says about where it may go, as it is handed to the core (`core.steering` finds it)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gateway.core.model import Backend, Instance, InstanceKey


class Serving(NamedTuple):
    """What a request says about the instances of one backend."""

    only: frozenset[InstanceKey] | None = None
    """Who may serve it; None: all."""
    preferred: frozenset[InstanceKey] = frozenset()
    """Who is picked rather than others."""


ANYBODY = Serving()


class Steering(NamedTuple):
    """What a request says about its route's backends: those with a weight, in their order."""

    serving: tuple[Serving, ...]
    held: int | None = None
    """The backend that has the instance at which the client stays."""


class Standing(NamedTuple):
    """What a backend has at this moment."""

    backend: Backend
    instances: Sequence[Instance]
    """Those selected by tags and metadata; the very same object as long as none of them changes."""
    permitted: frozenset[InstanceKey]
    """Those whose health and circuit permit a pick."""
