"""The stages there are, in the order of a request's way."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.pipeline.cors import CrossOrigin
from gateway.pipeline.networks import NetworkRules
from gateway.pipeline.rate_limits import RateLimits
from gateway.pipeline.sizes import Sizes
from gateway.pipeline.stage import Maker
from gateway.pipeline.transform import Transform


def makers(rates: RateLimits) -> Sequence[Maker]:
    """Preflights come without credentials, and are answered before anybody asks for them; a rate may be of whoever
    has been authenticated."""
    return (NetworkRules.of, CrossOrigin.of, Sizes.of, rates.of, Transform.of)
