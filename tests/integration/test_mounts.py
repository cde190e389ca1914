#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Copy-up, propagation, /proc and /sys, resolv.conf and hosts."""

import contextlib
import os
import shutil

import rkit
from rkit.launch import Rootlesskit, rootlesskit, run
from rkit.world import UID, sh, write


class CopyUp(rkit.RkTestCase):
    def ok(self, *args):
        got = rootlesskit(*args)
        self.assertEqual(got.returncode, 0, got.stderr)
        return got.stdout

    def test_directory_becomes_writable_and_keeps_its_contents(self):
        before = sorted(os.listdir("/etc"))
        out = self.ok("--copy-up=/etc", "sh", "-c",
                      "ls -A /etc | grep -v '^\\.ro'; echo x > /etc/new && mv /etc/passwd /etc/p2 "
                      "&& test -s /etc/p2 && rm /etc/group")
        self.assertEqual(sorted(out.split()), before)
        self.assertEqual(sorted(os.listdir("/etc")), before)

    def test_entries_are_links_to_the_old_ones(self):
        out = self.ok("--copy-up=/etc", "sh", "-c", "readlink /etc/passwd; stat -f -c %T /etc; "
                      "cat /etc/passwd | wc -c")
        link, fs, size = out.split()
        self.assertRegex(link, r"^(/etc/)?\.ro[^/]*/passwd$")
        self.assertEqual(fs, "tmpfs")
        self.assertEqual(int(size), os.path.getsize("/etc/passwd"))

    def test_links_are_copied_as_they_are(self):
        d = self.world.base + "/up"
        os.makedirs(d + "/sub")
        os.symlink("sub", d + "/relative")
        os.symlink("/nowhere", d + "/dangling")
        write(d + "/file", "text\n")
        try:
            out = self.ok("--copy-up=" + d, "sh", "-c", "cd %s && readlink relative dangling && "
                          "cat file && ls sub" % d)
            self.assertEqual(out, "sub\n/nowhere\ntext\n")
        finally:
            shutil.rmtree(d)

    @rkit.ours("they dangle")
    def test_links_below_lead_where_they_led(self):
        base = self.world.base
        d = base + "/up"
        os.makedirs(d + "/ssl/deep")
        os.makedirs(base + "/store")
        write(base + "/store/ca.pem", "certificate\n")
        write(d + "/inside", "inside\n")
        for name, target in (("ca.pem", "../../store/ca.pem"), ("deep/ca.pem", "../../../store/ca.pem"),
                             ("beside", "../inside"), ("round", "../../up/inside"),
                             ("host", "../.." + "/.." * base.count("/") + "/etc/passwd")):
            os.symlink(target, d + "/ssl/" + name)
        links = ["ca.pem", "deep/ca.pem", "beside", "round", "host"]
        want = ["certificate\n"] * 2 + ["inside\n"] * 2 + [open("/etc/passwd").read()]
        os.symlink(base, base + "/way")
        try:
            for path in (d, base + "/way/up", d + "/"):
                for name, text in zip(links, want):
                    with self.subTest(path=path, name=name):
                        self.assertEqual(self.ok("--copy-up=" + path, "cat", d + "/ssl/" + name), text)
            # It works, too, when a directory on the way may be entered, but not read.
            os.chmod(base, 0o711)
            self.assertEqual(self.ok("--copy-up=" + d, "cat", d + "/ssl/beside"), "inside\n")
        finally:
            os.chmod(base, 0o755)
            os.unlink(base + "/way")
            shutil.rmtree(d)
            shutil.rmtree(base + "/store")

    def test_several_and_relative_to_each_other(self):
        out = self.ok("--copy-up=/etc", "--copy-up=/run", "--copy-up", "/var/lib", "sh", "-c",
                      "for d in /etc /run /var/lib; do touch $d/new && echo $d; done")
        self.assertEqual(out.split(), ["/etc", "/run", "/var/lib"])

    def test_mount_below_survives(self):
        """A mount inside the directory can be seen through the copy."""
        d = self.world.base + "/up"
        os.makedirs(d + "/mnt")
        sh("mount", "-t", "tmpfs", "tmpfs", d + "/mnt")
        write(d + "/mnt/inside", "seen\n")
        try:
            self.assertEqual(self.ok("--copy-up=" + d, "cat", d + "/mnt/inside"), "seen\n")
        finally:
            sh("umount", d + "/mnt")
            shutil.rmtree(d)

    def test_state_directory_inside_a_copied_up_one(self):
        """Docker's state directory is below $XDG_RUNTIME_DIR, which is below /run."""
        os.mkdir(self.world.run_user)
        os.chown(self.world.run_user, UID, UID)
        try:
            with Rootlesskit("--copy-up=/run", state=self.world.run_user + "/state") as rk:
                got = rk.nsenter("sh", "-c", "ls " + rk.state, net=False)
                self.assertIn("api.sock", got.stdout)
        finally:
            os.rmdir(self.world.run_user)

    def test_refused(self):
        for path in (*([] if self.world.reference else ["/"]), "/nonexistent", "/etc/passwd", "relative"):
            with self.subTest(path):
                got = rootlesskit("--copy-up=" + path, "true")
                self.assertEqual(got.returncode, 1)
                if not self.world.reference:
                    self.assertIn(path, got.stderr)


class Propagation(rkit.RkTestCase):
    @contextlib.contextmanager
    def shared(self):
        """Yields the directory of a shared mount, with directories a and b."""
        d = self.world.base + "/shared"
        os.makedirs(d)
        sh("mount", "-t", "tmpfs", "tmpfs", d)
        sh("mount", "--make-shared", d)
        os.mkdir(d + "/a")
        os.mkdir(d + "/b")
        try:
            yield d
        finally:
            sh("umount", "-R", d)
            os.rmdir(d)

    def inward(self, mode):
        """Whether a mount that the host makes later can be seen inside."""
        with self.shared() as d, Rootlesskit("--propagation=" + mode) as rk:
            sh("mount", "-t", "tmpfs", "tmpfs", d + "/a")
            write(d + "/a/seen", "")
            return rk.nsenter("test", "-e", d + "/a/seen", net=False).returncode == 0

    def outward(self, mode):
        """Whether a mount that is made inside can be seen by the host."""
        with self.shared() as d, Rootlesskit("--propagation=" + mode) as rk:
            got = rk.nsenter("mount", "-t", "tmpfs", "tmpfs", d + "/b", net=False)
            self.assertEqual(got.returncode, 0, got.stderr)
            with open("/proc/self/mountinfo") as f:
                return any(line.split()[4] == d + "/b" for line in f)

    def test_rprivate_is_the_default(self):
        with self.shared() as d, Rootlesskit() as rk:
            sh("mount", "-t", "tmpfs", "tmpfs", d + "/a")
            write(d + "/a/seen", "")
            self.assertNotEqual(rk.nsenter("test", "-e", d + "/a/seen", net=False).returncode, 0)

    @rkit.ours("other words")
    def test_root_that_is_not_shared(self):
        """Mounts of the host cannot be seen inside when its root is not shared: there is a warning."""
        for kind, mode, warned in (("--make-private", "rslave", True),
                                   ("--make-private", "rprivate", False),
                                   ("--make-shared", "rslave", False),
                                   ("--make-slave", "rshared", True)):
            with self.subTest(kind=kind, mode=mode):
                got = run("unshare", "--mount", "--propagation=unchanged", "sh", "-c",
                          'mount %s / && exec setpriv --reuid=%d --regid=%d --clear-groups "$@"'
                          % (kind, UID, UID), "sh", self.world.path["rootlesskit"],
                          "--propagation=" + mode, "echo", "RAN", uid=0)
                self.assertEqual((got.returncode, got.stdout), (0, "RAN\n"), got.stderr)
                self.assertEqual("not mounted as shared" in got.stderr, warned, got.stderr)

    def test_rprivate(self):
        self.assertFalse(self.inward("rprivate"))
        self.assertFalse(self.outward("rprivate"))

    def test_rslave(self):
        self.assertTrue(self.inward("rslave"))
        self.assertFalse(self.outward("rslave"))

    @rkit.ours("since 3.0.2")
    def test_of_the_root_directory_s_mount_alone(self):
        """The other mounts stay slaves of the host's, as they are in any new user namespace."""
        for mode in ("private", "slave", "shared"):
            with self.subTest(mode):
                self.assertTrue(self.inward(mode))
                self.assertFalse(self.outward(mode))
                with Rootlesskit("--propagation=" + mode) as rk:
                    got = rk.nsenter("findmnt", "-no", "PROPAGATION", "/", net=False)
                    self.assertIn(mode, got.stdout.strip().split("\n")[-1])

    def test_rshared_command_runs(self):
        """Mounts in a user namespace are slaves of the host's, so even with rshared the host sees none."""
        self.assertFalse(self.outward("rshared"))


class ProcSys(rkit.RkTestCase):
    def test_proc_with_pidns_shows_only_the_inside(self):
        got = rootlesskit("--pidns", "sh", "-c", "ls /proc | grep -c '^[0-9]*$'; cat /proc/1/comm")
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertLess(int(got.stdout.split()[0]), 7)

    @rkit.needs("slirp4netns", "tun")
    def test_sys_shows_the_network_of_the_namespace(self):
        got = rootlesskit("--net=slirp4netns", "--disable-host-loopback", "--copy-up=/etc",
                          "ls", "/sys/class/net")
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertEqual(sorted(got.stdout.split()), ["lo", "tap0"])

    @rkit.ours("since 2.0")
    def test_sys_with_net_none(self):
        got = rootlesskit("--net=none", "ls", "/sys/class/net")
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertEqual(got.stdout.split(), ["lo"])


@rkit.needs("slirp4netns", "tun")
class EtcFiles(rkit.RkTestCase):
    NET = ["--net=slirp4netns", "--disable-host-loopback"]

    def test_with_copied_up_etc(self):
        got = rootlesskit(*self.NET, "--copy-up=/etc", "sh", "-c", "cat /etc/resolv.conf; echo ---;"
                          "cat /etc/hosts; test -L /etc/resolv.conf || echo plain")
        self.assertEqual(got.returncode, 0, got.stderr)
        resolv, hosts = got.stdout.split("---\n")
        self.assertIn("nameserver 10.0.2.3\n", resolv)
        self.assertNotIn("127.0.0.1", resolv)
        self.assertRegex(hosts, r"127\.0\.0\.1\s+localhost")
        self.assertIn("plain", hosts)
        self.assertEqual(open("/etc/resolv.conf").read(), "nameserver 127.0.0.1\n")

    def test_without_copy_up(self):
        got = rootlesskit(*self.NET, "cat", "/etc/resolv.conf")
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertIn("nameserver 10.0.2.3\n", got.stdout)
        self.assertRegex(got.stderr, "(?i)warn")
        self.assertEqual(open("/etc/resolv.conf").read(), "nameserver 127.0.0.1\n")

    def test_resolv_conf_is_a_link(self):
        """With systemd-resolved it is a link. The link's target on the host must not be written to."""
        os.rename("/etc/resolv.conf", "/etc/resolv.real")
        os.symlink("resolv.real", "/etc/resolv.conf")
        try:
            for extra in (["--copy-up=/etc"], ["--copy-up=/etc", "--copy-up=/run"]):
                got = rootlesskit(*self.NET, *extra, "cat", "/etc/resolv.conf")
                self.assertIn("nameserver 10.0.2.3\n", got.stdout, got.stderr)
            self.assertEqual(open("/etc/resolv.real").read(), "nameserver 127.0.0.1\n")
        finally:
            os.rename("/etc/resolv.real", "/etc/resolv.conf")

    @rkit.ours("writes a new file")
    def test_host_names_of_the_host_are_kept(self):
        old = open("/etc/hosts").read()
        write("/etc/hosts", old + "\n192.0.2.7 kept.example\n")
        try:
            got = rootlesskit(*self.NET, "--copy-up=/etc", "cat", "/etc/hosts")
            self.assertIn("192.0.2.7 kept.example\n", got.stdout)
            self.assertRegex(got.stdout, r"127\.0\.0\.1\s+localhost")
        finally:
            write("/etc/hosts", old)


if __name__ == "__main__":
    rkit.main()
