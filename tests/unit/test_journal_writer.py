"""The journal on disk: segments that replay alone, bounds, and a disk that fails without harming the gateway."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from gateway.journal import writer
from gateway.journal.lines import CHECKPOINT, parse, read
from gateway.journal.segments import JournalError, Segments
from tests.support.full_disk import largest_file
from tests.unit.journal_support import KeptRun, events_in, eventually, made_again

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def kept_run(path: Path, *, seed: int = 5, segment: int = 1 << 20, kept: int = 3) -> AsyncIterator[KeptRun]:
    run = KeptRun(path, seed=seed, segment=segment, kept=kept)
    try:
        yield run
    finally:
        await run.journal.close()


def replays(*paths: Path) -> bool:
    return all(step.difference is None for step in made_again(line for path in paths for line in read(path)))


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


async def test_segments_are_rotated_and_each_replays_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with kept_run(path, segment=150_000, kept=3) as run:
        await run.run(6000)
    assert run.journal.dropped == 0
    ordered = [tmp_path / name for name in ("journal.2", "journal.1", "journal")]
    assert sorted(tmp_path.iterdir()) == sorted(ordered)
    for each in ordered:
        lines = list(read(each))
        assert [line.action == CHECKPOINT for line in lines] == [True] + [False] * (len(lines) - 1)
        assert lines[0].wall == pytest.approx(each.stat().st_mtime, abs=60)
        assert replays(each)
    seen = events_in(*ordered)
    assert list(seen) == list(range(seen[0], run.events + 1))
    assert seen[0] > 1, "older segments are gone"
    assert replays(*ordered)
    assert all(150_000 < each.stat().st_size < 400_000 for each in ordered[:2])


async def test_a_segment_has_at_least_as_much_in_events_as_in_its_checkpoint(tmp_path: Path) -> None:
    """Else a large core in small segments would be busy with checkpoints alone."""
    path = tmp_path / "journal"
    async with kept_run(path, segment=1, kept=1000) as run:
        await run.run(3000)
    whole = [each for each in tmp_path.iterdir() if each != path]
    assert len(whole) > 5
    for each in whole:
        first, *events = each.read_bytes().splitlines(keepends=True)
        assert sum(map(len, events)) > len(first)


async def test_what_is_on_disk_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        (tmp_path / "journal").touch(0o666)
        async with kept_run(tmp_path / "journal", segment=50_000) as run:
            await run.run(2000)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()} == {0o600}


async def test_the_journal_of_an_earlier_run_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with kept_run(path) as run:
        await run.run(500)
    earlier = path.read_bytes()
    for _ in range(5):  # starts that fail, or that have nothing to decide
        async with kept_run(path):
            pass
        assert len(list(read(path))) == 1
    async with kept_run(path, seed=6) as run:
        await run.run(100)
    assert (tmp_path / "journal.1").read_bytes() == earlier
    assert sorted(each.name for each in tmp_path.iterdir()) == ["journal", "journal.1"]


@pytest.mark.parametrize("foreign", [b"precious", b"precious\n", b"two\nlines\n"])
async def test_a_file_that_is_no_journal_is_not_destroyed(tmp_path: Path, foreign: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(foreign)
    async with kept_run(path) as run:
        await run.run(50)
    assert (tmp_path / "journal.1").read_bytes() == foreign


def test_a_path_that_cannot_be_is_told_at_once(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "journal"
    with pytest.raises(
        JournalError, match=f"the journal {missing} cannot be written: there is no directory {missing.parent}"
    ):
        Segments(missing, 3)
    with pytest.raises(JournalError, match=f"the journal {tmp_path} cannot be written: Is a directory"):
        Segments(tmp_path, 3)
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="Not a directory"):
        Segments(tmp_path / "file" / "journal", 3)


def test_one_journal_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = Segments(path, 3)
    first.write(b"x\ny\n")
    for _ in range(2):
        with pytest.raises(JournalError, match=f"the journal {path} is being written by another process"):
            Segments(path, 3)
        first.begin()
    first.close()
    Segments(path, 3).close()


async def test_close_writes_what_is_buffered(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with kept_run(path) as run:
        run.simulation.run(300)
        assert not path.exists() or len(path.read_bytes().splitlines()) <= 1, "nothing had time to be written"
    assert list(events_in(path)) == list(range(1, run.events + 1))
    run.simulation.run(10)
    await asyncio.sleep(0.3)
    assert len(events_in(path)) < run.events, "nothing is kept of what comes after the end"


async def test_events_reach_the_disk_while_the_gateway_runs(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with kept_run(path) as run:
        run.simulation.run(100)
        await eventually(lambda: path.exists() and len(events_in(path)) == run.events)


@contextmanager
def slow_disk(path: Path) -> Iterator[int]:
    """A pipe that takes 64 KiB; yields the end to read from."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield reader
    finally:
        os.close(reader)


def drained(reader: int) -> bytes:
    parts = []
    try:
        while part := os.read(reader, 1 << 20):
            parts.append(part)
    except BlockingIOError:
        pass
    return b"".join(parts)


async def test_a_slow_disk_costs_bounded_memory_and_leaves_a_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limit = 300_000
    monkeypatch.setattr(writer, "BUFFER_LIMIT", limit)
    monkeypatch.setattr(writer, "FLUSH_SIZE", limit // 10)
    monkeypatch.setattr(writer, "RETRY_INTERVAL", 0.02)
    written = b""
    with slow_disk(tmp_path / "journal") as reader:
        async with kept_run(tmp_path / "journal") as run:
            journal = run.journal
            most = 0
            for _ in range(80):
                await run.run(100)
                most = max(most, journal._pending + journal._waiting)
            assert limit / 2 < most < limit + 2 * journal._checkpoint + 4096
            lost = journal.dropped
            assert lost > 1000, "the rest was lost, and counted"
            assert complaints(caplog) == ["The journal loses events."]

            def is_mended() -> bool:
                nonlocal written
                written += drained(reader)
                return journal._waiting == 0 and not journal._hole

            await eventually(is_mended)
            lost = journal.dropped
            await run.run(300)
            await eventually(lambda: is_mended() and not journal._pending)
            assert journal.dropped == lost, "it goes on"
        written += drained(reader)
    lines = [parse(text, "") for text in written.splitlines()]
    starts = [place for place, line in enumerate(lines) if line.action == CHECKPOINT]
    assert len(starts) == 2, "one segment before the hole and one behind it"
    for segment in (lines[: starts[1]], lines[starts[1] :]):
        assert all(step.difference is None for step in made_again(segment))
    assert len(lines) - 2 + lost == run.events, "every event is either kept or counted"


async def test_a_disk_that_hangs_does_not_keep_the_gateway_from_ending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with slow_disk(tmp_path / "journal") as reader:
        run = KeptRun(tmp_path / "journal")
        await run.run(2000)
        await run.journal.close(limit=0.1)
        assert complaints(caplog) == ["The journal could not be written to its end."]

        def is_ended() -> bool:
            drained(reader)
            return run.journal._closed.is_set()

        await eventually(is_ended)


async def test_the_file_is_closed_even_where_its_last_lines_cannot_be_written(tmp_path: Path) -> None:
    with slow_disk(tmp_path / "journal") as reader:
        run = KeptRun(tmp_path / "journal")
        await eventually(lambda: bool(drained(reader)))
    await run.run(100)
    await run.journal.close()  # nobody reads the pipe any more
    assert run.journal.dropped > 0
    assert run.journal._segments._file.closed


async def test_a_full_disk_harms_nothing_but_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "RETRY_INTERVAL", 0.01)
    caplog.set_level(logging.INFO)
    path = tmp_path / "journal"
    path.symlink_to("/dev/full")
    async with kept_run(path) as run:
        for _ in range(20):
            await run.run(100)
            await asyncio.sleep(0.01)
        assert run.journal.dropped == run.events
        records = [(record.message, getattr(record, "error", None)) for record in caplog.records]
        assert records == [("The journal loses events.", "No space left on device")], "one line for many tries"
        path.unlink()  # there is room again
        await eventually(lambda: any(record.message == "The journal is kept again." for record in caplog.records))
        lost = run.journal.dropped
        await run.run(300)
    assert run.journal.dropped == lost
    assert len(events_in(path)) == run.events - lost
    assert replays(path)


async def test_a_disk_that_stays_full_does_not_push_out_what_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_INTERVAL", 0.01)
    monkeypatch.setattr(writer, "_LONGEST_RETRY", 0.02)
    tries: list[Segments] = []
    begin = Segments.begin

    def counted(files: Segments) -> None:
        tries.append(files)
        begin(files)

    monkeypatch.setattr(Segments, "begin", counted)
    path = tmp_path / "journal"
    async with kept_run(path, kept=3) as run:
        await run.run(500)
        await eventually(lambda: path.exists() and len(events_in(path)) == run.events)
        before, size = list(events_in(path)), path.stat().st_size
        with largest_file(size + 1000):
            await run.run(200)
            await eventually(lambda: run.journal.dropped > 0)
        with largest_file(1000):
            count = len(tries)
            for _ in range(1000):
                if len(tries) > count + 10:
                    break
                await run.run(50)
                await asyncio.sleep(0.01)
            assert len(tries) > count + 10
        lost = run.journal.dropped
        await eventually(lambda: not run.journal._hole and run.journal._waiting == 0)
        assert run.journal.dropped >= lost
        await run.run(200)
    assert replays(path)
    first = tmp_path / "journal.1"
    assert list(events_in(first))[: len(before)] == before, "the segment that was cut off is the one before"
    assert replays(first)
    assert sorted(each.name for each in tmp_path.iterdir()) in (
        ["journal", "journal.1"],
        ["journal", "journal.1", "journal.2"],
    )


async def test_a_directory_that_went_away_and_came_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "RETRY_INTERVAL", 0.01)
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "journal"
    async with kept_run(path, segment=30_000) as run:
        await run.run(100)
        await eventually(path.exists)
        folder.rename(tmp_path / "elsewhere")
        for _ in range(40):
            await run.run(100)
            await asyncio.sleep(0.005)
        assert run.journal.dropped
        folder.mkdir()
        await eventually(lambda: not run.journal._hole and run.journal._waiting == 0 and path.exists())
        await run.run(50)
    assert replays(path)


async def test_a_checkpoint_that_cannot_be_taken_ends_the_journal_and_nothing_else(tmp_path: Path) -> None:
    """It would be a fault of ours."""
    path = tmp_path / "journal"
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    async with kept_run(path, segment=30_000) as run:

        def state() -> dict[str, object]:
            raise AssertionError("the core holds what no checkpoint knows")

        run.journal._state = state
        await run.run(3000)
        assert len(failures) == 1, "and is told once"
        assert run.journal.dropped > 100
    assert len(events_in(path)) + run.journal.dropped == run.events
    assert replays(path)


def test_a_cut_anywhere_leaves_a_journal_that_replays(tmp_path: Path) -> None:
    async def write() -> None:
        async with kept_run(tmp_path / "journal") as run:
            await run.run(150)

    asyncio.run(write())
    whole = (tmp_path / "journal").read_bytes()
    cut = tmp_path / "cut"
    for end in range(len(whole) - 3000, len(whole), 37):
        cut.write_bytes(whole[:end])
        assert replays(cut)
        assert whole[:end].count(b"\n") == len(list(read(cut)))


_FOR_EVER = """
import asyncio, pathlib, sys
from tests.unit.journal_support import KeptRun

async def main():
    run = KeptRun(pathlib.Path(sys.argv[1]), segment=200_000)
    while True:
        await run.run(100)
        print(run.events, flush=True)
        await asyncio.sleep(0.001)

asyncio.run(main())
"""


def test_after_a_kill_all_but_the_last_moment_is_there(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with Popen([sys.executable, "-c", _FOR_EVER, str(path)], stdout=PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        deadline = threading.Timer(60, process.kill)
        deadline.start()
        told = 0
        for line in process.stdout:
            told = int(line)
            if told > 4000:
                process.kill()
                break
        deadline.cancel()
    parts = [each for each in (tmp_path / "journal.2", tmp_path / "journal.1", path) if each.exists()]
    assert len(parts) == 3
    for each in parts:
        if len(list(read(each))) > 1:
            assert replays(each)
    kept = events_in(*parts)
    assert list(kept) == list(range(kept[0], kept[-1] + 1))
    assert kept[-1] > 1000
