"""What commands print: tables for people, JSON for programs, and a document's problems with the lines they are in."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.discovery.documents.rejection import Rejection


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output; nothing is cut off where that is not a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    look = box.SIMPLE_HEAD if terminal else None
    made = Table(*columns, box=look, pad_edge=terminal)
    for row in rows:
        made.add_row(*(Text(_plain(cell), overflow="fold") for cell in row))
    console = Console() if terminal else Console(width=1000, no_color=True)
    if title:
        console.print(Text(title, style="bold"))
    console.print(made)


def as_json(value: object) -> None:
    import msgspec

    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def problem(rejection: Rejection, raw: bytes) -> str:
    """`key:line:column: field: reason`, the line itself, and a mark below the column."""
    lines = raw.decode("utf-8", "replace").splitlines()
    if not 0 < rejection.line <= len(lines):
        return str(rejection)
    line, mark = lines[rejection.line - 1], rejection.column - 1
    start = max(0, mark - 60)
    piece = _plain(line[start : start + 110])
    return f"{rejection}\n    {piece}\n    {' ' * min(mark - start, len(piece))}^"


def _plain(text: str) -> str:
    return "".join(character if character.isprintable() else "·" for character in text)
