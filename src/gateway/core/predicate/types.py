"""Types, as far as they are known when an expression is read (CEL language definition, Gradual Type Checking)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from gateway.core.predicate.values import Duration, Timestamp


@dataclass(frozen=True, slots=True)
class Type:
    name: str
    parameters: tuple[Type, ...] = ()

    def __str__(self) -> str:
        inner = ", ".join(map(str, self.parameters))
        return f"{self.name}({inner})" if inner else self.name


@dataclass(frozen=True, slots=True)
class Field:
    """A named part of a record. `read` takes it out of the record's value.

    Of a map, `refuse_key` says why a key that an expression writes out can never be in it, or None.
    """

    type: Type
    read: Callable[[object], object]
    refuse_key: Callable[[str], str | None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Record(Type):
    """A type with a closed set of fields, none of which is ever absent: as a message of proto3, a field that nobody
    set reads as its empty value, and `has` is then false."""

    fields: Mapping[str, Field] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Elsewhere(Type):
    """Of a name that only other predicates may use; `reason` tells those who use it here."""

    reason: str = ""


BOOL, INT, DOUBLE, STRING, NULL = (Type(name) for name in ("bool", "int", "double", "string", "null"))
DURATION, TIMESTAMP, IP, CIDR = (Type(name) for name in ("duration", "timestamp", "ip", "cidr"))
DYN = Type("dyn")
"""Known only while evaluating."""
NOTHING = Type("nothing")
"""Of the entries of a list or map that has none."""


def list_of(entries: Type) -> Type:
    return Type("list", (entries,))


def map_of(keys: Type, values: Type) -> Type:
    return Type("map", (keys, values))


ANY_LIST = list_of(DYN)
ANY_MAP = map_of(DYN, DYN)


def compatible(one: Type, other: Type) -> bool:
    """Whether a value may be of both types."""
    if one.name == other.name:
        return all(map(compatible, one.parameters, other.parameters))
    names = {one.name, other.name}
    return bool(names & {"dyn", "nothing"}) or names in _MAY_BE_NULL


_MAY_BE_NULL = ({"null", "duration"}, {"null", "timestamp"})


def joined(one: Type, other: Type) -> Type:
    """The type of a value that is of one or of the other."""
    if one == other or other == NOTHING:
        return one
    if one == NOTHING:
        return other
    if one.name == other.name and one.parameters:
        return Type(one.name, tuple(map(joined, one.parameters, other.parameters)))
    return DYN


_CLASSES: Mapping[str, tuple[type, ...]] = {
    "bool": (bool,),
    "double": (float,),
    "string": (str,),
    "null": (type(None),),
    "duration": (Duration,),
    "timestamp": (Timestamp,),
    "ip": (IPv4Address, IPv6Address),
    "cidr": (IPv4Network, IPv6Network),
    "list": (list, tuple),
    "map": (Mapping,),
    "dyn": (object,),
}


def holds(kind: Type, value: object) -> bool:
    """Whether a value is of a type; the entries of lists and maps are not looked at."""
    if kind.name == "int":
        return type(value) is int
    return isinstance(value, _CLASSES[kind.name])
