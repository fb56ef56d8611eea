"""Any text is a predicate or a refusal with its place, and any predicate is a value or an error, in bounded work."""

from __future__ import annotations

from contextlib import suppress
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.core.facts import RequestFacts
from gateway.core.predicate import BadPredicate, Predicate, PredicateError, compile_predicate, compile_program
from gateway.core.predicate.bounds import MAX_STEPS
from gateway.core.predicate.values import Frame
from gateway.core.when import WHEN
from gateway.discovery.predicates import TOOLS
from tests.unit.predicate_support import ENVIRONMENT, Expressions, own_input, plain, python_input

LEXEMES = [
    *("request", ".path", ".headers", ".segments", ".query", ".cookies", ".time", ".host", ".`x-tier`", "[0]"),
    *("has(", ".all(", ".exists(", ".map(", ".filter(", ".size(", ".matches(", ".startsWith(", ".getHours("),
    *("cidr(", "duration(", "timestamp(", "int(", "dyn(", "sample(", "x", "y", ",", "(", ")", "[", "]", "{", "}"),
    *(":", "?", "+", "-", "*", "/", "%", "!", "&&", "||", "==", "!=", "<", "<=", "in", "true", "false", "null"),
    *("0", "1", "-1", "0x1F", "1e3", ".5", "9223372036854775807", "'a'", '"x-tier"', "'1h'", "'^a'", r"r'\d'"),
    *("\\", "'", '"', "'''", "//", "\n"),
]
PIECES = st.lists(st.sampled_from(LEXEMES), max_size=40).map(" ".join)
TEXTS = st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode(errors="surrogateescape")) | PIECES

REQUEST = RequestFacts(
    "GET",
    "example.com",
    "/orders/1",
    "a=1&b=2&a=3",
    CIMultiDict([("X-Tier", "gold"), ("Accept", "a"), ("Accept", "b"), ("Cookie", "s=1"), ("X-Bytes", "\udce9")]),
    "192.0.2.1",
    "http",
    1_795_615_382_000_000_000,
)


@given(TEXTS)
@example("(" * 4096)
@example("[" * 2048 + "]" * 2048)
@example("!" * 4000 + "true")
@example("-" * 4000 + "1")
@example("a" + ".b" * 2000)
@example("'" + "\\" * 3000)
@example("1" * 4000)
@example("1." + "1" * 4000 + "e" + "9" * 50)
@example("0x" + "f" * 4000)
@example("true ? " * 500)
@example("\udce9")
@settings(max_examples=1500, deadline=None)
def test_any_text_is_judged(source: str) -> None:
    found = _compiled(source)
    if isinstance(found, BadPredicate):
        lines = source.split("\n")
        assert 1 <= found.line <= len(lines)
        assert 1 <= found.column <= len(lines[found.line - 1]) + 1
        assert found.reason
    else:
        with suppress(PredicateError):
            assert found.holds(REQUEST) in (True, False)


def _compiled(source: str) -> Predicate[RequestFacts] | BadPredicate:
    try:
        return compile_predicate(source, WHEN, TOOLS)
    except BadPredicate as bad:
        return bad


@given(st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_a_cut_or_changed_expression_is_judged(seed: int) -> None:
    random = Random(seed)
    expression, given_input = Expressions(random).expression(), own_input(python_input(random))
    at = random.randrange(len(expression) + 1)
    begin, end = expression[:at], expression[at:]
    for changed in (begin, end, begin + random.choice("()[]'\".,&|0a") + end):
        with suppress(BadPredicate, PredicateError):
            compile_program(changed, ENVIRONMENT, TOOLS).evaluate(given_input)


@given(st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_an_evaluation_is_steady_and_keeps_to_its_steps(seed: int) -> None:
    random = Random(seed)
    expression, given_input = Expressions(random).expression(), own_input(python_input(random))
    try:
        program = compile_program(expression, ENVIRONMENT, TOOLS)
    except BadPredicate:
        return

    def outcome() -> object:
        frame = Frame(program.variables or 0)
        try:
            return plain(program.code(given_input, frame))
        except PredicateError as error:
            return error.reason
        finally:
            assert frame.steps <= MAX_STEPS
            assert frame.steps == MAX_STEPS or program.variables is not None, "a shared frame was charged"

    before = repr(given_input)
    assert outcome() == outcome()
    assert repr(given_input) == before, "an expression changes nothing"


@given(st.integers(0, 2**32))
@settings(max_examples=200, deadline=None)
def test_logic_keeps_its_laws_whatever_fails(seed: int) -> None:
    """`&&` and `||` commute, De Morgan's laws hold, and `all` is the `&&` of its entries."""
    random = Random(seed)
    expressions, given_input = Expressions(random), own_input(python_input(random))
    left, right = (f"dyn({expressions.expression()})" for _ in "ab")
    pairs = (
        (f"({left}) && ({right})", f"({right}) && ({left})"),
        (f"({left}) || ({right})", f"({right}) || ({left})"),
        (f"!({left} && {right})", f"!({left}) || !({right})"),
        (f"[{left} && true, {right} && true].all(v, v)", f"[{left} && true, {right} && true].exists(v, !v) == false"),
    )
    for one, other in pairs:
        found = []
        for expression in (one, other):
            try:
                found.append(plain(compile_program(expression, ENVIRONMENT, TOOLS).evaluate(given_input)))
            except PredicateError:
                found.append("error")
            except BadPredicate:
                return
        assert found[0] == found[1], (one, other)
