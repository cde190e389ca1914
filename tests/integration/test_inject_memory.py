#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""In each process, one allocation of set-up and API after the other fails. Calls are interrupted again and
again.

The first allocations are tried, and then one of RKIT_EVERY, which is 29 by default.
"""

import mmap
import os
import re

import rkit
from rkit.launch import check_log, run_with_log
from rkit.world import UID, USER

EVERY = int(os.environ.get("RKIT_EVERY", 29))
FIRST = 12
ROLES = ("parent", "child", "dataplane", "broker")
# The command uses the API. Its programs do not fail, only those of rootlesskit.
COMMAND = ["sh", "-c", "test -e /etc/passwd || echo RAN WITHOUT PASSWD; "
           "for i in 1 2; do rootlessctl add-ports 127.0.0.1:1808$i:80/tcp; done; "
           "rootlessctl list-ports; rootlessctl stats --json; rootlessctl remove-ports 2; echo RAN"]


class Common(rkit.RkTestCase):
    OPTIONS = ["--net=none", "--port-driver=builtin", "-p", "127.0.0.1:18080:80/tcp", "--copy-up=/etc",
               "--pidns"]

    def attempt(self, before=(), env=None, uid=UID):
        """(exit code, output, log)"""
        return run_with_log([*before, self.world.path["rootlesskit"],
                             "--state-dir=" + self.world.tmp + "/state-inject", *self.OPTIONS, *COMMAND],
                            self.world.base + "/inject.log", env=env, uid=uid)

    def check(self, code, out, log):
        check_log(log)
        self.assertNotIn("WITHOUT", out, log)
        if "RAN" not in out:
            self.assertRegex(log, r"(?m)^\[rootlesskit:(parent|child )\] error: .+")
            # Exit code 2 is the command's shell's, which could start no process.
            self.assertIn(code, (1, 2, 255) if "sh: 1: Cannot fork" in log else (1, 255), log)
        self.assertNothingLeft()


class Preloaded(Common):
    """Runs with a library that lets one call fail. The environment variable VARIABLE tells the library which
    call, and a file whose first byte becomes 1 when the call was made."""

    VARIABLE = LIBRARY = None

    def setUp(self):
        super().setUp()
        library = os.environ.get(self.LIBRARY, "")
        if not os.path.exists(library):
            self.skipTest("the machine has no library that lets calls fail (a sanitizer?)")
        self.hit = self.world.base + "/hit"
        with open(self.hit, "wb") as f:
            f.write(b"\0")
        os.chmod(self.hit, 0o666)
        self.copy = self.world.bin + "/preloaded.so"
        with open(library, "rb") as a, open(self.copy, "wb") as b:
            b.write(a.read())
        os.chmod(self.copy, 0o755)

    def preloaded(self, which):
        """attempt() with this call failing."""
        words = {self.VARIABLE: "%s:%s" % (which, self.hit)}
        return self.attempt(env=self.world.environ(LD_PRELOAD=self.copy, **words))

    def was_hit(self):
        with open(self.hit, "r+b") as f, mmap.mmap(f.fileno(), 1) as page:
            was = page[0]
            page[0] = 0
            return was


@rkit.ours("is written in Go")
class Memory(Preloaded):
    VARIABLE, LIBRARY = "FAILMALLOC", "RK_FAILMALLOC"

    def test_each_allocation(self):
        for role in ROLES:
            number, tried = 0, 0
            while True:
                number += 1 if number < FIRST else EVERY
                with self.subTest(role=role, number=number):
                    self.check(*self.preloaded("%d:%s" % (number, role)))
                if not self.was_hit():
                    break
                tried += 1
            print("        %s: %d of about %d allocations failed" % (role, tried, number))


@rkit.ours("is not asked")
class Calls(Common):
    @rkit.needs("strace")
    def test_interrupted_again_and_again(self):
        """Every third of these calls fails with EINTR, in every process, and nothing is different."""
        for calls in ("recvmsg", "sendmsg", "poll,ppoll", "epoll_wait,epoll_pwait", "wait4,waitid",
                      "accept4,accept", "connect", "sendto", "recvfrom"):
            with self.subTest(calls):
                code, out, log = self.attempt(uid=0, before=(
                    "strace", "-f", "-qq", "-u", USER, "-o", "/dev/null", "-e", "trace=" + calls, "-e",
                    "inject=%s:error=EINTR:when=2+3" % calls))
                self.assertEqual((code, "RAN\n" in out), (0, True), log)
                self.check(code, out, log)

    def test_no_more_processes(self):
        ends = set()
        for limit in (1, 2, 3, 4, 5, 6, 8, 10, 12):
            with self.subTest(limit):
                code, out, log = self.attempt(before=("prlimit", "--nproc=%d" % limit))
                self.check(code, out, log)
                ends.add("RAN" if "RAN" in out else re.findall(r"error: ([^:\d]+)", log)[-1])
        self.assertGreaterEqual(len(ends), 3, "it stopped at few of its steps: %s" % ends)


if __name__ == "__main__":
    rkit.main()
