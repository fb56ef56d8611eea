"""Whatever befell a journal, `gateway replay` makes it again or says in one line why not: it never breaks down."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gateway.cli.main import main
from gateway.core.events import Event
from gateway.journal import checkpoint
from gateway.journal.lines import encode, encode_checkpoint
from tests.spec.simulation import Simulation

EACH = 40
"""Journals that are damaged in each way."""

Lines = list[bytes]
"""With their ends; the first is a checkpoint."""


@pytest.fixture(scope="module")
def segment() -> Sequence[bytes]:
    """A checkpoint of a busy core, and about a hundred events."""
    lines: Lines = []
    seq = 0

    def tell(event: Event) -> None:
        nonlocal seq
        seq += 1
        lines.append(encode(seq, event) + b"\n")

    simulation = Simulation(8, tell)
    simulation.run(150)
    lines[:] = [encode_checkpoint(seq, simulation.now, 1.7e9, checkpoint.take(simulation.core)) + b"\n"]
    simulation.run(40)
    return lines


def somewhere(dice: random.Random, lines: Lines) -> int:
    """The checkpoint often: there is more in it than in an event."""
    return 0 if dice.random() < 0.3 else dice.randrange(len(lines))


def bytes_flipped(dice: random.Random, lines: Lines) -> None:
    for _ in range(dice.choice([1, 1, 4])):
        at = somewhere(dice, lines)
        line = bytearray(lines[at])
        line[dice.randrange(len(line))] = dice.randrange(256)
        lines[at] = bytes(line)


def lines_cut(dice: random.Random, lines: Lines) -> None:
    at = somewhere(dice, lines)
    lines[at] = lines[at][: dice.randrange(len(lines[at]))]
    if dice.random() < 0.5:
        del lines[at + 1 :]


def lines_missing(dice: random.Random, lines: Lines) -> None:
    at = somewhere(dice, lines)
    del lines[at : at + dice.choice([1, 1, 9])]


def lines_swapped(dice: random.Random, lines: Lines) -> None:
    one, other = somewhere(dice, lines), somewhere(dice, lines)
    lines[one], lines[other] = lines[other], lines[one]


def lines_doubled(dice: random.Random, lines: Lines) -> None:
    lines.insert(somewhere(dice, lines), lines[somewhere(dice, lines)])


NUMBERS = b"0 -1 -1e-9 1.5 1e11 -1e11 1e17 1e300 -1e300 1e999 NaN -Infinity 9223372036854775808 -1e17".split()
OTHERS = (b'""', b'"\\u001b[2J\\n"', b'"\\ud800"', b"null", b"true", b"[]", b"{}", b"[null]", b'{"a":{"b":[]}}')
TIME = re.compile(rb'(?:(?<="now":)|(?<="wall":))[^,]+')
VALUE = re.compile(rb'(?<=[:,\[])(-?\d[\d.e+-]*|"[^"]*"|null|true|false|\[[^][{}]*\]|\{[^][{}]*\})(?=[],}])')


def replaced(dice: random.Random, lines: Lines, what: re.Pattern[bytes], by: bytes) -> None:
    at = somewhere(dice, lines)
    found = dice.choice(list(what.finditer(lines[at])))
    lines[at] = lines[at][: found.start()] + by + lines[at][found.end() :]


def times_replaced(dice: random.Random, lines: Lines) -> None:
    replaced(dice, lines, TIME, dice.choice(NUMBERS))


def values_replaced(dice: random.Random, lines: Lines) -> None:
    replaced(dice, lines, VALUE, dice.choice((*NUMBERS, *OTHERS)))


def values_nested(dice: random.Random, lines: Lines) -> None:
    depth = dice.choice((30, 400, 600, 800, 900, 10_000))
    begin, end = dice.choice(((b"[", b"]"), (b'{"":', b"}")))
    replaced(dice, lines, VALUE, begin * depth + b"0" + end * depth)


@pytest.mark.parametrize(
    "damage",
    [
        bytes_flipped,
        lines_cut,
        lines_missing,
        lines_swapped,
        lines_doubled,
        times_replaced,
        values_replaced,
        values_nested,
    ],
)
def test_a_damaged_journal_is_made_again_or_refused_in_a_line(
    damage: Callable[[random.Random, Lines], None],
    segment: Sequence[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "journal"
    for seed in range(EACH):
        dice, lines = random.Random(f"{damage.__name__} {seed}"), list(segment)
        damage(dice, lines)
        path.write_bytes(b"".join(lines))
        options: Sequence[str] = dice.choice(([], ["--quiet"], ["--ticket=84"]))
        monkeypatch.setattr("sys.argv", ["gateway", "replay", str(path), *options])
        code: object = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        cut_off = f"gateway: the last line of {path} was cut off and is left out\n"
        err = err.removeprefix(cut_off)
        if not code:
            assert (code, err) == (0, ""), (seed, err)
            assert out.endswith(" events, all decided the same again\n"), seed
        elif err.startswith("event "):
            assert code == 1, seed
            assert re.fullmatch(r"event \d+ \(.*\) was decided differently:\n  the journal: .*\n  now: .*\n", err), seed
        else:
            assert code == 1, seed
            assert re.fullmatch(r"gateway: .+\n", err), (seed, err)
        assert not set(out + err) & {"\x1b", "\r"}, seed
