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


Memo = dict[object, object]
"""Values of parts of an expression, for as long as the facts that they follow from stay the same."""


@dataclass(frozen=True, slots=True)
class Variable(Generic[F]):
    """`memo` is where the values of parts that ask about variables with the very same `memo` alone are kept."""

    type: Type
    read: Callable[[F], object]
    memo: Callable[[F], Memo] | None = None


Environment = Mapping[str, Variable[F]]
