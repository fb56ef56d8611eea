"""pydantic's errors in an operator's words: what is wrong, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import get_args

from pydantic import BaseModel, JsonValue
from pydantic_core import ErrorDetails

from gateway.discovery.documents.rejection import MAX_DEPTH, Loc, Problem, shown

_REASONS: dict[str, Callable[[dict[str, object]], str]] = {
    "missing": lambda _: "is required",
    "string_type": lambda _: "has to be text (in quotes)",
    "string_unicode": lambda _: "is not valid Unicode",
    "int_type": lambda _: "has to be a whole number",
    "int_from_float": lambda _: "has to be a whole number",
    "float_type": lambda _: "has to be a number",
    "finite_number": lambda _: "has to be a finite number",
    "bool_type": lambda _: "has to be true or false",
    "tuple_type": lambda _: "has to be a list",
    "dict_type": lambda _: "has to be a mapping",
    "model_type": lambda _: "has to be a mapping",
    "too_short": lambda context: f"needs at least {_entries(context['min_length'])}",
    "too_long": lambda context: f"takes at most {_entries(context['max_length'])}",
    "string_too_short": lambda _: "must not be empty",
    "string_too_long": lambda context: f"takes at most {context['max_length']} characters",
    "greater_than_equal": lambda context: f"has to be at least {context['ge']}",
    "less_than_equal": lambda context: f"has to be at most {context['le']}",
    "literal_error": lambda context: f"has to be one of {str(context['expected']).replace(chr(39), '')}",
    "refused": lambda context: str(context["reason"]),
}


def problem_of(error: ErrorDetails, model: type[BaseModel], value: JsonValue) -> Problem:
    """One of pydantic's errors about `value`, in the document's own terms."""
    loc = aligned(error["loc"], value)
    if error["type"] == "extra_forbidden":
        return Problem(loc, _unknown_field(error["loc"], model))
    if error["type"] == "missing":
        loc = (*loc, error["loc"][-1])
    reason = _REASONS.get(error["type"])
    return Problem(loc, reason(error.get("ctx", {})) if reason else _plain(error["msg"]))


def aligned(loc: Loc, value: JsonValue) -> Loc:
    """`loc` without the steps that only the model has: a mapping alone where a list may stand, a text for a mapping."""
    steps: list[str | int] = []
    here = value
    for step in loc:
        inner = _inner(here, step)
        if inner is not None:
            here = inner[0]
            steps.append(step)
    return tuple(steps)


def _inner(value: JsonValue, step: str | int) -> tuple[JsonValue] | None:
    if isinstance(value, dict) and isinstance(step, str):
        return (value[step],) if step in value else None
    if isinstance(value, list) and isinstance(step, int):
        return (value[step],) if step < len(value) else None
    return None


def nulls(value: JsonValue, loc: Loc = ()) -> list[Problem]:
    """A field without a value is nearly always a slip, and would otherwise read as "not given".

    What is nested deeper than any document is refused elsewhere.
    """
    if len(loc) > MAX_DEPTH:
        return []
    if value is None:
        return [Problem(loc, "has no value: give one, or leave the field out")]
    found: list[Problem] = []
    if isinstance(value, dict):
        for name, inner in value.items():
            if inner is None or isinstance(inner, dict | list):
                found += nulls(inner, (*loc, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            if inner is None or isinstance(inner, dict | list):
                found += nulls(inner, (*loc, index))
    return found


def _unknown_field(loc: Loc, model: type[BaseModel]) -> str:
    name = str(loc[-1])
    known = sorted(field.alias or name for name, field in _model_at(loc[:-1], model).model_fields.items())
    close = difflib.get_close_matches(name[:64], known, n=1)
    if close:
        return f"unknown field; did you mean {close[0]}?"
    return f"unknown field; known are {', '.join(known)}"


def _model_at(loc: Loc, model: type[BaseModel]) -> type[BaseModel]:
    for step in loc:
        field = model.model_fields.get(step) if isinstance(step, str) else None
        inner = _model_in(field.annotation) if field is not None else None
        model = inner or model
    return model


def _model_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _model_in(part)
        if found is not None:
            return found
    return None


def _entries(count: object) -> str:
    return "one entry" if count == 1 else f"{count} entries"


def _plain(message: str) -> str:
    return shown(message[:1].lower() + message[1:], 200)
