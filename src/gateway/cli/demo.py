"""The demo: real processes on this machine, started in order, watched, and removed without trace.

Ctrl-C and SIGTERM end it. Whatever ends it, its children end with it (see `children`).
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from gateway.cli import consul_binary, demo_ports, demo_text, demo_token
from gateway.cli.children import Child, Children
from gateway.cli.demo_ports import Ports
from gateway.cli.errors import Failed

READY_WITHIN = 30.0
_OPENER = build_opener(ProxyHandler({}))


class _Stopped(BaseException):
    """Ctrl-C or SIGTERM."""


class Demo:
    def __init__(self, ports: Ports, definitions: Path | None) -> None:
        self._ports = ports
        self._definitions = definitions or _find_definitions()
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "CONSUL_"))
        }

    def run(self) -> None:
        """Returns after Ctrl-C or SIGTERM, with everything gone. Raises Failed if something does not start or dies."""
        binary = consul_binary.find()
        registrations = _registrations(self._definitions, self._ports.services)
        instances = {port: instance for port, _, instance in _instances(registrations)}
        demo_ports.check(self._ports, instances)
        consul_port = self._ports.consul or self._free_consul_port()
        ports = replace(self._ports, consul=consul_port)

        with _signals(), tempfile.TemporaryDirectory(prefix="gateway-demo-") as name:
            directory = Path(name)
            children = Children(directory)
            try:
                self._start(binary, consul_port, registrations, children, directory)
                print(demo_text.welcome(ports, directory), flush=True)
                self._watch(children, directory / "edge.log")
            except _Stopped:
                print("\nStopping everything …", flush=True)
            finally:
                children.stop()
        print("Everything is stopped and removed.", flush=True)

    def _free_consul_port(self) -> int:
        if demo_ports.is_free(demo_ports.CONSUL_DEFAULT):
            return demo_ports.CONSUL_DEFAULT
        port = demo_ports.pick(1)[0]
        print(f"Port {demo_ports.CONSUL_DEFAULT} is taken, so Consul gets {port} (--consul-port chooses).", flush=True)
        return port

    def _start(
        self, binary: Path, consul_port: int, registrations: list[Any], children: Children, directory: Path
    ) -> None:
        consul = children.start("consul", self._consul_command(binary, consul_port), self._environment)
        for port, service, instance in _instances(registrations):
            command = ["-m", "gateway.cli.sample_service", "--service", service, "--instance", instance]
            children.start(instance, [sys.executable, *command, "--port", str(port)], self._environment)
        address = f"127.0.0.1:{consul_port}"
        _await(children, consul, "Consul", lambda: bool(_get(f"http://{address}/v1/status/leader")))

        definitions = directory / "services.json"
        definitions.write_text(json.dumps({"services": registrations}))
        registering = children.start(
            "register",
            [str(binary), "services", "register", f"-http-addr={address}", str(definitions)],
            self._environment,
        )
        if not registering.wait(READY_WITHIN) or registering.exit_code != 0:
            raise Failed(f"the services could not be registered:\n{registering.last_words()}")
        children.running.remove(registering)
        account, token = demo_token.issue("alice", "us")
        (directory / demo_text.TOKEN_FILE).write_text(token)
        _seed(self._definitions / "kv", address, {"gateway/routes/account": account})

        ports = self._ports
        edge = self._gateway(
            children, "edge", address, f":{ports.edge}", ports.admin, ["--prefix", "gateway", "--service", "gateway"]
        )
        sidecar = self._gateway(
            children,
            "sidecar",
            address,
            f":{ports.sidecar}",
            ports.sidecar_admin,
            ["--mode", "sidecar", "--prefix", "sidecar", "--service", "gateway-sidecar"],
        )
        _await(children, edge, "the edge gateway", lambda: _is_ready(ports.admin))
        _await(children, sidecar, "the sidecar gateway", lambda: _is_ready(ports.sidecar_admin))

    def _consul_command(self, binary: Path, http: int) -> list[str]:
        server, lan, wan = demo_ports.pick(3)
        ports = {"http": http, "dns": -1, "grpc": -1, "server": server, "serf_lan": lan, "serf_wan": wan}
        flags = [f"-{name.replace('_', '-')}-port={port}" for name, port in ports.items()]
        configuration = self._definitions / "agents" / "dev.hcl"
        files = [f"-config-file={configuration}"] if configuration.exists() else []
        return [str(binary), "agent", "-dev", *files, *flags]

    def _gateway(self, children: Children, name: str, consul: str, listen: str, admin: int, flags: list[str]) -> Child:
        command = [sys.executable, "-m", "gateway.cli", "run", "--id", f"demo-{name}", "--listen", listen]
        command += ["--admin-listen", f"127.0.0.1:{admin}", "--consul-address", consul, "--drain-time", "200ms"]
        command += ["--finish-limit", "2s", "--log-format", "console", "--access-log", f"{name}-access.log", *flags]
        return children.start(name, command, self._environment)

    def _watch(self, children: Children, log: Path) -> None:
        """Shows what the edge gateway logs, until a part of the demo dies that it can't do without."""
        needed = [child for child in children.running if child.name in ("consul", "edge", "sidecar")]
        with log.open("r", errors="replace") as lines:
            lines.seek(0, os.SEEK_END)
            while True:
                for line in lines:
                    print(f"  {line}", end="", flush=True)
                for child in needed:
                    if child.ended:
                        raise Failed(f"{child.name} has ended (code {child.exit_code}):\n{child.last_words()}")
                time.sleep(0.2)


@contextmanager
def _signals() -> Iterator[None]:
    """SIGTERM, SIGHUP and Ctrl-C raise `_Stopped`, once: what comes while we stop is not to interrupt that."""

    def stop(_number: int, _frame: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise _Stopped

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _find_definitions() -> Path:
    for folder in (Path.cwd() / "consul", Path(__file__).resolve().parents[3] / "consul"):
        if (folder / "services").is_dir() and (folder / "kv").is_dir():
            return folder
    raise Failed("found no folder consul/ with services/ and kv/; run this in a checkout, or say --definitions FOLDER")


def _registrations(definitions: Path, first_port: int) -> list[Any]:
    """Consul's service definitions, with all ports moved so that the lowest is `first_port`."""
    found = [
        service
        for file in sorted((definitions / "services").glob("*.json"))
        for service in json.loads(file.read_text())["services"]
    ]
    if not found:
        raise Failed(f"there are no service definitions in {definitions / 'services'}")
    move = first_port - min(service["port"] for service in found)
    for service in found:
        old, service["port"] = service["port"], service["port"] + move
        for check in service.get("checks", []):
            if "http" in check:
                check["http"] = check["http"].replace(f":{old}/", f":{service['port']}/")
    return found


def _instances(registrations: list[Any]) -> list[tuple[int, str, str]]:
    return [(service["port"], service["name"], service["id"]) for service in registrations]


def _seed(folder: Path, address: str, more: Mapping[str, bytes]) -> None:
    """A file's path below `folder` is its key; `more` are values by their keys."""
    from gateway.discovery.consul_client import ConsulClient
    from gateway.discovery.consul_settings import ConsulSettings

    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    async def write() -> None:
        client = ConsulClient(ConsulSettings.from_environment({"CONSUL_HTTP_ADDR": address}))
        try:
            for key, value in {**files, **more}.items():
                await client.kv_put(key, value)
        finally:
            await client.close()

    asyncio.run(write())


def _await(children: Children, child: Child, what: str, ready: Callable[[], bool]) -> None:
    """Polls `ready`, because what it asks about is another process. Raises Failed if that takes too long or dies."""
    deadline = time.monotonic() + READY_WITHIN
    while not ready():
        for one in children.running:
            if one.ended:
                raise Failed(f"{one.name} did not start (code {one.exit_code}):\n{one.last_words()}")
        if time.monotonic() > deadline:
            raise Failed(f"{what} is not ready after {READY_WITHIN:.0f} s:\n{child.last_words()}")
        time.sleep(0.05)


def _is_ready(admin_port: int) -> bool:
    """And every instance passes: a freshly registered one is critical until its first check."""
    if not _get(f"http://127.0.0.1:{admin_port}/readyz"):
        return False
    told = _get(f"http://127.0.0.1:{admin_port}/v1/services")
    instances = [instance for service in told["services"] for instance in service["instances"]] if told else []
    return bool(instances) and all(instance["health"] == "passing" for instance in instances)


def _get(url: str) -> Any:  # noqa: ANN401 - whatever JSON there is
    """None where it does not answer 200."""
    try:
        with _OPENER.open(url, timeout=2) as answer:
            return json.load(answer)
    except (URLError, OSError, ValueError):
        return None
