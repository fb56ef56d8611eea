"""Runs a Python command whose wall clock a test sets: `python jumping_clock.py FILE COMMAND [ARGUMENT…]`.

FILE holds the seconds that the clock is off, and is read at each look. That reaches what Python code reads by
`time.time` and `time.time_ns`, which is all that the gateway uses; the machine's clock is everybody's, and stays.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path


def _main(offset_file: Path, *command: str) -> None:
    real, real_ns = time.time, time.time_ns

    def offset() -> float:
        return float(offset_file.read_text() or 0)

    time.time = lambda: real() + offset()
    time.time_ns = lambda: real_ns() + int(offset() * 1e9)
    sys.argv = list(command)
    sys.path[0] = ""
    runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), *sys.argv[2:])
