"""`gateway routes …` and `gateway services …`: the documents in KV, checked before they are written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gateway.cli import shown
from gateway.cli.consul import AddressOption, JsonOption, PrefixOption, settings_for, with_consul
from gateway.cli.errors import Exit, Failed

if TYPE_CHECKING:
    from gateway.cli.listing import Listed
    from gateway.discovery.consul_client import ConsulClient
    from gateway.discovery.documents.rejection import Rejection
    from gateway.settings import Settings

Kind = Literal["routes", "services"]

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="What follows <prefix>/routes/ or <prefix>/services/ in its key.")
]
FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="JSON or YAML; - is standard input.")]
CasOption = Annotated[
    int | None,
    typer.Option(
        "--cas", metavar="INDEX", help="Only if the key's ModifyIndex is still this one; for put, 0: only if it is new."
    ),
]


def _commands(kind: Kind, noun: str) -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, help=f"The {noun} in Consul KV.", rich_markup_mode=None)

    @group.command("list", help=f"All {noun} with what the gateways say of them.")
    def list_all(
        consul_address: AddressOption = None, prefix: PrefixOption = None, as_json: JsonOption = False
    ) -> None:
        _list(kind, settings_for(consul_address, prefix), as_json=as_json)

    @group.command("get", help="Print one as it stands in KV.")
    def get(name: NameArgument, consul_address: AddressOption = None, prefix: PrefixOption = None) -> None:
        _get(kind, name, settings_for(consul_address, prefix))

    @group.command("put", help="Check one and write it; what has problems is not written.")
    def put(
        name: NameArgument,
        file: FileArgument,
        cas: CasOption = None,
        consul_address: AddressOption = None,
        prefix: PrefixOption = None,
    ) -> None:
        _put(kind, name, file, cas, settings_for(consul_address, prefix))

    @group.command("delete", help="Delete one.")
    def delete(
        name: NameArgument, cas: CasOption = None, consul_address: AddressOption = None, prefix: PrefixOption = None
    ) -> None:
        _delete(kind, name, cas, settings_for(consul_address, prefix))

    return group


routes = _commands("routes", "routes")
services = _commands("services", "service policies")


def read(file: Path) -> bytes:
    """The bytes of a file, or of standard input. Raises Failed."""
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise Failed(f"{file}: cannot be read: {error.strerror}", Exit.USAGE) from error


def _list(kind: Kind, settings: Settings, *, as_json: bool) -> None:
    from gateway.cli import listing

    listed = with_consul(settings, lambda client: listing.gather(client, settings, kind))
    if as_json:
        shown.as_json([item.as_json() for item in listed])
    else:
        _show(kind, settings, listed)


def _show(kind: Kind, settings: Settings, listed: list[Listed]) -> None:
    if not listed:
        print(f"There is nothing under {settings.prefix}/{kind}/.")
        return
    columns = ("NAME", "VERSION", "WHAT", "VERDICT")
    shown.table("", columns, [(item.name, str(item.version), item.summary, item.verdict) for item in listed])


def _get(kind: Kind, name: str, settings: Settings) -> None:
    key = f"{settings.prefix}/{kind}/{name}"
    entry = with_consul(settings, lambda client: client.kv_entry(key))
    if entry is None:
        raise Failed(f"there is no key {key}", Exit.PROBLEMS)
    value = entry.value or b""
    sys.stdout.buffer.write(value if value.endswith(b"\n") else value + b"\n")
    sys.stdout.buffer.flush()


def _put(kind: Kind, name: str, file: Path, cas: int | None, settings: Settings) -> None:
    raw = read(file)
    key = f"{settings.prefix}/{kind}/{name}"

    async def write(client: ConsulClient) -> tuple[list[Rejection], bool]:
        from gateway.cli import listing

        problems = listing.problems(kind, name, raw, await listing.defaults(client, settings), settings)
        return problems, not problems and await client.kv_put(key, raw, cas)

    problems, written = with_consul(settings, write)
    if problems:
        for found in problems:
            print(shown.problem(found, raw), file=sys.stderr)
        raise Failed(f"{key} was not written", Exit.PROBLEMS)
    if not written:
        raise Failed(f"{key} has changed since index {cas} and was not written; read it again", Exit.PROBLEMS)
    print(f"{key} is written.")


def _delete(kind: Kind, name: str, cas: int | None, settings: Settings) -> None:
    key = f"{settings.prefix}/{kind}/{name}"

    async def remove(client: ConsulClient) -> tuple[bool, bool]:
        there = await client.kv_entry(key) is not None
        return there, there and await client.kv_delete(key, cas)

    there, deleted = with_consul(settings, remove)
    if not there:
        raise Failed(f"there is no key {key}", Exit.PROBLEMS)
    if not deleted:
        raise Failed(f"{key} has changed since index {cas} and was not deleted; read it again", Exit.PROBLEMS)
    print(f"{key} is deleted.")
