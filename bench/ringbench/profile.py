# SPDX-License-Identifier: Apache-2.0
"""Shows where the forwarder's time goes: samples by perf, system calls by perf trace or strace."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from html import escape

from . import flame, report
from .host import Skip
from .programs import Failed

FREQUENCY_HZ = 1999
TOP = 20
# perf does not tell when it has attached to all threads, so it gets this long.
_ATTACH_S = 0.4
_PER = {"gbps": ("GB", 1 / 8), "rps": ("1,000 requests", 1e-3),
        "kdps": ("1,000 datagrams", 1.0)}


class Tools:
    """The profiling tools of this machine. missing lists sentences about those that it lacks."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.missing = []
        self.perf = shutil.which("perf")
        self.event = self._find_event() if self.perf else None
        if not self.perf:
            self.missing.append("perf is not installed (apt-get install linux-perf): no samples, "
                                "no flame graphs")
        self.tracer = self._find_tracer()

    def _find_event(self):
        counted = subprocess.run([self.perf, "stat", "-x,", "-e", "cycles", "true"],
                                 capture_output=True, text=True, check=False)
        event = "cycles"
        if counted.returncode or "<not" in counted.stderr:
            self.missing.append("no hardware counters here: perf samples by the software clock")
            event = "cpu-clock"
        probe = f"{self.scratch}/probe.data"
        tried = subprocess.run([self.perf, "record", "-q", "-e", event, "-o", probe, "true"],
                               capture_output=True, text=True, check=False)
        if tried.returncode:
            words = tried.stderr.strip().splitlines() or ["no reason given"]
            self.missing.append(f"perf may not record: {words[0]}")
            return None
        # perf leaves the kernel out without a word when it may not sample it.
        used = subprocess.run([self.perf, "evlist", "-i", probe], capture_output=True, text=True,
                              check=False).stdout
        if ":u" in used:
            self.missing.append("the kernel may not be sampled here (kernel.perf_event_paranoid): "
                                "its share is not shown")
        return event

    def _find_tracer(self):
        if self.perf:
            tried = subprocess.run([self.perf, "trace", "-s", "true"], capture_output=True,
                                   text=True, check=False)
            if not tried.returncode:
                return "perf"
        if shutil.which("strace"):
            self.missing.append("perf trace does not work here: system calls counted by strace, "
                                "which slows the forwarder down a lot")
            return "strace"
        self.missing.append("neither perf trace nor strace: no system calls")
        return None

    @contextmanager
    def _attached(self, argv):
        """Runs the tool while the body runs, and ends it by SIGINT, as Ctrl-C does."""
        with open(f"{self.scratch}/tool.log", "w+", encoding="utf-8") as log:
            tool = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                time.sleep(_ATTACH_S)
                if tool.poll() is not None:
                    log.seek(0)
                    lines = log.read().strip().splitlines() or [f"status {tool.returncode}"]
                    raise Failed(f"{argv[0]}: {lines[0]}")
                yield
            finally:
                if tool.poll() is None:
                    tool.send_signal(signal.SIGINT)
                tool.wait(60)

    def record(self, pids, work):
        """Runs work() under perf. Returns (its result, stacks as of flame.parse())."""
        data = f"{self.scratch}/perf.data"
        with self._attached([self.perf, "record", "-q", "-e", self.event, "-F", str(FREQUENCY_HZ),
                             "-g", "-o", data, "-p", ",".join(map(str, pids))]):
            result = work()
        script = subprocess.run([self.perf, "script", "-i", data, "-F", "comm,tid,ip,sym,dso"],
                                capture_output=True, text=True, errors="replace", check=False)
        os.unlink(data)
        return result, flame.parse(script.stdout)

    def trace(self, pids, work):
        """Runs work() under the tracer. Returns (its result, {call: (calls, errors, milliseconds)})."""
        out = f"{self.scratch}/trace.txt"
        if self.tracer == "perf":
            argv = [self.perf, "trace", "-s", "-o", out, "-p", ",".join(map(str, pids))]
        else:
            argv = ["strace", "-c", "-f", "-o", out]
            for pid in pids:
                argv += ["-p", str(pid)]
        with self._attached(argv):
            result = work()
        with open(out, encoding="utf-8", errors="replace") as file:
            text = file.read()
        return result, parse_perf_trace(text) if self.tracer == "perf" else parse_strace(text)


def _add(calls, name, count, errors, milliseconds):
    old = calls.get(name, (0, 0, 0.0))
    calls[name] = (old[0] + count, old[1] + errors, old[2] + milliseconds)


def parse_perf_trace(text):
    """System calls from the output of `perf trace -s`, added up over the threads."""
    calls = {}
    for name, count, errors, total in re.findall(
            r"^\s{2,}(\w+)\s+(\d+)\s+(\d+)\s+([\d.]+)(?:\s+[\d.]+){3}", text, re.M):
        _add(calls, name, int(count), int(errors), float(total))
    return calls


def parse_strace(text):
    """System calls from the output of `strace -c`, whose columns are share, seconds, microseconds a call,
    calls, errors (or nothing), name."""
    calls = {}
    for seconds, count, errors, name in re.findall(
            r"^\s*[\d.]+\s+([\d.]+)\s+\d+\s+(\d+)(?:\s+(\d+))?\s+([a-z_]\w*)$", text, re.M):
        if name != "total":
            _add(calls, name, int(count), int(errors or 0), float(seconds) * 1e3)
    return calls


def _work_done(sample, primary, seconds):
    """How much work the sample has done: (amount, unit)."""
    unit, factor = _PER[primary]
    return sample[primary] * factor * seconds, unit


def _table(head, rows):
    cells = "".join(f'<th class="{"l" if i == 0 else ""}">{escape(name)}</th>'
                    for i, name in enumerate(head))
    body = "".join("<tr>" + "".join(
        f'<td class="{"l" if i == 0 else ""}">{escape(cell)}</td>' for i, cell in enumerate(row))
        + "</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{cells}</tr>{body}</table></div>'


def _functions(stacks):
    total = sum(stacks.values()) or 1
    return [(name, kind, f"{100 * own / total:.1f} %", f"{100 * below / total:.1f} %")
            for name, kind, own, below in flame.hottest(stacks)[:TOP]]


def _calls(calls, sample, primary, seconds):
    amount, unit = _work_done(sample, primary, seconds)
    ordered = sorted(calls.items(), key=lambda item: -item[1][0])[:TOP]
    rows = [(name, f"{count:,}", f"{errors:,}", f"{ms:,.1f}",
             f"{count / amount:,.1f}" if amount else "–")
            for name, (count, errors, ms) in ordered]
    return ("system call", "calls", "errors", "ms in it, waits included", f"per {unit}"), rows


class Profiler:
    """Profiles scenarios and peers. Each adds to sections (HTML) and facts (JSON)."""

    def __init__(self, tools, programs, suite, files, say):
        self.tools, self.programs, self.suite, self.files, self.say = (
            tools, programs, suite, files, say)
        self.sections, self.facts = [], []

    def one(self, scenario, peer):
        seconds = self.suite.seconds

        def work():
            return scenario.sample(peer, self.programs, seconds)

        scenario.sample(peer, self.programs, self.suite.warm_up_s)
        title = f"{scenario.group}: {scenario.title} · {peer.label}"
        parts = [f"<h2>{escape(title)}</h2>"]
        fact = {"scenario": scenario.key, "peer": peer.name}
        if self.tools.event:
            sample, stacks = self.tools.record(peer.forwarder_pids(), work)
            picture = flame.svg(stacks, title)
            path = self.files.write(f"-{scenario.key}-{peer.name}.svg", picture)
            rows = _functions(stacks)
            parts += [f'<p class="faint">{escape(os.path.basename(path))}</p>', picture,
                      "<h3>Functions</h3>",
                      _table(("function", "in", "itself", "with what it calls"), rows)]
            fact.update(samples=sum(stacks.values()), functions=rows)
            self.say(f"{title}: " + ", ".join(f"{row[0]} {row[2]}" for row in rows[:4]))
        if self.tools.tracer:
            sample, calls = self.tools.trace(peer.forwarder_pids(), work)
            head, rows = _calls(calls, sample, scenario.primary, seconds)
            parts += ["<h3>System calls</h3>", _table(head, rows)]
            fact["calls"] = [dict(zip(head, row)) for row in rows]
            self.say("    " + ", ".join(f"{row[0]} {row[4]} {head[4]}" for row in rows[:4]))
        self.sections.append("".join(parts))
        self.facts.append(fact)

    def page(self):
        missing = "".join(f'<p class="warn">{escape(text)}</p>' for text in self.tools.missing)
        return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
                f"<title>ringkit profile</title><style>{report.CSS}</style></head><body>"
                f"<h1>ringkit profile</h1>{missing}<p>Samples of all the forwarder's processes "
                "while the scenario ran, then the same load again with its system calls counted. "
                "Green is the forwarder's own code and libraries, orange the kernel. Point at a "
                f"frame to read its share.</p>{''.join(self.sections)}</body></html>\n")


def run(host, programs, suite, runner, files, say):
    """Profiles every wanted peer in every scenario. Returns the exit status."""
    tools = Tools(host.dir)
    for text in tools.missing:
        say(f"note: {text}")
    if not tools.event and not tools.tracer:
        say("nothing can be profiled here")
        return 1
    profiler = Profiler(tools, programs, suite, files, say)
    failed = False
    for peer in runner.peers.values():
        try:
            peer.start(programs, host.congestion())
        except Skip as skip:
            runner.skip(str(skip))
            continue
        for scenario in suite.scenarios:
            if not scenario.applies(peer) or not peer.forwarder_pids():
                continue
            try:
                profiler.one(scenario, peer)
            except (Failed, Skip) as why:
                failed = True
                say(f"failed: {scenario.key}, {peer.name}: {why}")
        peer.stop()
    files.write(".json", json.dumps({"missing": tools.missing, "profiles": profiler.facts},
                                    indent=1) + "\n")
    say(f"\nreport: {files.write('.html', profiler.page())}")
    return 1 if failed or not profiler.facts else 0
