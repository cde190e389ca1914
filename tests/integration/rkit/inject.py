# SPDX-License-Identifier: Apache-2.0
"""Lets chosen calls of a process that runs fail, by strace."""

import contextlib
import signal
import subprocess

from .launch import role_of, wait_for
from .world import world


def trace_path():
    return world().base + "/inject.trace"


@contextlib.contextmanager
def failing(pid, call, error, first, n=1, follow=False):
    """The calls from number first on, n of them, fail in this process. follow: also in those that it starts
    meanwhile, each with a count of its own. A data plane's threads count as one process each, too."""
    words = ["-f"] if follow or role_of(pid) == "dataplane" else []
    when = "%d" % first if n == 1 else "%d..%d" % (first, first + n - 1)
    strace = subprocess.Popen(["strace", *words, "-qq", "-o", trace_path(), "-p", str(pid), "-e",
                               "trace=" + call, "-e", "inject=%s:error=%s:when=%s" % (call, error, when)])

    def attached():
        with open("/proc/%d/status" % pid) as f:
            return "TracerPid:\t0\n" not in f.read()
    try:
        wait_for("strace", attached)
        yield
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait()


def was_hit():
    """Whether a call of the last time has failed."""
    with open(trace_path(), errors="replace") as f:
        return "(INJECTED)" in f.read()
