#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Landlock: which rights the parent and its processes give up, and that the command keeps them."""

import contextlib
import ctypes
import os
import unittest

import rkit
from rkit import leaks
from rkit.launch import LOCKED_DOWN, Rootlesskit, processes_of, restrictions, rootlesskit, wait_for
from rkit.world import UID, write

CREATE_RULESET = 444
SOCAT = ["--net=builtin", "--disable-host-loopback", "--port-driver=socat"]


def abi():
    """The version of Landlock in the kernel; 0: none."""
    return max(0, ctypes.CDLL(None, use_errno=True).syscall(CREATE_RULESET, None, 0, 1))


# A stand-in for socat. When it is to listen, it writes to $RESULT what it may do. Then it becomes socat.
SPY = """#!/bin/sh
case "$*" in *LISTEN*)
    {
    touch "$HOME/touched" 2>/dev/null && echo home
    touch "$TMPDIR/touched" 2>/dev/null && echo tmp
    echo x 2>/dev/null >>"$HOME/there" && echo there
    cat /etc/passwd >/dev/null && echo read
    echo x >/dev/null && echo null
    } >"$RESULT"
esac
exec /usr/bin/socat "$@"
"""


@unittest.skipUnless(abi(), "the kernel has no Landlock")
@rkit.ours("has no such lock")
@rkit.needs("socat")
class Parent(rkit.RkTestCase):
    """The program of a port inherits the parent's restrictions, when it starts while rootlesskit runs."""

    @contextlib.contextmanager
    def fake(self):
        """Yields a directory with SPY in it."""
        fake, there = self.world.tmp + "/fake", self.world.home + "/there"
        os.mkdir(fake)
        write(fake + "/socat", SPY, 0o755)
        write(there, "")
        os.chown(there, UID, UID)
        yield fake
        for path in (fake + "/socat", there, self.world.home + "/touched", self.world.tmp + "/touched"):
            if os.path.exists(path):
                os.unlink(path)
        os.rmdir(fake)

    def spied(self, *options):
        """What SPY could do."""
        state = self.world.tmp + "/state-landlock"
        env = self.world.environ(RESULT=state + "/result")
        with self.fake() as fake:
            env["PATH"] = fake + ":" + env["PATH"]
            with Rootlesskit(*SOCAT, *options, state=state, env=env) as rk:
                rk.add(18080, 80)
                with open(state + "/result") as f:
                    seen = f.read().split()
                os.unlink(state + "/result")
                self.assertNotIn("is not restricted", rk.log())
        return seen

    def test_files_are_made_in_the_state_directory_alone(self):
        self.assertEqual(self.spied(), ["read", "null"])

    def test_not_with_the_sandbox_off(self):
        self.assertEqual(self.spied("--dataplane-sandbox=false"), ["home", "tmp", "there", "read", "null"])

    def test_the_command_is_free(self):
        """The command can write, mount, and make namespaces."""
        got = rootlesskit("--net=none", "--port-driver=builtin", "sh", "-c",
                          "touch $HOME/touched && rm $HOME/touched && mount -t tmpfs tmpfs /mnt && "
                          "mkdir /mnt/a && grep NoNewPrivs /proc/self/status && "
                          "unshare -Urm sh -c 'mount -t tmpfs tmpfs /mnt && mkdir /mnt/b && echo nested'")
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertRegex(got.stdout, r"NoNewPrivs:\s0")
        self.assertIn("nested", got.stdout)

    def test_the_state_directory_goes_all_the_same(self):
        for state in (self.world.tmp + "/state-a", self.world.tmp + "/one/two"):
            with Rootlesskit("--net=none", "--port-driver=builtin", state=state) as rk:
                rk.add(18080, 80)
            self.assertFalse(os.path.exists(state))
            self.assertNotIn("cannot remove", rk.log())
        if os.path.exists(self.world.tmp + "/one"):
            os.rmdir(self.world.tmp + "/one")

    def test_restarts(self):
        """The restricted parent can start another data plane and broker, and the ports go on."""
        with Rootlesskit("--net=none", "--port-driver=builtin", "-p", "127.0.0.1:18080:80/tcp") as rk:
            for role in ("dataplane", "broker"):
                pid = leaks.own_processes(rk)[role]
                os.kill(pid, 9)
                wait_for("another one", lambda: leaks.own_processes(rk).get(role, pid) != pid)
            rk.remove(rk.add(18081, 81))
            self.assertNotIn("error", rk.log())


@rkit.ours("has no such processes")
class Helpers(rkit.RkTestCase):
    @rkit.needs("socat")
    def test_the_guard_is_locked_down(self):
        with Rootlesskit(*SOCAT, "-p", "127.0.0.1:18080:80/tcp") as rk:
            (guard,) = [pid for pid in processes_of(rk.pid) if process_is(pid, "rootlesskit", "socat")]
            wait_for("its filter", lambda: restrictions(guard)["Seccomp"] == 2)
            self.assertEqual(restrictions(guard), LOCKED_DOWN)
            (socat,) = [pid for pid in processes_of(guard) if process_is(pid, "socat")]
            self.assertEqual(restrictions(socat)["Seccomp"], 0)


def process_is(pid, *words):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            line = f.read().split(b"\0")
    except OSError:
        return False
    return [os.path.basename(w.decode()) for w in line[:len(words)]] == list(words)


if __name__ == "__main__":
    rkit.main()
