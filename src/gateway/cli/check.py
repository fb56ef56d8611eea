"""`gateway check FILE…`: would the gateway accept these documents?"""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import typer

from gateway.cli import shown
from gateway.cli.consul import settings_for
from gateway.cli.documents import read
from gateway.cli.errors import Exit, Failed

_SUFFIXES = (".json", ".yaml", ".yml")

KeyKind = Literal["routes", "services", "defaults"]


class KindOption(Enum):
    ROUTE = "route"
    SERVICE = "service"
    DEFAULTS = "defaults"


_KINDS: dict[KindOption, KeyKind] = {
    KindOption.ROUTE: "routes",
    KindOption.SERVICE: "services",
    KindOption.DEFAULTS: "defaults",
}


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files or folders; - is standard input.")],
    kind: Annotated[
        KindOption | None,
        typer.Option("--kind", help="What they are; needed unless the path has routes/, services/ or defaults in it."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only problems.")] = False,
) -> None:
    """Check routes, service policies and defaults as the gateway will, without Consul.

    Exit code 0: all would be accepted; 1: problems, printed as key:line:column: field: reason.
    """
    from gateway.cli.listing import problems
    from gateway.discovery.documents.defaults import BUILT_IN

    settings = settings_for()
    bad = 0
    for file in _files(files):
        kind_here, name = _identify(file, kind)
        raw = read(file)
        found = problems(kind_here, name, raw, BUILT_IN, settings, key=str(file))
        for problem in found:
            print(shown.problem(problem, raw), file=sys.stderr)
        bad += bool(found)
        if not found and not quiet:
            print(f"{file}: fine")
    if bad:
        raise typer.Exit(Exit.PROBLEMS)


def _files(given: list[Path]) -> list[Path]:
    files: list[Path] = []
    for path in given:
        if path.is_dir():
            files += sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        else:
            files.append(path)
    return files


def _identify(file: Path, kind: KindOption | None) -> tuple[KeyKind, str]:
    """Kind and name: `kv/gateway/routes/orders.yaml` is the route `orders`."""
    name = file.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    parts = [*file.absolute().parts[:-1], name]
    folders: tuple[KeyKind, ...] = ("routes", "services")
    for folder in folders:
        if folder in parts[:-1] and kind in (None, KindOption.ROUTE if folder == "routes" else KindOption.SERVICE):
            last = max(index for index, part in enumerate(parts[:-1]) if part == folder)
            return folder, "/".join(parts[last + 1 :])
    if kind is not None:
        return _KINDS[kind], "standard-input" if name == "-" else name
    if name == "defaults":
        return "defaults", name
    raise Failed(f"{file}: its path does not tell what it is; say --kind route, service or defaults", Exit.USAGE)
