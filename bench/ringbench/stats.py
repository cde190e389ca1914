# SPDX-License-Identifier: Apache-2.0
"""Medians with spread, and whether two sets of samples differ by more than their noise."""

import statistics


def summary(values):
    """median and the middle half of the values; min and max beside them."""
    values = sorted(values)
    if len(values) > 1:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    else:
        low = high = values[0]
    return {"median": statistics.median(values), "low": low, "high": high,
            "min": values[0], "max": values[-1], "count": len(values)}


def summarize(samples):
    """Per metric over the samples that have it."""
    names = {name for sample in samples for name in sample}
    return {name: summary([s[name] for s in samples if name in s]) for name in sorted(names)}


def noise(stat):
    """Half the spread of a summary, relative to its median: the share a repeat may differ by."""
    if not stat["median"]:
        return 0.0
    return (stat["high"] - stat["low"]) / 2 / abs(stat["median"])


def change(before, after, better, floor):
    """(relative change, verdict) of two summaries: "better", "worse" or "same".

    It must exceed both the floor and twice the noise of the two taken together.
    """
    if not before["median"]:
        return 0.0, "same"
    relative = (after["median"] - before["median"]) / abs(before["median"])
    limit = max(floor, 2 * (noise(before) ** 2 + noise(after) ** 2) ** 0.5)
    if abs(relative) <= limit:
        return relative, "same"
    return relative, "better" if (relative > 0) == (better == "higher") else "worse"
