#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Options: spellings, bad values, impossible combinations, help and version; exit codes."""

import glob
import os
import re

import rkit
from rkit.launch import rootlesskit, run
from rkit.world import SUBID

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

NET = ["--net=slirp4netns", "--disable-host-loopback"]


def class_text(text, name):
    """The source of a class, or "" if there is none."""
    found = re.search(r"(?ms)^class %s\b.*?(?=^class |\Z)" % name, text)
    return found.group() if found else ""


class Spelling(rkit.RkTestCase):
    def ok(self, *args):
        got = rootlesskit(*args)
        self.assertEqual(got.returncode, 0, "%s: %s" % (args, got.stderr))
        return got

    def test_value_after_equals_or_space_one_dash_or_two(self):
        for spelling in (["--propagation=rslave"], ["--propagation", "rslave"],
                         ["-propagation=rslave"], ["-propagation", "rslave"]):
            with self.subTest(spelling):
                self.ok(*spelling, "true")

    def test_booleans(self):
        here = os.readlink("/proc/self/ns/ipc") + "\n"
        look = ["readlink", "/proc/self/ns/ipc"]
        self.assertNotEqual(self.ok("--ipcns", *look).stdout, here)
        self.assertNotEqual(self.ok("--ipcns=true", *look).stdout, here)
        self.assertEqual(self.ok("--ipcns=false", *look).stdout, here)

    def test_first_word_starts_the_command(self):
        self.assertEqual(self.ok("echo", "--pidns", "-p").stdout, "--pidns -p\n")
        self.assertEqual(self.ok("--", "echo", "--pidns").stdout, "--pidns\n")
        self.assertEqual(self.ok("--pidns", "--", "echo", "--", "x").stdout, "-- x\n")

    def test_help_and_version(self):
        for flag in ("--help", "-h", "-help"):
            got = self.ok(flag)
            for word in ("--copy-up", "--port-driver", "--state-dir", "--propagation", "USAGE"):
                self.assertIn(word, got.stdout)
        for flag in ("--version", "-v"):
            self.assertRegex(self.ok(flag).stdout, r"^rootlesskit version \d+\.\d+\.\d+")

    @rkit.ours("since 1.1.1")
    def test_print_semver(self):
        major, minor, patch = (self.ok("--print-semver=" + part).stdout.strip()
                               for part in ("major", "minor", "patch"))
        self.assertIn("%s.%s.%s" % (major, minor, patch), self.ok("--version").stdout)

    def test_every_option_is_in_the_help(self):
        text = self.ok("--help").stdout
        names = """debug help version state-dir net slirp4netns-binary vpnkit-binary
            lxc-user-nic-binary lxc-user-nic-bridge slirp4netns-sandbox slirp4netns-seccomp mtu
            cidr ifname disable-host-loopback ipv6 copy-up copy-up-mode port-driver publish pidns
            cgroupns utsns ipcns propagation reaper evacuate-cgroup2 subid-source"""
        if not self.world.reference:
            names += " print-semver pasta-binary detach-netns source-ip-transparent"
        for name in names.split():
            self.assertIn("--" + name, text)

    @rkit.ours("it has other options")
    def test_every_option_is_tried_by_some_test(self):
        """Every option is used in some integration test."""
        here = os.path.dirname(os.path.abspath(__file__))
        tried = set()
        for path in glob.glob(here + "/*.py") + glob.glob(here + "/rkit/*.py"):
            with open(path) as f:
                tried.update(re.findall("[\"'](--[a-z0-9-]+)", f.read()))
        text = self.ok("--help").stdout
        known = re.findall("(?m)^    (--[a-z0-9-]+)", text)
        self.assertGreater(len(known), 30)
        drivers = re.search(r"network driver \[(.*?)\]", text).group(1).split(", ")
        for option in known:
            of_driver = [n for n in ("lxc-user-nic", "vpnkit", "pasta", "slirp4netns")
                         if option.startswith("--" + n)]
            if not of_driver or of_driver[0] in drivers:
                self.assertIn(option, tried)

    def named_tests(self, path, begin, end, least):
        """The tests that a part of a document names, and the text of that part."""
        with open(os.path.join(TESTS, path)) as f:
            text = f.read().split(begin)[1].split(end)[0]
        names = re.findall(r"`((?:unit/)?\w+):([\w.]+)`", text)
        self.assertGreater(len(names), least)
        return names, text

    def test_every_behaviour_names_its_tests(self):
        """The tests that BEHAVIOUR.md names exist."""
        self.check_names(self.named_tests("BEHAVIOUR.md", "## Options", "\0", 100)[0])

    def test_every_threat_names_its_tests(self):
        """The threat model names tests for each attacker, and they exist."""
        names, text = self.named_tests("../ARCHITECTURE.md", "## Threat model", "\n## ", 15)
        self.check_names(names)
        rows = [line for line in text.splitlines() if line.startswith("|")][2:]
        self.assertGreater(len(rows), 7)
        for row in rows:
            self.assertRegex(row.rsplit("|", 2)[1], r"`[\w/]+:\w+", row)
        for target in re.findall(r"`fuzz_(\w+)`", text):
            self.assertTrue(os.path.exists("%s/fuzz/fuzz_%s.c" % (TESTS, target)), target)
            self.assertTrue(os.listdir("%s/fuzz/corpus/%s" % (TESTS, target)), target)

    def check_names(self, names):
        for where, name in names:
            unit = where.startswith("unit/")
            path = "/unit/test_%s.c" % where[5:] if unit else "/integration/test_%s.py" % where
            with open(TESTS + path) as f:
                text = f.read()
            if unit:
                self.assertIn("static void %s(" % name, text, path)
                continue
            cls, _, method = name.partition(".")
            found = class_text(text, cls)
            self.assertTrue(found, "%s has no class %s" % (path, cls))
            for shared in re.findall(r"\bnetworks\.(\w+)", found.split(":")[0]):
                with open(TESTS + "/integration/rkit/networks.py") as f:
                    found += class_text(f.read(), shared)
            self.assertIn("def %s(" % method if method else "class ", found, path)

    def test_values_that_are_the_default(self):
        self.ok("--copy-up-mode=tmpfs+symlink", "--copy-up=/etc", "touch", "/etc/new")
        self.ok("--net=host", "--port-driver=none", "--subid-source=auto", "--reaper=auto", "--mtu=0",
                "--lxc-user-nic-bridge=lxcbr0", "true")

    @rkit.ours("options of our own, and of later versions")
    def test_options_of_the_builtin_driver(self):
        builtin = ["--net=none", "--port-driver=builtin", "--publish", "127.0.0.1:18080:80/tcp"]
        for value in ("true", "false"):
            self.ok(*builtin, "--source-ip-transparent=" + value, "true")
        got = self.ok(*builtin, "--dataplane-sandbox=false", "true")
        self.assertRegex(got.stderr, r"warning: --dataplane-sandbox=false")
        self.ok(*builtin, "--workers=1", "--udp-timeout=1m30s", "--dataplane=epoll", "true")

    @rkit.ours("other words")
    def test_warnings(self):
        for words, *args in (("unsupported mtu", "--mtu=1500"),
                             ("unsupported mtu", "--net=none", "--mtu=1500"),
                             ("--ipv6 is discarded", "--net=none", "--ipv6"),
                             ("--workers has no effect", "--workers=1")):
            with self.subTest(args):
                got = self.ok(*args, "echo", "RAN")
                self.assertEqual(got.stdout, "RAN\n")
                self.assertRegex(got.stderr, r"^\[rootlesskit:parent\] warning: " + words)
                self.assertEqual(len(got.stderr.splitlines()), 1)

    @rkit.ours("other words")
    def test_warning_for_root(self):
        self.world.subids("root", "root", SUBID)
        try:
            got = run(self.world.path["rootlesskit"], "true", uid=0)
        finally:
            self.world.subids("root", "root")
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertIn("running as the root user is not supported", got.stderr)


class Refusals(rkit.RkTestCase):
    """rootlesskit exits with 1 and prints one line, which has these words. tearDown() checks that nothing is
    left."""

    def refused(self, words, *args):
        got = rootlesskit(*args, "sh", "-c", "echo RAN")
        with self.subTest(args):
            self.assertEqual(got.returncode, 1, got.stderr)
            self.assertNotIn("RAN", got.stdout)
            if self.world.reference:
                return
            for word in words.split():
                self.assertIn(word, got.stderr)
            self.assertEqual(len(got.stderr.strip().splitlines()), 1, got.stderr)
            self.assertTrue(got.stderr.startswith("[rootlesskit:parent] error: "), got.stderr)

    def test_unknown_option(self):
        self.refused("nonsense", "--nonsense")
        self.refused("nonsense", "--nonsense=1")
        self.refused("q", "-q")

    def test_no_command(self):
        got = rootlesskit("--pidns")
        self.assertEqual(got.returncode, 1)
        self.assertIn("command", got.stderr)

    def test_bad_values(self):
        self.refused("carrier-pigeon", "--net=carrier-pigeon")
        self.refused("pigeon", *NET, "--port-driver=pigeon")
        self.refused("mtu", *NET, "--mtu=x")
        self.refused("65522", *NET, "--mtu=65522")
        self.refused("mtu", *NET, "--mtu=-1")
        self.refused("foo", *NET, "--cidr=foo")
        self.refused("10.0.2.1/24", *NET, "--cidr=10.0.2.1/24")
        self.refused("maybe", "--pidns", "--reaper=maybe")
        self.refused("maybe", *NET, "--slirp4netns-sandbox=maybe")
        self.refused("magic", "--copy-up=/etc", "--copy-up-mode=magic")
        self.refused("maybe", "--pidns=maybe")
        self.refused("magic", "--subid-source=magic")

    def test_bad_port_specs(self):
        for spec in ("nonsense", "127.0.0.1:0:80/tcp", "127.0.0.1:80:65536/tcp",
                     "127.0.0.1:8080:80/icmp", "127.0.0.1:8080/tcp", "127.0.0.1:x:80/tcp"):
            self.refused(spec.split(":")[0], *NET, "--port-driver=builtin", "-p", spec)

    def test_combinations(self):
        self.refused("port", "--port-driver=builtin")
        self.refused("port", "--net=host", "--port-driver=slirp4netns")
        self.refused("port", *NET, "-p", "127.0.0.1:8080:80/tcp")
        self.refused("cidr", "--cidr=10.0.2.0/24")
        self.refused("pidns", "--reaper=true")
        self.refused("cgroupns", "--evacuate-cgroup2=x")
        self.refused("ifname", "--ifname=tap1")

    @rkit.ours("since 2.0")
    def test_combinations_of_later_versions(self):
        self.refused("port", "--net=none", "--port-driver=slirp4netns")
        self.refused("copy-up rshared", "--propagation=rshared", "--copy-up=/etc")
        self.refused("copy-up shared", "--propagation=shared", "--copy-up=/etc")
        self.refused("sideways", "--propagation=sideways")
        self.refused("implicit", *NET, "--port-driver=implicit")
        self.refused("cidr", "--net=none", "--cidr=10.0.2.0/24")
        self.refused("ifname", "--net=none", "--ifname=tap1")
        self.refused("/", *NET, "--ifname=a/b")
        self.refused("sandbox", *NET, "--detach-netns", "--slirp4netns-sandbox=true")

    @rkit.ours("options of our own")
    def test_own_options(self):
        own = ["--net=none", "--port-driver=builtin"]
        self.refused("steam", *own, "--dataplane=steam")
        self.refused("workers", *own, "--workers=x")
        self.refused("udp-timeout", *own, "--udp-timeout=x")

    def test_a_long_command_line(self):
        """Only the kernel limits the length of a command line."""
        got = rootlesskit("sh", "-c", "echo $#", "sh", *["x" * 90] * 9000)
        self.assertEqual(got.stdout, "9000\n", got.stderr)


class ExitCodes(rkit.RkTestCase):
    def test_of_the_command(self):
        for extra in ([], ["--pidns"], ["--pidns", "--reaper=false"]):
            for code in (0, 1, 42, 255):
                with self.subTest(extra=extra, code=code):
                    got = rootlesskit(*extra, "sh", "-c", "exit %d" % code)
                    self.assertEqual(got.returncode, code, got.stderr)

    def test_killed_by_a_signal(self):
        for extra in ([], ["--pidns"]):
            got = rootlesskit(*extra, "sh", "-c", "kill -KILL $$")
            self.assertEqual(got.returncode, 255)
            self.assertIn("signal: killed", got.stderr)

    def test_cannot_be_run(self):
        for command in ("/nonexistent/command", "nonexistent-command", "/etc", "/etc/passwd"):
            with self.subTest(command):
                got = rootlesskit(command)
                self.assertEqual(got.returncode, 1)
                self.assertIn(command, got.stderr)
                self.assertTrue(got.stderr.startswith("[rootlesskit:child ] error: "), got.stderr)

    def test_debug_is_silent_on_stdout(self):
        got = rootlesskit("--debug", "echo", "only this")
        self.assertEqual((got.returncode, got.stdout), (0, "only this\n"))
        self.assertTrue(got.stderr)


class Ctl(rkit.RkTestCase):
    def test_usage_errors(self):
        ctl = self.world.path["rootlessctl"]
        got = run(ctl, "info")  # neither --socket nor $ROOTLESSKIT_STATE_DIR
        self.assertEqual(got.returncode, 1)
        self.assertIn("ROOTLESSKIT_STATE_DIR", got.stderr)
        got = run(ctl, "--socket", self.world.tmp + "/none.sock", "list-ports")
        self.assertEqual(got.returncode, 1)
        self.assertIn("none.sock", got.stderr)

    def test_help_and_version(self):
        ctl = self.world.path["rootlessctl"]
        for args in (["--help"], ["help"], ["-h"]):
            got = run(ctl, *args)
            self.assertEqual(got.returncode, 0)
            for word in ("list-ports", "add-ports", "remove-ports", "info"):
                self.assertIn(word, got.stdout)
        self.assertRegex(run(ctl, "--version").stdout, r"rootlessctl version \d+\.\d+\.\d+")


if __name__ == "__main__":
    rkit.main()
