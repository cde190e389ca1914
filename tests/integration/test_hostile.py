#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hostile clients, a hostile namespace and deaths, in random mixtures: the other ports do not notice.

RINGKIT_HOSTILE_S=n: for so many seconds on each back end, by hand for hours. RINGKIT_HOSTILE_SEED=n: the
same mixture again.
"""

import contextlib
import os
import random
import signal
import socket
import struct
import threading
import time

import rkit
from rkit import leaks, net
from rkit.launch import DEADLINE_S, processes_of, role_of, wait_for
from rkit.peers import TcpServer, UdpServer, echo, receive_exactly, reset
from rkit.ports import PortTestCase, both_backends

SECONDS = float(os.environ.get("RINGKIT_HOSTILE_S", "40"))
SEED = int(os.environ.get("RINGKIT_HOSTILE_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
HOST = "192.0.2.1"
# What may fall: it says what there is now.
GAUGES = {"flows", "listeners", "pipesOpen", "pending", "udpFlows"}
HELD_MAX = 40  # connections that the hostile clients keep open at a time


def pour(conn, _address):
    """A server that sends without an end, and reads nothing."""
    block = bytes(1 << 16)
    with contextlib.suppress(OSError):
        while True:
            conn.sendall(block)


def forged(source, port, to_port, payload):
    """An IPv4 packet with a UDP datagram."""
    udp = struct.pack("!HHHH", port, to_port, 8 + len(payload), 0) + payload
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0,
                       socket.inet_aton(source), socket.inet_aton(HOST)) + udp


class Prober(threading.Thread):
    """A well-behaved client of the ports that nobody attacks: one request after the other."""

    def __init__(self, test):
        super().__init__(daemon=True)
        self.test, self.stopping = test, threading.Event()
        self.times_s, self.failures, self.lost = [], [], 0

    def run(self):
        udp = net.udp_client("127.0.0.1", 18053, timeout=0.5)
        n = 0
        while not self.stopping.is_set():
            n += 1
            deaths, start = self.test.deaths, time.monotonic()
            try:
                if n % 4:
                    self.tcp(b"request %d" % n)
                else:
                    self.udp(udp, b"request %d" % n)
                self.times_s.append(time.monotonic() - start)
            except (OSError, EOFError, AssertionError) as e:
                # What a death caught is lost.
                if self.test.deaths == deaths and start - self.test.died > 2:
                    self.failures.append("%s after %.1f s: %r" % (
                        "TCP" if n % 4 else "UDP", time.monotonic() - start, e))
                else:
                    self.lost += 1
            time.sleep(0.005)
        udp.close()

    def tcp(self, word):
        with net.connect("127.0.0.1", 18080, timeout=DEADLINE_S) as c:
            c.sendall(word)
            assert receive_exactly(c, len(word)) == word

    def udp(self, sock, word):
        """A datagram may be lost; all of twenty are not."""
        for _ in range(20):
            with contextlib.suppress(TimeoutError):
                sock.send(word)
                while sock.recv(100) != word:
                    pass
                return
        raise TimeoutError("twenty datagrams without an answer")


@rkit.ours("has no statistics")
@both_backends
class Hostile(PortTestCase):
    not_reference = "has no statistics"
    may_die = True
    options = ("--udp-timeout=2s",)
    deaths, died = 0, 0.0

    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.held = []
        self.counters, self.counters_of = {}, None

    def find(self, role):
        return next((p for p in processes_of(self.rk.pid) if role_of(p) == role), None)

    # What the hostile do

    def spoof(self):
        """Datagrams from addresses of others, each another client."""
        def send():
            with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
                for i in range(400):
                    source = "192.0.2.%d" % self.random.randrange(101, 250)
                    with contextlib.suppress(OSError):
                        s.sendto(forged(source, self.random.randrange(1024, 65535), 18054, b"x" * (i % 3)),
                                 (HOST, 0))
        net.in_netns(self.client, send)

    def hold(self, sock):
        self.held.append(sock)
        while len(self.held) > HELD_MAX:
            self.held.pop(self.random.randrange(len(self.held))).close()

    def connect(self, port, **kw):
        with contextlib.suppress(OSError):
            return net.connect(HOST, port, netns=self.client, timeout=2, **kw)
        return None

    def stall(self):
        """A download whose client reads nothing."""
        sock = self.connect(18081, rcvbuf=4096)
        if sock:
            self.hold(sock)

    def come_and_go(self):
        """Connections that are reset at any point."""
        for _ in range(20):
            sock = self.connect(self.random.choice((18081, 18082)))
            if sock:
                with contextlib.suppress(OSError):
                    sock.send(b"x" * self.random.choice((1, 1000, 100000)))
                self.random.choice((reset, socket.socket.close))(sock)

    def burst(self):
        """Many at once, of which few are served."""
        def go():
            socks = []
            for _ in range(200):
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex((HOST, self.random.choice((18081, 18082, 18083))))
                socks.append(s)
            return socks
        for s in net.in_netns(self.client, go):
            s.close()

    def vanish(self):
        """A client with data on its way whose machine is gone."""
        address = "192.0.2.%d/24" % self.random.randrange(101, 250)
        net.sh("ip", "netns", "exec", "client", "ip", "addr", "add", address, "dev", "eth0", check=False)
        sock = self.connect(18081, source=address.split("/")[0])
        net.sh("ip", "netns", "exec", "client", "ip", "addr", "del", address, "dev", "eth0", check=False)
        if sock:
            self.hold(sock)

    def die(self, role):
        pid = self.find(role)
        if pid is None:
            return
        type(self).deaths += 1
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_for("another " + role, lambda: self.find(role) not in (None, pid))
        type(self).deaths += 1
        type(self).died = time.monotonic()

    def kill_plane(self):
        if self.random.random() < 0.3:
            self.die("dataplane")

    def kill_broker(self):
        if self.random.random() < 0.3:
            self.die("broker")

    def inside(self, *argv):
        net.sh("nsenter", "--net=" + self.ns, *argv, check=False)

    def flush_rules(self):
        self.inside("nft", "flush", "ruleset")

    def sysctl(self):
        first = self.random.choice((32768, 60000, 60700))
        self.inside("sysctl", "-qw", "net.ipv4.ip_local_port_range=%d 60999" % first)
        self.inside("sysctl", "-qw", "net.ipv4.tcp_syncookies=%d" % self.random.randrange(3))

    def addresses(self):
        address = "198.51.100.%d/32" % self.random.randrange(1, 255)
        self.inside("ip", "addr", "add", address, "dev", "lo")
        self.inside("ip", "route", "add", "blackhole", "203.0.113.0/24")
        if self.random.random() < 0.5:
            self.inside("ip", "addr", "del", address, "dev", "lo")
            self.inside("ip", "route", "del", "blackhole", "203.0.113.0/24")

    # What holds

    def check_counters(self):
        """None runs backwards, but for those of another data plane."""
        pid = self.find("dataplane")
        status, stats = self.rk.api("GET", "/v1/stats")
        if status != 200 or pid is None or self.find("dataplane") != pid:
            return
        now = {(group, name): value for group, values in stats["total"].items()
               for name, value in values.items() if name not in GAUGES}
        if self.counters_of == (pid, self.deaths):
            for key, value in now.items():
                self.assertGreaterEqual(value, self.counters[key], key)
        self.counters, self.counters_of = now, (pid, self.deaths)

    def total(self, group, name):
        return self.rk.api("GET", "/v1/stats")[1]["total"][group][name]

    def descriptors(self):
        return len(leaks.descriptors(self.find("dataplane")))

    def at_rest(self):
        return self.total("tcp", "flows") == 0 and self.total("udp", "flows") == 0

    def attack(self, prober):
        deeds = (self.spoof, self.stall, self.come_and_go, self.burst, self.vanish, self.kill_plane,
                 self.kill_broker, self.flush_rules, self.sysctl, self.addresses)
        end, n = time.monotonic() + SECONDS, 0
        while time.monotonic() < end or n < len(deeds):
            self.random.choice(deeds)()
            self.check_counters()
            self.assertEqual(prober.failures, [])
            n += 1
        return n

    def test_mixture(self):
        print("RINGKIT_HOSTILE_SEED=%d" % SEED)
        with contextlib.ExitStack() as stack:
            self.client = stack.enter_context(net.neighbour())
            stack.enter_context(TcpServer(echo, netns=self.ns))
            stack.enter_context(UdpServer(netns=self.ns))
            stack.enter_context(TcpServer(pour, port=81, netns=self.ns))
            stack.enter_context(UdpServer(lambda data, address: None, port=54, netns=self.ns))
            # Nobody accepts: its backlog is full.
            full = stack.enter_context(net.bound(socket.SOCK_STREAM, "127.0.0.1", 83, self.ns))
            full.listen(0)
            self.rk.add(18080, 80)
            self.rk.add(18053, 53, proto="udp")
            for port, inside in ((18081, 81), (18082, 80), (18083, 83)):
                self.rk.add(port, inside, parent_ip=HOST)
            self.rk.add(18054, 54, proto="udp", parent_ip=HOST)
            prober = Prober(self)
            prober.start()
            try:
                n = self.attack(prober)
            finally:
                prober.stopping.set()
                prober.join(DEADLINE_S)
                for sock in self.held:
                    sock.close()
            self.assertEqual(prober.failures, [])
            self.assertGreater(len(prober.times_s), 10)
            full.close()
            self.die("dataplane")  # those that vanished are held for five minutes
            wait_for("all to end", self.at_rest)
            before = self.descriptors()
            for _ in range(5):
                self.come_and_go()
                self.burst()
                self.spoof()
            wait_for("all to end", self.at_rest, 2 * DEADLINE_S)
            # Pools and pipes are what a worker keeps for a while.
            wait_for("descriptors to come back", lambda: self.descriptors() <= before + 100)
            times = sorted(prober.times_s)
            print("%d deeds, %d deaths; %d requests, %d lost in a death, p50 %.1f ms, p99 %.1f ms" % (
                n, self.deaths // 2, len(times), prober.lost, times[len(times) // 2] * 1e3,
                times[len(times) * 99 // 100] * 1e3))


if __name__ == "__main__":
    rkit.main()
