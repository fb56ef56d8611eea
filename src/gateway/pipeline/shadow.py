"""A route's shadow: another service that gets copies of what instances get, and whose answers nobody sees.

Copies are sent once the request is over, so that they can neither hold it up nor fail it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Protocol

from gateway.core.model import Route, Shadow
from gateway.pipeline.stage import Call, Received, ResponseHead


class Copied(StrEnum):
    """What became of a copy."""

    ANSWERED = "answered"
    FAILED = "failed"
    """No answer: no healthy instance, no connection, no response in time."""
    DROPPED = "dropped"
    """Too many were under way."""
    TOO_LARGE = "too_large"
    """The body was larger than the buffer, or not all of it came."""


OnCopy = Callable[[str, Copied], None]
"""Told the name of the route, for each copy that was to be made."""


class Copy(Protocol):
    def __call__(self, shadow: Shadow, call: Call, body: bytes | None, /) -> None:
        """Sends a copy and returns at once; `body` None is none. Tells `OnCopy` what became of it."""


class Shadowing:
    """The stage of `shadow`: the last, for the copy is of what the others made of the request."""

    def __init__(self, shadow: Shadow, draw: Callable[[], float], copy: Copy, on_copy: OnCopy) -> None:
        self._shadow = shadow
        self._draw = draw
        self._copy = copy
        self._on_copy = on_copy

    def request(self, call: Call) -> None:
        if self._draw() < self._shadow.share:
            call.afterwards = partial(self._sent, call)

    def response(self, _: Call, __: ResponseHead) -> None:
        """Stays as it is."""

    def _sent(self, call: Call, received: Received) -> None:
        # For a retry more may have been kept than a copy may have.
        if received.whole and len(received.body or b"") <= self._shadow.buffer:
            self._copy(self._shadow, call, received.body)
        else:
            self._on_copy(call.route.name, Copied.TOO_LARGE)


class Shadowings:
    def __init__(self, draw: Callable[[], float], copy: Copy, on_copy: OnCopy) -> None:
        self._draw = draw
        self._copy = copy
        self._on_copy = on_copy

    def of(self, route: Route) -> Shadowing | None:
        """The stage of a route; None where nothing gets copies."""
        return None if route.shadow is None else Shadowing(route.shadow, self._draw, self._copy, self._on_copy)
