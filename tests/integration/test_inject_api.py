#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counted fault injection, as in test_inject.py, into a running rootlesskit: the n-th call of each kind fails
in one of its processes while ports are added, used and removed. A request may fail with an error. A port that
is listed must work, and one that is not must be free. Afterwards all must be as before."""

import contextlib
import http.client

import rkit
from rkit import inject, leaks, net
from rkit.launch import ApiError, Rootlesskit, wait_for
from rkit.peers import TcpServer, UdpServer, hello

# System call: its error, and how many of its calls are tried, one in each run. The parent's epoll_ctl(2) is
# left out: libmicrohttpd ends the process when it cannot remove a descriptor, which does not happen.
PARENT = {
    "accept4": ("EMFILE", 3), "socket": ("ENFILE", 4), "bind": ("EADDRINUSE", 4),
    "listen": ("EADDRINUSE", 3), "setsockopt": ("ENOMEM", 8), "getsockopt": ("ENOBUFS", 3),
    "getsockname": ("ENOBUFS", 2), "sendmsg": ("ENOBUFS", 6), "recvmsg": ("ENOMEM", 6),
    "recvfrom": ("ECONNRESET", 3), "sendto": ("EPIPE", 3),
    "timerfd_settime": ("EINVAL", 3), "openat": ("ENFILE", 2), "read": ("EIO", 4),
    "pread64": ("EIO", 2), "fcntl": ("EMFILE", 4), "ioctl": ("EBUSY", 2), "shutdown": ("ENOTCONN", 2),
}
DATAPLANE = {
    "accept4": ("EMFILE", 3), "connect": ("ENETDOWN", 2), "setsockopt": ("ENOMEM", 4),
    "getsockopt": ("ENOBUFS", 4), "sendmsg": ("ENOBUFS", 8), "recvmsg": ("ENOMEM", 10),
    "pipe2": ("EMFILE", 2), "sendto": ("ENOBUFS", 3), "recvfrom": ("ENOMEM", 3), "splice": ("ENOMEM", 2),
    "shutdown": ("ENOTCONN", 2),
    "io_uring_enter": ("EBUSY", 3), "epoll_ctl": ("ENOMEM", 4), "getpeername": ("ENOBUFS", 2),
}
BROKER = {"socket": ("ENFILE", 4), "setsockopt": ("ENOMEM", 6), "sendmsg": ("ENOBUFS", 3),
          "recvmsg": ("ENOMEM", 3), "bind": ("EADDRINUSE", 2), "poll": ("ENOMEM", 2)}


@rkit.needs("strace")
@rkit.ours("has other processes")
class InjectApi(rkit.RkTestCase):
    RUN = 1  # how many calls fail, one after the other
    LEAST = 6  # calls that fail in a process

    def try_everything(self, rk):
        """Makes requests and traffic. Any of it may fail."""
        added = []
        for proto, port, to in (("tcp", 18081, 80), ("udp", 18082, 7), ("tcp", 18083, 80)):
            with contextlib.suppress(ApiError, OSError, ValueError, EOFError, http.client.HTTPException):
                added.append(rk.add(port, to, proto=proto))
        with contextlib.suppress(OSError), socket_to(18081) as s:
            s.recv(10)
        with contextlib.suppress(OSError), net.udp_client("127.0.0.1", 18082) as s:
            s.settimeout(0.2)
            s.send(b"x")
            s.recv(10)
        for number in added[:2]:
            with contextlib.suppress(ApiError, OSError, ValueError, http.client.HTTPException):
                rk.remove(number)

    def check(self, rk):
        """Once no call fails any more, each port that is listed works and can be removed. Then the ports are
        free."""
        def lists():
            try:
                return [rk.ports()]
            except (OSError, ValueError, http.client.HTTPException):
                return None
        (ports,) = wait_for("the list of ports", lists)
        for port in ports:
            if port["spec"]["proto"] == "tcp":
                number = port["spec"]["parentPort"]
                wait_for("port %d" % number, lambda: self.answers(number))
            rk.remove(port["id"])
        for number in (18081, 18083):
            wait_for("port %d to be free" % number, lambda: self.works_anew(rk, number))
        self.assertEqual(rk.ports(), [])
        self.assertIsNone(rk.proc.poll())

    def works_anew(self, rk, number):
        try:
            port = rk.add(number, 80)
        except ApiError:
            return False
        wait_for("port %d" % number, lambda: self.answers(number))
        rk.remove(port)
        return True

    def answers(self, number):
        try:
            with socket_to(number) as s:
                return s.recv(10) == b"yes"
        except OSError:
            return False

    def each(self, role, calls, *options):
        tried = 0
        for call, (error, most) in calls.items():
            for number in range(1, most + 1):
                with self.subTest(role=role, call=call, number=number):
                    self.one(role, call, error, number, options)
                if not inject.was_hit():
                    break
                tried += 1
        print("        %s: %d calls failed" % (role, tried))
        self.assertGreaterEqual(tried, self.LEAST)

    def one(self, role, call, error, number, options):
        with Rootlesskit("--net=none", "--port-driver=builtin", "--workers=1", *options) as rk, \
                TcpServer(hello("yes"), netns=rk.netns()), UdpServer(port=7, netns=rk.netns()):
            leaks.fd_counts_at_rest(rk)
            before = self.descriptors(rk)
            with inject.failing(leaks.own_processes(rk)[role], call, error, number, self.RUN):
                self.try_everything(rk)
            self.check(rk)
            wait_for("descriptors as before", lambda: self.descriptors(rk) == before)

    def descriptors(self, rk):
        """Numbers of descriptors, without the data plane's, which keeps sockets for a while (test_leaks)."""
        return {name: n for name, n in leaks.fd_counts(rk).items() if name != "dataplane"}

    def test_parent(self):
        self.each("parent", PARENT)

    def test_data_plane(self):
        for backend in ("io_uring", "epoll"):
            self.each("dataplane", DATAPLANE, "--dataplane=" + backend)

    def test_broker(self):
        self.each("broker", BROKER)


class InjectRuns(InjectApi):
    """Messages between our processes, when memory is short for some time: whoever gives up at the second
    failure of a call gives up here."""
    RUN, LEAST = 6, 2
    MESSAGES = {"sendmsg": ("ENOBUFS", 6), "recvmsg": ("ENOMEM", 6)}

    def test_parent(self):
        self.each("parent", self.MESSAGES)

    def test_data_plane(self):
        for backend in ("io_uring", "epoll"):
            self.each("dataplane", self.MESSAGES, "--dataplane=" + backend)

    def test_broker(self):
        self.each("broker", self.MESSAGES)


def socket_to(port):
    s = net.connect("127.0.0.1", port)
    s.settimeout(2)
    return s


if __name__ == "__main__":
    rkit.main()
