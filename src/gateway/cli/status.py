"""`gateway status`: how a running gateway is, by its admin surface."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

import typer

from gateway.cli import shown
from gateway.cli.consul import JsonOption, settings_for
from gateway.cli.errors import Exit, Failed

if TYPE_CHECKING:
    from gateway.settings import Settings

_PARTS = ("/readyz", "/v1/tls", "/v1/consul", "/v1/routes", "/v1/services", "/v1/circuits")


def status(
    admin: Annotated[
        str | None, typer.Option("--admin", metavar="HOST:PORT", help="Admin surface; default: setting admin_listen.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show readiness, the age of each view of Consul, rejected keys, certificates, instances and circuits of a running
    gateway. The token that it may ask for is that of the settings admin_token and admin_token_file.

    Exit code 0: ready; 1: not ready; 3: it does not answer.
    """
    settings = settings_for()
    address = (admin or str(settings.admin_listen)).removeprefix("http://").rstrip("/")
    if address.startswith(":"):
        address = "127.0.0.1" + address
    token = _token(settings)
    told = {"gateway": _ask(address, "/", token)}
    told |= {part.rpartition("/")[2]: _ask(address, part, token) for part in _PARTS}
    if as_json:
        shown.as_json(told)
    else:
        _show(told, address)
    if not told["readyz"]["ready"]:
        raise typer.Exit(Exit.PROBLEMS)


def _token(settings: Settings) -> str | None:
    from gateway.discovery.token import TokenSource

    given = settings.admin_token
    source = TokenSource(None if given is None else given.get_secret_value(), settings.admin_token_file)
    return source.current()


def _ask(address: str, path: str, token: str | None) -> Any:  # noqa: ANN401 - whatever JSON it answers
    opener = build_opener(ProxyHandler({}))
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with opener.open(Request(f"http://{address}{path}", headers=headers), timeout=5) as answer:
            return json.load(answer)
    except HTTPError as answer:
        if answer.code == 503 and path == "/readyz":
            return json.load(answer)
        if answer.code == 401:
            asks = "asks for its token" if token is None else "does not take this token"
            raise Failed(f"http://{address} {asks}: set GATEWAY_ADMIN_TOKEN or GATEWAY_ADMIN_TOKEN_FILE") from answer
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
    if told["tls"]["certificates"]:
        shown.table(
            "Certificates",
            ("FILE", "NAMES", "EXPIRES", "ERROR"),
            [
                (each["file"], ", ".join(each["names"]), each["expires"], each["error"] or "")
                for each in told["tls"]["certificates"]
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
