"""What a function is: its overloads, each with types, and the Python function that does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import tzinfo
from typing import NamedTuple

from gateway.core.predicate.types import Type

Implementation = Callable[..., object]


class Search(NamedTuple):
    """Whether a pattern is found anywhere in a text, in time that is linear in it, and in the pattern's `size`: how
    many instructions it is compiled to."""

    found: Callable[[str], bool]
    size: int


@dataclass(frozen=True, slots=True)
class Tools:
    """What the core is given from outside. Both raise ValueError with what is wrong with their argument."""

    compile_search: Callable[[str], Search]
    """Of a pattern of RE2."""
    find_zone: Callable[[str], tzinfo]
    """A time zone by its name in the IANA database."""


@dataclass(frozen=True, slots=True)
class Overload:
    """One way to call a function. `implementation` may raise PredicateError.

    `prepare` makes the implementation, and how `dear` it is, for a last argument that has to be written out, and is not
    passed on. It raises ValueError. `early` functions are called while an expression is read, where their arguments are
    written out, and what they raise then is a refusal. `hidden` ones are found while evaluating only: CEL's checker
    does not know them. What is handed to `dear` ones is charged outside comprehensions too, so many times: they go
    through it in Python, copy it, or search it.
    """

    parameters: tuple[Type, ...]
    result: Type
    implementation: Implementation
    member: bool = False
    prepare: Callable[[Tools, str], tuple[Implementation, int]] | None = None
    early: bool = False
    hidden: bool = False
    dear: int = 0


def written_out(*_: object) -> object:
    """Stands for an implementation that `prepare` makes."""
    raise AssertionError("it is made while an expression is read")


Functions = Mapping[str, tuple[Overload, ...]]


def merged(*libraries: Functions) -> Functions:
    """One table; a name of several libraries has the overloads of all."""
    table: dict[str, tuple[Overload, ...]] = {}
    for library in libraries:
        for name, overloads in library.items():
            table[name] = table.get(name, ()) + overloads
    return table
