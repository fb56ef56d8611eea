"""The document under `credentials/<id>`: an API key or a password, as a hash, and whose it is."""

from __future__ import annotations

import binascii
import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StrictStr, model_validator

from gateway.core.authentication import Credential, KeyHash, PasswordHash
from gateway.core.jwk import from_base64url
from gateway.discovery.documents.model import Document
from gateway.discovery.documents.syntax import HeaderValue, Scope
from gateway.discovery.documents.units import refusal

_SHA256 = re.compile(r"[0-9a-f]{64}").fullmatch
_SCRYPT = re.compile(
    r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,2}),p=([0-9]{1,2})\$([\w-]{11,86})\$([\w-]{43,86})"
).fullmatch
_LN, _R, _P = range(14, 18), range(8, 17), range(1, 5)
"""At least what resists guessing, at most a quarter of a gibibyte."""


def _sha256(text: str) -> str:
    if not _SHA256(text):
        raise refusal("has to be the SHA-256 of a key, as 64 hexadecimal digits in lower case")
    return text


def _scrypt(text: str) -> str:
    password_hash(text)
    return text


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise refusal("has to be a time such as 2027-01-31T00:00:00Z (RFC 3339)") from None
    if moment.tzinfo is None:
        raise refusal("needs a time zone, such as Z at its end")
    return text


def password_hash(text: str) -> PasswordHash:
    """Raises a refusal that does not repeat the text."""
    found = _SCRYPT(text)
    try:
        if found is None:
            raise ValueError
        salt, digest = from_base64url(found.group(4)), from_base64url(found.group(5))
    except (ValueError, binascii.Error):
        raise refusal("has to be $scrypt$ln=…,r=…,p=…$salt$hash, as `gateway credentials create` writes it") from None
    log_n, r, p = (int(number) for number in found.groups()[:3])
    if log_n not in _LN or r not in _R or p not in _P:
        raise refusal("has to be of a cost of ln 14 to 17, r 8 to 16 and p 1 to 4")
    return PasswordHash(salt, digest, log_n, r, p)


class CredentialDocument(Document):
    """An API key needs `sha256`, a user `scrypt`."""

    kind: Literal["api_key", "basic"] = Field(description="What it is: a key, or the password of the user of that id.")
    sha256: Annotated[StrictStr, AfterValidator(_sha256)] | None = Field(
        None, description="SHA-256 of the key, in hexadecimal; the key has at least 128 random bits."
    )
    scrypt: Annotated[StrictStr, Field(max_length=256), AfterValidator(_scrypt)] | None = Field(
        None, description="`$scrypt$ln=…,r=…,p=…$salt$hash` of the password, in base64url."
    )
    owner: HeaderValue = Field("", description="Whose it is; the id where it is left out.")
    scopes: Annotated[tuple[Scope, ...], Field(max_length=64)] = Field((), description="What it may be used for.")
    expires: Annotated[StrictStr, Field(max_length=40), AfterValidator(_moment)] | None = Field(
        None, description="When it ends, such as `2027-01-31T00:00:00Z`; left out: never."
    )

    @model_validator(mode="after")
    def _its_hash(self) -> CredentialDocument:
        wanted, other = ("sha256", "scrypt") if self.kind == "api_key" else ("scrypt", "sha256")
        if wanted not in self.model_fields_set or other in self.model_fields_set:
            raise refusal(f"{self.kind} needs {wanted}, and no {other}")
        return self

    def value(self, name: str, version: int) -> Credential:
        return Credential(
            id=name,
            version=version,
            secret=KeyHash(bytes.fromhex(self.sha256)) if self.sha256 else password_hash(self.scrypt or ""),
            owner=self.owner,
            scopes=frozenset(self.scopes),
            expires=None if self.expires is None else datetime.fromisoformat(self.expires).timestamp(),
        )
