"""What is wrong with a route's document although each of its fields is right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gateway.core.filters import EditResponseHeaders, ReplacePrefix, RewritePath, SetPath
from gateway.core.paths import has_escaped_slash
from gateway.core.template import Text, as_written
from gateway.discovery.documents.filters_document import FilterDocument
from gateway.discovery.documents.rejection import Loc, Problem
from gateway.discovery.documents.route_document import RouteDocument

_DESTINATIONS = ("backends", "redirect", "respond")


def conflicts_within(document: RouteDocument) -> Sequence[Problem]:
    """A route sends somewhere or answers itself; and what it answers itself meets no instance."""
    given = [name for name in _DESTINATIONS if name in document.model_fields_set]
    if not given:
        return [Problem(("backends",), "is required, unless there is a redirect or respond")]
    if len(given) > 1:
        return [Problem((given[1],), f"a route has only one of {', '.join(_DESTINATIONS)}")]
    unused = [] if given == ["backends"] else _unused_filters(document.filters)
    if given != ["backends"]:
        of_instances = [name for name in ("sticky", "shadow") if name in document.model_fields_set]
        unused += [Problem((name,), "no instance takes part in what a route answers itself") for name in of_instances]
    return [*unused, *_escaped_slashes(document)]


def conflicts_of_default_filters(filters: Sequence[FilterDocument]) -> Sequence[Problem]:
    """Routes pass no escaped slash unless they say so themselves."""
    return _escaping(_paths_of(filters))


def _unused_filters(filters: Sequence[FilterDocument]) -> list[Problem]:
    found: list[Problem] = []
    for index, filter_ in enumerate(filters):
        (kind,) = filter_.model_fields_set
        each = filter_.value()
        if not isinstance(each, EditResponseHeaders):
            found.append(Problem(("filters", index, kind), "only response_headers edit what a route answers itself"))
        elif each.edit.of_instance:
            found.append(Problem(("filters", index, kind), "no instance takes part in what a route answers itself"))
    return found


def _escaped_slashes(document: RouteDocument) -> list[Problem]:
    if document.escaped_slashes == "pass":
        return []
    return _escaping(_own_paths(document))


def _escaping(paths: Iterable[tuple[Loc, Text]]) -> list[Problem]:
    reason = "an escaped slash passes only where the route says escaped_slashes: pass"
    return [Problem(loc, reason) for loc, path in paths if has_escaped_slash(as_written(path))]


def _own_paths(document: RouteDocument) -> Iterator[tuple[Loc, Text]]:
    yield from _paths_of(document.filters)
    if document.redirect is not None:
        if document.redirect.path is not None:
            yield ("redirect", "path"), document.redirect.path
        if document.redirect.replace_prefix is not None:
            yield ("redirect", "replace_prefix", "to"), document.redirect.replace_prefix.to


def _paths_of(filters: Sequence[FilterDocument]) -> Iterator[tuple[Loc, Text]]:
    for index, filter_ in enumerate(filters):
        match filter_.value():
            case ReplacePrefix(_, by):
                yield ("filters", index, "replace_prefix", "to"), by
            case RewritePath(_, to):
                yield ("filters", index, "rewrite_path", "to"), to
            case SetPath(path):
                yield ("filters", index, "path"), path
            case _:
                pass
