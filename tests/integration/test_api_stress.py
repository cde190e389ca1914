#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""1,500 idle, slow and hostile clients of the API, beside a client that adds and removes 100 ports a second.

RKIT_STRESS_S is for how long, 20 s by default.
"""

import os
import random
import resource
import socket
import threading
import time

import rkit
from rkit import leaks
from rkit.launch import wait_for
from rkit.peers import background
from rkit.ports import PortTestCase

CLIENTS = 1500
PORTS_A_SECOND = 100
SECONDS = int(os.environ.get("RKIT_STRESS_S", 20))

GET = b"GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 80\r\n\r\n{\"proto\":"


class Nuisance:
    """A bad client, which connects again when the server has closed its connection."""

    KINDS = (
        ("idle", b""),
        ("part of a request", GET[:20]),
        ("part of a body", POST),
        ("pipelined, reads nothing", GET * 200),
        ("garbage", bytes(range(256)) * 4),
        ("lies about its length", b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n{"),
        ("listens and does not read", b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a byte at a time", None),
        ("shuts its end", GET[:-2]),
    )

    def __init__(self, path, number):
        self.path = path
        self.kind, self.data = self.KINDS[number % len(self.KINDS)]
        self.sock = None

    def step(self):
        """Does a little. Returns whether it had to connect."""
        try:
            if self.sock is None:
                self.connect()
                return True
            if self.data is None:
                self.sock.send(GET[self.sent % len(GET):][:1])
                self.sent += 1
            if self.sock.recv(1, socket.MSG_PEEK) == b"":
                self.close()
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        return False

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.setblocking(False)
        self.sent = 0
        self.sock.connect(self.path)
        if self.data:
            self.sock.send(self.data)
        if self.kind == "shuts its end":
            self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        if self.sock:
            self.sock.close()
        self.sock = None


class Stress(PortTestCase):
    not_reference = "takes as many connections as there are descriptors"

    def setUp(self):
        super().setUp()
        self.limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(self.limit[1], 8192), self.limit[1]))

    def tearDown(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, self.limit)
        super().tearDown()

    def bother(self, stop, nuisances):
        connects = 0
        while not stop.is_set():
            random.shuffle(nuisances)
            for n in nuisances:
                connects += n.step()
                if stop.is_set():
                    break
            time.sleep(0.02)
        for n in nuisances:
            n.close()
        return connects

    def work(self, stop):
        """Adds and removes ports, at PORTS_A_SECOND if the machine can. A wrong answer raises."""
        done, start = 0, time.monotonic()
        while not stop.is_set():
            port = self.rk.add(20000 + done % 500, 80)
            self.rk.remove(port)
            done += 1
            ahead = done / PORTS_A_SECOND - (time.monotonic() - start)
            if ahead > 0:
                time.sleep(min(ahead, 0.1))
        return done

    def test_nothing_is_lost_and_nothing_grows(self):
        descriptors = leaks.fd_counts_at_rest(self.rk)
        keeper = self.rk.add(19999, 80)
        path = self.rk.state + "/api.sock"
        stop = threading.Event()
        jobs = [background(self.bother, stop, [Nuisance(path, i) for i in range(at, CLIENTS, 3)])
                for at in range(3)]
        worker = background(self.work, stop)
        try:
            time.sleep(SECONDS / 4)
            memory = leaks.memory_kib(self.rk)
            time.sleep(SECONDS * 3 / 4)
            grown = leaks.memory_kib(self.rk) - memory
        finally:
            stop.set()
        done, connects = worker.result(), sum(job.result() for job in jobs)
        print("        %d ports added and removed in %d s, %d connections of others, %+d KiB"
              % (done, SECONDS, connects, grown))
        self.assertGreater(done, 0)
        self.assertGreater(connects, CLIENTS / 2)
        self.assertLess(grown, 8192)
        self.assertEqual([p["id"] for p in self.rk.ports()], [keeper])
        self.rk.remove(keeper)
        wait_for("descriptors as before", lambda: leaks.fd_counts(self.rk) == descriptors)


if __name__ == "__main__":
    rkit.main()
