"""The closures that expressions are made of. They know values and errors, and nothing of trees.

`logic` and `decided` forget an error that another operand outweighs (CEL language definition, Logical Operators and
Macros).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

from gateway.core.predicate.environment import F, Memo
from gateway.core.predicate.overloads import Implementation, Overload
from gateway.core.predicate.types import holds
from gateway.core.predicate.values import Frame, PredicateError, cost, equal

Code = Callable[[F, Frame], object]
"""A part of an expression: takes the facts and the frame of an evaluation."""

_ABSENT = object()


class _Failed(NamedTuple):
    reason: str


_KEYS = frozenset({str, int, float})
"""A double finds the int that it equals."""
_SHOWN = 60


def logic(decided_by: bool, operands: Sequence[Code[F]]) -> Code[F]:
    if len(operands) != 2:
        return _long_logic(decided_by, operands)
    first, second = operands

    def either(facts: F, frame: Frame) -> object:
        try:
            if first(facts, frame) is decided_by:
                return decided_by
        except PredicateError:
            if second(facts, frame) is decided_by:
                return decided_by
            raise
        return second(facts, frame)

    return either


def _long_logic(decided_by: bool, operands: Sequence[Code[F]]) -> Code[F]:
    def any_of(facts: F, frame: Frame) -> object:
        failure: PredicateError | None = None
        for operand in operands:
            try:
                if operand(facts, frame) is decided_by:
                    return decided_by
            except PredicateError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return not decided_by

    return any_of


def decided(through: Callable[[F, Frame], Iterator[object]], body: Code[F], *, decided_by: bool) -> Code[F]:
    def decided(facts: F, frame: Frame) -> object:
        failure: PredicateError | None = None
        for _ in through(facts, frame):
            try:
                if body(facts, frame) is decided_by:
                    return decided_by
            except PredicateError as error:
                failure = failure or error
        if failure is not None:
            raise failure
        return not decided_by

    return decided


def through_entries(entries: Code[F], slot: int, weight: int) -> Callable[[F, Frame], Iterator[object]]:
    def through(facts: F, frame: Frame) -> Iterator[object]:
        found = entries(facts, frame)
        if not isinstance(found, list | tuple | Mapping):
            raise PredicateError("a comprehension goes through a list or a map")
        for entry in found:
            frame.charge(weight)
            frame.variables[slot] = entry
            yield entry

    return through


def kept(code: Code[F], memo: Callable[[F], Memo], variables: int) -> Code[F]:
    """Evaluated once for each memo; an error is kept as a value is."""
    key = object()

    def kept(facts: F, _: Frame) -> object:
        values = memo(facts)
        found = values.get(key, _ABSENT)
        if found is _ABSENT:
            try:
                found = code(facts, Frame(variables))
            except PredicateError as error:
                found = _Failed(error.reason)
            values[key] = found
        if type(found) is _Failed:
            raise PredicateError(found.reason)
        return found

    return kept


def choice(condition: Code[F], then: Code[F], otherwise: Code[F]) -> Code[F]:
    return lambda facts, frame: then(facts, frame) if condition(facts, frame) else otherwise(facts, frame)


def made_list(entries: Sequence[Code[F]]) -> Code[F]:
    return lambda facts, frame: [entry(facts, frame) for entry in entries]


def made_map(entries: Sequence[tuple[Code[F], Code[F]]]) -> Code[F]:
    def made(facts: F, frame: Frame) -> object:
        found: dict[object, object] = {}
        for key_code, value_code in entries:
            key = key_code(facts, frame)
            if type(key) is not str and type(key) is not int:
                raise PredicateError("the key of a map is not a string or int")
            if key in found:
                raise PredicateError("a map has a key twice")
            found[key] = value_code(facts, frame)
        return found

    return made


def equals_text(code: Code[F], text: str) -> Code[F]:
    return lambda facts, frame: code(facts, frame) == text


def is_null(code: Code[F]) -> Code[F]:
    return lambda facts, frame: code(facts, frame) is None


def has_key(operand: Code[F], key: str) -> Code[F]:
    def has_key(facts: F, frame: Frame) -> object:
        found = operand(facts, frame)
        if isinstance(found, Mapping):
            return key in found
        raise PredicateError("only a map has fields")

    return has_key


def entry_of_map(entries: Code[F], key: str) -> Code[F]:
    absent = f"there is no {key[:_SHOWN]}"

    def entry_of_map(facts: F, frame: Frame) -> object:
        try:
            return cast(Mapping[object, object], entries(facts, frame))[key]
        except KeyError:
            raise PredicateError(absent) from None

    return entry_of_map


def entry_of(entries: object, index: object) -> object:
    if isinstance(entries, Mapping):
        found = entries.get(index, _ABSENT) if type(index) in _KEYS else _ABSENT
        if found is _ABSENT:
            raise PredicateError("there is no such key")
        return found
    if isinstance(entries, list | tuple):
        return entries[_position(index, len(entries))]
    raise PredicateError("only lists and maps have entries")


def _position(index: object, size: int) -> int:
    if type(index) is float and index.is_integer():
        index = int(index)
    if type(index) is not int:
        raise PredicateError("the index of a list is not an int")
    if not 0 <= index < size:
        raise PredicateError("the index of a list is out of range")
    return index


def is_key(key: object, entries: object) -> bool:
    if type(key) in _KEYS:
        return key in cast(Mapping[object, object], entries)
    if type(key) is bool:
        return False
    raise PredicateError("no map has such keys")


def among(entry: Code[F], entries: Code[F]) -> Code[F]:
    def among(facts: F, frame: Frame) -> object:
        wanted, found = entry(facts, frame), entries(facts, frame)
        if isinstance(found, Mapping):
            return is_key(wanted, found)
        if not isinstance(found, list | tuple):
            raise PredicateError("in looks into a list or a map")
        frame.charge(len(found))
        return wanted in found if type(wanted) is str else any(equal(wanted, each, frame) for each in found)

    return among


def dispatched(name: str, overloads: Sequence[Overload]) -> Implementation:
    def dispatch(*values: object) -> object:
        for overload in overloads:
            if all(map(holds, overload.parameters, values)):
                return overload.implementation(*values)
        raise PredicateError(f"{name.strip('_')} is not defined for what its arguments are")

    return dispatch


def metered(implementation: Implementation, codes: Sequence[Code[F]], dear: int) -> Code[F]:
    def metered(facts: F, frame: Frame) -> object:
        values = [code(facts, frame) for code in codes]
        frame.charge(sum([cost(value, dear) for value in values]))
        return implementation(*values)

    return metered
