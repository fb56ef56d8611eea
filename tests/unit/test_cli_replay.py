"""`gateway replay`: what it shows, where it stops, and what it says of a journal that cannot be used."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen
from typing import NamedTuple

import pytest

from gateway.cli.main import main
from gateway.journal.lines import CHECKPOINT, read
from tests.unit.journal_support import KeptRun, events_in


class Told(NamedTuple):
    code: int
    out: str
    err: str


Replay = Callable[..., Told]


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Replay:
    def run(*arguments: object) -> Told:
        monkeypatch.setattr(sys, "argv", ["gateway", "replay", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
        seen = capsys.readouterr()
        return Told(code, seen.out, seen.err)

    return run


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segments."""
    path = tmp_path_factory.mktemp("journal") / "journal"

    async def write() -> None:
        run = KeptRun(path, segment=100_000)
        await run.run(1150)
        await run.journal.close()

    asyncio.run(write())
    return path


@pytest.fixture
def segments(journal: Path) -> list[Path]:
    return [journal.with_name("journal.2"), journal.with_name("journal.1"), journal]


def test_every_decision_is_shown(replay: Replay, journal: Path) -> None:
    told = replay(journal)
    *shown, last = told.out.splitlines()
    assert (told.code, told.err) == (0, "")
    assert len(shown) == len(events_in(journal))
    assert last == f"{len(shown)} events, all decided the same again"
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 +\d+ [A-Z]\w+ ", line) for line in shown)
    assert any(re.search("do=send attempt=1 service=(orders|stock) instance=dc1/n1/", line) for line in shown)


def test_segments_are_taken_together_and_quietly(replay: Replay, segments: list[Path]) -> None:
    count = len(events_in(*segments))
    assert replay("--quiet", *segments) == (0, f"{count} events, all decided the same again\n", "")
    assert replay("-q", segments[0]).code == 0


def a_placed_ticket(path: Path) -> tuple[int, str]:
    """One that is opened and ends in this segment."""
    opened = {}
    for line in read(path):
        if line.action == "RouteRequest" and line.decision["do"] == "send":
            opened[line.decision["ticket"]] = line.decision["instance"]
        elif line.decision.get("do") == "done" and line.inputs["ticket"] in opened:
            return line.inputs["ticket"], opened[line.inputs["ticket"]]
    raise AssertionError("none")


def test_one_ticket_is_shown_with_who_was_there(replay: Replay, journal: Path) -> None:
    ticket, picked = a_placed_ticket(journal)
    told = replay("--ticket", ticket, journal)
    assert told.code == 0
    events = [line for line in told.out.splitlines()[:-1] if not line.startswith(" ")]
    candidates = [line for line in told.out.splitlines() if line.startswith(" ")]
    assert len(events) >= 3
    assert all(re.search(rf"ticket={ticket}\b", line) for line in events)
    assert any(line.startswith(f"    -> {picked}  ") and "circuit closed" in line for line in candidates)
    assert "weight" in candidates[0]
    assert "in flight" in candidates[0]


def test_a_ticket_that_is_not_there(replay: Replay, journal: Path) -> None:
    count = len(events_in(journal))
    told = replay("--ticket", 10**6, journal)
    assert told == (1, "", f"gateway: there is no event of ticket 1000000 among {count}\n")


def test_a_decision_that_differs_is_shown_both_ways(replay: Replay, journal: Path, tmp_path: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    place = next(n for n, line in enumerate(lines) if n > 40 and b'"RouteRequest"' in line and b'"do":"send"' in line)
    seq = list(read(journal))[place].seq
    lines[place] = re.sub(rb'"probe":(true|false)', b'"probe":"perhaps"', lines[place])
    changed = tmp_path / "changed"
    changed.write_bytes(b"".join(lines))
    told = replay(changed)
    assert told.code == 1
    first, journal_says, now = told.err.splitlines()
    assert first == f"event {seq} (RouteRequest) was decided differently:"
    assert journal_says.startswith("  the journal: {'now': ")
    assert "'probe': 'perhaps'" in journal_says
    assert now.startswith("  now:         {'now': ")
    assert "'probe': 'perhaps'" not in now
    assert len(told.out.splitlines()) == place - 1, "what comes before is shown, nothing behind"


def test_segments_in_the_wrong_order(replay: Replay, segments: list[Path]) -> None:
    told = replay("-q", *reversed(segments))
    count = len(events_in(segments[2]))
    assert told.code == 1
    assert told.err.startswith(f"gateway: after {count} events: a segment that begins after event ")
    assert "the oldest has to be first" in told.err
    told = replay("-q", segments[0], segments[2])
    assert told.code == 1
    assert "are missing: a segment is left out, or they were lost" in told.err


def test_a_segment_without_its_beginning(replay: Replay, journal: Path, tmp_path: Path) -> None:
    tail = tmp_path / "tail"
    tail.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[5:]))
    told = replay(tail)
    assert told.code == 1
    assert "and no checkpoint before it" in told.err


def test_a_last_line_that_was_cut_off_is_left_out_and_told(replay: Replay, journal: Path, tmp_path: Path) -> None:
    path, left = tmp_path / "cut", len(events_in(journal)) - 1
    for missing in (1, 30):
        path.write_bytes(journal.read_bytes()[:-missing])
        told = replay("-q", path)
        assert told.err == f"gateway: the last line of {path} was cut off and is left out\n"
        assert (told.code, told.out) == (0, f"{left} events, all decided the same again\n")


def test_a_file_without_an_event(replay: Replay, tmp_path: Path) -> None:
    path = tmp_path / "file"
    message = f"gateway: no event is in {path}: it is empty, no journal, or has a checkpoint only\n"
    path.write_bytes(b"")
    assert replay(path) == (1, "", message)
    path.write_bytes(b"hello")
    assert replay(path) == (1, "", f"gateway: the last line of {path} was cut off and is left out\n{message}")


@pytest.mark.parametrize("name", ["now", "wall"])
@pytest.mark.parametrize("value", [b"-1e12", b"1e12", b"1e17", b"1e300"])
def test_a_time_that_is_none_is_refused_where_it_stands(
    replay: Replay, journal: Path, tmp_path: Path, name: str, value: bytes
) -> None:
    """They used to end in a traceback: no date can be made of them."""
    path = tmp_path / "untimely"
    path.write_bytes(re.sub(rb'(?<="%b":)[^,]+' % name.encode(), value, journal.read_bytes(), count=1))
    told = replay(path)
    assert told.code == 1
    assert told.out == ""
    assert re.fullmatch(rf"gateway: after 0 events: {path}:1: .* - at `\$\.{name}`\n", told.err)


def test_what_may_be_read_but_not_shown_is_told(replay: Replay, journal: Path, tmp_path: Path) -> None:
    deep = b'"action":"Tick","inputs":{"":' + b"[" * 450 + b"]" * 450 + b"}"
    path = tmp_path / "deep"
    path.write_bytes(journal.read_bytes().replace(b'"action":"Tick","inputs":{}', deep))
    told = replay(path)
    assert told.code == 1
    where = r"gateway: after \d+ events: event \d+ \(Tick\) cannot be shown: RecursionError\('.*'\)\n"
    assert re.fullmatch(where, told.err)
    assert replay("-q", path).code == 0


def test_what_is_quoted_of_a_damaged_line_stays_in_one_line(replay: Replay, journal: Path, tmp_path: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[1] = re.sub(rb'"action":"[A-Za-z]+"', rb'"action":"\\u001b[2J\\nTick"', lines[1])
    path = tmp_path / "hostile"
    path.write_bytes(b"".join(lines))
    told = replay(path)
    assert told.code == 1
    assert re.fullmatch(r"gateway: after 0 events: event \d+ \(\\x1b\[2J Tick\) follows from no call\n", told.err)


def test_a_checkpoint_alone(replay: Replay, journal: Path, tmp_path: Path) -> None:
    path = tmp_path / "fresh"
    path.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])
    assert next(read(path)).action == CHECKPOINT
    told = replay(path)
    assert told.code == 1
    assert told.err.startswith("gateway: no event is in ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello\n", ":1: this is not JSON: "),
        (b'{"hello": 1}\n', ":1: this is no line of a journal: Object missing required field `v`"),
        (b'\x7fELF\x02\x01\n\x00"', ":1: this is not JSON: "),
        (b'{"action": "\xff"}\n', ":1: this is not JSON: 'utf-8' codec can't decode byte 0xff"),
        (b'{"state": ' + b"[" * 10_000 + b"\n", ":1: this is not JSON: maximum recursion depth exceeded"),
    ],
)
def test_a_file_that_is_no_journal(replay: Replay, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    told = replay(path)
    assert told.code == 1
    assert told.err.startswith(f"gateway: after 0 events: {path}{message}")


def test_a_file_that_cannot_be_read(replay: Replay, journal: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    message = f"gateway: the journal {missing} cannot be read: No such file or directory\n"
    assert replay(missing) == (2, "", message)
    assert replay("-q", journal, missing).code == 2
    assert replay(tmp_path) == (2, "", f"gateway: the journal {tmp_path} cannot be read: Is a directory\n")


def test_a_name_cannot_drive_the_terminal(replay: Replay, journal: Path, tmp_path: Path) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(journal.read_bytes().replace(b'"dc1","n1","', b'"dc1","n\\u001b[2J1","'))
    told = replay(path)
    assert "\x1b" not in told.out + told.err


def test_whoever_reads_may_stop_reading(segments: list[Path]) -> None:
    command: list[Path | str] = [Path(sys.executable).with_name("gateway"), "replay", *segments]
    with Popen(command, stdout=PIPE, stderr=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
