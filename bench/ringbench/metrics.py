# SPDX-License-Identifier: Apache-2.0
"""The metrics of a sample: name, unit, and which direction is better."""

from collections import namedtuple

# floor: a smaller relative change between two runs does not count, however small the spread within
# each run is; None: the metric is shown, but not compared.
Metric = namedtuple("Metric", "unit better decimals floor")

# If others used more of the machine than this, a result says so.
UNREST_PERCENT = 5

METRICS = {
    "gbps": Metric("Gbit/s", "higher", 1, 0.05),
    "rps": Metric("req/s", "higher", 0, 0.05),
    "kdps": Metric("k datagrams/s", "higher", 1, 0.07),
    "cpu_s_per_gb": Metric("CPU s/GB", "lower", 3, 0.10),
    "cpu_s_per_kreq": Metric("CPU s/1k requests", "lower", 4, 0.10),
    "cpu_s_per_mdgram": Metric("CPU s/M datagrams", "lower", 2, 0.10),
    "p50_us": Metric("µs p50", "lower", 0, 0.08),
    "p99_us": Metric("µs p99", "lower", 0, 0.20),
    "p99.9_us": Metric("µs p99.9", "lower", 0, None),
    "max_us": Metric("µs max", "lower", 0, None),
    "lost_pct": Metric("% lost", "lower", 1, None),
    "reordered_pct": Metric("% reordered", "lower", 2, None),
    "doubled": Metric("doubled", "lower", 0, None),
    "damaged": Metric("damaged", "lower", 0, None),
    "offered_kdps": Metric("k datagrams/s offered", "higher", 1, None),
    "failures": Metric("failures", "lower", 0, None),
    "stuck": Metric("requests stuck at the end", "lower", 0, None),
    "peak_rss_mib": Metric("MiB peak RSS", "lower", 1, 0.10),
    "wall_ms": Metric("ms", "lower", 1, 0.08),
    "cpu_ms": Metric("CPU ms", "lower", 1, 0.10),
    "rss_mib": Metric("MiB RSS", "lower", 1, 0.05),
    "pss_mib": Metric("MiB PSS", "lower", 1, 0.05),
    "private_mib": Metric("MiB private", "lower", 1, 0.05),
    "processes": Metric("processes", "lower", 0, None),
    "held": Metric("connections held", "higher", 0, None),
    "open_s": Metric("s to open", "lower", 2, None),
    "grown_rss_mib": Metric("MiB RSS grown", "lower", 2, 0.10),
    "idle_cpu_ms_per_s": Metric("CPU ms/s idle", "lower", 2, None),
    "pipes_held": Metric("pipe descriptors more", "lower", 0, None),
    "add_s": Metric("s to add", "lower", 2, 0.10),
    "remove_s": Metric("s to remove", "lower", 2, 0.10),
    "reload_s": Metric("s to reload", "lower", 3, None),
    "add_cpu_ms": Metric("CPU ms to add", "lower", 0, 0.10),
    "remove_cpu_ms": Metric("CPU ms to remove", "lower", 0, 0.10),
    "bytes_per_flow": Metric("bytes RSS/connection", "lower", 0, None),
    "pss_kib_per_port": Metric("KiB PSS/port", "lower", 1, 0.10),
    "rss_kib_per_port": Metric("KiB RSS/port", "lower", 2, 0.10),
    "descriptors_per_port": Metric("descriptors/port", "lower", 2, None),
}


def show(metric, value):
    """The value with the metric's number of decimals, without its unit."""
    decimals = METRICS[metric].decimals if metric in METRICS else 2
    return f"{value:,.{decimals}f}"


def unit(metric):
    return METRICS[metric].unit if metric in METRICS else metric
