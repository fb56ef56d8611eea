"""Texts with variables in documents: read once, and checked for the place where they will stand."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from gateway.core.paths import BadPath, normalise
from gateway.core.template import BadTemplate, Part, Source, Template, Text, Variable, parse
from gateway.discovery.documents.syntax import FORWARDING_HEADERS, FORWARDING_PREFIX, FRAMING_HEADERS
from gateway.discovery.documents.units import refusal
from gateway.discovery.regex import count_groups

_FIELD = re.compile(r"[\t\x20-\x7e]*").fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]").search
_HOST = re.compile(r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])", re.IGNORECASE).fullmatch
_PORT = re.compile(r":([1-9][0-9]{0,4})$")
_ANY = "x"
"""What stands for a value while the text around it is checked."""

Check = Callable[[Text], None]
"""Raises PydanticCustomError."""


@dataclass(frozen=True, slots=True)
class _Templated:
    """A pydantic annotation: text that is read as a template, and has to pass the check."""

    check: Check
    max_length: int
    instance: bool = False

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.str_schema(strict=True, max_length=self.max_length)
        return core_schema.no_info_after_validator_function(self._read, text)

    def _read(self, text: str) -> Text:
        read = _template(text, instance=self.instance)
        self.check(read)
        return read


@dataclass(frozen=True, slots=True)
class _Replacement:
    """A pydantic annotation: a path in place of what the pattern in the field `regex` matches."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        text = core_schema.str_schema(strict=True, min_length=1, max_length=2048)
        return core_schema.with_info_after_validator_function(self._read, text)

    def _read(self, text: str, info: ValidationInfo) -> Text:
        if "regex" not in info.data:
            return text
        read = _template(text, groups=count_groups(info.data["regex"]))
        _check_path(read)
        return read


def _template(text: str, *, instance: bool = False, groups: int | None = None) -> Text:
    """As `core.template.parse`. Raises PydanticCustomError."""
    try:
        read = parse(text, instance=instance, groups=groups)
    except BadTemplate as bad:
        raise refusal(bad.reason) from None
    if isinstance(read, Template):
        for variable in read.variables:
            if variable.source is Source.HEADER:
                _check_header(variable.name)
    return read


def _check_header(name: str) -> None:
    if name in FRAMING_HEADERS:
        hint = "; request.host is the host" if name == "host" else ""
        raise refusal(f"{name} belongs to the client's connection, and is no variable{hint}")
    if name in FORWARDING_HEADERS or name.startswith(FORWARDING_PREFIX):
        raise refusal(f"what {name} says may be forged; request.client_ip and request.id are what is trusted")


def _check_path(text: Text) -> None:
    """A normal path, with ordinary values for the variables and with their defaults."""
    for stand_in in (_any_of_path, _default_of_path):
        path = _with(text, stand_in)
        try:
            normal = normalise(path)
        except BadPath as bad:
            raise refusal(bad.reason) from None
        if not path.startswith("/") or normal != path:
            raise refusal(f"is not in normal form; write {normal}" if path == text else "makes no path in normal form")


def _any_of_path(part: Part) -> str:
    return f"/{_ANY}" if isinstance(part, Variable) and part.source is Source.PATH else _ANY


def _default_of_path(part: Part) -> str:
    """The request's path has always a value."""
    if isinstance(part, Variable) and part.default and part.source is not Source.PATH:
        return quote(part.default, safe="")
    return _any_of_path(part)


def _check_field(text: Text) -> None:
    whole = _with(text, _any)
    if not all(_FIELD(part) for part in (whole, *_defaults(text))) or whole != whole.strip(" \t"):
        raise refusal("has to be printable ASCII, without line breaks, and without space at either end")


def _check_query(text: Text) -> None:
    if any(_CONTROL(part) for part in (_with(text, _any), *_defaults(text))):
        raise refusal("must not hold control characters")


def _check_host(text: Text) -> None:
    """With ordinary values for the variables and with their defaults."""
    for host in (_with(text, _any), _with(text, _default)):
        port = _PORT.search(host)
        if port is not None and int(port[1]) > 65535:
            raise refusal("has no such port")
        _check_name(host[: port.start()] if port else host)


def _check_bare_host(text: Text) -> None:
    for host in (_with(text, _any), _with(text, _default)):
        _check_name(host)


def _check_name(host: str) -> None:
    if not _HOST(host) or len(host) > 255:
        raise refusal("is no host name or address")


def _any(_: Part) -> str:
    return _ANY


def _default(part: Part) -> str:
    return part.default or _ANY if isinstance(part, Variable) else _ANY


def _defaults(text: Text) -> Sequence[str]:
    return [variable.default for variable in text.variables] if isinstance(text, Template) else ()


def _with(text: Text, stand_in: Callable[[Part], str]) -> str:
    if isinstance(text, str):
        return text
    return "".join(part if isinstance(part, str) else stand_in(part) for part in text.parts)


HeaderText = Annotated[Text, _Templated(_check_field, 4096, instance=True)]
OwnHeaderText = Annotated[Text, _Templated(_check_field, 4096)]
QueryText = Annotated[Text, _Templated(_check_query, 1024)]
PathText = Annotated[Text, _Templated(_check_path, 2048)]
ReplacementText = Annotated[Text, _Replacement()]
HostText = Annotated[Text, _Templated(_check_host, 512)]
BareHostText = Annotated[Text, _Templated(_check_bare_host, 512)]
