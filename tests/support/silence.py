"""Ports that take no connection: neither accepted nor refused, as behind a firewall that drops packets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def silent_port() -> Iterator[int]:
    """A loopback port where connects run into their time-out: its queue is full, and nobody accepts."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            probe = stack.enter_context(socket.socket())
            probe.settimeout(0.2)
            try:
                probe.connect(("127.0.0.1", port))
            except TimeoutError:
                yield port
                return
        raise RuntimeError("the port goes on taking connections")
