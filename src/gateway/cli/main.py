"""The command line: what there is. Each command imports what it needs when it runs, so that `--help` is quick."""

from __future__ import annotations

import sys

import typer

from gateway import __version__
from gateway.build import COMPILED
from gateway.cli import check, credentials, demo_command, documents, replay, run_command, status
from gateway.cli.errors import Exit, Failed

app = typer.Typer(
    name="gateway",
    help="An HTTP gateway for Consul users: routes in KV, weights and health live from the catalog.",
    epilog="Exit codes: 0 fine; 1 the answer is no (a document has problems, a key is missing or has changed, the "
    "gateway is not ready); 2 wrong usage or settings; 3 something needed does not answer, or a port is taken.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run", cls=run_command.RunCommand, help=run_command.HELP)(run_command.run)
app.command("demo", short_help="Try it all on this machine, until Ctrl-C.")(demo_command.demo)
app.add_typer(documents.routes, name="routes")
app.add_typer(documents.services, name="services")
app.add_typer(credentials.credentials, name="credentials")
app.command("check", short_help="Check documents as the gateway will.")(check.check)
app.command("status", short_help="Show what a running gateway knows.")(status.status)
app.command("replay", short_help="Make a journal's decisions again.")(replay.replay)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gateway {__version__} ({'compiled' if COMPILED else 'interpreted'})")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print it."),
) -> None:
    pass


def main() -> None:
    """The entry point. Ends the process with one of the codes in `errors.Exit`."""
    try:
        app()
    except Failed as failed:
        print(f"gateway: {failed}", file=sys.stderr)
        sys.exit(failed.code)
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read us has seen enough; nothing is left to say, and the interpreter must not try to flush it.
        sys.stderr.close()
        sys.exit(Exit.OK)
