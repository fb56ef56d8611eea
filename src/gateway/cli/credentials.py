"""`gateway credentials …`: API keys and users' passwords, of which Consul KV holds hashes alone."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import shown
from gateway.cli.consul import AddressOption, JsonOption, PrefixOption, settings_for, with_consul
from gateway.cli.errors import Exit, Failed

if TYPE_CHECKING:
    from gateway.core.authentication import Credential
    from gateway.discovery.consul_client import ConsulClient, KvEntry
    from gateway.discovery.documents import Rejection

credentials = typer.Typer(
    no_args_is_help=True, help="API keys and users, in Consul KV as hashes.", rich_markup_mode=None
)

IdArgument = Annotated[
    str, typer.Argument(metavar="ID", help="What follows <prefix>/credentials/ in its key; of a user, the name.")
]
BasicOption = Annotated[
    bool, typer.Option("--basic", help="A user, whose password is asked for, or read from standard input.")
]
OwnerOption = Annotated[str | None, typer.Option("--owner", metavar="TEXT", help="Whose it is; default: ID.")]
ScopeOption = Annotated[
    list[str] | None, typer.Option("--scope", metavar="SCOPE", help="What it may be used for; may be given again.")
]
ExpiresOption = Annotated[
    str | None, typer.Option("--expires", metavar="TIME", help="When it ends, such as 2027-01-31T00:00:00Z.")
]


@credentials.command("create", help="Make one. An API key is printed, now and never again.")
def create(
    identifier: IdArgument,
    basic: BasicOption = False,
    owner: OwnerOption = None,
    scope: ScopeOption = None,
    expires: ExpiresOption = None,
    consul_address: AddressOption = None,
    prefix: PrefixOption = None,
) -> None:
    import msgspec

    from gateway.discovery.documents import Rejection, hashed_key, hashed_password, new_key, parse_credential

    settings = settings_for(consul_address, prefix)
    key = f"{settings.prefix}/credentials/{identifier}"
    secret = _password() if basic else new_key()
    kind, field, hashed = ("basic", "scrypt", hashed_password) if basic else ("api_key", "sha256", hashed_key)
    document = {"kind": kind, field: hashed(secret), "owner": owner, "scopes": scope, "expires": expires}
    raw = msgspec.json.encode({name: value for name, value in document.items() if value})
    found = parse_credential(identifier, raw, 0, key=key)
    if isinstance(found, Rejection):
        raise Failed(f"{found.field or key}: {found.reason}", Exit.USAGE)
    if not with_consul(settings, lambda client: client.kv_put(key, raw, 0)):
        raise Failed(f"there is a key {key} already; revoke it first", Exit.PROBLEMS)
    print(f"{key} is written.", file=sys.stderr)
    if not basic:
        print(secret)


@credentials.command("list", help="All credentials, without what is secret.")
def list_all(consul_address: AddressOption = None, prefix: PrefixOption = None, as_json: JsonOption = False) -> None:
    settings = settings_for(consul_address, prefix)
    start = f"{settings.prefix}/credentials/"
    entries = with_consul(settings, lambda client: client.kv_entries(start))
    listed = [_listed(entry, entry.key.removeprefix(start)) for entry in entries if not entry.key.endswith("/")]
    if as_json:
        shown.as_json(listed)
    elif listed:
        columns = ("id", "kind", "owner", "scopes", "expires", "verdict")
        shown.table("", [name.upper() for name in columns], [[each[name] for name in columns] for each in listed])
    else:
        print(f"There is nothing under {start}.")


@credentials.command("revoke", help="Delete one; gateways refuse it from then on.")
def revoke(identifier: IdArgument, consul_address: AddressOption = None, prefix: PrefixOption = None) -> None:
    settings = settings_for(consul_address, prefix)
    key = f"{settings.prefix}/credentials/{identifier}"

    async def remove(client: ConsulClient) -> bool:
        return await client.kv_entry(key) is not None and await client.kv_delete(key, None)

    if not with_consul(settings, remove):
        raise Failed(f"there is no key {key}", Exit.PROBLEMS)
    print(f"{key} is revoked.")


def _password() -> str:
    """Raises Failed for an empty one."""
    given = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not given:
        raise Failed("the password is empty", Exit.USAGE)
    return given


def _listed(entry: KvEntry, name: str) -> dict[str, str]:
    from gateway.discovery.documents import Rejection, parse_credential

    found: Credential | Rejection = parse_credential(name, entry.value or b"", entry.modify_index, key=entry.key)
    if isinstance(found, Rejection):
        nothing = dict.fromkeys(("kind", "owner", "scopes", "expires"), "")
        return {"id": name, **nothing, "verdict": f"rejected: {found.field or 'document'}: {found.reason}"}
    return {"id": name, **_told(found), "verdict": "accepted"}


def _told(credential: Credential) -> dict[str, str]:
    from datetime import UTC, datetime

    from gateway.core.authentication import KeyHash

    expires = credential.expires
    return {
        "kind": "api_key" if isinstance(credential.secret, KeyHash) else "basic",
        "owner": credential.owner or credential.id,
        "scopes": " ".join(sorted(credential.scopes)),
        "expires": "" if expires is None else datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds"),
    }
