"""What was verified and need not be again: bounded, the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    value: T
    grounds: object
    until: float


class Verified(Generic[T]):
    """Keys are hashes, never credentials. What is kept holds as long as its `grounds` are the very same object: the
    keys that a token was verified with, the credential that a password fits."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[bytes, _Kept[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes, grounds: object, now: float) -> T | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.grounds is not grounds or now >= kept.until:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return kept.value

    def put(self, key: bytes, grounds: object, value: T, until: float) -> None:
        self._kept[key] = _Kept(value, grounds, until)
        self._kept.move_to_end(key)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
