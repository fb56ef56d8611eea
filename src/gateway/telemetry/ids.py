"""Names that nothing else has: random hexadecimal digits, drawn from the system in blocks.

Several are needed for each request, and a call of the system or a number spelled for each would cost more than all else
that is done with them.
"""

from __future__ import annotations

from os import urandom

_BLOCK = 4096
"""Bytes drawn at a time."""


class HexDigits:
    """An endless strip of lower-case hexadecimal digits; no digit is given out twice."""

    def __init__(self) -> None:
        self._strip = ""
        self._at = 0

    def take(self, count: int) -> str:
        """The next `count` digits, at most 4,096."""
        start = self._at
        end = self._at = start + count
        if end > len(self._strip):
            self._strip = urandom(_BLOCK).hex()
            start, end = 0, count
            self._at = end
        return self._strip[start:end]


digits = HexDigits()
"""Of this process."""
