#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A standard error that nobody reads: everything goes on, and lines that are lost are counted."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios

import rkit
from rkit.launch import DEADLINE_S, Rootlesskit, denying, restart_role, wait_for
from rkit.world import UID

COMMAND = ("sh", "-c", "trap 'exit 9' USR1; while :; do sleep 0.05; done")
PORTS = ("--net=none", "--port-driver=builtin", "--debug")


def fill(fd):
    """Fills a pipe until not a byte more goes in. O_NONBLOCK is set on a descriptor of its own, since others
    share fd's flags."""
    mine = os.open("/proc/self/fd/%d" % fd, os.O_WRONLY | os.O_NONBLOCK)
    for size in (4096, 1):
        try:
            while True:
                os.write(mine, b"x" * size)
        except BlockingIOError:
            pass
    os.close(mine)


def read_until(fd, word):
    seen = []

    def more():
        if select.select([fd], [], [], 0.1)[0]:
            seen.append(os.read(fd, 65536))
        return word in b"".join(seen)
    wait_for("%r" % word, more)
    return b"".join(seen)


@rkit.ours("waits until somebody reads")
class Stuck(rkit.RkTestCase):
    def check_lives(self, rk):
        """The API, ports and restarts of its processes work."""
        rk.ready()
        for _ in range(10):
            rk.remove(rk.add(18080, 80))
        for role in ("dataplane", "broker"):
            restart_role(rk.pid, role)  # the parent logs each death
        rk.remove(rk.add(18080, 80))

    def check_exit_code(self, rk):
        os.kill(rk.pid, signal.SIGUSR1)
        self.assertEqual(rk.wait(), 9)

    def check_pipe(self, owner, before=()):
        inner, outer = os.pipe()
        os.fchown(outer, owner, owner)
        fill(outer)
        kw = {"before": before, "uid": 0} if before else {}
        rk = Rootlesskit(*PORTS, command=COMMAND, stderr=outer, **kw)
        self.check_lives(rk)
        size = fcntl.fcntl(outer, fcntl.F_GETPIPE_SZ)
        os.read(inner, size)
        restart_role(rk.pid, "dataplane")
        text = read_until(inner, b"log lines were lost here")
        self.assertRegex(text, rb"(?m)^\[rootlesskit:parent\] warning: \d+ log lines were lost")
        fill(outer)
        self.check_exit_code(rk)
        os.close(outer)
        os.close(inner)

    def test_full_pipe(self):
        self.check_pipe(UID)

    def test_full_pipe_of_another_user(self):
        self.check_pipe(0)

    def test_full_pipe_on_a_kernel_without_nowait(self):
        self.check_pipe(0, denying("pwritev2=EOPNOTSUPP"))

    def test_stopped_terminal(self):
        for owner in (UID, 0):
            with self.subTest(owner=owner):
                outer, inner = pty.openpty()
                os.fchown(inner, owner, owner)
                os.fchmod(inner, 0o600)
                termios.tcflow(inner, termios.TCOOFF)
                rk = Rootlesskit(*PORTS, command=COMMAND, stderr=inner)
                self.check_lives(rk)
                termios.tcflow(inner, termios.TCOON)
                restart_role(rk.pid, "dataplane")
                read_until(outer, b"log lines were lost here")
                termios.tcflow(inner, termios.TCOOFF)
                self.check_exit_code(rk)
                os.close(inner)
                os.close(outer)

    def test_stuck_tee(self):
        with subprocess.Popen(["tee", "/dev/null"], stdin=subprocess.PIPE,
                              stdout=subprocess.DEVNULL) as tee:
            tee.send_signal(signal.SIGSTOP)
            fill(tee.stdin.fileno())
            rk = Rootlesskit(*PORTS, command=COMMAND, stderr=tee.stdin)
            self.check_lives(rk)
            self.check_exit_code(rk)
            tee.send_signal(signal.SIGCONT)
            tee.stdin.close()
            self.assertEqual(tee.wait(DEADLINE_S), 0)

    def test_set_up_that_fails(self):
        inner, outer = os.pipe()
        fill(outer)
        rk = Rootlesskit(*PORTS, "-p", "192.0.2.1:18080:80/tcp", command=("true",), stderr=outer)
        self.assertEqual(rk.wait(), 1)
        os.close(outer)
        os.close(inner)


if __name__ == "__main__":
    rkit.main()
