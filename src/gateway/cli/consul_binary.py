"""Where a Consul binary is on this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from gateway.cli.errors import Failed


def find() -> Path:
    """`CONSUL_BIN`, `consul` on PATH, or the copy that `consul/get-consul` keeps. Raises Failed."""
    given = os.environ.get("CONSUL_BIN")
    if given:
        if not os.access(given, os.X_OK):
            raise Failed(f"CONSUL_BIN={given} is not a program that can be run; correct it or unset it")
        return Path(given)
    found = shutil.which("consul")
    if found:
        return Path(found)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cached = cache / "alims-gateway" / "consul"
    if os.access(cached, os.X_OK):
        return cached
    raise Failed(
        "found no Consul: CONSUL_BIN is not set, there is no consul on PATH, and none in "
        f"{cached.parent}; run consul/get-consul, or install Consul 1.8.7 or newer"
    )
