"""python -m tests.soak [--minutes N] [--seed N] [--only TEXT] [--workers N]

Runs a mixed load through a gateway for that time, with one fault after another, each mended before the next. Ends with
1 where a request was lost that no fault may cost, the monitor found a violation, something did not recover, memory
grew or descriptors stayed open.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.journal.stream import FAILED
from tests.soak.faults import Fault, faults
from tests.soak.ledger import Ledger
from tests.soak.watch import LEFT_OPEN, Sample, look, memory_verdict, watch
from tests.soak.world import World, world
from tests.support.gateway_process import eventually
from tests.support.mixed_load import Kind, MixedLoad

_RECOVERED_WITHIN = 60.0
_BETWEEN = 2.0
"""Seconds of peace between two faults."""
_IDLE_CLOSED = 7.0
"""Seconds after which the gateway has closed what it kept for the load: clients' connections went with the clients."""
_LONGEST_WARM_UP = 60.0


class Soak:
    def __init__(self, around: World, draw: random.Random, only: str) -> None:
        self._world = around
        self._draw = draw
        self._faults = [fault for fault in faults(around) if only in fault.name]
        if not self._faults:
            raise SystemExit(f"no fault has {only!r} in its name: " + "; ".join(each.name for each in faults(around)))
        self._ledger = Ledger()
        self._samples: list[Sample] = []
        self._done: Counter[str] = Counter()
        self._problems: list[str] = []
        self._load = MixedLoad(around.url, on_loss=self._ledger.lose)

    async def run(self, seconds: float) -> bool:
        """Whether all is well."""
        before = await asyncio.to_thread(look, self._world)
        until = time.monotonic() + seconds
        async with self._load:
            watching = asyncio.create_task(watch(self._world, self._load, self._ledger, self._samples))
            for fault in self._in_some_order():
                await asyncio.sleep(_BETWEEN)
                if time.monotonic() > until:
                    break
                await self._inflict(fault)
            watching.cancel()
        await asyncio.sleep(_IDLE_CLOSED)
        after = await asyncio.to_thread(look, self._world)
        await self._end()
        warm_up = min(_LONGEST_WARM_UP, seconds / 4)
        return self._tell(warm_up, before, after)

    def _in_some_order(self) -> Iterator[Fault]:
        """All of them, and all of them again."""
        while True:
            yield from self._draw.sample(self._faults, len(self._faults))

    async def _inflict(self, fault: Fault) -> None:
        window = self._ledger.begin(fault.name, fault.may_cost)
        try:
            await fault.run(self._world, self._draw)
            await eventually(self._world.healthy, _RECOVERED_WITHIN, "the gateway knows all as healthy again")
        except (AssertionError, OSError, LookupError, RuntimeError) as error:
            self._problems.append(f"{fault.name}: {type(error).__name__}: {error}")
        window.until = time.monotonic()
        self._done[fault.name] += 1

    async def _end(self) -> None:
        """SIGTERM, under a load that leaves when the gateway says that it is not ready."""
        gateway = self._world.gateway
        self._ledger.begin("SIGTERM", ())
        async with MixedLoad(self._world.url, on_loss=self._ledger.lose) as load:
            await eventually(lambda: all(load.whole[kind] for kind in Kind), within=30)
            gateway.send_signal(signal.SIGTERM)
            await eventually(lambda: gateway.status("/readyz") == 503, within=5)
            await asyncio.sleep(0.5)
            load.leave()
        if code := await asyncio.to_thread(gateway.wait, 30):
            self._problems.append(f"the gateway ended with {code}")

    def _tell(self, warm_up: float, before: Sample, after: Sample) -> bool:
        load, ledger = self._load, self._ledger
        flat, memory = memory_verdict(self._samples, warm_up)
        closed = after.descriptors <= before.descriptors + LEFT_OPEN
        print("\nby kind: " + ", ".join(f"{kind.value} {load.whole[kind]}/{load.begun[kind]}" for kind in Kind))
        for name, times in sorted(self._done.items()):
            lost = {kind.value: count for (fault, kind), count in ledger.allowed.items() if fault == name}
            print(f"  {name} × {times}: " + (", ".join(f"{kind} {n}" for kind, n in lost.items()) or "nothing lost"))
        print(memory)
        print(f"descriptors: {before.descriptors} before the load, {after.descriptors} behind it; bound +{LEFT_OPEN}")
        print(f"violations: {after.violations}")
        for fault, loss in ledger.forbidden[:20]:
            print(f"LOST during {fault}: {loss.kind.value} after {loss.ended - loss.began:.2f} s: {loss.why}")
        for problem in self._problems:
            print(f"PROBLEM: {problem}")
        failed = FAILED in self._world.gateway.log
        well = flat and closed and not (after.violations or ledger.forbidden or self._problems or failed)
        print("all is well" if well else "NOT well")
        return well


async def _soak(options: argparse.Namespace) -> bool:
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="gateway-soak-") as folder:
        async with world(Path(folder), options.workers) as around:
            print(f"seed {seed}, {options.minutes:g} minutes, {options.workers} worker(s)", flush=True)
            return await Soak(around, random.Random(seed), options.only).run(options.minutes * 60)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, help="who is hit by what, and when; another each time by default")
    parser.add_argument("--only", default="", help="only faults with this in their names")
    parser.add_argument("--workers", type=int, default=1, help="above 1, one is killed now and then")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(_soak(_options(sys.argv[1:]))) else 1)
