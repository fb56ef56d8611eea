"""Functions of lists and maps."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.predicate.bounds import MAX_LIST
from gateway.core.predicate.overloads import Functions, Overload
from gateway.core.predicate.types import ANY_LIST, ANY_MAP, INT
from gateway.core.predicate.values import PredicateError


def _chained(left: Sequence[object], right: Sequence[object]) -> list[object]:
    if len(left) + len(right) > MAX_LIST:
        raise PredicateError(f"a list would have more than {MAX_LIST} entries")
    return [*left, *right]


FUNCTIONS: Functions = {
    "_+_": (Overload((ANY_LIST, ANY_LIST), ANY_LIST, _chained, dear=1),),
    "size": tuple(
        Overload((kind,), INT, len, member=member) for kind in (ANY_LIST, ANY_MAP) for member in (False, True)
    ),
}
