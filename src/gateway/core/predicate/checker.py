"""Types, names and literal arguments are checked before an expression is ever evaluated.

As CEL's own checker: an overload is taken for what its arguments may be, `dyn` may be anything, and what may be of
several types is `dyn`. Beyond CEL, the patterns of `matches` and the names of time zones have to be written out, so
that they are compiled here once, and what `duration`, `timestamp`, `ip` and `cidr` cannot read is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import eq

from gateway.core.predicate.bounds import MAX_NESTED_COMPREHENSIONS
from gateway.core.predicate.library import FUNCTIONS
from gateway.core.predicate.overloads import Overload, Tools
from gateway.core.predicate.rejection import Misplaced, nearest
from gateway.core.predicate.syntax import (
    MACROS,
    Call,
    Comprehension,
    Conditional,
    ListLiteral,
    Literal,
    Logic,
    MapLiteral,
    Name,
    Node,
    Select,
)
from gateway.core.predicate.types import (
    BOOL,
    DOUBLE,
    DYN,
    INT,
    NOTHING,
    NULL,
    STRING,
    Elsewhere,
    Field,
    Record,
    Type,
    compatible,
    joined,
    list_of,
    map_of,
)
from gateway.core.predicate.values import PredicateError

_LITERALS: Mapping[type, Type] = {bool: BOOL, int: INT, float: DOUBLE, str: STRING, type(None): NULL}
_OPERATORS = frozenset({"_==_", "_!=_", "@in", "_[_]"})
"""Calls that have rules of their own instead of overloads."""


@dataclass(slots=True)
class Checked:
    """A tree with what is known of its nodes."""

    tree: Node
    types: dict[Node, Type] = field(default_factory=dict)
    overloads: dict[Call, Overload] = field(default_factory=dict)
    """Of the calls whose overload is known; that of the others is found while evaluating."""
    prepared: dict[Call, Overload] = field(default_factory=dict)
    """Of the calls whose last argument was prepared, the overload without that argument."""
    fields: dict[Select, Field] = field(default_factory=dict)
    """Of records."""
    slots: dict[Node, int] = field(default_factory=dict)
    """The variables of comprehensions, by where they are made and used."""


def check(tree: Node, variables: Mapping[str, Type], tools: Tools) -> Checked:
    """Raises Misplaced."""
    checker = _Checker(tree, variables, tools)
    checker.type_of(tree)
    return checker.checked


class _Checker:
    def __init__(self, tree: Node, variables: Mapping[str, Type], tools: Tools) -> None:
        self.checked = Checked(tree)
        self._variables = variables
        self._tools = tools
        self._scope: list[tuple[str, Type]] = []

    def type_of(self, node: Node) -> Type:
        found = self._type_of(node)
        self.checked.types[node] = found
        return found

    def _type_of(self, node: Node) -> Type:
        match node:
            case Literal():
                return _LITERALS[type(node.value)]
            case Name():
                return self._name(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case Logic():
                return self._logic(node)
            case Conditional():
                return self._conditional(node)
            case ListLiteral():
                return list_of(self._joined(map(self.type_of, node.entries)))
            case MapLiteral():
                return self._map(node)
            case Comprehension():
                return self._comprehension(node)
        raise AssertionError(f"no expression is made of {node!r}")

    def _name(self, node: Name) -> Type:
        for slot in reversed(range(len(self._scope))):
            name, kind = self._scope[slot]
            if name == node.name:
                self.checked.slots[node] = slot
                return kind
        known = self._variables.get(node.name)
        if isinstance(known, Elsewhere):
            raise Misplaced(known.reason, node.at)
        if known is None:
            here = [name for name, kind in self._variables.items() if not isinstance(kind, Elsewhere)]
            names = [*here, *(name for name, _ in self._scope)]
            raise Misplaced(f"unknown name {node.name}{nearest(node.name, names)}", node.at)
        return known

    def _select(self, node: Select) -> Type:
        operand = self.type_of(node.operand)
        if isinstance(operand, Record):
            found = operand.fields.get(node.field)
            if found is None:
                near = nearest(node.field, operand.fields)
                raise Misplaced(f"{operand} has no field {node.field}{near}", node.at)
            self.checked.fields[node] = found
            return BOOL if node.test else found.type
        if operand.name == "map" and compatible(operand.parameters[0], STRING):
            self._check_key(node.operand, node.field, node.at)
            return BOOL if node.test else operand.parameters[1]
        if operand in (DYN, NOTHING):
            return BOOL if node.test else DYN
        raise Misplaced(f"{operand} has no fields", node.at)

    def _check_key(self, entries: Node, key: object, at: int) -> None:
        found = self.checked.fields.get(entries) if isinstance(entries, Select) else None
        reason = found.refuse_key(key) if found is not None and isinstance(key, str) else None
        if reason is not None:
            raise Misplaced(reason, at)

    # --- operators ---

    def _call(self, node: Call) -> Type:
        # A function's name first: its arguments may name the variable of a macro that is only misspelt.
        overloads = () if node.function in _OPERATORS else self._named(node)
        kinds = [self.type_of(argument) for argument in node.arguments]
        if node.function in ("_==_", "_!=_"):
            return self._equality(node, *kinds)
        if node.function == "@in":
            return self._membership(node, *kinds)
        if node.function == "_[_]":
            return self._index(node, *kinds)
        return self._function(node, kinds, overloads)

    def _equality(self, node: Call, left: Type, right: Type) -> Type:
        if not compatible(left, right):
            raise Misplaced(f"{_shown(node)} compares values of one type, not {left} and {right}", node.at)
        return BOOL

    def _membership(self, node: Call, entry: Type, entries: Type) -> Type:
        if entries in (DYN, NOTHING):
            return BOOL
        if entries.name not in ("list", "map"):
            raise Misplaced(f"in looks into a list or a map, not into {entries}", node.at)
        if not compatible(entry, entries.parameters[0]):
            raise Misplaced(f"a value of type {entry} is never in a {entries}", node.at)
        if isinstance(node.arguments[0], Literal):
            self._check_key(node.arguments[1], node.arguments[0].value, node.arguments[0].at)
        return BOOL

    def _index(self, node: Call, entries: Type, index: Type) -> Type:
        if entries in (DYN, NOTHING):
            return DYN
        if entries.name == "list" and compatible(index, INT):
            return entries.parameters[0]
        if entries.name == "map" and compatible(index, entries.parameters[0]):
            if isinstance(node.arguments[1], Literal):
                self._check_key(node.arguments[0], node.arguments[1].value, node.arguments[1].at)
            return entries.parameters[1]
        raise Misplaced(f"{entries} has no entry by {index}", node.at)

    def _logic(self, node: Logic) -> Type:
        for operand in node.operands:
            self._expect_bool(operand, "||" if node.decided_by else "&&")
        return BOOL

    def _conditional(self, node: Conditional) -> Type:
        self._expect_bool(node.condition, "?:")
        then, otherwise = self.type_of(node.then), self.type_of(node.otherwise)
        if not compatible(then, otherwise):
            raise Misplaced(f"?: has values of one type, not {then} and {otherwise}", node.at)
        return joined(then, otherwise)

    def _expect_bool(self, node: Node, what: str) -> None:
        kind = self.type_of(node)
        if not compatible(kind, BOOL):
            raise Misplaced(f"{what} takes bool, not {kind}", node.at)

    def _map(self, node: MapLiteral) -> Type:
        keys: set[object] = set()
        for key, _ in node.entries:
            kind = self.type_of(key)
            if kind not in (STRING, INT, DYN, NOTHING):
                raise Misplaced(f"the keys of a map are string or int, not {kind}", key.at)
            if isinstance(key, Literal):
                if key.value in keys:
                    raise Misplaced("this key is in the map already", key.at)
                keys.add(key.value)
        values = self._joined(self.type_of(value) for _, value in node.entries)
        return map_of(self._joined(self.checked.types[key] for key, _ in node.entries), values)

    @staticmethod
    def _joined(kinds: Iterable[Type]) -> Type:
        return reduce(joined, kinds, NOTHING)

    # --- comprehensions ---

    def _comprehension(self, node: Comprehension) -> Type:
        entries = self.type_of(node.entries)
        if entries in (DYN, NOTHING):
            entry = DYN
        elif entries.name in ("list", "map"):
            entry = entries.parameters[0]
        else:
            raise Misplaced(f"{node.macro} goes through a list or a map, not through {entries}", node.at)
        if len(self._scope) == MAX_NESTED_COMPREHENSIONS:
            raise Misplaced(f"comprehensions are nested deeper than {MAX_NESTED_COMPREHENSIONS} levels", node.at)
        self.checked.slots[node] = len(self._scope)
        self._scope.append((node.variable, entry))
        if node.condition is not None:
            self._expect_bool(node.condition, node.macro)
        if node.macro == "map":
            result = list_of(self.type_of(node.body))
        else:
            self._expect_bool(node.body, node.macro)
            result = list_of(entry) if node.macro == "filter" else BOOL
        self._scope.pop()
        return result

    # --- functions ---

    def _function(self, node: Call, kinds: Sequence[Type], overloads: Sequence[Overload]) -> Type:
        fitting = [each for each in overloads if _fits(each, kinds)]
        if not fitting:
            raise Misplaced(_no_overload(node, overloads, kinds), node.at)
        result = fitting[0].result
        if any(each.result != result for each in fitting):
            return DYN
        if len(fitting) == 1:
            chosen = fitting[0]
            if chosen.prepare is not None:
                self._prepare(node, chosen)
            if chosen.early:
                self._try_early(node, chosen)
            if all(map(_certain, chosen.parameters, kinds)):
                self.checked.overloads[node] = chosen
            if result.name == "list" and node.function == "_+_":
                return self._chained(node, *kinds)
        return result

    def _named(self, node: Call) -> Sequence[Overload]:
        named = FUNCTIONS.get(node.function, ())
        found = [each for each in named if each.member is node.member and not each.hidden]
        if found:
            return found
        if named:
            how = "behind its first argument: a.%s()" if named[0].member else "in front of its arguments: %s(a)"
            raise Misplaced(f"{node.function} is written {how % node.function}", node.at)
        alike = [*filter(str.isidentifier, FUNCTIONS), *MACROS, "has"]
        raise Misplaced(f"unknown function {node.function}{nearest(node.function, alike)}", node.at)

    def _chained(self, node: Call, left: Type, right: Type) -> Type:
        if not compatible(left, right):
            raise Misplaced(f"+ joins lists of one type, not {left} and {right}", node.at)
        if left.name == right.name:
            return joined(left, right)
        return left if left.name == "list" else right

    def _prepare(self, node: Call, overload: Overload) -> None:
        assert overload.prepare is not None
        last = node.arguments[-1]
        if not isinstance(last, Literal) or not isinstance(last.value, str):
            raise Misplaced(f"the last argument of {node.function} has to be a text that is written out", last.at)
        try:
            implementation, dear = overload.prepare(self._tools, last.value)
        except ValueError as bad:
            raise Misplaced(str(bad), last.at) from None
        self.checked.prepared[node] = Overload(overload.parameters[:-1], overload.result, implementation, dear=dear)

    def _try_early(self, node: Call, overload: Overload) -> None:
        (argument,) = node.arguments
        if isinstance(argument, Literal):
            try:
                overload.implementation(argument.value)
            except PredicateError as error:
                raise Misplaced(error.reason, argument.at) from None


def _fits(overload: Overload, kinds: Sequence[Type]) -> bool:
    return len(overload.parameters) == len(kinds) and all(map(compatible, overload.parameters, kinds))


def _certain(parameter: Type, kind: Type) -> bool:
    return parameter in (DYN, kind) or (parameter.name == kind.name and bool(parameter.parameters))


def _shown(node: Call) -> str:
    return node.function.strip("_@")


def _no_overload(node: Call, overloads: Sequence[Overload], kinds: Sequence[Type]) -> str:
    near = [each for each in overloads if any(map(eq, each.parameters, kinds))] or overloads
    takes = " or ".join(dict.fromkeys(_words(each.parameters) for each in near))
    return f"{_shown(node)} does not take {_words(kinds)}; it takes {takes}"


def _words(kinds: Sequence[Type]) -> str:
    return f"({', '.join(map(str, kinds))})"
