"""Headers taken away, set and added."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.filters import Edit
from gateway.core.model import Instance
from gateway.pipeline import rendering
from gateway.pipeline.stage import Call, Field
from gateway.pipeline.twins import as_seen_by_servers


class HeaderEdit:
    """One filter's edit of headers."""

    def __init__(self, edit: Edit) -> None:
        given = (*edit.set, *edit.add)
        self._dropped = frozenset(as_seen_by_servers(name) for name in (*edit.remove, *(name for name, _ in edit.set)))
        self._values = [(name, rendering.field_value(value)) for name, value in given]
        self._literal = tuple((name, value) for name, value in given if isinstance(value, str))
        self._is_literal = len(self._literal) == len(given)
        self.of_instance = edit.of_instance

    def apply(self, call: Call, instance: Instance | None, fields: Sequence[Field]) -> list[Field]:
        """Removes, then sets, then adds. What is set or added stands behind the rest.

        A header that is removed or set takes its twin with an underscore along, which a client might send instead.
        """
        dropped = self._dropped
        kept = [field for field in fields if as_seen_by_servers(field[0]) not in dropped] if dropped else [*fields]
        kept += self._literal if self._is_literal else [(name, value(call, instance)) for name, value in self._values]
        return kept
