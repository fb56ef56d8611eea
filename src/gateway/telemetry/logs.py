"""Structured logs: one JSON object a line, or lines for people.

Modules log as usual, `logging.getLogger(__name__).info("Route changed.", extra={"route": name})`; everything in `extra`
becomes a field. Safe against what clients and backends put into it (see `text`), and each line is bounded.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO

import msgspec

from gateway.telemetry.line_writer import LineWriter
from gateway.telemetry.text import clean

MESSAGE_LIMIT = 4096
FIELD_LIMIT = 2048
FIELDS_LIMIT = 40
LINE_LIMIT = 16384
"""Characters; a JSON line above it is written again without its fields."""

Plain = str | int | float | bool | None | list["Plain"] | dict[str, "Plain"]

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS = {"DEBUG": "\x1b[2m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31;1m"}


def configure(
    level: str, style: Literal["json", "console"], stream: TextIO | None = None, *, worker: int | None = None
) -> None:
    """Sends every logger's records of `level` (`debug`, `info`, …) and above to `stream`, by default standard error.

    Each has the number of the `worker`, where there is one. Libraries are kept at `warning`, whatever the level. May be
    called again; the last call holds.
    """
    stream = stream or sys.stderr
    handler = LineWriter(stream)
    handler.setFormatter(JsonFormatter() if style == "json" else ConsoleFormatter(colour=stream.isatty()))
    if worker is not None:
        handler.addFilter(_Of(worker))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    logging.getLogger("gateway").setLevel(level.upper())
    logging.captureWarnings(capture=True)
    # A reader of our standard error that went away must not make each log call print a traceback there.
    logging.raiseExceptions = False


class _Of(logging.Filter):
    """Adds a worker's number to each of its records."""

    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        record.worker = self._worker
        return True


class JsonFormatter(logging.Formatter):
    """`{"ts": …, "level": …, "logger": …, "message": …, <extra>, "exception": …}`."""

    def __init__(self) -> None:
        super().__init__()
        self._encoder = msgspec.json.Encoder()

    def format(self, record: logging.LogRecord) -> str:
        head: dict[str, Plain] = {
            "ts": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": clean(_message(record), MESSAGE_LIMIT),
        }
        fields = _fields(record)
        line = self._encoder.encode(
            {**fields, **head, **_exception(record)} if fields else {**head, **_exception(record)}
        )
        if len(line) > LINE_LIMIT:
            line = self._encoder.encode({**head, "truncated": True})
        return line.decode()


class ConsoleFormatter(logging.Formatter):
    """`12:00:01.250 warning discovery.watch  Message. key=value`, and the traceback below it where there is one."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        name = record.name.removeprefix("gateway.")
        fields = "".join(f" {name}={_shown(value)}" for name, value in _fields(record).items())
        text = f"{clock} {record.levelname.lower():7} {name}  {clean(_message(record), MESSAGE_LIMIT)}{fields}"[
            :LINE_LIMIT
        ]
        if self._colour and (paint := _COLOURS.get(record.levelname)):
            text = f"{paint}{text}\x1b[0m"
        trace = _exception(record).get("exception")
        return text + "".join(f"\n  {line}" for line in trace) if isinstance(trace, list) else text


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return str(record.msg)


def _fields(record: logging.LogRecord) -> dict[str, Plain]:
    names = [name for name in vars(record) if name not in _STANDARD][:FIELDS_LIMIT]
    return {clean(name, 64): _plain(getattr(record, name)) for name in names}


def _exception(record: logging.LogRecord) -> dict[str, Plain]:
    if not record.exc_info or record.exc_info[0] is None:
        return {}
    trace = "".join(traceback.format_exception(*record.exc_info, limit=-20)).splitlines()
    return {"exception": [clean(line, 400) for line in trace[-60:]]}


def _plain(value: object, depth: int = 0) -> Plain:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return clean(value, FIELD_LIMIT)
    if isinstance(value, bytes):
        return clean(value.decode("utf-8", "surrogateescape"), FIELD_LIMIT)
    if depth < 3 and isinstance(value, Mapping):
        return {clean(str(name), 64): _plain(item, depth + 1) for name, item in list(value.items())[:FIELDS_LIMIT]}
    if depth < 3 and isinstance(value, list | tuple | set | frozenset) and not hasattr(value, "_fields"):
        return [_plain(item, depth + 1) for item in list(value)[:FIELDS_LIMIT]]
    return clean(str(value), FIELD_LIMIT)


def _shown(value: Plain) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if text and " " not in text else msgspec.json.encode(text).decode() if isinstance(value, str) else text
