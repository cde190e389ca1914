#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The state directory, its lock, what is left after a crash, and the command's environment."""

import os
import stat

import rkit
from rkit.launch import Rootlesskit, rootlesskit, run, wait_for


class StateDir(rkit.RkTestCase):
    def test_files_while_running_and_after(self):
        with Rootlesskit("--net=none", "--port-driver=builtin") if not self.world.reference \
                else Rootlesskit() as rk:
            mode = lambda name: stat.S_IMODE(os.stat(rk.state + "/" + name).st_mode)
            self.assertEqual(mode("child_pid"), 0o444)
            self.assertEqual(open(rk.state + "/child_pid").read(), str(rk.child_pid))
            sock = os.stat(rk.state + "/api.sock")
            self.assertTrue(stat.S_ISSOCK(sock.st_mode))
            if not self.world.reference:
                self.assertEqual(stat.S_IMODE(sock.st_mode), 0o600)
            self.assertTrue(os.path.exists(rk.state + "/lock"))
        self.assertFalse(os.path.exists(rk.state))

    @rkit.ours("since 2.0")
    @rkit.needs("slirp4netns")
    def test_resolver_and_names_of_the_namespace(self):
        """RootlessKit documents these files since 2.0. They exist whether /etc is made of them or not."""
        for options, there in ((["--net=none"], ["hosts"]), ([], [])):
            with Rootlesskit(*options) as rk:
                self.assertEqual([n for n in ("hosts", "resolv.conf")
                                  if os.path.exists(rk.state + "/" + n)], there)
        if self.world.tun_error:
            return
        for extra in ([], ["--copy-up=/etc"]):
            with Rootlesskit("--net=slirp4netns", "--disable-host-loopback", *extra) as rk:
                self.assertEqual(open(rk.state + "/resolv.conf").read(), "nameserver 10.0.2.3\n")
                self.assertEqual(open(rk.state + "/hosts").read(),
                                 rk.nsenter("cat", "/etc/hosts").stdout)

    def test_temporary_one_is_made_and_removed(self):
        got = rootlesskit("sh", "-c", "echo $ROOTLESSKIT_STATE_DIR; ls $ROOTLESSKIT_STATE_DIR")
        self.assertEqual(got.returncode, 0, got.stderr)
        path, *names = got.stdout.split()
        self.assertTrue(path.startswith(self.world.tmp + "/"), path)
        self.assertLessEqual({"lock", "api.sock"}, set(names))
        self.assertFalse(os.path.exists(path))

    def test_second_instance_is_refused(self):
        with Rootlesskit() as rk:
            second = rootlesskit("--state-dir=" + rk.state, "true")
            self.assertEqual(second.returncode, 1)
            self.assertRegex(second.stderr, "(?i)lock|another instance|in use")
            self.assertEqual(rk.api("GET", "/v1/ports")[0] // 100, 4)
            self.assertTrue(os.path.exists(rk.state + "/child_pid"))

    def test_restart_at_once_after_sigkill(self):
        """A service manager starts the next one at once, with the same directory and ports."""
        options = [] if self.world.reference else \
            ["--net=none", "--port-driver=builtin", "-p", "127.0.0.1:18080:80/tcp", "-p",
             "127.0.0.1:18053:53/udp"]
        state = self.world.tmp + "/state-restart"
        for _ in range(5):
            rk = Rootlesskit(*options, state=state).ready()
            rk.proc.kill()
            rk.wait()
            got = rootlesskit("--state-dir=" + state, *options, "cat", state + "/child_pid")
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertNotEqual(got.stdout, str(rk.child_pid))
            self.assertFalse(os.path.exists(state))

    @rkit.ours("takes no lock on it")
    def test_temporary_one_is_safe_from_tmpfiles(self):
        """systemd-tmpfiles(8) leaves a directory alone that it cannot lock."""
        got = rootlesskit("sh", "-c", "flock --exclusive --nonblock $ROOTLESSKIT_STATE_DIR true "
                          "|| echo busy")
        self.assertEqual(got.stdout, "busy\n", got.stderr)

    def test_leftovers_of_a_crash_are_cleaned(self):
        rk = Rootlesskit().ready()
        rk.proc.kill()
        rk.wait()
        wait_for("processes to die with the parent", lambda: not self.left_processes())
        self.assertTrue(os.path.exists(rk.state + "/api.sock"))
        with Rootlesskit(state=rk.state) as again:
            self.assertNotEqual(again.child_pid, rk.child_pid)
            self.assertEqual(again.api("GET", "/v1/info")[0], 200)
        self.assertFalse(os.path.exists(rk.state))

    def test_relative_path(self):
        got = run(self.world.path["rootlesskit"], "--state-dir=relative/deep", "sh", "-c",
                  "cd / && test -S $ROOTLESSKIT_STATE_DIR/api.sock && echo $ROOTLESSKIT_STATE_DIR",
                  cwd=self.world.tmp)
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertEqual(got.stdout.strip(), self.world.tmp + "/relative/deep")
        os.rmdir(self.world.tmp + "/relative")

    @rkit.ours("1.1.0 does not say why in one line")
    def test_unwritable(self):
        got = rootlesskit("--state-dir=/proc/nowhere/x", "true")
        self.assertEqual(got.returncode, 1)
        self.assertIn("/proc/nowhere", got.stderr)

    @rkit.ours("bind() fails later there")
    def test_path_too_long_for_a_socket(self):
        path = self.world.tmp + "/" + "d" * 100
        got = rootlesskit("--state-dir=" + path, "true")
        self.assertEqual(got.returncode, 1)
        self.assertRegex(got.stderr, "(?i)too long|longer than")

    def test_child_pid_is_written_when_all_is_there(self):
        """A program that waits for child_pid may use the namespace at once."""
        for _ in range(5):
            with Rootlesskit("--pidns", "--copy-up=/run") as rk:
                self.assertEqual(rk.nsenter("id", "-u", net=False).stdout.strip(), "0")
                got = rk.nsenter("touch", "/run/x", net=False)
                self.assertEqual(got.returncode, 0, got.stderr)


class Environment(rkit.RkTestCase):
    def test_three_variables_and_the_rest_unchanged(self):
        env = self.world.environ(FOO="bar baz", EMPTY="", ROOTLESSKIT_STATE_DIR=None)
        state = self.world.tmp + "/state-env"
        got = rootlesskit("--state-dir=" + state, "env", "-0", env=env)
        self.assertEqual(got.returncode, 0, got.stderr)
        seen = dict(item.split("=", 1) for item in got.stdout.split("\0") if item)
        self.assertEqual(seen.pop("ROOTLESSKIT_STATE_DIR"), state)
        self.assertEqual(seen.pop("ROOTLESSKIT_PARENT_EUID"), str(self.world.uid))
        self.assertEqual(seen.pop("ROOTLESSKIT_PARENT_EGID"), str(self.world.uid))
        for shell_made in ("PWD", "SHLVL", "_"):
            seen.pop(shell_made, None)
        self.assertEqual(seen, env)

    def test_working_directory_and_arguments(self):
        got = rootlesskit("printf", "<%s>", "a b", "", "--flag", "*", cwd="/usr/share")
        self.assertEqual(got.stdout, "<a b><><--flag><*>")
        self.assertEqual(rootlesskit("pwd", cwd="/usr/share").stdout, "/usr/share\n")

    def test_standard_streams(self):
        got = rootlesskit("sh", "-c", "cat; echo err >&2", input="through\n")
        self.assertEqual(got.stdout, "through\n")
        self.assertIn("err\n", got.stderr)

    def test_no_descriptor_of_ours_reaches_the_command(self):
        got = rootlesskit("ls", "-l", "/proc/self/fd")
        names = [l.split()[8] for l in got.stdout.splitlines()[1:]]
        self.assertEqual([n for n in names if int(n) > 3], [], got.stdout)

    @rkit.ours("the command gets its state directory as stderr")
    def test_standard_streams_that_are_closed(self):
        """No descriptor of ours gets the number of a closed one: messages would be written to it."""
        script = 'exec "$@" %s'
        for closed in ("0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"):
            for extra in ([], ["--pidns"]):
                with self.subTest(closed=closed, extra=extra):
                    state = self.world.tmp + "/state-closed"
                    got = run("sh", "-c", script % closed, "sh", self.world.path["rootlesskit"],
                              "--debug", "--state-dir=" + state, *extra, "sh", "-c",
                              "cd /proc/self/fd && readlink 0 1 2 > $HOME/fds; exit 7")
                    self.assertEqual(got.returncode, 7, got.stderr)
                    seen = open(self.world.home + "/fds").read().split()
                    os.unlink(self.world.home + "/fds")
                    for number in (0, 2):
                        if "%d" % number in closed:
                            self.assertEqual(seen[number], "/dev/null")


if __name__ == "__main__":
    rkit.main()
