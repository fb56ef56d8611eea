"""`gateway run`: every setting as a flag, described by the settings themselves."""

from __future__ import annotations

import errno
import inspect
import os
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from gateway.cli.errors import Failed, explained

if TYPE_CHECKING:
    from gateway.settings import Settings

HELP = (
    "Run a gateway until SIGTERM or Ctrl-C, which drain it. Settings come from gateway.toml, GATEWAY_* and these "
    "flags, in rising order."
)


class RunCommand(TyperCommand):
    """Makes its flags only when they are asked for: reading the settings' model takes longer than `--help` may."""

    @cached_property
    def _real(self) -> TyperCommand:
        maker = typer.Typer(rich_markup_mode=None, add_completion=False)
        maker.command("run", help=HELP)(_with_flags(run))
        made = typer.main.get_command(maker)
        assert isinstance(made, TyperCommand)
        return made

    def get_params(self, ctx: typer.Context) -> Any:  # type: ignore[override] # noqa: ANN401 - Typer's own class is private
        return self._real.get_params(ctx)

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        return self._real.invoke(ctx)


def run(config: Path | None = None, **flags: object) -> None:
    """Loads the settings and runs the gateway; returns when it has drained."""
    from gateway import settings as settings_module

    with explained():
        settings = settings_module.load(flags, config)
    for warning in settings_module.misspelt_environment(os.environ):
        print(f"gateway: warning: {warning}", file=sys.stderr)
    from gateway import app
    from gateway.app.handover import HandoverError
    from gateway.journal.segments import JournalError
    from gateway.proxy.client.certificate_files import TlsError
    from gateway.proxy.client.sockets import ListenError

    with explained():
        try:
            app.run(settings)
        except (ListenError, TlsError, HandoverError) as error:
            raise Failed(str(error)) from error
        except JournalError as error:
            raise Failed(f"{error}; --journal moves it") from error
        except OSError as error:
            raise _explained_here(error, settings) from error


def _explained_here(error: OSError, settings: Settings) -> Exception:
    """Both ports are had before all else, so that files are left to fail, and a port that somebody took meanwhile."""
    if error.filename == settings.access_log:
        return Failed(f"the access log {error.filename} cannot be opened: {error.strerror}; --access-log moves it")
    why = {
        errno.EADDRINUSE: "is taken",
        errno.EACCES: "may not be bound by this user",
        errno.EADDRNOTAVAIL: "is no address of this machine",
    }.get(error.errno or 0)
    return Failed(f"{settings.admin_listen} {why}; choose another with --admin-listen") if why else error


def _with_flags(function: Callable[..., None]) -> Callable[..., None]:
    """`function` with a signature that has one keyword for each setting, for Typer to read."""
    from gateway.settings import DEFAULT_FILE, NO_FLAG, Settings, flag_name, shown_default

    def taking_flags(**given: object) -> None:
        function(**given)

    help_for_config = f"File of settings; by default {DEFAULT_FILE} here, if there is one. (GATEWAY_CONFIG)"
    wanted = [_keyword("config", Path | None, typer.Option("--config", metavar="FILE", help=help_for_config))]
    for name, field in Settings.model_fields.items():
        if name in NO_FLAG:
            continue
        boolean = field.annotation in (bool, bool | None)
        flag = f"{flag_name(name)}/--no-{name.replace('_', '-')}" if boolean else flag_name(name)
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        unit = f" [{extra['unit']}]" if extra.get("unit") else ""
        default = "" if field.default is None or field.default == () else f" [default: {shown_default(field.default)}]"
        option = typer.Option(
            flag, help=f"{field.description}{unit}{default}", metavar=None if boolean else "VALUE", show_default=False
        )
        wanted.append(_keyword(name, bool | None if boolean else str | None, option))
    taking_flags.__signature__ = inspect.Signature(wanted)  # type: ignore[attr-defined]
    taking_flags.__annotations__ = {parameter.name: parameter.annotation for parameter in wanted}
    return taking_flags


def _keyword(name: str, kind: object, option: object) -> inspect.Parameter:
    annotation = Annotated[kind, option]  # type: ignore[valid-type]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
