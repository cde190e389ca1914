#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--cgroupns and --evacuate-cgroup2, in cgroups that the test makes and delegates to the test user."""

import os
import signal

import rkit
import test_inject
from rkit import cgroups, leaks
from rkit.cgroups import delegated, own, read, within
from rkit.launch import Rootlesskit, popen, processes_of, rootlesskit, run, wait_for
from rkit.world import UID

NS = ["--cgroupns", "--pidns"]
EVACUATE = [*NS, "--evacuate-cgroup2=evac"]

# A daemon that limits what it starts: it enables the controllers for the groups below, starts a process in a
# group beside its own, and sets limits there.
DAEMON = r"""
set -e
cd /sys/fs/cgroup
echo "own $(sed -n s/^0:://p /proc/self/cgroup)"
echo "controllers $(cat cgroup.controllers)"
echo "subtree $(cat cgroup.subtree_control)"
echo "inside $(wc -l < cgroup.procs)"
mkdir sibling sibling/leaf
for limit in pids memory; do
    [ ! -e sibling/$limit.max ] || echo max > sibling/$limit.max
done
sleep infinity &
echo $! > sibling/leaf/cgroup.procs
echo "sibling $(sed -n s/^0:://p /proc/$!/cgroup)"
kill $!
wait || true
until rmdir sibling/leaf sibling; do sleep 0.1; done 2> /dev/null
echo done
"""


def reset(path):
    """Turns the controllers off, as a service manager does before it starts something in the cgroup again."""
    cgroups.put("".join("-%s " % c for c in read(path, "cgroup.subtree_control").split()),
                path, "cgroup.subtree_control")


def in_group(path, *args, **kw):
    """Runs rootlesskit in the cgroup until it ends."""
    how = within(path)
    return run(*how["before"], rkit.world().path["rootlesskit"], *args, uid=how["uid"], **kw)


class Evacuation(rkit.RkTestCase):
    def seen(self, got):
        self.assertEqual(got.returncode, 0, got.stderr)
        return dict(line.split(" ", 1) if " " in line else (line, "")
                    for line in got.stdout.splitlines())

    @rkit.ours("takes the first cgroup2 mount, which may be the machine's")
    def test_makes_room_for_groups_of_the_command(self):
        for net in ([], ["--net=none"], ["--net=none", "--detach-netns"]):
            if net and self.world.reference:
                continue
            with self.subTest(net), delegated() as path:
                got = in_group(path, *EVACUATE, *net, "sh", "-c", DAEMON)
                seen = self.seen(got)
                self.assertEqual(seen["own"], "/evac")
                self.assertEqual(seen["inside"], "0")
                self.assertEqual(seen["sibling"], "/sibling/leaf")
                self.assertEqual(sorted(seen["subtree"].split()),
                                 sorted(read(path, "cgroup.controllers").split()))
                self.assertIn("done", seen)
                if not self.world.reference:
                    self.assertEqual(got.stderr, "")
                self.assertTrue(os.path.isdir(path + "/evac"))

    def test_without_it_there_is_no_room(self):
        """A group that has processes cannot enable controllers for the groups below (cgroups(7), "no internal
        processes"): hence the evacuation. Threaded controllers, such as cpu, are not always bound by that."""
        with delegated() as path:
            controllers = set(read(path, "cgroup.controllers").split())
            strict = controllers & {"memory", "io", "hugetlb", "rdma", "misc"}
            if not strict:
                self.skipTest("the machine has no controller on cgroup2 that is bound by this rule")
            got = in_group(path, *NS, "sh", "-c", "echo +%s > /sys/fs/cgroup/cgroup.subtree_control"
                           % sorted(strict)[0])
            self.assertNotEqual(got.returncode, 0)

    @rkit.ours("takes the first cgroup2 mount, which may be the machine's")
    def test_everybody_in_the_group_moves(self):
        """Processes that were there before move, and everything that rootlesskit starts."""
        with delegated() as path:
            other = popen(["sleep", "600"])
            cgroups.put(str(other.pid), path, "cgroup.procs")
            try:
                with Rootlesskit(*EVACUATE, "--net=none", "--port-driver=builtin", **within(path)) \
                        if not self.world.reference else Rootlesskit(*EVACUATE, **within(path)) as rk:
                    rk.wait_for_command()
                    group = own(rk.pid)
                    self.assertEqual(os.path.basename(group), "evac")
                    for pid in [other.pid, *processes_of(rk.pid)]:
                        self.assertEqual(own(pid), group, leaks.processes().get(pid))
                    self.assertEqual(read(path, "cgroup.procs"), "")
            finally:
                other.kill()
                other.wait()

    @rkit.ours("takes the first cgroup2 mount, which may be the machine's")
    def test_group_that_is_there_already(self):
        with delegated() as path:
            os.mkdir(path + "/evac")
            os.chown(path + "/evac", UID, UID)
            for name in ("cgroup.procs", "cgroup.subtree_control"):
                os.chown(path + "/evac/" + name, UID, UID)
            got = in_group(path, *EVACUATE, "grep", "^0::", "/proc/self/cgroup")
            self.assertEqual(got.stdout, "0::/evac\n", got.stderr)

    @rkit.ours("takes the first cgroup2 mount, which may be the machine's")
    def test_after_sigkill_the_same_again(self):
        with delegated() as path:
            rk = Rootlesskit(*EVACUATE, **within(path)).ready()
            rk.proc.kill()
            rk.wait()
            wait_for("the end", lambda: not read(path, "evac/cgroup.procs"))
            reset(path)
            os.unlink(rk.state + "/child_pid")  # ready() must wait for the second one's
            with Rootlesskit(*EVACUATE, state=rk.state, **within(path)) as again:
                self.assertEqual(os.path.basename(own(again.pid)), "evac")

    @rkit.ours("mounts over it all the same")
    def test_beside_cgroup_v1(self):
        """With systemd's hybrid mode, cgroup2 is mounted below /sys/fs/cgroup, beside cgroup v1."""
        with delegated(below="/unified") as path:
            for net in ([], ["--net=none"]):
                with self.subTest(net):
                    got = in_group(path, *EVACUATE, *net, "sh", "-c", DAEMON)
                    self.assertEqual(self.seen(got)["own"], "/evac")
                    reset(path)
            # Without the evacuation the command sees what the host has mounted.
            got = in_group(path, *NS, "--net=none", "ls", "/sys/fs/cgroup")
            self.assertEqual(got.stdout, "unified\n", got.stderr)


class Refused(rkit.RkTestCase):
    def test_cgroup_of_somebody_else(self):
        with delegated() as path:
            for name in ("", "cgroup.procs", "cgroup.subtree_control"):
                os.chown(os.path.join(path, name), 0, 0)
            got = in_group(path, *EVACUATE, "echo", "RAN")
            self.assertEqual((got.returncode, got.stdout), (1, ""))
            self.assertIn("Delegate=yes" if not self.world.reference else "denied", got.stderr)
            self.assertFalse(os.path.exists(path + "/evac"))

    @rkit.ours("says so for each process, and leaves the group")
    def test_half_delegated(self):
        """The directory belongs to the user, but its processes may not be moved."""
        with delegated() as path:
            os.chown(path + "/cgroup.procs", 0, 0)
            got = in_group(path, *EVACUATE, "grep", "^0::", "/proc/self/cgroup")
            self.assertEqual((got.returncode, got.stdout), (0, "0::/\n"), got.stderr)
            self.assertRegex(got.stderr, "warning: --evacuate-cgroup2: [0-9]+ processes stay")
            self.assertEqual(len(got.stderr.splitlines()), 1, got.stderr)
            self.assertFalse(os.path.exists(path + "/evac"))

    @rkit.ours("other words")
    def test_controllers_that_are_refused(self):
        with delegated() as path:
            if not read(path, "cgroup.controllers").split():
                self.skipTest("the machine has no controller on cgroup2")
            os.chown(path + "/cgroup.subtree_control", 0, 0)
            got = in_group(path, *EVACUATE, "grep", "^0::", "/proc/self/cgroup")
            self.assertEqual((got.returncode, got.stdout), (0, "0::/evac\n"), got.stderr)
            self.assertRegex(got.stderr, "warning: --evacuate-cgroup2: controller .* stays off")

    @rkit.ours("other words")
    def test_group_that_is_something_else(self):
        with delegated() as path:
            got = in_group(path, *NS, "--evacuate-cgroup2=cgroup.procs", "true")
            self.assertEqual(got.returncode, 1)
            self.assertIn("Not a directory", got.stderr)
            self.assertEqual(len(got.stderr.splitlines()), 1, got.stderr)

    def test_cgroup_v1_only(self):
        """rootlesskit warns, as RootlessKit does, and the command runs."""
        script = ('umount -a -t cgroup2; exec setpriv --reuid=%d --regid=%d --clear-groups "$@"'
                  % (UID, UID))
        got = run("unshare", "--mount", "sh", "-c", script, "sh", self.world.path["rootlesskit"],
                  *EVACUATE, "echo", "RAN", uid=0)
        if "cgroup2" in run("unshare", "--mount", "sh", "-c",
                            "umount -a -t cgroup2; grep cgroup2 /proc/self/mountinfo", uid=0).stdout:
            self.skipTest("the machine's cgroup2 cannot be unmounted")
        self.assertEqual((got.returncode, got.stdout), (0, "RAN\n"), got.stderr)
        self.assertRegex(got.stderr, "cgroup2 .*discarded|discarded: cgroup2 is not mounted")

    def test_combinations(self):
        for args, word in (([], "cgroupns"), (["--cgroupns"], "pidns"), (["--pidns"], "cgroupns")):
            got = rootlesskit(*args, "--evacuate-cgroup2=evac", "true")
            self.assertEqual(got.returncode, 1)
            self.assertIn("evacuate-cgroup2 requires --" + word, got.stderr)

    def test_names(self):
        for name in ("a/b", "/", *([] if self.world.reference else ["..", ".", "a\nb", "x" * 256])):
            got = rootlesskit(*NS, "--evacuate-cgroup2=" + name, "true")
            self.assertEqual(got.returncode, 1)
            self.assertIn("evac", got.stderr)


class Namespace(rkit.RkTestCase):
    """--cgroupns alone: the root of what the command sees is its own cgroup."""

    @rkit.ours("leaves the host's mount in view")
    def test_mount_shows_the_namespace(self):
        for net in ([], ["--net=none"], ["--net=none", "--detach-netns"]):
            with self.subTest(net), delegated() as path:
                os.mkdir(path + "/marker")
                got = in_group(path, *NS, *net, "sh", "-c",
                               "test -d /sys/fs/cgroup/marker && grep ^0:: /proc/self/cgroup")
                self.assertEqual(got.stdout, "0::/\n", got.stderr)
                self.assertEqual(got.stderr, "")
                os.rmdir(path + "/marker")

    @rkit.ours("another way of ending")
    def test_signals_still_end_it(self):
        with delegated() as path:
            rk = Rootlesskit(*EVACUATE, **within(path)).ready().wait_for_command()
            os.kill(rk.pid, signal.SIGTERM)
            self.assertEqual(rk.wait(), 255)


@rkit.needs("strace")
class FaultInjection(test_inject.Inject):
    """Faults in the evacuation, as in test_inject.py. The group evac may stay."""

    calls = {"mkdirat": ("ENOSPC", 3), "statfs": ("ENOSYS", 3), "fstatfs": ("ENOSYS", 3),
             "mount": ("EPERM", 6)}
    OPTIONS = [*EVACUATE, "--net=none"]

    def options(self):
        return self.OPTIONS

    def attempt(self, *args):
        with delegated() as path:
            cgroups.put(str(os.getpid()), path, "cgroup.procs")
            try:
                return super().attempt(*args)
            finally:
                cgroups.put(str(os.getpid()), os.path.dirname(path), "cgroup.procs")


if __name__ == "__main__":
    rkit.main()
