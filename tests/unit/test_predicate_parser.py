"""From text to trees: what is written, what is refused, and where."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.core.predicate import BadPredicate, Environment, compile_program
from gateway.core.predicate.bounds import MAX_DEPTH, MAX_ENTRIES, MAX_NODES, MAX_SOURCE
from gateway.core.predicate.parser import parse
from gateway.core.predicate.syntax import Call, Comprehension, Conditional, Literal, Logic, Name, Node, Select
from gateway.discovery.predicates import TOOLS

NOTHING: Environment[None] = {}


def value(source: str) -> object:
    return compile_program(source, NOTHING, TOOLS).evaluate(None)


def refusal(source: str) -> BadPredicate:
    with pytest.raises(BadPredicate) as refused:
        compile_program(source, NOTHING, TOOLS)
    return refused.value


def shown(node: Node) -> str:
    """A tree with all its parentheses."""
    match node:
        case Literal():
            return repr(node.value)
        case Name():
            return node.name
        case Select():
            dotted = f"{shown(node.operand)}.{node.field}"
            return f"has({dotted})" if node.test else dotted
        case Call():
            return f"{node.function}({', '.join(map(shown, node.arguments))})"
        case Logic():
            return "(" + (" || " if node.decided_by else " && ").join(map(shown, node.operands)) + ")"
        case Conditional():
            return f"({shown(node.condition)} ? {shown(node.then)} : {shown(node.otherwise)})"
        case Comprehension():
            return f"{node.macro}({', '.join([shown(node.entries), node.variable, *map(shown, node.children[1:])])})"
    raise AssertionError(node)


@pytest.mark.parametrize(
    ("source", "tree"),
    [
        ("1 + 2 * 3", "_+_(1, _*_(2, 3))"),
        ("1 - 2 - 3", "_-_(_-_(1, 2), 3)"),
        ("a || b && c", "(a || (b && c))"),
        ("a && b && c && d", "(a && b && c && d)"),
        ("(a && b) && (c && d)", "(a && b && c && d)"),
        ("(a || b) && c", "((a || b) && c)"),
        ("a < b == c", "_==_(_<_(a, b), c)"),
        ("a in b + c", "@in(a, _+_(b, c))"),
        ("a ? b : c ? d : e", "(a ? b : (c ? d : e))"),
        ("!a.b[0]", "!_(_[_](a.b, 0))"),
        ("!!a", "!_(!_(a))"),
        ("--1", "-_(-_(1))"),
        ("-1", "-1"),
        ("- a", "-_(a)"),
        ("a.b(c).d", "b(a, c).d"),
        ("has(a.b.c)", "has(a.b.c)"),
        ("has(a.`x-y`)", "has(a.x-y)"),
        ("a.if", "a.if"),
        ("a.all(b, c)", "all(a, b, c)"),
        ("a.map(b, c, d)", "map(a, b, c, d)"),
        ("a // one\n && // two\nb", "(a && b)"),
    ],
)
def test_precedence(source: str, tree: str) -> None:
    assert shown(parse(source)) == tree


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("0x1F", 31),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775807", 2**63 - 1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.5E-1", 0.15),
        (r'"\a\b\f\n\r\t\v\\\?\"\'\`"', "\a\b\f\n\r\t\v\\?\"'`"),
        (r'"\x41\X42\103\u00e9\U0001F600"', "ABCé😀"),
        (r'r"\d"', r"\d"),
        (r"R'''a\'''", "a\\"),
        ("'''a\n'b'\n'''", "a\n'b'\n"),
        ('"""a"b"""', 'a"b'),
        ("'é'", "é"),
        ("null", None),
        ("[1, 2,]", [1, 2]),
        ("{'a': 1, 2: [],}", {"a": 1, 2: []}),
    ],
)
def test_literals(source: str, expected: object) -> None:
    found = value(source)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("source", "where", "reason"),
    [
        ("", (1, 1), "the expression ends where a value is expected"),
        ("true &&", (1, 8), "the expression ends where a value is expected"),
        ("true\n  && )", (2, 6), ") stands where a value is expected"),
        ("true true", (1, 6), "true stands where an operator or the end is expected"),
        ("(true", (1, 6), "the expression ends where ) is expected"),
        ("[1, 2", (1, 6), "the expression ends where ] is expected"),
        ("{'a' 1}", (1, 6), "1 stands where : is expected"),
        ("true ? 1", (1, 9), "the expression ends where : is expected"),
        ("size(1,)", (1, 8), ") stands where a value is expected"),
        ("'a", (1, 1), "this text is not closed; ' is expected at its end"),
        ("'a\nb'", (1, 1), "this text is not closed; ' is expected at its end"),
        ('"""a', (1, 1), 'this text is not closed; """ is expected at its end'),
        (r"'ab\q'", (1, 4), r"CEL has no escape \q; a backslash is written \\"),
        (r"'\ud800'", (1, 2), "this escape is not a character of Unicode"),
        (r"'\U00110000'", (1, 2), "this escape is not a character of Unicode"),
        ("1 # 2", (1, 3), "nothing in CEL begins with #"),
        ("1 & 2", (1, 3), "nothing in CEL begins with &"),
        ("\x00", (1, 1), r"nothing in CEL begins with \x00"),
        ("1u", (1, 1), "unsigned numbers are not part of this subset of CEL; leave out the u"),
        ("b'a'", (1, 1), "bytes are not part of this subset of CEL; leave out the b"),
        ("9223372036854775808", (1, 1), "a whole number has 64 bits at most"),
        ("--9223372036854775808", (1, 3), "a whole number has 64 bits at most"),
        ("9" * 4000, (1, 1), "a whole number has 64 bits at most"),
        ("if", (1, 1), "if is a reserved word of CEL"),
        ("a.true", (1, 3), "true stands where the name of a field or function is expected"),
        ("a.1", (1, 2), ".1 stands where an operator or the end is expected"),
        ("a = b", (1, 3), "nothing in CEL begins with ="),
        ("Foo{a: 1}", (1, 4), "messages are not part of this subset of CEL"),
        ("!-1", (1, 2), "- stands where a value is expected"),
        ("[1].all(x)", (1, 5), "all takes a variable and one expression"),
        ("[1].map(x)", (1, 5), "map takes a variable and one or two expressions"),
        ("[1].all(x.y, true)", (1, 11), "the first argument of all has to be the name of a variable"),
        ("has(a)", (1, 1), 'has takes one field, as in has(a.b) or has(a.`b-c`); for an index, write "b" in a'),
        ("has(a['b'])", (1, 1), 'has takes one field, as in has(a.b) or has(a.`b-c`); for an index, write "b" in a'),
    ],
)
def test_refusals_say_what_was_expected_and_where(source: str, where: tuple[int, int], reason: str) -> None:
    refused = refusal(source)
    assert (refused.reason, (refused.line, refused.column)) == (reason, where)


def _nested(depth: int) -> Mapping[str, str]:
    return {
        "parentheses": "(" * depth + "1" + ")" * depth,
        "lists": "[" * depth + "]" * depth,
        "not": "!" * depth + "true",
        "minus": "- " * depth + "1",
        "fields": "a" + ".b" * depth,
        "index": "[[1]]" + "[0]" * depth,
        "sum": "1" + "+1" * depth,
        "comparison": "1" + "==1" * depth,
        "choice": "true ? 1 : " * depth + "1",
        "calls": "size(" * depth + "'a'" + ")" * depth,
        "maps": "{'a':" * depth + "1" + "}" * depth,
    }


@pytest.mark.parametrize("kind", _nested(1))
@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 400, 1000])
def test_what_is_too_deep_is_refused(kind: str, depth: int) -> None:
    reason = refusal(_nested(depth)[kind][:MAX_SOURCE]).reason
    assert reason == f"the expression is nested deeper than {MAX_DEPTH} levels"


@pytest.mark.parametrize("kind", _nested(1))
def test_what_is_nearly_too_deep_is_parsed(kind: str) -> None:
    parse(_nested(MAX_DEPTH - 3)[kind])


def test_a_chain_of_one_operator_of_logic_is_one_level() -> None:
    assert value(" && ".join(["true"] * 400)) is True
    assert value(" || ".join(["false"] * 400 + ["true"])) is True


def test_size_is_bounded() -> None:
    assert refusal("true" + " " * MAX_SOURCE).reason == f"an expression has at most {MAX_SOURCE} characters"
    assert refusal(" && ".join(["true"] * MAX_NODES)).reason == f"an expression has at most {MAX_SOURCE} characters"
    assert refusal("&&".join(["!a"] * 400)).reason == f"the expression has more than {MAX_NODES} parts"
    assert refusal(f"[{'1,' * (MAX_ENTRIES + 1)}]").reason == f"a list or map has at most {MAX_ENTRIES} entries"
    assert value(f"[{'1,' * MAX_ENTRIES}].size()") == MAX_ENTRIES
