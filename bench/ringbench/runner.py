# SPDX-License-Identifier: Apache-2.0
"""Takes the samples: starts the peers, runs the scenarios round by round, and keeps the results."""

import fnmatch
import shutil
import subprocess
import sys
import time

from . import machine, stats
from .drivers import DRIVERS
from .host import Skip
from .metrics import UNREST_PERCENT, show, unit
from .peers import PEERS
from .programs import Failed, TimedOut
from .suites import PACED_KEYS

# After so many failures in a scenario, a peer takes no further part in it.
FAILURES_MAX = 2

# What a sample or a start may raise without ending the run. The run goes on with the next sample.
BROKEN = (Failed, Skip, OSError, ValueError, subprocess.SubprocessError)


def select(scenarios, patterns):
    """The scenarios whose key matches one of the shell patterns. Without patterns, all scenarios."""
    if not patterns:
        return scenarios
    for pattern in patterns:
        if not any(fnmatch.fnmatch(s.key, pattern) for s in scenarios):
            raise SystemExit(f"--only={pattern}: no such scenario; there are: "
                             + " ".join(s.key for s in scenarios))
    return [s for s in scenarios if any(fnmatch.fnmatch(s.key, p) for p in patterns)]


class Progress:
    """Prints what the run is doing. On a terminal, one line shows the current step and is rewritten."""

    def __init__(self, out=sys.stdout):
        self.out = out
        self.live = out.isatty()
        self.start = time.monotonic()
        self.done = self.total = 0

    def say(self, text):
        self._clear()
        print(text, file=self.out, flush=True)

    def step(self, text):
        self.done += 1
        if not self.live:
            return
        gone = time.monotonic() - self.start
        left = gone / self.done * max(self.total - self.done, 0)
        line = (f"{self.done}/{self.total} · {_clock(gone)} gone, about {_clock(left)} left · "
                f"{text}")
        self._clear()
        # The line must not wrap: only the last row of the terminal can be rewritten.
        self.out.write(line[:shutil.get_terminal_size().columns - 1])
        self.out.flush()

    def _clear(self):
        if self.live:
            self.out.write("\r\x1b[K")


def _clock(seconds):
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Runner:
    """results: a list of dicts, one for each scenario and variant, as they go into the JSON."""

    def __init__(self, host, programs, suite, progress, after_scenario=lambda: None):
        self.host, self.programs, self.suite, self.progress = host, programs, suite, progress
        self.after_scenario = after_scenario
        self.results = []
        self.skipped = []
        self.peers = {}

    def skip(self, text):
        if text not in self.skipped:
            self.skipped.append(text)
            self.progress.say(f"skipped: {text}")

    def make_peers(self, names, more):
        """Makes the peers. names: those that are wanted, or all if empty. more: {name: maker} of further
        peers, which are always made. A peer that this machine does not have is skipped."""
        for index, (name, make) in enumerate({**PEERS, **DRIVERS, **more}.items()):
            if names and name not in names and name not in more:
                continue
            try:
                self.peers[name] = make(self.host, name, index)
            except Skip as skip:
                self.skip(str(skip))

    def plan(self, variants, patterns):
        """Returns [(variant, congestion control, scenarios)] for the congestion controls of this machine."""
        phases = []
        scenarios = select(self.suite.scenarios, patterns)
        for index, congestion in enumerate(self.host.congestion_controls()):
            variant = "bbr" if congestion == "bbr" else "unpaced"
            if variants and variant not in variants:
                continue
            chosen = [s for s in scenarios if index == 0 or s.key in PACED_KEYS]
            if chosen:
                phases.append((variant, congestion, chosen))
        for _, _, chosen in phases:
            for scenario in list(chosen):
                try:
                    scenario.check(self.programs)
                except Skip as skip:
                    self.skip(str(skip))
                    chosen.remove(scenario)
        return phases

    def run(self, phases):
        rounds = self.suite.rounds
        # An upper bound, from which the time that is left is guessed: not every peer takes part in every
        # scenario.
        self.progress.total = sum(
            len(self.peers) * (1 if s.once else rounds) for _, _, chosen in phases for s in chosen)
        for variant, congestion, scenarios in phases:
            self.progress.say(f"congestion control: {congestion}")
            self._phase(variant, congestion, scenarios)

    def _phase(self, variant, congestion, scenarios):
        self.host.set_congestion(congestion)
        running = {}
        try:
            for number, scenario in enumerate(scenarios):
                for name, peer in list(self.peers.items()):
                    if name not in running and self._takes_part(scenario, peer, variant):
                        self._start(name, peer, congestion, running)
                self._scenario(variant, congestion, scenario,
                               [p for name, p in self.peers.items() if name in running])
                self.after_scenario()
                self._stop_idle(variant, scenarios[number + 1:], running)
        finally:
            for peer in running.values():
                peer.stop()

    def _start(self, name, peer, congestion, running):
        try:
            peer.start(self.programs, congestion)
            running[name] = peer
        except BROKEN as why:
            self.skip(str(why) if isinstance(why, Skip) else f"{name}: {why}")
            peer.stop()
            del self.peers[name]

    def _stop_idle(self, variant, scenarios, running):
        """Stops the peers that take part in none of the scenarios. A peer that is left running may disturb
        others: pasta, for example, binds every port on which something listens."""
        for name, peer in list(running.items()):
            if not any(self._takes_part(s, peer, variant) for s in scenarios):
                peer.stop()
                del running[name]

    @staticmethod
    def _takes_part(scenario, peer, variant):
        if peer.only and peer.only != scenario.group:
            return False
        if peer.core_only and (not scenario.core or variant == "bbr"):
            return False
        return scenario.applies(peer)

    def _scenario(self, variant, congestion, scenario, running):
        peers = [p for p in running if self._takes_part(scenario, p, variant)]
        samples = {p.name: [] for p in peers}
        failures = {p.name: [] for p in peers}
        if scenario.warm:
            for peer in peers:
                self._warm_up(scenario, peer, failures[peer.name])
        rounds = 1 if scenario.once else self.suite.rounds
        unrest = machine.Unrest()
        for number in range(rounds):
            for peer in peers:
                self.progress.step(f"{scenario.group}: {scenario.title} · {peer.label} · "
                                   f"round {number + 1}/{rounds}")
                if len(failures[peer.name]) < FAILURES_MAX:
                    self._sample(scenario, peer, self.suite.seconds, samples[peer.name],
                                 failures[peer.name])
        entry = {
            "scenario": scenario.key, "group": scenario.group, "title": scenario.title,
            "primary": scenario.primary, "cpu": scenario.cpu, "variant": variant,
            "congestion": congestion, "others_percent": unrest.percent()[0],
            "peers": {name: {"samples": samples[name],
                             "summary": stats.summarize(samples[name]),
                             "failures": list(dict.fromkeys(failures[name]))} for name in samples},
        }
        self.results.append(entry)
        self._report(entry)

    def _warm_up(self, scenario, peer, failures):
        """Takes a sample that is thrown away. It is short, so that it may fail for a slow peer. Only a
        program that did not end in time counts as a failure."""
        try:
            scenario.sample(peer, self.programs, self.suite.warm_up_s)
        except TimedOut as why:
            self._failed(scenario, peer, why, failures)
        except BROKEN:
            pass

    def _sample(self, scenario, peer, seconds, samples, failures):
        try:
            if not peer.alive():
                peer.stop()
                peer.start(self.programs, self.host.congestion())
            samples.append(scenario.sample(peer, self.programs, seconds))
        except BROKEN as why:
            self._failed(scenario, peer, why, failures)

    def _failed(self, scenario, peer, why, failures):
        text = str(why)
        if not peer.alive():
            text += "; the forwarder has ended"
        # A peer that ran out of time once takes no further part: it would run out of time in every round.
        failures += [text] * (FAILURES_MAX if isinstance(why, TimedOut) else 1)
        self.progress.say(f"failed: {scenario.key}, {peer.name}: {text}")

    def _report(self, entry):
        metric = entry["primary"]
        shown = [f"{name} {show(metric, of['summary'][metric]['median'])}"
                 if metric in of["summary"] else f"{name} –"
                 for name, of in entry["peers"].items()]
        mark = " [bbr]" if entry["variant"] == "bbr" else ""
        if entry["others_percent"] > UNREST_PERCENT:
            mark += f" (others used {entry['others_percent']:.0f} % of the machine)"
        self.progress.say(f"{entry['group']}: {entry['title']}{mark}, {unit(metric)}: "
                          + ", ".join(shown))
