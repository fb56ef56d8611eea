"""Texts with variables: `${request.header.x-tenant:-none}`, read once and kept as their parts.

A variable is one of `Source`, followed by a name where the source has many, and by `:-` and a default if it has one.
The default stands where there is no value, or an empty one; without a default that is the empty text. A dollar sign is
written `$$`. In the replacement of a regular expression `$1` to `$9` and `${12}` are what its groups matched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from enum import Enum

MAX_VARIABLES = 16
"""Of one text, so that a client's one header does not become a thousand times as long."""
_SIMILAR = 0.6

_PIECE = re.compile(r"\$(?:(?P<dollar>\$)|(?P<group>[1-9])|\{(?P<inside>[^${}]*)\})|(?P<text>[^$]+)|\$")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_NAME = re.compile(r"[!-~]+").fullmatch
_GROUP = re.compile(r"[1-9][0-9]?").fullmatch


class Source(Enum):
    """What variables there are. One that ends in a dot is followed by a name."""

    METHOD = "request.method"
    PATH = "request.path"
    HOST = "request.host"
    CLIENT_IP = "request.client_ip"
    REQUEST_ID = "request.id"
    QUERY = "request.query."
    HEADER = "request.header."
    COOKIE = "request.cookie."
    ROUTE = "route.name"
    CLAIM = "claims."
    INSTANCE_ID = "instance.id"
    INSTANCE_SERVICE = "instance.service"
    INSTANCE_NODE = "instance.node"
    INSTANCE_ADDRESS = "instance.address"
    INSTANCE_DATACENTER = "instance.datacenter"
    INSTANCE_META = "instance.meta."

    @property
    def many(self) -> bool:
        return self.value.endswith(".")

    @property
    def of_instance(self) -> bool:
        """Known only once an instance has been picked."""
        return self.value.startswith("instance.")


@dataclass(frozen=True, slots=True)
class Variable:
    """`name` of a header is in lower case."""

    source: Source
    name: str = ""
    default: str = ""

    def __str__(self) -> str:
        default = f":-{self.default}" if self.default else ""
        return f"${{{self.source.value}{self.name}{default}}}"


@dataclass(frozen=True, slots=True)
class Group:
    """What a group of the pattern matched."""

    number: int

    def __str__(self) -> str:
        return f"${self.number}" if self.number < 10 else f"${{{self.number}}}"


Part = str | Variable | Group


@dataclass(frozen=True, slots=True)
class Template:
    """A text with at least one variable or group. Texts among its parts are taken as they are."""

    parts: tuple[Part, ...]

    def __str__(self) -> str:
        return "".join(_escaped(part) if isinstance(part, str) else str(part) for part in self.parts)

    @property
    def variables(self) -> Iterator[Variable]:
        return (part for part in self.parts if isinstance(part, Variable))

    @property
    def of_instance(self) -> bool:
        return any(variable.source.of_instance for variable in self.variables)


Text = str | Template


class BadTemplate(ValueError):
    """A text that is no template; `reason` says why, and at which character of it, from 1."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.reason = f"character {at + 1}: {reason}"


def parse(text: str, *, instance: bool = False, groups: int | None = None) -> Text:
    """A template, or where there are no variables the text itself. Raises BadTemplate.

    `instance` lets it name the instance; `groups` is how many groups the pattern has whose replacement this is.
    """
    parts: list[Part] = []
    literal = ""
    for piece in _PIECE.finditer(text):
        if piece["text"] is not None:
            literal += piece["text"]
        elif piece["dollar"] is not None:
            literal += "$"
        else:
            if literal:
                parts.append(literal)
                literal = ""
            parts.append(_part(piece, instance, groups))
    if not parts:
        return literal
    if len(parts) - sum(isinstance(part, str) for part in parts) > MAX_VARIABLES:
        raise BadTemplate(0, f"it has more than {MAX_VARIABLES} variables")
    return Template((*parts, literal) if literal else tuple(parts))


def as_written(text: Text) -> str:
    """The text that `parse` reads as this one."""
    return _escaped(text) if isinstance(text, str) else str(text)


def _escaped(literal: str) -> str:
    return literal.replace("$", "$$")


def _part(piece: re.Match[str], instance: bool, groups: int | None) -> Part:
    at, inside = piece.start(), piece["inside"]
    number = piece["group"] or inside
    if groups is not None and number is not None and _GROUP(number):
        if int(number) > groups:
            raise BadTemplate(at, f"there is no group {number}: the pattern has {groups}")
        return Group(int(number))
    if inside is None:
        raise BadTemplate(at, _why_no_variable(piece.string[at:]))
    path, _, default = inside.partition(":-")
    variable = _variable(at, path, default)
    if variable.source.of_instance and not instance:
        raise BadTemplate(at, f"{path} is known only once an instance is picked, and stands in headers alone")
    return variable


def _variable(at: int, path: str, default: str) -> Variable:
    for source in Source:
        if not source.many and path == source.value:
            return Variable(source, default=default)
        if source.many and path.startswith(source.value):
            name = path[len(source.value) :]
            fits = _TOKEN if source is Source.HEADER else _NAME
            if not fits(name):
                raise BadTemplate(at, f"{source.value} has to be followed by a name")
            return Variable(source, name.lower() if source is Source.HEADER else name, default)
    raise BadTemplate(at, f"there is no such variable; {_nearest(path[:64])}")


def _why_no_variable(rest: str) -> str:
    if rest.startswith("${"):
        return "a variable ends with } and holds none of ${}"
    return "a dollar sign that stands for itself is written $$"


def _nearest(path: str) -> str:
    elements = path.split(".")
    best, closest = _SIMILAR, ""
    for source in Source:
        known = source.value.rstrip(".")
        depth = known.count(".") + 1
        ratio = SequenceMatcher(None, ".".join(elements[:depth]), known).ratio()
        if ratio > best:
            best, closest = ratio, known
            if source.many:
                closest += "." + (".".join(elements[depth:]) or "NAME")
    if closest and closest.isascii() and closest.isprintable():
        return f"did you mean {closest}?"
    return "known are " + ", ".join(source.value + "NAME" if source.many else source.value for source in Source)
