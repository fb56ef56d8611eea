"""The limit of open files, and how many clients it leaves room for; the limits themselves are a stand-in's, because a
process cannot raise its hard one again."""

from __future__ import annotations

import resource

import pytest

from gateway.app.descriptors import RESERVE, room_for_clients

INFINITE = resource.RLIM_INFINITY


class Limits:
    def __init__(self, soft: int, hard: int) -> None:
        self.now = (soft, hard)

    def get(self, _: int) -> tuple[int, int]:
        return self.now

    def set(self, _: int, limits: tuple[int, int]) -> None:
        self.now = limits


@pytest.mark.parametrize(
    ("soft", "hard", "raised", "room"),
    [
        (1024, 524288, 20_000 + 100 + RESERVE, 10_000),
        (1024, INFINITE, 20_000 + 100 + RESERVE, 10_000),
        (65536, 65536, 65536, 10_000),
        (INFINITE, INFINITE, INFINITE, 10_000),
        (1024, 4096, 4096, (4096 - 100 - RESERVE) // 2),
        (64, 128, 128, 32),
    ],
)
def test_room(soft: int, hard: int, raised: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(soft, hard)
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    monkeypatch.setattr(resource, "setrlimit", limits.set)
    assert room_for_clients(10_000, 100) == room
    assert limits.now == (raised, hard)


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    limits = Limits(1024, 1024)
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    monkeypatch.setattr(resource, "setrlimit", limits.set)
    room_for_clients(10_000, 100)
    assert "raise its limit" in caplog.text
