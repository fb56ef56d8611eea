"""The last good view on disk, for a start while Consul is away.

One line with format and checksum, then the view as JSON. A file that is cut, changed or of another format is reported
and ignored: a start without a snapshot is better than one with a wrong one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec

from gateway.core.model import Health, Instance, InstanceKey
from gateway.discovery.addresses import AddressPolicy, BadAddress
from gateway.discovery.documents_view import Document

_log = logging.getLogger("gateway.discovery.snapshot")

FORMAT = 1
LARGEST = 256 * 1024 * 1024
"""Bytes of a file that is read."""
INTERVAL = 5.0
"""Least seconds between two writes."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is in force. `saved_at` is Unix time."""

    saved_at: float
    documents: Sequence[Document]
    instances: Mapping[str, Sequence[Instance]]


class _Head(msgspec.Struct):
    format: int
    checksum: str


class _Instance(msgspec.Struct, array_like=True):
    key: InstanceKey
    service: str
    address: str
    port: int
    health: Health
    weights: tuple[int, int]
    tags: list[str]
    meta: dict[str, str]


class _Body(msgspec.Struct):
    saved_at: float
    documents: list[tuple[str, int, bytes]]
    instances: dict[str, list[_Instance]]


def encode(snapshot: Snapshot) -> bytes:
    body = msgspec.json.encode(
        _Body(
            snapshot.saved_at,
            [(document.key, document.modify_index, document.raw) for document in snapshot.documents],
            {service: [_packed(instance) for instance in known] for service, known in snapshot.instances.items()},
        )
    )
    return msgspec.json.encode(_Head(FORMAT, _checksum(body))) + b"\n" + body


def decode(content: bytes, addresses: AddressPolicy) -> Snapshot:
    """Instances whose address is not permitted any more are left out. Raises ValueError for a damaged file."""
    head_line, _, body = content.partition(b"\n")
    try:
        head = msgspec.json.decode(head_line, type=_Head)
        if head.format != FORMAT:
            raise ValueError(f"its format is {head.format}, not {FORMAT}")
        if head.checksum != _checksum(body):
            raise ValueError("its checksum does not fit: it was cut or changed")
        saved = msgspec.json.decode(body, type=_Body)
    except msgspec.DecodeError as error:
        raise ValueError(f"it is no snapshot: {error}") from error
    documents = [Document(key, raw, index) for key, index, raw in saved.documents]
    instances = {
        service: [_unpacked(packed) for packed in known if _permitted(packed.address, addresses)]
        for service, known in saved.instances.items()
    }
    return Snapshot(saved.saved_at, documents, instances)


class SnapshotFile:
    """Reads once, writes after changes, at most every `INTERVAL` seconds. A disk that fails costs only the snapshot,
    and only until it works again."""

    def __init__(self, path: Path, addresses: AddressPolicy) -> None:
        self._path = path
        self._addresses = addresses
        self._changed = asyncio.Event()
        self._failed = False

    def load(self) -> Snapshot | None:
        """None where there is no file, or none that can be used, which is logged."""
        try:
            if self._path.stat().st_size > LARGEST:
                raise ValueError(f"it is larger than {LARGEST} bytes")
            return decode(self._path.read_bytes(), self._addresses)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.warning("ignored the snapshot %s: %s", self._path, error, extra={"file": str(self._path)})
            return None

    def note_change(self) -> None:
        self._changed.set()

    async def run(self, collect: Callable[[], Snapshot]) -> NoReturn:
        """Write what `collect` gives whenever a change was noted, and once more when cancelled before that."""
        saving: asyncio.Future[bool] | None = None
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                saving = asyncio.ensure_future(asyncio.to_thread(self.save, collect()))
                if not await asyncio.shield(saving):
                    self._changed.set()
                await asyncio.sleep(INTERVAL)
        finally:
            if saving is not None:
                await saving  # or the thread might put an older snapshot in the place of the last one
            if self._changed.is_set():
                self.save(collect())

    def save(self, snapshot: Snapshot) -> bool:
        """Replace the file at once or not at all: written beside it, synced, renamed; readable by us alone. Whether it
        could be done; the first failure in a row is logged."""
        folder = self._path.parent
        temporary: str | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=f".{self._path.name}.", dir=folder)  # mode 0600
            with os.fdopen(descriptor, "wb") as file:
                file.write(encode(snapshot))
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self._path)
            _sync_folder(folder)
        except OSError as error:
            if not self._failed:
                _log.warning("cannot write the snapshot %s: %s", self._path, error, extra={"file": str(self._path)})
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)
            self._failed = True
            return False
        if self._failed:
            _log.info("wrote the snapshot %s again", self._path, extra={"file": str(self._path)})
        self._failed = False
        return True


def _sync_folder(folder: Path) -> None:
    """Without it the rename itself may be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _checksum(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=32).hexdigest()


def _permitted(address: str, addresses: AddressPolicy) -> bool:
    try:
        addresses.check(address)
    except BadAddress:
        return False
    return True


def _packed(instance: Instance) -> _Instance:
    return _Instance(
        instance.key,
        instance.service,
        instance.address,
        instance.port,
        instance.health,
        (instance.weight_passing, instance.weight_warning),
        sorted(instance.tags),
        dict(instance.meta),
    )


def _unpacked(packed: _Instance) -> Instance:
    passing, warning = packed.weights
    return Instance(
        packed.key,
        packed.service,
        packed.address,
        packed.port,
        packed.health,
        passing,
        warning,
        frozenset(packed.tags),
        packed.meta,
    )
