"""Records what the version before the gateway's own connections made of the cases.

    git worktree add CHECKOUT 35b7fb0
    python -m tests.differential.record CHECKOUT

runs that gateway as its operators did, by its command, with a real Consul and the documents of `routes`, sends every
case through it twice, and writes `before.json`, which holds the commit too. Cases that come to something else the
second time are named, and nothing is written.

35b7fb0 is the last commit of the main line in which aiohttp's low-level server spoke to clients and aiohttp's client
protocol to instances. It is to be recorded anew when a case, a route or a setting has been added or changed; the test
says so. The checkout needs no environment of its own: this one's packages do.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from tests.differential.cases import CASES
from tests.differential.driver import SETTINGS, TRUSTED, ScriptedInstance, run
from tests.differential.recording import BEFORE, SERVED_BY, Recording, dump
from tests.differential.routes import POLICY, ROUTES, SERVICE
from tests.differential.seen import Seen, differences
from tests.support.consul import ConsulAgent, ConsulProcess
from tests.support.gateway_process import GatewayProcess


async def _record(checkout: Path) -> dict[str, Seen]:
    instance = ScriptedInstance()
    async with instance.upstream:
        with tempfile.TemporaryDirectory() as folder, ConsulProcess() as consul:
            _arrange(consul, instance.upstream.port)
            with _gateway(Path(folder), consul, checkout) as gateway:
                once, again = [
                    {name: await run(case, gateway.port, instance) for name, case in CASES.items()} for _ in range(2)
                ]
    moved = [f"{name}: {line}" for name in CASES for line in differences(once[name], again[name])]
    if moved:
        sys.exit("\n".join(["Not the same twice:", *moved]))
    return once


def _arrange(consul: ConsulAgent, port: int) -> None:
    for name, route in ROUTES.items():
        consul.admin.put(f"gateway/routes/{name}", route)
    consul.admin.put(f"gateway/services/{SERVICE}", POLICY)
    consul.admin.register(SERVICE, port, id="orders-1")


@contextmanager
def _gateway(folder: Path, consul: ConsulAgent, checkout: Path) -> Iterator[GatewayProcess]:
    """Ready, with all routes accepted."""
    environment = {**consul.environment, "PYTHONPATH": str(checkout / "src")}
    settings = {name: f"{seconds}s" for name, seconds in SETTINGS.items()}
    gateway = GatewayProcess(folder, environment, id="gw-test", trusted_hops=f"{TRUSTED}/32", trace_ratio=0, **settings)
    gateway.start_ready()
    try:
        accepted = {route["name"] for route in gateway.admin("/v1/routes")["routes"]}
        if accepted != set(ROUTES):
            sys.exit(f"Not accepted: {sorted(set(ROUTES) - accepted)}\n{gateway.log}")
        yield gateway
    finally:
        gateway.stop()


def main(checkout: Path) -> None:
    revision = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    commit = subprocess.run(revision, check=True, capture_output=True, text=True).stdout.strip()
    seen = uvloop.run(_record(checkout.resolve()))
    digests = {name: case.digest for name, case in CASES.items()}
    BEFORE.write_text(dump(Recording(commit, SERVED_BY, digests, seen)))
    print(f"{len(seen)} cases of {commit[:7]} are in {BEFORE.name}.")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
