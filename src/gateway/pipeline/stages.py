"""The stages there are, in the order of a request's way."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.pipeline.authentication import Authenticators
from gateway.pipeline.stage import Maker
from gateway.pipeline.transform import Transform

STAGES: Sequence[Maker] = (Transform.of,)
"""Those that need nothing but their route."""


def stages(authenticators: Authenticators) -> Sequence[Maker]:
    """All of them."""
    return (authenticators.of, *STAGES)
