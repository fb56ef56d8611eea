"""The stages there are, in the order of a request's way."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.model import Route
from gateway.pipeline.authentication import Authenticators
from gateway.pipeline.authorisation import Authorisation
from gateway.pipeline.cors import CrossOrigin
from gateway.pipeline.networks import NetworkRules
from gateway.pipeline.path_edits import CompileGroups
from gateway.pipeline.rate_limits import RateLimits
from gateway.pipeline.shadow import Shadowings
from gateway.pipeline.sizes import Sizes
from gateway.pipeline.stage import Maker
from gateway.pipeline.sticky_cookie import StickyCookies
from gateway.pipeline.transform import Transform


def makers(
    authenticators: Authenticators,
    authorisation: Authorisation,
    rates: RateLimits,
    sticky: StickyCookies,
    shadowings: Shadowings,
    compile_groups: CompileGroups,
) -> Sequence[Maker]:
    """Preflights come without credentials, and are answered before anybody asks for them. Rates that need no credential
    come before authentication, which costs most and tells who guesses; what is required may be of whoever has been
    authenticated, and so may a rate, which requests that are denied do not use up."""

    def transform(route: Route) -> Transform | None:
        if not route.filters and route.answer is None:
            return None
        return Transform(route.filters, compile_groups, route.answer)

    return (
        NetworkRules.of,
        CrossOrigin.of,
        Sizes.of,
        rates.of_anyone,
        authenticators.of,
        authorisation.of,
        rates.of_authenticated,
        sticky.of,
        transform,
        shadowings.of,
    )
