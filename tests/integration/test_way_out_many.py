#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=builtin: ten thousand TCP connections at once, and as many UDP mappings."""

import contextlib
import os
import resource
import select
import socket
import threading

import rkit
from rkit import net
from rkit.launch import DEADLINE_S, find_role, wait_for
from rkit.peers import background
from rkit.wayout import SERVER4, NetBuiltinCase

N = 10000

# Half of the data plane's descriptors are for the way out. A connection takes two, a mapping one, and
# mappings may use no more than a quarter. These divisors leave some room, since the workers do not get
# exactly equal shares.
LIMIT = 131072
LIMIT_A_CONNECTION, LIMIT_A_MAPPING = 6, 13


def raise_limit():
    """Raises the limit of descriptors to LIMIT, which only the machine's root can do when the hard limit is
    lower. Returns the old limits and the new one."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    new = LIMIT if old[1] < LIMIT else old[1]
    with contextlib.suppress(ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (new, new))
        return old, new
    resource.setrlimit(resource.RLIMIT_NOFILE, (old[1], old[1]))
    return old, old[1]


class TestTenThousand(NetBuiltinCase):
    """N of each, or as many as the limit of descriptors allows."""

    workers = 1

    @classmethod
    def setUpClass(cls):
        before, limit = raise_limit()
        cls.addClassCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        cls.connections = min(N, limit // LIMIT_A_CONNECTION)
        cls.mappings = min(N, limit // LIMIT_A_MAPPING)
        print("limit of descriptors %d: %d connections, %d mappings" %
              (limit, cls.connections, cls.mappings))
        super().setUpClass()

    def outward(self, name):
        return self.rk.api("GET", "/v1/stats")[1]["total"]["outward"][name]

    def serve(self, listening, stop):
        """An echo server for all connections, in one thread."""
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
        """All sockets send before the first one receives."""
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
        pid = find_role(self.rk.pid, "dataplane")
        return len(os.listdir("/proc/%d/fd" % pid))

    def serve_udp(self, sock, stop):
        """Tells each client its port."""
        sock.settimeout(0.2)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                data, address = sock.recvfrom(100)
                sock.sendto(b"%s %d" % (data, address[1]), address)

    def ask(self, s, text):
        """The socket's port outside. A busy machine may have lost the question, so it is sent again."""
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
        """Each socket has a mapping of its own, and keeps it."""
        stop = threading.Event()
        with net.bound(socket.SOCK_DGRAM, "0.0.0.0", 8051, self.server) as sock:
            job = background(self.serve_udp, sock, stop)
            socks = net.in_netns(self.inside.netns, lambda: [
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(self.mappings)])
            try:
                ports = []
                for first in range(0, self.mappings, 20):  # as many at once as fit into buffers
                    some = list(enumerate(socks))[first:first + 20]
                    for i, s in some:
                        s.connect((SERVER4, 8051))
                        s.send(b"%d" % i)
                    ports += [self.ask(s, b"%d" % i) for i, s in some]
                if self.outward("udpExpired"):
                    self.skipTest("the machine is so slow that idle mappings have expired meanwhile")
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


class TestTenThousandByTwo(TestTenThousand):
    workers = 2


if __name__ == "__main__":
    rkit.main()
