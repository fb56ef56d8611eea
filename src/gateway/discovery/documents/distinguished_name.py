"""Distinguished names as operators write them (RFC 4514), in the one spelling that certificates' are compared in."""

from __future__ import annotations

from cryptography import x509

from gateway.core.authentication import ATTRIBUTE_NAMES

_IDENTIFIERS = {name: x509.ObjectIdentifier(identifier) for identifier, name in ATTRIBUTE_NAMES.items()}
_NAMES = {identifier: name for name, identifier in _IDENTIFIERS.items()}


class NotDistinguished(ValueError):
    """It cannot be read as a distinguished name."""


def distinguished_name(text: str) -> str:
    """Raises NotDistinguished."""
    try:
        return x509.Name.from_rfc4514_string(text, _IDENTIFIERS).rfc4514_string(_NAMES)
    except ValueError as error:
        raise NotDistinguished(str(error)) from error
