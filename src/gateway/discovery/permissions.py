"""Denied is not empty: whether something is missing from an answer because our token may not see it.

Under default-deny Consul answers a denied read of health with `[]` and one of a KV prefix with 404. Only reading one
single key says 403; for services and nodes there is the endpoint that Consul's own UI asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Generic, Protocol, TypeVar

from gateway.core.model import InstanceKey
from gateway.discovery.consul_client import Question
from gateway.discovery.errors import ConsulDenied
from gateway.discovery.transport import Reply

Key = TypeVar("Key")

MAX_QUESTIONS = 64
"""Nodes or keys asked for at once; what is denied is nearly always denied for all of a kind."""


ANY_NODE = "any-node"
"""A node of no meaning: what is permitted for it is permitted by a rule for all nodes."""


DENIED_RECHECK = 10.0
"""Seconds until a denied view is asked for again: a permission that comes back wakes no query."""


class SecondSight(Generic[Key]):
    """What is missing is believed when a second answer, asked for after our rights were found to be in order, lacks it
    too. Consul filters a parked query by the rights of when it was asked, so that the first answer may be one of a
    moment in which they were not, whatever they are now."""

    def __init__(self) -> None:
        self._missed: frozenset[Key] = frozenset()

    def unsure(self, missing: AbstractSet[Key]) -> frozenset[Key]:
        """Of what each answer lacks that is neither hidden nor doubted: what to keep, and to look for again in an
        answer that is asked for afresh at once."""
        self._missed = frozenset(missing - self._missed)
        return self._missed


class Authority(Protocol):
    """The questions that Consul answers about our token."""

    async def may_read(self, questions: Sequence[Question]) -> list[bool] | None: ...
    async def kv_read(self, key: str, index: int | None = None, wait: float = 0) -> Reply[bytes]: ...


async def hidden_instances(
    authority: Authority, service: str, missing: Iterable[InstanceKey], *, filtered: bool
) -> frozenset[InstanceKey] | None:
    """Of the `missing`, those that our token may not see; None if that may be so for any instance of the service.

    `filtered` is what the answer's own header says; it decides where Consul cannot be asked. Where nothing is missing
    there is no node to ask for, and the question is for any node at all. Raises ConsulError.
    """
    keys = frozenset(missing)
    nodes = sorted({key.node for key in keys})[:MAX_QUESTIONS] or [ANY_NODE]
    verdicts = await authority.may_read([Question("service", service), *(Question("node", node) for node in nodes)])
    if verdicts is None:
        return None if filtered else frozenset()
    if not verdicts[0] or not (keys or verdicts[1]):
        return None
    hidden = {node for node, allowed in zip(nodes, verdicts[1:], strict=True) if not allowed}
    return frozenset(key for key in keys if key.node in hidden)


async def hidden_keys(authority: Authority, keys: Sequence[str]) -> bool:
    """Whether our token may not read these keys (or some of them). Raises ConsulError for other failures."""
    try:
        for key in keys[:MAX_QUESTIONS]:
            await authority.kv_read(key)
    except ConsulDenied:
        return True
    return False
