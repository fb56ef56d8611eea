"""The stages there are, in the order of a request's way."""

from __future__ import annotations

from gateway.pipeline.transform import Transform

STAGES = (Transform.of,)
