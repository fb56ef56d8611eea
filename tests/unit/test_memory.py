"""What a process that serves does about memory."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

BODIES = """
import gc, resource, sys
from gateway.app.memory import settle_memory

if sys.argv[1] == "settled":
    settle_memory()
for number in range(101):
    if number == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    pieces = [b"x" * 256_000 for _ in range(8)]
    del pieces
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, gc.get_freeze_count())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than GNU's")
def test_pieces_of_bodies_are_not_asked_of_the_system_again_and_again() -> None:
    def faults(how: str) -> tuple[int, int]:
        told = subprocess.run([sys.executable, "-c", BODIES, how], capture_output=True, text=True, check=True).stdout
        count, frozen = map(int, told.split())
        return count, frozen

    (usual, _), (settled, frozen) = faults("as usual"), faults("settled")
    assert settled < usual / 10
    assert frozen > 1000, "code is not looked through for garbage"
