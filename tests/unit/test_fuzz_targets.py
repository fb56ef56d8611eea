"""The targets of `make fuzz`, without atheris: their seeds, and what was found once."""

from __future__ import annotations

import importlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.run import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_what_was_found(name: str) -> None:
    target = importlib.import_module(f"tests.fuzz.{name}")
    for data in [b"", *target.SEEDS, *target.FOUND]:
        target.fuzz(data)


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_cut_and_spliced(name: str) -> None:
    target = importlib.import_module(f"tests.fuzz.{name}")

    @settings(max_examples=50, deadline=None)
    @given(st.sampled_from(target.SEEDS), st.binary(max_size=4), st.integers(0, 400), st.integers(0, 8))
    def spliced(seed: bytes, piece: bytes, at: int, dropped: int) -> None:
        target.fuzz(seed[:at] + piece + seed[at + dropped :])

    spliced()
