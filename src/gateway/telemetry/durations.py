"""Histograms of durations, counted by hand and shown as OpenTelemetry data.

The SDK's own `Histogram.record` costs 7 to 9 µs, which is a large share of what a whole request may cost; finding a
bucket and adding to a list costs a tenth of that. What is collected are the SDK's own public data points.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping

from mypy_extensions import mypyc_attr
from opentelemetry.sdk.metrics.export import AggregationTemporality, Histogram, HistogramDataPoint, Metric

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds; what OpenTelemetry's semantic conventions advise for HTTP durations."""
SERIES_LIMIT = 2000
"""As the SDK's own limit; what is above it is counted together, marked `otel.metric.overflow`."""

Labels = tuple[str, ...]
_OVERFLOW: Labels = ("otel.metric.overflow",)


@mypyc_attr(allow_interpreted_subclasses=True)
class DurationHistogram:
    """`names` are the attribute names of the labels that `record` is given; an empty label is left out."""

    def __init__(self, name: str, description: str, names: tuple[str, ...], limit: int = SERIES_LIMIT) -> None:
        self._name = name
        self._description = description
        self._names = names
        self._limit = limit
        self._series: dict[Labels, tuple[list[int], list[float]]] = {}
        """Counts by bucket, and the sum alone in a list."""
        self._since = time.time_ns()

    def __reduce__(self) -> tuple[Callable[..., DurationHistogram], tuple[object, ...]]:
        """For another process. Compiled classes have no other way."""
        given = (self._name, self._description, self._names, self._limit)
        return _counted, (*given, self._series, self._since)

    def go_on(self, series: dict[Labels, tuple[list[int], list[float]]], since: int) -> None:
        """Goes on with what another one counted since then."""
        self._series, self._since = series, since

    def record(self, labels: Labels, seconds: float) -> None:
        series = self._series.get(labels)
        if series is None:
            series = self._new_series(labels)
        series[0][bisect_left(BOUNDS, seconds)] += 1
        series[1][0] += seconds

    def _new_series(self, labels: Labels) -> tuple[list[int], list[float]]:
        if len(self._series) >= self._limit:
            labels = _OVERFLOW
        return self._series.setdefault(labels, ([0] * (len(BOUNDS) + 1), [0.0]))

    def add(self, other: DurationHistogram) -> None:
        """Counts what another one counted besides; it began when the older of both did."""
        self._since = min(self._since, other._since)
        for labels, (counts, (total,)) in other._series.items():
            series = self._series.get(labels) or self._new_series(labels)
            for bucket, count in enumerate(counts):
                series[0][bucket] += count
            series[1][0] += total

    def keep(self, wanted: Callable[[Labels], bool]) -> None:
        """Forgets the series whose labels are not wanted any more."""
        for labels in [labels for labels in self._series if labels != _OVERFLOW and not wanted(labels)]:
            del self._series[labels]

    def metric(self) -> Metric:
        """What was counted so far, copied."""
        now = time.time_ns()
        points = [
            HistogramDataPoint(
                attributes=self._attributes(labels),
                start_time_unix_nano=self._since,
                time_unix_nano=now,
                count=sum(counts),
                sum=total,
                bucket_counts=tuple(counts),
                explicit_bounds=BOUNDS,
                min=math.inf,
                max=-math.inf,
            )
            for labels, (counts, (total,)) in self._series.items()
        ]
        return Metric(self._name, self._description, "s", Histogram(points, AggregationTemporality.CUMULATIVE))

    def _attributes(self, labels: Labels) -> Mapping[str, str | bool]:
        if labels == _OVERFLOW:
            return {_OVERFLOW[0]: True}
        return {name: label for name, label in zip(self._names, labels, strict=True) if label}


def _counted(
    name: str,
    description: str,
    names: tuple[str, ...],
    limit: int,
    series: dict[Labels, tuple[list[int], list[float]]],
    since: int,
) -> DurationHistogram:
    made = DurationHistogram(name, description, names, limit)
    made.go_on(series, since)
    return made
