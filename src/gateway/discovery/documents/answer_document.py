"""What a route answers itself, instead of sending to backends: `redirect` and `respond`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

from gateway.core.filters import OwnResponse, Redirect, ReplacePrefix, Respond
from gateway.core.template import as_written
from gateway.discovery.documents.filters_document import PrefixReplacementDocument, describe_prefix_replacement
from gateway.discovery.documents.model import Described, Document, at_most_one
from gateway.discovery.documents.syntax import EditableHeaderName, HeaderValue, no_twins
from gateway.discovery.documents.texts import BareHostText, OwnHeaderText, PathText
from gateway.discovery.documents.units import format_size, refusal

LARGEST_BODY = 64 * 1024
"""Bytes."""
_TEXT = "text/plain; charset=utf-8"
_WITHOUT_BODY = frozenset({204, 205, 304})
_DESTINATION = frozenset({"scheme", "host", "port", "path", "replace_prefix"})
_PATHS = frozenset({"path", "replace_prefix"})


class RedirectDocument(Document):
    """At least one of `scheme`, `path` and `replace_prefix`. `Location` is made of valid parts alone."""

    status: Literal[301, 302, 303, 307, 308] = Field(302, description="Status of the answer.")
    scheme: Literal["http", "https"] | None = Field(
        None, description="Left out: where the client is, and `Location` begins with the path."
    )
    host: BareHostText | None = Field(
        None,
        description="Host without port, with a scheme; may hold variables of the request. Left out: the one asked.",
    )
    port: Annotated[StrictInt, Field(ge=1, le=65535)] | None = Field(
        None, description="With a scheme. Left out: the scheme's usual one."
    )
    path: PathText | None = Field(
        None, description="As the filter `path`. Left out, and without `replace_prefix`: the request's."
    )
    replace_prefix: PrefixReplacementDocument | None = Field(None, description="As the filter of that name.")
    strip_query: StrictBool = Field(False, description="Whether the query is left out.")

    @model_validator(mode="after")
    def _leads_elsewhere(self) -> RedirectDocument:
        at_most_one(self, _PATHS)
        if not self.model_fields_set & _DESTINATION:
            raise refusal("needs a scheme, path or replace_prefix: it would lead to where it was asked")
        if self.scheme is None and (self.host is not None or self.port is not None):
            raise refusal("host and port need a scheme")
        return self

    def value(self) -> Redirect:
        path = self.replace_prefix.value() if self.replace_prefix is not None else self.path
        return Redirect(self.status, self.scheme, self.host, self.port, path, self.strip_query)


def _short_enough(body: str) -> str:
    if len(body.encode()) > LARGEST_BODY:
        raise refusal(f"takes at most {format_size(LARGEST_BODY)}")
    return body


def _no_content_type(headers: JsonValue) -> JsonValue:
    if isinstance(headers, dict) and any(name.lower() == "content-type" for name in headers):
        raise refusal("content-type has a field of its own: content_type")
    return headers


class RespondDocument(Document):
    status: Annotated[StrictInt, Field(ge=200, le=599)] = Field(200, description="Status of the answer.")
    body: Annotated[StrictStr, AfterValidator(_short_enough)] = Field(
        "", description="The body as it is, without variables; 64KiB at most."
    )
    content_type: Annotated[HeaderValue, Field(min_length=1)] = Field(
        _TEXT, description="`Content-Type`, where there is a body."
    )
    headers: Annotated[
        dict[EditableHeaderName, OwnHeaderText],
        Field(max_length=64),
        BeforeValidator(no_twins),
        BeforeValidator(_no_content_type),
    ] = Field({}, description="Headers to their values, which may hold variables of the request.")

    @model_validator(mode="after")
    def _may_have_a_body(self) -> RespondDocument:
        if self.body and self.status in _WITHOUT_BODY:
            raise refusal(f"a response of status {self.status} has no body")
        return self

    def value(self) -> Respond:
        content_type = self.content_type if self.body else None
        return Respond(self.status, self.body.encode(), content_type, tuple(self.headers.items()))


def describe_answer(answer: OwnResponse) -> Described:
    """The fields of a route's document that are read as this very answer."""
    if isinstance(answer, Redirect):
        return {"redirect": _redirect(answer)}
    return {"respond": _respond(answer)}


def _redirect(redirect: Redirect) -> Described:
    described: Described = {"status": redirect.status, "strip_query": redirect.strip_query}
    if redirect.scheme is not None:
        described["scheme"] = redirect.scheme
    if redirect.host is not None:
        described["host"] = as_written(redirect.host)
    if redirect.port is not None:
        described["port"] = redirect.port
    if isinstance(redirect.path, ReplacePrefix):
        described["replace_prefix"] = describe_prefix_replacement(redirect.path)
    elif redirect.path is not None:
        described["path"] = as_written(redirect.path)
    return described


def _respond(respond: Respond) -> Described:
    described: Described = {"status": respond.status}
    if respond.content_type is not None:
        described |= {"body": respond.body.decode(), "content_type": respond.content_type}
    if respond.headers:
        described["headers"] = {name: as_written(value) for name, value in respond.headers}
    return described
