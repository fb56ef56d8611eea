"""The pictures in `REVIEW.md`, drawn from TLC's own graphs: `python -m specs.diagrams` writes them anew."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping

from specs import tlc
from specs.graphs import Step, mermaid, of_one, steps

REVIEW = tlc.SPECS / "REVIEW.md"

_CIRCUIT = re.compile(r'circuit_states = \(i1 :> "(\w+)"\)')
_REQUESTS = re.compile(r"requests = (.*?)\n/\\", re.DOTALL)
_TICKET = re.compile(r'state \|-> "(\w+)"')
_ENDED = {"responded", "rejected", "abandoned", "broken"}


def circuit_steps() -> frozenset[Step]:
    """Of one circuit, from `CircuitBreaker.tla`."""

    def seen(state: str) -> str:
        found = _CIRCUIT.search(state)
        assert found is not None, state
        return found[1]

    return steps("CircuitBreaker.tla", "configurations/CircuitBreaker.table.cfg", seen)


def ticket_steps() -> frozenset[Step]:
    """Of one ticket, from `GatewayImpl.tla`; how it ended is told by the action that ended it."""

    def seen(state: str) -> str:
        found = _REQUESTS.search(state)
        assert found is not None, state
        return " ".join("over" if each in _ENDED else each for each in _TICKET.findall(found[1]))

    return of_one(steps("GatewayWorlds.tla", "configurations/GatewayImpl.ticket.cfg", seen))


def circuit() -> str:
    moves = [step for step in circuit_steps() if step.before != step.after]
    return mermaid(moves, {"closed": "closed", "open": "open", "half_open": "half_open"})


def ticket() -> str:
    names = {
        "over": "over, or not begun",
        "queued": "queued",
        "attempting": "attempting",
        "retry_or_deliver": "bad head, to be retried or delivered",
        "retry_or_reject": "failed, to be retried or rejected",
        "responding": "responding",
    }
    return mermaid(ticket_steps(), names)


PICTURES: Mapping[str, Callable[[], str]] = {"circuit": circuit, "ticket": ticket}


def drawn(text: str, name: str) -> str:
    """The picture that the text has of this name; empty where it has none."""
    return _parted(text, name)[1]


def _parted(text: str, name: str) -> tuple[str, str, str]:
    found = re.search(rf"<!-- picture of a {name} -->\n```mermaid\n(.*?)\n```", text, re.DOTALL)
    return (text[: found.start(1)], found[1], text[found.end(1) :]) if found else (text, "", "")


def main() -> int:
    text = REVIEW.read_text()
    for name, draw in PICTURES.items():
        before, found, after = _parted(text, name)
        if not found:
            print(f"{REVIEW.name} has no place for the picture of a {name}", file=sys.stderr)
            return 1
        text = before + draw() + after
    REVIEW.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
