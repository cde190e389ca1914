#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every network with every port driver that goes with it: what gets through in each direction.

The results must be those of SEEN. With RINGKIT_MATRIX=FILE they are also written there as JSON, of which
tools/matrix.py makes the table in README.md."""

import contextlib
import json
import os
import unittest

import rkit
from rkit import lxc, net, pesto
from rkit.launch import Rootlesskit, rootlesskit, wait_for
from rkit.networks import PEER, missing, pasta_is_of_2024, probe, surroundings
from rkit.peers import TcpServer, UdpServer, echo
from rkit.world import world

SAFE = ["--copy-up=/etc", "--disable-host-loopback"]
NETWORKS = ["builtin", "none", "slirp4netns", "pasta", "vpnkit", "lxc-user-nic", "vdeplug_slirp",
            "gvisor-tap-vsock"]
PORT_DRIVERS = ["builtin", "slirp4netns", "socat", "implicit", "pesto", "gvisor-tap-vsock"]
WAYS = ["tcp", "udp", "names", "ping"]

# For each network: what gets out, and what each port driver brings in, TCP ("t") and UDP ("u"). "detached"
# means that TCP and UDP get out with --detach-netns. A port driver that is not listed is refused.
OUT = {"tcp", "udp", "names", "ping", "detached"}
SEEN = {
    "none": (set(), {"builtin": "tu"}),
    "builtin": (OUT, {"builtin": "tu", "socat": "tu", "implicit": "tu"}),
    # UDP replies of the port driver slirp4netns need the host's loopback, which is forbidden here.
    "slirp4netns": (OUT, {"builtin": "tu", "slirp4netns": "t", "socat": "tu"}),
    "pasta": (OUT, {"implicit": "tu", "pesto": "tu"}),
    "vpnkit": (OUT, {"builtin": "tu", "socat": "tu"}),
    "lxc-user-nic": (OUT, {"builtin": "tu", "socat": "tu"}),
    "vdeplug_slirp": (OUT, {"builtin": "tu", "socat": "tu"}),
    "gvisor-tap-vsock": (OUT, {"builtin": "tu", "socat": "tu", "gvisor-tap-vsock": "tu"}),
}
# pasta of March 2023 opens only the UDP ports on which somebody listens when it starts.
SEEN_OLD_PASTA = {"implicit": "t", "pesto": "tu"}


def out(rk, netns=None):
    """The ways out that work."""
    ways = set()
    if probe(rk, "tcp", "192.0.2.100", "80", "10", netns=netns) == "question":
        ways.add("tcp")
    if probe(rk, "udp", "192.0.2.100", "7", netns=netns) == "question":
        ways.add("udp")
    if netns:
        return {"detached"} if ways == {"tcp", "udp"} else set()
    if probe(rk, "name", "any.example") == "192.0.2.77":
        ways.add("names")
    if rk.nsenter("ping", "-c", "1", "-W", "5", "192.0.2.100").returncode == 0:
        ways.add("ping")
    return ways


def tcp_comes_in(port):
    try:
        with net.connect("127.0.0.1", port, timeout=5) as c:
            c.sendall(b"question")
            return c.recv(20) == b"question"
    except OSError:
        return False


def udp_comes_in(port):
    with net.udp_client("127.0.0.1", port, timeout=1) as c:
        try:
            c.send(b"question")
            return c.recv(20) == b"question"
        except OSError:
            return False


def tries(way, port, deadline_s):
    try:
        return bool(wait_for("port", lambda: way(port), deadline_s))
    except AssertionError:
        return False


def comes_in(rk, driver, want, netns):
    """What gets in to servers in this namespace: "t", "u", both or neither. Only what is expected is waited
    for."""
    info = rk.api("GET", "/v1/info")[1]["networkDriver"]
    child_ip = info.get("childIP") if driver == "slirp4netns" else None
    inside, ports = 80, {"tcp": 18080, "udp": 18080}
    if driver == "implicit":
        inside, ports = 8080, {"tcp": 8080, "udp": 8080}
    else:
        for proto, port in ports.items():
            rk.add(port, inside, proto if driver != "slirp4netns" else proto + "4",
                   child_ip=child_ip)
    with TcpServer(echo, port=inside, host="0.0.0.0", netns=netns), \
            UdpServer(port=inside, host="0.0.0.0", netns=netns):
        got = ""
        for letter, way, proto in (("t", tcp_comes_in, "tcp"), ("u", udp_comes_in, "udp")):
            if tries(way, ports[proto], 30 if letter in want else 1):
                got += letter
    return got


def stand_ins(network):
    """The networks and port drivers that were tried with a stand-in for the program."""
    if network == "pasta" and pesto.missing():
        return ["pesto"]
    return ["vpnkit"] if network == "vpnkit" and PEER else []


def environment(driver):
    return pesto.environment() if driver == "pesto" else contextlib.nullcontext()


class Matrix(rkit.RkTestCase):
    seen = {}

    @classmethod
    def setUpClass(cls):
        if world().reference:
            raise unittest.SkipTest("reference: it has not all of them")
        lxc.prepare() if not lxc.unusable() else None
        with open("/proc/sys/net/ipv4/ping_group_range", "w") as f:
            f.write("0 65535")

    @classmethod
    def tearDownClass(cls):
        path = os.environ.get("RINGKIT_MATRIX")
        if path:
            with open(path, "w") as f:
                json.dump(cls.seen, f, indent=2, sort_keys=True)
                f.write("\n")

    def comes_in(self, network, driver, want, env):
        options = ["--net=" + network, "--port-driver=" + driver]
        with Rootlesskit(*options, *SAFE, env=env) as rk:
            ports = comes_in(rk, driver, want, rk.netns())
        # A detached namespace must be the same, since the table has no row for it.
        with Rootlesskit(*options, "--detach-netns", *SAFE[1:], env=env) as rk:
            got = comes_in(rk, driver, want, "/proc/%d/root%s/netns" % (rk.child_pid, rk.state))
            self.assertEqual(got, ports, driver + " with --detach-netns")
        return ports

    def assertRefused(self, network, driver, env):
        got = rootlesskit("--net=" + network, "--port-driver=" + driver, *SAFE, "true", env=env)
        self.assertEqual(got.returncode, 1, "%s is not refused" % driver)
        self.assertRegex(got.stderr, "goes with|requires .* network")

    def look(self, network):
        why = missing(network)
        if why:
            self.skipTest(why)
        expect_out, expect_in = SEEN[network]
        if network == "pasta" and not pasta_is_of_2024():
            expect_in = SEEN_OLD_PASTA
        ways, ports = set(), {}
        with surroundings(network):
            with Rootlesskit("--net=" + network, *SAFE) as rk:
                ways = out(rk) if network != "none" else set()
            if network != "none":
                with Rootlesskit("--net=" + network, "--detach-netns", *SAFE[1:]) as rk:
                    ways |= out(rk, rk.state + "/netns")
            for driver in PORT_DRIVERS:
                with environment(driver) as env:
                    if driver in expect_in:
                        ports[driver] = self.comes_in(network, driver, expect_in[driver], env)
                    else:
                        self.assertRefused(network, driver, env)
        self.seen[network] = {"out": sorted(ways), "in": ports,
                              "stand_ins": stand_ins(network)}
        self.assertEqual((ways, ports), (expect_out, expect_in))


def _add(network):
    def test(self):
        self.look(network)
    setattr(Matrix, "test_" + network.replace("-", "_"), test)


for _network in NETWORKS:
    _add(_network)

if __name__ == "__main__":
    rkit.main()
