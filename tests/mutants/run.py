#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plants faults in the data plane, one at a time, and expects the unit tests to notice each.

usage: run.py BUILD-DIRECTORY [NAME...]

mutants.toml lists the faults: a file, the text that is replaced, and what replaces it. For each, that
one file is compiled again (no tree is changed), linked in front of the library into the unit tests, and
these run until one fails. A fault that no test notices has survived, and the exit code is 1. The same tests
must pass without a fault first: tests that fail anyway notice nothing.
"""

import collections
import concurrent.futures
import json
import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
# Quick ones first: most faults are noticed by the first or second.
TESTS = ("channels", "gate", "out", "out_udp", "out_ping", "out_family", "way_in", "tcp", "tcp_overload",
         "udp", "udp_pending", "udp_family", "handover", "handover_refused", "out_handover", "udp_target",
         "udp_ports", "udp_send", "client_address", "listener", "sockpool", "states", "control",
         "control_inside", "control_reload", "io", "worker")
TESTS += ("set_target", "control_turned", "rhythm")
# A fault may make a test loop for ever. That counts as noticed; the tests themselves take 3 s. A machine so
# busy that they take longer gets that many times what the slowest test takes without a fault.
TIMEOUT_S = 20
TIMEOUT_FACTOR = 4
# A test of many seeded runs does fewer of them here.
ENVIRON = {**os.environ, "WORKER_RUNS": "9"}


class Stale(Exception):
    """The source has changed, and the mutant must follow."""


def compile_command(build, path):
    """The command that makes an object of this source, without its output and dependency file."""
    with open(os.path.join(build, "compile_commands.json")) as f:
        entries = json.load(f)
    for entry in entries:
        if os.path.realpath(os.path.join(build, entry["file"])) == path:
            words = shlex.split(entry["command"])
            break
    else:
        raise Stale("no build command for " + path)
    words = words[words.index("ccache") + 1:] if words[0].endswith("ccache") else words
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in ("-o", "-MF", "-MQ", "-c"):
            skip = True
        elif word not in ("-MD", "-Werror"):
            kept.append(word)
    return [w for w in kept if os.path.realpath(os.path.join(build, w)) != path]


def link_command(build, test):
    """The command that links a unit test, as (words before the libraries, words from there on)."""
    lines = subprocess.run(["ninja", "-C", build, "-t", "commands", "tests/unit/test_" + test],
                           capture_output=True, text=True, check=True).stdout.splitlines()
    words = shlex.split([line for line in lines if "-o tests/unit/test_" + test + " " in line][-1])
    out = words.index("-o")
    del words[out:out + 2]
    at = next(i for i, w in enumerate(words) if w.endswith(".a") or w == "-Wl,--start-group")
    return words[:at], words[at:]


def mutated(mutant):
    path = os.path.join(ROOT, mutant["file"])
    with open(path) as f:
        text = f.read()
    n = text.count(mutant["old"])
    if n != 1:
        raise Stale("its text occurs %d times in %s, not once" % (n, mutant["file"]))
    return path, text.replace(mutant["old"], mutant["new"])


def run(words, cwd, **more):
    return subprocess.run(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", **more)


def time_unchanged(build, pool):
    """The seconds that the slowest of the tests takes without a fault; ends the run if one fails."""
    def timed(test):
        start = time.monotonic()
        done = run([os.path.join(build, "tests/unit/test_" + test)], build, env=ENVIRON)
        if done.returncode:
            sys.exit("run.py: without a fault the test %s fails:\n%s" % (test, done.stdout))
        return time.monotonic() - start
    return max(pool.map(timed, TESTS))


class Order:
    """The order of the tests for a source file: those first that have noticed most faults in it so far."""

    def __init__(self):
        self.lock, self.noticed = threading.Lock(), collections.defaultdict(collections.Counter)

    def tests(self, path):
        with self.lock:
            return sorted(TESTS, key=lambda test: -self.noticed[path][test])

    def note(self, path, test):
        with self.lock:
            self.noticed[path][test] += 1


def killer(build, links, scratch, timeout_s, order, mutant):
    """The test that notices the mutant; None: none does."""
    path, text = mutated(mutant)
    base = os.path.join(scratch, mutant["name"])
    with open(base + ".c", "w") as f:
        f.write(text)
    words = compile_command(build, path) + ["-I" + os.path.dirname(path), "-Wno-error", "-w", "-O1",
                                            "-c", base + ".c", "-o", base + ".o"]
    made = run(words, build)
    if made.returncode:
        raise Stale("it does not compile:\n" + made.stdout)
    for test in order.tests(path):
        program = base + "." + test
        before, after = links[test]
        made = run(before + [base + ".o"] + after + ["-o", program], build)
        if made.returncode:
            raise Stale("it does not link:\n" + made.stdout)
        try:
            failed = run([program], scratch, env=ENVIRON, timeout=timeout_s).returncode != 0
        except subprocess.TimeoutExpired:
            return test + " (it does not end)"
        finally:
            os.unlink(program)
        if failed:
            order.note(path, test)
            return test
    return None


def judge(build, links, scratch, timeout_s, order, mutant):
    start = time.monotonic()
    try:
        by = killer(build, links, scratch, timeout_s, order, mutant)
    except Stale as e:
        return False, "STALE     %s: %s" % (mutant["name"], e)
    if by is None:
        return False, "SURVIVED  %s" % mutant["name"]
    return True, "killed    %-44s by %s, %.1f s" % (mutant["name"], by, time.monotonic() - start)


def main():
    build = os.path.abspath(sys.argv[1])
    with open(os.path.join(HERE, "mutants.toml"), "rb") as f:
        mutants = tomllib.load(f)["mutant"]
    names = [m["name"] for m in mutants]
    if len(set(names)) != len(names):
        sys.exit("run.py: two mutants have the same name")
    if sys.argv[2:]:
        mutants = [m for m in mutants if m["name"] in sys.argv[2:]]
    subprocess.run(["ninja", "-C", build] + ["tests/unit/test_" + t for t in TESTS], check=True,
                   stdout=subprocess.DEVNULL)
    links = {test: link_command(build, test) for test in TESTS}
    killed, order = 0, Order()
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch, \
            concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        timeout_s = max(TIMEOUT_S, TIMEOUT_FACTOR * time_unchanged(build, pool))
        for good, line in pool.map(lambda m: judge(build, links, scratch, timeout_s, order, m), mutants):
            killed += good
            print(line, flush=True)
    print("%d passed, %d failed, 0 skipped" % (killed, len(mutants) - killed))
    return 0 if killed == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
