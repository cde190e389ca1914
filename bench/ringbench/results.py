# SPDX-License-Identifier: Apache-2.0
"""Writes the figures of runs as Markdown between two marker lines of a file, such as bench/RESULTS.md."""

import argparse
import os
import sys

from . import compare, table
from .metrics import show, unit

BEGIN = "<!-- figures: begin. bench/results writes what is between these lines. -->"
END = "<!-- figures: end -->"
# Metrics that are shown in addition to the primary one and the CPU time.
_MORE = ("reload_s", "p50_us", "p99_us", "lost_pct", "pss_mib", "remove_s", "bytes_per_flow", "held",
         "idle_cpu_ms_per_s", "grown_rss_mib", "rss_kib_per_port", "pss_kib_per_port", "descriptors_per_port")


class Unusable(Exception):
    """The file cannot be read, or has no marker lines."""


def _split(path):
    """Returns the text before the figures, with its marker line, the figures, and the text after them, with
    its marker line."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
    before, begin, rest = text.partition(BEGIN)
    figures, end, after = rest.partition(END)
    if not begin or not end:
        raise Unusable(f"{path}: the lines \"{BEGIN}\" and \"{END}\" are not in it")
    return before + begin, figures.strip(), end + after


def check(path):
    """Raises Unusable if write() could not use the file. Called before a run, which may take an hour."""
    _split(path)
    directory = os.path.dirname(os.path.abspath(path))
    if not os.access(directory, os.W_OK):
        raise Unusable(f"{path}: no file can be made in {directory}, beside it")


def _row(cells):
    return "| " + " | ".join(cells) + " |"


def _group(entries, peers):
    there = [p for p in peers if any(p in entry["peers"] for entry in entries)]
    lines = [_row([entries[0]["group"], *there]), _row(["---"] * (len(there) + 1))]
    for entry in entries:
        mark = " [bbr]" if entry["variant"] == "bbr" else ""
        present = {m for of in entry["peers"].values() for m in of["summary"]}
        wanted = dict.fromkeys([entry["primary"], entry["cpu"], *_MORE])
        for metric in [m for m in wanted if m in present]:
            cells = []
            for peer in there:
                of = entry["peers"].get(peer)
                stat = of["summary"].get(metric) if of else None
                failed = of and of["failures"] and metric == entry["primary"]
                cells.append(show(metric, stat["median"]) if stat else
                             "failed" if failed else "")
            label = f"{entry['title']}{mark}: {unit(metric)}"
            lines.append(_row([label if metric == entry["primary"] else f"– {unit(metric)}",
                               *cells]))
    return lines


def _one(run):
    machine, build = run["machine"], run["machine"].get("build", {})
    versions = dict.fromkeys(f"{name}: {of['version']}" for name, of in run["peers"].items()
                             if of["version"])
    lines = [f"## Run of {run['started'][:16].replace('T', ', ')}", "",
             f"{machine['cpu'] or machine['arch']}, {machine['cpus']} CPUs, "
             f"{machine['memory_gib']} GiB, {machine['kernel']}; {table.conditions(run)}. "
             f"Suite {run['suite']}, {run['rounds']} rounds of {run['sample_seconds']} s, "
             f"{run['seconds'] / 60:.0f} minutes, build {build.get('buildtype', '?')}. Others used "
             f"{run['others_percent']:.0f} % of the CPU time. Medians.", ""]
    lines += [f"- {text}" for text in [*run["warnings"], *versions]]
    lines += [f"- skipped: {text}" for text in run["skipped"]]
    for group in dict.fromkeys(entry["group"] for entry in run["results"]):
        mine = [entry for entry in run["results"] if entry["group"] == group]
        lines += ["", *_group(mine, list(run["peers"]))]
    lines += ["", "```text", *table.targets(run["targets"]).strip().splitlines(), "```"]
    return lines


def text(runs):
    """The Markdown for the runs, in the order given."""
    return "\n\n".join("\n".join(_one(run)) for run in runs)


def write(path, runs, add=False):
    """Replaces the figures in the file, or puts new ones before them. A reader sees either the old file or
    the new one."""
    before, figures, after = _split(path)
    new = [text(runs), figures] if add and figures else [text(runs)]
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write("\n\n".join([before, *new, after]))
    owner = os.stat(path)
    os.chown(path + ".new", owner.st_uid, owner.st_gid)
    os.chmod(path + ".new", owner.st_mode & 0o777)
    os.rename(path + ".new", path)


def main(argv):
    here = os.path.dirname(os.path.realpath(argv[0]))
    parser = argparse.ArgumentParser(
        prog="bench/results", description="Writes the figures of runs into a file, between its two "
        "marker lines. They replace the figures that are there.")
    parser.add_argument("--add", action="store_true", help="put them before those that are there")
    parser.add_argument("--into", default=os.path.join(here, "RESULTS.md"), metavar="FILE",
                        help="bench/RESULTS.md unless given")
    parser.add_argument("runs", nargs="+", metavar="RUN.json")
    options = parser.parse_args(argv[1:])
    try:
        check(options.into)
        write(options.into, [compare.load(path) for path in options.runs], options.add)
    except (Unusable, compare.Unreadable) as why:
        print(why, file=sys.stderr)
        return 2
    return 0
