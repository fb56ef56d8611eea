"""The Consul binary under the tests, obtained as an operator would obtain it."""

import subprocess
from functools import cache
from pathlib import Path

_GET_CONSUL = Path(__file__).parents[3] / "consul" / "get-consul"


@cache
def consul_binary() -> Path:
    """Path of a usable Consul. Raises RuntimeError with the script's own account when there is none."""
    done = subprocess.run([_GET_CONSUL], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return Path(done.stdout.strip())
