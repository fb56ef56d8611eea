"""Results as tables, and kept as a page with a chart."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from benchmarks.harness.figures import Figure, Ratio
from benchmarks.harness.load import Closed

_MIB = 1 << 20
_CHART = "performance.svg"
_OURS = ("gateway", "whole pipeline", "two workers")
_BEGIN, _END = "<!-- results: written by `python -m benchmarks.proxy --record docs` -->", "<!-- end of results -->"


@dataclass
class Measured:
    """All rounds of one peer in one scenario. `cpu` is seconds for each request, `memory` the most bytes."""

    loads: list[Closed] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    memory: int = 0

    @property
    def rate(self) -> Figure:
        return Figure(tuple(each.rate for each in self.loads))

    @property
    def cpu_each(self) -> Figure:
        return Figure(tuple(self.cpu))

    def latency(self, name: str) -> Figure:
        """`p50`, `p99` or `p999`."""
        return Figure(tuple(getattr(each, name) for each in self.loads))


Results = dict[str, dict[str, Measured]]
"""By scenario and peer."""


def tables(results: Results) -> str:
    """One for each scenario, in Markdown."""
    return "\n".join(f"\n{scenario}\n\n" + "\n".join(_table(by_peer)) for scenario, by_peer in results.items())


def _table(by_peer: dict[str, Measured]) -> Sequence[str]:
    head = "| | requests/s | spread | p50 ms | p99 ms | p99.9 ms | CPU µs each | MiB |"
    rows = [head, "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for name, found in by_peer.items():
        latencies = " | ".join(f"{found.latency(each).middle * 1e3:.2f}" for each in ("p50", "p99", "p999"))
        cpu = f"{found.cpu_each.middle * 1e6:.1f} | {found.memory / _MIB:.0f}" if found.cpu else " | "
        rows.append(f"| {name} | {found.rate.middle:,.0f} | {found.rate.spread:.0%} | {latencies} | {cpu} |")
    return rows


def record(folder: Path, results: Results, ratios: Iterable[Ratio]) -> None:
    """Puts the results into `performance.md`, in the place of the last ones, and draws them. Raises ValueError where
    that page has no place for them."""
    about = (
        f"Of {time.strftime('%d %B %Y')}, on {_machine()}. Requests a second of a closed load from `wrk`, with the "
        "instance and the load on the same machine: ratios count, not figures. The gateway serves with its defaults, "
        "access log and metrics on. Medians of rounds that go through all in turn."
    )
    lines = [
        _BEGIN,
        "",
        about,
        "",
        f"![Requests a second of each, by what is asked]({_CHART})",
        "",
        "| ratio | is | has to be |",
        "|---|---:|---:|",
        *(f"| {ratio.name.replace('_', ' ')} | {ratio.figure.middle:.2f} | {ratio.target} |" for ratio in ratios),
    ]
    for scenario, by_peer in results.items():
        lines += ["", f"### {scenario}", "", *_table(by_peer)]
    page = folder / "performance.md"
    before, begin, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for results")
    page.write_text(before + "\n".join(lines) + f"\n\n{_END}{after}", encoding="utf-8")
    (folder / _CHART).write_text(_chart(results), encoding="utf-8")


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    kernel, python = platform.release().split("-")[0], platform.python_version()
    return f"{os.cpu_count()} cores of {next(models, platform.machine())}, Linux {kernel}, Python {python}"


def _chart(results: Results) -> str:
    """Bars for each scenario, as shares of the fastest proxy in it."""
    bar, gap, left, wide = 14, 22, 250, 720
    parts: list[str] = []
    y = 10
    for scenario, by_peer in results.items():
        proxies = {name: found for name, found in by_peer.items() if name != "direct"}
        most = max(found.rate.middle for found in proxies.values())
        parts.append(f'<text x="8" y="{y + 12}" font-weight="bold">{escape(scenario)}</text>')
        y += gap
        for name, found in proxies.items():
            rate = found.rate.middle
            length = (wide - left - 90) * rate / most
            shade = "#2563eb" if name in _OURS else "#9ca3af"
            parts.append(f'<text x="{left - 8}" y="{y + 11}" text-anchor="end">{escape(name)}</text>')
            parts.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" fill="{shade}"/>')
            parts.append(f'<text x="{left + length + 6:.1f}" y="{y + 11}">{rate:,.0f}</text>')
            y += bar + 4
        y += 8
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{y}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )
