# SPDX-License-Identifier: Apache-2.0
"""Lets chosen calls of a process that runs fail, by strace."""

import contextlib
import signal
import subprocess
import time

from .launch import role_of, wait_for
from .world import world


def trace_path():
    return world().base + "/inject.trace"


def finish(n):
    """Lets a run of n failures end, if it has begun. A call that strace leaves in the middle has no number
    any more: it fails with EPERM or ENOSYS, whatever was to be injected."""
    hits, before = count_hits(), 0
    while before < hits < n:
        time.sleep(0.02)
        before, hits = hits, count_hits()


@contextlib.contextmanager
def failing(pid, call, error, first, n=1, follow=False):
    """The calls from number first on, n of them, fail in this process. follow: also in those that it starts
    meanwhile, each with a count of its own. A data plane's threads count as one process each, too."""
    words = ["-f"] if follow or role_of(pid) == "dataplane" else []
    when = "%d" % first if n == 1 else "%d..%d" % (first, first + n - 1)
    strace = subprocess.Popen(["strace", *words, "-qq", "-o", trace_path(), "-p", str(pid), "-e",
                               "trace=" + call, "-e", "inject=%s:error=%s:when=%s" % (call, error, when)])

    def attached():
        try:
            with open("/proc/%d/status" % pid) as f:
                return "TracerPid:\t0\n" not in f.read()
        except (FileNotFoundError, ProcessLookupError):
            return True  # its first call has failed, and that has ended it
    try:
        wait_for("strace", attached)
        yield
    finally:
        finish(n)
        strace.send_signal(signal.SIGINT)
        strace.wait()


def count_hits():
    """How many calls of the last time have failed."""
    with open(trace_path(), errors="replace") as f:
        return f.read().count("(INJECTED)")


def was_hit():
    return count_hits() > 0
