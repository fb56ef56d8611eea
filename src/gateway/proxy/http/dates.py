"""The `Date` that we add where an instance sent none (RFC 9110 §6.6.1), spelled once a second."""

from __future__ import annotations

import time
from email.utils import formatdate


class DateClock:
    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def now(self) -> str:
        """The wall clock's time as an HTTP date."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._text = formatdate(second, usegmt=True)
        return self._text
