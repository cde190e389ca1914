#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The state directory and files of others: rootlesskit removes no file of the user, and no other user of the
machine decides where the directory is or what is in it."""

import multiprocessing
import os
import re
import shutil
import stat
import subprocess

import rkit
from rkit.launch import Rootlesskit, check_log, popen, run, rootlesskit, wait_for
from rkit.world import SUBID, UID, USER

NEIGHBOUR = 20002


def as_neighbour(*argv):
    return subprocess.run(argv, check=True, user=NEIGHBOUR, group=NEIGHBOUR, extra_groups=[])


class Common(rkit.RkTestCase):
    def setUp(self):
        super().setUp()
        self.docs = self.world.home + "/docs"
        os.mkdir(self.docs)
        self.write(self.docs + "/thesis", "years of work")
        self.write(self.docs + "/hosts", "mine")
        self.own(self.docs)
        self.before = self.look()
        self.ours = [self.docs]

    def tearDown(self):
        if not self.failed:
            self.assertEqual(self.look(), self.before, "the user's files")
        for path in self.ours:
            os.unlink(path) if os.path.islink(path) else shutil.rmtree(path, ignore_errors=True)
        super().tearDown()

    def look(self):
        found = {}
        for directory, dirs, files in os.walk(self.world.home):
            for name in dirs + files:
                path = os.path.join(directory, name)
                st = os.lstat(path)
                found[path] = (st.st_ino, st.st_mode, st.st_uid)
        return found

    def write(self, path, text=""):
        with open(path, "w") as f:
            f.write(text)
        self.own(path)

    def own(self, path, uid=UID):
        os.chown(path, uid, uid, follow_symlinks=False)

    def mkdir(self, name, mode=0o755, uid=UID):
        path = self.world.tmp + "/" + name
        os.mkdir(path)
        os.chmod(path, mode)
        self.own(path, uid)
        self.ours.append(path)
        return path

    def refused(self, state, words, **kw):
        got = rootlesskit("--state-dir=" + state, "echo", "RAN", **kw)
        self.assertEqual((got.returncode, got.stdout), (1, ""), got.stderr)
        self.assertRegex(got.stderr, r"(?m)^\[rootlesskit:parent\] error: .*state directory")
        self.assertRegex(got.stderr, words)
        return got

    def accepted(self, state, *options, **kw):
        got = rootlesskit("--state-dir=" + state, *options, "echo", "RAN", **kw)
        self.assertEqual((got.returncode, got.stdout), (0, "RAN\n"), got.stderr)
        return got


@rkit.ours("removes all that is in it")
class OnesOwn(Common):
    """A user's own mistakes."""

    def test_working_directory(self):
        self.refused(".", "thesis|hosts", cwd=self.docs)
        self.refused(self.docs, "thesis|hosts")

    def test_home_without_the_variable(self):
        env = self.world.environ(HOME=None)
        self.refused(self.world.home, "home directory", env=env)
        self.refused(".", "home directory", env=env)

    def test_empty_home(self):
        """An empty home directory is refused, too, although it has no files to lose."""
        home = self.mkdir("empty-home")
        self.world.add_user("rkempty", 20003, home=home)
        got = run(self.world.path["rootlesskit"], "--state-dir=" + home, "true", uid=20003, cwd="/")
        self.assertEqual(got.returncode, 1)
        os.chown(home, 20003, 20003)
        got = run(self.world.path["rootlesskit"], "--state-dir=" + home, "true", uid=20003, cwd="/",
                  env=self.world.environ(HOME=None))
        self.assertEqual(got.returncode, 1)
        self.assertIn("home directory", got.stderr)
        self.assertEqual(os.listdir(home), [])

    def test_lock_of_another_program(self):
        self.write(self.docs + "/lock", "pid 4711")
        self.before = self.look()
        self.refused(self.docs, "lock")

    def test_files_beside_ours_stay(self):
        """Files that somebody puts there while rootlesskit runs stay, and do not prevent the next start."""
        state = self.mkdir("kept")
        for number in range(3):
            got = rootlesskit("--state-dir=" + state, "sh", "-c", "echo x >> $ROOTLESSKIT_STATE_DIR/notes; "
                              "mkdir -p $ROOTLESSKIT_STATE_DIR/dir")
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertIn("is kept", got.stderr)
            self.assertEqual(sorted(os.listdir(state)), ["dir", "lock", "notes"])
        self.assertEqual(open(state + "/notes").read(), "x\nx\nx\n")

    def test_links_of_ones_own(self):
        data = self.mkdir("data")
        link = self.world.home + "/.rk"
        os.symlink(data + "/rk", link)
        self.ours.append(link)
        self.own(link)
        self.before = self.look()
        for _ in range(2):
            got = rootlesskit("--state-dir=" + link, "sh", "-c", "echo $ROOTLESSKIT_STATE_DIR")
            self.assertEqual(got.stdout, data + "/rk\n", got.stderr)
            self.assertEqual(os.listdir(data), [])
        with Rootlesskit(state=link) as rk:
            self.assertEqual(rk.api("GET", "/v1/info")[1]["stateDir"], data + "/rk")

    def test_others_may_write(self):
        for mode in (0o775, 0o757, 0o777, 0o1777):
            state = self.mkdir("mode-%o" % mode, mode)
            self.refused(state, "others may write")
            self.assertEqual(os.listdir(state), [])
        self.refused(self.world.tmp, "others may write")

    @rkit.needs("setfacl")
    def test_access_control_list(self):
        state = self.mkdir("acl")
        if subprocess.run(["setfacl", "-m", "u:%d:rwx" % NEIGHBOUR, state], capture_output=True).returncode:
            self.skipTest("the machine has no access control lists on tmpfs")
        self.refused(state, "others may write")

    def test_mount_point(self):
        """A mount point cannot be removed, and there is no warning about that."""
        state = self.mkdir("mounted")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700,uid=%d" % UID, "tmpfs", state], check=True)
        try:
            self.assertEqual(self.accepted(state).stderr, "")
            self.assertEqual(os.listdir(state), [])
        finally:
            subprocess.run(["umount", state], check=True)

    def test_things_of_a_sub_id(self):
        """Files that other users inside have left belong to sub-ids. The message says how to remove them."""
        state = self.mkdir("sub-id")
        self.write(state + "/lock")
        for name in ("hosts", "child_pid"):
            self.write(state + "/" + name, "x")
            self.own(state + "/" + name, SUBID[0])
        os.makedirs(state + "/api.sock/deep")
        for name in ("api.sock/deep", "api.sock"):
            self.own(state + "/" + name, SUBID[0] + 7)
        got = self.refused(state, r"rm -rf")
        self.assertNotIn("thesis", got.stderr)
        command = re.search(r'"(rootlesskit rm -rf .*)"', got.stderr).group(1)
        self.assertEqual(run("sh", "-c", command).returncode, 0)
        self.accepted(state)
        self.assertFalse(os.path.exists(state))

    @rkit.needs("slirp4netns", "tun", "/usr/bin/rootlesskit")
    def test_leftovers_of_rootlesskit(self):
        """ringkit starts in a directory in which a RootlessKit has crashed."""
        state = self.world.tmp + "/changed-over"
        self.ours.append(state)
        rk = Rootlesskit("--net=slirp4netns", "--disable-host-loopback", "--port-driver=builtin", state=state,
                         binary="/usr/bin/rootlesskit").ready()
        wait_for("the API", lambda: os.path.exists(state + "/api.sock"))
        rk.proc.kill()
        rk.wait()
        wait_for("the end", lambda: not self.left_processes())
        self.assertLessEqual({"lock", "api.sock", "child_pid"}, set(os.listdir(state)))
        self.accepted(state, "--net=none", "--port-driver=builtin")
        self.assertFalse(os.path.exists(state))

    def test_too_long_is_said_first(self):
        """A path that is too long is refused before the set-up, and no directory of it is left."""
        path = self.world.tmp + "/new/" + "d" * 100
        got = self.refused(path, "too long.*at most 107")
        self.assertNotIn("child", got.stderr)
        self.assertFalse(os.path.exists(self.world.tmp + "/new"))


@rkit.ours("follows them")
class Neighbour(Common):
    """Another ordinary user of the machine, who makes a file in /tmp before ours."""

    def setUp(self):
        super().setUp()
        self.trap = self.world.tmp + "/rk"
        self.ours += [self.trap, self.world.tmp + "/.link"]

    def test_symbolic_link(self):
        for target in (self.docs, self.world.home, self.world.home + "/new"):
            as_neighbour("ln", "-sfn", target, self.trap)
            self.refused(self.trap, "another user")
            self.refused(self.trap + "/deep", "another user")
        # With a file "lock" in it, the directory looks like a state directory.
        self.write(self.docs + "/lock")
        self.before = self.look()
        as_neighbour("ln", "-sfn", self.docs, self.trap)
        self.refused(self.trap, "another user")

    def test_link_in_a_directory_of_the_neighbour(self):
        as_neighbour("mkdir", self.trap)
        as_neighbour("ln", "-s", self.docs, self.trap + "/x")
        self.refused(self.trap + "/x", "another user")
        os.chmod(self.trap, 0o777)
        self.refused(self.trap + "/x", "another user")
        self.refused(self.trap + "/y", "another user")
        self.assertEqual(os.listdir(self.trap), ["x"])
        os.chmod(self.trap, 0o755)

    def test_directory(self):
        for mode in ("755", "777", "1777"):
            as_neighbour("mkdir", "-p", self.trap)
            as_neighbour("chmod", mode, self.trap)
            self.refused(self.trap, "another user")
            self.assertEqual(os.listdir(self.trap), [])

    def test_file(self):
        as_neighbour("touch", self.trap)
        self.refused(self.trap, "rk: Not a directory")
        os.unlink(self.trap)

    def test_root_is_careful_too(self):
        as_neighbour("mkdir", self.trap)
        got = run(self.world.path["rootlesskit"], "--state-dir=" + self.trap, "true", uid=0)
        self.assertEqual(got.returncode, 1)
        self.assertIn("another user", got.stderr)

    def test_lock_of_the_neighbour(self):
        """A neighbour has made the lock, while others could write to the directory."""
        state = self.mkdir("once", 0o777)
        as_neighbour("touch", state + "/lock", state + "/hosts")
        os.chmod(state, 0o755)
        self.refused(state, "lock")
        self.assertEqual(sorted(os.listdir(state)), ["hosts", "lock"])

    def flip(self, stop):
        """A process of the neighbour that makes the name a link, a directory, and nothing, as fast as it
        can."""
        os.setgroups([])
        os.setresgid(*[NEIGHBOUR] * 3)
        os.setresuid(*[NEIGHBOUR] * 3)
        link = "%s/.link" % self.world.tmp
        while not stop.is_set():
            for step in (lambda: os.symlink(self.docs, self.trap), lambda: os.unlink(self.trap),
                         lambda: os.mkdir(self.trap), lambda: os.symlink(self.docs, self.trap + "/deep"),
                         lambda: os.unlink(self.trap + "/deep"), lambda: os.rmdir(self.trap),
                         lambda: os.symlink(self.docs, link), lambda: os.rename(link, self.trap),
                         lambda: os.unlink(self.trap)):
                try:
                    step()
                except OSError:
                    pass

    def run_against_flips(self, state):
        stop = multiprocessing.Event()
        flipper = multiprocessing.Process(target=self.flip, args=(stop,))
        flipper.start()
        try:
            ran = 0
            for _ in range(60):
                got = rootlesskit("--state-dir=" + state, "sh", "-c",
                                  "stat -c %u $ROOTLESSKIT_STATE_DIR")
                self.assertIn(got.returncode, (0, 1), got.stderr)
                self.assertEqual(got.stdout, "0\n" if got.returncode == 0 else "", got.stderr)
                self.assertEqual(self.look(), self.before)
                ran += got.returncode == 0
        finally:
            stop.set()
            flipper.join()
        return ran

    def test_race_between_check_and_use(self):
        self.write(self.docs + "/lock")  # now it looks like a state directory
        self.before = self.look()
        self.run_against_flips(self.trap)
        self.run_against_flips(self.trap + "/deep")

    def swap(self, stop, state):
        """A process of the neighbour that replaces the state directory as fast as it can. Everybody may write
        to the directory around it."""
        os.setgroups([])
        os.setresgid(*[NEIGHBOUR] * 3)
        os.setresuid(*[NEIGHBOUR] * 3)
        shared = os.path.dirname(state)
        for name in ("mine", "link"):
            try:
                os.mkdir(shared + "/mine") if name == "mine" else os.symlink(self.docs, shared + "/link")
            except OSError:
                pass
        for name in ("hosts", "resolv.conf"):
            with open(shared + "/mine/" + name, "w") as f:
                f.write("6.6.6.6 bank\n")
        number = 0
        while not stop.is_set():
            number += 1
            for other in ("mine", "link"):
                for old, new in ((state, "%s/away-%d" % (shared, number)), (shared + "/" + other, state),
                                 (state, shared + "/" + other)):
                    try:
                        os.rename(old, new)
                    except OSError:
                        pass

    def test_a_directory_that_is_replaced(self):
        shared = self.mkdir("shared", 0o777)
        state = shared + "/rk"
        self.write(self.docs + "/lock")
        self.before = self.look()
        stop = multiprocessing.Event()
        swapper = multiprocessing.Process(target=self.swap, args=(stop, state))
        swapper.start()
        try:
            for _ in range(60):
                got = rootlesskit("--state-dir=" + state, "--net=none", "cat", "/etc/hosts")
                self.assertIn(got.returncode, (0, 1), got.stderr)
                self.assertNotIn("6.6.6.6", got.stdout)
                self.assertEqual(self.look(), self.before)
        finally:
            stop.set()
            swapper.join()
        self.assertEqual(open(shared + "/mine/hosts").read(), "6.6.6.6 bank\n")

    def test_such_a_directory_is_warned_of(self):
        shared = self.mkdir("shared", 0o777)
        self.assertIn("replace it", self.accepted(shared + "/rk").stderr)

    def test_umask_opens_nothing(self):
        """The command keeps its umask, but no file or socket of rootlesskit or its drivers gets it."""
        drivers = [["--net=none", "--port-driver=builtin"]]
        if not self.world.tun_error and shutil.which("slirp4netns"):
            drivers.append(["--net=slirp4netns", "--disable-host-loopback", "--port-driver=slirp4netns"])
        if not self.world.tun_error and shutil.which("vde_plug"):
            drivers.append(["--net=vdeplug_slirp"])
        for options in drivers:
            with self.subTest(options):
                with Rootlesskit(*options, before=("sh", "-c", 'umask 0; exec "$@"', "sh"),
                                 command=("sh", "-c", "umask; exec sleep infinity")) as rk:
                    wait_for("the command", rk.out)
                    self.assertEqual(rk.out(), "0000\n")
                    for name in [".", *os.listdir(rk.state)]:
                        mode = os.lstat(rk.state + "/" + name).st_mode
                        self.assertEqual(mode & (0o077 if stat.S_ISSOCK(mode) else 0o022), 0,
                                         "%s %o" % (name, mode))


@rkit.ours("leaves files behind")
class NoSpace(Common):
    """The error says that the file system is full, and nothing stays on it."""

    def attempt(self, options, *args):
        base = self.mkdir("full")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700,uid=%d,%s" % (UID, options), "tmpfs", base],
                       check=True)
        try:
            got = rootlesskit("--state-dir=" + base + "/deep/state", *args, "echo", "RAN")
            left = os.listdir(base + "/deep") if os.path.exists(base + "/deep") else []
            self.assertEqual(left, [], got.stderr)
        finally:
            subprocess.run(["umount", base], check=True)
            os.rmdir(base)
        return got

    def check(self, got):
        if got.returncode == 0:
            self.assertEqual(got.stdout, "RAN\n")
            return
        self.assertEqual((got.returncode, got.stdout), (1, ""), got.stderr)
        errors = [l for l in got.stderr.splitlines() if "] error: " in l]
        self.assertRegex(errors[0], "state directory|child PID|api.sock|lock")
        self.assertRegex(errors[0], "No space left|quota")

    def test_inodes(self):
        codes = []
        for inodes in range(2, 12):
            got = self.attempt("nr_inodes=%d" % inodes, "--net=none", "--port-driver=builtin")
            self.check(got)
            codes.append(got.returncode)
        self.assertEqual(codes, sorted(codes, reverse=True))
        self.assertEqual(codes[-1], 0)
        self.assertGreater(codes.count(1), 3)

    def test_blocks(self):
        codes = []
        for pages in range(1, 8):
            got = self.attempt("size=%d,nr_inodes=100" % (pages * os.sysconf("SC_PAGE_SIZE")), "--net=none")
            self.check(got)
            codes.append(got.returncode)
        self.assertEqual(codes[-1], 0)

    @rkit.needs("strace")
    def test_quota_on_each_file(self):
        path = self.world.tmp + "/state-quota"
        for number in range(1, 30):
            trace = self.world.base + "/quota.trace"
            proc = popen(["strace", "-f", "-qq", "-u", USER, "-o", trace, "-P", path, "-e",
                          "inject=openat,write,fchmod,bind:error=EDQUOT:when=%d" % number,
                          self.world.path["rootlesskit"], "--state-dir=" + path, "--net=none",
                          "--port-driver=builtin", "echo", "RAN"], uid=0, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            out, err = proc.communicate(timeout=90)
            with open(trace, errors="replace") as f:
                hit = "(INJECTED)" in f.read()
            with self.subTest(number):
                if "cannot remove" in err:  # the fault hit the clean-up, which never fails for a quota
                    os.rmdir(path)
                self.assertNothingLeft()
                check_log(err)
                if out:  # the exit code may be that of LeakSanitizer, which does not work under strace
                    self.assertEqual(out, "RAN\n")
                else:
                    self.assertNotEqual(proc.returncode, 0)
                    self.assertRegex(err, r"(?m)^\[rootlesskit:.*error: .*Disk quota exceeded")
            if not hit:
                break
        self.assertGreater(number, 5)

    def test_quota(self):
        """tmpfs has quotas since Linux 6.6."""
        base = self.mkdir("quota")
        limit = "usrquota,usrquota_inode_hardlimit=4"
        mount = ["mount", "-t", "tmpfs", "-o", limit, "tmpfs", base]
        if subprocess.run(mount, capture_output=True).returncode:
            self.skipTest("the machine has no quotas on tmpfs")
        subprocess.run(["umount", base], check=True)
        os.rmdir(base)
        got = self.attempt(limit, "--net=none")
        self.check(got)
        self.assertEqual(got.returncode, 1)


if __name__ == "__main__":
    rkit.main()
