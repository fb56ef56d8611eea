"""Changes of a query that leave the rest of it as the client wrote it, byte for byte."""

from __future__ import annotations

from urllib.parse import quote, unquote_plus

from gateway.core.filters import Edit
from gateway.pipeline import rendering
from gateway.pipeline.edits import RequestEdit, fit_length
from gateway.pipeline.stage import Call


def editing(edit: Edit) -> RequestEdit:
    """Removes, then sets, then adds. Names compare decoded; what is set or added stands behind the rest."""
    dropped = frozenset((*edit.remove, *(name for name, _ in edit.set)))
    added = [(quote(name, safe="") + "=", rendering.query_value(value)) for name, value in (*edit.set, *edit.add)]

    def apply(call: Call) -> None:
        sent = call.query[1:].split("&") if len(call.query) > 1 else []
        kept = [pair for pair in sent if _name(pair) not in dropped] if dropped else sent
        if added or len(kept) < len(sent):
            query = "&".join([*kept, *(name + render(call, None) for name, render in added)])
            call.query = fit_length(f"?{query}") if query else ""

    return apply


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])
