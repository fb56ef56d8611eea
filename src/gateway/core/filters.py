"""What a route changes about its requests and responses, and what it answers itself, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from gateway.core.template import Template, Text


@dataclass(frozen=True, slots=True)
class StripPrefix:
    """Cuts whole path elements off the front."""

    prefix: str


@dataclass(frozen=True, slots=True)
class ReplacePrefix:
    """Puts other path elements in the place of those in front."""

    prefix: str
    by: str


@dataclass(frozen=True, slots=True)
class RewritePath:
    """Where the pattern matches the whole path, `to` takes its place; it may hold the pattern's groups."""

    pattern: str
    to: Text


@dataclass(frozen=True, slots=True)
class SetPath:
    path: Text


class HostFrom(Enum):
    """A `Host` that no text gives."""

    CLIENT = "preserve"
    SERVICE = "service"
    """The name of the service that takes the request."""


@dataclass(frozen=True, slots=True)
class SetHost:
    host: Text | HostFrom


class Edit(NamedTuple):
    """What is removed, then set (to one value), then added; of headers, names compare without case."""

    set: tuple[tuple[str, Text], ...] = ()
    add: tuple[tuple[str, Text], ...] = ()
    remove: tuple[str, ...] = ()

    @property
    def of_instance(self) -> bool:
        """Whether it can be done only once an instance has been picked."""
        return any(isinstance(text, Template) and text.of_instance for _, text in (*self.set, *self.add))


@dataclass(frozen=True, slots=True)
class EditQuery:
    edit: Edit


@dataclass(frozen=True, slots=True)
class EditRequestHeaders:
    edit: Edit


@dataclass(frozen=True, slots=True)
class EditResponseHeaders:
    edit: Edit


Filter = (
    StripPrefix | ReplacePrefix | RewritePath | SetPath | SetHost | EditQuery | EditRequestHeaders | EditResponseHeaders
)


@dataclass(frozen=True, slots=True)
class Redirect:
    """Sends the client elsewhere. Without a scheme the client stays where it is, and has another path there.

    `host` and `port` go with a scheme; no host is the one that was asked. No path is the request's.
    """

    status: int = 302
    scheme: str | None = None
    host: Text | None = None
    port: int | None = None
    path: Text | ReplacePrefix | None = None
    strip_query: bool = False


@dataclass(frozen=True, slots=True)
class Respond:
    """A whole response. A `content_type` comes with a body."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, Text], ...] = ()


OwnResponse = Redirect | Respond
