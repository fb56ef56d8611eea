"""How a command fails: one line that says what, where, and what to do; and a code that scripts can rely on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command. Typer's own usage errors have 2 as well."""

    OK = 0
    PROBLEMS = 1
    """The question has the answer no: a document has problems, a key is missing or changed, a gateway is not ready."""
    USAGE = 2
    """The command line or the settings cannot be used."""
    UNAVAILABLE = 3
    """Something needed did not work: Consul or the admin surface does not answer or refuses, a port is taken."""
    INTERRUPTED = 130


class Failed(Exception):
    """Ends the command; `message` goes to standard error."""

    def __init__(self, message: str, code: Exit = Exit.UNAVAILABLE) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def explained() -> Iterator[None]:
    """Turns what operators and their environment can cause into `Failed`."""
    from gateway.discovery.errors import ConsulError, ConsulSettingsError
    from gateway.settings import SettingsError

    try:
        yield
    except (SettingsError, ConsulSettingsError) as error:
        raise Failed(str(error), Exit.USAGE) from error
    except ConsulError as error:
        raise Failed(f"Consul: {error}") from error
