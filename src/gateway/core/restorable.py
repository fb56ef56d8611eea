"""Objects that are made from their attributes: from a checkpoint, or from what another process sent."""

from __future__ import annotations

from mypy_extensions import mypyc_attr


@mypyc_attr(serializable=True)
class Restorable:
    """`cls.__new__(cls)` makes one without its constructor, compiled or not, and pickle can carry it."""

    __slots__ = ()
