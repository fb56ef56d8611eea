"""Our CEL against two others: Google's in C++ (cel-expr-python), which checks types as ours does, and the Rust one
(common-expression-language), which checks none. `docs/predicates.md` explains each difference that is let pass here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Literal, NamedTuple

import cel as rust
from cel_expr_python import cel as google
from cel_expr_python.ext import ext_strings

from gateway.core.predicate import BadPredicate, PredicateError, compile_program
from gateway.core.predicate.types import Type
from gateway.discovery.predicates import TOOLS
from tests.unit.predicate_support import ENVIRONMENT, TYPES, Expressions, Input, own_input, plain, python_input

EXPRESSIONS = 10_000
SEED = 20261125


class Outcome(NamedTuple):
    kind: Literal["refused", "error", "value"]
    value: object = None


REFUSED, ERROR = Outcome("refused"), Outcome("error")


class Difference(NamedTuple):
    """What another implementation does otherwise. Where `pattern` is in an expression, `ours` may stand against
    `theirs` (by kind)."""

    why: str
    pattern: str
    ours: str
    theirs: str

    def explains(self, expression: str, mine: Outcome, other: Outcome) -> bool:
        kinds = mine.kind in self.ours.split() and other.kind in self.theirs.split()
        return kinds and re.search(self.pattern, expression) is not None


GOOGLE = (
    Difference(
        "string(double): implementations disagree on the text, so ours has none", r"string\(", "refused", "value error"
    ),
    Difference("substring up to the very end fails", r"\.substring\([^()]+, [^()]+\)", "value", "error value"),
    Difference("the entries of [] have to be of one type", r"\[\]", "value error", "refused"),
    Difference("of int and dyn in a map it makes int", r"\{'a': ", "value error", "refused"),
    Difference("int() and double() take white space", r"(int|double)\(", "error", "value"),
)
_STRINGS = "indexOf|join|lowerAscii|upperAscii|split|substring|trim"
COMMON = (
    Difference(
        "it lacks these functions",
        r"\.(indexOf|join|lowerAscii|upperAscii|split|substring|trim)\(",
        "value",
        "error value",
    ),
    Difference("it lacks time zones", r"\.get\w+\(\"", "value", "error value"),
    Difference("it has no string(bool)", r"string\((true|b)\)", "value", "error value"),
    Difference("it shows an instant in the zone it was written in", r"\+01:30", "value error", "value error"),
    Difference("the least int has a negative", r"-", "error", "value"),
    Difference("a double is no key of a map", r" in (d|m|k)\b|\[", "value", "error"),
    Difference("all() does not forget an error that comes first", r"\.(all|exists)\(", "value", "error"),
    Difference("NaN is not compared", r"/", "value", "error"),
)

_GOOGLES_TYPES = {
    "bool": google.Type.BOOL,
    "int": google.Type.INT,
    "double": google.Type.DOUBLE,
    "string": google.Type.STRING,
    "dyn": google.Type.DYN,
    "timestamp": google.Type.TIMESTAMP,
    "duration": google.Type.DURATION,
}


def _googles_type(kind: Type) -> google.Type:
    if kind.name == "list":
        return google.Type.List(*map(_googles_type, kind.parameters))
    return google.Type.Map(*map(_googles_type, kind.parameters)) if kind.name == "map" else _GOOGLES_TYPES[kind.name]


_GOOGLE = google.NewEnv(
    variables={name: _googles_type(kind) for name, kind in TYPES.items()}, extensions=[ext_strings.ExtStrings()]
)


def by_ours(expression: str, given: Input) -> Outcome:
    try:
        program = compile_program(expression, ENVIRONMENT, TOOLS)
    except BadPredicate:
        return REFUSED
    try:
        return Outcome("value", plain(program.evaluate(own_input(given))))
    except PredicateError:
        return ERROR


def by_google(expression: str, given: Input) -> Outcome:
    try:
        compiled = _GOOGLE.compile(expression)
    except RuntimeError:
        return REFUSED
    value = compiled.eval(data=given)
    return ERROR if value.type() == google.Type.ERROR else Outcome("value", plain(value.plain_value()))


def by_common(expression: str, given: Input) -> Outcome:
    try:
        return Outcome("value", plain(rust.evaluate(expression, dict(given))))
    except (RuntimeError, ValueError, TypeError, OverflowError, ArithmeticError, LookupError):
        return ERROR


def _compared(
    other: Callable[[str, Input], Outcome], differences: Sequence[Difference], *, typed: bool
) -> tuple[Counter[str], Counter[str], list[str]]:
    random = Random(SEED)
    agreed: Counter[str] = Counter()
    explained: Counter[str] = Counter()
    unexplained: list[str] = []
    for _ in range(EXPRESSIONS):
        expression, given = Expressions(random).expression(), python_input(random)
        mine = by_ours(expression, given)
        if mine is REFUSED and not typed:
            continue
        theirs = other(expression, given)
        if mine == theirs:
            agreed[mine.kind] += 1
            continue
        why = next((each.why for each in differences if each.explains(expression, mine, theirs)), None)
        if why is None:
            unexplained.append(f"{expression}\n  {given}\n  ours {mine}\n  theirs {theirs}")
        else:
            explained[why] += 1
    return agreed, explained, unexplained


def test_as_googles() -> None:
    agreed, explained, unexplained = _compared(by_google, GOOGLE, typed=True)
    assert not unexplained, "\n".join(unexplained[:5])
    assert agreed["value"] > 6_000
    assert agreed["error"] > 1_500
    assert agreed["refused"] > 300
    assert explained.total() < EXPRESSIONS / 100


def test_as_the_rust_one() -> None:
    agreed, explained, unexplained = _compared(by_common, COMMON, typed=False)
    assert not unexplained, "\n".join(unexplained[:5])
    assert agreed["value"] > 5_500
    assert agreed["error"] > 1_500
    assert explained.total() < EXPRESSIONS / 10
