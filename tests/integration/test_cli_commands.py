"""The command `gateway` as a process: against a real Consul, and with mistakes that operators make."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway import __version__
from gateway.build import COMPILED
from gateway.settings import NO_FLAG, Settings, flag_name
from tests.support.consul import ConsulAgent
from tests.support.gateway_process import GatewayProcess
from tests.support.ports import free_port

COMMAND = Path(sys.executable).with_name("gateway")
ROUTE = b'{"match": {"path_prefix": "/orders"}, "backends": [{"service": "orders"}]}'

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "CONSUL_"))} | dict(extra)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run("routes", "list", CONSUL_HTTP_ADDR=…, stdin=b"…")` in an empty folder."""

    def call(*arguments: str | Path, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [COMMAND, *map(str, arguments)],
            input=stdin.decode(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=tmp_path,
            env=_environment(environment),
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return call


@pytest.fixture
def consul(shared_consul: ConsulAgent, unique: str) -> dict[str, str]:
    return {**shared_consul.environment, "GATEWAY_PREFIX": f"cli-{unique}"}


def test_help_is_quick() -> None:
    """Processor time, because other work on the machine is not ours to answer for."""
    took = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([COMMAND, "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    print(f"\ngateway --help: {min(took) * 1000:.0f} ms")
    assert min(took) < 0.3


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from gateway.cli import main\n"
        "heavy = {'aiohttp', 'pydantic', 'pydantic_settings', 'opentelemetry', 'rich', 'consul', 'uvloop', 'msgspec'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"gateway {__version__} ({'compiled' if COMPILED else 'interpreted'})\n"


def test_every_setting_but_secrets_is_a_flag_of_run(run: Run) -> None:
    told = run("run", "--help").stdout
    for name in Settings.model_fields:
        assert (re.search(rf"^ +{flag_name(name)} ", told, re.MULTILINE) is not None) == (name not in NO_FLAG), name
    assert "--config" in told


# --- documents in KV --------------------------------------------------------------------------------------------


def test_a_route_is_put_listed_got_and_deleted(run: Run, consul: dict[str, str]) -> None:
    prefix = consul["GATEWAY_PREFIX"]
    assert run("routes", "list", **consul).stdout == f"There is nothing under {prefix}/routes/.\n"
    assert run("routes", "put", "orders", "-", stdin=ROUTE, **consul).stdout == f"{prefix}/routes/orders is written.\n"
    listed = run("routes", "list", **consul).stdout
    assert re.search(r"^orders +\d+ +/orders/… → orders +accepted", listed, re.MULTILINE)
    assert run("routes", "get", "orders", **consul).stdout == ROUTE.decode() + "\n"
    assert run("routes", "delete", "orders", **consul).returncode == 0
    gone = run("routes", "get", "orders", **consul)
    assert (gone.returncode, gone.stderr) == (1, f"gateway: there is no key {prefix}/routes/orders\n")
    assert run("routes", "delete", "orders", **consul).returncode == 1


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        (b'{"redirect": {"status": 308, "path": "/b"}}', "redirect 308"),
        (b'{"respond": {"status": 410}}', "respond 410"),
    ],
)
def test_a_route_that_answers_itself_is_listed(run: Run, consul: dict[str, str], document: bytes, shown: str) -> None:
    assert run("routes", "put", "own", "-", stdin=document, **consul).returncode == 0
    assert re.search(rf"^own +\d+ +/… → {shown} +accepted", run("routes", "list", **consul).stdout, re.MULTILINE)


def test_conditions_and_fallbacks_are_listed(run: Run, consul: dict[str, str]) -> None:
    document = b"""
    when: request.method == "GET"
    backends:
      - {service: a, instances: instance.health == "passing", tags: [x]}
      - {service: b, fallback: true}
    """
    assert run("routes", "put", "own", "-", stdin=document, **consul).returncode == 0
    listed = run("routes", "list", **consul).stdout
    assert re.search(r"^own +\d+ +/… \+when → a\[x,instances\], else b +accepted", listed, re.MULTILINE)


def test_service_policies_too(run: Run, consul: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "orders.yaml"
    file.write_text("circuit: {mode: shadow}\nin_flight_per_instance: 1\n")
    assert run("services", "put", "orders", file, **consul).returncode == 0
    (listed,) = json.loads(run("services", "list", "--json", **consul).stdout)
    assert listed["summary"] == "weighted_round_robin, circuit shadow, 1 in flight per instance"
    assert listed["accepted"] is True


def test_a_bad_document_is_not_written(run: Run, consul: dict[str, str]) -> None:
    refused = run("routes", "put", "orders", "-", stdin=b'{"match": {},\n "backend": []}', **consul)
    assert refused.returncode == 1
    assert "routes/orders:2:2: backend: unknown field; did you mean backends?" in refused.stderr
    assert f"{consul['GATEWAY_PREFIX']}/routes/orders was not written" in refused.stderr
    assert run("routes", "get", "orders", **consul).returncode == 1


def test_defaults_in_kv_count_when_a_document_is_checked(
    run: Run, consul: dict[str, str], shared_consul: ConsulAgent
) -> None:
    defaults = b"service: {circuit: {max_open_for: 20s}}"
    shared_consul.admin.put(f"{consul['GATEWAY_PREFIX']}/defaults", defaults)
    document = b"circuit: {open_for: 60s}"
    assert run("services", "put", "orders", "-", stdin=document, **consul).returncode == 1
    shared_consul.admin.put(f"{consul['GATEWAY_PREFIX']}/defaults", b"{}")
    assert run("services", "put", "orders", "-", stdin=document, **consul).returncode == 0


def test_check_and_set_keeps_a_change_made_meanwhile(run: Run, consul: dict[str, str]) -> None:
    assert run("routes", "put", "orders", "-", "--cas", "0", stdin=ROUTE, **consul).returncode == 0
    again = run("routes", "put", "orders", "-", "--cas", "0", stdin=ROUTE, **consul)
    assert (again.returncode, "has changed since index 0" in again.stderr) == (1, True)
    (listed,) = json.loads(run("routes", "list", "--json", **consul).stdout)
    assert run("routes", "delete", "orders", "--cas", "1", **consul).returncode == 1
    assert run("routes", "delete", "orders", "--cas", str(listed["version"]), **consul).returncode == 0


def test_lists_say_what_a_running_gateway_rejected(
    run: Run, consul: dict[str, str], shared_consul: ConsulAgent
) -> None:
    prefix = consul["GATEWAY_PREFIX"]
    run("routes", "put", "orders", "-", stdin=ROUTE, **consul)
    (listed,) = json.loads(run("routes", "list", "--json", **consul).stdout)
    verdict = {
        "key": f"{prefix}/routes/orders",
        "line": 3,
        "column": 4,
        "field": "when",
        "reason": "is not known to this version",
        "modify_index": listed["version"],
    }
    status = {"gateway": "old-1", "rejections": [verdict], "more": 1}
    shared_consul.admin.put(f"{prefix}/status/old-1", json.dumps(status).encode())
    shared_consul.admin.put(f"{prefix}/status/broken", b"no status")
    (listed,) = json.loads(run("routes", "list", "--json", **consul).stdout)
    assert listed["accepted"] is False
    assert listed["verdict"] == "rejected by old-1: 3:4: when: is not known to this version"


# --- a running gateway ------------------------------------------------------------------------------------------


@pytest.fixture
def running(tmp_path: Path, consul: dict[str, str], shared_consul: ConsulAgent, run: Run) -> Any:  # noqa: ANN401
    run("routes", "put", "orders", "-", stdin=ROUTE, **consul)
    shared_consul.admin.put(f"{consul['GATEWAY_PREFIX']}/routes/bad", b"{}")
    own = {k: v for k, v in consul.items() if k.startswith("CONSUL_")}
    gateway = GatewayProcess(tmp_path, own, prefix=consul["GATEWAY_PREFIX"], id="gw-cli", register_self="false")
    try:
        yield gateway.start_ready()
    finally:
        gateway.stop()


def test_status_shows_a_running_gateway(run: Run, running: GatewayProcess, consul: dict[str, str]) -> None:
    told = run("status", "--admin", f"127.0.0.1:{running.admin_port}")
    assert told.returncode == 0
    assert f"Gateway gw-cli (edge, prefix {consul['GATEWAY_PREFIX']})" in told.stdout
    assert re.search(r"^service:orders +live +\d", told.stdout, re.MULTILINE)
    assert "1 routes in force, 1 keys rejected." in told.stdout
    assert f"{consul['GATEWAY_PREFIX']}/routes/bad:1:1: backends: " in told.stdout
    by_setting = run("status", "--json", GATEWAY_ADMIN_LISTEN=f"127.0.0.1:{running.admin_port}")
    assert json.loads(by_setting.stdout)["readyz"]["ready"] is True


def test_status_of_a_gateway_that_is_not_ready_is_1(run: Run, tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, {"CONSUL_HTTP_ADDR": f"127.0.0.1:{free_port()}"})
    gateway.start()
    try:
        deadline = time.monotonic() + 20
        while (told := run("status", "--admin", f"127.0.0.1:{gateway.admin_port}")).returncode == 3:
            assert time.monotonic() < deadline
        assert (told.returncode, "NOT READY" in told.stdout) == (1, True)
        assert "view routes is " in told.stdout
    finally:
        gateway.stop()


def test_status_of_nothing_says_where_it_looked(run: Run) -> None:
    port = free_port()
    told = run("status", "--admin", f"127.0.0.1:{port}")
    assert told.returncode == 3
    assert f"no gateway's admin surface at 127.0.0.1:{port}: " in told.stderr


# --- mistakes ---------------------------------------------------------------------------------------------------


def test_an_unreachable_consul_is_one_line(run: Run) -> None:
    told = run("routes", "list", CONSUL_HTTP_ADDR=f"127.0.0.1:{free_port()}")
    assert told.returncode == 3
    assert told.stderr.startswith("gateway: Consul: ")
    assert "CONSUL_HTTP_ADDR" in told.stderr
    assert told.stderr.count("\n") == 1


def test_bad_consul_settings_are_wrong_usage(run: Run) -> None:
    for command in (("routes", "list"), ("run", "--listen", f"127.0.0.1:{free_port()}")):
        told = run(*command, CONSUL_HTTP_ADDR="ftp://consul")
        assert told.returncode == 2
        assert "gateway: CONSUL_HTTP_ADDR 'ftp://consul' is not" in told.stderr


def test_bad_settings_name_flag_variable_and_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("lisen = 1\n")
    told = run("run", "--drain-time", "soon", GATEWAY_MODE="middle", GATEWAY_LISTNE=":80")
    assert told.returncode == 2
    for expected in ("--drain-time: 'soon'", "GATEWAY_MODE: ", "gateway.toml: lisen: unknown setting"):
        assert expected in told.stderr


def test_misspelt_variables_are_warned_of(run: Run) -> None:
    told = run("run", "--access-log", "/nowhere/x", GATEWAY_LISTNE=":80", GATEWAY_LISTEN=f"127.0.0.1:{free_port()}")
    assert "gateway: warning: GATEWAY_LISTNE is not a setting; did you mean GATEWAY_LISTEN?" in told.stderr
    assert told.returncode == 3
    assert "the access log /nowhere/x cannot be opened: No such file or directory" in told.stderr


@pytest.mark.parametrize("flag", ["--listen", "--admin-listen"])
def test_a_taken_port_is_named_with_its_flag(run: Run, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = "--admin-listen" if flag == "--listen" else "--listen"
        told = run("run", flag, f"127.0.0.1:{port}", other, f"127.0.0.1:{free_port()}")
    assert told.returncode == 3
    last = told.stderr.splitlines()[-1]
    assert str(port) in last
    assert last.endswith(f"is taken; choose another with {flag}")


def test_usage_errors_are_2(run: Run) -> None:
    assert run("routes", "put", "x").returncode == 2
    assert run("run", "--nonsense").returncode == 2
    assert run("nonsense").returncode == 2
