"""A route's filters, applied: the path and the headers on the way in, the headers on the way out.

Names and values in filters were checked when the route was read, so nothing here can write a line
break, or touch a header that frames or addresses a message.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.model import EditRequestHeaders, EditResponseHeaders, Filter, HeaderEdit, Route, StripPrefix
from gateway.pipeline.stage import Call, Field, ResponseHead


class Transform:
    """The stage of a route's filters."""

    def __init__(self, filters: Sequence[Filter]) -> None:
        self._filters = filters

    @classmethod
    def of(cls, route: Route) -> Transform | None:
        return cls(route.filters) if route.filters else None

    def request(self, call: Call) -> None:
        call.path, call.fields = transform_request(self._filters, call.path, call.fields)

    def response(self, _: Call, head: ResponseHead) -> None:
        """What the gateway itself answers stays as it is."""
        if not head.ours:
            head.fields = transform_response(self._filters, head.fields)


def transform_request(filters: Sequence[Filter], path: str, fields: Sequence[Field]) -> tuple[str, list[Field]]:
    """The path (normalised, without query) and the headers that go to the instance."""
    edited = list(fields)
    for each in filters:
        if isinstance(each, StripPrefix):
            path = strip_prefix(path, each.prefix)
        elif isinstance(each, EditRequestHeaders):
            edited = edit_headers(each.edit, edited)
    return path, edited


def transform_response(filters: Sequence[Filter], fields: Sequence[Field]) -> list[Field]:
    """The headers that go to the client."""
    edited = list(fields)
    for each in filters:
        if isinstance(each, EditResponseHeaders):
            edited = edit_headers(each.edit, edited)
    return edited


def strip_prefix(path: str, prefix: str) -> str:
    """Cuts whole path elements off the front; a path that does not begin with them stays as it is."""
    prefix = prefix.rstrip("/")
    if path == prefix:
        return "/"
    return path[len(prefix) :] if path.startswith(prefix + "/") else path


def edit_headers(edit: HeaderEdit, fields: Sequence[Field]) -> list[Field]:
    """Removes, then sets, then adds. Names compare without case; what is set or added stands behind the rest."""
    dropped = {name.lower() for name in edit.remove}
    dropped.update(name.lower() for name, _ in edit.set)
    return [*(field for field in fields if field[0].lower() not in dropped), *edit.set, *edit.add]
