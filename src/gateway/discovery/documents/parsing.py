"""From a key's bytes to what the core works with, or to what is wrong with them.

The `check_…` functions find every problem of a document, the `parse_…` functions answer with the value or with the
first problem in the order of the text. Neither raises, whatever the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import reduce
from typing import TypeVar, cast

from pydantic import JsonValue, ValidationError
from pydantic_core import ErrorDetails

from gateway.core.authentication import Credential
from gateway.core.model import Route, ServicePolicy
from gateway.discovery.documents.build import build_route, policy_conflicts, route_conflicts
from gateway.discovery.documents.conflicts import conflicts_of_default_filters, conflicts_within
from gateway.discovery.documents.credential_document import CredentialDocument
from gateway.discovery.documents.defaults import BUILT_IN, Defaults, DefaultsDocument
from gateway.discovery.documents.embedded import place_in_document
from gateway.discovery.documents.model import Document
from gateway.discovery.documents.policy_document import ServicePolicyDocument
from gateway.discovery.documents.reading import Text, read
from gateway.discovery.documents.reasons import aligned, nulls, problem_of
from gateway.discovery.documents.rejection import Loc, Position, Problem, Rejection, Unreadable, field_name, shown
from gateway.discovery.documents.route_document import RouteDocument
from gateway.discovery.documents.syntax import BAD_PREDICATE

MAX_PROBLEMS = 100
"""How many problems of one document are told."""
MAX_REASON = 300
"""Characters."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@+-]{0,199}").fullmatch
_BAD_NAME = "the name of a key may have 200 letters, digits and _.:/@+- at most, and begins with a letter, a digit or _"

D = TypeVar("D", bound=Document)
_NOTHING = Text(None, dict)


class _Refused(Exception):
    def __init__(self, rejections: list[Rejection]) -> None:
        super().__init__()
        self.rejections = rejections


def parse_route(
    name: str,
    raw: bytes,
    version: int,
    defaults: Defaults = BUILT_IN,
    *,
    own_service: str | None = None,
    key: str | None = None,
    workers: int = 1,
) -> Route | Rejection:
    """A route, or the first problem by line and column.

    `version` is the key's ModifyIndex, `key` its full name in Consul (`routes/<name>` otherwise), `own_service` the
    gateway's own service, which no route may send to. `workers` is how many serve requests: some limits hold only over
    one.
    """
    try:
        return _route(name, raw, version, defaults, own_service, key or f"routes/{name}", workers)
    except _Refused as refused:
        return refused.rejections[0]


def check_route(
    name: str,
    raw: bytes,
    version: int = 0,
    defaults: Defaults = BUILT_IN,
    *,
    own_service: str | None = None,
    key: str | None = None,
) -> list[Rejection]:
    """All problems of a route, by line and column; none if it would be accepted."""
    try:
        _route(name, raw, version, defaults, own_service, key or f"routes/{name}", 1)
    except _Refused as refused:
        return refused.rejections
    return []


def parse_policy(
    service: str,
    raw: bytes,
    version: int,
    defaults: Defaults = BUILT_IN,
    *,
    key: str | None = None,
    workers: int = 1,
) -> ServicePolicy | Rejection:
    """A service policy, or the first problem by line and column. `workers` as of `parse_route`."""
    try:
        return _policy(service, raw, version, defaults, key or f"services/{service}", workers)
    except _Refused as refused:
        return refused.rejections[0]


def check_policy(
    service: str, raw: bytes, version: int = 0, defaults: Defaults = BUILT_IN, *, key: str | None = None
) -> list[Rejection]:
    """All problems of a service policy, by line and column; none if it would be accepted."""
    try:
        _policy(service, raw, version, defaults, key or f"services/{service}", 1)
    except _Refused as refused:
        return refused.rejections
    return []


def parse_credential(name: str, raw: bytes, version: int, *, key: str | None = None) -> Credential | Rejection:
    """A credential, or the first problem by line and column."""
    try:
        source = _Source(key or f"credentials/{name}", version)
        source.check_name(name)
        document = source.read(raw, CredentialDocument)
        if document.kind == "basic" and ":" in name:
            source.refuse([Problem(("kind",), "the name of a user, which is the id, has no colon (RFC 7617 §2)")])
        return document.value(name, version)
    except _Refused as refused:
        return refused.rejections[0]


def parse_defaults(
    raw: bytes, version: int, *, own_service: str | None = None, key: str = "defaults", workers: int = 1
) -> Defaults | Rejection:
    """The defaults of routes and services, or the first problem by line and column. `workers` as of `parse_route`."""
    try:
        return _defaults(raw, version, own_service, key, workers)
    except _Refused as refused:
        return refused.rejections[0]


def check_defaults(
    raw: bytes, version: int = 0, *, own_service: str | None = None, key: str = "defaults"
) -> list[Rejection]:
    """All problems of a `defaults` document, by line and column; none if it would be accepted."""
    try:
        _defaults(raw, version, own_service, key, 1)
    except _Refused as refused:
        return refused.rejections
    return []


def _route(
    name: str, raw: bytes, version: int, defaults: Defaults, own_service: str | None, key: str, workers: int
) -> Route:
    source = _Source(key, version)
    source.check_name(name)
    document = source.read(raw, RouteDocument, own_service)
    source.refuse(conflicts_within(document))
    route = build_route(name, version, document, defaults.route)
    source.refuse(route_conflicts(route, workers))
    return route


def _policy(service: str, raw: bytes, version: int, defaults: Defaults, key: str, workers: int) -> ServicePolicy:
    source = _Source(key, version)
    source.check_name(service)
    document = source.read(raw, ServicePolicyDocument)
    policy = replace(document.over(defaults.service), service=service, version=version)
    source.refuse(policy_conflicts(policy, document, workers))
    return policy


def _defaults(raw: bytes, version: int, own_service: str | None, key: str, workers: int) -> Defaults:
    source = _Source(key, version)
    document = source.read(raw, DefaultsDocument, own_service)
    value = document.value()
    found = [("route", problem) for problem in conflicts_of_default_filters(document.route.filters)]
    found += [("route", problem) for problem in route_conflicts(value.route, workers)]
    found += [("service", problem) for problem in policy_conflicts(value.service, document.service, workers)]
    source.refuse([Problem((part, *problem.loc), problem.reason) for part, problem in found])
    return value


class _Source:
    """One version of one key, and its text once that is read. All methods raise _Refused."""

    def __init__(self, key: str, version: int) -> None:
        self._key = key
        self._version = version
        self._raw = b""
        self._text = _NOTHING

    def check_name(self, name: str) -> None:
        if not _NAME(name):
            raise _Refused([self._rejection((1, 1), Problem((), _BAD_NAME))])

    def read(self, raw: bytes, model: type[D], own_service: str | None = None) -> D:
        self._raw = raw
        try:
            self._text = read(raw)
            empty = nulls(self._text.value) if self._text.may_hold_null else []
            try:
                document = model.model_validate(self._text.value, context={"own_service": own_service})
            except ValidationError as invalid:
                raise _Refused(self._invalid(invalid, model, empty)) from None
            self.refuse(empty)
        except Unreadable as bad:
            raise _Refused([self._rejection((bad.line, bad.column), Problem(bad.loc, bad.reason))]) from None
        return document

    def refuse(self, problems: Sequence[Problem]) -> None:
        if problems:
            where = _Places(self._text)
            placed = sorted(((where(problem.loc), problem) for problem in problems), key=_position)
            raise _Refused([self._rejection(*each) for each in placed[:MAX_PROBLEMS]])

    def _invalid(self, invalid: ValidationError, model: type[Document], empty: Sequence[Problem]) -> list[Rejection]:
        """Places all errors before any is put into words, which for an unknown field takes time."""
        value = self._text.value
        where = _Places(self._text)
        told = {problem.loc for problem in empty}
        placed: list[tuple[Position, Problem | ErrorDetails]] = [(where(problem.loc), problem) for problem in empty]
        errors = invalid.errors(include_url=False, include_input=False)
        holders = {error["loc"][:depth] for error in errors for depth in range(len(error["loc"]))}
        for error in errors:
            loc = aligned(error["loc"], value)
            # pydantic counts only the good entries of a list, and so calls one with nothing but bad ones too short.
            miscounted = error["type"] == "too_short" and error["loc"] in holders
            if error["type"] == BAD_PREDICATE:
                placed.append(self._in_predicate(where(loc), loc, error))
            elif not miscounted and not _misspelt(error, errors) and (loc not in told or error["type"] == "missing"):
                placed.append((where(loc), error))
        placed.sort(key=_position)
        return [
            self._rejection(position, found if isinstance(found, Problem) else problem_of(found, model, value))
            for position, found in placed[:MAX_PROBLEMS]
        ]

    def _in_predicate(self, key: Position, loc: Loc, error: ErrorDetails) -> tuple[Position, Problem]:
        """Where the document itself shows what is wrong in a predicate, or else its field, and the place in words."""
        context = error["ctx"]
        text = reduce(_inner, loc, self._text.value)
        assert isinstance(text, str)
        line, column, reason = context["line"], context["column"], context["reason"]
        place = place_in_document(self._raw.decode("utf-8-sig"), key, text, (line, column))
        if place is None:
            return key, Problem(loc, f"line {line}, column {column} of the predicate: {reason}")
        return place, Problem(loc, reason)

    def _rejection(self, position: Position, problem: Problem) -> Rejection:
        line, column = position
        return Rejection(
            self._key, line, column, field_name(problem.loc), shown(problem.reason, MAX_REASON), self._version
        )


def _inner(value: JsonValue, step: str | int) -> JsonValue:
    return cast(dict[str | int, JsonValue], value)[step]


def _misspelt(missing: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    """Whether a field is missing only because it is misspelt, which is told where it stands."""
    if missing["type"] != "missing":
        return False
    *around, name = missing["loc"]
    unknown = [
        str(error["loc"][-1])
        for error in errors[:MAX_PROBLEMS]
        if error["type"] == "extra_forbidden" and [*error["loc"][:-1]] == around
    ]
    return bool(get_close_matches(str(name), unknown, n=1))


class _Places:
    """Where a field stands; what is not in the text stands where the nearest mapping or list around it does."""

    def __init__(self, text: Text) -> None:
        self._positions = text.positions()

    def __call__(self, loc: Loc) -> Position:
        while loc and loc not in self._positions:
            loc = loc[:-1]
        return self._positions.get(loc, (1, 1))


def _position(placed: tuple[Position, object]) -> Position:
    return placed[0]
