#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Descriptors and memory before and after thousands of connections and hundreds of ports."""

import socket
import time

import rkit
from rkit import leaks, net
from rkit.launch import UnixConnection, wait_for
from rkit.peers import TcpServer, UdpServer, background, echo, receive_exactly, reset
from rkit.ports import PortTestCase, both_backends, builtin

GROWTH_KIB = 2048  # of all processes together; a leak of one small block in each connection would be more


@both_backends
class Leaks(PortTestCase):
    options = ()
    workers = 2

    @classmethod
    def setUpClass(cls):
        cls.options = () if rkit.world().reference else ("--udp-timeout=1s",)
        super().setUpClass()

    def settle(self, before):
        def quiet():
            return all(now <= before[name] for name, now in leaks.fd_counts(self.rk).items())
        try:
            wait_for("descriptors", quiet, step_s=0.1)
        except AssertionError:
            self.assertEqual(leaks.fd_counts(self.rk), before)

    def at_rest(self):
        """The numbers of descriptors once the spare sockets are there, which the first port has ordered."""
        def filled():
            r = self.rk.api("GET", "/v1/stats")[1]["total"]["resources"]
            return 0 < r["socketsRequested"] == r["socketsReceived"]
        if not self.world.reference:
            wait_for("spare sockets", filled)
        return leaks.fd_counts(self.rk)

    def steady(self, work, rounds):
        """Does the work once, which may make memory grow. What more rounds add is a leak."""
        before = self.at_rest()
        work()
        self.settle(before) if not self.world.reference else time.sleep(1)
        memory = leaks.memory_kib(self.rk)
        for _ in range(rounds):
            work()
        if self.world.reference:
            return
        self.settle(before)
        self.assertLess(leaks.memory_kib(self.rk) - memory, GROWTH_KIB)

    def test_thousands_of_connections(self):
        self.rk.add(18080, 80)

        def some(how):
            for i in range(150):
                c = net.connect("127.0.0.1", 18080)
                c.sendall(b"%d" % i)
                receive_exactly(c, len(b"%d" % i))
                reset(c) if how and i % 3 == 0 else c.close()

        def work():
            for job in [background(some, n % 2) for n in range(4)]:
                job.result(120)
        with TcpServer(echo, netns=self.ns) as server:
            self.steady(work, 5)
            server.jobs.clear()

    @rkit.ours("is slow to refuse")
    def test_refused_connections(self):
        """The data plane tries a server that refuses for a quarter of a second, so many clients wait."""
        self.rk.add(18080, 80)

        def some():
            for _ in range(10):
                try:  # the reset may be there before connect() has returned
                    with net.connect("127.0.0.1", 18080) as c:
                        c.recv(1)
                except ConnectionResetError:
                    pass

        def work():
            for job in [background(some) for _ in range(30)]:
                job.result(120)
        self.steady(work, 3)

    def test_bulk_that_is_cut_off(self):
        """Bytes are under way in both directions when the client aborts."""
        self.rk.add(18080, 80)

        def flood(conn, _):
            try:
                while True:
                    conn.sendall(b"x" * 65536)
            except OSError:
                pass

        def work():
            for _ in range(40):
                c = net.connect("127.0.0.1", 18080)
                receive_exactly(c, 200_000)
                reset(c)
        with TcpServer(flood, netns=self.ns):
            self.steady(work, 3)

    def test_many_udp_flows(self):
        self.rk.add(18053, 53, proto="udp")

        def work():
            clients = [net.udp_client("127.0.0.1", 18053, timeout=30) for _ in range(150)]
            for c in clients:
                c.send(b"x")
                c.recv(10)
            for c in clients:
                c.close()
        with UdpServer(netns=self.ns):
            self.steady(work, 3)

    def test_hundreds_of_ports(self):
        def work():
            ids = [self.rk.add(20000 + i, 80, proto=("tcp", "udp")[i % 2]) for i in range(100)]
            for number in ids:
                self.rk.remove(number)
        self.steady(work, 4)

    def test_requests_that_ask(self):
        for i in range(20):
            self.rk.add(20000 + i, 80)

        def work():
            kept = UnixConnection(self.rk.state + "/api.sock")
            for _ in range(100):
                self.rk.api("GET", "/v1/info")
                self.assertEqual(len(self.rk.ports()), 20)
                kept.request("GET", "/v1/ports")
                kept.getresponse().read()
            kept.close()
        self.steady(work, 4)

    def test_failing_requests(self):
        taken = net.bound(socket.SOCK_STREAM, "127.0.0.1", 18080)

        def work():
            for _ in range(100):
                self.assertEqual(self.rk.api("POST", "/v1/ports", {
                    "proto": "tcp", "parentIP": "127.0.0.1", "parentPort": 18080,
                    "childPort": 80})[0], 400)
                self.rk.api("POST", "/v1/ports", "{")
                self.rk.api("GET", "/nowhere")
        self.steady(work, 3)
        taken.close()


class Instances(rkit.RkTestCase):
    def test_come_and_go(self):
        """tearDown() looks for processes, mounts and files that any of them has left."""
        for _ in range(15):
            with builtin("-p", "127.0.0.1:18080:80/tcp", "--copy-up=/etc", "--pidns"):
                pass


if __name__ == "__main__":
    rkit.main()
