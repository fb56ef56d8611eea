"""The composition root: the one package that knows all parts, makes them, and ends them in order."""

from gateway.app.running import run

__all__ = ["run"]
