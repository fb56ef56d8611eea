"""Which outcome may be tried again, and the budget that keeps retries from becoming a storm."""

from __future__ import annotations

from mypy_extensions import mypyc_attr

from gateway.core.model import FailureKind, RetryBudget, RetryPolicy

_SPAN = 10
"""Seconds over which the budget compares retries with requests."""

_NOTHING_SENT = frozenset({FailureKind.CONNECT_FAILURE})


def may_retry_failure(policy: RetryPolicy, method: str, kind: FailureKind, replayable: bool) -> bool:
    """Whether an attempt that ended without a response head may be tried again.

    A connect failure sent nothing, so any method may be repeated (RFC 9110 §9.2.2 restricts only requests that may
    have been acted on). A stale connection counts as a reset.
    """
    if not replayable:
        return False
    named = FailureKind.RESET if kind is FailureKind.STALE_CONNECTION else kind
    if named not in policy.on_failures and kind not in policy.on_failures:
        return False
    return kind in _NOTHING_SENT or method in policy.methods


def may_retry_status(policy: RetryPolicy, method: str, status: int, replayable: bool) -> bool:
    """Whether a response with this status may be discarded and the request tried again."""
    return replayable and status in policy.on_statuses and method in policy.methods


@mypyc_attr(allow_interpreted_subclasses=True)
class Budget:
    """Retries of one service against its requests of the last ten seconds, in buckets of one second.

    Counted against requests begun, not requests in flight: when one of three instances dies, a third of what is in
    flight fails at once.
    """

    __slots__ = ("_head", "_requests", "_retries", "requests", "retries")

    def __init__(self) -> None:
        self._requests = [0] * _SPAN
        self._retries = [0] * _SPAN
        self._head = 0
        self.requests = 0
        self.retries = 0

    def count_request(self, now: float) -> None:
        self._expire(now)
        self._requests[self._head % _SPAN] += 1
        self.requests += 1

    def allows(self, policy: RetryBudget, now: float) -> bool:
        """Whether one more retry is within the budget."""
        self._expire(now)
        return self.retries < max(policy.ratio * self.requests, policy.min_per_second * _SPAN)

    def count_retry(self, now: float) -> None:
        self._expire(now)
        self._retries[self._head % _SPAN] += 1
        self.retries += 1

    def _expire(self, now: float) -> None:
        head = int(now)
        if head == self._head:
            return
        for passed in range(max(self._head + 1, head - _SPAN + 1), head + 1):
            slot = passed % _SPAN
            self.requests -= self._requests[slot]
            self.retries -= self._retries[slot]
            self._requests[slot] = self._retries[slot] = 0
        self._head = head
