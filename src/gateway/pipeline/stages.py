"""The stages there are, in the order of a request's way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.core.model import Route
from gateway.pipeline.path_edits import CompileGroups
from gateway.pipeline.stage import Stage
from gateway.pipeline.transform import Transform


def stages(compile_groups: CompileGroups) -> Sequence[Callable[[Route], Stage | None]]:
    """What makes each stage of a route, or None where the route has no need of it."""

    def transform(route: Route) -> Transform | None:
        if not route.filters and route.answer is None:
            return None
        return Transform(route.filters, compile_groups, route.answer)

    return (transform,)
