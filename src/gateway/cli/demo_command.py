"""`gateway demo`: what it can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.demo_ports import Ports


def demo(
    port: Annotated[int, typer.Option(help="Port of the edge gateway.")] = 8080,
    admin_port: Annotated[int, typer.Option(help="Port of its admin surface.")] = 8081,
    sidecar_port: Annotated[int, typer.Option(help="Port of the sidecar gateway.")] = 8082,
    sidecar_admin_port: Annotated[int, typer.Option(help="Port of its admin surface.")] = 8083,
    services_port: Annotated[
        int, typer.Option(help="First port of the sample services; the others keep their distance from it.")
    ] = 9001,
    consul_port: Annotated[
        int | None, typer.Option(help="Port of the Consul agent.", show_default="8500, or another if it is taken")
    ] = None,
    definitions: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="With services/ and kv/; default: consul/ here or in the source tree."),
    ] = None,
) -> None:
    """Try it: a Consul agent, three services, an edge gateway and a sidecar, until Ctrl-C removes them all."""
    from gateway.cli.demo import Demo

    Demo(Ports(port, admin_port, sidecar_port, sidecar_admin_port, services_port, consul_port), definitions).run()
