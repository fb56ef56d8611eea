"""Private keys, which have to be without a password."""

from __future__ import annotations

from typing import NoReturn


class Encrypted(Exception):
    """A key has a password."""


def no_password() -> NoReturn:
    """For whoever loads a key: else OpenSSL would ask for a password at the terminal. Raises Encrypted."""
    raise Encrypted("the key is encrypted; the gateway takes keys without a password")
