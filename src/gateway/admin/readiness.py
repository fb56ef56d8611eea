"""Whether a load balancer should send requests here."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.admin.sources import Readiness, ShownView


def judge(
    views: Iterable[ShownView], *, started: bool, draining: bool, max_age: float | None, able: bool = True
) -> Readiness:
    """`started` is whether the first full view (or a snapshot of one) is in force; `max_age` is seconds; `able` is
    whether there is a worker that serves.

    Without `max_age` a stale view leaves the gateway ready: losing Consul must not take the whole fleet out.
    """
    reasons: list[str] = ["draining"] if draining else []
    reasons += [] if able else ["no worker serves: the log says why they ended"]
    views = list(views)
    if not started:
        waiting = [view for view in views if view.age is None]
        reasons += [f"view {view.name} is {view.state}" + (f": {view.error}" if view.error else "") for view in waiting]
        if not waiting:
            reasons.append("the first view of Consul is not complete")
    if max_age is not None:
        reasons += [
            f"view {view.name} is {view.age:.0f} s old, more than {max_age:g} s"
            for view in views
            if view.age is not None and view.age > max_age
        ]
    return Readiness(not reasons, tuple(reasons))
