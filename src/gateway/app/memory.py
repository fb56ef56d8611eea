"""How a process that serves uses memory: when garbage is looked for, and what becomes of what is freed."""

from __future__ import annotations

import ctypes
import gc

_COLLECT_AFTER = 10_000
"""New objects after which the youngest are looked through for cycles, which takes about a millisecond. Requests and
connections leave none (tests/integration/test_proxy_garbage.py), so it is for all else."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""As in malloc.h of the GNU C library; see mallopt(3)."""
_KEPT = 32 << 20
"""Bytes that are kept free at the end of the heap, rather than given back."""
_LARGE = 4 << 20
"""Bytes from which on memory is asked of the system for one object alone, and given back with it."""


def settle_memory() -> None:
    """To be called once, when all that lasts has been loaded and before anything is served."""
    _spare_the_collector()
    _keep_what_is_freed()


def _spare_the_collector() -> None:
    """Keeps the garbage collector from looking through code and other lasting things again and again: with them, one
    run holds all requests up for tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


def _keep_what_is_freed() -> None:
    """Pieces of bodies of up to 256 KiB come and go all the time. By default each is asked of the system and given
    back, and the faults for new pages cost more than all else that is done with a body. Other C libraries than GNU's
    have no such settings, and nothing is done there."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
