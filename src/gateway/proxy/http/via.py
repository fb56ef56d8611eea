"""`Via` (RFC 9110 §7.6.3): we add our pseudonym to it, and know by it a request that has come round to us again."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.proxy.http.fields import elements


def has_passed(values: Sequence[str], pseudonym: str) -> bool:
    """Whether a message has been here before."""
    for element in elements(values):
        protocol_and_name = element.split(None, 2)
        if len(protocol_and_name) > 1 and protocol_and_name[1] == pseudonym:
            return True
    return False


def extended(values: Sequence[str], pseudonym: str, version: str = "1.1") -> str:
    """The field for a message that we received in that version of HTTP."""
    ours = f"{version} {pseudonym}"
    return ", ".join((*values, ours)) if values else ours
