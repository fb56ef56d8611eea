"""Time: `timestamp` and `duration`, their arithmetic, and what a clock and a calendar show of them.

A duration is written as in Go (`1h30m`, `1.5s`), an instant as in RFC 3339. Both are exact to the nanosecond. Months,
days of the month by `getDayOfMonth`, days of the year and of the week (Sunday) count from 0, as CEL has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import partial

from gateway.core.predicate.library.numbers import in_range
from gateway.core.predicate.overloads import Functions, Implementation, Overload, Tools, written_out
from gateway.core.predicate.types import DURATION, INT, STRING, TIMESTAMP
from gateway.core.predicate.values import Duration, PredicateError, Timestamp

_SECOND, _MILLISECOND = 1_000_000_000, 1_000_000
_UNITS = {"h": 3600 * _SECOND, "m": 60 * _SECOND, "s": _SECOND, "ms": _MILLISECOND, "us": 1000, "µs": 1000, "ns": 1}
_DURATION = re.compile(r"([+-]?)((?:(?:[0-9]{1,19}(?:\.[0-9]{0,9})?|\.[0-9]{1,9})(?:h|ms|m|s|us|µs|ns))+|0)").fullmatch
_DURATION_PARTS = re.compile(r"([0-9.]+)([a-zµ]+)").findall
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
).fullmatch
_OFFSET = re.compile(r"([+-]?)([0-9]{2}):([0-5][0-9])").fullmatch
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1) * _SECOND
_LAST = ((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH) // timedelta(seconds=1) + 1) * _SECOND - 1


def _duration(text: str) -> Duration:
    found = _DURATION(text)
    if not found:
        raise PredicateError("a duration is written as 1h30m, 10s or 250ms")
    total = sum(int(Decimal(number) * _UNITS[unit]) for number, unit in _DURATION_PARTS(found[2]))
    return Duration(in_range(-total if found[1] == "-" else total))


def _timestamp(text: str) -> Timestamp:
    found = _TIMESTAMP(text)
    if not found:
        raise PredicateError("a timestamp is written as 2026-11-25T14:30:00Z (RFC 3339)")
    date, time, fraction, offset = found.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{time}{offset.upper()}")
    except ValueError:
        raise PredicateError("a timestamp has a part that is out of range") from None
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    return _instant(seconds * _SECOND + int((fraction or "0").ljust(9, "0")))


def _instant(nanoseconds: int) -> Timestamp:
    if not _FIRST <= nanoseconds <= _LAST:
        raise PredicateError("a timestamp is out of range: years 1 to 9999")
    return Timestamp(nanoseconds)


def _later(instant: Timestamp, by: Duration) -> Timestamp:
    return _instant(instant.nanoseconds + by.nanoseconds)


def _added(left: Duration, right: Duration) -> Duration:
    return Duration(in_range(left.nanoseconds + right.nanoseconds))


def _subtracted(left: Duration, right: Duration) -> Duration:
    return Duration(in_range(left.nanoseconds - right.nanoseconds))


def _between(left: Timestamp, right: Timestamp) -> Duration:
    return Duration(in_range(left.nanoseconds - right.nanoseconds))


def _whole(unit: int) -> Callable[[Duration], int]:
    """How many of `unit` a duration has, rounded towards zero."""

    def whole(duration: Duration) -> int:
        count = abs(duration.nanoseconds) // unit
        return count if duration.nanoseconds >= 0 else -count

    return whole


def _zone(tools: Tools, name: str) -> tzinfo:
    found = _OFFSET(name)
    if not found:
        return tools.find_zone(name)
    offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
    return timezone(-offset if found[1] == "-" else offset)


def _shown(part: Callable[[datetime], int], instant: Timestamp, zone: tzinfo = UTC) -> int:
    try:
        moment = (_EPOCH + timedelta(microseconds=instant.nanoseconds // 1000)).astimezone(zone)
    except OverflowError:
        raise PredicateError("a timestamp is out of range in this time zone") from None
    return part(moment)


def _accessor(part: Callable[[datetime], int]) -> tuple[Overload, ...]:
    def in_zone(tools: Tools, name: str) -> tuple[Implementation, int]:
        return partial(_shown, part, zone=_zone(tools, name)), 0

    return (
        Overload((TIMESTAMP,), INT, partial(_shown, part), member=True),
        Overload((TIMESTAMP, STRING), INT, written_out, member=True, prepare=in_zone),
    )


FUNCTIONS: Functions = {
    "duration": (Overload((STRING,), DURATION, _duration, early=True),),
    "timestamp": (Overload((STRING,), TIMESTAMP, _timestamp, early=True),),
    "_+_": (
        Overload((TIMESTAMP, DURATION), TIMESTAMP, _later),
        Overload((DURATION, TIMESTAMP), TIMESTAMP, lambda by, instant: _later(instant, by)),
        Overload((DURATION, DURATION), DURATION, _added),
    ),
    "_-_": (
        Overload((TIMESTAMP, DURATION), TIMESTAMP, lambda instant, by: _instant(instant.nanoseconds - by.nanoseconds)),
        Overload((TIMESTAMP, TIMESTAMP), DURATION, _between),
        Overload((DURATION, DURATION), DURATION, _subtracted),
    ),
    "getFullYear": _accessor(lambda moment: moment.year),
    "getMonth": _accessor(lambda moment: moment.month - 1),
    "getDate": _accessor(lambda moment: moment.day),
    "getDayOfMonth": _accessor(lambda moment: moment.day - 1),
    "getDayOfYear": _accessor(lambda moment: moment.timetuple().tm_yday - 1),
    "getDayOfWeek": _accessor(lambda moment: moment.isoweekday() % 7),
    "getHours": (
        *_accessor(lambda moment: moment.hour),
        Overload((DURATION,), INT, _whole(3600 * _SECOND), member=True),
    ),
    "getMinutes": (
        *_accessor(lambda moment: moment.minute),
        Overload((DURATION,), INT, _whole(60 * _SECOND), member=True),
    ),
    "getSeconds": (
        *_accessor(lambda moment: moment.second),
        Overload((DURATION,), INT, _whole(_SECOND), member=True),
    ),
    "getMilliseconds": _accessor(lambda moment: moment.microsecond // 1000),
}
