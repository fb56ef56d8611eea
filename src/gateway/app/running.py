"""Runs a gateway until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal

import uvloop

from gateway.app.application import App
from gateway.settings import Settings
from gateway.telemetry import logs

logger = logging.getLogger("gateway")

_COLLECT_AFTER = 50_000
"""New objects after which the youngest are looked through for cycles. Requests leave none, so it is for all else."""


def run(settings: Settings) -> None:
    """Runs a gateway until SIGTERM or SIGINT, and returns when it has drained; a second signal ends it at once.

    Raises ListenError, TlsError, JournalError or OSError where a port or a file cannot be had, SettingsError where the
    admin token's file holds none, ValueError for `CONSUL_*` that make no sense.
    """
    logs.configure(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings))


async def _run(settings: Settings) -> None:
    app = App(settings)
    spare_the_collector()
    loop = asyncio.get_running_loop()
    running = loop.create_task(app.run())

    signalled = False

    def stop() -> None:
        # Not `app.draining`: who asks for a drain at the admin surface sends the first signal after it.
        nonlocal signalled
        if signalled:
            running.cancel()
        signalled = True
        app.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await running
    except asyncio.CancelledError:
        logger.warning("A second signal cut the drain short.")


def spare_the_collector() -> None:
    """Keeps the garbage collector from looking through code and other lasting things again and again: with them, one
    run holds all requests up for tens of milliseconds."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)
