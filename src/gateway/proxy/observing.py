"""Who is told of the requests."""

from __future__ import annotations

from typing import Protocol

from gateway.telemetry.records import RequestRecord


class RequestObserver(Protocol):
    def view_age(self, service: str) -> float | None:
        """Seconds since the view of that service was confirmed; asked at each pick."""

    def request_ended(self, record: RequestRecord) -> None:
        """Called exactly once for each request, refused and unreadable ones too."""
