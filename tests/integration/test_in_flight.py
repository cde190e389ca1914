#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The number of descriptors on their way between processes is limited for each user (unix(7), ETOOMANYREFS).
Any process of the user can use all of them up. rootlesskit then waits for a while, and says what is wrong."""

import contextlib
import os
import signal
import subprocess
import threading
import time

import rkit
from rkit import net
from rkit.case import BACKENDS
from rkit.launch import DEADLINE_S, ApiError, Rootlesskit, find_role, popen, wait_for
from rkit.peers import TcpServer, background, echo, receive_exactly

# A user for this test alone: the kernel counts by user, and other tests run at the same time.
NAME, UID = "rkflight", 20078
LIMIT = 1024
WHY = "too many descriptors of the user's are on their way"

HOG = """
import array, os, socket, sys
fd = os.open("/dev/null", os.O_RDONLY)
pairs = []
try:
    while True:
        pairs.append(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        for _ in range(4):
            pairs[-1][0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                           array.array("i", [fd] * 250))])
except OSError as e:
    print(e, flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def neighbour():
    """A process of the same user that keeps as many descriptors on their way as its own limit allows. That
    limit is above rootlesskit's."""
    proc = popen(["prlimit", "--nofile=%d" % (4 * LIMIT), "python3", "-c", HOG], uid=UID,
                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = proc.stdout.readline()
        assert "Too many references" in line, line
        yield proc
    finally:
        proc.kill()
        proc.wait()
        proc.stdin.close()
        proc.stdout.close()


@rkit.ours("passes no descriptors")
class InFlight(rkit.RkTestCase):
    def setUp(self):
        super().setUp()
        if not any(line.startswith(NAME + ":") for line in open("/etc/passwd")):
            self.world.add_user(NAME, UID, (53000, 1000))

    def start(self, *args, backend="epoll", net="none"):
        return Rootlesskit("--net=" + net, "--port-driver=builtin", "--dataplane=" + backend, "--workers=2",
                           *args, uid=UID, before=("prlimit", "--nofile=%d:%d" % (LIMIT, LIMIT)))

    def exchange(self, port):
        with net.connect("127.0.0.1", port, timeout=DEADLINE_S) as c:
            c.sendall(b"question")
            return receive_exactly(c, 8)

    def dataplane(self, rk):
        return find_role(rk.pid, "dataplane")

    def kill(self, rk):
        pid = self.dataplane(rk)
        os.kill(pid, signal.SIGKILL)
        wait_for("its end", lambda: self.dataplane(rk) != pid)

    def for_a_moment(self, hog):
        """Ends the neighbour after a second, before rootlesskit stops waiting."""
        timer = threading.Timer(1, hog.kill)
        timer.start()
        self.addCleanup(timer.join)

    def test_start_waits(self):
        for backend in BACKENDS:
            with self.subTest(backend), neighbour() as hog:
                self.for_a_moment(hog)
                with self.start("-p", "127.0.0.1:18080:80/tcp", backend=backend) as rk, \
                        TcpServer(echo, netns=rk.netns()):
                    self.assertEqual(self.exchange(18080), b"question")

    def test_start_does_not_wait_for_ever(self):
        for args in ({}, {"net": "builtin"}):
            with self.subTest(args), neighbour():
                rk = self.start(**args)
                self.assertEqual(rk.wait(2 * DEADLINE_S), 1)
                self.assertIn(WHY, rk.log())
                rk.stop()

    def test_another_data_plane_waits(self):
        for backend in BACKENDS:
            with self.subTest(backend), self.start("-p", "127.0.0.1:18080:80/tcp", backend=backend) as rk, \
                    TcpServer(echo, netns=rk.netns()):
                with neighbour() as hog:
                    self.kill(rk)
                    job = background(self.exchange, 18080)
                    self.for_a_moment(hog)
                    self.assertEqual(job.result(), b"question")
                self.assertNotIn(WHY, rk.log())

    def test_another_data_plane_comes_at_last(self):
        with self.start("-p", "127.0.0.1:18080:80/tcp") as rk, TcpServer(echo, netns=rk.netns()):
            with neighbour():
                self.kill(rk)
                wait_for("the reason", lambda: WHY in rk.log(), 2 * DEADLINE_S)
                self.assertIsNone(rk.proc.poll())
            self.assertEqual(self.exchange(18080), b"question")

    def test_port_is_refused(self):
        """The request waits, and then is refused with the reason. Later the port can be added."""
        with self.start() as rk, TcpServer(echo, netns=rk.netns()):
            for more in ({}, {"child_listen_ip": "127.0.0.1"}):
                with self.subTest(more):
                    with neighbour():
                        start = time.monotonic()
                        with self.assertRaises(ApiError) as caught:
                            rk.add(18080, 80, **more)
                        self.assertGreater(time.monotonic() - start, 2)
                        self.assertIn(WHY, str(caught.exception))
                    self.assertEqual(rk.ports(), [])
                    port = rk.add(18080, 80)
                    self.assertEqual(self.exchange(18080), b"question")
                    rk.remove(port)

    def test_port_waits(self):
        with self.start() as rk, TcpServer(echo, netns=rk.netns()), neighbour() as hog:
            self.for_a_moment(hog)
            rk.add(18080, 80)
            self.assertEqual(self.exchange(18080), b"question")

    def test_connections_wait(self):
        """Connections that need a socket from the broker are served when it can send one."""
        with self.start("-p", "127.0.0.1:18080:80/tcp") as rk, TcpServer(echo, netns=rk.netns()):
            with neighbour() as hog:
                jobs = [background(self.exchange, 18080) for _ in range(60)]
                self.for_a_moment(hog)
                for job in jobs:
                    self.assertEqual(job.result(), b"question")


if __name__ == "__main__":
    rkit.main()
