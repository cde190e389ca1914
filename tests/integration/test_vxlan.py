#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An overlay network between hosts, as Usernetes has it. Two network namespaces that a veth pair joins play
the hosts. On each, an ordinary user runs rootlesskit with UDP port 8472 published. VXLAN between the two
child namespaces goes out through slirp4netns or the network builtin, and comes in through the published
port."""

import contextlib
import os
import signal

import rkit
from rkit import net
from rkit.launch import Rootlesskit, find_role, popen, wait_for
from rkit.networks import ask_over
from rkit.peers import (TcpServer, UdpServer, background, echo, payload_hash, receive,
                        send_payload)
from rkit.world import UID, sh

PORT = 8472
HOSTS = {"a": "192.0.2.1", "b": "192.0.2.2"}
PODS = {"a": "10.42.0", "b": "10.42.1"}
MACS = {"a": "02:00:00:00:00:0a", "b": "02:00:00:00:00:0b"}
OPTIONS = ["--disable-host-loopback", "--copy-up=/etc", "--copy-up=/run", "--pidns",
           "--port-driver=builtin"]


# VXLAN (RFC 7348) in user space: a tap device "vx" and a UDP socket. The argument is the other host.
USER_SPACE = r"""
import fcntl, os, select, socket, struct, sys
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454ca, 2, 0x1000
HEADER = struct.pack(">II", 0x08000000, 7 << 8)
tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH", b"vx", IFF_TAP | IFF_NO_PI))
wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
wire.bind(("0.0.0.0", 8472))
while True:
    ready = select.select([tap, wire], [], [])[0]
    if tap in ready:
        frame = os.read(tap, 2000)
        wire.sendto(HEADER + frame, (sys.argv[1], 8472))
    if wire in ready:
        packet = wire.recv(2000)
        if packet[:8] == HEADER:
            try:
                os.write(tap, packet[8:])
            except OSError:
                pass  # the device is not up yet
"""


# ETHTOOL_GTSO: whether an interface has TCP segmentation offload.
SEGMENTATION = r"""
import array, fcntl, socket, struct, sys
value = array.array("I", [0x1e, 0])
name = sys.argv[1].encode()
fcntl.ioctl(socket.socket(), 0x8946, struct.pack("16sP", name, value.buffer_info()[0]) + bytes(16))
print(value[1])
"""


def other(name):
    return "b" if name == "a" else "a"


@contextlib.contextmanager
def two_hosts():
    """Namespaces host-a and host-b, joined by a veth pair."""
    names = ["host-" + n for n in HOSTS]
    for name in names:
        sh("ip", "netns", "add", name)
    try:
        sh("ip", "-n", names[0], "link", "add", "eth0", "type", "veth", "peer", "name", "eth0",
           "netns", names[1])
        for n, ip in HOSTS.items():
            sh("ip", "-n", "host-" + n, "addr", "add", ip + "/24", "dev", "eth0")
            for dev in ("lo", "eth0"):
                sh("ip", "-n", "host-" + n, "link", "set", dev, "up")
        yield
    finally:
        for name in names:
            sh("ip", "netns", "del", name)


def on_host(name):
    """Arguments for Rootlesskit that start it as the ordinary user on that host."""
    return {"uid": 0, "before": ["nsenter", "--net=/run/netns/host-" + name, "setpriv",
                                 "--reuid=%d" % UID, "--regid=%d" % UID, "--clear-groups"]}


class Nodes:
    network = None

    @contextlib.contextmanager
    def nodes(self, *args):
        """A rootlesskit on each host. The port is published after the start, as by Usernetes."""
        with two_hosts(), contextlib.ExitStack() as stack:
            rks = {n: stack.enter_context(Rootlesskit("--net=" + self.network, *OPTIONS, *args, **on_host(n)))
                   for n in HOSTS}
            for rk in rks.values():
                got = rk.ctl("add-ports", "0.0.0.0:%d:%d/udp" % (PORT, PORT))
                self.assertEqual(got.stdout, "1\n", got.stderr)
            yield rks

    def ip(self, rk, *words):
        got = rk.nsenter("ip", *words)
        if "type" in words and ("Unknown device type" in got.stderr
                                or "not supported" in got.stderr):
            self.skipTest("the machine's kernel has no VXLAN")
        self.assertEqual(got.returncode, 0, "ip %s: %s" % (" ".join(words), got.stderr))

    def tunnel(self, rks, *more):
        """Makes one VXLAN segment. It does not learn addresses, since all packets come from 127.0.0.1."""
        for n, rk in rks.items():
            self.ip(rk, "link", "add", "vx", "type", "vxlan", "id", "7", "dstport", str(PORT),
                    "remote", HOSTS[other(n)], "nolearning", *more)
            self.ip(rk, "link", "set", "vx", "mtu", "1450", "up")
            self.ip(rk, "addr", "add", PODS[n] + ".1/16", "dev", "vx")

    def flannel(self, rks):
        """Makes what flannel makes: a segment for the nodes, with routes and neighbours that are known."""
        for n, rk in rks.items():
            self.ip(rk, "link", "add", "flannel.1", "address", MACS[n], "type", "vxlan", "id", "1",
                    "dstport", str(PORT), "nolearning")
            self.ip(rk, "link", "set", "flannel.1", "mtu", "1450", "up")
            self.ip(rk, "addr", "add", PODS[n] + ".0/32", "dev", "flannel.1")
            self.ip(rk, "addr", "add", PODS[n] + ".1/24", "dev", "lo")  # the address of a pod
            peer = other(n)
            self.ip(rk, "neigh", "add", PODS[peer] + ".0", "lladdr", MACS[peer], "dev",
                    "flannel.1")
            self.ip(rk, "route", "add", PODS[peer] + ".0/24", "via", PODS[peer] + ".0", "dev",
                    "flannel.1", "onlink")
            got = rk.nsenter("bridge", "fdb", "add", MACS[peer], "dev", "flannel.1", "dst",
                             HOSTS[peer])
            self.assertEqual(got.returncode, 0, got.stderr)

    def ping(self, rks):
        for n, rk in rks.items():
            wait_for("an answer", lambda: rk.nsenter("ping", "-c", "1", "-W", "2", PODS[other(n)]
                                                     + ".1").returncode == 0)
            got = rk.nsenter("ping", "-c", "3", "-i", "0.2", "-W", "10", PODS[other(n)] + ".1")
            self.assertIn("3 received", got.stdout, got.stderr)

    def tcp(self, rks, size=8_000_000):
        """Connects from each host to the other, and sends payload both ways at once."""
        for n, rk in rks.items():
            host = PODS[other(n)] + ".1"
            with TcpServer(echo, host=host, netns=rks[other(n)].netns()):
                with net.connect(host, 80, netns=rk.netns()) as c:
                    job = background(send_payload, c, size)
                    self.assertEqual(receive(c, size), (size, payload_hash(size)))
                    job.result()

    def udp(self, rks):
        host = PODS["b"] + ".1"
        with UdpServer(host=host, netns=rks["b"].netns()):
            for size in (1, 1400, 4000):
                with net.udp_client(host, 53, netns=rks["a"].netns(), timeout=2) as c:
                    self.assertEqual(ask_over(c, b"x" * size), b"x" * size)

    def assertForwarded(self, rks, size):
        """More than size bytes have come in through each host's published port, and none went out by it."""
        for rk in rks.values():
            port = rk.api("GET", "/v1/stats")[1]["ports"][0]
            self.assertGreater(port["bytesIn"], size, port)
            self.assertEqual(port["datagramsOut"], 0, port)

    @rkit.ours("has one back end and no counters")
    def test_a_segment_between_the_children(self):
        for backend in rkit.backends():
            with self.subTest(backend), self.nodes("--dataplane=" + backend) as rks:
                self.tunnel(rks)
                self.ping(rks)
                self.tcp(rks)
                self.udp(rks)
                self.assertForwarded(rks, 16_000_000)

    def test_as_flannel_has_it(self):
        with self.nodes() as rks:
            self.flannel(rks)
            self.ping(rks)
            self.tcp(rks)
            self.udp(rks)

    @rkit.ours("has no data plane that could be started again")
    def test_a_data_plane_that_dies_is_not_missed(self):
        with self.nodes() as rks:
            self.tunnel(rks)
            self.ping(rks)
            for rk in rks.values():
                os.kill(find_role(rk.pid, "dataplane"), signal.SIGKILL)
            for rk in rks.values():
                wait_for("a new one", lambda: "starting it again" in rk.log())
            self.ping(rks)
            self.tcp(rks, 1_000_000)

    @rkit.needs("tun")
    @rkit.ours("has no counters")
    def test_without_the_kernels_vxlan(self):
        """The same in user space, for machines whose kernel has no VXLAN."""
        with self.nodes() as rks, contextlib.ExitStack() as stack:
            for n, rk in rks.items():
                job = popen(["nsenter", "-U", "--preserve-credentials", "-n", "-m", "-t",
                             str(rk.child_pid), "python3", "-c", USER_SPACE, HOSTS[other(n)]])
                stack.callback(job.wait)
                stack.callback(job.kill)
                wait_for("the device", lambda: rk.nsenter("ip", "link", "set", "vx", "mtu", "1450",
                                                          "up").returncode == 0)
                self.ip(rk, "addr", "add", PODS[n] + ".1/16", "dev", "vx")
            self.ping(rks)
            self.tcp(rks, 1_000_000)
            self.udp(rks)
            self.assertForwarded(rks, 2_000_000)


@rkit.needs("slirp4netns", "tun")
class Vxlan(Nodes, rkit.RkTestCase):
    network = "slirp4netns"


@rkit.ours("has no --net=builtin")
class VxlanByBuiltin(Nodes, rkit.RkTestCase):
    """The network builtin has no network card that would fill in the checksums of packets in a tunnel."""

    network = "builtin"

    def test_a_tunnel_with_a_checksum_of_its_own(self):
        """The outer packet has a checksum (udpcsum), while the inner one's may still have to be filled in."""
        with self.nodes() as rks:
            self.tunnel(rks, "udpcsum")
            self.ping(rks)
            self.tcp(rks)
            self.udp(rks)

    def test_tcp_without_a_tunnel_keeps_its_segmentation(self):
        with Rootlesskit("--net=builtin") as rk:
            got = rk.nsenter("python3", "-c", SEGMENTATION, "eth0")
            self.assertEqual(got.stdout, "1\n", got.stderr)


if __name__ == "__main__":
    rkit.main()
