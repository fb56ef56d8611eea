"""Arithmetic, comparison and conversion (CEL language definition, Numeric Values and Standard Definitions)."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable

from gateway.core.predicate.overloads import Functions, Implementation, Overload
from gateway.core.predicate.types import BOOL, DOUBLE, DURATION, DYN, INT, STRING, TIMESTAMP, Type
from gateway.core.predicate.values import MAX_INT, MIN_INT, PredicateError, Timestamp

_INTEGER = re.compile(r"[+-]?[0-9]{1,4096}").fullmatch
_DOUBLE = re.compile(
    r"[+-]?(?:[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?|inf|infinity|nan)", re.IGNORECASE
)
_SECOND = 1_000_000_000


def _checked(compute: Callable[[int, int], int]) -> Callable[[int, int], int]:
    def checked(left: int, right: int) -> int:
        return in_range(compute(left, right))

    return checked


def in_range(value: int) -> int:
    if MIN_INT <= value <= MAX_INT:
        return value
    raise PredicateError("integer overflow")


def _quotient(left: int, right: int) -> int:
    """Rounds towards zero, as Go and C++ do, not down."""
    if right == 0:
        raise PredicateError("division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: int, right: int) -> int:
    """Has the sign of `left`."""
    if right == 0:
        raise PredicateError("modulus by zero")
    if right == -1 and left == MIN_INT:
        raise PredicateError("integer overflow")
    return int(math.copysign(1, left)) * (abs(left) % abs(right))


def _divide(left: float, right: float) -> float:
    """IEEE 754: never an error."""
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1, right)


def _negated(value: int) -> int:
    return in_range(-value)


def _truncated(value: float) -> int:
    # The bounds themselves are refused, as CEL's implementations do: 2**63 - 1 is not a double.
    if not MIN_INT < value < MAX_INT:
        raise PredicateError("the double is out of the range of int")
    return int(value)


def _int_of_text(text: str) -> int:
    if not _INTEGER(text) or len(text.lstrip("+-0")) > 19:
        raise PredicateError("the text is not an int")
    return in_range(int(text))


def _double_of_text(text: str) -> float:
    if not _DOUBLE.fullmatch(text):
        raise PredicateError("the text is not a double")
    return float(text)


def _seconds(instant: Timestamp) -> int:
    return instant.nanoseconds // _SECOND


def _same(value: object) -> object:
    return value


def _orders(compare: Implementation) -> tuple[Overload, ...]:
    same = (BOOL, INT, DOUBLE, STRING, DURATION, TIMESTAMP)
    known = [Overload((kind, kind), BOOL, compare) for kind in same]
    mixed: tuple[tuple[Type, Type], ...] = ((INT, DOUBLE), (DOUBLE, INT))
    return (*known, *(Overload(pair, BOOL, compare, hidden=True) for pair in mixed))


FUNCTIONS: Functions = {
    "_+_": (
        Overload((INT, INT), INT, _checked(operator.add)),
        Overload((DOUBLE, DOUBLE), DOUBLE, operator.add),
    ),
    "_-_": (
        Overload((INT, INT), INT, _checked(operator.sub)),
        Overload((DOUBLE, DOUBLE), DOUBLE, operator.sub),
    ),
    "_*_": (
        Overload((INT, INT), INT, _checked(operator.mul)),
        Overload((DOUBLE, DOUBLE), DOUBLE, operator.mul),
    ),
    "_/_": (
        Overload((INT, INT), INT, _checked(_quotient)),
        Overload((DOUBLE, DOUBLE), DOUBLE, _divide),
    ),
    "_%_": (Overload((INT, INT), INT, _remainder),),
    "-_": (Overload((INT,), INT, _negated), Overload((DOUBLE,), DOUBLE, operator.neg)),
    "!_": (Overload((BOOL,), BOOL, operator.not_),),
    "_<_": _orders(operator.lt),
    "_<=_": _orders(operator.le),
    "_>_": _orders(operator.gt),
    "_>=_": _orders(operator.ge),
    "int": (
        Overload((INT,), INT, _same),
        Overload((DOUBLE,), INT, _truncated),
        Overload((STRING,), INT, _int_of_text),
        Overload((TIMESTAMP,), INT, _seconds),
    ),
    "double": (
        Overload((DOUBLE,), DOUBLE, _same),
        Overload((INT,), DOUBLE, float),
        Overload((STRING,), DOUBLE, _double_of_text),
    ),
    "string": (
        Overload((STRING,), STRING, _same),
        Overload((INT,), STRING, str),
        Overload((BOOL,), STRING, lambda value: "true" if value else "false"),
    ),
    "dyn": (Overload((DYN,), DYN, _same),),
}
