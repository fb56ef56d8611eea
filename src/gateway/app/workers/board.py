"""How many connections each worker has: a page of memory that all of them see."""

from __future__ import annotations

import mmap
import os

_WIDTH = 8
_ABSENT = -1


class Board:
    """How many workers there are, and then a number for each. A worker writes its own, and reads the others'."""

    def __init__(self, descriptor: int) -> None:
        """`descriptor` as `make` made it; it may have been inherited."""
        self.descriptor = descriptor
        self._numbers = memoryview(mmap.mmap(descriptor, os.fstat(descriptor).st_size)).cast("q")

    @classmethod
    def make(cls, workers: int) -> Board:
        """With a place for each, none of whom is there."""
        descriptor = os.memfd_create("workers")
        os.ftruncate(descriptor, max(mmap.PAGESIZE, (workers + 1) * _WIDTH))
        board = cls(descriptor)
        board.write(0, workers)
        for worker in range(1, workers + 1):
            board.leave(worker)
        return board

    def place(self, worker: int) -> Place:
        return Place(self, worker)

    def write(self, worker: int, connections: int) -> None:
        self._numbers[worker] = connections

    def leave(self, worker: int) -> None:
        """It is not to be counted on."""
        self._numbers[worker] = _ABSENT

    def least(self) -> int:
        """Of those that are there; 0 where nobody is."""
        of_workers = self._numbers[1 : self._numbers[0] + 1]
        return min((number for number in of_workers if number != _ABSENT), default=0)


class Place:
    """The board as one worker uses it."""

    def __init__(self, board: Board, worker: int) -> None:
        self._board = board
        self._worker = worker

    def write(self, connections: int) -> None:
        self._board.write(self._worker, connections)

    def least(self) -> int:
        return self._board.least()
