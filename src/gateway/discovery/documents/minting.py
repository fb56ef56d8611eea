"""New secrets, and the hashes of them that documents hold."""

from __future__ import annotations

import base64
import hashlib
import secrets

from gateway.core.authentication import PasswordHash

KEY_BYTES = 32
KEY_MARK = "gwk_"
"""What API keys begin with, so that a search for leaked secrets finds them."""
_SALT_BYTES = 16
_DIGEST_BYTES = 32
_MAX_MEMORY = 1 << 28


def new_key() -> str:
    return KEY_MARK + secrets.token_urlsafe(KEY_BYTES)


def hashed_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def hashed_password(password: str) -> str:
    salt = secrets.token_bytes(_SALT_BYTES)
    cost = PasswordHash(salt, b"")
    digest = hashlib.scrypt(
        password.encode(), salt=salt, n=1 << cost.log_n, r=cost.r, p=cost.p, maxmem=_MAX_MEMORY, dklen=_DIGEST_BYTES
    )
    return f"$scrypt$ln={cost.log_n},r={cost.r},p={cost.p}${_encoded(salt)}${_encoded(digest)}"


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
