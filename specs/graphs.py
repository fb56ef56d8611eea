"""State graphs as TLC dumps them, seen through one part of their states: which action leads from where to where."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from specs import tlc

_NODE = re.compile(r'^(-?\d+) \[label="((?:[^"\\]|\\.)*)"', re.MULTILINE)
_EDGE = re.compile(r'^(-?\d+) -> (-?\d+) \[label="(\w+)"', re.MULTILINE)


class Step(NamedTuple):
    before: str
    action: str
    after: str


def steps(module: str, config: str, seen: Callable[[str], str]) -> frozenset[Step]:
    """Every step of a finished search; `seen` tells what of a state, as TLC writes it, is to be seen.

    Raises RuntimeError where the search does not finish, and tlc.TlcMissing.
    """
    with tempfile.TemporaryDirectory(prefix="graph-") as folder:
        dump = Path(folder) / "graph"
        dumping = ("-dump", "dot,actionlabels", str(dump))
        found = tlc.search(tlc.SPECS / module, tlc.SPECS / config, dumping, coverage=False)
        if found.code or found.size is None:
            raise RuntimeError(f"TLC ended with {found.code}:\n{found.errors}")
        text = dump.with_suffix(".dot").read_text()
    states = {node: seen(label.replace("\\n", "\n").replace('\\"', '"')) for node, label in _NODE.findall(text)}
    assert len(states) == found.size.distinct
    return frozenset(Step(states[before], action, states[after]) for before, after, action in _EDGE.findall(text))


def of_one(found: Iterable[Step]) -> frozenset[Step]:
    """Steps of states that list, apart by blanks, where each of several like things is: what one of them does alone."""
    moves: set[Step] = set()
    for before, action, after in found:
        left, come = Counter(before.split()), Counter(after.split())
        for was, becomes in zip((left - come).elements(), (come - left).elements(), strict=True):
            moves.add(Step(was, action, becomes))
    return frozenset(moves)


def mermaid(found: Iterable[Step], names: Mapping[str, str]) -> str:
    """A state diagram of Mermaid's, with the actions on its arrows; `names` has each state's, in the order to draw."""
    arrows: dict[tuple[str, str], set[str]] = {}
    for before, action, after in found:
        arrows.setdefault((before, after), set()).add(action)
    order = list(names)
    rows = [f"    {state}: {shown}" for state, shown in names.items() if state != shown]
    for (before, after), actions in sorted(
        arrows.items(), key=lambda each: (order.index(each[0][0]), order.index(each[0][1]))
    ):
        rows.append(f"    {before} --> {after}: {', '.join(sorted(actions))}")
    return "\n".join(["stateDiagram-v2", f"    [*] --> {order[0]}", *rows])
