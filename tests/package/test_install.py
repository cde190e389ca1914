#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Debian packages, installed beside RootlessKit and in its place. RK_DEBS is their directory. The classes
run in the order of their names: RootlessKit is gone after the first one."""

import os
import pwd
import stat
import subprocess
import unittest

import installed
from installed import OURS, USER, apt, changed_files, deb, root, user, user_env

import rkit

PROGRAMS = ("rootlesskit", "rootlessctl", "rootlesskit-docker-proxy")


def setUpModule():
    installed.set_up()


def status(package):
    got = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package],
                         capture_output=True, text=True)
    return got.stdout if got.returncode == 0 else "not there"


def smoke(mode):
    print("        " + root("/run/rkit/input/smoke", mode).strip().replace("\n", "\n        "))


class PackageTestCase(unittest.TestCase):
    maxDiff = None

    def assertFilesRight(self, package):
        """Files belong to root, only root can write to them, none is set-uid, and programs are executable."""
        for path in root("dpkg", "-L", package).split("\n"):
            if not path or os.path.islink(path):
                continue
            st = os.stat(path)
            self.assertEqual((st.st_uid, st.st_gid), (0, 0), path)
            want = 0o755 if stat.S_ISDIR(st.st_mode) or path.startswith(OURS) else 0o644
            self.assertEqual(stat.S_IMODE(st.st_mode), want, path)

    def assertMans(self):
        for name in PROGRAMS:
            text = root("man", "-P", "cat", name)
            self.assertIn(name.upper(), text)
            self.assertIn("(1ringkit)", text)
        self.assertIn("ROOTLESSKIT", root("man", "-P", "cat", "docker-rootlesskit"))


class Beside(PackageTestCase):
    def setUp(self):
        self.before = changed_files()
        self.assertEqual(status("rootlesskit"), "installed")
        apt("install", deb("ringkit"))

    def tearDown(self):
        root("dpkg", "--purge", "ringkit")
        self.assertEqual(changed_files() - self.before, set())
        self.assertEqual(status("rootlesskit"), "installed")

    def test_both_work(self):
        smoke("beside")

    def test_version(self):
        """debian/changelog and meson.build have the same version."""
        version = root("dpkg-query", "-W", "-f", "${Version}", "ringkit")
        self.assertIn("+ringkit.%s\n" % version.split("-")[0],
                      user(OURS + "/rootlesskit", "--version").stdout)

    def test_nothing_of_rootlesskit_is_touched(self):
        self.assertFilesRight("ringkit")
        theirs = set(root("dpkg", "-L", "rootlesskit").split("\n"))
        ours = {p for p in root("dpkg", "-L", "ringkit").split("\n") if p and not os.path.isdir(p)}
        self.assertEqual(ours & theirs, set())
        self.assertEqual(root("dpkg", "-V", "rootlesskit", "ringkit"), "")
        self.assertNotIn("ringkit", user("rootlesskit", "--version").stdout)
        self.assertMans()

    def test_dependencies_hold_what_is_loaded(self):
        """The dependencies name libmicrohttpd, too, which dpkg-shlibdeps cannot see: it is loaded by name."""
        depends = root("dpkg-query", "-W", "-f", "${Depends}", "ringkit")
        for name in ("libmicrohttpd", "libhttp-parser2.9", "libc6", "libseccomp2", "uidmap"):
            self.assertIn(name, depends)

    def test_hardened(self):
        """Programs are position-independent, have read-only relocations and no executable stack."""
        for name in PROGRAMS:
            program = "%s/%s" % (OURS, name)
            self.assertIn("DYN (Position-Independent", root("readelf", "-hW", program))
            self.assertRegex(root("readelf", "-dW", program), r"BIND_NOW|FLAGS.*NOW")
            segments = root("readelf", "-lW", program)
            self.assertIn("GNU_RELRO", segments)
            self.assertRegex(segments, r"GNU_STACK .* RW ")
            self.assertRegex(root("readelf", "-sW", "--dyn-syms", program), r"_chk@")

    def test_port_below_1024(self):
        """Ports below 1024 can be published after the setcap that README.Debian names."""
        run = ["rootlesskit", "--net=none", "--port-driver=builtin", "-p", "127.0.0.1:80:80/tcp",
               "true"]
        env = user_env(PATH=OURS + ":/usr/bin:/bin")
        first = int(open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read())
        if first > 80:
            self.assertNotEqual(user(*run, env=env, check=False).returncode, 0)
        root("setcap", "cap_net_bind_service=ep", OURS + "/rootlesskit")
        self.assertEqual(user(*run, env=env).returncode, 0)

    def test_apparmor_profile(self):
        """The profile can be parsed. An AppArmor without user namespaces gets it without lines about them."""
        path = "/usr/share/ringkit/apparmor/usr.lib.ringkit.bin.rootlesskit"
        text = open(path).read()
        self.assertIn("\n%s/rootlesskit flags=(unconfined) {\n  userns,\n" % OURS, text)
        self.assertFalse(os.path.exists("/etc/apparmor.d/" + os.path.basename(path)))
        if not os.path.exists("/etc/apparmor.d/abi/4.0"):
            text = text.replace("abi <abi/4.0>,\n", "").replace("  userns,\n", "")
        with open("/run/profile", "w") as f:
            f.write(text)
        root("apparmor_parser", "--skip-kernel-load", "--skip-cache", "/run/profile")


class Instead(PackageTestCase):
    """The packages in RootlessKit's place, with an upgrade and the removal."""

    def setUp(self):
        self.before = changed_files()
        apt("install", deb("ringkit"), deb("ringkit-rootlesskit"))

    def tearDown(self):
        root("dpkg", "--purge", "ringkit-rootlesskit", "ringkit")
        left = changed_files() - self.before
        # The overlay also has entries for files of RootlessKit that were removed.
        self.assertEqual({p for p in left if os.path.lexists("/" + p)}, set())

    def test_replaces_rootlesskit(self):
        self.assertNotEqual(status("rootlesskit"), "installed")
        self.assertFilesRight("ringkit-rootlesskit")
        for name in PROGRAMS:
            self.assertEqual(os.path.realpath("/usr/bin/" + name), "%s/%s" % (OURS, name))
        self.assertEqual(os.path.realpath("/usr/bin/docker-rootlesskit"), OURS + "/rootlesskit")
        for name in "rootlesskit", "docker-rootlesskit":
            self.assertRegex(user(name, "--version").stdout, r"\+ringkit\.")
        self.assertEqual(user("sh", "-c", "command -v rootlesskit-docker-proxy").stdout,
                         "/usr/bin/rootlesskit-docker-proxy\n")
        self.assertMans()
        smoke("instead")

    def test_satisfies_who_wants_rootlesskit(self):
        """Packages can depend on rootlesskit, of the version that ringkit behaves like."""
        parts = [user("rootlesskit", "--print-semver", part).stdout.strip()
                 for part in ("major", "minor", "patch")]
        os.makedirs("/run/wants/DEBIAN")
        with open("/run/wants/DEBIAN/control", "w") as f:
            f.write("Package: wants\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\n"
                    "Description: wants\nDepends: rootlesskit (= %s)\n" % ".".join(parts))
        root("dpkg-deb", "--build", "/run/wants", "/run/wants.deb")
        root("dpkg", "-i", "/run/wants.deb")
        root("dpkg", "--purge", "wants")

    def test_upgrade_while_it_runs(self):
        """Both packages are upgraded at once. A running rootlesskit goes on with the old program."""
        for name in ("ringkit", "ringkit-rootlesskit"):
            tree = "/run/newer-" + name
            root("dpkg-deb", "-R", deb(name), tree)
            control = open(tree + "/DEBIAN/control").read()
            version = root("dpkg-deb", "-f", deb(name), "Version").strip()
            with open(tree + "/DEBIAN/control", "w") as f:
                f.write(control.replace(version, version + ".9"))
            root("dpkg-deb", "--build", "--root-owner-group", tree, tree + ".deb")
        state = "/home/%s/state" % USER
        with subprocess.Popen(["rootlesskit", "--net=none", "--port-driver=builtin",
                               "--state-dir=" + state, "sh", "-c", "echo up; read line"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              user=installed.UID, group=installed.UID, extra_groups=[],
                              env=user_env(), cwd="/home/" + USER) as running:
            self.assertEqual(running.stdout.readline(), "up\n")
            root("dpkg", "-i", "/run/newer-ringkit.deb", "/run/newer-ringkit-rootlesskit.deb")
            self.assertTrue(status("ringkit") == status("ringkit-rootlesskit") == "installed")
            added = user("rootlessctl", "--socket", state + "/api.sock", "add-ports",
                         "127.0.0.1:18080:80/tcp")
            self.assertEqual(added.stdout, "1\n")
            running.communicate("\n", timeout=40)
            self.assertEqual(running.returncode, 0)
        smoke("instead")
        # apt complains when only one of the two packages has the old version.
        root("dpkg", "-i", deb("ringkit"))
        got = subprocess.run(["apt-get", "check"], capture_output=True, text=True)
        self.assertIn("ringkit-rootlesskit", got.stderr + got.stdout)

    def test_nothing_is_started_or_enabled(self):
        self.assertEqual(pwd.getpwnam(USER).pw_uid, installed.UID)
        found = [p for p in changed_files() - self.before
                 if p.startswith(("etc/systemd", "etc/init.d", "etc/rc", "var/lib/systemd"))]
        self.assertEqual(found, [])


if __name__ == "__main__":
    rkit.main()
