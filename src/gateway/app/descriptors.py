"""How many clients the process has descriptors for.

Without any left a new connection is reset, and neither an instance nor Consul can be reached by a new one. That must
not be in the hands of clients that open connections and say nothing: so it is seen to at the start, and above what
there is room for the oldest idle connection is closed, as above `max_connections`.
"""

from __future__ import annotations

import logging
import resource

_log = logging.getLogger("gateway")

RESERVE = 64
"""For what is open besides clients, instances and the watches of Consul: files, the admin surface, resolvers."""
_EACH = 2
"""A client, and the instance that answers it."""


def room_for_clients(wanted: int, watches: int) -> int:
    """How many of the client connections `wanted` there is room for, beside `watches` of Consul.

    The process's soft limit is raised as far as that takes and the hard one lets it; what is missing is logged.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = _EACH * wanted + watches + RESERVE
    if _allows(soft, needed):
        return wanted
    if _allows(hard, needed):
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
        return wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = max((hard - watches - RESERVE) // _EACH, hard // (2 * _EACH))
    _log.warning(
        "The process may open too few files for max_connections, so it takes fewer; raise its limit (LimitNOFILE).",
        extra={"max_connections": wanted, "taken": room, "limit": hard, "needed": needed},
    )
    return room


def _allows(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed
