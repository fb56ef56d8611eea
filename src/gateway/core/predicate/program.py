"""From an expression's text to what evaluates it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, cast

from gateway.core.predicate.checker import check
from gateway.core.predicate.closures import Code
from gateway.core.predicate.compiler import compile_checked, names_in
from gateway.core.predicate.environment import Environment, F
from gateway.core.predicate.overloads import Tools
from gateway.core.predicate.parser import parse
from gateway.core.predicate.rejection import Misplaced
from gateway.core.predicate.types import BOOL, Type, compatible
from gateway.core.predicate.values import Frame, PredicateError

_IDLE = Frame(0)
"""For programs that charge nothing: nothing in it ever changes."""


@dataclass(frozen=True, slots=True)
class Program(Generic[F]):
    """A compiled expression, of any type."""

    source: str
    type: Type
    code: Code[F]
    variables: int | None
    """How many its frame has; None where it needs none of its own."""
    names: frozenset[str]
    """The variables of the environment that it asks about."""

    def evaluate(self, facts: F) -> object:
        """Raises PredicateError."""
        return self.code(facts, _IDLE if self.variables is None else Frame(self.variables))


@dataclass(frozen=True, slots=True)
class Predicate(Generic[F]):
    """An expression that says yes or no."""

    source: str
    names: frozenset[str]
    """The variables of the environment that it asks about."""
    holds: Callable[[F], bool]
    """Raises PredicateError."""
    holds_within: Callable[[F, Frame], bool]
    """`holds`, on steps that several evaluations share. Raises PredicateError."""
    variables: int
    """How many such a frame has."""


def compile_program(source: str, environment: Environment[F], tools: Tools) -> Program[F]:
    """Raises BadPredicate."""
    try:
        tree = parse(source)
        checked = check(tree, {name: variable.type for name, variable in environment.items()}, tools)
        code, variables = compile_checked(checked, environment)
    except Misplaced as bad:
        raise bad.placed(source) from None
    return Program(source, checked.types[tree], code, variables, names_in(tree, checked))


def compile_predicate(source: str, environment: Environment[F], tools: Tools) -> Predicate[F]:
    """Raises BadPredicate, for an expression that cannot be a bool too."""
    program = compile_program(source, environment, tools)
    if not compatible(program.type, BOOL):
        raise Misplaced(f"a predicate is a bool, and this is a {program.type}", 0).placed(source)
    judge = _judge(program)
    count = program.variables
    holds = _alone(judge) if count is None else _metered(judge, count)
    return Predicate(source, program.names, holds, judge, count or 0)


def _alone(judge: Callable[[F, Frame], bool]) -> Callable[[F], bool]:
    return lambda facts: judge(facts, _IDLE)


def _metered(judge: Callable[[F, Frame], bool], variables: int) -> Callable[[F], bool]:
    return lambda facts: judge(facts, Frame(variables))


def _judge(program: Program[F]) -> Callable[[F, Frame], bool]:
    code = program.code
    if program.type == BOOL:
        return cast(Callable[[F, Frame], bool], code)

    def judge(facts: F, frame: Frame) -> bool:
        value = code(facts, frame)
        if value is True or value is False:
            return value
        raise PredicateError("the expression's value is not a bool")

    return judge
