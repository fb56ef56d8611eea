"""What a soak shows of the gateway as it goes on, and what it makes of that at the end."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.soak.ledger import Ledger
from tests.soak.world import World
from tests.support.mixed_load import MixedLoad

INTERVAL = 10.0
GROWTH, GROWTH_BYTES = 0.10, 4 << 20
"""Resident memory may grow by that share and that much, from the median of the first third behind the warm-up to that
of the last third."""
LEFT_OPEN = 8
"""Descriptors that may be open after the load, besides those of before it."""
_MIB = 1 << 20
_HEAD = "    time    begun    whole   lost allowed   MiB   fds  lag ms  violations  fault"


@dataclass(frozen=True, slots=True)
class Sample:
    resident: int
    """Bytes, of all of the gateway's processes."""
    descriptors: int
    lag: float
    violations: int


def look(world: World) -> Sample:
    """Raises OSError where the gateway does not answer."""
    pids = world.processes()
    violations = world.gateway.metric("gateway_monitor_violations_total")
    lag = world.gateway.metric("gateway_loop_lag_seconds")
    return Sample(
        resident=sum(_resident(pid) for pid in pids),
        descriptors=sum(sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()) for pid in pids),
        lag=lag,
        violations=int(violations),
    )


def _resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


async def watch(world: World, load: MixedLoad, ledger: Ledger, samples: list[Sample]) -> None:
    """A line each `INTERVAL` seconds, until it is cancelled."""
    began = time.monotonic()
    print(_HEAD, flush=True)
    while True:
        await asyncio.sleep(INTERVAL)
        counts = (
            f"{time.monotonic() - began:6.0f} s {sum(load.begun.values()):8} {sum(load.whole.values()):8} "
            f"{len(ledger.forbidden):6} {sum(ledger.allowed.values()):7}"
        )
        try:
            sample = await asyncio.to_thread(look, world)
        except OSError:
            print(f"{counts}     -     -       -           -  {ledger.current}: no answer", flush=True)
            continue
        samples.append(sample)
        print(
            f"{counts} {sample.resident / _MIB:5.0f} {sample.descriptors:5} {sample.lag * 1000:7.0f} "
            f"{sample.violations:11}  {ledger.current}",
            flush=True,
        )


def memory_verdict(samples: Sequence[Sample], warm_up: float) -> tuple[bool, str]:
    """Whether memory stayed flat, and the figures. `warm_up` is in seconds."""
    warm = [sample.resident for sample in samples[int(warm_up / INTERVAL) :]]
    third = len(warm) // 3
    if third == 0:
        return True, "memory: too short to tell"
    first, last = statistics.median(warm[:third]), statistics.median(warm[-third:])
    bound = first * (1 + GROWTH) + GROWTH_BYTES
    first_mib, last_mib, bound_mib = (each / _MIB for each in (first, last, bound))
    told = f"memory: {first_mib:.1f} MiB after the warm-up, {last_mib:.1f} MiB at the end; bound {bound_mib:.1f}"
    return last <= bound, told
