"""The documents under one KV prefix: each accepted or rejected alone, its last good version staying in force."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from gateway.discovery.consul_client import KvEntry, decode_kv
from gateway.discovery.documents import Rejection
from gateway.discovery.doubt import Doubt, Sign
from gateway.discovery.permissions import DENIED_RECHECK, Authority, SecondSight, hidden_keys
from gateway.discovery.transport import Reply
from gateway.discovery.watch import Taken

_log = logging.getLogger("gateway.discovery.configuration")

IN_A_THREAD = 200
BYTES_IN_A_THREAD = 16 * 1024
"""How many documents, or how much text, are parsed beside the event loop; YAML takes a hundred times JSON's time."""

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Document:
    """One version of a key."""

    key: str
    raw: bytes
    modify_index: int


@dataclass(frozen=True, slots=True)
class _Known(Generic[V]):
    """A key: its newest version, and what is in force of it. `good` is the version that `value` was made of."""

    newest: Document
    rejection: Rejection | None
    good: Document | None
    value: V | None


class KvSource(Authority, Protocol):
    async def kv_list(self, prefix: str, index: int | None = None, wait: float = 0) -> Reply[bytes]: ...


class DocumentsView(Generic[V]):
    """A watch's subject: a prefix that ends in a slash, or one single key.

    `parse` gets the name (what follows the prefix), the bytes and the ModifyIndex. `lock` is held while what is in
    force changes; `changed` is called after that.
    """

    def __init__(
        self,
        prefix: str,
        source: KvSource,
        parse: Callable[[Document, str], V | Rejection],
        *,
        grace: float,
        clock: Callable[[], float],
        lock: asyncio.Lock,
        changed: Callable[[], None],
    ) -> None:
        self._prefix = prefix
        self._source = source
        self._parse = parse
        self._doubt: Doubt[str] = Doubt(grace)
        self._clock = clock
        self._lock = lock
        self._changed = changed
        self._known: dict[str, _Known[V]] = {}
        self._sight: SecondSight[str] = SecondSight()
        self._denied = False

    @property
    def values(self) -> dict[str, V]:
        """What is in force, by name."""
        return {name: known.value for name, known in self._known.items() if known.value is not None}

    @property
    def rejections(self) -> list[Rejection]:
        return [known.rejection for known in self._known.values() if known.rejection is not None]

    @property
    def in_force(self) -> list[Document]:
        """The versions that `values` were made of."""
        return [known.good for known in self._known.values() if known.good is not None]

    def load(self, documents: Iterable[Document]) -> None:
        """Take what the disk snapshot holds, before anything is read."""
        for document in documents:
            if self._is_mine(document.key):
                known = self._judged(document)
                self._known[self._name(document.key)] = known

    async def read(self, index: int | None, wait: float) -> Reply[bytes]:
        if self._prefix.endswith("/"):
            return await self._source.kv_list(self._prefix, index, wait)
        return await self._source.kv_read(self._prefix, index, wait)

    async def take(self, reply: Reply[bytes], signs: Sign) -> Taken:
        found = {
            self._name(entry.key): Document(entry.key, entry.value or b"", entry.modify_index)
            for entry in decode_kv(reply, self._prefix)
            if self._is_mine(entry.key) and not _is_folder(entry)
        }
        before = self._known.keys()
        missing = frozenset(before - found.keys())
        hidden = bool(missing or not found) and await self._is_hidden(missing)
        now = self._clock()
        held = self._doubt.held(before, found.keys(), signs, now)
        unsure = self._sight.unsure(frozenset() if hidden else missing - held)
        changed = await self._apply(found, keep=missing if hidden else held | unsure)
        was_denied, self._denied = self._denied, hidden
        if hidden:
            error = f"the token may not read keys under {self._prefix}"
            taken = Taken("denied", changed, recheck=DENIED_RECHECK, error=error)
        elif held:
            error = f"{len(held)} keys are missing from an answer that may be wrong"
            taken = Taken("doubted", changed, recheck=self._doubt.remaining(now), error=error)
        elif unsure and was_denied:
            taken = Taken("denied", changed, error="permitted again, reading afresh")
        else:
            taken = Taken("live", changed, empty=not found)
        return replace(taken, recheck=0) if unsure else taken

    async def judge_again(self) -> None:
        """What documents are read with has changed: make all values anew. To be called with the lock held."""
        documents = [known.newest for known in self._known.values()]
        judged = await self._all_judged(documents, again=True)
        self._known = {self._name(known.newest.key): known for known in judged}

    def _is_mine(self, key: str) -> bool:
        return key.startswith(self._prefix) and (key != self._prefix or not self._prefix.endswith("/"))

    def _name(self, key: str) -> str:
        return key.removeprefix(self._prefix) or key.rpartition("/")[2]

    async def _is_hidden(self, missing: Iterable[str]) -> bool:
        """Asked of the very keys that are missing, or of any where the whole prefix is empty."""
        if not self._prefix.endswith("/"):
            return False  # reading one single key says 403 by itself
        return await hidden_keys(
            self._source, [self._prefix + name for name in sorted(missing)] or [self._prefix + "-"]
        )

    async def _apply(self, found: Mapping[str, Document], keep: frozenset[str]) -> bool:
        """Whether anything changed, verdicts included."""
        async with self._lock:
            fresh = [
                document
                for name, document in found.items()
                if name not in self._known or self._known[name].newest != document
            ]
            gone = self._known.keys() - found.keys() - keep
            if not fresh and not gone:
                return False
            for known in await self._all_judged(fresh):
                self._known[self._name(known.newest.key)] = known
                _tell(known)
            for name in gone:
                key = self._known.pop(name).newest.key
                _log.info("%s was removed", key, extra={"key": key})
        self._changed()
        return True

    async def _all_judged(self, documents: Sequence[Document], *, again: bool = False) -> list[_Known[V]]:
        def work() -> list[_Known[V]]:
            return [self._judged(document, again=again) for document in documents]

        size = sum(len(document.raw) for document in documents)
        if len(documents) >= IN_A_THREAD or size >= BYTES_IN_A_THREAD:
            return await asyncio.to_thread(work)
        return work()

    def _judged(self, document: Document, *, again: bool = False) -> _Known[V]:
        """The verdict on a version. If it is bad, the last good one stays in force, `again` as it reads now."""
        name = self._name(document.key)
        result = self._parse(document, name)
        if not isinstance(result, Rejection):
            return _Known(document, None, document, result)
        old = self._known.get(name)
        if old is None or old.good is None:
            return _Known(document, result, None, None)
        if again and not isinstance(reread := self._parse(old.good, name), Rejection):
            return _Known(document, result, old.good, reread)
        return _Known(document, result, old.good, old.value)


def fingerprint(documents: Iterable[Document]) -> str:
    """The same for gateways that have the same documents in force, whatever their indices."""
    total = hashlib.sha256()
    for document in sorted(documents, key=lambda document: document.key):
        total.update(hashlib.sha256(document.key.encode()).digest())
        total.update(hashlib.sha256(document.raw).digest())
    return total.hexdigest()


def _is_folder(entry: KvEntry) -> bool:
    """Consul's UI makes a key that ends in a slash and has no value for each folder."""
    return entry.key.endswith("/") and not entry.value


def _tell(known: _Known[V]) -> None:
    told = {"key": known.newest.key, "modify_index": known.newest.modify_index}
    if known.rejection is None:
        _log.info("%s is in force in version %d", known.newest.key, known.newest.modify_index, extra=told)
        return
    stays = "no earlier version" if known.good is None else f"version {known.good.modify_index} stays in force"
    _log.warning("rejected %s (%s)", known.rejection, stays, extra=told | {"reason": str(known.rejection)})
