"""What the demo prints: commands to try, each with what it answers."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from gateway.cli.demo_ports import CONSUL_DEFAULT, Ports

TOKEN_FILE = "alice.token"  # noqa: S105 - the name of a file
"""Among the logs."""


class Try(NamedTuple):
    command: str
    answer: str


def commands(ports: Ports, gateway: str, logs: Path) -> list[Try]:
    """`gateway` is how this command is called from a shell."""
    edge, admin = f"http://127.0.0.1:{ports.edge}", f"http://127.0.0.1:{ports.admin}"
    first = f"http://127.0.0.1:{ports.services}"
    second = f"http://127.0.0.1:{ports.services + 1}"
    count = f"for i in $(seq 32); do curl -s {edge}/orders/1 | grep -o 'orders-[123]'; done | sort | uniq -c"
    told = [name for name in os.environ if name.startswith(("CONSUL_", "GATEWAY_")) and name != "CONSUL_BIN"]
    usual = ports.consul == CONSUL_DEFAULT and not told
    consul = "" if usual else f"CONSUL_HTTP_ADDR=127.0.0.1:{ports.consul} "
    route = '{"match": {"path_prefix": "/hello"}, "backends": [{"service": "users"}]}'
    return [
        Try(f"curl -s {edge}/orders/1", "an instance of orders, with what it got"),
        Try(count, "weights 10:5:1 are 20, 10 and 2"),
        Try(f"curl -s -H 'x-canary: yes' {edge}/orders/1", "always orders-3, the one tagged canary"),
        Try(
            f"curl -s -H 'x-tenant: acme' -H 'cookie: session=s14' {edge}/orders/1",
            "one session in twenty of this tenant is sent to the canary, orders-3",
        ),
        Try(f"curl -s -H 'x-region: us' {edge}/catalog/1", "the instance in that region: catalog-2"),
        Try(
            f"curl -s -H 'x-tenant: umbrella' -H 'x-region: us' {edge}/catalog/1",
            "this tenant has a route of its own, to the EU alone: catalog-1",
        ),
        Try(f"curl -s {edge}/users/7", "what only reads goes to the replica: users-2"),
        Try(f"curl -s -X POST {edge}/users/7", "and what writes to the primary: users-1"),
        Try(
            f'curl -s -H "authorization: Bearer $(cat {logs / TOKEN_FILE})" {edge}/account',
            "where a claim of alice's token sends her: catalog-2",
        ),
        Try(f"curl -s {edge}/support", "in business hours in Berlin an instance, otherwise when to come back"),
        Try(f"curl -s -X POST {first}/fail", "orders-1 fails its check; a second later the counts are without it"),
        Try(f"curl -s -X POST {first}/mend", "and a second later it is back"),
        Try(
            f"curl -s -X POST '{second}/fail?requests'",
            "orders-2 answers 503 while its check passes: retried elsewhere",
        ),
        Try(count, "no error is seen; after five failures its circuit is open"),
        Try(f"curl -s {admin}/v1/circuits", "state open, and half_open_in seconds until a probe"),
        Try(f"curl -s -X POST {second}/mend", "after those seconds the next probe closes it"),
        Try(f"echo '{route}' | {consul}{gateway} routes put hello -", "gateway/routes/hello is written"),
        Try(f"curl -s {edge}/hello", "an instance of users"),
        Try(
            f"curl -s http://127.0.0.1:{ports.sidecar}/users/7", "the same by the sidecar, which has routes of its own"
        ),
        Try(f"{consul}{gateway} routes list", "all routes with their verdicts"),
        Try(
            f"{gateway} status --admin 127.0.0.1:{ports.admin}", "views of Consul with their ages, instances, circuits"
        ),
        Try(f"curl -s {admin}/metrics | grep gateway_view_age", "how old each view is"),
    ]


def welcome(ports: Ports, logs: Path) -> str:
    """The whole text."""
    lines = [
        "",
        f"Edge gateway     http://127.0.0.1:{ports.edge}    admin http://127.0.0.1:{ports.admin}",
        f"Sidecar gateway  http://127.0.0.1:{ports.sidecar}    admin http://127.0.0.1:{ports.sidecar_admin}",
        f"Consul           http://127.0.0.1:{ports.consul}/ui",
        f"Logs             {logs}",
        "",
        "Try, in this order:",
        "",
    ]
    for command, answer in commands(ports, _called(), logs):
        lines += [f"  # {answer}", f"  {command}"]
    lines += ["", "Ctrl-C stops and removes everything. What the edge gateway logs:", ""]
    return "\n".join(lines)


def _called() -> str:
    """`gateway` where a shell finds it, else the path of the one that runs."""
    beside = Path(sys.executable).with_name("gateway")
    on_path = shutil.which("gateway")
    if on_path and beside.exists() and Path(on_path).samefile(beside):
        return "gateway"
    if not beside.exists():
        return f"{sys.executable} -m gateway.cli"
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
