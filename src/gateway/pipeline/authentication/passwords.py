"""Passwords against their slow hashes: in a few threads, with a bounded number of them waiting."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from concurrent.futures import ThreadPoolExecutor

from gateway.core.authentication import Credential, PasswordHash
from gateway.pipeline.authentication.verified import Verified

THREADS = 2
MAX_WAITING = 32
MAX_REMEMBERED = 1_000
_NOBODY = PasswordHash(salt=bytes(16), digest=bytes(32))
"""What is worked on where there is no such user, so that the time does not tell who is one."""
_OVERHEAD = 1 << 20


class Busy(Exception):
    """As many passwords wait as may."""


class Passwords:
    """Successes are remembered under a keyed hash, whose key never leaves the process."""

    def __init__(self) -> None:
        self._remembered: Verified[bool] = Verified(MAX_REMEMBERED)
        self._key = secrets.token_bytes(32)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")
        self._waiting = 0

    def remembers(self, credential: Credential, password: bytes) -> bool:
        return bool(self._remembered.get(self._hash(credential, password), credential, 0))

    async def verify(self, credential: Credential | None, password: bytes) -> bool:
        """Takes as long for nobody as for a user. Raises Busy."""
        if self._waiting >= MAX_WAITING:
            raise Busy
        secret = _NOBODY if credential is None else credential.secret
        assert isinstance(secret, PasswordHash)
        self._waiting += 1
        try:
            good = await asyncio.get_running_loop().run_in_executor(self._threads, matches, secret, password)
        finally:
            self._waiting -= 1
        if credential is None or not good:
            return False
        self._remembered.put(self._hash(credential, password), credential, True, float("inf"))
        return True

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _hash(self, credential: Credential, password: bytes) -> bytes:
        return hmac.digest(self._key, credential.id.encode() + b":" + password, "sha256")


def matches(secret: PasswordHash, password: bytes) -> bool:
    """Tens of milliseconds, without the interpreter's lock."""
    n = 1 << secret.log_n
    memory = 128 * secret.r * (n + secret.p) + _OVERHEAD
    found = hashlib.scrypt(
        password, salt=secret.salt, n=n, r=secret.r, p=secret.p, maxmem=memory, dklen=len(secret.digest)
    )
    return hmac.compare_digest(found, secret.digest)
