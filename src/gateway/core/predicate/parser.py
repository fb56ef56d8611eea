"""From tokens to a tree, by precedence climbing; the grammar is CEL's (language definition, Syntax)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from gateway.core.predicate.bounds import MAX_DEPTH, MAX_ENTRIES, MAX_NODES, MAX_SOURCE
from gateway.core.predicate.rejection import Misplaced
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
from gateway.core.predicate.tokens import Kind, Token, tokens
from gateway.core.predicate.values import MAX_INT

_LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"||"}),
    frozenset({"&&"}),
    frozenset({"<", "<=", ">=", ">", "==", "!=", "in"}),
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)
_BINDS: Mapping[str, int] = {symbol: level for level, symbols in enumerate(_LEVELS) for symbol in symbols}
_WORDS: Mapping[str, bool | None] = {"true": True, "false": False, "null": None}
_RESERVED = frozenset(
    {
        "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package",
        "namespace", "return", "var", "void", "while",
    }
)  # fmt: skip

_E = TypeVar("_E")


def parse(source: str) -> Node:
    """Raises Misplaced, with what was expected."""
    if len(source) > MAX_SOURCE:
        raise Misplaced(f"an expression has at most {MAX_SOURCE} characters", MAX_SOURCE)
    return _Parser(source).whole()


class _Parser:
    def __init__(self, source: str) -> None:
        self._tokens = tokens(source)
        self._next = next(self._tokens)
        self._nesting = 0
        self._depths: dict[Node, int] = {}

    def whole(self) -> Node:
        tree = self._expression()
        if self._next.kind is not Kind.END:
            raise self._unexpected("an operator or the end")
        return tree

    # --- tokens ---

    def _take(self) -> Token:
        taken = self._next
        if taken.kind is not Kind.END:
            self._next = next(self._tokens)
        return taken

    def _at_symbol(self, symbol: str) -> bool:
        return self._next.text == symbol and self._next.kind in (Kind.SYMBOL, Kind.NAME)

    def _took(self, symbol: str) -> bool:
        found = self._at_symbol(symbol)
        if found:
            self._take()
        return found

    def _expect(self, symbol: str) -> None:
        if not self._took(symbol):
            raise self._unexpected(symbol)

    def _unexpected(self, expected: str) -> Misplaced:
        found = self._next
        what = "the expression ends" if found.kind is Kind.END else f"{found.text[:20]} stands"
        return Misplaced(f"{what} where {expected} is expected", found.at)

    # --- nodes ---

    def _made(self, node: Node) -> Node:
        """Counts a node, since what is deep or large could not be walked safely."""
        depth = 1 + max((self._depths[child] for child in node.children), default=0)
        if depth > MAX_DEPTH:
            raise Misplaced(f"the expression is nested deeper than {MAX_DEPTH} levels", node.at)
        self._depths[node] = depth
        if len(self._depths) > MAX_NODES:
            raise Misplaced(f"the expression has more than {MAX_NODES} parts", node.at)
        return node

    def _expression(self) -> Node:
        self._nesting += 1
        if self._nesting > MAX_DEPTH:
            raise Misplaced(f"the expression is nested deeper than {MAX_DEPTH} levels", self._next.at)
        condition = self._binary(0)
        at = self._next.at
        if self._took("?"):
            then = self._binary(0)
            self._expect(":")
            condition = self._made(Conditional(at, condition, then, self._expression()))
        self._nesting -= 1
        return condition

    def _binary(self, level: int) -> Node:
        left = self._unary()
        while True:
            operator = self._next
            binds = -1 if operator.kind in (Kind.STRING, Kind.QUOTED_NAME) else _BINDS.get(operator.text, -1)
            if binds < level:
                return left
            self._take()
            right = self._binary(binds + 1)
            left = self._joined(operator, left, right)

    def _joined(self, operator: Token, left: Node, right: Node) -> Node:
        if operator.text not in ("&&", "||"):
            name = "@in" if operator.text == "in" else f"_{operator.text}_"
            return self._made(Call(operator.at, name, (left, right)))
        decided_by = operator.text == "||"
        operands: tuple[Node, ...] = ()
        for side in (left, right):
            same = isinstance(side, Logic) and side.decided_by is decided_by
            operands += side.children if same else (side,)
        return self._made(Logic(operator.at, decided_by, operands))

    def _unary(self) -> Node:
        signs: list[Token] = []
        while self._next.kind is Kind.SYMBOL and self._next.text in ("!", "-"):
            if signs and signs[-1].text != self._next.text:
                raise self._unexpected("a value")
            signs.append(self._take())
        # One minus belongs to the number; more are operators, as CEL's grammar is read.
        negative = len(signs) == 1 and signs[0].text == "-" and self._next.kind in (Kind.INT, Kind.DOUBLE)
        node = self._number(signs.pop()) if negative else self._primary()
        node = self._members(node)
        for sign in reversed(signs):
            node = self._made(Call(sign.at, f"{sign.text}_", (node,)))
        return node

    def _number(self, minus: Token | None) -> Node:
        token = self._take()
        assert not isinstance(token.value, str)
        if minus is not None:
            return self._made(Literal(minus.at, -token.value))
        if token.kind is Kind.INT and token.value > MAX_INT:
            raise Misplaced("a whole number has 64 bits at most", token.at)
        return self._made(Literal(token.at, token.value))

    def _members(self, node: Node) -> Node:
        while True:
            at = self._next.at
            if self._took("."):
                node = self._member(node)
            elif self._took("["):
                index = self._expression()
                self._expect("]")
                node = self._made(Call(at, "_[_]", (node, index)))
            elif self._at_symbol("{"):
                raise Misplaced("messages are not part of this subset of CEL", at)
            else:
                return node

    def _member(self, operand: Node) -> Node:
        token = self._next
        if token.kind is Kind.QUOTED_NAME:
            self._take()
            return self._made(Select(token.at, operand, str(token.value)))
        if token.kind is not Kind.NAME or token.text in _WORDS or token.text == "in":
            raise self._unexpected("the name of a field or function")
        self._take()
        if not self._took("("):
            return self._made(Select(token.at, operand, token.text))
        if token.text in MACROS:
            return self._comprehension(token, operand)
        return self._made(Call(token.at, token.text, (operand, *self._arguments()), member=True))

    def _arguments(self) -> tuple[Node, ...]:
        arguments: list[Node] = []
        if not self._at_symbol(")"):
            arguments.append(self._expression())
            while self._took(","):
                arguments.append(self._expression())
        self._expect(")")
        return tuple(arguments)

    def _comprehension(self, macro: Token, entries: Node) -> Node:
        arguments = self._arguments()
        transforms = macro.text == "map"
        if not 2 <= len(arguments) <= (3 if transforms else 2):
            wanted = "one or two expressions" if transforms else "one expression"
            raise Misplaced(f"{macro.text} takes a variable and {wanted}", macro.at)
        variable, *rest = arguments
        if not isinstance(variable, Name):
            raise Misplaced(f"the first argument of {macro.text} has to be the name of a variable", variable.at)
        condition = rest[0] if len(rest) == 2 else None
        return self._made(Comprehension(macro.at, macro.text, entries, variable.name, rest[-1], condition))

    def _primary(self) -> Node:
        token = self._next
        if token.kind in (Kind.INT, Kind.DOUBLE):
            return self._number(None)
        if token.kind is Kind.STRING:
            self._take()
            return self._made(Literal(token.at, token.value))
        if token.kind is Kind.NAME and token.text != "in":
            self._take()
            return self._name(token)
        if self._took("("):
            inner = self._expression()
            self._expect(")")
            return inner
        if self._took("["):
            return self._list(token)
        if self._took("{"):
            return self._map(token)
        raise self._unexpected("a value")

    def _name(self, token: Token) -> Node:
        if token.text in _WORDS:
            return self._made(Literal(token.at, _WORDS[token.text]))
        if token.text in _RESERVED:
            raise Misplaced(f"{token.text} is a reserved word of CEL", token.at)
        if not self._took("("):
            return self._made(Name(token.at, token.text))
        arguments = self._arguments()
        if token.text != "has":
            return self._made(Call(token.at, token.text, arguments))
        if len(arguments) != 1 or not isinstance(arguments[0], Select) or arguments[0].test:
            raise Misplaced(
                'has takes one field, as in has(a.b) or has(a.`b-c`); for an index, write "b" in a', token.at
            )
        return self._made(Select(token.at, arguments[0].operand, arguments[0].field, test=True))

    def _list(self, bracket: Token) -> Node:
        entries: list[Node] = []
        while not self._at_symbol("]"):
            entries.append(self._expression())
            if not self._took(","):
                break
        self._expect("]")
        return self._made(ListLiteral(bracket.at, self._few(bracket, entries)))

    def _map(self, brace: Token) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not self._at_symbol("}"):
            key = self._expression()
            self._expect(":")
            entries.append((key, self._expression()))
            if not self._took(","):
                break
        self._expect("}")
        return self._made(MapLiteral(brace.at, self._few(brace, entries)))

    @staticmethod
    def _few(opening: Token, entries: list[_E]) -> tuple[_E, ...]:
        if len(entries) > MAX_ENTRIES:
            raise Misplaced(f"a list or map has at most {MAX_ENTRIES} entries", opening.at)
        return tuple(entries)
