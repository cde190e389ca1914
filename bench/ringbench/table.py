# SPDX-License-Identifier: Apache-2.0
"""Prints the results as text: a table for each group of scenarios, and a table of the targets."""

from .metrics import show, unit
from .stats import noise

# Metrics that are shown in addition to the primary one and the CPU time.
EXTRA = ("reload_s", "remove_s", "remove_cpu_ms", "bytes_per_flow", "held", "p50_us", "p99_us",
         "offered_kdps", "lost_pct", "pss_mib", "idle_cpu_ms_per_s", "pipes_held", "grown_rss_mib",
         "rss_kib_per_port", "descriptors_per_port", "peak_rss_mib")
# Metrics that are shown only where a forwarder's is not zero.
TROUBLES = ("stuck", "failures", "reordered_pct", "doubled", "damaged")


def conditions(run):
    """The conditions that are the same for all figures of the run."""
    machine = run["machine"]
    plain = {e["congestion"] for e in run["results"] if e["variant"] != "bbr"}
    parts = [f"CPUs {machine.get('cpu_list', '?')}", f"governor {machine.get('governor', '?')}"]
    if plain:
        parts.append("congestion control " + ", ".join(sorted(plain)))
    if any(e["variant"] == "bbr" for e in run["results"]):
        parts.append("bbr where [bbr] stands")
    return "all figures: " + ", ".join(parts)


def columns(rows):
    """Lines with aligned columns. The first column is aligned to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [("  ".join([row[0].ljust(widths[0])]
                       + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])])).rstrip()
            for row in rows]


def metrics_to_show(entry):
    present = {name for of in entry["peers"].values() for name in of["summary"]}
    some = {name for of in entry["peers"].values() for name, stat in of["summary"].items()
            if stat["max"]}
    wanted = [entry["primary"], entry["cpu"], *EXTRA, *(m for m in TROUBLES if m in some)]
    return [m for m in dict.fromkeys(wanted) if m in present]


def cell(of, metric):
    stat = of["summary"].get(metric) if of else None
    if not stat:
        return "failed" if of and of["failures"] and not of["samples"] else "–"
    spread = f" ±{100 * noise(stat):.0f}%" if stat["count"] > 1 else ""
    return show(metric, stat["median"]) + spread


def results(entries, peers):
    """A table for each group. peers: names, in the order of the columns."""
    lines = []
    for group in dict.fromkeys(entry["group"] for entry in entries):
        mine = [entry for entry in entries if entry["group"] == group]
        there = [p for p in peers if any(p in entry["peers"] for entry in mine)]
        rows = [[group, *there]]
        for entry in mine:
            mark = " [bbr]" if entry["variant"] == "bbr" else ""
            rows.append([f"{entry['title']}{mark}", *[""] * len(there)])
            rows += [[f"    {unit(metric)}",
                      *(cell(entry["peers"].get(p), metric) for p in there)]
                     for metric in metrics_to_show(entry)]
        text = columns(rows)
        lines += ["", text[0], "─" * len(text[0]), *text[1:]]
    return "\n".join(lines)


def verdict(target):
    return {True: "met", False: "MISSED", None: "?"}[target["met"]]


def condition(target):
    sign = {">=": "≥", "<=": "≤", "<": "<"}[target["op"]]
    if target["plus"]:
        return f"{sign} +{target['limit']:g}"
    return f"{sign} {target['limit']:g}" + (" ×" if target["peer"] else "")


def value(target):
    if target["value"] is None:
        return "failed"
    value = target["value"]
    if target["plus"]:
        return f"+{show(target['metric'], value)}"
    return f"{value:.2f} ×" if target["peer"] else show(target["metric"], value)


def measured(found):
    """The targets whose scenario and peers were part of this run."""
    return [t for t in found if not t["unmeasured"]]


def counts(found):
    met = sum(t["met"] is True for t in found)
    missed = sum(t["met"] is False for t in found)
    return f"{met} met, {missed} missed, {len(found) - met - missed} not measured"


def against(target):
    """What the figure is compared with."""
    if target["base"]:
        return target["base"]
    return target["peer"] or "–"


def targets(found):
    """The table of targets. To keep it within 100 columns, the name of a target is on a line of its own."""
    rows, heads = [["  scenario", "metric", "against", "wanted", "is", ""]], {}
    for target in measured(found):
        if target["row"] not in heads.values():
            heads[len(rows)] = target["row"]
        mark = " [bbr]" if target["variant"] == "bbr" else ""
        rows.append([f"  {target['scenario']}{mark}", unit(target["metric"]), against(target),
                     condition(target), value(target), verdict(target)])
    lines = [] if len(rows) > 1 else ["", counts(found)]
    if not lines:
        text = columns(rows)
        lines = ["", text[0], "─" * max(map(len, text))]
        for number, line in enumerate(text[1:], 1):
            lines += [heads[number]] if number in heads else []
            lines.append(line)
        lines += ["", counts(found)]
    return "\n".join(lines)
