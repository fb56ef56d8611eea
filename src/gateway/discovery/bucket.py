"""A token bucket: how often something may happen, without a clock of its own."""

from __future__ import annotations


class TokenBucket:
    """`burst` times at once, then `rate` times a second."""

    def __init__(self, burst: float, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._tokens = burst
        self._at: float | None = None

    def take(self, now: float) -> float:
        """Take one, and be told how many seconds to wait before using it: 0 while the burst lasts."""
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        self._tokens -= 1
        return max(0.0, -self._tokens / self._rate)
