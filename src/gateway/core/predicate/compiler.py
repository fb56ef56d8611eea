"""From a checked tree to closures. Nothing is generated or executed as text.

Where types are known, a closure calls the one overload there is; where they are not, it finds the overload by the
values. Calls of literals are made here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, cast

from gateway.core.predicate.checker import Checked
from gateway.core.predicate.closures import (
    Code,
    among,
    choice,
    decided,
    dispatched,
    entry_of,
    entry_of_map,
    equals_text,
    has_key,
    is_key,
    is_null,
    kept,
    logic,
    made_list,
    made_map,
    metered,
    through_entries,
)
from gateway.core.predicate.environment import Environment, F, Memo, itself
from gateway.core.predicate.library import FUNCTIONS
from gateway.core.predicate.overloads import Implementation, Overload
from gateway.core.predicate.syntax import (
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
from gateway.core.predicate.types import BOOL, INT, STRING, holds
from gateway.core.predicate.values import Frame, PredicateError, equal

_SCALARS = frozenset({"bool", "int", "double", "string", "null", "duration", "timestamp", "ip", "cidr"})


def compile_checked(checked: Checked, environment: Environment[F]) -> tuple[Code[F], int | None]:
    """The closure, and how many variables its frame has; None where it needs no frame of its own."""
    compiler = _Compiler(checked, environment)
    code = compiler.code(checked.tree)
    return code, compiler.variables if compiler.charges else None


def names_in(node: Node, checked: Checked) -> frozenset[str]:
    """The variables of the environment that an expression asks about."""
    return frozenset(name for name in _asked(node, checked) if isinstance(name, str))


class _Compiler(Generic[F]):
    def __init__(self, checked: Checked, environment: Environment[F]) -> None:
        self._checked = checked
        self._environment = environment
        self._constants: dict[Node, object] = {}
        self.variables = 1 + max(checked.slots.values(), default=-1)
        """How many variables of comprehensions a frame has."""
        self._keeping = all(variable.memo is None for variable in environment.values())
        """Within a part whose value is kept, or where nothing is."""
        self.charges = False
        """Whether any closure may charge the frame."""
        self._within = 0
        """How many comprehensions are around: inside any, work is charged."""

    def code(self, node: Node) -> Code[F]:
        memo = None if self._keeping else self._memo(node)
        if memo is not None:
            return self._kept(node, memo)
        made = self._code(node)
        if isinstance(node, Call | ListLiteral | MapLiteral) and all(each in self._constants for each in node.children):
            return self._folded(node, made)
        return made

    def _code(self, node: Node) -> Code[F]:
        match node:
            case Literal():
                return self._constant(node, node.value)
            case Name():
                return self._name(node)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case Logic():
                return logic(node.decided_by, [self._bool(operand) for operand in node.operands])
            case Conditional():
                return choice(self._bool(node.condition), self.code(node.then), self.code(node.otherwise))
            case ListLiteral():
                return made_list([self.code(entry) for entry in node.entries])
            case MapLiteral():
                return made_map([(self.code(key), self.code(value)) for key, value in node.entries])
            case Comprehension():
                return self._comprehension(node)
        raise AssertionError(f"no expression is made of {node!r}")

    def _memo(self, node: Node) -> Callable[[F], Memo] | None:
        """Where the value of a part may be kept; None where it may not, or is had as quickly."""
        if isinstance(node, Literal | Name | Select):
            return None
        asked = _asked(node, self._checked)
        memos = {self._environment[name].memo if isinstance(name, str) else None for name in asked}
        return memos.pop() if len(memos) == 1 else None

    def _kept(self, node: Node, memo: Callable[[F], Memo]) -> Code[F]:
        """With steps of its own, so that what is kept does not depend on what they were first asked for along with."""
        outside = self.charges, self._within
        self._keeping, self._within = True, 0
        code = self.code(node)
        self._keeping = False
        self.charges, self._within = outside
        return kept(code, memo, self.variables)

    def _constant(self, node: Node, value: object) -> Code[F]:
        self._constants[node] = value
        return lambda _, __: value

    def _folded(self, node: Node, code: Code[F]) -> Code[F]:
        """An error stays where it is, since `&&` and `||` may outweigh it."""
        try:
            value = code(cast(F, None), Frame(0))  # no literal asks for facts
        except PredicateError:
            return code
        return self._constant(node, value)

    def _name(self, node: Name) -> Code[F]:
        slot = self._checked.slots.get(node)
        if slot is not None:
            return lambda _, frame: frame.variables[slot]
        read = self._environment[node.name].read
        return lambda facts, _: read(facts)

    def _bool(self, node: Node) -> Code[F]:
        code = self.code(node)
        if self._checked.types[node] == BOOL:
            return code

        def checked(facts: F, frame: Frame) -> object:
            value = code(facts, frame)
            if value is True or value is False:
                return value
            raise PredicateError("a value is not a bool")

        return checked

    # --- fields, entries, equality ---

    def _select(self, node: Select) -> Code[F]:
        field = self._checked.fields.get(node)
        if field is None:
            operand = self.code(node.operand)
            return has_key(operand, node.field) if node.test else self._entry(node.operand, operand, node.field)
        read = field.read
        operand = self.code(node.operand)
        if node.test:
            return lambda facts, frame: bool(read(operand(facts, frame)))
        variable = self._environment.get(node.operand.name) if isinstance(node.operand, Name) else None
        if variable is not None and variable.read is itself and node.operand not in self._checked.slots:
            return lambda facts, _: read(facts)
        return lambda facts, frame: read(operand(facts, frame))

    def _call(self, node: Call) -> Code[F]:
        codes = [self.code(argument) for argument in node.arguments]
        match node.function:
            case "_==_":
                return self._equality(node, codes)
            case "_!=_":
                same = self._equality(node, codes)
                return lambda facts, frame: not same(facts, frame)
            case "@in":
                return self._membership(node, *codes)
            case "_[_]":
                return self._index(node, *codes)
        return self._function(node, codes)

    def _equality(self, node: Call, codes: Sequence[Code[F]]) -> Code[F]:
        one, other = node.arguments
        for right, code in ((other, codes[0]), (one, codes[1])):
            constant = self._constants.get(right)
            if isinstance(constant, str):
                # A text equals nothing but a text, in Python as in CEL.
                return equals_text(code, constant)
            if constant is None and right in self._constants:
                return is_null(code)
        left_code, right_code = codes
        kinds = {self._checked.types[argument].name for argument in node.arguments}
        if len(kinds) == 1 and kinds <= _SCALARS:
            return lambda facts, frame: left_code(facts, frame) == right_code(facts, frame)
        self.charges = True
        return lambda facts, frame: equal(left_code(facts, frame), right_code(facts, frame), frame)

    def _membership(self, node: Call, entry: Code[F], entries: Code[F]) -> Code[F]:
        kind, of = (self._checked.types[argument] for argument in node.arguments)
        if of.name == "map":
            return lambda facts, frame: is_key(entry(facts, frame), entries(facts, frame))
        constant = self._constants.get(node.arguments[1])
        if isinstance(constant, list) and kind in (STRING, INT) and all(holds(kind, each) for each in constant):
            values = frozenset(constant)
            return lambda facts, frame: entry(facts, frame) in values
        self.charges = True
        return among(entry, entries)

    def _index(self, node: Call, entries: Code[F], index: Code[F]) -> Code[F]:
        key = self._constants.get(node.arguments[1])
        if isinstance(key, str):
            return self._entry(node.arguments[0], entries, key)
        return lambda facts, frame: entry_of(entries(facts, frame), index(facts, frame))

    def _entry(self, node: Node, entries: Code[F], key: str) -> Code[F]:
        if self._checked.types[node].name == "map":
            return entry_of_map(entries, key)
        return lambda facts, frame: entry_of(entries(facts, frame), key)

    # --- functions ---

    def _function(self, node: Call, codes: Sequence[Code[F]]) -> Code[F]:
        prepared = self._checked.prepared.get(node)
        overloads: Sequence[Overload] = FUNCTIONS[node.function]
        if prepared is not None:
            codes, overloads = codes[:-1], (prepared,)
        if node in self._checked.overloads:
            chosen = prepared or self._checked.overloads[node]
            return self._applied(chosen.implementation, node.arguments, codes, chosen.dear)
        possible = [
            each
            for each in overloads
            if len(each.parameters) == len(codes) and (each is prepared or each.member is node.member)
        ]
        return self._applied(
            dispatched(node.function, possible), node.arguments, codes, max(each.dear for each in possible)
        )

    def _applied(
        self, implementation: Implementation, arguments: Sequence[Node], codes: Sequence[Code[F]], dear: int
    ) -> Code[F]:
        if self._within or dear:
            self.charges = True
            return metered(implementation, codes, dear or 1)
        if len(codes) == 1:
            (only,) = codes
            return lambda facts, frame: implementation(only(facts, frame))
        if len(codes) == 2:
            first, second = codes
            if arguments[1] in self._constants:
                constant = self._constants[arguments[1]]
                return lambda facts, frame: implementation(first(facts, frame), constant)
            return lambda facts, frame: implementation(first(facts, frame), second(facts, frame))
        return lambda facts, frame: implementation(*[code(facts, frame) for code in codes])

    # --- comprehensions ---

    def _comprehension(self, node: Comprehension) -> Code[F]:
        self.charges = True
        slot = self._checked.slots[node]
        entries = self.code(node.entries)
        self._within += 1
        condition = None if node.condition is None else self._bool(node.condition)
        body = self.code(node.body) if node.macro == "map" else self._bool(node.body)
        self._within -= 1
        weight = _size(node.body) + (0 if node.condition is None else _size(node.condition))
        through = through_entries(entries, slot, weight)
        match node.macro:
            case "all":
                return decided(through, body, decided_by=False)
            case "exists":
                return decided(through, body, decided_by=True)
            case "exists_one":
                return lambda facts, frame: sum(body(facts, frame) is True for _ in through(facts, frame)) == 1
            case "filter":
                return lambda facts, frame: [entry for entry in through(facts, frame) if body(facts, frame)]
        if condition is None:
            return lambda facts, frame: [body(facts, frame) for _ in through(facts, frame)]
        wanted = condition
        return lambda facts, frame: [body(facts, frame) for _ in through(facts, frame) if wanted(facts, frame)]


def _asked(node: Node, checked: Checked) -> frozenset[str | int]:
    """Names of the environment, and slots of comprehensions around the node."""
    if isinstance(node, Name):
        return frozenset((checked.slots.get(node, node.name),))
    if isinstance(node, Comprehension):
        inner = frozenset[str | int]().union(*(_asked(child, checked) for child in node.children[1:]))
        return _asked(node.entries, checked) | (inner - {checked.slots[node]})
    return frozenset[str | int]().union(*(_asked(child, checked) for child in node.children))


def _size(node: Node) -> int:
    return 1 + sum(map(_size, node.children))
