"""Other paths than the client's. Every path that leaves here is normal, or the request is refused.

A path is never repaired: `/v2/../admin` would become `/admin`, which is not where the route's owner sends anyone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

from gateway.core.filters import ReplacePrefix, RewritePath
from gateway.core.paths import BadPath, has_escaped_slash, normalise
from gateway.core.template import Group, Template, Text
from gateway.pipeline import rendering
from gateway.pipeline.edits import RequestEdit, Unfit, fit_length
from gateway.pipeline.stage import Call

CompileGroups = Callable[[str], Callable[[str], Sequence[str] | None]]
"""What a pattern's groups match of a text that it matches as a whole, else None; in time linear in the text."""


def strip_prefix(path: str, prefix: str) -> str:
    """Cuts whole path elements off the front; a path that does not begin with them stays as it is."""
    prefix = prefix.rstrip("/")
    if path == prefix:
        return "/"
    return path[len(prefix) :] if path.startswith(prefix + "/") else path


def replace_prefix(path: str, prefix: str, by: str) -> str:
    """Puts `by` in the place of whole path elements in front; a path that does not begin with them stays as it is."""
    prefix, by = prefix.rstrip("/"), by.rstrip("/")
    if path == prefix:
        return by or "/"
    return by + path[len(prefix) :] if path.startswith(prefix + "/") else path


def stripping(prefix: str) -> RequestEdit:
    def edit(call: Call) -> None:
        call.path = strip_prefix(call.path, prefix)

    return edit


def replacing(filter_: ReplacePrefix) -> RequestEdit:
    def edit(call: Call) -> None:
        call.path = fit_length(replace_prefix(call.path, filter_.prefix, filter_.by))

    return edit


def rewriting(filter_: RewritePath, compile_groups: CompileGroups) -> RequestEdit:
    """A path that the pattern does not match as a whole stays as it is."""
    match = compile_groups(filter_.pattern)
    parts = filter_.to.parts if isinstance(filter_.to, Template) else (filter_.to,)
    pieces = [
        part.number - 1 if isinstance(part, Group) else rendering.path_part(part, following)
        for part, following in zip_longest(parts, parts[1:])
    ]

    def edit(call: Call) -> None:
        groups = match(call.path)
        if groups is not None:
            texts = [groups[piece] if isinstance(piece, int) else piece(call, None) for piece in pieces]
            call.path = fit_path(call, "".join(texts))

    return edit


def setting(text: Text) -> RequestEdit:
    render = rendering.path(text)

    def edit(call: Call) -> None:
        call.path = fit_path(call, render(call, None))

    return edit


def fit_path(call: Call, path: str) -> str:
    """A path, if it is normal and holds no escaped slash that the route does not pass. Raises Unfit."""
    try:
        normal = normalise(fit_length(path))
    except BadPath:
        normal = ""
    if path != normal:
        raise Unfit("this route makes no valid path of the request")
    if not call.route.pass_escaped_slashes and has_escaped_slash(path):
        raise Unfit("this route makes a path with an escaped slash of the request, which it does not pass")
    return path
