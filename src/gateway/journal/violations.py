"""What becomes of the violations that a monitor finds: they are counted and logged."""

from __future__ import annotations

import logging

from gateway.journal.properties import Property, Violation

VIOLATED = "A decision broke the specification."

_TOLD_SINGLY = 10
"""Violations of one property, after which only each time their number has doubled one is logged."""
_log = logging.getLogger(__name__)


class Violations:
    """To be given to a monitor. A fault that repeats with each request does not fill the log."""

    def __init__(self) -> None:
        self._counts = dict.fromkeys(Property, 0)

    @property
    def counts(self) -> dict[str, int]:
        """By property, each of them from the start."""
        return {name.value: count for name, count in self._counts.items()}

    def __call__(self, violation: Violation) -> None:
        name = violation.property
        count = self._counts[name] = self._counts[name] + 1
        if count <= _TOLD_SINGLY or count.bit_count() == 1:
            told = {"property": name.value, "event": violation.seq, "detail": violation.message, "count": count}
            _log.error(VIOLATED, extra=told)
