#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=builtin: whoever floods the way out leaves published ports and the host's own ports alone."""

import os
import subprocess
import time

import rkit
from rkit import net
from rkit.launch import popen, wait_for
from rkit.peers import TcpServer, echo
from rkit.wayout import SERVER4, NetBuiltinCase
from rkit.world import sh

BLACKHOLE = "198.51.100.9"

# Run by root of the namespace: as fast as it goes.
FLOOD = """
import random, socket, struct, sys
kind, to = sys.argv[1], sys.argv[2]
source = "10.0.2.100"

def checksum(data):
    s = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    s = (s >> 16) + (s & 0xffff)
    return ~(s + (s >> 16)) & 0xffff

def syn(to):
    tcp = struct.pack("!HHIIBBHHH", random.randrange(1024, 65536), random.randrange(1, 65536),
                      random.randrange(1 << 32), 0, 0x50, 2, 65535, 0, 0)
    pseudo = socket.inet_aton(source) + socket.inet_aton(to) + struct.pack("!HH", 6, len(tcp))
    return tcp[:16] + struct.pack("!H", checksum(pseudo + tcp)) + tcp[18:]

print("ready", flush=True)
if kind == "syn":
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    while True:
        s.sendto(syn(to), (to, 0))
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
    """How many of those that the kernel gives to connections are taken, and how many there are."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        first, last = (int(n) for n in f.read().split())
    taken = set()
    for name in "tcp", "tcp6", "udp", "udp6":
        with open("/proc/net/" + name) as f:
            next(f)
            for line in f:
                words = line.split()
                # TIME_WAIT is what any client of the host leaves, too.
                if words[3] != "06":
                    taken.add((name[:3], int(words[1].rpartition(":")[2], 16)))
    counts = [sum(1 for kind, port in taken if kind == k and first <= port <= last)
              for k in ("tcp", "udp")]
    return max(counts), last - first + 1


class TestFloods(NetBuiltinCase):
    args = ("--port-driver=builtin",)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        sh("ip", "netns", "exec", os.path.basename(cls.server), "ip", "route", "add", "blackhole",
           BLACKHOLE)
        cls.stack.enter_context(TcpServer(echo, port=80, netns=cls.inside.netns))
        cls.rk.add(8080, 80)

    def ask(self):
        """A connection through the published port, in ms."""
        start = time.monotonic()
        with net.connect("127.0.0.1", 8080) as s:
            s.sendall(b"question")
            self.assertEqual(s.recv(100), b"question")
        return 1000 * (time.monotonic() - start)

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
            took = sorted(self.ask() for _ in range(200))
            taken, there = ephemeral_ports()
            print("%s: p50 %.1f ms, p99 %.1f ms, %d ephemeral ports" %
                  (kind, took[100], took[197], taken))
            self.assertLess(taken, 0.55 * there)
        finally:
            proc.kill()
            proc.wait()
            proc.stdout.close()

    def test_syn(self):
        self.flood("syn", BLACKHOLE, "tcpSyns")
        # Those who want to go out can, while the rest of it still waits.
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
