"""WebSocket's opening handshake (RFC 6455 §4): the parts of it that say that both sides mean it."""

from __future__ import annotations

import base64
import hashlib
import re

PROTOCOL = "websocket"
_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_KEY_LINE = re.compile(rb"^sec-websocket-key: (\S+)\r$", re.IGNORECASE | re.MULTILINE)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def is_key(value: str) -> bool:
    """Whether this is a `Sec-WebSocket-Key`: sixteen bytes in base64 (§4.1)."""
    return _KEY.fullmatch(value) is not None


def accept_of(lines: bytes) -> str | None:
    """The `Sec-WebSocket-Accept` that answers a request with these encoded fields (§4.2.2); None without a key.

    An instance that says 101 without it did not read this request as a handshake, whatever it read it as.
    """
    found = _KEY_LINE.search(lines)
    return None if found is None else base64.b64encode(hashlib.sha1(found[1] + _GUID).digest()).decode()  # noqa: S324
