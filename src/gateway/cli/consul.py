"""The commands' way to Consul: the same settings and the same client as the gateway's own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gateway.cli.errors import explained

if TYPE_CHECKING:
    from gateway.discovery.consul_client import ConsulClient
    from gateway.settings import Settings

T = TypeVar("T")

AddressOption = Annotated[
    str | None, typer.Option("--consul-address", metavar="ADDRESS", help="Consul agent; default: CONSUL_HTTP_ADDR.")
]
PrefixOption = Annotated[
    str | None, typer.Option("--prefix", metavar="PREFIX", help="Prefix in KV of the group of gateways.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON instead of a table.")]


def settings_for(consul_address: str | None = None, prefix: str | None = None) -> Settings:
    """The settings that a gateway started here would have."""
    from gateway.settings import load

    with explained():
        return load({"consul_address": consul_address, "prefix": prefix})


def with_consul(settings: Settings, ask: Callable[[ConsulClient], Awaitable[T]]) -> T:
    """Runs `ask` with a client of the Consul that the settings name. Raises Failed."""
    from gateway.discovery.consul_client import ConsulClient
    from gateway.discovery.consul_settings import ConsulSettings

    async def run() -> T:
        client = ConsulClient(ConsulSettings.from_environment(settings.consul_environment(os.environ)))
        try:
            return await ask(client)
        finally:
            await client.close()

    with explained():
        return asyncio.run(run())
