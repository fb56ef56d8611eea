"""The garbage collector of a process that serves."""

from __future__ import annotations

import gc

_COLLECT_AFTER = 10_000
"""New objects after which the youngest are looked through for cycles, which takes about a millisecond. Requests and
connections leave none (tests/integration/test_proxy_garbage.py), so it is for all else."""


def spare_the_collector() -> None:
    """Keeps the garbage collector from looking through code and other lasting things again and again: with them, one
    run holds all requests up for tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
