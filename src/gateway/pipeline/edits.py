"""What edits of requests share."""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway.core.model import Reason
from gateway.pipeline.stage import Call

RequestEdit = Callable[[Call], None]
"""Changes what goes upstream. Raises Unfit."""

MAX_TARGET = 8192
"""Characters of a path and a query that are made here."""

_HOST = r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\])"
_BARE_HOST = re.compile(_HOST).fullmatch
_HOST_AND_PORT = re.compile(rf"{_HOST}(?::([1-9][0-9]{{0,4}}))?").fullmatch
_LAST_PORT = 65535
_LONGEST_HOST = 261


class Unfit(Exception):
    """What this request's values make of a filter cannot be sent. `detail` is for the client, and echoes nothing."""

    def __init__(self, detail: str, reason: Reason = Reason.BAD_REQUEST) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason


def fit_host(host: str, *, port: bool) -> str:
    """A host name or address in lower case, and where `port` allows it with a port. Raises Unfit."""
    lower = host.lower()
    match = _HOST_AND_PORT(lower) if port else _BARE_HOST(lower)
    if match is None or len(lower) > _LONGEST_HOST or (port and int(match[1] or 0) > _LAST_PORT):
        raise Unfit("this route makes no valid host of the request")
    return lower


def fit_length(target: str) -> str:
    """Raises Unfit."""
    if len(target) > MAX_TARGET:
        raise Unfit("this route makes too long a target of the request", Reason.URI_TOO_LONG)
    return target
