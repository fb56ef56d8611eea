"""Figures over rounds: medians with their spread, and ratios that are held to a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Figure:
    """One thing measured in each round."""

    values: tuple[float, ...]

    @property
    def middle(self) -> float:
        return median(self.values)

    @property
    def spread(self) -> float:
        """From the least to the most, as a share of the middle."""
        return (max(self.values) - min(self.values)) / self.middle if self.middle else 0.0

    def over(self, other: Figure) -> Figure:
        """The ratio in each round: what disturbs a round disturbs both."""
        return Figure(tuple(mine / its for mine, its in zip(self.values, other.values, strict=True)))


@dataclass(frozen=True)
class Target:
    """`at_least` or `at_most`; neither is a figure that is only told."""

    at_least: float | None = None
    at_most: float | None = None

    def met(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        if self.at_least is not None:
            return f">={self.at_least:g}"
        return "-" if self.at_most is None else f"<={self.at_most:g}"


@dataclass(frozen=True)
class Ratio:
    name: str
    figure: Figure
    target: Target = Target()

    @property
    def met(self) -> bool:
        return self.target.met(self.figure.middle)

    def __str__(self) -> str:
        return f"ratio {self.name} {self.figure.middle:.2f} {self.target}"


def percentile(values: Sequence[float], share: float) -> float:
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * share))]
