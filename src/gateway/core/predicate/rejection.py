"""Why an expression is not accepted, and where in it."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LONGEST_LOOKED_UP = 64
_FEW = 12


class BadPredicate(ValueError):
    """An expression that is refused before it is ever evaluated. `line` and `column` count from 1, in characters."""

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(f"{line}:{column}: {reason}")
        self.reason = reason
        self.line = line
        self.column = column


class Misplaced(Exception):
    """A reason and the offset it belongs to, on their way to where the text is known."""

    def __init__(self, reason: str, at: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.at = at

    def placed(self, source: str) -> BadPredicate:
        before = source[: self.at]
        return BadPredicate(self.reason, before.count("\n") + 1, len(before) - before.rfind("\n"))


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean path?`, or what there is where nothing is near and there are few."""
    names = sorted(known)
    close = get_close_matches(name[:_LONGEST_LOOKED_UP], names, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known are {', '.join(names)}" if 0 < len(names) <= _FEW else ""
