#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counted fault injection, as in test_inject_api.py, into a rootlesskit with a way out that runs: calls fail
in one of its processes while connections go out and come in, ports come and go, rules are taken away, and
another data plane takes over. What fails meanwhile is forgiven; when nothing fails any more, all works."""

import contextlib
import http.client
import os
import signal

import rkit
from rkit import inject, net
from rkit.launch import ApiError, Rootlesskit, processes_of, role_of, wait_for
from rkit.networks import PEER, probe, surroundings
from rkit.peers import TcpServer, UdpServer, echo
from rkit.ports import both_backends
from rkit.wayout import SERVER4, NetBuiltinCase
from rkit.world import write

FORGIVEN = (ApiError, OSError, ValueError, EOFError, http.client.HTTPException)
HOST = "192.0.2.1"  # as the neighbour sees it
DNS = "10.0.2.3"

# As in test_inject_api.py. A run of calls fails: whoever gives up at the second failure gives up here.
PARENT = {"sendmsg": ("ENOBUFS", 8), "recvmsg": ("ENOMEM", 8), "sendto": ("ENOBUFS", 3),
          "recvfrom": ("ENOMEM", 3), "socketpair": ("EMFILE", 3), "epoll_wait": ("EINTR", 4)}
DATAPLANE = {"sendmsg": ("ENOBUFS", 8), "recvmsg": ("ENOMEM", 8), "sendto": ("ENOBUFS", 8),
             "recvfrom": ("ENOMEM", 8), "socket": ("ENFILE", 4), "connect": ("ENOBUFS", 4),
             "setsockopt": ("ENOMEM", 6), "getsockopt": ("ENOBUFS", 6), "bind": ("ENOMEM", 4),
             "accept4": ("ENFILE", 4), "io_uring_enter": ("EAGAIN", 4), "epoll_ctl": ("ENOMEM", 8),
             "epoll_wait": ("EINTR", 4), "epoll_pwait2": ("EINTR", 4)}
BROKER = {"sendmsg": ("ENOBUFS", 4), "recvmsg": ("ENOMEM", 4), "socket": ("ENFILE", 4),
          "setsockopt": ("ENOMEM", 6), "poll": ("EINTR", 3)}
KEEPER = {"sendmsg": ("ENOBUFS", 2), "recvmsg": ("ENOMEM", 6), "sendto": ("ENOBUFS", 6),
          "socket": ("ENFILE", 3), "poll": ("EINTR", 3)}


class Running(NetBuiltinCase):
    """One instance for all calls."""

    args = ("--port-driver=builtin", "--workers=1", "-p", "0.0.0.0:18090:80/tcp", "-p", "0.0.0.0:18092:7/udp",
            "-p", "127.0.0.1:18091:80/tcp")
    may_die = True
    RUN = 5

    @classmethod
    def setUpClass(cls):
        super().setUpClass()

        def address(conn, client):
            conn.sendall(client[0].encode())
        cls.enterClassContext(TcpServer(address, port=80, host="0.0.0.0", netns=cls.inside.netns))
        cls.enterClassContext(UdpServer(port=7, host="0.0.0.0", netns=cls.inside.netns))

    def pid_of(self, role):
        if role == "parent":
            return self.rk.pid

        def found():
            return [p for p in processes_of(self.rk.pid) if role_of(p) == role]
        return wait_for("the " + role, found)[0]

    def each(self, role, calls, least=4):
        tried = 0
        for call, (error, most) in calls.items():
            for number in range(1, most + 1):
                with self.subTest(role=role, call=call, number=number):
                    with inject.failing(self.pid_of(role), call, error, number, self.RUN):
                        self.try_everything()
                    self.check()
                if not inject.was_hit():
                    break
                tried += 1
        print("        %s: calls failed %d times" % (role, tried))
        self.assertGreaterEqual(tried, least)

    # What may fail

    def try_everything(self):
        port = None
        with contextlib.suppress(*FORGIVEN):
            port = self.rk.add(18093, 80, parent_ip="0.0.0.0")
        for what in (lambda: self.goes_out(1), lambda: self.is_refused(1), lambda: self.asks_out(0.3),
                     lambda: self.published(18091, 1), lambda: self.published_outside(18090, 1),
                     lambda: self.published_outside(18093, 1), lambda: self.published_udp(0.3), self.rush,
                     lambda: self.rk.api("GET", "/v1/info")):
            with contextlib.suppress(*FORGIVEN):
                what()
        with contextlib.suppress(*FORGIVEN):
            if port:
                self.rk.remove(port)

    def rush(self, connections=10):
        """More connections than there are sockets made ahead, so that the brokers are asked for more."""
        with contextlib.ExitStack() as stack:
            for _ in range(connections):
                for host, port, netns in (("127.0.0.1", 18091, None), (HOST, 18090, self.server)):
                    with contextlib.suppress(OSError):
                        stack.enter_context(net.connect(host, port, timeout=1, netns=netns))

    def goes_out(self, timeout=5):
        with self.inside.connect(SERVER4, 80, timeout=timeout) as s:
            s.sendall(b"question")
            return s.recv(100) == b"question"

    def is_refused(self, timeout=5):
        return self.inside.error(SERVER4, 81, timeout=timeout) == 111  # ECONNREFUSED

    def asks_out(self, timeout=2):
        with self.inside.udp(SERVER4, 7) as s:
            s.settimeout(timeout)
            s.send(b"question")
            return s.recv(100) == b"question"

    def published(self, port, timeout=5):
        with net.connect("127.0.0.1", port, timeout=timeout) as s:
            return s.recv(100) == b"127.0.0.1"

    def published_outside(self, port, timeout=5):
        """What the server says of the client's address."""
        with net.connect(HOST, port, timeout=timeout, netns=self.server) as s:
            return s.recv(100).decode()

    def published_udp(self, timeout=2):
        with net.udp_client(HOST, 18092, netns=self.server) as s:
            s.settimeout(timeout)
            s.send(b"question")
            return s.recv(100) == b"question"

    # What must work

    def works(self, what, check):
        def tried():
            try:
                return check()
            except FORGIVEN:
                return None
        return wait_for(what, tried)

    def check(self):
        for check in (self.goes_out, self.is_refused, self.asks_out, self.published_udp):
            self.works(check.__name__, check)
        self.works("a port of the host", lambda: self.published(18091))
        self.works("a port for all", lambda: self.published_outside(18090))
        (ports,) = self.works("the list of ports", lambda: [self.rk.ports()])
        for port in ports:
            if port["spec"]["parentPort"] == 18093:
                self.rk.remove(port["id"])
        new = self.works("a new port", lambda: self.rk.add(18094, 80, parent_ip="0.0.0.0"))
        # A port that has met failures tries again later.
        self.works("the client's address", lambda: self.published_outside(18094) == SERVER4)
        self.rk.remove(new)
        self.assertIsNone(self.rk.proc.poll(), self.rk.log())


@rkit.needs("strace")
@both_backends
class WayOut(Running):
    def test_parent(self):
        self.each("parent", PARENT)

    def test_data_plane(self):
        self.each("dataplane", DATAPLANE)

    def test_broker(self):
        self.each("broker", BROKER, 1)  # sockets are made ahead

    def asks_name(self):
        with self.inside.udp(DNS, 53, timeout=2) as s:
            s.send(b"\x12\x34\1\0\0\1\0\0\0\0\0\0\7example\0\0\1\0\1")
            return s.recv(500)[:2] == b"\x12\x34"

    def test_name_servers(self):
        """They have changed, and there is no descriptor to read the file with: it is read later."""
        self.works("a name", self.asks_name)
        with inject.failing(self.rk.pid, "openat", "ENFILE", 1, 2):
            write("/etc/resolv.conf", "# again\nnameserver %s\n" % SERVER4)
            wait_for("the failure", inject.was_hit)
        self.works("a name", self.asks_name)


@rkit.needs("strace")
@both_backends
class RoutersBroker(Running):
    """An instance of its own: after many failures a port does not ask the router for a while."""

    def rush(self):
        super().rush(30)

    def test_routers_broker(self):
        self.each("router-broker", BROKER, 1)

    def test_broker_that_hangs(self):
        """Clients from outside use up its sockets, and are then served without it."""
        os.kill(self.pid_of("router-broker"), signal.SIGSTOP)
        try:
            self.rush()
            for _ in range(20):
                self.assertTrue(self.published_outside(18090, 20))
        finally:
            os.kill(self.pid_of("router-broker"), signal.SIGCONT)
        self.check()

    def test_channel_that_cannot_be_read(self):
        """A broker that meets an error which does not pass makes way for another one."""
        for role in ("router-broker", "broker"):
            pid = self.pid_of(role)
            with inject.failing(pid, "recvmsg", "EPERM", 1, 20):  # the first may be about something else
                wait_for("the next " + role,
                         lambda: self.try_everything() or self.pid_of(role) != pid)
            self.check()


@rkit.needs("strace", "nft")
class Keeper(Running):
    def try_everything(self):
        self.rk.nsenter("nft", "flush", "ruleset")
        super().try_everything()

    def check(self):
        wait_for("our rules", lambda: "rootlesskit" in self.rk.nsenter("nft", "list", "ruleset").stdout)
        super().check()

    def test_keeper(self):
        self.each("keeper", KEEPER)


@rkit.needs("strace")
@both_backends
class Reload(Running):
    """A connection that is open outlives each reload, whether that succeeds or not."""
    RUN = 4
    CALLS = {"sendmsg": ("ENOBUFS", 10), "recvmsg": ("ENOMEM", 10), "epoll_wait": ("EINTR", 3)}

    def setUp(self):
        super().setUp()
        self.enterContext(TcpServer(echo, port=81, host="0.0.0.0", netns=self.inside.netns))
        port = self.rk.add(18095, 81)
        self.addCleanup(self.rk.remove, port)
        self.held = [self.enterContext(net.connect("127.0.0.1", 18095)),
                     self.enterContext(self.inside.connect(SERVER4, 80))]

    def try_everything(self):
        with contextlib.suppress(*FORGIVEN):
            self.rk.api("POST", "/v1/reload")

    def check(self):
        for s in self.held:
            s.settimeout(60)
            s.sendall(b"still there")
            self.assertEqual(s.recv(100), b"still there")
        super().check()
        self.works("a reload", lambda: self.rk.api("POST", "/v1/reload")[0] == 200)

    def test_parent(self):
        self.each("parent", self.CALLS)

    def test_data_plane(self):
        self.each("dataplane", self.CALLS)


@rkit.needs("strace")
class Relay(rkit.RkTestCase):
    """The process that carries frames for --net=vpnkit goes on."""
    CALLS = {"read": ("ENOMEM", 6), "write": ("ENOBUFS", 6), "poll": ("EINTR", 4)}

    def test_vpnkit(self):
        if not PEER:
            self.skipTest("built without libslirp")
        with surroundings("vpnkit"), Rootlesskit("--net=vpnkit", "--disable-host-loopback",
                                                 "--copy-up=/etc") as rk:
            (relay,) = [p for p in processes_of(rk.pid) if role_of(p) == "vpnkit-relay"]
            tried = 0
            for call, (error, most) in self.CALLS.items():
                for number in range(1, most + 1):
                    with self.subTest(call=call, number=number):
                        with inject.failing(relay, call, error, number, 4):
                            probe(rk, "tcp", SERVER4, "80", "5")
                        self.assertEqual(probe(rk, "tcp", SERVER4, "80"), "question")
                    tried += inject.was_hit()
            self.assertGreater(tried, 5)
            self.assertTrue(os.path.exists("/proc/%d" % relay))
            self.assertNotIn("network", rk.log())


if __name__ == "__main__":
    rkit.main()
