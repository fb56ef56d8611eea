"""The last good view on disk."""

from __future__ import annotations

import asyncio
import stat
import threading
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from gateway.core.model import Health, Instance, InstanceKey
from gateway.discovery import snapshot
from gateway.discovery.addresses import AddressPolicy
from gateway.discovery.documents_view import Document
from gateway.discovery.snapshot import Snapshot, SnapshotFile, decode, encode

ANY = AddressPolicy()
INSTANCE = Instance(
    InstanceKey("dc1", "n", "o1"),
    "orders",
    "10.0.0.1",
    80,
    Health.WARNING,
    7,
    2,
    frozenset({"b", "a"}),
    {"region": "eu"},
)
VIEW = Snapshot(1700000000.5, [Document("gateway/routes/r", b"\xff{}", 12)], {"orders": [INSTANCE], "empty": []})


def test_what_is_written_is_read() -> None:
    assert decode(encode(VIEW), ANY) == VIEW


def test_addresses_that_are_denied_by_now_are_left_out() -> None:
    read = decode(encode(VIEW), AddressPolicy(denied=[ip_network("10.0.0.0/8")]))
    assert read.instances == {"orders": [], "empty": []}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:-5],
        lambda content: content.replace(b"orders", b"others", 1),
        lambda content: content + b" ",
        lambda content: content.replace(b'"format":1', b'"format":2'),
        lambda content: content.partition(b"\n")[2],
        lambda content: b"\x00" * 100,
        lambda content: b"{}\n{}",
        lambda content: b"[" * 100_000,
    ],
    ids=["empty", "cut", "changed", "longer", "format", "headless", "zeros", "other", "deep"],
)
def test_a_damaged_file_is_reported_and_ignored(
    spoil: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "view"
    assert callable(spoil)
    path.write_bytes(spoil(encode(VIEW)))
    assert SnapshotFile(path, ANY).load() is None
    assert str(path) in caplog.text


def test_no_file_is_no_trouble(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert SnapshotFile(tmp_path / "view", ANY).load() is None
    assert not caplog.text


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "view"
    path.write_bytes(encode(VIEW))
    monkeypatch.setattr(snapshot, "LARGEST", 10)
    assert SnapshotFile(path, ANY).load() is None


def test_it_replaces_the_file_whole_and_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "view"
    file = SnapshotFile(path, ANY)
    file.save(Snapshot(1.0, [], {}))
    file.save(VIEW)
    assert file.load() == VIEW
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["view"]


def test_a_disk_that_fails_costs_only_the_snapshot(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    SnapshotFile(tmp_path / "file" / "view", ANY).save(VIEW)
    assert "cannot write" in caplog.text
    (tmp_path / "folder").mkdir()
    SnapshotFile(tmp_path / "folder", ANY).save(VIEW)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


async def test_many_changes_make_few_writes_and_the_last_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = SnapshotFile(tmp_path / "view", ANY)
    saved = asyncio.Event()
    writes: list[float] = []
    number = 0

    def collect() -> Snapshot:
        return Snapshot(float(number), [], {})

    save = file.save
    loop = asyncio.get_running_loop()

    def spy(view: Snapshot) -> bool:
        writes.append(view.saved_at)
        written = save(view)
        loop.call_soon_threadsafe(saved.set)
        return written

    monkeypatch.setattr(file, "save", spy)
    task = asyncio.create_task(file.run(collect))
    file.note_change()
    await asyncio.wait_for(saved.wait(), 5)
    for step in range(1, 50):
        number = step
        file.note_change()
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert writes == [0, 49]
    read = file.load()
    assert read is not None
    assert read.saved_at == 49


async def test_what_could_not_be_written_is_written_when_it_can_be_without_another_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(snapshot, "INTERVAL", 0.02)
    folder = tmp_path / "folder"
    folder.write_text("in the way")
    file = SnapshotFile(folder / "view", ANY)
    task = asyncio.create_task(file.run(lambda: VIEW))
    file.note_change()
    async with asyncio.timeout(10):
        while "cannot write" not in caplog.text:
            await asyncio.sleep(0.005)
        folder.unlink()
        while "again" not in caplog.text:
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert file.load() == VIEW
    assert caplog.text.count("cannot write") == 1


async def test_a_write_under_way_at_the_end_does_not_undo_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = SnapshotFile(tmp_path / "view", ANY)
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    really_save = SnapshotFile.save

    def slow_first(self: SnapshotFile, written: Snapshot) -> bool:
        first = not begun.is_set()
        if first:
            begun.set()
            go_on.wait(10)
        done = really_save(self, written)
        if first:
            ended.set()
        return done

    monkeypatch.setattr(SnapshotFile, "save", slow_first)
    views = [VIEW, replace(VIEW, saved_at=VIEW.saved_at + 1)]
    task = asyncio.create_task(file.run(lambda: views.pop(0)))
    file.note_change()
    await asyncio.to_thread(begun.wait, 10)
    file.note_change()
    task.cancel()
    asyncio.get_running_loop().call_later(0.05, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(ended.wait, 10)
    loaded = file.load()
    assert loaded is not None
    assert loaded.saved_at == VIEW.saved_at + 1
