"""What an operator is told about a document that was not accepted."""

from __future__ import annotations

from dataclasses import dataclass

Loc = tuple[str | int, ...]
"""Where in a document: names of fields and indices of lists, from the outside in."""
MAX_DEPTH = 32
"""How deep a document may be nested."""
Position = tuple[int, int]
"""Line and column, both from 1."""
Positions = dict[Loc, Position]


@dataclass(frozen=True, slots=True)
class Rejection:
    """One problem of one key. `line` and `column` count from 1, in the operator's own text; `field` is empty where
    the problem is the document as a whole; `modify_index` is the refused version of the key."""

    key: str
    line: int
    column: int
    field: str
    reason: str
    modify_index: int

    def __str__(self) -> str:
        where = f"{self.key}:{self.line}:{self.column}"
        return f"{where}: {self.field}: {self.reason}" if self.field else f"{where}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal before it is known where in the text its field stands."""

    loc: Loc
    reason: str


class Unreadable(ValueError):
    """Text that is no document at all, or uses what documents must not use. Positions count from 1."""

    def __init__(self, reason: str, line: int = 1, column: int = 1, loc: Loc = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.column = column
        self.loc = loc


def shown(text: str, limit: int = 60) -> str:
    """An operator's text, safe and short enough for a log line."""
    safe = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[: limit + 1])
    return safe if len(text) <= limit else safe[:limit] + "…"


def field_name(loc: Loc) -> str:
    """`match.path_prefix`, `backends[0].weight`."""
    parts: list[str] = []
    for part in loc:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        else:
            parts.append(f".{shown(part)}" if parts else shown(part))
    return "".join(parts)
