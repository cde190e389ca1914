#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=builtin: a flood on the way out does not harm published ports, and leaves the host enough ports."""

import inspect
import os
import subprocess

import rkit
from rkit import packets
from rkit.launch import DEADLINE_S, find_role, popen, wait_for
from rkit.ports import both_backends
from rkit.steady import Probe, Servers, go_first
from rkit.wayout import SERVER4, NetBuiltinCase
from rkit.world import sh

# The data plane's nice value, for measurements on a busy machine as root: it does not wait for others then.
NICE = int(os.environ.get("RINGKIT_HOSTILE_NICE", "0"))
BLACKHOLE = "198.51.100.9"

# A program for root of the namespace, which sends as fast as it can.
FLOOD = inspect.getsource(packets) + """
import random, sys
kind, to = sys.argv[1], sys.argv[2]
print("ready", flush=True)
if kind == "syn":
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    while True:
        s.sendto(tcp_segment("10.0.2.100", to, random.randrange(1024, 65536), random.randrange(1, 65536), SYN,
                             random.randrange(1 << 32)), (to, 0))
elif kind == "udp":
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    while True:
        s.sendto(struct.pack("!HHHH", random.randrange(1024, 65536), 7, 12, 0) + b"what", (to, 0))
else:
    while True:
        with socket.socket() as s:
            s.settimeout(5)
            try:
                s.connect((to, 80))
            except OSError:
                pass
"""


def ephemeral_ports():
    """How many of the ports that the kernel gives to connections are in use, and how many there are."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        first, last = (int(n) for n in f.read().split())
    taken = set()
    for name in "tcp", "tcp6", "udp", "udp6":
        with open("/proc/net/" + name) as f:
            next(f)
            for line in f:
                words = line.split()
                # Ports in TIME_WAIT (06) do not count: any client of the host leaves such, too.
                if words[3] != "06":
                    taken.add((name[:3], int(words[1].rpartition(":")[2], 16)))
    counts = [sum(1 for kind, port in taken if kind == k and first <= port <= last)
              for k in ("tcp", "udp")]
    return max(counts), last - first + 1


@both_backends
class TestFloods(NetBuiltinCase):
    args = ("--port-driver=builtin",)
    workers = 2

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        sh("ip", "netns", "exec", os.path.basename(cls.server), "ip", "route", "add", "blackhole",
           BLACKHOLE)
        cls.servers = cls.enterClassContext(Servers(cls.inside.netns, "echo", 80, "udp", 53, first=True))
        cls.rk.add(8080, 80)
        cls.rk.add(8053, 53, proto="udp")

    def measure(self, kind):
        """Makes requests through the published ports, none of which may be lost. Prints how long they took,
        and for the slowest how long each process waited for a CPU."""
        plane = find_role(self.rk.pid, "dataplane")
        requests = []
        with Probe("%s.%s" % (self.rk.log_path, kind), 8080, 8053) as probe:
            probe.watch(plane, self.servers.pid)
            if NICE:
                go_first(plane, NICE)
            wait_for("requests", lambda: requests.extend(probe.take()) or len(requests) >= 100,
                     3 * DEADLINE_S)
        self.assertEqual([r for r in requests if r.error], [])
        for proto in "tcp", "udp":
            took = sorted(r.took_s * 1e3 for r in requests if r.kind == proto)
            print("%s: %s p50 %.2f ms, p99 %.1f ms, longest %.1f ms" % (
                kind, proto, took[len(took) // 2], took[len(took) * 99 // 100], took[-1]))
        slow = [r for r in requests if r.took_s > 0.05]
        for r in sorted(slow, key=lambda r: -r.took_s)[:5]:
            print("%s: %d slow; %s %.1f ms, tries %d; waited for a CPU (data plane, server, us): %s ms" % (
                kind, len(slow), r.kind, r.took_s * 1e3, r.tries,
                ", ".join("%.1f" % (w * 1e3) for w in r.waits_s)))

    def outward(self, name):
        return self.rk.api("GET", "/v1/stats")[1]["total"]["outward"][name]

    def flood(self, kind, to, counter):
        before = self.outward(counter)
        proc = popen(["nsenter", "-U", "--preserve-credentials", "-n", "-t",
                      str(self.rk.child_pid), "python3", "-c", FLOOD, kind, to],
                     stdout=subprocess.PIPE)
        try:
            self.assertEqual(proc.stdout.readline(), b"ready\n")
            wait_for("the flood", lambda: self.outward(counter) > before + 1000)
            self.measure(kind)
            taken, there = ephemeral_ports()
            print("%s: %d ephemeral ports" % (kind, taken))
            self.assertLess(taken, 0.55 * there)
        finally:
            proc.kill()
            proc.wait()
            proc.stdout.close()

    def test_syn(self):
        self.flood("syn", BLACKHOLE, "tcpSyns")
        # A new connection works, while the flood's still wait.
        with self.inside.connect(SERVER4, 80) as s:
            s.sendall(b"question")
            self.assertEqual(s.recv(100), b"question")

    def test_udp(self):
        self.flood("udp", SERVER4, "udpDatagramsUp")
        with self.inside.udp(SERVER4, 7, timeout=2) as s:
            def answered():
                s.send(b"question")
                try:
                    return s.recv(100) == b"question"
                except TimeoutError:
                    return False
            wait_for("an answer", answered)

    def test_connections(self):
        self.flood("connections", SERVER4, "tcpConnected")


if __name__ == "__main__":
    rkit.main()
