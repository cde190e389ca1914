#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=gvisor-tap-vsock and the port driver of that name. The network builtin serves both, and looks to
clients of RootlessKit as they expect."""

import rkit
from rkit import networks
from rkit.launch import Rootlesskit, rootlesskit
from rkit.networks import ask, look, outside, probe, said
from rkit.peers import TcpServer, UdpServer, hello

NET = ["--net=gvisor-tap-vsock", "--copy-up=/etc"]
SAFE = NET + ["--disable-host-loopback"]
PORTS = SAFE + ["--port-driver=gvisor-tap-vsock"]
CHILD, GATEWAY = "10.0.2.100", "10.0.2.1"


@rkit.ours("since 3.0")
class Network(networks.Reaching, rkit.RkTestCase):
    options = SAFE
    detached = ["--net=gvisor-tap-vsock", "--detach-netns", "--disable-host-loopback"]

    gateway = GATEWAY

    def test_addresses(self):
        with outside():
            seen = look(*SAFE)
        for what in (r"tap0\s+inet 10\.0\.2\.100/24", "default via 10.0.2.1 dev tap0",
                     "nameserver 10.0.2.1\n", "mtu 65520",
                     "--net=gvisor-tap-vsock: served by the network builtin"):
            self.assertRegex(seen, what)

    def test_options(self):
        with outside():
            seen = look(*SAFE, "--mtu=1400", "--cidr=10.11.12.0/24", "--ifname=ether7", "--workers=1")
        for what in (r"ether7\s+inet 10\.11\.12\.100/24", "default via 10.11.12.1 dev ether7",
                     "nameserver 10.11.12.1\n", r"ether7.*: .*mtu 1400 "):
            self.assertRegex(seen, what)
        self.assertNotIn("no effect", seen)

    def test_the_gateway_also_is_the_name_server(self):
        """The gateway leads to the host's services, but its port 53 is the name server."""
        with outside(), UdpServer(port=8000), Rootlesskit(*NET) as rk:
            self.assertEqual(probe(rk, "udp", GATEWAY, "8000"), "question")
            self.assertEqual(probe(rk, "name", "any.example."), "192.0.2.77")

    def test_information(self):
        with Rootlesskit(*PORTS) as rk:
            info = rk.api("GET", "/v1/info")[1]
            outward = info["networkDriver"].pop("outward")
            self.assertEqual((outward["ipv6"], outward["hostLoopback"]), ("no", "no"))
            self.assertEqual(info["networkDriver"], {"driver": "gvisor-tap-vsock", "dns": [GATEWAY],
                                                     "childIP": CHILD})
            ports = info["portDriver"]
            self.assertEqual((ports["driver"], ports["protos"], ports["disallowLoopbackChildIP"]),
                             ("gvisor-tap-vsock", ["tcp", "tcp4", "udp", "udp4"], True))


@rkit.ours("since 3.0")
class Ports(rkit.RkTestCase):
    def test_port_driver_of_that_name(self):
        """A port without a child IP leads to the network's own address."""
        with Rootlesskit(*PORTS, "-p", "127.0.0.1:18080:80/tcp", "-p", "127.0.0.1:18053:53/udp") as rk, \
                TcpServer(hello("inside"), host=CHILD, netns=rk.netns()), \
                UdpServer(port=53, host=CHILD, netns=rk.netns()):
            rk.add(18081, 80, child_ip="::ffff:" + CHILD)
            for port in (18080, 18081):
                self.assertEqual(said("127.0.0.1", port), b"inside")
            self.assertEqual(ask("127.0.0.1", 18053), b"datagram")
            self.assertNotIn("childIP", rk.ports()[0]["spec"])

    def test_builtin(self):
        with Rootlesskit(*SAFE, "--port-driver=builtin", "-p", "127.0.0.1:18080:80/tcp") as rk, \
                TcpServer(hello("lo"), netns=rk.netns()):
            self.assertEqual(said("127.0.0.1", 18080), b"lo")

    def test_refused(self):
        for network in ("slirp4netns", "builtin", "none"):
            got = rootlesskit("--net=" + network, "--port-driver=gvisor-tap-vsock", "true")
            self.assertEqual(got.returncode, 1)
            self.assertIn("goes with --net=gvisor-tap-vsock, not with --net=" + network, got.stderr)


if __name__ == "__main__":
    rkit.main()
