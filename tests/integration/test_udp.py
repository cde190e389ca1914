#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""UDP through published ports."""

import hashlib
import socket
import time

import rkit
from rkit import net, networks
from rkit.launch import DEADLINE_S, wait_for
from rkit.networks import ask_over
from rkit.peers import UdpServer
from rkit.ports import PortTestCase, both_backends

SIZES = (1, 2, 3, 512, 1400, 1472, 1473, 8192, 32768, 65506, 65507)


def datagram(size, seed=0):
    return hashlib.shake_256(b"%d" % seed).digest(size)


@both_backends
class Payload(PortTestCase):
    workers = 2

    def setUp(self):
        super().setUp()
        self.rk.add(18053, 53, proto="udp")

    def test_sizes(self):
        with UdpServer(netns=self.ns):
            client = net.udp_client("127.0.0.1", 18053)
            for size in SIZES:
                with self.subTest(size):
                    self.assertEqual(ask_over(client, datagram(size)), datagram(size))
            client.close()

    @rkit.ours("1.1.0 drops empty datagrams")
    def test_empty_datagram(self):
        with UdpServer(netns=self.ns):
            client = net.udp_client("127.0.0.1", 18053)
            self.assertEqual(ask_over(client, b""), b"")
            client.close()

    @rkit.ours("1.1.0 drops empty datagrams")
    def test_empty_datagrams_among_others(self):
        """Empty datagrams arrive in both directions, at any place in a batch."""
        want = [b"x" * 100 if i % 3 else b"" for i in range(24)]
        with UdpServer(netns=self.ns) as server, \
                net.udp_client("127.0.0.1", 18053, timeout=DEADLINE_S) as client:
            for _ in range(10):
                del server.seen[:]
                for data in want:
                    client.send(data)
                self.assertEqual([client.recv(200) for _ in want], want)
                self.assertEqual([size for size, _ in server.seen], [len(data) for data in want])

    def test_boundaries_are_kept(self):
        """Many datagrams of changing size, sent at once, come out one by one and in order. There are only as
        many as fit into the smallest buffer on the way, so that none is lost however slow the machine is."""
        sizes = [1 + (i * i * 7) % 1400 for i in range(150)] + [1400] * 70 + [100] + [700] * 64
        want = [i.to_bytes(2, "big")[:s] + datagram(s, i)[2:] for i, s in enumerate(sizes)]
        burst = 40
        with UdpServer(netns=self.ns), \
                net.udp_client("127.0.0.1", 18053, timeout=DEADLINE_S) as client:
            for start in range(0, len(want), burst):
                some = want[start:start + burst]
                for data in some:
                    client.send(data)
                self.assertEqual([client.recv(65536) for _ in some], some)

    @rkit.ours("loses some")
    def test_first_burst_of_new_clients(self):
        """A new client sends many datagrams at once: all arrive, in order."""
        want = [i.to_bytes(2, "big") + datagram(1 + (i * i * 7) % 998, i) for i in range(64)]
        with UdpServer(netns=self.ns):
            for _ in range(40):
                with net.udp_client("127.0.0.1", 18053, timeout=DEADLINE_S) as client:
                    for data in want:
                        client.send(data)
                    self.assertEqual([client.recv(65536) for _ in want], want)

    def test_several_answers_to_one_question(self):
        def answer(data, address):
            for i in range(9):
                server.sock.sendto(data + b"%d" % i, address)
        with UdpServer(answer, netns=self.ns) as server:
            client = net.udp_client("127.0.0.1", 18053)
            client.send(b"q")
            self.assertEqual([client.recv(100) for _ in range(9)], [b"q%d" % i for i in range(9)])
            client.close()

    def test_many_clients_are_kept_apart(self):
        count = 200
        with UdpServer(lambda d, a: d + b"!", netns=self.ns) as server:
            clients = [net.udp_client("127.0.0.1", 18053, timeout=3) for _ in range(count)]
            for rounds in range(2):
                for i, c in enumerate(clients):
                    c.send(b"%d.%d" % (i, rounds))
                for i, c in enumerate(clients):
                    want = b"%d.%d!" % (i, rounds)
                    try:
                        got = c.recv(100)
                    except TimeoutError:
                        got = ask_over(c, b"%d.%d" % (i, rounds))
                    self.assertEqual(got, want)
            # Each client has one address in the namespace, and nobody shares it.
            self.assertEqual(len({a for _, a in server.seen}), count)
            for c in clients:
                c.close()

    def test_two_questions_come_from_one_address(self):
        with UdpServer(netns=self.ns) as server:
            client = net.udp_client("127.0.0.1", 18053)
            for i in range(5):
                self.assertEqual(ask_over(client, b"%d" % i), b"%d" % i)
            self.assertEqual(len({a for _, a in server.seen}), 1)
            client.close()

    def test_refused_backend_is_no_end(self):
        client = net.udp_client("127.0.0.1", 18053, timeout=0.3)
        for _ in range(3):
            client.send(b"nobody there")
            with self.assertRaises(TimeoutError):
                client.recv(100)
        with UdpServer(netns=self.ns):
            self.assertEqual(ask_over(client, b"now", 20), b"now")
        client.close()


@both_backends
class Addresses(PortTestCase):
    def ask(self, host, port, netns=None):
        return (networks.ask(host, port, b"question", netns) or b"").decode()

    def word(self, text):
        return lambda data, address: text.encode()

    @rkit.ours("1.1.0 answers from the wrong address")
    def test_answer_comes_from_the_address_that_was_asked(self):
        """The client's socket is connected, so it receives answers from that address alone."""
        with net.neighbour() as client, UdpServer(netns=self.ns):
            for proto, ip in (("udp", "0.0.0.0"), ("udp4", "0.0.0.0"), ("udp", "::")):
                port = self.rk.add(18053, 53, proto=proto, parent_ip=ip)
                with self.subTest(proto=proto, ip=ip):
                    self.assertEqual(self.ask("192.0.2.1", 18053, client), "question")
                    self.assertEqual(self.ask("192.0.2.2", 18053, client), "question")
                    if proto == "udp":
                        self.assertEqual(self.ask("2001:db8::1", 18053, client), "question")
                        self.assertEqual(self.ask("2001:db8::2", 18053, client), "question")
                    for host in ("127.0.0.1", "127.0.0.9", "192.0.2.2"):
                        self.assertEqual(self.ask(host, 18053), "question")
                self.rk.remove(port)

    @rkit.ours("1.1.0 answers from the wrong address")
    def test_one_client_asks_two_addresses(self):
        """A client that uses one port for two addresses of the host has two flows."""
        with net.neighbour() as client, UdpServer(netns=self.ns) as server:
            self.rk.add(18053, 53, proto="udp", parent_ip="0.0.0.0")
            sock = net.bound(socket.SOCK_DGRAM, "192.0.2.100", 4444, client)
            sock.settimeout(30)
            for host in ("192.0.2.1", "192.0.2.2", "192.0.2.1"):
                sock.sendto(host.encode(), (host, 18053))
                self.assertEqual(sock.recvfrom(100), (host.encode(), (host, 18053)))
            self.assertEqual(len({a for _, a in server.seen}), 2)
            sock.close()

    def test_large_datagrams_over_a_wire(self):
        with net.neighbour() as client, UdpServer(netns=self.ns):
            self.rk.add(18053, 53, proto="udp", parent_ip="192.0.2.1", child_ip="127.0.0.1")
            c = net.udp_client("192.0.2.1", 18053, netns=client, timeout=3)
            for size in (1472, 1473, 9000, 65507):
                with self.subTest(size):
                    self.assertEqual(ask_over(c, datagram(size)), datagram(size))
            c.close()

    def test_udp4_and_udp6_are_strict(self):
        with UdpServer(self.word("four"), port=53, netns=self.ns), \
                UdpServer(self.word("six"), port=54, netns=self.ns):
            self.rk.add(18053, 53, proto="udp4", parent_ip="0.0.0.0")
            self.rk.add(18053, 54, proto="udp6", parent_ip="::")
            self.assertEqual(self.ask("127.0.0.1", 18053), "four")
            self.assertEqual(self.ask("::1", 18053), "six")

    def test_wildcard_takes_both_families(self):
        with UdpServer(self.word("here"), netns=self.ns):
            for ip in ("0.0.0.0", "", "::"):
                port = self.rk.add(18053, 53, proto="udp", parent_ip=ip)
                with self.subTest(ip):
                    self.assertEqual(self.ask("127.0.0.1", 18053), "here")
                    self.assertEqual(self.ask("::1", 18053), "here")
                self.rk.remove(port)

    def test_child_address(self):
        with UdpServer(self.word("two"), host="127.0.0.2", netns=self.ns), \
                UdpServer(self.word("six"), host="::1", netns=self.ns):
            self.rk.add(18053, 53, proto="udp", child_ip="127.0.0.2")
            self.rk.add(18054, 53, proto="udp", child_ip="::1")
            self.assertEqual(self.ask("127.0.0.1", 18053), "two")
            self.assertEqual(self.ask("127.0.0.1", 18054), "six")

    def test_without_a_child_address(self):
        """A port leads to the same address inside, unless it is the host's first one or a wildcard."""
        with net.neighbour(host_addresses=("192.0.2.1/24",)) as client, \
                UdpServer(self.word("two"), host="127.0.0.2", netns=self.ns), \
                UdpServer(self.word("loopback"), host="127.0.0.1", netns=self.ns):
            self.rk.add(18053, 53, proto="udp", parent_ip="127.0.0.2")
            self.rk.add(18054, 53, proto="udp", parent_ip="192.0.2.1")
            self.rk.add(18055, 53, proto="udp", parent_ip="0.0.0.0")
            if not self.world.reference:
                self.assertEqual(self.ask("127.0.0.2", 18053), "two")
            self.assertEqual(self.ask("192.0.2.1", 18054, client), "loopback")
            self.assertEqual(self.ask("192.0.2.1", 18055, client), "loopback")

    @rkit.ours("tries 127.0.0.1 only")
    def test_ipv6_loopback_means_the_same_inside(self):
        with UdpServer(self.word("six"), host="::1", netns=self.ns):
            self.rk.add(18053, 53, proto="udp", parent_ip="::1")
            self.assertEqual(self.ask("::1", 18053), "six")

    @rkit.ours("tries 127.0.0.1 only")
    def test_server_of_the_other_family(self):
        """Where both loopback addresses are tried and a server listens on one, no datagram is lost."""
        for ip, host in (("::1", "127.0.0.1"), ("::", "::1"), ("::", "127.0.0.1"), ("::1", "::1")):
            with self.subTest(published=ip, server=host), \
                    UdpServer(host=host, netns=self.ns) as server:
                port = self.rk.add(18053, 53, proto="udp6", parent_ip=ip)
                for i in range(5):
                    with net.udp_client("::1", 18053, timeout=DEADLINE_S) as client:
                        client.send(b"once %d" % i)
                        self.assertEqual(client.recv(100), b"once %d" % i)
                self.assertEqual(len(server.seen), 5)
                self.rk.remove(port)

    @rkit.ours("tries 127.0.0.1 only")
    def test_server_that_moves_to_the_other_family(self):
        self.rk.add(18053, 53, proto="udp", parent_ip="::1")
        with net.udp_client("::1", 18053, timeout=2) as client:
            for host in ("127.0.0.1", "::1", "127.0.0.1"):
                with UdpServer(host=host, netns=self.ns):
                    self.assertEqual(ask_over(client, host.encode()), host.encode())

    def test_tcp_and_udp_on_one_number(self):
        with UdpServer(self.word("here"), netns=self.ns):
            self.rk.add(18053, 53, proto="tcp")
            self.rk.add(18053, 53, proto="udp")
            self.assertEqual(self.ask("127.0.0.1", 18053), "here")


@both_backends
class Removal(PortTestCase):
    workers = 2

    def test_port_is_free_when_delete_has_answered(self):
        with UdpServer(netns=self.ns):
            for _ in range(20):
                port = self.rk.add(18053, 53, proto="udp")
                client = net.udp_client("127.0.0.1", 18053, timeout=2)
                self.assertEqual(ask_over(client, b"x"), b"x")
                self.rk.remove(port)
                net.bound(socket.SOCK_DGRAM, "127.0.0.1", 18053).close()
                client.close()

    def test_nothing_is_forwarded_after_it(self):
        with UdpServer(netns=self.ns) as server:
            port = self.rk.add(18053, 53, proto="udp")
            client = net.udp_client("127.0.0.1", 18053, timeout=2)
            self.assertEqual(ask_over(client, b"x"), b"x")
            self.rk.remove(port)
            before = len(server.seen)
            for _ in range(3):
                try:
                    client.send(b"y")
                    client.settimeout(0.2)
                    client.recv(10)
                    self.fail("an answer after the port was removed")
                except (TimeoutError, ConnectionRefusedError):
                    pass
            self.assertEqual(len(server.seen), before)
            client.close()


@both_backends
class IdleTimeout(PortTestCase):
    @classmethod
    def setUpClass(cls):
        cls.options = () if rkit.world().reference else ("--udp-timeout=1s",)
        super().setUpClass()

    @rkit.ours("90 s, not to be changed")
    def test_idle_flow_is_forgotten_and_a_new_one_made(self):
        with UdpServer(netns=self.ns) as server:
            self.rk.add(18053, 53, proto="udp")
            client = net.udp_client("127.0.0.1", 18053, timeout=3)
            self.assertEqual(ask_over(client, b"first"), b"first")
            first = server.seen[-1][1]

            def asks_from_elsewhere():
                time.sleep(2.5)
                self.assertEqual(ask_over(client, b"again"), b"again")
                return server.seen[-1][1] != first
            wait_for("a new flow", asks_from_elsewhere)
            client.close()

    @rkit.ours("90 s, not to be changed")
    def test_busy_flow_is_kept(self):
        with UdpServer(netns=self.ns) as server:
            self.rk.add(18053, 53, proto="udp")
            client = net.udp_client("127.0.0.1", 18053, timeout=3)
            end = time.monotonic() + 4
            while time.monotonic() < end:
                start = time.monotonic()
                self.assertEqual(ask_over(client, b"tick"), b"tick")
                time.sleep(0.2)
                if time.monotonic() - start > 0.9:
                    self.skipTest("the machine is too slow to keep a flow busy")
            self.assertEqual(len({a for _, a in server.seen}), 1)
            client.close()


if __name__ == "__main__":
    rkit.main()
