"""The journal and the monitor of a gateway process: its start, its end, and what is on disk then."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.request import Request, urlopen

from gateway.journal.properties import Property
from tests.integration.conftest import StartGateway, StartInstance
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess
from tests.support.ports import free_port

_COMMAND = Path(sys.executable).with_name("gateway")


def replay(*given: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([_COMMAND, "replay", *given], capture_output=True, text=True, check=False)


def refused(tmp_path: Path, *flags: object) -> str:
    """What a gateway says that cannot start; without a Consul, which is not asked before."""
    given = [str(flag) for flag in flags]
    if "--listen" not in given:
        given += ["--listen", f"127.0.0.1:{free_port()}"]
    command: list[str | Path] = [_COMMAND, "run", *given, "--admin-listen", f"127.0.0.1:{free_port()}"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert told.returncode == 3
    return told.stderr.splitlines()[-1]


def test_a_journal_that_cannot_be_written_keeps_the_gateway_from_starting(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "journal"
    assert refused(tmp_path, "--journal", missing) == (
        f"gateway: the journal {missing} cannot be written: there is no directory {missing.parent}; --journal moves it"
    )
    assert refused(tmp_path, "--journal", tmp_path) == (
        f"gateway: the journal {tmp_path} cannot be written: Is a directory; --journal moves it"
    )


def test_a_start_that_fails_leaves_the_journal_alone(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_text("of an earlier run\nand whole\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "is taken" in refused(tmp_path, "--listen", listen, "--journal", journal)
    assert [each.name for each in tmp_path.iterdir()] == ["journal"]
    assert journal.read_text() == "of an earlier run\nand whole\n"


def test_a_journal_through_the_life_of_gateways(
    dev_consul: ConsulAgent,
    start_gateway: StartGateway,
    start_instance: StartInstance,
    register: Callable[..., str],
    tmp_path: Path,
) -> None:
    register(dev_consul, "orders", start_instance("a"))
    dev_consul.admin.put("gateway/routes/orders", {"backends": [{"service": "orders"}]})
    journal, older, access = tmp_path / "journal", tmp_path / "journal.1", tmp_path / "access"

    def ask(gateway: GatewayProcess, times: int) -> None:
        for _ in range(times):
            with urlopen(Request(f"{gateway.url}/private/path", headers={"x-secret": "hush"}), timeout=10) as response:
                assert response.status == 200

    first = start_gateway(dev_consul.environment, journal=journal, access_log=access)
    ask(first, 30)
    for name in Property:
        assert first.metric("gateway_monitor_violations_total", property=name) == 0
    assert first.metric("gateway_journal_events_dropped_total") == 0
    assert "is being written by another process; --journal moves it" in refused(tmp_path, "--journal", journal)
    first.stop()
    of_first = journal.read_bytes()
    assert of_first.count(b'"do":"done"') == 30, "all of it is there after SIGTERM"
    assert b"hush" not in of_first
    assert b"private" not in of_first
    assert replay("--quiet", journal).returncode == 0
    ticket = json.loads(access.read_text().splitlines()[20])["ticket"]
    told = replay("--ticket", str(ticket), journal)
    assert told.returncode == 0
    assert told.stdout.count(f"ticket={ticket}") == 3, "it was routed, it had a head and an end"
    assert "-> " in told.stdout, "who was there at the pick"

    second = start_gateway(dev_consul.environment, journal=journal, journal_segment="4KiB")
    assert older.read_bytes() == of_first
    ask(second, 60)
    second.send_signal(signal.SIGKILL)
    second.wait()
    for segment in (older, journal):
        again = replay("--quiet", segment)
        assert again.returncode == 0 or "has a checkpoint only" in again.stderr, again.stderr
    assert replay("--quiet", older).returncode == 0

    third = start_gateway(dev_consul.environment, monitor=False)
    assert "gateway_monitor_violations_total{" not in third.text("/metrics"), "nobody watches"
