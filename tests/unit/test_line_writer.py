"""A log whose reader hangs holds nobody up, and says afterwards what it lost."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from select import select
from typing import TextIO

import pytest

from gateway.telemetry import line_writer
from gateway.telemetry.line_writer import LineWriter


class Pipe:
    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        self.stream: TextIO = os.fdopen(writer, "w")
        self.taken = b""

    def take(self) -> list[str]:
        """All lines that are there now."""
        os.set_blocking(self._reader, False)
        while True:
            try:
                self.taken += os.read(self._reader, 1 << 16)
            except BlockingIOError:
                return self.taken.decode().splitlines()

    def wait(self) -> None:
        """Until there is more, without keeping the interpreter from who writes it."""
        select([self._reader], [], [], 10)

    def close(self) -> None:
        os.close(self._reader)
        self.stream.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def _record(text: str) -> logging.LogRecord:
    return logging.LogRecord("gateway.test", logging.INFO, "", 0, text, (), None)


def test_a_line_is_there_when_it_was_said(pipe: Pipe) -> None:
    writer = LineWriter(pipe.stream)
    for number in range(100):
        writer.handle(_record(f"line {number}"))
        assert pipe.take()[-1] == f"line {number}"


def test_a_reader_that_hangs_costs_one_wait_and_lines_that_are_counted(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_writer, "BUFFER_LIMIT", 200_000)
    writer = LineWriter(pipe.stream)
    began = time.monotonic()
    for number in range(1000):
        writer.handle(_record(f"{number} " + "x" * 1000))
    assert time.monotonic() - began < line_writer.PATIENCE + 2
    deadline = time.monotonic() + 10
    while not (lines := pipe.take())[-1].startswith("Lines of the log were lost"):
        assert time.monotonic() < deadline
        pipe.wait()
    kept = [int(line.split()[0]) for line in lines[:-1]]
    assert kept == list(range(len(kept))), "in order, and without a gap but at the end"
    assert 200 < len(kept) < 400
    writer.handle(_record("and on"))
    assert pipe.take()[-1] == "and on"


def test_what_waits_is_written_at_the_end(pipe: Pipe) -> None:
    writer = LineWriter(pipe.stream)
    for number in range(100):
        writer.handle(_record(f"{number} " + "x" * 1000))
    assert writer._lines, "more than a pipe holds waits"
    pipe.take()
    writer.flush()
    assert len(pipe.take()) == 100


def test_a_reader_that_is_gone_is_no_trouble(pipe: Pipe) -> None:
    os.close(pipe._reader)
    writer = LineWriter(pipe.stream)
    for number in range(10):
        writer.handle(_record(f"line {number}"))
    writer.flush()
    pipe._reader = os.open(os.devnull, os.O_RDONLY)
