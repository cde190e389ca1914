#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""childListenIP: the data plane serves a port inside the namespace as well."""

import os
import signal
import socket

import rkit
from rkit import net
from rkit.container import BRIDGE4, BRIDGE6, Container
from rkit.launch import ApiError, Rootlesskit, find_role, wait_for
from rkit.peers import TcpServer, UdpServer, background, echo, payload_hash, receive, send_payload
from rkit.ports import PortTestCase, both_backends

OURS = "has no childListenIP"


def spec(proto="tcp4", parent_ip="0.0.0.0", port=18080, child_ip="172.31.0.2", child_port=80,
         inside="0.0.0.0"):
    return {"proto": proto, "parentIP": parent_ip, "parentPort": port, "childPort": child_port,
            "childIP": child_ip, "childListenIP": inside}


@rkit.needs("unshare", "nsenter", "ip")
@both_backends
class Inside(PortTestCase):
    not_reference = OURS
    may_die = True
    workers = 2

    def publish(self, **kw):
        status, answer = self.rk.api("POST", "/v1/ports", spec(**kw))
        if status != 201:
            raise ApiError(status, answer["message"])
        self.assertEqual(answer["spec"], spec(**kw))
        return answer["id"]

    def assertTcp(self, host, port, netns=None, size=300_000):
        with net.connect(host, port, netns=netns, timeout=20) as c:
            back = background(receive, c, size)
            send_payload(c, size)
            self.assertEqual(back.result(), (size, payload_hash(size)))

    def assertUdp(self, host, port, netns=None):
        with net.udp_client(host, port, netns=netns, timeout=20) as c:
            for word in b"one", b"two", b"x" * 5000:
                c.send(word)
                self.assertEqual(c.recv(10_000), word)

    def test_tcp(self):
        """Clients are on the host, in the namespace (by loopback and by the bridge), and in containers."""
        with Container(self.rk) as a, Container(self.rk, 3) as b, \
                TcpServer(echo, netns=a.netns, host="0.0.0.0") as server, \
                TcpServer(echo, netns=a.netns, host="::") as server6:
            ids = [self.publish(), self.publish(proto="tcp6", parent_ip="::", inside="::",
                                                child_ip="fd00:31::2")]
            for host, netns in (("127.0.0.1", None), ("127.0.0.1", self.ns), (BRIDGE4, self.ns),
                                (BRIDGE4, b.netns), (BRIDGE4, a.netns), ("::1", None),
                                ("::1", self.ns), (BRIDGE6, self.ns), (BRIDGE6, b.netns)):
                with self.subTest(host=host, netns=netns):
                    for _ in range(4):  # enough connections for each worker to get some
                        self.assertTcp(host, 18080, netns)
            self.assertEqual(len(server.jobs), 20)
            self.assertEqual(len(server6.jobs), 16)
            self.assertEqual([p["spec"]["childListenIP"] for p in self.rk.ports()],
                             ["0.0.0.0", "::"])
            stats = self.rk.api("GET", "/v1/stats")[1]
            self.assertEqual([p["opened"] for p in stats["ports"]], [20, 16])
            for port in ids:
                self.rk.remove(port)
            for host in "127.0.0.1", "::1":
                with self.assertRaises(ConnectionRefusedError):
                    net.connect(host, 18080, netns=self.ns)
                net.bound(socket.SOCK_STREAM, host, 18080, netns=self.ns).close()

    def test_udp(self):
        """Answers come from the address that was asked."""
        with Container(self.rk) as a, Container(self.rk, 3) as b, \
                UdpServer(netns=a.netns, host="0.0.0.0"), UdpServer(netns=a.netns, host="::"):
            self.publish(proto="udp4", child_port=53)
            self.publish(proto="udp6", parent_ip="::", inside="::", child_ip="fd00:31::2",
                         child_port=53)
            for host, netns in (("127.0.0.1", None), ("127.0.0.1", self.ns), (BRIDGE4, self.ns),
                                (BRIDGE4, b.netns), ("::1", None), ("::1", self.ns),
                                (BRIDGE6, b.netns)):
                with self.subTest(host=host, netns=netns):
                    self.assertUdp(host, 18080, netns)

    def test_many_at_once(self):
        """More ports at once than requests fit into the channel to the broker."""
        def publish(first):
            return self.rk.api("POST", "/v1/ports/batch",
                               [spec(port=p) for p in range(first, first + 250)])
        jobs = [background(publish, first) for first in range(20000, 22000, 250)]
        for job in jobs:
            status, ports = job.result()
            self.assertEqual(status, 201, ports)
            self.assertEqual(len(ports), 250)
        with Container(self.rk) as a, TcpServer(echo, netns=a.netns, host="0.0.0.0"):
            for port in 20000, 20777, 21999:
                self.assertTcp("127.0.0.1", port, self.ns)

    def test_families_mixed(self):
        """Docker publishes [::] for a container without IPv6, too."""
        with Container(self.rk) as a, TcpServer(echo, netns=a.netns, host="0.0.0.0"):
            self.publish(proto="tcp6", parent_ip="::", inside="::")
            self.assertTcp("::1", 18080)
            self.assertTcp("::1", 18080, self.ns)
            with self.assertRaises(ConnectionRefusedError):
                net.connect("127.0.0.1", 18080, netns=self.ns)

    def test_privileged_inside(self):
        """The broker may bind a port below 1024 in the namespace, whatever the host's limit is."""
        before = open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read()
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w") as f:
            f.write("80")
        try:
            with Container(self.rk) as a, TcpServer(echo, netns=a.netns, host="0.0.0.0"):
                self.publish(port=81)
                self.assertTcp("127.0.0.1", 81, self.ns)
                self.assertTcp("127.0.0.1", 81)
        finally:
            with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w") as f:
                f.write(before)

    def test_taken_inside(self):
        with net.bound(socket.SOCK_STREAM, "127.0.0.1", 18080, netns=self.ns):
            with self.assertRaisesRegex(ApiError, "cannot listen in the namespace: tcp4 0.0.0.0, "
                                        "port 18080: Address already in use"):
                self.publish()
        self.assertEqual(self.rk.ports(), [])
        net.bound(socket.SOCK_STREAM, "0.0.0.0", 18080).close()
        self.publish()

    def test_address_the_namespace_lacks(self):
        with net.neighbour("client"), Container(self.rk) as a, \
                TcpServer(echo, netns=a.netns, host="0.0.0.0"):
            self.publish(parent_ip="192.0.2.2", inside="192.0.2.2")
            self.assertTcp("192.0.2.2", 18080)

    def test_nonsense(self):
        for inside, why in (("localhost", 'invalid ChildListenIP: "localhost"'),
                            ("::1", "ChildListenIP ::1 does not suit tcp4"),
                            (7, "Spec.childListenIP of type string")):
            with self.assertRaisesRegex(ApiError, why):
                self.publish(inside=inside)
        self.assertEqual(self.rk.ports(), [])

    def test_ordinary_ports_do_not_show_it(self):
        self.rk.add(18080, 80)
        self.assertNotIn("childListenIP", str(self.rk.ports()))
        with self.assertRaises(ConnectionRefusedError):
            net.connect("127.0.0.1", 18080, netns=self.ns)

    def test_info_tells(self):
        cookie = net.in_netns(self.ns, lambda: socket.socket().getsockopt(
            socket.SOL_SOCKET, 71, 8))
        self.assertEqual(self.rk.api("GET", "/v1/info")[1]["portDriver"]["netnsCookie"],
                         int.from_bytes(cookie, "little"))

    def test_deaths(self):
        """The socket inside outlives a death of the data plane or the broker. A request that comes meanwhile
        waits for the next one."""
        def works():
            try:
                self.assertTcp("127.0.0.1", 18080, self.ns)
                return True
            except (OSError, EOFError, AssertionError):
                return False
        with Container(self.rk) as a, TcpServer(echo, netns=a.netns, host="0.0.0.0"):
            self.publish()
            # Each round has another port, since sockets of a killed data plane stay for a moment.
            for number, role in enumerate(("dataplane", "broker", "dataplane", "broker"), 18081):
                os.kill(wait_for(role, lambda r=role: find_role(self.rk.pid, r)), signal.SIGKILL)
                port = self.publish(port=number)
                self.assertTcp("127.0.0.1", number, self.ns)
                self.rk.remove(port)
                wait_for("a connection after the death of the " + role, works)


@rkit.ours(OURS)
class Others(rkit.RkTestCase):
    @rkit.needs("slirp4netns", "tun", "socat")
    def test_drivers_that_have_none(self):
        for driver in "slirp4netns", "socat":
            with Rootlesskit("--net=slirp4netns", "--disable-host-loopback",
                             "--port-driver=" + driver) as rk:
                status, answer = rk.api("POST", "/v1/ports", spec(child_ip="10.0.2.100"))
                self.assertEqual((status, answer["message"]), (
                    400, "the port driver %s does not listen in the namespace, so there can be no "
                    "childListenIP: builtin does" % driver))
                self.assertNotIn("netnsCookie", rk.api("GET", "/v1/info")[1]["portDriver"])


if __name__ == "__main__":
    rkit.main()
