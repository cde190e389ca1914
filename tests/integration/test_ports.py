#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Adding and removing ports: conflicts, ports that cannot be opened, many at once, and -p at the start."""

import json
import socket

import rkit
from rkit import leaks, net
from rkit.launch import ApiError, wait_for
from rkit.networks import said
from rkit.peers import TcpServer, UdpServer, hello
from rkit.ports import PortTestCase, both_backends, builtin
from rkit.world import sh


@both_backends
class Refused(PortTestCase):
    def refused(self, words, *args, **kw):
        before = self.rk.ports()
        with self.assertRaises(ApiError) as caught:
            self.rk.add(*args, **kw)
        self.assertEqual(caught.exception.status, 400)
        for word in words.split("|"):
            self.assertIn(word, caught.exception.message)
        self.assertEqual(self.rk.ports(), before)

    def test_conflict_names_the_port_that_has_it(self):
        first = self.rk.add(18080, 80)
        self.refused("conflict with ID %d" % first, 18080, 80)
        self.refused("conflict with ID %d" % first, 18080, 81)
        self.rk.add(18080, 80, proto="udp")
        self.rk.remove(first)
        again = self.rk.add(18080, 80)
        self.assertGreater(again, first)

    def test_port_of_another_program(self):
        for kind, proto in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
            with self.subTest(proto):
                taken = net.bound(kind, "127.0.0.1", 18080)
                self.refused("address already in use", 18080, 80, proto=proto)
                if not self.world.reference:
                    self.refused("address already in use", 18080, 80, proto=proto,
                                 parent_ip="0.0.0.0")
                taken.close()
                self.rk.remove(self.rk.add(18080, 80, proto=proto))

    def test_half_of_a_dual_stack_port_taken(self):
        """When one family's port is in use, the other family's does not stay bound."""
        taken = net.bound(socket.SOCK_STREAM, "::", 18080, v6only=True)
        try:
            self.rk.remove(self.rk.add(18080, 80, proto="tcp4", parent_ip="0.0.0.0"))
            self.refused("in use", 18080, 80, parent_ip="::")
        finally:
            taken.close()
        net.bound(socket.SOCK_STREAM, "0.0.0.0", 18080).close()

    def test_privileged_port_names_the_sysctl(self):
        for proto in ("tcp", "udp"):
            self.refused("net.ipv4.ip_unprivileged_port_start|80", 80, 80, proto=proto)

    def test_allowed_privileged_port(self):
        path = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
        old = open(path).read()
        with open(path, "w") as f:
            f.write("80")
        try:
            with TcpServer(hello("here"), netns=self.ns):
                self.rk.add(80, 80)
                client = net.connect("127.0.0.1", 80)
                self.assertEqual(client.recv(10), b"here")
                client.close()
        finally:
            with open(path, "w") as f:
                f.write(old)

    def test_address_of_another_host(self):
        self.refused("cannot assign requested address", 18080, 80, parent_ip="203.0.113.9")

    def test_bad_specs(self):
        for kw in ({"proto": "sctp"}, {"proto": "icmp"}, {"proto": ""}, {"parent_ip": "x"},
                   {"parent_ip": "300.0.0.1"}, {"child_ip": "x"}, {"parent_ip": "1.2.3"}):
            with self.subTest(kw):
                self.refused("", 18080, 80, **kw)
        for ports in ((0, 80), (18080, 0), (65536, 80), (18080, 65536), (-1, 80)):
            with self.subTest(ports):
                self.refused("", *ports)

    def test_second_instance_does_not_share_a_port(self):
        """The second one must not get the port, although SO_REUSEPORT would let the same user share it."""
        self.rk.add(18080, 80)
        self.rk.add(18080, 80, proto="udp")
        with builtin(backend=self.backend) as other:
            for proto in ("tcp", "udp"):
                with self.assertRaises(ApiError) as caught:
                    other.add(18080, 80, proto=proto)
                self.assertIn("address already in use", caught.exception.message)

    def test_removal_of_what_is_not_there(self):
        for number in (0, 4711, -1):
            with self.assertRaises(ApiError) as caught:
                self.rk.remove(number)
            self.assertEqual(caught.exception.status, 400)


@both_backends
@rkit.ours("looks for a server at most addresses of the host in the namespace")
class HostAddresses(PortTestCase):
    """A port leads into the namespace, on whichever address of the host it is published."""

    ADDRESSES = ("192.0.2.1", "192.0.2.2", "::ffff:192.0.2.2", "2001:db8::1", "2001:db8::2")
    not_reference = "looks for a server at most addresses of the host in the namespace"

    def asked(self, address, proto):
        """What the server says to a client of address:18080."""
        host = address.removeprefix("::ffff:")
        if proto == "udp":
            with net.udp_client(host, 18080) as c:
                c.send(b"namespace")
                return c.recv(64)
        with net.connect(host, 18080) as c:
            return c.recv(64)

    def each(self, address):
        for proto in "tcp", "udp":
            with self.subTest(address, proto=proto):
                port = self.rk.add(18080, 80, proto=proto, parent_ip=address)
                self.assertEqual(self.asked(address, proto), b"namespace")
                self.rk.remove(port)

    def test_lead_into_the_namespace(self):
        """Ports lead into the namespace, and not to a service of the host on the same address and port."""
        with net.neighbour(), TcpServer(hello("host"), host="192.0.2.2"), \
                TcpServer(hello("host"), host="2001:db8::2"), \
                TcpServer(hello("namespace"), host="::", netns=self.ns, v6only=False), \
                UdpServer(host="0.0.0.0", port=80, netns=self.ns):
            for address in self.ADDRESSES:
                self.each(address)

    def test_addresses_that_come_and_go(self):
        """Ports work on the first and on the only address of an interface, and when those change."""
        with net.neighbour(), TcpServer(hello("namespace"), netns=self.ns), \
                UdpServer(port=80, netns=self.ns):
            self.rk.add(18080, 80, parent_ip="192.0.2.2")
            sh("ip", "addr", "del", "192.0.2.1/24", "dev", "to-client")
            sh("ip", "addr", "add", "192.0.2.2/24", "dev", "to-client")
            self.assertEqual(self.asked("192.0.2.2", "tcp"), b"namespace")
            sh("ip", "addr", "add", "192.0.2.1/24", "dev", "to-client")
            self.each("192.0.2.1")

    def test_another_loopback_address_is_kept(self):
        for address, other in (("127.0.0.2", "127.0.0.1"), ("::ffff:127.0.0.3", "127.0.0.1")):
            own = address.removeprefix("::ffff:")
            with TcpServer(hello("namespace"), host=own, netns=self.ns), \
                    TcpServer(hello("other"), host=other, netns=self.ns), \
                    UdpServer(host=own, port=80, netns=self.ns):
                self.each(address)


@both_backends
class Many(PortTestCase):
    COUNT = 500
    workers = 2

    def test_five_hundred_ports(self):
        fds = leaks.fd_counts(self.rk)
        with TcpServer(hello("tcp"), netns=self.ns), \
                UdpServer(lambda d, a: b"udp", port=80, netns=self.ns):
            ids = [self.rk.add(20000 + i, 80, proto=("tcp", "udp")[i % 2])
                   for i in range(self.COUNT)]
            self.assertEqual(len(self.rk.ports()), self.COUNT)
            for i in range(0, self.COUNT, 50):
                client = net.connect("127.0.0.1", 20000 + i)
                self.assertEqual(client.recv(10), b"tcp")
                client.close()
                client = net.udp_client("127.0.0.1", 20001 + i)
                client.send(b"x")
                self.assertEqual(client.recv(10), b"udp")
                client.close()
            for number in ids:
                self.rk.remove(number)
        self.assertEqual(self.rk.ports(), [])
        self.assertEqual(self.rk.api("GET", "/v1/ports"), (200, None))
        for i in range(0, self.COUNT, 2):
            net.bound(socket.SOCK_STREAM, "127.0.0.1", 20000 + i).close()
        if not self.world.reference:
            wait_for("descriptors as before: %s" % fds, lambda: all(
                n <= fds[name] + 3 for name, n in leaks.fd_counts(self.rk).items()))

    def test_five_hundred_ports_by_one_command(self):
        """The first port that fails ends the command: ports before it stay, those after it are not bound."""
        specs = ["127.0.0.1:%d:80/tcp" % (20000 + i) for i in range(self.COUNT)]
        for bad in (self.COUNT, 300, 0):
            with self.subTest(bad=bad), TcpServer(hello("tcp"), netns=self.ns):
                taken = net.bound(socket.SOCK_STREAM, "127.0.0.1", 20000 + bad)
                got = self.rk.ctl("add-ports", *specs)
                ids = got.stdout.split()
                self.assertEqual(got.returncode, bad < self.COUNT)
                self.assertEqual(len(ids), bad, got.stderr)
                self.assertEqual([str(port["id"]) for port in self.rk.ports()], ids)
                self.assertEqual([port["spec"]["parentPort"] for port in self.rk.ports()],
                                 list(range(20000, 20000 + bad)))
                if bad < self.COUNT:
                    self.assertIn("address already in use", got.stderr)
                    net.bound(socket.SOCK_STREAM, "127.0.0.1", 20001 + bad).close()
                if bad:
                    client = net.connect("127.0.0.1", 20000 + bad - 1)
                    self.assertEqual(client.recv(10), b"tcp")
                    client.close()
                    self.assertEqual(self.rk.ctl("remove-ports", *ids).stdout.split(), ids)
                taken.close()


@rkit.ours("knows no ranges")
@both_backends
class Ranges(PortTestCase):
    def assertServed(self, port, word):
        with net.connect("127.0.0.1", port) as client:
            self.assertEqual(client.recv(10), word)

    def test_by_one_spec(self):
        """Each port of a range leads to its own port inside. The API lists single ports."""
        with TcpServer(hello("a"), port=80, netns=self.ns), \
                TcpServer(hello("b"), port=579, netns=self.ns):
            got = self.rk.ctl("add-ports", "127.0.0.1:20000-20499:80-579/tcp")
            self.assertEqual(got.returncode, 0, got.stderr)
            first = int(got.stdout.split("-")[0])
            self.assertEqual(got.stdout, "%d-%d\n" % (first, first + 499))
            self.assertServed(20000, b"a")
            self.assertServed(20499, b"b")
            ports = self.rk.ports()
            self.assertEqual([p["id"] for p in ports], list(range(first, first + 500)))
            self.assertEqual([p["spec"]["childPort"] for p in ports], list(range(80, 580)))
            self.assertEqual(len(self.rk.ctl("list-ports").stdout.splitlines()), 2)
            self.assertEqual(len(self.rk.ctl("list-ports", "--all").stdout.splitlines()), 501)
            # One port is removed, and then the others in pieces.
            self.rk.ctl("remove-ports", str(first + 100))
            self.assertEqual([json.loads(line)["id"] for line in
                              self.rk.ctl("list-ports", "--json").stdout.splitlines()],
                             [first, first + 101])
            whole = self.rk.ctl("remove-ports", "127.0.0.1:20000-20499:80-579/tcp")
            self.assertIn("not all of its ports are published (499 of 500)", whole.stderr)
            self.assertEqual(whole.returncode, 1)
            got = self.rk.ctl("remove-ports", "%d-%d" % (first, first + 99),
                              "127.0.0.1:20101-20499:181-579/tcp")
            self.assertEqual(got.returncode, 0, got.stderr)
        self.assertEqual(self.rk.ports(), [])
        for port in (20000, 20100, 20499):
            net.bound(socket.SOCK_STREAM, "127.0.0.1", port).close()

    def test_all_or_nothing(self):
        """Another program, or another port of ours, has one of the addresses."""
        taken = net.bound(socket.SOCK_STREAM, "127.0.0.1", 20300)
        got = self.rk.ctl("add-ports", "127.0.0.1:20000-20499:1-500/tcp")
        self.assertEqual((got.returncode, got.stdout), (1, ""))
        self.assertIn("127.0.0.1:20300: bind: address already in use", got.stderr)
        self.assertEqual(self.rk.ports(), [])
        for port in (20000, 20299, 20301, 20499):
            net.bound(socket.SOCK_STREAM, "127.0.0.1", port).close()
        taken.close()
        one = self.rk.add(20400, 80)
        got = self.rk.ctl("add-ports", "127.0.0.1:20000-20499:1-500/tcp")
        self.assertEqual((got.returncode, got.stderr),
                         (1, "error: port 20400: conflict with ID %d\n" % one))
        self.rk.remove(one)
        self.assertEqual(self.rk.ctl("add-ports", "127.0.0.1:20000-20499:1-500/udp").returncode, 0)
        self.assertEqual(self.rk.ctl("remove-ports", "127.0.0.1:20000-20499:1-500/udp").returncode,
                         0)


class AtStart(rkit.RkTestCase):
    @rkit.ours("knows no ranges")
    def test_range_on_the_command_line(self):
        with builtin("-p", "127.0.0.1:18080-18179:80-179/tcp") as rk, \
                TcpServer(hello("in"), port=179, netns=rk.netns()):
            self.assertEqual(len(rk.ports()), 100)
            with net.connect("127.0.0.1", 18179) as client:
                self.assertEqual(client.recv(10), b"in")

    def test_published_on_the_command_line(self):
        with builtin("-p", "127.0.0.1:18080:80/tcp", "-p=127.0.0.1:18053:53/udp",
                     "-p", "127.0.0.1:18081:127.0.0.2:80/tcp") as rk:
            self.assertEqual(sorted(p["id"] for p in rk.ports()), [1, 2, 3])
            self.assertEqual(sorted(p["spec"].get("childIP", "") for p in rk.ports())[2], "127.0.0.2")
            with TcpServer(hello("here"), netns=rk.netns()):
                client = net.connect("127.0.0.1", 18080)
                self.assertEqual(client.recv(10), b"here")
                client.close()
            self.assertEqual(rk.add(18082, 80), 4)

    def test_that_cannot_be_had(self):
        taken = net.bound(socket.SOCK_STREAM, "127.0.0.1", 18080)
        rk = builtin("-p", "127.0.0.1:18090:80/tcp", "-p", "127.0.0.1:18080:80/tcp",
                     command=("echo", "RAN"))
        self.assertEqual(rk.wait(), 1)
        self.assertIn("address already in use", rk.log())
        if not self.world.reference:
            self.assertNotIn("RAN", rk.out())
        taken.close()
        net.bound(socket.SOCK_STREAM, "127.0.0.1", 18090).close()

    @rkit.ours("demands an address there")
    def test_without_an_address(self):
        with builtin("-p", "18080:80/tcp") as rk, TcpServer(hello("here"), netns=rk.netns()):
            client = net.connect("127.0.0.1", 18080)
            self.assertEqual(client.recv(10), b"here")
            client.close()

    def test_are_free_at_the_end(self):
        """The ports are free at once, since another rootlesskit may be started with them."""
        for _ in range(30):
            with builtin("-p", "127.0.0.1:18080:80/tcp", "-p", "127.0.0.1:18080:80/udp"):
                pass
            net.bound(socket.SOCK_STREAM, "127.0.0.1", 18080).close()
            net.bound(socket.SOCK_DGRAM, "127.0.0.1", 18080).close()

    def test_command_serves_at_once(self):
        """The command finds its network ready, and the port open."""
        code = ("import socket; s = socket.create_server(('127.0.0.1', 80)); "
                "c, _ = s.accept(); c.sendall(b'served')")
        with builtin("-p", "127.0.0.1:18080:80/tcp", command=("python3", "-c", code)) as rk:
            self.assertEqual(wait_for("the page", lambda: said("127.0.0.1", 18080)), b"served")
            self.assertEqual(rk.wait(), 0)


if __name__ == "__main__":
    rkit.main()
