#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hostile clients, a hostile namespace and deaths, in random mixtures. Ports that nobody attacks go on.

Variables of the environment:
RINGKIT_HOSTILE_S       seconds for each back end
RINGKIT_HOSTILE_SEED    repeats the mixture with this seed
RINGKIT_HOSTILE_P99_MS  fails if one request in a hundred takes longer, for a machine that does nothing else
RINGKIT_HOSTILE_NICE    nice value of our processes. With -5, which needs root, they do not wait for others,
                        so that a slow request is their own fault

A process that does nothing else (tests/peers/steady.c) makes requests through ports that nobody attacks, and
measures each. Requests that a death touches count apart: those under way between the kill of a process and
WINDOW_S after the next one was there.
"""

import contextlib
import os
import random
import signal
import socket
import struct
import time

import rkit
from rkit import leaks, net, steady
from rkit.launch import DEADLINE_S, find_role, wait_for
from rkit.peers import reset
from rkit.ports import PortTestCase, both_backends
from rkit.steady import Probe, Servers

SECONDS = float(os.environ.get("RINGKIT_HOSTILE_S", "40"))
SEED = int(os.environ.get("RINGKIT_HOSTILE_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
HOST = "192.0.2.1"
# Counters that may fall, since they say how many there are now.
GAUGES = {"flows", "listeners", "pipesOpen", "pending", "udpFlows"}
NICE = int(os.environ.get("RINGKIT_HOSTILE_NICE", "0"))
P99_MS = float(os.environ.get("RINGKIT_HOSTILE_P99_MS", "0"))
WINDOW_S = 1.0
SLOW_S = 0.05
HELD_MAX = 40  # connections that the hostile clients keep open at a time


def forged(source, port, to_port, payload):
    """An IPv4 packet with a UDP datagram."""
    udp = struct.pack("!HHHH", port, to_port, 8 + len(payload), 0) + payload
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, socket.IPPROTO_UDP, 0,
                       socket.inet_aton(source), socket.inet_aton(HOST)) + udp


class Times:
    """How long requests took, and what the slow ones waited for."""

    def __init__(self):
        self.took_s, self.again, self.slow = {"tcp": [], "udp": []}, 0, []

    def add(self, request):
        self.took_s[request.kind].append(request.took_s)
        self.again += request.tries - 1
        if request.took_s > SLOW_S:
            self.slow.append(request)

    def share(self, kind, percent):
        """The time that this percentage of the requests did not exceed, in ms."""
        times = sorted(self.took_s[kind])
        return times[len(times) * percent // 100] * 1e3 if times else 0.0

    def lines(self):
        for kind, times in self.took_s.items():
            yield "%s: %d requests, p50 %.2f, p99 %.1f, longest %.1f ms" % (
                kind, len(times), self.share(kind, 50), self.share(kind, 99), max(times, default=0) * 1e3)
        yield "%d datagrams sent again, %d slow" % (self.again, len(self.slow))
        for r in sorted(self.slow, key=lambda r: -r.took_s)[:20]:
            yield "slow at %.3f: %s %.1f ms, its connect %.1f, tries %d; waited for a CPU (%s): %s ms" % (
                r.start_s, r.kind, r.took_s * 1e3, r.connect_s * 1e3, r.tries, "data plane, broker, server, "
                "client", ", ".join("%.1f" % (w * 1e3) for w in r.waits_s))


@rkit.ours("has no statistics")
@both_backends
class Hostile(PortTestCase):
    not_reference = "has no statistics"
    may_die = True
    options = ("--udp-timeout=2s", "--workers=2")
    workers = 2

    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.held, self.deaths = [], []  # a death: when it began, and when its window ends
        self.undisturbed, self.in_deaths, self.lost = Times(), Times(), 0
        self.counters, self.counters_of = {}, None

    def find(self, role):
        return find_role(self.rk.pid, role)

    # The attacks

    def spoof(self):
        """Sends datagrams with forged source addresses, so that each is a new client."""
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
        """Starts a download whose client reads nothing."""
        sock = self.connect(18081, rcvbuf=4096)
        if sock:
            self.hold(sock)

    def come_and_go(self):
        """Makes connections and closes or resets them at any moment."""
        for _ in range(20):
            sock = self.connect(self.random.choice((18081, 18082)))
            if sock:
                with contextlib.suppress(OSError):
                    sock.send(b"x" * self.random.choice((1, 1000, 100000)))
                self.random.choice((reset, socket.socket.close))(sock)

    def burst(self):
        """Makes many connections at once, of which few are served."""
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
        """Starts a download whose client's address vanishes."""
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
        begin = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_for("another " + role, lambda: self.find(role) not in (None, pid))
        self.deaths.append((begin, time.monotonic() + WINDOW_S))

    def watch(self):
        pids = [self.find(role) or 0 for role in ("dataplane", "broker")]
        self.probe.watch(*pids, self.servers.pid)
        for pid in pids + [self.rk.pid] if NICE else []:
            steady.go_first(pid, NICE)

    def kill(self):
        """Kills the data plane or the broker, but not so often that all requests fall into windows."""
        role = self.random.choice(("dataplane", "broker"))
        if not self.deaths or time.monotonic() > self.deaths[-1][1] + 2:
            self.die(role)
            self.watch()

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

    def look_like_questions(self):
        """Sends packets in the namespace that look like the keeper's questions (ns/turned.c)."""
        def send():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x524b5452)
                for _ in range(500):
                    with contextlib.suppress(OSError):
                        s.sendto(b"x", ("127.0.0.1", 9))
        net.in_netns(self.ns, send)

    def own_address(self):
        """Connects from an address that the namespace has, too."""
        address = "198.51.100.%d" % self.random.randrange(1, 255)
        self.inside("ip", "addr", "add", address + "/32", "dev", "lo")
        with net.further_address(self.client, address):
            for port in (18081, 18082, 18084):
                sock = self.connect(port, source=address)
                if sock:
                    sock.close()
        self.inside("ip", "addr", "del", address + "/32", "dev", "lo")

    def refused(self):
        """Sends datagrams to a port without a server."""
        def send():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.connect((HOST, 18055))
                for _ in range(self.random.randrange(1, 20)):
                    with contextlib.suppress(OSError):
                        s.send(b"x")
        net.in_netns(self.client, send)

    def reload(self):
        """Another data plane takes over. Flows that stall take part; no request is lost."""
        if not self.deaths or time.monotonic() > self.deaths[-1][1]:
            self.rk.api("POST", "/v1/reload")
            self.watch()

    # The checks

    def check_counters(self):
        """No counter runs backwards, unless a data plane has died: a reload hands them over."""
        pid = self.find("dataplane")
        status, stats = self.rk.api("GET", "/v1/stats")
        if status != 200 or pid is None or self.find("dataplane") != pid:
            return
        now = {(group, name): value for group, values in stats["total"].items()
               for name, value in values.items() if name not in GAUGES}
        if self.counters_of == len(self.deaths):
            for key, value in now.items():
                self.assertGreaterEqual(value, self.counters[key], key)
        self.counters, self.counters_of = now, len(self.deaths)

    def total(self, group, name):
        return self.rk.api("GET", "/v1/stats")[1]["total"][group][name]

    def descriptors(self):
        return len(leaks.descriptors(self.find("dataplane")))

    def at_rest(self):
        return self.total("tcp", "flows") == 0 and self.total("udp", "flows") == 0

    def check_requests(self):
        """No request is lost but those that a death has caught."""
        for r in self.probe.take():
            caught = any(r.start_s < end and r.start_s + r.took_s > begin for begin, end in self.deaths[-20:])
            if r.error == 0:
                (self.in_deaths if caught else self.undisturbed).add(r)
            elif caught:
                self.lost += 1
            else:
                self.fail("%r: %s\n%s" % (r, os.strerror(r.error), self.rk.log()))

    def attack(self):
        deeds = (self.spoof, self.stall, self.come_and_go, self.burst, self.vanish, self.kill,
                 self.flush_rules, self.sysctl, self.addresses, self.look_like_questions, self.own_address,
                 self.refused, self.reload)
        end, n = time.monotonic() + SECONDS, 0
        while time.monotonic() < end or n < len(deeds):
            self.random.choice(deeds)()
            self.check_counters()
            self.check_requests()
            n += 1
        return n

    def report(self, n):
        print("%d deeds, %d deaths, %d requests lost in one" % (n, len(self.deaths), self.lost))
        for what, times in (("undisturbed", self.undisturbed), ("in a death's window", self.in_deaths)):
            for line in times.lines():
                print("%s: %s" % (what, line))
        for kind in self.undisturbed.took_s:
            self.assertGreater(len(self.undisturbed.took_s[kind]), 10)
            if P99_MS:
                self.assertLessEqual(self.undisturbed.share(kind, 99), P99_MS, kind)

    def add_ports(self):
        self.rk.add(18080, 80)
        self.rk.add(18053, 53, proto="udp")
        for port, inside in ((18081, 81), (18082, 82), (18083, 83)):
            self.rk.add(port, inside, parent_ip=HOST)
        self.rk.add(18054, 54, proto="udp", parent_ip=HOST)
        self.rk.add(18055, 55, proto="udp", parent_ip=HOST)
        self.rk.add(18084, 84, parent_ip=HOST, child_ip="127.0.0.1")

    def leaks_nothing(self):
        self.die("dataplane")  # else flows of vanished clients would live for five more minutes
        wait_for("all to end", self.at_rest)
        before = self.descriptors()
        for _ in range(5):
            self.come_and_go()
            self.burst()
            self.spoof()
        wait_for("all to end", self.at_rest, 2 * DEADLINE_S)
        # A worker keeps spare sockets and pipes for a while.
        wait_for("descriptors to come back", lambda: self.descriptors() <= before + 100)

    def test_mixture(self):
        print("RINGKIT_HOSTILE_SEED=%d" % SEED)
        with contextlib.ExitStack() as stack:
            self.client = stack.enter_context(net.neighbour())
            self.servers = stack.enter_context(Servers(self.ns, "echo", 80, "udp", 53, first=True))
            stack.enter_context(Servers(self.ns, "pour", 81, "echo", 82, "sink", 54))
            # Nobody accepts here, so the backlog is full.
            full = stack.enter_context(net.bound(socket.SOCK_STREAM, "127.0.0.1", 83, self.ns))
            full.listen(0)
            self.add_ports()
            self.probe = Probe(self.rk.log_path + ".probe", 18080, 18053)
            with self.probe:
                self.watch()
                try:
                    n = self.attack()
                finally:
                    for sock in self.held:
                        sock.close()
            self.check_requests()
            full.close()
            self.leaks_nothing()
            self.report(n)


if __name__ == "__main__":
    rkit.main()
