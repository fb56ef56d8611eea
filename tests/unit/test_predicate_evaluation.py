"""What expressions are worth, and which errors count."""

from __future__ import annotations

import math

import pytest

from gateway.core.predicate import Environment, PredicateError, Variable, compile_predicate, compile_program, itself
from gateway.core.predicate.bounds import MAX_LIST, MAX_STEPS, MAX_TEXT
from gateway.core.predicate.types import DYN, INT, Field, Record
from gateway.core.predicate.values import Frame
from gateway.discovery.predicates import TOOLS

D: Environment[object] = {"d": Variable(DYN, lambda facts: facts)}


TOO_MANY_STEPS = "it takes more steps than it may"


def value(source: str, d: object = None) -> object:
    return compile_program(source, D, TOOLS).evaluate(d)


def error(source: str, d: object = None) -> str:
    with pytest.raises(PredicateError) as failed:
        value(source, d)
    return failed.value.reason


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("false && 1 / 0 == 1", False),
        ("1 / 0 == 1 && false", False),
        ("true || 1 / 0 == 1", True),
        ("1 / 0 == 1 || true", True),
        ("1 / 0 == 1 || false || true", True),
        ("true && 1 / 0 == 1 && true && false", False),
        ("d && false", False),
        ("d || true", True),
        ("[0, 1].exists(x, 1 / x == 1)", True),
        ("[1, 0].exists(x, 1 / x == 1)", True),
        ("[0, 1].all(x, 1 / x == 2)", False),
        ("[1, 0].all(x, 1 / x == 2)", False),
        ("true ? 1 : 1 / 0", 1),
        ("false ? 1 / 0 : 2", 2),
    ],
)
def test_errors_that_another_operand_outweighs_are_forgotten(source: str, expected: object) -> None:
    assert value(source, 7) == expected


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("true && 1 / 0 == 1", "division by zero"),
        ("1 / 0 == 1 && true", "division by zero"),
        ("false || 1 % 0 == 1", "modulus by zero"),
        ("1 / 0 == 1 || false", "division by zero"),
        ("1 / 0 == 1 || false || 1 % 0 == 1", "division by zero"),
        ("[0, 2].exists(x, 1 / x == 1)", "division by zero"),
        ("[1, 0].all(x, 1 / x == 1)", "division by zero"),
        ("[0, 1].exists_one(x, 1 / x == 1)", "division by zero"),
        ("[1, 0].filter(x, 1 / x == 1).size() == 1", "division by zero"),
        ("[1, 0].map(x, 1 / x).size() == 1", "division by zero"),
        ("true && d", "a value is not a bool"),
        ("d ? 1 : 2", "a value is not a bool"),
        ("[1].filter(x, d) == []", "a value is not a bool"),
        ("!d", "! is not defined for what its arguments are"),
        ("d.a", "only lists and maps have entries"),
        ("d[0]", "only lists and maps have entries"),
        ("has(d.a)", "only a map has fields"),
        ("1 in d", "in looks into a list or a map"),
        ("d.exists(x, true)", "a comprehension goes through a list or a map"),
        ("d.startsWith('a')", "startsWith is not defined for what its arguments are"),
        ("d.matches('a')", "matches is not defined for what its arguments are"),
        ("d < 'a'", "< is not defined for what its arguments are"),
        ("dyn(true) + 1", "+ is not defined for what its arguments are"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("-9223372036854775808 - 1", "integer overflow"),
        ("9223372036854775807 * 2", "integer overflow"),
        ("-(-9223372036854775808)", "integer overflow"),
        ("(-9223372036854775808) / -1", "integer overflow"),
        ("(-9223372036854775808) % -1", "integer overflow"),
        ("[1][1]", "the index of a list is out of range"),
        ("[1][-1]", "the index of a list is out of range"),
        ("[1, 'a'][dyn('a')]", "the index of a list is not an int"),
        ("[1, 'a'][dyn(0.5)]", "the index of a list is not an int"),
        ("{'a': 1}['b']", "there is no b"),
        ("{'a': 1}.b", "there is no b"),
        ("{'a': 1}[dyn(1)]", "there is no such key"),
        ("{1: 1}[dyn(true)]", "there is no such key"),
        ("dyn([1]) in {'a': 1}", "no map has such keys"),
        ("{dyn('a'): 1, dyn('a'): 2}", "a map has a key twice"),
        ("{dyn(1.5): 1}", "the key of a map is not a string or int"),
        ("int('1.5')", "the text is not an int"),
        ("int('9223372036854775808')", "integer overflow"),
        ("int(1e19)", "the double is out of the range of int"),
        ("int(9223372036854775807.0)", "the double is out of the range of int"),
        ("int(-9223372036854775808.0)", "the double is out of the range of int"),
        ("double('1_0')", "the text is not a double"),
    ],
)
def test_errors(source: str, reason: str) -> None:
    assert error(source, 7) == reason


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("7 % -2", 1),
        ("1.0 / 0.0", math.inf),
        ("-1.0 / 0.0", -math.inf),
        ("1.0 / -0.0", -math.inf),
        ("0.0 / 0.0 == 0.0 / 0.0", False),
        ("0.0 / 0.0 < 1.0", False),
        ("int(-1.9)", -1),
        ("int('-12')", -12),
        ("double('1e3')", 1000.0),
        ("string(-3) + string(true)", "-3true"),
        ("dyn(1) == 1.0", True),
        ("dyn(1) == true", False),
        ("dyn(0) == false", False),
        ("dyn('1') == 1", False),
        ("dyn(null) == 0", False),
        ("dyn([1, 'a']) == [1.0, 'a']", True),
        ("dyn([true]) == [1]", False),
        ("dyn({'a': 1}) == {'a': 1.0}", True),
        ("dyn({'a': 1}) == {'b': 1}", False),
        ("dyn(1) < 1.5", True),
        ("9007199254740993 == dyn(9007199254740992.0)", False),
        ("1 in [1, 2]", True),
        ("dyn(true) in [1]", False),
        ("dyn(1.0) in {1: 2}", True),
        ("dyn(true) in {1: 2}", False),
        ("{1: 'a'}[1]", "a"),
        ("dyn({1: 'a'})[1.0]", "a"),
        ("[1, 2][dyn(1.0)]", 2),
        ("has({'a': null}.a)", True),
        ("has({'a': 1}.b)", False),
        ("{'x-y': 1}.`x-y`", 1),
        ("[1, 2, 3].exists_one(x, x > 2)", True),
        ("[1, 2, 3].exists_one(x, x > 1)", False),
        ("[].all(x, false)", True),
        ("[].exists(x, true)", False),
        ("[1, 2, 3].filter(x, x > 1)", [2, 3]),
        ("[1, 2, 3].map(x, x * x)", [1, 4, 9]),
        ("[1, 2, 3].map(x, x > 1, x * x)", [4, 9]),
        ("{'a': 1, 'b': 2}.map(k, k)", ["a", "b"]),
        ("[1, 2].map(x, [3].map(y, x + y))", [[4], [5]]),
        ("[1, 2].all(x, [1, 2].exists(x, x == 2) && x < 3)", True),
        ("[[1], [2]].map(x, x.map(x, x + 1)[0])", [2, 3]),
        ("'b' > 'a' && true > false", True),
        ("size('é😀') + 'a'.size() + size([1]) + {}.size()", 4),
        ("[1] + [2]", [1, 2]),
    ],
)
def test_values(source: str, expected: object) -> None:
    found = value(source)
    assert found == expected
    assert type(found) is type(expected)


def test_an_outer_variable_is_there_again_after_an_inner_one_of_its_name() -> None:
    assert value("[5].map(x, [7].map(x, x)[0] + x)") == [12]


def test_steps_are_bounded_and_their_end_is_an_error() -> None:
    many = list(range(1000))
    assert value("d.all(x, d.size() == 200)", many[:200]) is True
    assert error("d.all(x, d.all(y, x == y || true))", many) == TOO_MANY_STEPS
    assert error("d.map(x, d).all(x, x == d)", many) == TOO_MANY_STEPS
    assert error("d.filter(x, x in d).size() > 0", list(range(1000))) == TOO_MANY_STEPS
    texts = ["a" * 8000] * 200
    assert error("d.all(x, !x.contains('b'))", texts) == TOO_MANY_STEPS
    assert value("d.all(x, x.contains('b')) || d.size() == 200", texts) is True


@pytest.mark.parametrize(
    ("source", "steps"),
    [
        ("1 + 2 == 3 || size(d) == 2", 0),
        ("d == d", 2),
        ("dyn(7) in d", 2),
        ("d.all(x, true)", 2),
        ("d.all(x, x > 0 && true)", 10),
        ("d.all(x, [3].exists(y, y == x && true) || true)", 2 * 10 + 2 * 5),
        ("d.map(x, x > 0, string(x))", 2 * 5),
        ("d.all(x, 'a'.contains('b') || true)", 2 * 5),
        (f"d.all(x, '{'a' * 320}'.contains(string(x)) || true)", 2 * (6 + 10)),
    ],
)
def test_what_a_step_is(source: str, steps: int) -> None:
    program = compile_program(source, D, TOOLS)
    frame = Frame(program.variables or 0)
    program.code([1, 2], frame)
    assert MAX_STEPS - frame.steps == steps


@pytest.mark.parametrize("source", ["d.all(x, x >= 0)", "d == d", "dyn(0.5) in d || true", "d.map(x, x).size() > 0"])
def test_each_evaluation_has_all_its_steps(source: str) -> None:
    program = compile_program(source, D, TOOLS)
    many = list(range(MAX_STEPS // 4))
    for _ in range(5):
        assert program.evaluate(many)


def test_what_is_dear_is_charged_outside_comprehensions_too() -> None:
    often = " || ".join(["d.split('').join() == 'b'"] * 50)
    assert value(often, "a" * 100) is False
    assert error(often, "a" * 8000) == TOO_MANY_STEPS
    searched = " || ".join(["d.matches('a.{100}b')"] * 50)
    assert value(searched, "a" * 60) is False
    assert error(searched, "a" * 8000) == TOO_MANY_STEPS
    cheap = " || ".join(["d.endsWith('b') || size(d) == 0"] * 50)
    assert value(cheap, "a" * 8000) is False


def test_a_variable_of_a_comprehension_hides_a_fact_of_its_name() -> None:
    number = Record("number", fields={"value": Field(INT, lambda value: value)})
    facts: Environment[int] = {"a": Variable(number, itself), "b": Variable(number, lambda value: value + 1)}
    assert compile_program("[b].map(a, a.value)[0] - a.value", facts, TOOLS).evaluate(7) == 1


def test_texts_and_lists_are_bounded() -> None:
    text = "a" * (MAX_TEXT // 2)
    assert value("(d + d).size()", text) == MAX_TEXT
    assert error("d + d + 'b'", text) == f"a text would have more than {MAX_TEXT} characters"
    assert error("[d, d].join('b')", text) == f"a text would have more than {MAX_TEXT} characters"
    entries = [0] * (MAX_LIST // 2)
    assert value("(d + d).size()", entries) == MAX_LIST
    assert error("d + d + [1]", entries) == f"a list would have more than {MAX_LIST} entries"


def test_a_predicate_whose_value_is_unknown_has_to_be_a_bool_in_the_end() -> None:
    predicate = compile_predicate("d", D, TOOLS)
    assert predicate.holds(True) is True
    assert predicate.holds(False) is False
    with pytest.raises(PredicateError, match="the expression's value is not a bool"):
        predicate.holds(1)


def test_what_is_written_out_is_computed_once() -> None:
    program = compile_program("duration('1h') > duration('1m')", D, TOOLS)
    assert program.code.__code__.co_freevars == ("value",)
