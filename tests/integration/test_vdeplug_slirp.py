#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=vdeplug_slirp (deprecated), with packages vdeplug and libvdeplug-slirp."""

import contextlib
import glob
import os
import signal
import unittest

import rkit
from rkit import networks
from rkit.launch import Rootlesskit, rootlesskit, wait_for
from rkit.networks import look, outside, ping, probe, process_named
from rkit.world import world, write

SAFE = ["--net=vdeplug_slirp", "--copy-up=/etc", "--disable-host-loopback"]
DETACHED = ["--net=vdeplug_slirp", "--detach-netns", "--disable-host-loopback"]
PLUGIN = glob.glob("/usr/lib/*/vdeplug/libvdeplug_slirp.so")


@unittest.skipUnless(PLUGIN, "libvdeplug-slirp is not installed")
@rkit.needs("vde_plug", "nsenter", "tun")
class VdeplugCase(rkit.RkTestCase):
    def pids(self):
        return [process_named("vde_plug", word)[0] for word in ("slirp:///disable_host_loopback",
                                                                "tap://tap0")]


@rkit.ours("left out in 1.0")
class Outgoing(networks.Reaching, VdeplugCase):
    options, detached = SAFE, DETACHED

    size = 5_000_000

    def test_ping(self):
        with Rootlesskit(*SAFE) as rk:
            self.assertTrue(ping(rk, "10.0.2.2"))


@rkit.ours("left out in 1.0")
class Ports(networks.Publishing, VdeplugCase):
    options, child_ip = SAFE, "10.0.2.100"


@rkit.ours("left out in 1.0")
class Options(VdeplugCase):
    def test_defaults(self):
        seen = look(*SAFE)
        self.assertRegex(seen, r"tap0\s+inet 10\.0\.2\.100/24")
        self.assertIn("default via 10.0.2.2 dev tap0", seen)
        self.assertRegex(seen, r"tap0: <[^>]*UP.*mtu 1500 ")
        self.assertIn("nameserver 10.0.2.3", seen)
        self.assertIn("warning: --net=vdeplug_slirp is deprecated", seen)

    def test_ifname_and_mtu(self):
        seen = look(*SAFE, "--ifname=ether7", "--mtu=1500")
        self.assertRegex(seen, r"ether7\s+inet 10\.0\.2\.100/24")
        self.assertNotIn("tap0", seen)

    def test_information(self):
        with Rootlesskit(*SAFE) as rk:
            self.assertEqual(rk.api("GET", "/v1/info")[1]["networkDriver"],
                             {"driver": "vdeplug_slirp", "childIP": "10.0.2.100",
                              "dns": ["10.0.2.3"]})

    def test_another_mtu(self):
        """vdeplug_slirp itself keeps to 1,500, but the interface has the other MTU, and TCP works."""
        for mtu in (1400, 4000):
            with self.subTest(mtu), outside(), Rootlesskit(*SAFE, "--mtu=%d" % mtu) as rk:
                self.assertIn("mtu %d " % mtu, rk.nsenter("ip", "link", "show", "tap0").stdout)
                self.assertIn("warning: vdeplug_slirp itself keeps to an MTU of 1500: with --mtu=%d"
                              % mtu, rk.log())
                self.assertEqual(probe(rk, "tcp", "192.0.2.100", "80"), "question")

    def test_refused(self):
        got = rootlesskit(*SAFE, "--cidr=10.0.3.0/24", "true")
        self.assertEqual(got.returncode, 1)
        self.assertIn("cidr", got.stderr)


@rkit.ours("left out in 1.0")
class End(networks.Ending, VdeplugCase):
    options, detached = SAFE, DETACHED

    def test_that_of_either_is_noticed(self):
        for which in (0, 1):
            with Rootlesskit(*SAFE) as rk:
                os.kill(self.pids()[which], signal.SIGKILL)
                wait_for("a word about it", lambda: "ended (signal: killed)" in rk.log())
                self.assertEqual(rk.log().count("lost its network"), 1)
                self.assertIsNone(rk.proc.poll())


# A stand-in for vde_plug of which only the second process fails: its arguments have tap://. Failures of the
# first one are in test_driver_faults.py.
SECOND = 'case "$*" in *tap://*) %s;; esac\nexec /usr/bin/vde_plug "$@"'


@rkit.ours("left out in 1.0")
class Failures(networks.NeedingTun, VdeplugCase):
    options, warnings = SAFE, 1  # the warning says that the driver is deprecated

    @contextlib.contextmanager
    def vde_plug(self, script):
        path = write(world().bin + "/vde_plug", "#!/bin/sh\n%s\n" % script, 0o755)
        try:
            yield
        finally:
            os.unlink(path)

    def test_exits_at_once(self):
        with self.vde_plug(SECOND % "echo the moon is down >&2; exit 3"):
            self.fails(r"vde_plug tap:// ended \(exit status 3\): the moon is down")

    def test_hangs(self):
        with self.vde_plug(SECOND % "exec sleep 1000"):
            self.fails("the gateway does not answer after 10000 ms")

    def test_a_long_state_directory(self):
        self.fails_in_a_long_directory("vdeplug-ptp.sock")


if __name__ == "__main__":
    rkit.main()
