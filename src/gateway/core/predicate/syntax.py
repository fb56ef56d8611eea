"""Expressions as trees. `at` is the offset of what a message about a node should point at.

Operators and `[]` are calls by their CEL names (`_+_`, `_[_]`), as in CEL's own syntax trees.
"""

from __future__ import annotations

from dataclasses import dataclass

MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
"""Those that make comprehensions."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    at: int

    @property
    def children(self) -> tuple[Node, ...]:
        return ()


@dataclass(frozen=True, slots=True, eq=False)
class Literal(Node):
    value: bool | int | float | str | None


@dataclass(frozen=True, slots=True, eq=False)
class Name(Node):
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Select(Node):
    """`operand.field`, or with `test` the macro `has(operand.field)`."""

    operand: Node
    field: str
    test: bool = False

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(frozen=True, slots=True, eq=False)
class Call(Node):
    """`member` calls are written behind their first argument: `text.size()`."""

    function: str
    arguments: tuple[Node, ...]
    member: bool = False

    @property
    def children(self) -> tuple[Node, ...]:
        return self.arguments


@dataclass(frozen=True, slots=True, eq=False)
class Logic(Node):
    """A whole chain of `&&` (`decided_by` False) or of `||` (True)."""

    decided_by: bool
    operands: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        return self.operands


@dataclass(frozen=True, slots=True, eq=False)
class Conditional(Node):
    condition: Node
    then: Node
    otherwise: Node

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.condition, self.then, self.otherwise)


@dataclass(frozen=True, slots=True, eq=False)
class ListLiteral(Node):
    entries: tuple[Node, ...]

    @property
    def children(self) -> tuple[Node, ...]:
        return self.entries


@dataclass(frozen=True, slots=True, eq=False)
class MapLiteral(Node):
    entries: tuple[tuple[Node, Node], ...]

    @property
    def children(self) -> tuple[Node, ...]:
        return tuple(node for entry in self.entries for node in entry)


@dataclass(frozen=True, slots=True, eq=False)
class Comprehension(Node):
    """`entries.macro(variable, body)`, and `entries.map(variable, condition, body)`."""

    macro: str
    entries: Node
    variable: str
    body: Node
    condition: Node | None = None

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.entries, self.body) if self.condition is None else (self.entries, self.condition, self.body)
