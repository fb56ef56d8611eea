"""Logs: foreign text cannot end a line, drive a terminal, or grow the file; the access log never holds the loop."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from gateway.telemetry import access, logs
from gateway.telemetry.access import AccessEntry, AccessLog
from gateway.telemetry.text import clean
from tests.support.full_disk import largest_file


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("gateway")
    before = (root.handlers[:], root.level, ours.level, logging.raiseExceptions)
    yield
    root.handlers[:], level, our_level, logging.raiseExceptions = before
    root.setLevel(level)
    ours.setLevel(our_level)
    logging.captureWarnings(capture=False)


def _logged(style: Literal["json", "console"], message: str, /, *args: object, **extra: object) -> str:
    stream = io.StringIO()
    logs.configure("info", style, stream)
    logging.getLogger("gateway.test").info(message, *args, extra=extra)
    return stream.getvalue()


def _object(message: str, /, *args: object, **extra: object) -> dict[str, Any]:
    line = _logged("json", message, *args, **extra)
    assert line.count("\n") == 1
    made: dict[str, Any] = json.loads(line)
    return made


def test_a_line_is_one_object_with_the_extra_fields() -> None:
    made = _object("Route %s changed.", "orders", version=7, tags={"a"}, nested={"x": (1, None)})
    assert made["message"] == "Route orders changed."
    assert (made["level"], made["logger"]) == ("info", "gateway.test")
    assert (made["version"], made["tags"], made["nested"]) == (7, ["a"], {"x": [1, None]})
    assert datetime.fromisoformat(made["ts"]).tzinfo is not None


def test_extra_fields_cannot_replace_the_head() -> None:
    made = _object("true", ts="x", level="x", logger="x")
    assert (made["level"], made["logger"]) == ("info", "gateway.test")


@pytest.mark.parametrize("style", ["json", "console"])
def test_foreign_text_cannot_break_a_line(style: Literal["json", "console"]) -> None:
    hostile = "a\r\nb\x1b[2J\x9b\u202e\x00" + b"\xff\xe9".decode("utf-8", "surrogateescape")
    for line in (
        _logged(style, hostile),
        _logged(style, "m", path=hostile),
        _logged(style, "m", path=[hostile]),
        _logged(style, "m", path={hostile: 1}),
        _logged(style, "m", **{hostile: 1}),
    ):
        assert line.endswith("\n")
        assert line.count("\n") == 1
        shown = json.dumps(json.loads(line), ensure_ascii=False) if style == "json" else line
        assert not any(character in shown for character in "\r\x1b\x9b\u202e\x00")
        assert "\\\\xff\\\\xe9" in shown or "\\xff\\xe9" in shown


def test_clean_keeps_ordinary_text() -> None:
    assert clean("grüße, 世界") == "grüße, 世界"
    assert clean("a" * 3000, 10) == "a" * 10 + "… (2990 more)"


def test_lines_are_bounded() -> None:
    long = "x" * 100_000
    assert len(_logged("json", long)) < logs.MESSAGE_LIMIT + 500
    made = _logged("json", "m", **{f"field{number}": long for number in range(40)})
    assert len(made) <= logs.LINE_LIMIT
    assert json.loads(made)["truncated"] is True
    assert len(_logged("console", "m", **{f"field{number}": long for number in range(40)})) <= logs.LINE_LIMIT + 1


def test_odd_values_and_arguments_are_shown_rather_than_lost() -> None:
    assert _object("%d", "no number")["message"] == "%d"
    assert _object("m", path=Path("/x"), raw=b"\xff", key=datetime(2026, 1, 1, tzinfo=UTC))["raw"] == "\\xff"


def test_a_traceback_is_a_list_of_lines() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    try:
        raise ValueError("bad\x1b")
    except ValueError:
        logging.getLogger("gateway.test").exception("Failed.")
    made = json.loads(stream.getvalue())
    assert made["exception"][-1] == "ValueError: bad\\x1b"
    stream = io.StringIO()
    logs.configure("info", "console", stream)
    try:
        raise ValueError("bad")
    except ValueError:
        logging.getLogger("gateway.test").exception("Failed.")
    assert stream.getvalue().splitlines()[-1] == "  ValueError: bad"


def test_console_lines_are_for_people() -> None:
    line = _logged("console", "Route changed.", route="orders", why="two words")
    assert line.endswith('info    test  Route changed. route=orders why="two words"\n')


def test_libraries_stay_at_warning() -> None:
    stream = io.StringIO()
    logs.configure("debug", "json", stream)
    logging.getLogger("aiohttp.server").info("chatter")
    logging.getLogger("gateway.x").debug("ours")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["ours"]
    logs.configure("error", "json", stream)
    logging.getLogger("gateway.x").warning("not wanted")
    assert "not wanted" not in stream.getvalue()


# --- the access log ---------------------------------------------------------------------------------------------


def _entry(path: str = "/orders", **more: Any) -> AccessEntry:  # noqa: ANN401
    return AccessEntry(
        ts=datetime(2026, 1, 2, tzinfo=UTC),
        method="GET",
        path=path,
        outcome="responded",
        duration=0.01,
        client_ip="127.0.0.1",
        request_id="r1",
        **more,
    )


async def test_each_request_is_a_line_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    log = AccessLog(str(file))
    log.write(partial(_entry, status=200, tries=(("dc1/n/o1", "reset", 0.1),)))
    log.write(partial(_entry, "/a\x1b\u202e", reason="no_route"))
    log.write(partial(_entry, detail=b"\xff".decode("utf-8", "surrogateescape"), tries=(("\udcff", "reset", 0.1),)))
    await log.close()
    first, second, third = map(json.loads, file.read_text().splitlines())
    assert (first["status"], first["tries"]) == (200, [["dc1/n/o1", "reset", 0.1]])
    assert "reason" not in first
    assert second["path"] == "/a\\x1b\\u202e"
    assert (third["detail"], third["tries"][0][0]) == ("\\xff", "\\xff")
    assert log.dropped == 0


async def test_lines_are_bounded_too(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    log = AccessLog(str(file))
    log.write(partial(_entry, "/" + "x" * 100_000))
    await log.close()
    assert len(file.read_bytes()) < access.LINE_LIMIT


async def test_what_does_not_fit_the_buffer_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "BUFFER_LIMIT", 1000)
    file = tmp_path / "access.log"
    log = AccessLog(str(file))
    for _ in range(100):
        log.write(_entry)
    await log.close()
    written = len(file.read_text().splitlines())
    assert 0 < written < 12
    assert log.dropped == 100 - written


async def test_a_file_that_rotation_moved_is_made_anew(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    log = AccessLog(str(file))
    log.write(partial(_entry, "/one"))
    await _flushed(log, file, 1)
    file.rename(tmp_path / "access.log.1")
    log.write(partial(_entry, "/two"))
    await log.close()
    assert "/one" in (tmp_path / "access.log.1").read_text()
    assert [json.loads(line)["path"] for line in file.read_text().splitlines()] == ["/two"]


async def _flushed(log: AccessLog, file: Path, lines: int) -> None:
    log._timer.cancel() if log._timer else None
    log._flush()
    async with asyncio.timeout(5):
        await log._idle.wait()
    assert len(file.read_text().splitlines()) == lines


async def test_a_writer_that_hangs_holds_neither_the_loop_nor_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(AccessLog, "_append", lambda self, chunk: release.wait(10))
    log = AccessLog(str(tmp_path / "access.log"))
    log.write(_entry)
    log._flush()
    for _ in range(10):
        log.write(_entry)
    async with asyncio.timeout(2):
        await log.close(limit=0.05)
    assert log.dropped == 10
    release.set()
    assert log._file is not None
    log._file.close()


async def test_a_full_disk_is_told_once_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "access.log"
    file.symlink_to("/dev/full")
    log = AccessLog(str(file))
    for _ in range(2):
        log.write(_entry)
        log._flush()
        async with asyncio.timeout(5):
            await log._idle.wait()
    assert log.dropped == 2
    assert [getattr(record, "error", "") for record in caplog.records] == ["[Errno 28] No space left on device"]
    file.unlink()  # there is room again
    log.write(_entry)
    await _flushed(log, file, 1)
    assert log.dropped == 2
    await log.close()


async def test_a_line_that_did_not_fit_the_disk_spoils_no_other(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    log = AccessLog(str(file))
    log.write(partial(_entry, "/one"))
    await _flushed(log, file, 1)
    with largest_file(file.stat().st_size + 20):
        log.write(partial(_entry, "/torn"))
        await _flushed(log, file, 2)
    log.write(partial(_entry, "/two"))
    await log.close()
    first, torn, last = file.read_text().splitlines()
    assert [json.loads(line)["path"] for line in (first, last)] == ["/one", "/two"]
    assert len(torn) == 20
    assert log.dropped == 1


async def test_off_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    log = AccessLog("off")
    log.write(_entry)
    await log.close()
    assert capfd.readouterr().out == ""


def test_a_path_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        AccessLog(str(tmp_path / "missing" / "access.log"))
