# SPDX-License-Identifier: Apache-2.0
"""What changed between two runs, and whether any of it is a regression of ours."""

import argparse
import json
import statistics
import sys

from .metrics import METRICS, UNREST_PERCENT, show, unit
from .stats import change, noise
from .table import columns

FORMAT = 1
OURS = ("ringkit", "ringkit-epoll", "net-vpnkit")


class Unreadable(Exception):
    """The file is not a run of this bench."""


def load(path):
    try:
        with open(path, encoding="utf-8") as file:
            run = json.load(file)
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    except ValueError:
        raise Unreadable(f"{path}: not JSON") from None
    if not isinstance(run, dict) or run.get("format") != FORMAT or "results" not in run:
        raise Unreadable(f"{path}: expected the JSON that bench/run wrote (format {FORMAT})")
    return run


def _stat(entry, peer, metric):
    of = entry["peers"].get(peer)
    return of["summary"].get(metric) if of else None


def controls(run_a, run_b):
    """The peers in which none of our code runs, and whose version did not change either."""
    old, new = run_a["peers"], run_b["peers"]
    return [name for name in new
            if name not in OURS and name in old and old[name]["version"] == new[name]["version"]]


def drift(before, after, peers, metric):
    """How far the metric moves by itself: the median of the changes, without sign, of peers that are
    the same in both runs. 0.0: there is no such peer."""
    moves = []
    for peer in peers:
        old, new = _stat(before, peer, metric), _stat(after, peer, metric)
        if old and new and old["median"]:
            moves.append(abs((new["median"] - old["median"]) / old["median"]))
    return statistics.median(moves) if moves else 0.0


def _rows_of(before, after, peer, others):
    """[(metric, old, new, relative change, verdict, drift)] of one scenario and peer."""
    rows = []
    for metric, known in METRICS.items():
        if known.floor is None:
            continue
        old, new = _stat(before, peer, metric), _stat(after, peer, metric)
        if not old or not new:
            continue
        moved = drift(before, after, others, metric)
        # Few samples have no spread to judge by, so their floor is doubled. The movement of unchanged
        # peers is added, since the machine may have moved this one as far.
        few = 2 if min(old["count"], new["count"]) < 3 else 1
        relative, verdict = change(old, new, known.better, known.floor * few + moved)
        rows.append((metric, old, new, relative, verdict, moved))
    return rows


def _lost(before, after, peer):
    """Whether a scenario that had figures before has none now."""
    old, new = before["peers"].get(peer), after["peers"].get(peer)
    return bool(old and new and old["samples"] and not new["samples"])


def compare(run_a, run_b):
    """(changes, regressions, compared). changes has a dict for each change beyond the noise. compared
    is the number of figures in both runs."""
    before = {(e["scenario"], e["variant"]): e for e in run_a["results"]}
    same = controls(run_a, run_b)
    changes, compared = [], 0
    for after in run_b["results"]:
        old_entry = before.get((after["scenario"], after["variant"]))
        if not old_entry:
            continue
        for peer in after["peers"]:
            base = {"scenario": after["scenario"], "variant": after["variant"], "peer": peer}
            if _lost(old_entry, after, peer):
                changes.append(dict(base, metric=after["primary"], verdict="worse", lost=True))
            others = [name for name in same if name != peer]
            for metric, old, new, relative, verdict, moved in _rows_of(
                    old_entry, after, peer, others):
                compared += 1
                if verdict != "same":
                    changes.append(dict(base, metric=metric, verdict=verdict, old=old, new=new,
                                        relative=relative, drift=moved, lost=False))
    regressions = [c for c in changes if c["peer"] in OURS and c["verdict"] == "worse"]
    return changes, regressions, compared


def _line(item):
    mark = " [bbr]" if item["variant"] == "bbr" else ""
    start = [item["scenario"] + mark, item["peer"], unit(item["metric"])]
    if item["lost"]:
        return [*start, "", "failed", "", "", item["verdict"]]
    return [*start,
            f"{show(item['metric'], item['old']['median'])} ±{100 * noise(item['old']):.0f}%",
            f"{show(item['metric'], item['new']['median'])} ±{100 * noise(item['new']):.0f}%",
            f"{100 * item['relative']:+.0f}%", f"{100 * item['drift']:.0f}%", item["verdict"]]


def text(changes, regressions, compared):
    lines = []
    if changes:
        rows = [["scenario", "forwarder", "metric", "before", "after", "change",
                 "others moved", ""]]
        changes = sorted(changes, key=lambda c: (c["peer"] not in OURS, c["verdict"] != "worse"))
        lines = columns(rows + [_line(item) for item in changes])
        lines.append("")
    lines.append(f"{compared} figures compared, {len(changes)} beyond the noise, "
                 f"{len(regressions)} regressions of ringkit")
    return "\n".join(lines)


def main(argv):
    """0: no regression; 1: at least one; 2: cannot be compared."""
    parser = argparse.ArgumentParser(
        prog="bench/compare", description="Shows what changed from one run of the bench to "
        "another, and fails on a regression of ringkit beyond the noise.")
    parser.add_argument("before", metavar="A.json")
    parser.add_argument("after", metavar="B.json")
    options = parser.parse_args(argv[1:])
    try:
        run_a, run_b = load(options.before), load(options.after)
    except Unreadable as why:
        print(why, file=sys.stderr)
        return 2
    if run_a["machine"] != run_b["machine"]:
        print("warning: the runs are of different machines or builds", file=sys.stderr)
    for path, run in ((options.before, run_a), (options.after, run_b)):
        if run["others_percent"] > UNREST_PERCENT:
            print(f"warning: {path}: others used {run['others_percent']:.0f} % of the machine",
                  file=sys.stderr)
    if run_a["sample_seconds"] != run_b["sample_seconds"]:
        print("warning: the runs took samples of different length", file=sys.stderr)
    changes, regressions, compared = compare(run_a, run_b)
    if not compared:
        print("the runs have no figure in common", file=sys.stderr)
        return 2
    print(text(changes, regressions, compared))
    return 1 if regressions else 0
