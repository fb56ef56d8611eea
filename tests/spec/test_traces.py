"""What the code does is what the specification allows: journals of simulated runs are behaviours of `GatewayImpl`."""

from __future__ import annotations

import pytest

from specs.traces import validate
from tests.spec.journals import lines_of
from tests.spec.simulation import events

STEPS = 6_500
SEEDS = (21, 22, 23, 24)
SHARED = 24
"""The run of one worker of several."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_simulated_run_is_a_behaviour_of_the_specification(seed: int) -> None:
    lines = lines_of(events(seed, STEPS, shared=seed == SHARED))
    found = validate(lines)
    assert found.accepted, f"{found}; refused: {lines[found.taken] if found.taken < len(lines) else None}"
    assert found.given >= 20_000 / len(SEEDS)
    print(f"seed {seed}: TLC took {found.taken} events in {found.places} places")
