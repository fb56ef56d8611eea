"""Values while an expression is evaluated, and when two of them are equal.

CEL's bool, int, double, string and null are Python's bool, int, float, str and None; lists are lists or tuples, maps
are mappings. Python's `True == 1` is not CEL's, which is why values of unknown type are compared here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.predicate.bounds import ENTRIES_PER_STEP, MAX_STEPS

MIN_INT, MAX_INT = -(1 << 63), (1 << 63) - 1


class PredicateError(Exception):
    """An evaluation without a result (CEL language definition, Runtime Errors). `reason` holds nothing of a request."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    nanoseconds: int


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    nanoseconds: int
    """Since 1970-01-01T00:00:00Z."""


class Frame:
    """What one evaluation needs besides the facts: the variables of its comprehensions, and the steps it has left."""

    __slots__ = ("steps", "variables")

    def __init__(self, variables: int, steps: int = MAX_STEPS) -> None:
        self.variables: list[object] = [None] * variables
        self.steps = steps

    @property
    def spent(self) -> bool:
        return self.steps < 0

    def charge(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise PredicateError("it takes more steps than it may")


def cost(value: object, dear: int) -> int:
    """Steps that it takes to hand a text, list or map to a function that is so `dear`."""
    return len(value) * dear // ENTRIES_PER_STEP if isinstance(value, str | list | tuple | Mapping) else 0


def equal(left: object, right: object, frame: Frame) -> bool:
    """CEL's `==` for values of any types (Language Definition, Equality): numbers by what they are worth, values of
    different types never. Entries of lists and maps are charged to `frame`."""
    kind, other = type(left), type(right)
    if kind is bool or other is bool:
        return left is right
    if kind is int or kind is float:
        return (other is int or other is float) and left == right
    if isinstance(left, list | tuple):
        return isinstance(right, list | tuple) and _equal_lists(left, right, frame)
    if isinstance(left, Mapping):
        return isinstance(right, Mapping) and _equal_maps(left, right, frame)
    return left == right


def _equal_lists(
    left: list[object] | tuple[object, ...], right: list[object] | tuple[object, ...], frame: Frame
) -> bool:
    if len(left) != len(right):
        return False
    frame.charge(len(left))
    return all(equal(one, other, frame) for one, other in zip(left, right, strict=True))


def _equal_maps(left: Mapping[object, object], right: Mapping[object, object], frame: Frame) -> bool:
    if len(left) != len(right):
        return False
    frame.charge(len(left))
    return all(key in right and equal(value, right[key], frame) for key, value in left.items())
