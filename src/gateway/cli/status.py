"""`gateway status`: how a running gateway is, by its admin surface."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, build_opener

import typer

from gateway.cli import shown
from gateway.cli.consul import JsonOption, settings_for
from gateway.cli.errors import Exit, Failed

_PARTS = ("/readyz", "/v1/consul", "/v1/routes", "/v1/services", "/v1/circuits")


def status(
    admin: Annotated[
        str | None, typer.Option("--admin", metavar="HOST:PORT", help="Admin surface; default: setting admin_listen.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show readiness, the age of each view of Consul, rejected keys, instances and circuits of a running gateway.

    Exit code 0: ready; 1: not ready; 3: it does not answer.
    """
    address = (admin or str(settings_for().admin_listen)).removeprefix("http://").rstrip("/")
    if address.startswith(":"):
        address = "127.0.0.1" + address
    told = {"gateway": _ask(address, "/"), **{part.rpartition("/")[2]: _ask(address, part) for part in _PARTS}}
    if as_json:
        shown.as_json(told)
    else:
        _show(told, address)
    if not told["readyz"]["ready"]:
        raise typer.Exit(Exit.PROBLEMS)


def _ask(address: str, path: str) -> Any:  # noqa: ANN401 - whatever JSON it answers
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(f"http://{address}{path}", timeout=5) as answer:
            return json.load(answer)
    except HTTPError as answer:
        if answer.code == 503 and path == "/readyz":
            return json.load(answer)
        raise Failed(f"http://{address}{path} answered {answer.code}; is it a gateway's admin surface?") from answer
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Failed(f"no gateway's admin surface at {address}: {reason}; --admin says where it is") from error


def _show(told: dict[str, Any], address: str) -> None:
    ready, consul = told["readyz"], told["consul"]
    who = told["gateway"]
    name = f"{who.get('id', '')} ({who.get('mode', '')}, prefix {who.get('prefix', '')})"
    print(f"Gateway {name} at {address}: {'ready' if ready['ready'] else 'NOT READY'}")
    for reason in ready["reasons"]:
        print(f"  {reason}")
    for duty in ("registration", "status"):
        done, error = consul[duty]["done"], consul[duty]["error"]
        print(f"  {duty} in Consul: {'done' if done else error or 'off'}")
    shown.table(
        f"Views of Consul at {consul['address']}",
        ("VIEW", "STATE", "AGE", "INDEX", "ERROR"),
        [
            (view["view"], view["state"], _age(view["age"]), str(view["index"] or ""), view["error"] or "")
            for view in consul["views"]
        ],
    )
    shown.table(
        "Instances",
        ("SERVICE", "INSTANCE", "ADDRESS", "HEALTH", "WEIGHT", "CIRCUIT", "IN FLIGHT"),
        [
            (
                service["service"],
                instance["instance"],
                f"{instance['address']}:{instance['port']}",
                instance["health"],
                str(instance["weight"]),
                instance["circuit"] or "",
                str(instance["in_flight"]),
            )
            for service in told["services"]["services"]
            for instance in service["instances"]
        ],
    )
    print(f"{len(told['routes']['routes'])} routes in force, {len(told['routes']['rejections'])} keys rejected.")
    for rejection in told["routes"]["rejections"]:
        field = f" {rejection['field']}:" if rejection["field"] else ""
        print(f"  {rejection['key']}:{rejection['line']}:{rejection['column']}:{field} {rejection['reason']}")


def _age(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"
