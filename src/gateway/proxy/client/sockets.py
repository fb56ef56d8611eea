"""Sockets: those that listen are bound early, so that a taken port is an error before anything else has begun."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct


class ListenError(Exception):
    """A port cannot be had; the message names it and the flag that changes it."""


def bind(host: str | None, port: int, flag: str) -> socket.socket:
    """A bound socket that does not listen yet, so that clients are refused until it does.

    `host` None is all interfaces, of both families where the system has them. Raises ListenError.
    """
    address = (host or "", port)
    try:
        if host is None and socket.has_dualstack_ipv6():
            return _bound(socket.AF_INET6, address, dual=True)
        family = socket.AF_INET6 if host is not None and ":" in host else socket.AF_INET
        return _bound(family, address, dual=False)
    except OSError as error:
        raise ListenError(_why(error, host, port, flag)) from error


def prepare(listening: socket.socket) -> None:
    """Sets what its connections inherit (tcp(7), socket(7)), so that none needs calls of its own: nothing is held back
    to be sent with more, and a peer that has vanished is noticed."""
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def reset_at_close(transport: asyncio.Transport) -> None:
    """Has the peer of this connection learn of its end by an error (socket(7))."""
    connected = transport.get_extra_info("socket")
    if connected is not None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _bound(family: socket.AddressFamily, address: tuple[str, int], *, dual: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        made.bind(address)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


def _why(error: OSError, host: str | None, port: int, flag: str) -> str:
    where = f"port {port}" if host is None else f"port {port} on {host}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken; choose another with {flag}"
    if error.errno == errno.EACCES:
        return f"{where} may not be bound by this user; choose another with {flag}"
    return f"cannot listen on {where}: {error.strerror or error}; choose another with {flag}"
