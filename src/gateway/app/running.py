"""Runs a gateway until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal

import uvloop

from gateway.app import handover
from gateway.app.application import App
from gateway.app.memory import settle_memory
from gateway.settings import Settings
from gateway.telemetry import logs

logger = logging.getLogger("gateway")


def run(settings: Settings) -> None:
    """Runs a gateway until SIGTERM or SIGINT, and returns when it has drained; a second signal ends it at once.

    Raises ListenError, TlsError, JournalError, HandoverError or OSError where a port or a file cannot be had,
    SettingsError where the admin token's file holds none, ValueError for `CONSUL_*` that make no sense.
    """
    logs.configure(settings.log_level, settings.log_format)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings))


async def _run(settings: Settings) -> None:
    before = None if settings.handover is None else handover.find(settings.handover)
    app = App(settings, before)
    settle_memory()
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
