# SPDX-License-Identifier: Apache-2.0
"""A well-behaved client, and servers, as processes of their own (tests/peers/steady.c)."""

import collections
import contextlib
import os
import subprocess

from .launch import wait_for

Request = collections.namedtuple("Request", "kind start_s took_s connect_s tries error waits_s")

NICE = -5  # of processes that measure, where a lower one than ours is allowed


def go_first(pid, nice=NICE):
    """Gives the leader of a session a nice value; and the session, too, since the kernel may divide CPU time
    among sessions first (sched(7), autogroup)."""
    with contextlib.suppress(OSError):
        for thread in os.listdir("/proc/%d/task" % pid):
            os.setpriority(os.PRIO_PROCESS, int(thread), nice)
        with open("/proc/%d/autogroup" % pid, "w") as f:
            f.write("%d" % nice)


def binary():
    """The path of the program: RK_STEADY, or the one built with the rootlesskit that is tested."""
    build = os.path.dirname(os.path.dirname(os.path.realpath(os.environ.get("RK_ROOTLESSKIT", "/"))))
    return os.environ.get("RK_STEADY") or build + "/tests/peers/steady"


class Servers:
    """Servers on 127.0.0.1 of a namespace: Servers(netns, "echo", 80, "udp", 53)."""

    def __init__(self, netns, *kinds, first=False):
        self.proc = subprocess.Popen(["nsenter", "--net=" + netns, binary(), "serve", *map(str, kinds)],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                     start_new_session=True)
        self.pid = self.proc.pid
        if first:
            go_first(self.pid)

    def __enter__(self):
        assert self.proc.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *exc):
        self.proc.kill()
        self.proc.wait()
        self.proc.stdout.close()


class Probe:
    """A client that makes one request after the other, to a TCP and a UDP port of 127.0.0.1."""

    def __init__(self, path, tcp, udp):
        self.path, self.at, self.rest = path, 0, ""
        with open(path, "wb") as out:
            self.proc = subprocess.Popen([binary(), "probe", str(tcp), str(udp)], stdin=subprocess.PIPE,
                                         stdout=out, text=True, start_new_session=True)
        go_first(self.proc.pid)

    def watch(self, *pids):
        """Records with each request for how long these processes have waited for a CPU meanwhile."""
        self.proc.stdin.write(" ".join(["watch", *map(str, pids)]) + "\n")
        self.proc.stdin.flush()

    def take(self):
        """The requests that have ended since the last time."""
        with open(self.path) as f:
            f.seek(self.at)
            text = self.rest + f.read()
            self.at = f.tell()
        lines = text.split("\n")
        self.rest = lines.pop()
        return [self._request(line.split()) for line in lines]

    @staticmethod
    def _request(words):
        kind, start, took, connect, tries, error, *waits = words
        return Request(kind, int(start) / 1e6, int(took) / 1e6, int(connect) / 1e6, int(tries), int(error),
                       tuple(int(w) / 1e6 for w in waits))

    def __enter__(self):
        wait_for("a first request", lambda: os.path.getsize(self.path) > 0)
        return self

    def __exit__(self, *exc):
        self.proc.stdin.close()
        self.proc.wait()
