"""Durations, sizes and shares as operators write them, and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,3})?(?:ms|s|m|h))+").fullmatch
_DURATION_PARTS = re.compile(r"([0-9.]+)(ms|s|m|h)").findall
_PERCENT = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,4})?)%").fullmatch
_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"([0-9]{1,13}) ?(B|KiB|MiB|GiB)?").fullmatch


def parse_duration(text: str) -> float:
    """Seconds, in whole milliseconds. Raises ValueError with what is allowed."""
    if not _DURATION(text):
        raise ValueError("a duration is a number with a unit (ms, s, m or h), such as 250ms, 10s or 1m30s")
    total = sum(Decimal(number) * _MILLISECONDS[unit] for number, unit in _DURATION_PARTS(text))
    if total != int(total):
        raise ValueError("a duration has at most millisecond precision")
    return int(total) / 1000


def format_duration(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    for unit in ("h", "m", "s"):
        if milliseconds % _MILLISECONDS[unit] == 0:
            return f"{milliseconds // _MILLISECONDS[unit]}{unit}"
    return f"{milliseconds}ms"


def parse_percent(text: str) -> float:
    """A share; 1.0 is 100%. Raises ValueError with what is allowed."""
    found = _PERCENT(text)
    if not found:
        raise ValueError("a share is a number with a percent sign, such as 50% or 12.5%")
    return float(Decimal(found.group(1)) / 100)


def format_percent(share: float) -> str:
    return f"{round(share * 100, 4):.10g}%"


def parse_size(text: str) -> int:
    """Bytes. Raises ValueError with what is allowed."""
    found = _SIZE(text)
    if not found:
        raise ValueError("a size is a number of bytes, alone or with B, KiB, MiB or GiB, such as 64KiB")
    return int(found.group(1)) * _SIZES[found.group(2) or "B"]


def format_size(size: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return f"{size}B"


@dataclass(frozen=True, slots=True)
class Unit:
    """One notation. `parse` raises ValueError with what is allowed; `plain_numbers` are taken as they are."""

    parse: Callable[[str], float]
    show: Callable[[float], str]
    pattern: str
    plain_numbers: bool = False

    def read(self, value: object) -> float:
        if isinstance(value, int) and not isinstance(value, bool) and (self.plain_numbers or value == 0):
            return value
        return self.parse(value if isinstance(value, str) else "")


DURATION = Unit(parse_duration, format_duration, r"^([0-9]+(\.[0-9]{1,3})?(ms|s|m|h))+$")
PERCENT = Unit(parse_percent, format_percent, r"^[0-9]+(\.[0-9]{1,4})?%$")
SIZE = Unit(parse_size, lambda size: format_size(int(size)), r"^[0-9]+ ?(B|KiB|MiB|GiB)?$", plain_numbers=True)


@dataclass(frozen=True, slots=True)
class Between:
    """A pydantic annotation: a quantity in operators' notation, between two that are given in the same notation.

    `zero` says what 0 means, where it is allowed although below `low`.
    """

    unit: Unit
    low: str
    high: str
    zero: str = ""

    def in_words(self) -> str:
        between = f"between {self.low} and {self.high}"
        return f"{between}, or 0: {self.zero}" if self.zero else between

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._validator(), serialization=core_schema.plain_serializer_function_ser_schema(self.unit.show)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        text: JsonSchemaValue = {"type": "string", "pattern": self.unit.pattern}
        if self.unit.plain_numbers:
            return {"anyOf": [text, {"type": "integer", "minimum": 0}]}
        return text

    def _validator(self) -> Callable[[object], float]:
        unit, words = self.unit, self.in_words()
        low, high = unit.parse(self.low), unit.parse(self.high)
        zero = bool(self.zero)

        def validate(value: object) -> float:
            try:
                quantity = unit.read(value)
            except ValueError as error:
                raise refusal(str(error)) from None
            if low <= quantity <= high or (zero and quantity == 0):
                return quantity
            raise refusal(f"has to be {words}")

        return validate


def refusal(reason: str) -> PydanticCustomError:
    """An error whose text is shown to the operator as it is."""
    return PydanticCustomError("refused", "{reason}", {"reason": reason})
