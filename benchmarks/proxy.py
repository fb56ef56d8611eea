"""The data plane beside others, in one run: throughput, latencies, CPU for each request, memory; ratios with targets.

    python -m benchmarks.proxy [--quick] [--record FOLDER]

An nginx on loopback is asked directly, and through nginx and HAProxy (one process, one thread each), a bare forwarder
of aiohttp, and this gateway: with its defaults, with two workers, and with its whole pipeline on; the gateways run on a
real Consul. What is not installed is skipped by name; without wrk and nginx, which Debian has, nothing can be measured.
Rounds go through all peers in turn, so that what disturbs the machine disturbs everybody. Ends with 1 where a ratio
misses its target.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from benchmarks.harness import load, peers, report
from benchmarks.harness.figures import Figure, Ratio, Target, percentile
from benchmarks.harness.peers import Field, Peer
from benchmarks.harness.processes import cpu_seconds, resident_bytes
from benchmarks.harness.report import Measured, Results

_MIB = 1 << 20
_SMALL, _UNLIKE = "GET, 64 bytes", "GET, 64 bytes, no two requests alike"
_DOWNLOAD, _UPLOAD = "download, 1 MiB", "upload, 1 MiB"


@dataclass(frozen=True)
class Scenario:
    name: str
    path: str = "/small"
    connections: int = 32
    body: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    idle: int = 0
    """Connections that are open beside the load, and idle."""
    differ: bool = False
    """No two requests are alike, so that nothing that is remembered of one serves another."""


SCENARIOS = (
    Scenario(_SMALL),
    Scenario(_UNLIKE, differ=True),
    Scenario("POST, 10 KiB", "/upload", body=10 * 1024),
    Scenario(_DOWNLOAD, "/large", connections=8),
    Scenario(_UPLOAD, "/upload", connections=8, body=_MIB),
    Scenario("a connection for each request", headers={"Connection": "close"}),
    Scenario("GET, 64 bytes, beside 1,000 idle connections", idle=1000),
)
IDLE_CONNECTIONS = 10_000


@dataclass(frozen=True)
class Effort:
    seconds: float
    rounds: int


class Bench:
    def __init__(self, around: Field, folder: Path, effort: Effort) -> None:
        self._around = around
        self._folder = folder
        self._effort = effort
        self.results: Results = {}
        self.ratios: list[Ratio] = []

    async def run(self) -> None:
        for scenario in SCENARIOS:
            await self._closed(scenario)
        self._compare()
        await self._steady()
        await self._websocket()
        await self._idle_memory()

    async def _closed(self, scenario: Scenario) -> None:
        by_peer = self.results.setdefault(scenario.name, {})
        for number in range(self._effort.rounds):
            _say(f"{scenario.name}, round {number + 1} of {self._effort.rounds}")
            for peer in self._around.peers.values():
                await self._once(peer, scenario, by_peer.setdefault(peer.name, Measured()))

    async def _once(self, peer: Peer, scenario: Scenario, into: Measured) -> None:
        async with AsyncExitStack() as stack:
            if scenario.idle and peer.pid is not None:
                await stack.enter_async_context(load.idle(peer.port, scenario.idle, peer.headers))
            port = peer.upload_port if scenario.body and peer.upload_port is not None else peer.port
            before = 0.0 if peer.pid is None else cpu_seconds(peer.pid)
            found = await asyncio.to_thread(
                load.closed,
                f"http://127.0.0.1:{port}{scenario.path}",
                connections=scenario.connections,
                seconds=self._effort.seconds,
                headers={**peer.headers, **scenario.headers},
                folder=self._folder,
                body=scenario.body,
                differ=scenario.differ,
            )
            into.loads.append(found)
            if peer.pid is not None:
                into.cpu.append((cpu_seconds(peer.pid) - before) / found.requests)
                into.memory = max(into.memory, resident_bytes(peer.pid))

    def _compare(self) -> None:
        small = self.results[_SMALL]
        gateway, whole, forwarder = (small[name] for name in ("gateway", "whole pipeline", "forwarder"))
        self.ratios += [
            Ratio("throughput_to_aiohttp", gateway.rate.over(forwarder.rate), Target(at_least=3.0)),
            Ratio("throughput_to_nginx", gateway.rate.over(small["nginx"].rate), Target(at_least=0.5)),
        ]
        mine, bare, nginx = (self.results[_UNLIKE][name].rate for name in ("gateway", "forwarder", "nginx"))
        self.ratios += [
            Ratio("throughput_to_aiohttp_no_two_alike", mine.over(bare)),
            Ratio("throughput_to_nginx_no_two_alike", mine.over(nginx)),
        ]
        for name, scenario in (("download_to_nginx", _DOWNLOAD), ("upload_to_nginx", _UPLOAD)):
            mine, its = (self.results[scenario][peer].rate for peer in ("gateway", "nginx"))
            self.ratios.append(Ratio(name, mine.over(its), Target(at_least=0.7)))
        two = small["two workers"].cpu_each.over(gateway.cpu_each)
        self.ratios.append(Ratio("cpu_two_workers_to_one", two, Target(at_most=1.1)))
        self.ratios.append(Ratio("cpu_whole_pipeline_to_bare_route", whole.cpu_each.over(gateway.cpu_each)))

    async def _steady(self) -> None:
        """Latencies at one rate for both, which the slower of them can keep up with."""
        bare, gateway = self._around.peers["forwarder"], self._around.peers["gateway"]
        rate = self.results[_SMALL]["forwarder"].rate.middle / 2
        found: dict[str, list[float]] = {bare.name: [], gateway.name: []}
        for number in range(self._effort.rounds):
            _say(f"at {rate:.0f} requests a second, round {number + 1} of {self._effort.rounds}")
            for peer in (bare, gateway):
                seconds = self._effort.seconds * 2
                latencies = await asyncio.to_thread(load.steady, peer.port, rate=rate, seconds=seconds)
                found[peer.name].append(percentile(latencies, 0.99))
        mine, its = (Figure(tuple(found[peer.name])) for peer in (gateway, bare))
        told = f"gateway {mine.middle * 1e3:.2f} ms, aiohttp {its.middle * 1e3:.2f} ms"
        print(f"p99 at {rate:.0f} requests a second: {told}")
        self.ratios.append(Ratio("p99_to_aiohttp_at_one_rate", mine.over(its), Target(at_most=0.6)))

    async def _websocket(self) -> None:
        peers = [peer for peer in self._around.peers.values() if peer.speaks_websocket and not peer.headers]
        rates: dict[str, list[float]] = {peer.name: [] for peer in peers}
        for number in range(self._effort.rounds):
            _say(f"WebSocket, round {number + 1} of {self._effort.rounds}")
            for peer in peers:
                rates[peer.name].append(await load.echoes(peer.port, connections=16, seconds=self._effort.seconds))
        told = ", ".join(f"{name} {Figure(tuple(each)).middle:.0f}" for name, each in rates.items())
        print(f"WebSocket frames of 64 bytes there and back a second, by a client in Python: {told}")
        mine, its = (Figure(tuple(rates[name])) for name in ("gateway", "nginx"))
        self.ratios.append(Ratio("websocket_to_nginx", mine.over(its)))

    async def _idle_memory(self) -> None:
        gateway = self._around.peers["gateway"]
        assert gateway.pid is not None
        before = resident_bytes(gateway.pid)
        async with load.idle(gateway.port, IDLE_CONNECTIONS, {}):
            during = resident_bytes(gateway.pid)
        told = f"with {IDLE_CONNECTIONS:,} idle connections {during / _MIB:.0f} MiB"
        print(f"memory of the gateway: {before / _MIB:.0f} MiB, {told}")
        figure = Figure((during / _MIB,))
        self.ratios.append(Ratio("mib_with_10000_idle_connections", figure, Target(at_most=250.0)))


def _say(what: str) -> None:
    print(f"  {what}", file=sys.stderr, flush=True)


def _missing() -> Sequence[str]:
    return [name for name in ("wrk", "nginx") if peers.program(name) is None]


def _told(ratios: Iterable[Ratio]) -> bool:
    """Prints them; whether all targets are met."""
    missed = [ratio for ratio in ratios if not ratio.met]
    for ratio in ratios:
        print(f"{ratio}  (rounds differ by {ratio.figure.spread:.0%})")
    for ratio in missed:
        print(f"missed: {ratio.name} is {ratio.figure.middle:.2f}, to be {ratio.target}", file=sys.stderr)
    return not missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one second and two rounds of each")
    parser.add_argument("--record", metavar="FOLDER", type=Path, help="write the results into performance.md there")
    asked = parser.parse_args()
    if missing := _missing():
        print(f"skipped: {' and '.join(missing)} not installed")
        return 0
    effort = Effort(1.0, 2) if asked.quick else Effort(3.0, 3)
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name, peers.started(Path(name)) as around:
        for peer in around.skipped:
            print(f"skipped: {peer} is not installed")
        bench = Bench(around, Path(name), effort)
        uvloop.run(bench.run())
    print(report.tables(bench.results))
    met = _told(bench.ratios)
    if asked.record is not None:
        report.record(asked.record, bench.results, bench.ratios)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
