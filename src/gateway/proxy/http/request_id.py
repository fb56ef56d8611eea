"""`X-Request-Id`: one name for a request in everybody's logs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.telemetry.ids import digits

_SANE = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")


def request_id(received: Sequence[str], trusted: bool) -> str:
    """A trusted hop's id if it is one and sane, or else a new one of 32 hexadecimal digits."""
    if trusted and len(received) == 1 and _SANE.fullmatch(received[0]):
        return received[0]
    return digits.take(32)
