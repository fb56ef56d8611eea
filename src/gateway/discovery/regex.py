"""Regular expressions of operators, on an engine whose time is linear in what clients send (RE2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

import re2

from gateway.core.predicate import Search

MAX_PATTERN = 1024
"""Characters."""
MAX_MEMORY = 1 << 20
"""Bytes that one compiled pattern may use; RE2 refuses a pattern that needs more."""


class _Match(Protocol):
    def groups(self, default: str, /) -> Sequence[str]: ...


class _Pattern(Protocol):
    groups: int

    @property
    def programsize(self) -> int: ...
    def fullmatch(self, text: str, /) -> _Match | None: ...
    def search(self, text: str, /) -> object | None: ...


class BadPattern(ValueError):
    """A pattern that RE2 does not compile; the message is RE2's."""


@lru_cache(maxsize=16_384)
def compile_full_match(pattern: str) -> Callable[[str], bool]:
    """A test for the whole of a text. Text that is not Unicode (bytes from the wire kept as surrogates) never matches.

    Raises BadPattern. Compiled patterns are kept, so that a table built anew on each change costs no compilation.
    """
    compiled = _compiled(pattern, capture=False)

    def full_match(text: str) -> bool:
        try:
            return compiled.fullmatch(text) is not None
        except UnicodeEncodeError:
            return False

    return full_match


@lru_cache(maxsize=4096)
def compile_groups(pattern: str) -> Callable[[str], Sequence[str] | None]:
    """What the groups match of a text that the pattern matches as a whole, from the first; None for another text.

    A group that takes no part is the empty text. Raises BadPattern.
    """
    compiled = _compiled(pattern, capture=True)

    def groups(text: str) -> Sequence[str] | None:
        match = compiled.fullmatch(text)
        return None if match is None else match.groups("")

    return groups


def count_groups(pattern: str) -> int:
    """Raises BadPattern."""
    return _compiled(pattern, capture=True).groups


@lru_cache(maxsize=4096)
def compile_search(pattern: str) -> Search:
    """A test whether a text holds a match anywhere, as CEL's `matches` has it; otherwise as `compile_full_match`.

    RE2 takes 5 to 10 ns for each character and instruction where a pattern is too large for its automaton.
    """
    compiled = _compiled(pattern, capture=False)

    def search(text: str) -> bool:
        try:
            return compiled.search(text) is not None
        except UnicodeEncodeError:
            return False

    return Search(search, compiled.programsize)


def _compiled(pattern: str, *, capture: bool) -> _Pattern:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = not capture
    options.max_mem = MAX_MEMORY
    if len(pattern) > MAX_PATTERN:
        raise BadPattern(f"pattern longer than {MAX_PATTERN} characters")
    try:
        compiled: _Pattern = re2.compile(pattern, options=options)
    except re2.error as error:
        raise BadPattern(_message(error)) from None
    except UnicodeEncodeError:
        raise BadPattern("pattern is not valid Unicode") from None
    return compiled


def _message(error: re2.error) -> str:
    reason = error.args[0] if error.args else "does not compile"
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
