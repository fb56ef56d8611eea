"""Filters: what a route changes about its requests and responses."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, JsonValue, model_validator

from gateway.core.filters import (
    Edit,
    EditQuery,
    EditRequestHeaders,
    EditResponseHeaders,
    Filter,
    HostFrom,
    ReplacePrefix,
    RewritePath,
    SetHost,
    SetPath,
    StripPrefix,
)
from gateway.core.template import as_written
from gateway.discovery.documents.model import Described, Document, exactly_one
from gateway.discovery.documents.syntax import EditableHeaderName, Name, PathPrefix, Pattern, no_twins
from gateway.discovery.documents.texts import HeaderText, HostText, PathText, QueryText, ReplacementText


def _as_values(value: JsonValue) -> JsonValue:
    return [value] if isinstance(value, str) else value


_AS_VALUES = BeforeValidator(_as_values, json_schema_input_type=str | list[str])
HeaderTexts = Annotated[tuple[HeaderText, ...], Field(min_length=1, max_length=16), _AS_VALUES]
QueryTexts = Annotated[tuple[QueryText, ...], Field(min_length=1, max_length=16), _AS_VALUES]


class HeaderEditDocument(Document):
    """Names compare without case. The gateway's own, framing and hop-by-hop headers are out of bounds. Values may hold
    all variables."""

    set: Annotated[dict[EditableHeaderName, HeaderText], Field(max_length=64), BeforeValidator(no_twins)] = Field(
        {}, description="Header to the one value it has afterwards."
    )
    add: Annotated[dict[EditableHeaderName, HeaderTexts], Field(max_length=64), BeforeValidator(no_twins)] = Field(
        {}, description="Header to a value, or a list of values, put behind those it has."
    )
    remove: Annotated[tuple[EditableHeaderName, ...], Field(max_length=64)] = Field(
        (), description="Headers taken away, before any are set or added."
    )

    def value(self) -> Edit:
        return _edit(self)


class QueryEditDocument(Document):
    """Names and values are given decoded, and are encoded as a whole. Values may hold variables of the request. What
    is not named stays as the client wrote it, byte for byte."""

    set: Annotated[dict[Name, QueryText], Field(max_length=64)] = Field(
        {}, description="Parameter to the one value it has afterwards, at the end of the query."
    )
    add: Annotated[dict[Name, QueryTexts], Field(max_length=64)] = Field(
        {}, description="Parameter to a value, or a list of values, put at the end of the query."
    )
    remove: Annotated[tuple[Name, ...], Field(max_length=64)] = Field(
        (), description="Parameters taken away, before any are set or added."
    )

    def value(self) -> Edit:
        return _edit(self)


def _edit(document: HeaderEditDocument | QueryEditDocument) -> Edit:
    return Edit(
        set=tuple(document.set.items()),
        add=tuple((name, value) for name, values in document.add.items() for value in values),
        remove=document.remove,
    )


class PrefixReplacementDocument(Document):
    from_: PathPrefix = Field(alias="from", description="Whole path elements in front of the path.")
    to: PathPrefix = Field(description="What stands there instead.")

    def value(self) -> ReplacePrefix:
        return ReplacePrefix(self.from_, self.to)


class RewritePathDocument(Document):
    """A path that the pattern does not match stays as it is; one that would not be in normal form is refused (400)."""

    regex: Pattern = Field(description="RE2 pattern for the whole normalised path.")
    to: ReplacementText = Field(
        description="The path instead. `$1` to `$9` and `${12}` are what the pattern's groups matched; it may hold "
        "variables of the request, each encoded as a part of one path element."
    )

    def value(self) -> RewritePath:
        return RewritePath(self.regex, self.to)


_HOST_WORDS = {each.value: each for each in HostFrom}


class FilterDocument(Document):
    """Exactly one of the fields."""

    strip_prefix: PathPrefix | None = Field(
        None, description="Whole path elements cut off the front of the path, where it begins with them."
    )
    replace_prefix: PrefixReplacementDocument | None = Field(
        None, description="Whole path elements in front of the path replaced, where it begins with them."
    )
    rewrite_path: RewritePathDocument | None = Field(None, description="The path rewritten by a regular expression.")
    path: PathText | None = Field(
        None,
        description="Another path. Variables of the request are encoded as a part of one path element each, but for "
        "`${request.path}`, which is a path itself.",
    )
    host: HostText | None = Field(
        None,
        description="`Host` as it is sent: `preserve` (the client's, which is the default), `service` (the name of the "
        "service that takes the request), or a host, which may hold variables of the request, with or without port.",
    )
    query: QueryEditDocument | None = Field(None, description="Edits the query.")
    request_headers: HeaderEditDocument | None = Field(None, description="Edits headers on the way to the instance.")
    response_headers: HeaderEditDocument | None = Field(None, description="Edits headers on the way to the client.")

    @model_validator(mode="after")
    def _one_kind(self) -> FilterDocument:
        exactly_one(self)
        return self

    def value(self) -> Filter:
        if self.strip_prefix is not None:
            return StripPrefix(self.strip_prefix)
        if self.replace_prefix is not None:
            return self.replace_prefix.value()
        if self.rewrite_path is not None:
            return self.rewrite_path.value()
        if self.path is not None:
            return SetPath(self.path)
        if self.host is not None:
            return SetHost(_HOST_WORDS.get(self.host, self.host) if isinstance(self.host, str) else self.host)
        if self.query is not None:
            return EditQuery(self.query.value())
        if self.request_headers is not None:
            return EditRequestHeaders(self.request_headers.value())
        assert self.response_headers is not None
        return EditResponseHeaders(self.response_headers.value())


Filters = Annotated[tuple[FilterDocument, ...], Field(max_length=64)]


def describe_filter(each: Filter) -> Described:
    """The document that is read as this very filter."""
    match each:
        case StripPrefix(prefix):
            return {"strip_prefix": prefix}
        case ReplacePrefix():
            return {"replace_prefix": describe_prefix_replacement(each)}
        case RewritePath(pattern, to):
            return {"rewrite_path": {"regex": pattern, "to": as_written(to)}}
        case SetPath(path):
            return {"path": as_written(path)}
        case SetHost(host):
            return {"host": host.value if isinstance(host, HostFrom) else as_written(host)}
        case EditQuery(edit):
            return {"query": _describe_edit(edit)}
        case EditRequestHeaders(edit):
            return {"request_headers": _describe_edit(edit)}
        case EditResponseHeaders(edit):
            return {"response_headers": _describe_edit(edit)}


def describe_prefix_replacement(replaced: ReplacePrefix) -> Described:
    return {"from": replaced.prefix, "to": replaced.by}


def _describe_edit(edit: Edit) -> Described:
    described: Described = {}
    if edit.set:
        described["set"] = {name: as_written(value) for name, value in edit.set}
    if edit.add:
        names = dict.fromkeys(name for name, _ in edit.add)
        described["add"] = {name: [as_written(value) for other, value in edit.add if other == name] for name in names}
    if edit.remove:
        described["remove"] = [*edit.remove]
    return described
