# SPDX-License-Identifier: Apache-2.0
"""Medians with spread, and whether two sets of samples differ by more than their noise."""

import statistics


def summary(values):
    """The median, the bounds of the middle half of the values (low, high), the extremes and the count."""
    values = sorted(values)
    if len(values) > 1:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    else:
        low = high = values[0]
    return {"median": statistics.median(values), "low": low, "high": high,
            "min": values[0], "max": values[-1], "count": len(values)}


def summarize(samples):
    """{metric: summary} over the samples that have the metric."""
    names = {name for sample in samples for name in sample}
    return {name: summary([s[name] for s in samples if name in s]) for name in sorted(names)}


def noise(stat):
    """Half the width of the middle half, relative to the median; 0 when the median is 0."""
    if not stat["median"]:
        return 0.0
    return (stat["high"] - stat["low"]) / 2 / abs(stat["median"])


def change(before, after, better, floor):
    """(relative change, verdict) of two summaries: "better", "worse" or "same".

    A change is only reported if it exceeds both the floor and twice the combined noise. In addition, each
    median must lie outside the range of the other's samples, because the noise of a few samples is often
    estimated too small.
    """
    if not before["median"]:
        return 0.0, "same"
    old, new = before["median"], after["median"]
    relative = (new - old) / abs(old)
    limit = max(floor, 2 * (noise(before) ** 2 + noise(after) ** 2) ** 0.5)
    inside = before["min"] <= new <= before["max"] or after["min"] <= old <= after["max"]
    if abs(relative) <= limit or inside:
        return relative, "same"
    return relative, "better" if (relative > 0) == (better == "higher") else "worse"
