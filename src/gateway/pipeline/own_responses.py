"""What a route answers itself: a redirect, or a whole response."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from gateway.core.filters import OwnResponse, Redirect, ReplacePrefix, Respond
from gateway.pipeline import rendering
from gateway.pipeline.edits import Unfit, fit_host
from gateway.pipeline.header_edits import HeaderEdit
from gateway.pipeline.path_edits import fit_path, replace_prefix
from gateway.pipeline.stage import Answer, Call, Field

Answering = Callable[[Call], Answer]
"""Raises Unfit."""

_QUERY = re.compile(r"[\x21-\x7e]*").fullmatch
_USUAL_PORTS = {"http": 80, "https": 443}


def answering(response: OwnResponse, edits: Sequence[HeaderEdit]) -> Answering:
    """`edits` are those of the route's responses."""
    plain = redirecting(response) if isinstance(response, Redirect) else responding(response)
    if not edits:
        return plain

    def answer(call: Call) -> Answer:
        plainly = plain(call)
        fields: Sequence[Field] = plainly.fields
        for edit in edits:
            fields = edit.apply(call, None, fields)
        return Answer(status=plainly.status, fields=tuple(fields), body=plainly.body)

    return answer


def responding(response: Respond) -> Answering:
    content_type = () if response.content_type is None else (("Content-Type", response.content_type),)
    headers = [(name, rendering.field_value(value)) for name, value in response.headers]

    def answer(call: Call) -> Answer:
        fields = (*content_type, *((name, value(call, None)) for name, value in headers))
        return Answer(status=response.status, fields=fields, body=response.body)

    return answer


def redirecting(redirect: Redirect) -> Answering:
    """`Location` is made of parts that are valid each: a path begins with one slash, and so names no host."""
    origin, path = _origin(redirect), _path(redirect)

    def answer(call: Call) -> Answer:
        query = "" if redirect.strip_query else call.query
        if not _QUERY(query):
            raise Unfit("the query holds what cannot stand in a Location")
        location = origin(call) + fit_path(call, path(call)) + query
        return Answer(status=redirect.status, fields=(("Location", location),))

    return answer


def _origin(redirect: Redirect) -> Callable[[Call], str]:
    scheme, port = redirect.scheme, redirect.port
    if scheme is None:
        return lambda _: ""
    suffix = "" if port is None or port == _USUAL_PORTS[scheme] else f":{port}"
    host = None if redirect.host is None else rendering.host(redirect.host)

    def origin(call: Call) -> str:
        name = call.facts.host if host is None else host(call, None)
        if name is None:
            raise Unfit("this route needs a Host")
        return f"{scheme}://{fit_host(name, port=False)}{suffix}"

    return origin


def _path(redirect: Redirect) -> Callable[[Call], str]:
    path = redirect.path
    if path is None:
        return lambda call: call.path
    if isinstance(path, ReplacePrefix):
        return lambda call: replace_prefix(call.path, path.prefix, path.by)
    render = rendering.path(path)
    return lambda call: render(call, None)
