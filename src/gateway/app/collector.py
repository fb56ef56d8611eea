"""The garbage collector of a process that serves."""

from __future__ import annotations

import gc

_COLLECT_AFTER = 50_000
"""New objects after which the youngest are looked through for cycles. Requests leave none, so it is for all else."""


def spare_the_collector() -> None:
    """Keeps the garbage collector from looking through code and other lasting things again and again: with them, one
    run holds all requests up for tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
