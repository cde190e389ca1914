#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=builtin: connections and datagrams on the way out, and what is refused."""

import contextlib
import inspect
import os
import signal
import socket
import struct
import threading
import time

import rkit
from rkit import leaks, net, packets
from rkit.launch import DEADLINE_S, find_role, wait_for
from rkit.networks import ask_over, probe
from rkit.peers import (TcpServer, UdpServer, background, hello, payload_hash, receive, reset,
                        send_payload)
from rkit.wayout import GATEWAY4, GATEWAY6, ROUTES, SERVER4, SERVER6, Inside, NetBuiltinCase, container
from rkit.world import sh, write


class TestTcp(NetBuiltinCase):
    args = ("--ipv6",)
    workers = 2

    def test_connect(self):
        for host in SERVER4, SERVER6:
            with self.inside.connect(host, 80) as s:
                s.sendall(b"question")
                self.assertEqual(s.recv(100), b"question")

    def test_payload(self):
        size = 40 << 20
        for host in SERVER4, SERVER6:
            with self.inside.connect(host, 80) as s:
                job = background(send_payload, s, size)
                got = receive(s, size)
                job.result()
                self.assertEqual(got, (size, payload_hash(size)))

    def test_half_close(self):
        """A side that has ended its stream still receives."""
        def late(conn, _address):
            got = receive(conn)
            conn.sendall(b"after the end")
            return got[0]
        with TcpServer(late, port=8001, host="0.0.0.0", netns=self.server) as server:
            with self.inside.connect(SERVER4, 8001) as s:
                s.sendall(bytes(1000))
                s.shutdown(socket.SHUT_WR)
                self.assertEqual(receive(s)[0], len(b"after the end"))
            self.assertEqual(server.result(), 1000)

    def test_reset_by_the_server(self):
        def resets(conn, _address):
            conn.recv(1)
            reset(conn)
        with TcpServer(resets, port=8002, host="0.0.0.0", netns=self.server):
            with self.inside.connect(SERVER4, 8002) as s:
                s.sendall(b"x")
                with self.assertRaises(ConnectionResetError):
                    s.recv(1)

    def test_reset_by_the_client(self):
        def waits(conn, _address):
            conn.settimeout(DEADLINE_S)
            try:
                while conn.recv(100):
                    pass
            except ConnectionResetError:
                return "reset"
            return "end"
        with TcpServer(waits, port=8003, host="0.0.0.0", netns=self.server) as server:
            s = self.inside.connect(SERVER4, 8003)
            s.sendall(b"x")
            wait_for("the connection outside", lambda: server.jobs)
            reset(s)
            self.assertEqual(server.result(), "reset")

    def test_refused(self):
        for host in SERVER4, SERVER6:
            self.assertEqual(self.inside.error(host, 81), 111)  # ECONNREFUSED

    def test_unreachable(self):
        for kind, host, expected in ROUTES:
            self.assertIn(self.inside.error(host, 80), {"EHOSTUNREACH": (113, 101),
                                                        "EACCES": (113, 13)}[expected],
                          (kind, host))

    def test_no_answer(self):
        """When nobody answers outside, the client waits: it is neither connected nor refused."""
        sh("ip", "netns", "exec", os.path.basename(self.server), "ip", "route", "add", "blackhole",
           "198.51.100.9")
        try:
            self.assertIsNone(self.inside.error("198.51.100.9", 80, timeout=3))
        finally:
            sh("ip", "netns", "exec", os.path.basename(self.server), "ip", "route", "del",
               "blackhole", "198.51.100.9")

    def test_the_client_gives_up_while_it_connects(self):
        for _ in range(20):
            with net.in_netns(self.inside.netns, lambda: socket.socket()) as s:
                s.setblocking(False)
                s.connect_ex((SERVER4, 80))
        with self.inside.connect(SERVER4, 80) as s:
            s.sendall(b"still there")
            self.assertEqual(s.recv(100), b"still there")

    def test_many(self):
        """Many flows at once, each with its own answer."""
        n, socks = 500, []
        try:
            for i in range(n):
                socks.append(self.inside.connect(SERVER4 if i % 2 else SERVER6, 80))
            for i, s in enumerate(socks):
                s.sendall(b"%d" % i)
            for i, s in enumerate(socks):
                self.assertEqual(s.recv(20), b"%d" % i)
        finally:
            for s in socks:
                s.close()

    def test_one_after_the_other(self):
        for i in range(300):
            with self.inside.connect(SERVER4, 80) as s:
                s.sendall(b"%d" % i)
                self.assertEqual(s.recv(20), b"%d" % i)

    def test_the_server_speaks_first(self):
        with TcpServer(hello("banner"), port=8004, host="0.0.0.0", netns=self.server):
            with self.inside.connect(SERVER4, 8004) as s:
                self.assertEqual(receive(s)[0], len("banner"))

    def test_the_server_sees_the_host(self):
        with TcpServer(lambda conn, address: address[0], port=8005, host="0.0.0.0",
                       netns=self.server) as server:
            self.inside.connect(SERVER4, 8005).close()
            self.assertEqual(server.result(), "192.0.2.1")


class TestUdp(NetBuiltinCase):
    args = ("--ipv6",)
    workers = 2

    def test_echo(self):
        with UdpServer(port=7, host="::", netns=self.server):
            for host in SERVER4, SERVER6:
                with self.inside.udp(host, 7, timeout=2) as s:
                    for size in 1, 1400, 9000, 65507 if ":" not in host else 60000:
                        data = os.urandom(size)
                        self.assertEqual(ask_over(s, data), data)

    def test_one_mapping_for_all_servers(self):
        """An address and port inside has the same port outside for all servers (RFC 4787)."""
        seen = {}

        def remember(data, address):
            seen[data] = address[1]
            return data
        with UdpServer(remember, port=8010, host="0.0.0.0", netns=self.server), \
                UdpServer(remember, port=8011, host="0.0.0.0", netns=self.server):
            s = net.in_netns(self.inside.netns,
                             lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with s:
                s.settimeout(2)
                for port in 8010, 8011:
                    for _ in range(10):
                        s.sendto(b"%d" % port, (SERVER4, port))
                        try:
                            data, address = s.recvfrom(100)
                            self.assertEqual((data, address), (b"%d" % port, (SERVER4, port)))
                            break
                        except TimeoutError:
                            pass
        self.assertEqual(seen[b"8010"], seen[b"8011"])

    def test_refused(self):
        with self.inside.udp(SERVER4, 8012, timeout=2) as s:
            with self.assertRaises(ConnectionRefusedError):
                for _ in range(20):
                    s.send(b"x")
                    with contextlib.suppress(TimeoutError):
                        s.recv(10)

    def test_name(self):
        self.assertEqual(probe(self.rk, "name", "example.org"), "192.0.2.77")

    def test_other_name_servers(self):
        """A change of the host's resolv.conf is followed."""
        def other(query, address):
            question = query[12:]
            return (query[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, 1, 0, 0) + question
                    + b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4)
                    + socket.inet_aton("192.0.2.88"))
        with UdpServer(other, port=53, host="127.0.0.1"):
            write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
            try:
                wait_for("the other server's answer",
                         lambda: probe(self.rk, "name", "other.example") == "192.0.2.88")
            finally:
                write("/etc/resolv.conf", "nameserver 192.0.2.100\n")
        wait_for("the first server's answer",
                 lambda: probe(self.rk, "name", "first.example") == "192.0.2.77")

    def test_ping(self):
        group_range = "/proc/sys/net/ipv4/ping_group_range"
        with open(group_range) as f:
            before = f.read()

        def allow(text):
            with open(group_range, "w") as f:
                f.write(text)
        allow("0 2147483647")
        try:
            for host in SERVER4, SERVER6:
                got = self.rk.nsenter("ping", "-c3", "-i0.2", "-W10", "-s1000", host)
                self.assertEqual(got.returncode, 0, got.stdout + got.stderr)
            got = self.rk.nsenter("ping", "-c1", "-W2", "198.51.100.9")
            self.assertEqual(got.returncode, 1, got.stdout)
        finally:
            allow(before)


class TestHolePunching(NetBuiltinCase):
    """STUN and hole punching (RFC 8489, RFC 5128): two commands, each behind its own router, learn from a
    server which address and port they have outside, and then send to each other."""

    workers = 2

    def socket_in(self, inside):
        s = net.in_netns(inside.netns, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        s.settimeout(0.5)
        return s

    def seen_as(self, s):
        for _ in range(20):
            s.sendto(b"how do you see me", (SERVER4, 8070))
            with contextlib.suppress(TimeoutError):
                data, address = s.recvfrom(100)
                if address == (SERVER4, 8070):
                    host, port = data.decode().split()
                    return host, int(port)
        raise AssertionError("the server does not answer")

    def hears(self, s, other, word, peer, own):
        """Sends own to the other until its word arrives. Returns whether that came from peer. Datagrams that
        come before the receiver has sent one are dropped, so they are sent again."""
        for _ in range(40):
            s.sendto(own, other)
            with contextlib.suppress(TimeoutError):
                data, address = s.recvfrom(100)
                if data == word:
                    s.sendto(own, other)
                    return address == peer
        return False

    def test_two_commands(self):
        def tell(_data, address):
            return b"%s %d" % (address[0].encode(), address[1])
        with UdpServer(tell, port=8070, host="0.0.0.0", netns=self.server), \
                self.launch() as other, self.socket_in(self.inside) as a, \
                self.socket_in(Inside(other)) as b:
            at_a, at_b = self.seen_as(a), self.seen_as(b)
            self.assertNotEqual(at_a, at_b)
            job = background(self.hears, b, at_a, b"from a", at_a, b"from b")
            self.assertTrue(self.hears(a, at_b, b"from b", at_b, b"from a"))
            self.assertTrue(job.result())


class TestHostLoopback(NetBuiltinCase):
    """The gateway is the host's loopback address, and nothing else is."""

    args = ("--ipv6",)

    def test_through_the_gateway(self):
        with TcpServer(hello("loopback"), port=8020), \
                TcpServer(hello("loopback"), port=8020, host="::1"):
            for host in GATEWAY4, GATEWAY6:
                with self.inside.connect(host, 8020) as s:
                    self.assertEqual(s.recv(100), b"loopback")

    def test_refused(self):
        self.assertEqual(self.inside.error(GATEWAY4, 8021), 111)


# A frame to the router with any destination address, from a raw socket inside.
RAW_SYN = inspect.getsource(packets) + """
import subprocess, sys
destination = sys.argv[1]
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
index = socket.if_nametoindex("eth0")
gateway = subprocess.run(["ip", "neigh", "show", "10.0.2.2"], capture_output=True,
                         text=True).stdout.split()
mac = bytes.fromhex(gateway[gateway.index("lladdr") + 1].replace(":", ""))
tcp = tcp_segment("10.0.2.100", destination, 41000, int(sys.argv[2]), SYN)
ip = ipv4_header("10.0.2.100", destination, socket.IPPROTO_TCP, len(tcp))
for _ in range(3):
    s.sendto(ip + tcp, ("eth0", 0x0800, 0, 0, mac))
"""


class TestNoHostLoopback(NetBuiltinCase):
    """--disable-host-loopback: no path leads to the host's loopback addresses."""

    args = ("--ipv6", "--disable-host-loopback")

    def test_gateway(self):
        with TcpServer(hello("x"), port=8022), TcpServer(hello("x"), port=8022, host="::1"):
            for host in GATEWAY4, GATEWAY6, "10.0.2.3", "fd00::3":
                self.assertIn(self.inside.error(host, 8022), (111, 113, 13), host)

    def test_udp(self):
        got = []
        with UdpServer(lambda data, address: got.append(data), port=8023):
            for host in GATEWAY4, "10.0.2.3":
                with self.inside.udp(host, 8023, timeout=1) as s:
                    for _ in range(3):
                        with contextlib.suppress(OSError):
                            s.send(b"x")
                            s.recv(10)
        self.assertEqual(got, [])

    def test_raw_destinations(self):
        """Frames to addresses that no socket would send to: loopback, this network, broadcast, multicast."""
        self.rk.nsenter("ping", "-c1", "-W5", GATEWAY4)  # the neighbour's address is known then
        with TcpServer(lambda conn, address: None, port=8024, host="0.0.0.0") as server:
            for destination in "127.0.0.1", "0.0.0.0", "127.8.8.8", GATEWAY4, "255.255.255.255", \
                    "224.0.0.1":
                got = self.rk.nsenter("python3", "-c", RAW_SYN, destination, "8024")
                self.assertEqual(got.returncode, 0, got.stderr)
            with self.inside.connect(SERVER4, 80) as s:  # after this, the frames have been dealt with, too
                s.sendall(b"x")
                s.recv(1)
            self.assertEqual(server.jobs, [])


class TestEgress(NetBuiltinCase):
    """--egress-allow and --egress-deny: of several rules the one with the longest prefix decides."""

    args = ("--ipv6", "--egress-deny=192.0.2.0/24:80", "--egress-allow=192.0.2.100:8030",
            "--egress-deny=0.0.0.0/0", "--egress-deny=[2001:db8::100]:80")

    def test_tcp(self):
        with TcpServer(hello("x"), port=8030, host="0.0.0.0", netns=self.server), \
                TcpServer(hello("x"), port=8031, host="::", netns=self.server):
            self.inside.connect(SERVER4, 8030).close()
            self.assertIn(self.inside.error(SERVER4, 80), (113, 13, 111))
            self.assertIn(self.inside.error(SERVER4, 8031), (113, 13, 111))
            self.assertIn(self.inside.error(SERVER6, 80), (113, 13))
            self.inside.connect(SERVER6, 8031).close()

    def test_info_and_counters(self):
        info = self.rk.api("GET", "/v1/info")[1]["networkDriver"]["outward"]
        self.assertEqual(info["egress"], "deny 192.0.2.0/24:80, allow 192.0.2.100/32:8030, "
                         "deny 0.0.0.0/0, deny [2001:db8::100/128]:80")

        def prohibited():
            return self.rk.api("GET", "/v1/stats")[1]["total"]["outward"]["tcpProhibited"]
        before = prohibited()
        self.inside.error(SERVER4, 80)
        wait_for("it is counted", lambda: prohibited() == before + 1)


class TestDeath(NetBuiltinCase):
    """The data plane or a broker dies: later connections work, and no descriptor is left."""

    ROUNDS = int(os.environ.get("WAY_OUT_ROUNDS", "12"))
    workers = 2

    def find(self, role):
        return find_role(self.rk.pid, role)

    def exchange(self):
        with self.inside.connect(SERVER4, 80, timeout=20) as s:
            s.sendall(b"question")
            return s.recv(100) == b"question"

    def tries(self):
        try:
            return self.exchange()
        except OSError:
            return False

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.rk.pid))

    def survives(self, role):
        stop, done, took = threading.Event(), [], []

        def load():
            while not stop.is_set():
                if self.tries():
                    done.append(1)
        jobs = [background(load) for _ in range(4)]
        try:
            for _ in range(self.ROUNDS):
                n = len(done)
                wait_for("load", lambda: len(done) > n + 4)
                old = wait_for(role, lambda: self.find(role))
                os.kill(old, signal.SIGKILL)
                start = time.monotonic()
                wait_for("a connection that works", self.tries)
                took.append(1000 * (time.monotonic() - start))
                wait_for("another " + role, lambda: self.find(role) not in (None, old))
                for _ in range(5):
                    self.assertTrue(self.exchange())
        finally:
            stop.set()
        for job in jobs:
            job.result()
        took.sort()
        print("%s: a connection after %.0f ms, at most %.0f" % (role, took[len(took) // 2], took[-1]))

    def watches_resolvers(self):
        return "anon_inode:inotify" in leaks.links(self.rk.pid)

    def check_role(self, role):
        self.survives(role)
        wait_for("/etc/resolv.conf to be watched, from a second after the start on", self.watches_resolvers)
        before = self.descriptors()
        self.survives(role)
        wait_for("descriptors to be closed", lambda: self.descriptors() <= before)

    def test_data_plane(self):
        self.check_role("dataplane")

    def test_router_broker(self):
        self.check_role("router-broker")

    def test_broker(self):
        self.check_role("broker")


class TestContainers(NetBuiltinCase):
    """A container behind a bridge in the namespace reaches the router with its own address."""

    args = ("--ipv6", "--port-driver=builtin")
    workers = 2

    def test_out(self):
        with container(self.rk) as netns:
            for host in SERVER4, SERVER6:
                with net.connect(host, 80, netns=netns) as s:
                    s.sendall(b"question")
                    self.assertEqual(s.recv(100), b"question")
                with self.assertRaises(ConnectionRefusedError):
                    net.connect(host, 81, netns=netns)
            # The gateway leads to the host's loopback address for containers, too.
            with TcpServer(hello("loopback"), port=8020):
                with net.connect(GATEWAY4, 8020, netns=netns) as s:
                    self.assertEqual(s.recv(100), b"loopback")


if __name__ == "__main__":
    rkit.main()
