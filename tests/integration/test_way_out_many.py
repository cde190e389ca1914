#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=builtin: ten thousand at once, TCP connections and UDP mappings."""

import contextlib
import os
import resource
import select
import socket
import threading

import rkit
from rkit import net
from rkit.launch import DEADLINE_S, processes_of, role_of, wait_for
from rkit.peers import background
from rkit.wayout import SERVER4, NetBuiltinCase

N = 10000

# Half of the data plane's descriptors are for the way out, two a connection and one a mapping, of which
# no more than a quarter of that may be; and no worker gets exactly its share.
LIMIT = 131072
LIMIT_A_CONNECTION, LIMIT_A_MAPPING = 6, 13


def raise_limit():
    """The limit there was, and the one there is now: a hard one only root of the machine can raise."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    new = LIMIT if old[1] < LIMIT else old[1]
    with contextlib.suppress(ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (new, new))
        return old, new
    resource.setrlimit(resource.RLIMIT_NOFILE, (old[1], old[1]))
    return old, old[1]


class TestTenThousand(NetBuiltinCase):
    """Ten thousand, or as many as the limit of descriptors allows where it cannot be raised."""

    @classmethod
    def setUpClass(cls):
        cls.limit, limit = raise_limit()
        cls.connections = min(N, limit // LIMIT_A_CONNECTION)
        cls.mappings = min(N, limit // LIMIT_A_MAPPING)
        print("limit of descriptors %d: %d connections, %d mappings" %
              (limit, cls.connections, cls.mappings))
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        resource.setrlimit(resource.RLIMIT_NOFILE, cls.limit)

    def outward(self, name):
        return self.rk.api("GET", "/v1/stats")[1]["total"]["outward"][name]

    def serve(self, listening, stop):
        """Echoes with one thread."""
        poll = select.epoll()
        poll.register(listening, select.EPOLLIN)
        socks = {}
        while not stop.is_set():
            for fd, _ in poll.poll(0.2):
                if fd == listening.fileno():
                    with contextlib.suppress(BlockingIOError):
                        while True:
                            c = listening.accept()[0]
                            socks[c.fileno()] = c
                            poll.register(c, select.EPOLLIN)
                    continue
                data = socks[fd].recv(100)
                if data:
                    socks[fd].send(data)
                else:
                    poll.unregister(fd)
                    socks.pop(fd).close()
        for c in socks.values():
            c.close()

    def exchange(self, socks, text):
        """All have sent before the first one reads."""
        for i, s in enumerate(socks):
            s.sendall(text % i)
        for i, s in enumerate(socks):
            self.assertEqual(s.recv(20), text % i)

    def test_tcp(self):
        stop = threading.Event()
        with net.bound(socket.SOCK_STREAM, "0.0.0.0", 8050, self.server) as listening:
            listening.setblocking(False)
            job = background(self.serve, listening, stop)
            socks = net.in_netns(self.inside.netns,
                                 lambda: [socket.socket() for _ in range(self.connections)])
            try:
                for s in socks:
                    s.settimeout(DEADLINE_S)
                    s.connect((SERVER4, 8050))
                self.exchange(socks, b"%d")
                self.assertGreaterEqual(self.outward("tcpFlows"), self.connections)
                self.exchange(socks, b"again %d")
            finally:
                for s in socks:
                    s.close()
                stop.set()
                job.result()
        wait_for("flows to end", lambda: self.outward("tcpFlows") == 0)
        wait_for("their descriptors", lambda: self.fds() < 1000)

    def fds(self):
        pid = [p for p in processes_of(self.rk.pid) if role_of(p) == "dataplane"][0]
        return len(os.listdir("/proc/%d/fd" % pid))

    def serve_udp(self, sock, stop):
        """Says to each where it comes from."""
        sock.settimeout(0.2)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                data, address = sock.recvfrom(100)
                sock.sendto(b"%s %d" % (data, address[1]), address)

    def ask(self, s, text):
        """The port outside. What has been asked may have been lost where the machine is busy."""
        s.settimeout(1)
        for _ in range(DEADLINE_S):
            with contextlib.suppress(TimeoutError):
                while True:
                    said, port = s.recv(100).rsplit(b" ", 1)
                    if said == text:
                        return int(port)
            s.send(text)
        self.fail("no answer")

    def test_udp(self):
        """Each has a mapping of its own, and keeps it."""
        stop = threading.Event()
        with net.bound(socket.SOCK_DGRAM, "0.0.0.0", 8051, self.server) as sock:
            job = background(self.serve_udp, sock, stop)
            socks = net.in_netns(self.inside.netns, lambda: [
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(self.mappings)])
            try:
                ports = []
                for first in range(0, self.mappings, 20):  # no more than buffers take
                    some = list(enumerate(socks))[first:first + 20]
                    for i, s in some:
                        s.connect((SERVER4, 8051))
                        s.send(b"%d" % i)
                    ports += [self.ask(s, b"%d" % i) for i, s in some]
                if self.outward("udpExpired"):
                    self.skipTest("the machine takes longer than a mapping without datagrams lives")
                self.assertEqual(len(set(ports)), self.mappings)
                self.assertGreaterEqual(self.outward("udpFlows"), self.mappings)
                self.assertEqual(self.outward("udpEvicted"), 0)
                for i in range(0, self.mappings, 97):
                    socks[i].send(b"again %d" % i)
                    self.assertEqual(self.ask(socks[i], b"again %d" % i), ports[i])
            finally:
                for s in socks:
                    s.close()
                stop.set()
                job.result()


if __name__ == "__main__":
    rkit.main()
