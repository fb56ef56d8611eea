"""What is running: which version, and whether the way of a request is compiled (hatch_build.py) or interpreted."""

from __future__ import annotations

from typing import Final

COMPILED: Final = not __file__.endswith(".py")
"""This module is compiled with those it speaks of."""
