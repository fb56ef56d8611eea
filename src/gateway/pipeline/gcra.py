"""The generic cell rate algorithm (ITU-T I.371, annex A): a rate with a burst, in one float for each key.

Each key has a time until which its requests so far have used the rate up: its *due*. A request moves it on by one
interval, from now if it has passed. A request is granted while due is less than a burst ahead of now. So in any window
of t seconds a key is granted at most `burst + rate * t` requests, and who keeps under the rate is never refused.

**Memory.** A key whose due has passed is as one that never came, and forgetting it changes nothing. Keys stand in a
row; each new one looks at the eight in front, forgets those whose due has passed, and sends the others to the back.
So what is held follows the keys that are live, without a sweep that would hold requests up. Where the row is full
(`capacity`) and all eight are live, the one of them whose due is nearest is forgotten early: it had the least to
lose, as it is granted at most what it had used.

**Who might profit.** Somebody with a million keys gets no memory: the row is bounded, and so is the size of a key. He
gets a burst from each new key anyhow, and no limit by such a key can hold him. What he could want is that one key in
particular is forgotten. A flood of keys with one request each pushes out its own before one that has used more. So he
has to fill the row with keys that are live at once, surround that one with seven that have used as much, and turn
the row, which takes another eighth of `capacity` in new keys: tens of thousands of granted requests for one burst
more, again and again. And where the key is another's, the other has the burst.
"""

from __future__ import annotations

from collections import OrderedDict

Key = str | bytes | None

_LOOK = 8
"""How many keys a new one looks at."""
_ROUNDING = 1e-6
"""Seconds; more than sums of floats go wrong by in an uptime of years."""


class Gcra:
    """One limit: `count` requests in `period` seconds and `burst` at once for each key, of at most `capacity` keys.

    `now` is monotonic seconds and never goes backwards.
    """

    __slots__ = ("_ahead", "_capacity", "_due", "_interval", "forgotten")

    def __init__(self, count: int, period: float, burst: int, capacity: int) -> None:
        self._interval = period / count
        self._ahead = (burst - 1) * self._interval
        self._capacity = capacity
        self._due: OrderedDict[Key, float] = OrderedDict()
        self.forgotten = 0
        """Keys that were forgotten while they were live."""

    def __len__(self) -> int:
        return len(self._due)

    def wait(self, key: Key, now: float) -> float:
        """Seconds until a request is granted, if none comes in between; 0 is at once. Counts nothing."""
        due = self._due.get(key)
        if due is None:
            return 0.0
        wait = due - now - self._ahead
        return wait if wait > _ROUNDING else 0.0

    def take(self, key: Key, now: float) -> None:
        """Counts a request that is granted."""
        due = self._due.get(key)
        if due is None:
            self._make_room(now)
            due = now
        self._due[key] = max(due, now) + self._interval

    def _make_room(self, now: float) -> None:
        keys = self._due
        full = len(keys) >= self._capacity
        looked_at = [keys.popitem(last=False) for _ in range(min(_LOOK, len(keys)))]
        live = [(key, due) for key, due in looked_at if due > now]
        if full and len(live) == len(looked_at):
            live.remove(min(live, key=lambda each: each[1]))
            self.forgotten += 1
        keys.update(live)
