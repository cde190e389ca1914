# SPDX-License-Identifier: Apache-2.0
"""Writes a run as one HTML page. The page has no scripts and loads nothing."""

import re
from html import escape

from . import svg, table
from .metrics import METRICS, UNREST_PERCENT, show, unit
from .stats import noise

CSS = """
:root { --ink: #1b1f24; --soft: #5b6470; --line: #d9dee4; --back: #ffffff; --card: #f6f8fa;
        --good: #1a7f37; --bad: #c62828; --warn: #fff4d6; }
@media (prefers-color-scheme: dark) {
 :root { --ink: #e4e8ed; --soft: #9aa4b0; --line: #343b44; --back: #14181d; --card: #1c2127;
         --good: #57c274; --bad: #ff7b72; --warn: #3a3215; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1280px; background: var(--back); color: var(--ink);
       font: 14px/1.45 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 10px; }
h3 { font-size: 14px; margin: 0 0 8px; } p { max-width: 80ch; }
.faint, .facts { color: var(--soft); } .warn { background: var(--warn); padding: 8px 12px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(470px, 1fr)); gap: 14px; }
.wide { grid-template-columns: repeat(auto-fill, minmax(580px, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
        padding: 12px 14px; overflow-x: auto; }
.card p { margin: 8px 0 4px; color: var(--soft); }
svg { max-width: 100%; height: auto; display: block; }
svg text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: var(--ink); }
svg text.faint { fill: var(--soft); } svg text.value { font-weight: 600; }
.grid { stroke: var(--line); stroke-width: 1; fill: none; }
.whisker { stroke: var(--ink); stroke-width: 1.2; fill: none; } .dot { fill: var(--ink); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 8px; border-bottom: 1px solid var(--line); text-align: right;
         white-space: nowrap; }
th { color: var(--soft); font-weight: 600; } th.l, td.l { text-align: left; }
td.note { white-space: normal; }
.met { color: var(--good); font-weight: 600; } .missed { color: var(--bad); font-weight: 600; }
.scroll { overflow-x: auto; } summary { cursor: pointer; margin: 8px 0; }
ul { padding-left: 20px; }
"""

_READ = """
<p>Each round of a scenario measures one forwarder after the other. A machine that becomes slower or
faster during the run therefore affects all of them alike. A bar is the median of the rounds. The
whisker covers the middle half of them, and the dots are the extremes. “CPU” is the time that the
forwarder's own processes used for the work; clients and servers are not counted. Peak RSS is the
sum, over the forwarder's processes, of the largest resident size that each had during the sample.
Pages that processes share are counted in each. The <i>direct path</i> is a client inside the
network namespace, so there is no forwarder at all.</p>
"""

# (title, pattern of the scenarios on the curve, metric, what the number in the key counts)
_CURVES = (
    ("Upload by flows", r"bulk-up-(\d+)$", "gbps", "flows"),
    ("CPU for upload by flows", r"bulk-up-(\d+)$", "cpu_s_per_gb", "flows"),
    ("Download by flows", r"bulk-down-(\d+)$", "gbps", "flows"),
    ("Both directions by flows", r"bulk-both-(\d+)$", "gbps", "flows"),
    ("Requests by connections, 64 bytes", r"reqres-(\d+)x64$", "rps", "connections"),
    ("p99 by connections, 64 bytes", r"reqres-(\d+)x64$", "p99_us", "connections"),
    ("Requests by size, 64 connections", r"reqres-64x(\d+)$", "rps", "bytes"),
    ("New connections by how many at a time", r"connreq-(\d+)$", "rps", "at a time"),
    ("Memory of idle connections", r"idle-(\d+)$", "grown_rss_mib", "connections"),
    ("The same for one connection", r"idle-(\d+)$", "bytes_per_flow", "connections"),
    ("Memory of ports, as ranges", r"ports-range-(\d+)$", "grown_rss_mib", "ports"),
    ("The same for one port", r"ports-range-(\d+)$", "rss_kib_per_port", "ports"),
    ("Datagrams delivered by size, GSO sender", r"udp-gso-(\d+)-max$", "kdps", "bytes"),
    ("CPU for datagrams by size, GSO sender", r"udp-gso-(\d+)-max$", "cpu_s_per_mdgram", "bytes"),
)
_PERCENTILES = ("p10", "p50", "p75", "p90", "p95", "p99", "p99.5", "p99.9", "p99.99", "max")
_PERCENTILE_SCENARIOS = r"(reqres-\d+x64|connreq-\d+|udp-1400-\d+|http-\w+-\d+)$"


def _facts(run):
    machine = run["machine"]
    build = machine.get("build", {})
    lines = [
        f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['memory_gib']} GiB, "
        f"{machine['kernel']} ({machine['arch']})",
        f"started {run['started']}, {run['seconds'] / 60:.1f} minutes, suite {run['suite']}, "
        f"{run['rounds']} rounds of {run['sample_seconds']} s; "
        f"{run['busy_before_percent']:.0f} % busy before; others used "
        f"{run['others_percent']:.0f} % of the CPU time, of which the hypervisor "
        f"{run['steal_percent']:.1f} %",
    ]
    lines.append(table.conditions(run))
    if build:
        lines.append(f"build: {build['buildtype']}, sanitizers: {build['sanitize']}")
    lines += [f"{of['label']}: {of['version']}" for of in run["peers"].values() if of["version"]]
    html = "<br>".join(escape(line) for line in lines)
    warnings = "".join(f'<p class="warn">{escape(text)}</p>' for text in run["warnings"])
    return f'<p class="facts">{html}</p>{warnings}'


def _targets(found, peers):
    rows, last = [], None
    for target in table.measured(found):
        mark = " [bbr]" if target["variant"] == "bbr" else ""
        css = {True: "met", False: "missed", None: "faint"}[target["met"]]
        word = {True: "met", False: "missed", None: "not measured"}[target["met"]]
        figures = ""
        if target["value"] is not None:
            figures = show(target["metric"], target["ours"])
            if target["theirs"] is not None:
                figures += " : " + show(target["metric"], target["theirs"])
        against = (target["base"]
                   or peers.get(target["peer"], {"label": target["peer"] or "–"})["label"])
        if target["row"] != last:
            rows.append(f'<tr><th class="l" colspan="7">{escape(target["row"])}</th></tr>')
        last = target["row"]
        rows.append(
            f'<tr><td class="l">{escape(target["scenario"] + mark)}</td>'
            f'<td class="l">{escape(unit(target["metric"]))}</td>'
            f'<td class="l">{escape(against)}</td>'
            f'<td>{escape(table.condition(target))}</td><td>{escape(table.value(target))}</td>'
            f'<td>{escape(figures)}</td><td class="l {css}">{word}</td></tr>')
    if not rows:
        return ""
    head = "".join(f'<th class="{css}">{name}</th>' for name, css in (
        ("scenario", "l"), ("metric", "l"), ("against", "l"), ("wanted", ""),
        ("is", ""), ("figures", ""), ("", "l")))
    return (f"<h2>Targets</h2><p>{table.counts(found)} in this run.</p>"
            f'<div class="scroll"><table><tr>{head}</tr>{"".join(rows)}'
            "</table></div>")


def _bars(entry, peers, metric):
    rows = []
    for name in peers:
        of = entry["peers"].get(name)
        if of is None:
            continue
        stat = of["summary"].get(metric)
        if stat or of["failures"]:
            rows.append((name, peers[name]["label"], stat, "failed" if of["failures"] else ""))
    return svg.bars(rows, f"{entry['title']}, {unit(metric)}") if rows else ""


def _mark(entry):
    return " [bbr]" if entry["variant"] == "bbr" else ""


def _cards(entries, peers):
    cards = []
    for entry in entries:
        parts = [f"<h3>{escape(entry['title'] + _mark(entry))}</h3>"]
        if entry["others_percent"] > UNREST_PERCENT:
            parts.append(f'<p class="warn">others used {entry["others_percent"]:.0f} % of the '
                         "machine</p>")
        metrics = [entry["primary"], entry["cpu"]]
        if entry["group"] == "UDP":
            metrics.append("lost_pct")
        if entry["group"] == "Memory":
            metrics.append("pss_mib")
        if entry["group"] == "Ports":
            metrics.append("rss_kib_per_port")
        for metric in metrics:
            if not metric:
                continue
            better = METRICS[metric].better
            chart = _bars(entry, peers, metric)
            if chart:
                parts.append(f"<p>{escape(unit(metric))}, {better} is better</p>{chart}")
        cards.append(f'<div class="card">{"".join(parts)}</div>')
    return f'<div class="cards">{"".join(cards)}</div>'


def _stat_point(stat):
    return stat["median"], stat["low"], stat["high"]


def _percentiles(entries, peers):
    cards = []
    for entry in entries:
        if not re.match(_PERCENTILE_SCENARIOS, entry["scenario"]):
            continue
        there = [p for p in _PERCENTILES
                 if any(f"{p}_us" in of["summary"] for of in entry["peers"].values())]
        series = [(name, peers[name]["label"],
                   {p.strip("p"): _stat_point(of["summary"][f"{p}_us"]) for p in there
                    if f"{p}_us" in of["summary"]})
                  for name, of in entry["peers"].items()]
        series = [one for one in series if one[2]]
        if not series:
            continue
        title = f"{entry['group']}: {entry['title']}{_mark(entry)}"
        ticks = [p.strip("p") for p in there]
        chart = svg.lines(ticks, series, title, log=True, x_title="percentile",
                          y_title="µs, log scale")
        cards.append(f'<div class="card"><h3>{escape(title)}</h3>{chart}</div>')
    if not cards:
        return ""
    return ("<h2>Latency percentiles</h2><p>Of each request, from its first byte sent (a new "
            "connection: from before connect) to the end of the reply; of datagrams, from the "
            "sender's call to the receiver's. Lower is better; the band is the middle half of the "
            f'rounds.</p><div class="cards wide">{"".join(cards)}</div>')


def _curve(entries, peers, pattern, metric, axis, title):
    points = {}
    for entry in entries:
        found = re.match(pattern, entry["scenario"])
        if found and entry["variant"] == "unpaced":
            points[int(found.group(1))] = entry
    ticks = [f"{x:,}" for x in sorted(points)]
    series = []
    for name in peers:
        line = {f"{x:,}": _stat_point(entry["peers"][name]["summary"][metric])
                for x, entry in points.items()
                if metric in entry["peers"].get(name, {"summary": {}})["summary"]}
        if len(line) > 1:
            series.append((name, peers[name]["label"], line))
    if len(ticks) < 2 or not series:
        return ""
    chart = svg.lines(ticks, series, title, log=metric in ("kdps", "p99_us"), x_title=axis,
                      y_title=unit(metric))
    better = METRICS[metric].better
    return f'<div class="card"><h3>{escape(title)} ({better} is better)</h3>{chart}</div>'


def _curves(entries, peers):
    cards = "".join(_curve(entries, peers, pattern, metric, axis, title)
                    for title, pattern, metric, axis in _CURVES)
    return f'<h2>Scaling</h2><div class="cards wide">{cards}</div>' if cards else ""


def _all_figures(entries, peers):
    """Every metric of every scenario. The reader opens each table by a click."""
    parts = ["<h2>All figures</h2><p>Median, and half of the middle half's width in percent of "
             "it.</p>"]
    for entry in entries:
        there = [name for name in peers if name in entry["peers"]]
        present = {m for name in there for m in entry["peers"][name]["summary"]}
        names = [m for m in METRICS if m in present] + sorted(present - set(METRICS))
        head = "".join(f"<th>{escape(peers[name]['label'])}</th>" for name in there)
        rows = []
        for metric in names:
            cells = []
            for name in there:
                stat = entry["peers"][name]["summary"].get(metric)
                text = "–"
                if stat:
                    text = f"{show(metric, stat['median'])} ±{100 * noise(stat):.0f}%"
                cells.append(f"<td>{escape(text)}</td>")
            label = unit(metric)
            rows.append(f'<tr><td class="l">{escape(label)}</td>{"".join(cells)}</tr>')
        title = f"{entry['group']}: {entry['title']}{_mark(entry)}"
        parts.append(f"<details><summary>{escape(title)} "
                     f'<span class="faint">{escape(entry["scenario"])}</span></summary>'
                     f'<div class="scroll"><table><tr><th class="l"></th>{head}</tr>'
                     f'{"".join(rows)}</table></div></details>')
    return "".join(parts)


def _troubles(run):
    items = [f"skipped: {text}" for text in run["skipped"]]
    for entry in run["results"]:
        for name, of in entry["peers"].items():
            items += [f"failed: {entry['scenario']}{_mark(entry)}, {name}: {text}"
                      for text in of["failures"]]
    if not items:
        return ""
    return ("<h2>Skipped and failed</h2><ul>"
            + "".join(f"<li>{escape(text)}</li>" for text in items) + "</ul>")


def page(run):
    """The page as text. run: the JSON of a run."""
    peers, entries = run["peers"], run["results"]
    groups = "".join(
        f"<h2>{escape(group)}</h2>{_cards([e for e in entries if e['group'] == group], peers)}"
        for group in dict.fromkeys(e["group"] for e in entries))
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>ringkit bench, {escape(run['started'])}</title><style>{CSS}</style></head>"
            f"<body><h1>ringkit bench</h1>{_facts(run)}{_READ}"
            f"{_targets(run['targets'], peers)}{groups}{_percentiles(entries, peers)}"
            f"{_curves(entries, peers)}"
            f"{_all_figures(entries, peers)}{_troubles(run)}</body></html>\n")
