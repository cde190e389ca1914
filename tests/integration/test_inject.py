#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counted fault injection into the set-up: the n-th call of each kind fails, in every process.

rootlesskit either goes on without the call, and the command runs; or it gives the reason, exits with 1 and
leaves nothing behind. strace(1) does the injection.
"""

import os

import rkit
from rkit.launch import check_log, run_with_log
from rkit.world import USER

# System call: its error, and how many of its calls are tried, one in each run.
CALLS = {
    "mount": ("EPERM", 6), "move_mount": ("EPERM", 2), "open_tree": ("EPERM", 2),
    "setns": ("EPERM", 2), "unshare": ("ENOSPC", 1), "clone": ("EAGAIN", 5),
    "execve": ("ENOENT", 2), "pidfd_open": ("EMFILE", 4), "pipe2": ("EMFILE", 6),
    "socketpair": ("EMFILE", 4), "socket": ("ENFILE", 14), "bind": ("EACCES", 10),
    "listen": ("EADDRINUSE", 4), "connect": ("ENETDOWN", 4), "accept4": ("EMFILE", 4),
    "epoll_create1": ("EMFILE", 3), "epoll_ctl": ("ENOMEM", 6),
    "signalfd4": ("EMFILE", 2), "flock": ("ENOLCK", 2), "symlinkat": ("ENOSPC", 2),
    "mkdirat": ("EDQUOT", 3), "mkdir": ("EDQUOT", 2), "fchmod": ("EPERM", 2),
    "renameat": ("EIO", 1), "prctl": ("EINVAL", 4), "ioctl": ("EBUSY", 4), "sendmsg": ("ENOBUFS", 14),
    "recvmsg": ("ENOMEM", 14), "sendto": ("ENOBUFS", 14), "readlink": ("EACCES", 2),
    "getdents64": ("EIO", 3), "umount2": ("EBUSY", 1), "setsid": ("EPERM", 1),
    "timerfd_create": ("EMFILE", 2), "eventfd2": ("EMFILE", 2), "memfd_create": ("EMFILE", 2),
    "fsopen": ("EPERM", 1), "fsconfig": ("EINVAL", 3), "fsmount": ("EPERM", 1), "faccessat2": ("EACCES", 1),
    "getsockname": ("ENOBUFS", 2), "setsockopt": ("EPERM", 12), "io_uring_setup": ("ENOSYS", 3),
    "io_uring_register": ("EINVAL", 6), "seccomp": ("EINVAL", 3), "capset": ("EPERM", 2),
    "fcntl": ("EMFILE", 6), "dup2": ("EMFILE", 4), "unlink": ("EIO", 2),
}


@rkit.needs("strace")
@rkit.ours("leaves things behind")
class Inject(rkit.RkTestCase):
    calls = CALLS
    OPTIONS = ["--net=none", "--port-driver=builtin", "-p", "127.0.0.1:18080:80/tcp",
               "--copy-up=/etc", "--pidns"]

    def setUp(self):
        super().setUp()
        self.state_options = ["--state-dir=" + self.world.tmp + "/state-inject"]

    def options(self):
        if self.world.tun_error:
            return self.OPTIONS
        return ["--net=slirp4netns", "--disable-host-loopback", *self.OPTIONS[1:]]

    def attempt(self, call, error, number):
        """Runs rootlesskit with that call failing. Returns (exit code, output, log, whether it was made)."""
        trace = "%s/inject.trace" % self.world.base
        argv = ["strace", "-f", "-qq", "-u", USER, "-o", trace, "-e", "trace=" + call, "-e",
                "inject=%s:error=%s:when=%d" % (call, error, number), self.world.path["rootlesskit"],
                *self.state_options, *self.options(), "sh", "-c",
                "test -e /etc/passwd && echo RAN || echo RAN WITHOUT PASSWD"]
        code, out, log = run_with_log(argv, self.world.base + "/inject.log", uid=0)
        with open(trace, errors="replace") as calls:
            return code, out, log, "(INJECTED)" in calls.read()

    def check(self, call, error, number):
        code, out, log, hit = self.attempt(call, error, number)
        check_log(log)
        if os.environ.get("RKIT_VERBOSE"):
            print("--- %s %d: exit code %d, %r\n%s" % (call, number, code, out, log), flush=True)
        self.assertNotIn("WITHOUT", out, "a directory was read in part:\n" + log)
        if "RAN" in out and code == 0:
            pass
        elif "RAN" in out:
            self.assertRegex(log, r"(?m)^\[rootlesskit:", "the command ran, exit code %d" % code)
        else:
            self.assertRegex(log, r"(?m)^\[rootlesskit:(parent|child )\] error: .+")
            self.assertIn(code, (1, 255), log)
        self.assertNothingLeft()
        return hit

    def test_each_call(self):
        for call, (error, most) in self.calls.items():
            for number in range(1, most + 1):
                with self.subTest(call=call, number=number):
                    if not self.check(call, error, number):
                        break


@rkit.ours("leaves things behind")
class Temporary(Inject):
    """Faults with a temporary state directory. There the first mkdirat(2) is one of the copy-up."""

    calls = {"mkdir": ("EDQUOT", 1), "mkdirat": ("ENOSPC", 1), "flock": ("ENOLCK", 2),
             "getdents64": ("EIO", 2)}

    def setUp(self):
        super().setUp()
        self.state_options = []


if __name__ == "__main__":
    rkit.main()
