"""Free loopback ports that stay ours while a server is down between kill and restart."""

import random
import socket

FIRST, LAST = 12_000, 31_999
"""Below the kernel's ephemeral range, so that no outgoing connection takes the port of a stopped server."""

_given: set[int] = set()


def free_port() -> int:
    """A port free on 127.0.0.1 for TCP and UDP, never given twice by this process.

    Raises RuntimeError when a thousand draws found none.
    """
    for _ in range(1000):
        port = random.randint(FIRST, LAST)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no free port between {FIRST} and {LAST}")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
