#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=vpnkit. Debian has no VPNKit, so tests/peers/vpnkit_peer.c speaks its protocol, on top of libslirp.
With a real vpnkit in PATH the tests run with that, too."""

import os
import shutil
import signal
import unittest

import rkit
from rkit import networks
from rkit.launch import LOCKED_DOWN, Rootlesskit, restrictions, rootlesskit, wait_for
from rkit.networks import PEER, fake, gone, look, outside, ping, probe, process_named
from rkit.world import world

REAL = shutil.which("vpnkit")
NET = ["--net=vpnkit", "--copy-up=/etc"]
SAFE = NET + ["--disable-host-loopback"]
DETACHED = ["--net=vpnkit", "--detach-netns", "--disable-host-loopback"]


@unittest.skipUnless(PEER or REAL, "built without libslirp, and no vpnkit in PATH")
@rkit.needs("tun")
class VpnkitCase(rkit.RkTestCase):
    peer = PEER

    def setUp(self):
        super().setUp()
        if self.peer:
            self.enterContext(networks.vpnkit_stand_in())


@rkit.ours("not in the package of Debian")
class Outgoing(networks.Reaching, VpnkitCase):
    options, detached, gateway, size = SAFE, DETACHED, "192.168.65.2", 50_000_000

    def test_ping(self):
        with Rootlesskit(*self.options) as rk:
            self.assertTrue(ping(rk, "192.168.65.1"))


@rkit.ours("not in the package of Debian")
class Ports(networks.Publishing, VpnkitCase):
    options, child_ip = SAFE, "192.168.65.3"


@rkit.ours("not in the package of Debian")
class Options(VpnkitCase):
    def test_defaults(self):
        seen = look(*SAFE)
        self.assertRegex(seen, r"tap0\s+inet 192\.168\.65\.\d+/24")
        self.assertIn("default via 192.168.65.1 dev tap0", seen)
        self.assertRegex(seen, r"tap0: <[^>]*UP.*mtu 1500 .*link/ether 02:50:00:00:00:01")
        self.assertIn("nameserver 192.168.65.1", seen)
        self.assertNotIn("warning", seen)

    def test_mtu_ifname(self):
        seen = look(*SAFE, "--mtu=4000", "--ifname=ether7")
        self.assertRegex(seen, r"ether7: .*mtu 4000 ")
        self.assertIn("warning: vpnkit is known to have issues with an MTU other than 1500", seen)
        self.assertNotIn("tap0", seen)

    def test_command_line(self):
        for options, forbidden in ((NET, False), (SAFE, True)):
            with Rootlesskit(*options) as rk:
                words = process_named("vpnkit")[1][1:]
                want = ["--ethernet", rk.state + "/vpnkit-ethernet.sock", "--mtu", "1500"]
                self.assertEqual(words, want + ["--host-ip", "0.0.0.0"] * forbidden)

    def test_information(self):
        with Rootlesskit(*SAFE) as rk:
            driver = rk.api("GET", "/v1/info")[1]["networkDriver"]
            self.assertRegex(driver.pop("childIP"), r"^192\.168\.65\.\d+$")
            self.assertEqual(driver, {"driver": "vpnkit", "dns": ["192.168.65.1"]})

    def test_refused(self):
        got = rootlesskit(*SAFE, "--cidr=10.0.2.0/24", "true")
        self.assertEqual(got.returncode, 1)
        self.assertIn("cidr", got.stderr)

    def test_the_relay_is_locked_down(self):
        with Rootlesskit(*SAFE):
            self.assertEqual(restrictions(process_named("rootlesskit", "vpnkit-relay")[0]), LOCKED_DOWN)


@rkit.ours("not in the package of Debian")
class End(networks.Ending, VpnkitCase):
    options, detached = SAFE, DETACHED

    def pids(self):
        return [process_named("vpnkit")[0], process_named("rootlesskit", "vpnkit-relay")[0]]

    def test_its_own_is_noticed(self):
        with Rootlesskit(*self.options) as rk:
            relay = self.pids()[1]
            os.kill(self.pids()[0], signal.SIGKILL)
            wait_for("a word about it", lambda: "vpnkit ended (signal: killed)" in rk.log())
            self.assertEqual(rk.log().count("lost its network"), 1)
            gone(relay)
            self.assertIsNone(rk.proc.poll())

    def test_not_by_a_key_of_the_terminal(self):
        ignores = ("python3", "-c", "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)"
                   "; print(flush=True); time.sleep(1000)")
        with outside(), Rootlesskit(*self.options, command=ignores, start_new_session=True) as rk:
            wait_for("the command", rk.out)
            os.killpg(rk.pid, signal.SIGINT)
            self.assertEqual(probe(rk, "tcp", "192.0.2.100", "80"), "question")
            self.assertNotIn("lost its network", rk.log())

    def test_with_a_wrapper(self):
        """vpnkit ends with rootlesskit also when a script has started it without exec."""
        with fake("vpnkit", '%s "$@"; exit' % (self.peer and "vpnkit" or REAL)) as path:
            with Rootlesskit(*self.options, "--vpnkit-binary=" + path) as rk:
                pid = process_named("vpnkit")[0]
                rk.stop()
                gone(pid)

    def test_that_of_the_relay_is_noticed(self):
        with Rootlesskit(*self.options) as rk:
            os.kill(self.pids()[1], signal.SIGKILL)
            wait_for("a word about it", lambda: "lost its network" in rk.log())
            self.assertRegex(rk.log(), "vpnkit.* ended")
            self.assertIsNone(rk.proc.poll())

    def test_without_its_device(self):
        with Rootlesskit(*self.options) as rk:
            rk.nsenter("ip", "link", "del", "tap0")
            wait_for("a word about it", lambda: "the tap device is gone" in rk.log())
            self.assertIsNone(rk.proc.poll())


@unittest.skipUnless(PEER, "built without libslirp")
@rkit.ours("not in the package of Debian")
class Failures(networks.NeedingTun, VpnkitCase):
    options = SAFE

    def fails_by(self, fault, say):
        self.fails(say, VPNKIT_PEER_FAULT=fault)

    def test_hangs(self):
        self.fails_by("hang", "VPNKit does not answer to the greeting")

    def test_gives_no_address(self):
        self.fails_by("no-dhcp", "VPNKit does not answer to DHCP")

    def test_something_else_answers(self):
        self.fails_by("bad-magic", "does not speak VPNKit's protocol")
        self.fails_by("garbage", "does not speak VPNKit's protocol")

    def test_refuses(self):
        self.fails_by("refuse", r"VPNKit refused: no\?vacancy!")

    def test_a_bad_address(self):
        self.fails_by("bad-mac", "MAC address that no interface can have")

    def test_dies_in_between(self):
        self.fails_by("close", r"vpnkit ended \(exit status 6\)")
        self.fails_by("die-on-dhcp", r"vpnkit ended \(exit status 7\): no addresses today")

    def test_a_long_state_directory(self):
        self.fails_in_a_long_directory("vpnkit-ethernet.sock")

    def test_interrupted(self):
        rk = Rootlesskit(*SAFE, env=world().environ(VPNKIT_PEER_FAULT="hang"))
        wait_for("vpnkit", lambda: os.path.exists(rk.state + "/vpnkit-ethernet.sock"))
        rk.proc.send_signal(signal.SIGTERM)
        self.assertEqual(rk.wait(), -signal.SIGTERM)
        self.assertIn("interrupted", rk.log())


if REAL:
    class Real:
        """The same tests with the vpnkit that is in PATH."""

        peer = None
        options = SAFE + ["--vpnkit-binary=" + REAL]
        detached = DETACHED + ["--vpnkit-binary=" + REAL]

    class RealOutgoing(Real, Outgoing):
        pass

    class RealPorts(Real, Ports):
        pass

    class RealEnd(Real, End):
        pass


if __name__ == "__main__":
    rkit.main()
