#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs tests in a guest of tools/kernels: of the tests in /mnt/tests.json, those that /mnt/what names.

Leaves out those that /share/passed names. Writes /share/testlog.json as `meson test` does, for
tools/summary.py, and prints its progress.
"""

import concurrent.futures
import json
import os
import re
import signal
import subprocess
import time

with open("/mnt/slower") as slower:
    SLOWER = int(slower.read())  # time limits are multiplied by this, since the processor is emulated
USER = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
RESULTS = {0: "OK", 77: "SKIP"}

# The simulation gets few seeds: it takes the most time, and is the same on every kernel.
ENVIRONMENT = {"WORKER_RUNS": "5", "RINGKIT_SLOWER": str(SLOWER)}


def title(suite, test):
    return "%s %s" % (suite, test["name"])


def chosen():
    """Yields (suite, test) for each test to run. A word of /mnt/what is a suite, or SUITE:NAME,NAME."""
    with open("/mnt/tests.json") as f:
        tests = json.load(f)
    with open("/mnt/what") as f:
        words = f.read().split()
    passed = []
    if os.path.exists("/share/passed"):
        with open("/share/passed") as f:
            passed = f.read().splitlines()
    for word in words:
        suite, _, names = word.partition(":")
        for test in tests:
            if any(s.endswith(":" + suite) for s in test["suite"]) and \
                    (not names or test["name"] in names.split(",")) and \
                    title(suite, test) not in passed:
                yield suite, test


def command(suite, test):
    words = ["/usr/bin/python3" if word.endswith("/python3") else word for word in test["cmd"]]
    return USER + words if suite == "unit" else words


def run(suite, test):
    """Runs a test. Returns its line of the log, as meson writes it."""
    start = time.monotonic()
    env = dict(os.environ, **ENVIRONMENT, **test["env"])
    if suite == "unit":
        env["HOME"] = "/home/tester"
    process = subprocess.Popen(command(suite, test), env=env, stdin=subprocess.DEVNULL, text=True,
                               errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True, cwd="/")
    try:
        out, _ = process.communicate(timeout=test["timeout"] * SLOWER)
        result = RESULTS.get(process.returncode, "FAIL")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        result = "TIMEOUT"
    return {"name": title(suite, test), "result": result, "returncode": process.returncode,
            "duration": time.monotonic() - start, "stdout": out, "stderr": ""}


def backend():
    """The back end that the data plane chooses here; empty: it does not start."""
    with open("/mnt/directories") as f:
        build = f.read().split()[-1]
    script = '%s/src/ctl/rootlessctl --socket "$ROOTLESSKIT_STATE_DIR/api.sock" info' % build
    words = [build + "/src/rootlesskit", "--net=none", "--port-driver=builtin", "sh", "-c", script]
    got = subprocess.run(USER + words, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                         env=dict(os.environ, HOME="/home/tester"), cwd="/")
    found = re.search(r"Data plane: (\w+), .*\n *- Why this one: (.*)", got.stdout)
    print("guest: %s" % (" (".join(found.groups()) + ")" if found else got.stderr.strip()), flush=True)
    return found.group(1) if found else ""


def main():
    print("guest: Linux %s" % os.uname().release, flush=True)
    with open("/share/release", "w") as f:
        f.write(os.uname().release)
    with open("/share/backend", "w") as f:
        f.write(backend())
    jobs = list(chosen())
    beside = [job for job in jobs if job[0] == "unit"]
    alone = [job for job in jobs if job[0] != "unit"]
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    futures = [pool.submit(run, *job) for job in beside]

    def lines():
        for future in concurrent.futures.as_completed(futures):
            yield future.result()
        for job in alone:
            yield run(*job)

    with open("/share/testlog.json", "w") as f:
        for number, line in enumerate(lines(), 1):
            f.write(json.dumps(line) + "\n")
            f.flush()
            print("guest: %3d of %d  %-7s %-28s %6.1f s" % (
                number, len(jobs), line["result"], line["name"], line["duration"]), flush=True)
    # Without this file, tools/kernels knows that the guest has ended before its tests.
    open("/share/finished", "w").close()


if __name__ == "__main__":
    main()
