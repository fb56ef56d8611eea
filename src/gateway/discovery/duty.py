"""What the gateway does in Consul for others to see: its registration and its status. Failing costs only that."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from gateway.discovery.errors import ConsulError

_log = logging.getLogger("gateway.discovery.duty")


@dataclass(frozen=True, slots=True)
class DutyState:
    """`done` is whether Consul holds what we want it to hold, as far as we know; `error` is why not."""

    name: str
    done: bool
    error: str | None


class Duty:
    """The record of one duty; each trouble is logged when it begins and when it ends, not with each try."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._done = False
        self._error: str | None = None

    @property
    def state(self) -> DutyState:
        return DutyState(self._name, self._done, self._error)

    def succeeded(self) -> None:
        if not self._done:
            _log.info("%s is in Consul", self._name, extra={"duty": self._name})
        self._done, self._error = True, None

    def failed(self, error: ConsulError | str) -> None:
        if self._error is None:
            told = {"duty": self._name, "error": str(error)}
            _log.warning("%s could not be brought into Consul: %s", self._name, error, extra=told)
        self._done, self._error = False, str(error)

    def ended(self) -> None:
        self._done, self._error = False, None
