"""The names that an expression may use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.core.predicate.types import Type

F = TypeVar("F")
"""What one evaluation is about: a request, or a request and an instance."""


def itself(facts: object) -> object:
    """The `read` of a variable that is all there is."""
    return facts


@dataclass(frozen=True, slots=True)
class Variable(Generic[F]):
    type: Type
    read: Callable[[F], object]


Environment = Mapping[str, Variable[F]]
