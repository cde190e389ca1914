#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A step of the set-up fails: the message names the step, the exit code is 1, and nothing is left."""

import contextlib
import http.client
import os
import shutil
import signal
import subprocess
import time

import rkit
from rkit import leaks
from rkit.launch import DEADLINE_S, Rootlesskit, denying, rootlesskit, run, wait_for
from rkit.world import SUBID, UID, USER, sh, write

SAFE = ["--net=slirp4netns", "--disable-host-loopback"]


class Faults(rkit.RkTestCase):
    def setUp(self):
        super().setUp()
        self.fake = self.world.base + "/fake"
        os.mkdir(self.fake)
        self.addCleanup(shutil.rmtree, self.fake)

    def program(self, name, script):
        """Makes a program that is found before the real one."""
        return write("%s/%s" % (self.fake, name), "#!/bin/sh\n" + script + "\n", 0o755)

    def path(self, only=False):
        path = self.fake if only else self.fake + ":" + self.world.environ()["PATH"]
        return self.world.environ(PATH=path)

    def fails(self, words, *args, env=None, seconds=30, command=("sh", "-c", "echo RAN")):
        start = time.monotonic()
        got = rootlesskit(*args, *command, env=env or self.path(), timeout=60)
        self.assertEqual(got.returncode, 1, got.stderr)
        self.assertNotIn("RAN", got.stdout)
        if not self.world.reference:
            for word in words:
                self.assertRegex(got.stderr, word)
        self.assertLess(time.monotonic() - start, seconds)
        self.assertNothingLeft()
        return got.stderr

    def test_newuidmap_is_missing(self):
        for name in ("sh", "sleep", "echo"):
            os.symlink("/bin/" + name, "%s/%s" % (self.fake, name))
        self.fails(["newuidmap", "uidmap"], env=self.path(only=True))

    def test_newuidmap_refuses(self):
        for name in ("newuidmap", "newgidmap"):
            with self.subTest(name):
                path = self.program(name, "echo 'no such luck' >&2; exit 1")
                self.fails([name, "no such luck"])
                os.unlink(path)

    def test_newuidmap_is_killed(self):
        self.program("newuidmap", "kill -9 $$")
        self.fails(["newuidmap", "(?i)kill"])

    def test_no_sub_ids(self):
        for files, name in ((("/etc/subuid", "/etc/subgid"), "subuid"),
                            (("/etc/subgid",), "subgid")):
            with self.subTest(name):
                self.world.subids(USER, USER, files=files)
                try:
                    self.fails([name, USER])
                finally:
                    self.world.subids(USER, USER, SUBID)

    @rkit.ours("does not check the lines")
    def test_sub_id_files_with_nonsense(self):
        old = open("/etc/subuid").read()
        for line in ("%s:x:65536" % USER, "%s:300000" % USER, "%s:300000:-1" % USER,
                     "%s:99999999999:65536" % USER, "%s:300000:0" % USER):
            with self.subTest(line):
                write("/etc/subuid", line + "\n")
                try:
                    self.fails(["subuid"], "--subid-source=static")
                finally:
                    write("/etc/subuid", old)

    def test_no_tun_device(self):
        empty = self.world.base + "/empty"
        os.mkdir(empty)
        sh("mount", "--bind", empty, "/dev/net")
        self.mounts_before = leaks.mounts()
        try:
            self.fails(["/dev/net/tun"], *SAFE)
        finally:
            sh("umount", "/dev/net")
            os.rmdir(empty)
            self.mounts_before = leaks.mounts()

    def test_slirp4netns_is_missing(self):
        self.fails(["slirp4netns"], *SAFE, "--slirp4netns-binary=no-such-slirp")
        self.fails(["/no/such/slirp"], *SAFE, "--slirp4netns-binary=/no/such/slirp")

    @rkit.ours("takes it for a version")
    def test_slirp4netns_that_is_something_else(self):
        self.program("slirp4netns", "echo hello")
        self.fails(["slirp4netns"], *SAFE)

    @rkit.ours("waits for ever")
    def test_slirp4netns_that_hangs_when_asked_for_its_version(self):
        self.program("slirp4netns", "exec sleep 1000")
        self.fails(["slirp4netns"], *SAFE)

    def test_state_directory_cannot_be_made(self):
        parent = self.world.base + "/closed"
        os.mkdir(parent, 0o755)
        try:
            self.fails(["closed/state", "(?i)permission denied"], "--state-dir=" + parent + "/state")
        finally:
            os.rmdir(parent)

    def test_state_directory_is_a_file(self):
        path = write(self.world.base + "/file", "")
        try:
            self.fails([path, "(?i)not a directory"], "--state-dir=" + path)
        finally:
            os.unlink(path)

    def test_state_directory_of_somebody_else(self):
        path = self.world.base + "/theirs"
        os.mkdir(path, 0o755)
        write(path + "/precious", "")
        try:
            self.fails([path, "(?i)permission denied"], "--state-dir=" + path)
            self.assertTrue(os.path.exists(path + "/precious"))
        finally:
            os.unlink(path + "/precious")
            os.rmdir(path)

    @rkit.ours("makes its temporary directory elsewhere")
    def test_no_place_for_a_temporary_directory(self):
        self.fails(["/no/such/place"], env=self.world.environ(TMPDIR="/no/such/place"))

    def nested(self, limit):
        """Runs rootlesskit as the root of a user namespace that may make no more namespaces of a kind."""
        self.world.subids("root", "root", SUBID)
        try:
            return run("unshare", "--user", "--map-root-user", "sh", "-c",
                       "echo 0 > /proc/sys/user/%s && exec %s echo RAN"
                       % (limit, self.world.path["rootlesskit"]))
        finally:
            self.world.subids("root", "root")

    def test_user_namespaces_are_used_up(self):
        for limit in ("max_user_namespaces", "max_mnt_namespaces"):
            with self.subTest(limit):
                got = self.nested(limit)
                self.assertEqual((got.returncode, got.stdout), (1, ""), got.stderr)
                if not self.world.reference:
                    self.assertIn("user." + limit, got.stderr)

    def test_copy_up_that_cannot_be(self):
        self.fails(["/no/such/directory"], "--copy-up=/no/such/directory")

    def denied(self, words, denied, *args):
        rk = Rootlesskit(*args, command=("echo", "RAN"), before=denying(*denied), uid=0)
        code = rk.wait()
        self.assertEqual((code, rk.out()), (1, ""), rk.log())
        for word in words:
            self.assertRegex(rk.log(), word)
        wait_for("all to end", lambda: not self.left_processes())

    @rkit.ours("says some of it, or does not start at all")
    def test_hints_name_the_sysctl_and_the_profile(self):
        """On systems that restrict user namespaces, the message says how to allow them. A mount shows the
        sysctls of such systems."""
        exe = self.world.path["rootlesskit"]
        for name, value, words in (
                ("unprivileged_userns_clone", "0", ["sysctl -w kernel.unprivileged_userns_clone=1"]),
                ("apparmor_restrict_unprivileged_userns", "1",
                 ["cat <<EOT > /etc/apparmor.d/" + exe.replace("/", ".")[1:],
                  exe + r" flags=\(unconfined\) \{", "userns,",
                  "systemctl restart apparmor"])):
            with self.subTest(name):
                sh("mount", "-t", "tmpfs", "tmpfs", "/proc/sys/kernel")
                try:
                    write("/proc/sys/kernel/" + name, value + "\n")
                    self.denied(["hint: .*" + name, *words], ["clone=EPERM"])
                finally:
                    sh("umount", "/proc/sys/kernel")

    @rkit.ours("goes on without some of them")
    def test_mounts_are_refused(self):
        self.denied(["(?i)mount|copy|propagation", "(?i)operation not permitted"],
                    ["mount=EPERM", "move_mount=EPERM", "fsmount=EPERM"], "--copy-up=/etc")

    @rkit.ours("its broker is in the child")
    def test_broker_cannot_enter_the_namespace(self):
        self.denied(["(?i)broker|namespace", "(?i)operation not permitted"], ["setns=EPERM"],
                    "--net=none", "--port-driver=builtin")

    @rkit.needs("slirp4netns")
    def test_command_is_not_there(self):
        self.fails(["no-such-command"], command=("no-such-command",))
        self.fails(["/no/such/command"], *SAFE, "--pidns", command=("/no/such/command",))

    def test_no_descriptors(self):
        """With few descriptors there is an error that says so, never a hang or something left."""
        program = self.world.path["rootlesskit"]
        for limit in (4, 6, 8, 10, 12, 16, 20, 24):
            with self.subTest(limit):
                got = run("sh", "-c", "ulimit -n %d; exec %s true" % (limit, program))
                self.assertIn(got.returncode, (0, 1, 2) if self.world.reference else (0, 1))
                if got.returncode and not self.world.reference:
                    self.assertRegex(got.stderr, "(?i)too many open files|descriptor")
                self.assertNothingLeft()

    @rkit.ours("says something else")
    def test_without_proc(self):
        script = ("mount -t tmpfs none /proc && exec setpriv --reuid=%d --regid=%d --clear-groups \"$@\""
                  % (UID, UID))
        got = run("unshare", "-m", "sh", "-c", script, "sh", self.world.path["rootlesskit"], "true",
                  uid=0)
        self.assertEqual(got.returncode, 1)
        self.assertRegex(got.stderr, r"(?m)^\[rootlesskit:parent\] error: .*/proc must be mounted$")

    @rkit.needs("strace")
    @rkit.ours("has no such loop")
    def test_event_loop_that_fails(self):
        """The parent can no longer wait for the command's end, so its exit code must not be 0."""
        rk = Rootlesskit().ready()
        with subprocess.Popen(["strace", "-qq", "-o", "/dev/null", "-p", str(rk.pid), "-e",
                               "inject=epoll_wait,epoll_pwait,epoll_pwait2:error=EINVAL"],
                              stderr=subprocess.DEVNULL) as strace:
            def asked():
                with contextlib.suppress(OSError, http.client.HTTPException):
                    rk.api("GET", "/v1/info")
                return rk.proc.poll() is not None
            wait_for("its end", asked)
            strace.wait(DEADLINE_S)
        self.assertEqual(rk.wait(), 1)
        self.assertRegex(rk.log(), "error: event loop: Invalid argument: the command was killed")

    @rkit.ours("hangs now and then")
    def test_killed_at_any_moment(self):
        """SIGKILL and SIGTERM at many moments of the set-up leave no process."""
        options = [*SAFE, "--copy-up=/etc", "--port-driver=builtin", "-p", "127.0.0.1:18080:80/tcp"]
        if self.world.tun_error:
            options = ["--copy-up=/etc"]
        for sig in (signal.SIGKILL, signal.SIGTERM):
            for i in range(15):
                rk = Rootlesskit(*options)
                time.sleep(i * 0.008)
                rk.proc.send_signal(sig)
                rk.wait()
                wait_for("processes to end: %s" % leaks.processes(),
                         lambda: not set(leaks.processes()) - self.processes_before)
                if sig == signal.SIGTERM and not self.world.reference:
                    self.assertFalse(os.path.exists(rk.state), "after %d ms" % (i * 8))
                rk.forget_state()


if __name__ == "__main__":
    rkit.main()
