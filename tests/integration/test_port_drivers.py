#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The port drivers that are programs of others: socat, and slirp4netns by its API."""

import collections
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time

import rkit
from rkit import leaks, net
from rkit.launch import ApiError, Rootlesskit, comm, processes_of, role_of, rootlesskit, wait_for
from rkit.networks import ask, exchange, exchange_over
from rkit.peers import (TcpServer, UdpServer, background, echo, hello, payload_hash, receive,
                        receive_exactly, send_payload)
from rkit.world import write

NET = ["--net=slirp4netns", "--copy-up=/etc"]
SAFE = NET + ["--disable-host-loopback"]
SOCAT = SAFE + ["--port-driver=socat"]
SLIRP = NET + ["--port-driver=slirp4netns"]
CHILD = "10.0.2.100"


def pids_of(name):
    """The processes with this name."""
    return [pid for pid in leaks.processes() if comm(pid) == name]


def the_pid_of(name):
    pids = pids_of(name)
    assert len(pids) == 1, "%s: %s" % (name, pids)
    return pids[0]


def kill(pid):
    """Kills a process, which may have ended by itself."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def ended(pid):
    """Whether a process has ended, even when nobody has waited for it yet."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def listens(port, host="127.0.0.1"):
    try:
        net.connect(host, port).close()
    except ConnectionRefusedError:
        return False
    return True


class OfBoth:
    """Tests for both drivers. Subclasses set the options, and the address on which a server in the namespace
    has to listen."""

    options = server = None

    def test_tcp_payload_both_ways(self):
        size = 3_000_000
        with Rootlesskit(*self.options, "-p", "127.0.0.1:18080:80/tcp") as rk, \
                TcpServer(echo, host=self.server, netns=rk.netns()):
            self.assertEqual(exchange("127.0.0.1", 18080, size), (size, payload_hash(size)))

    def test_many_connections(self):
        with Rootlesskit(*self.options) as rk, \
                TcpServer(echo, host=self.server, netns=rk.netns()):
            rk.add(18080, 80)
            with contextlib.ExitStack() as stack:
                # One after the other: slirp4netns listens with a backlog of one, so the kernel would reset
                # some of a burst.
                connections = [stack.enter_context(self.talking()) for _ in range(10)]
                jobs = [background(exchange_over, c, 50_000) for c in connections]
                self.assertEqual([job.result() for job in jobs],
                                 [(50_000, payload_hash(50_000))] * 10)

    def talking(self):
        """A connection whose server has answered."""
        c = net.connect("127.0.0.1", 18080)
        c.sendall(b"x")
        self.assertEqual(c.recv(1), b"x")
        return c

    def test_udp(self):
        with Rootlesskit(*self.options, "-p", "127.0.0.1:18053:53/udp") as rk, \
                UdpServer(host=self.server, netns=rk.netns()):
            for data in (b"question", b"x" * 1400):
                self.assertEqual(ask("127.0.0.1", 18053, data), data)

    def test_child_ip(self):
        with Rootlesskit(*self.options) as rk, \
                TcpServer(hello("tap"), host=CHILD, netns=rk.netns()):
            rk.add(18080, 80, proto="tcp4", child_ip=CHILD)
            with net.connect("127.0.0.1", 18080) as c:
                self.assertEqual(receive_exactly(c, 3), b"tap")

    @rkit.ours("slirp4netns refuses the address")
    def test_mapped_addresses(self):
        """dockerd 28 sends addresses as ::ffff:..., and the list shows them as they were sent."""
        for parent in ("127.0.0.1", "::ffff:127.0.0.1"):
            with self.subTest(parent), Rootlesskit(*self.options) as rk, \
                    TcpServer(hello("tap"), host=CHILD, netns=rk.netns()), \
                    UdpServer(host=CHILD, netns=rk.netns()):
                rk.add(18080, 80, parent_ip=parent, child_ip="::ffff:" + CHILD)
                with net.connect("127.0.0.1", 18080) as c:
                    self.assertEqual(receive_exactly(c, 3), b"tap")
                rk.add(18053, 53, proto="udp", parent_ip=parent, child_ip="::ffff:" + CHILD)
                self.assertEqual(ask("127.0.0.1", 18053, b"question"), b"question")
                self.assertEqual([(p["spec"]["parentIP"], p["spec"]["childIP"])
                                  for p in rk.ports()], [(parent, "::ffff:" + CHILD)] * 2)

    def test_every_address(self):
        with net.neighbour("client") as client, Rootlesskit(*self.options) as rk, \
                TcpServer(hello("in"), host="0.0.0.0", netns=rk.netns()):
            rk.add(18080, 80, parent_ip="0.0.0.0")
            for host, netns in (("127.0.0.1", None), ("192.0.2.2", client)):
                with net.connect(host, 18080, netns=netns) as c:
                    self.assertEqual(receive_exactly(c, 2), b"in")

    @rkit.ours("other words for an unknown id")
    def test_list_and_removal(self):
        with Rootlesskit(*self.options, "-p", "127.0.0.1:18080:80/tcp") as rk, \
                TcpServer(echo, host=self.server, netns=rk.netns()):
            self.assertEqual(rk.add(18081, 80), 2)
            self.assertEqual(rk.add(18080, 80, proto="udp"), 3)
            self.assertEqual([port["id"] for port in rk.ports()], [1, 2, 3])
            for number in (1, 3):
                rk.remove(number)
            self.assertEqual([port["id"] for port in rk.ports()], [2])
            with self.assertRaises(ConnectionRefusedError):
                net.connect("127.0.0.1", 18080).close()
            self.assertEqual(exchange("127.0.0.1", 18081, 1000)[0], 1000)
            self.assertEqual(rk.add(18080, 80), 4)
            self.assertEqual(exchange("127.0.0.1", 18080, 1000)[0], 1000)
            with self.assertRaisesRegex(ApiError, "unknown id: 1"):
                rk.remove(1)

    @rkit.ours("says only that it failed")
    def test_refused_ports_say_why_and_leave_nothing(self):
        with Rootlesskit(*self.options) as rk, \
                net.bound(socket.SOCK_STREAM, "127.0.0.1", 18099), \
                net.bound(socket.SOCK_DGRAM, "127.0.0.1", 18099):
            rk.wait_for_command()
            rk.ports()  # the first request has the HTTP server started
            before = leaks.descriptors(rk.pid), len(processes_of(rk.pid))
            for why, spec in (("address already in use", {"parent_port": 18099}),
                              ("address already in use", {"parent_port": 18099, "proto": "udp"}),
                              ("cannot assign requested address",
                               {"parent_port": 18098, "parent_ip": "198.51.100.77"}),
                              ("net.ipv4.ip_unprivileged_port_start", {"parent_port": 81}),
                              ("sctp|arguments.proto", {"parent_port": 18097, "proto": "sctp"}),
                              ("unknown proto", {"parent_port": 18097, "proto": "foo"}),
                              ("invalid ParentIP", {"parent_port": 18097, "parent_ip": "x"})):
                with self.subTest(**spec), self.assertRaisesRegex(ApiError, why):
                    rk.add(child_port=80, **spec)
            rk.add(18080, 80)
            with self.assertRaisesRegex(ApiError, "conflict with ID 1"):
                rk.add(18080, 81)
            rk.remove(1)
            self.assertEqual(rk.ports(), [])
            wait_for("the same processes", lambda: len(processes_of(rk.pid)) == before[1])
            # A connection of the API may still have been open at the first look, or may be now.
            wait_for("the same descriptors: %s" % before[0], lambda: not collections.Counter(
                leaks.descriptors(rk.pid)) - collections.Counter(before[0]))

    @rkit.ours("says only that it failed")
    def test_a_port_of_the_command_line_that_fails_ends_it(self):
        with net.bound(socket.SOCK_STREAM, "127.0.0.1", 18099):
            got = rootlesskit(*self.options, "-p", "127.0.0.1:18080:80/tcp", "-p",
                              "127.0.0.1:18099:80/tcp", "true")
            self.assertEqual(got.returncode, 1)
            self.assertRegex(got.stderr, "18099.*address already in use")

    @rkit.ours("says nothing")
    def test_deprecation_is_said(self):
        got = rootlesskit(*self.options, "true")
        self.assertRegex(got.stderr, "warning: .*deprecated")
        self.assertEqual(got.returncode, 0)

    @rkit.ours("since 2.0")
    def test_with_a_detached_namespace(self):
        with Rootlesskit(*self.options, "--detach-netns", "-p", "127.0.0.1:18080:80/tcp") as rk:
            path = "/proc/%d/root%s/netns" % (rk.child_pid, rk.state)
            with TcpServer(echo, host=self.server, netns=path):
                self.assertEqual(exchange("127.0.0.1", 18080, 10_000)[0], 10_000)

    def test_nothing_outlives_the_parent(self):
        rk = Rootlesskit(*self.options, "-p", "127.0.0.1:18080:80/tcp", "-p",
                         "127.0.0.1:18080:80/udp").ready()
        with TcpServer(echo, host=self.server, netns=rk.netns()), \
                UdpServer(port=80, host=self.server, netns=rk.netns()):
            with net.connect("127.0.0.1", 18080) as c:
                c.sendall(b"open")
                self.assertEqual(receive_exactly(c, 4), b"open")
                self.assertEqual(ask("127.0.0.1", 18080, b"open"), b"open")
                os.kill(rk.pid, signal.SIGKILL)
                rk.wait()
                wait_for("all processes to end",
                         lambda: not set(leaks.processes()) - self.processes_before)
        net.bound(socket.SOCK_STREAM, "127.0.0.1", 18080).close()
        rk.forget_state()


@rkit.ours("has no such driver")
@rkit.needs("slirp4netns", "tun", "socat", "nsenter")
class Socat(OfBoth, rkit.RkTestCase):
    options, server = SOCAT, "127.0.0.1"

    def test_information(self):
        with Rootlesskit(*SOCAT) as rk:
            self.assertEqual(rk.api("GET", "/v1/info")[1]["portDriver"],
                             {"driver": "socat",
                              "protos": ["tcp", "tcp4", "tcp6", "udp", "udp4", "udp6"],
                              "ranges": True})

    def test_ipv6(self):
        with Rootlesskit(*SOCAT) as rk, TcpServer(echo, host="::1", netns=rk.netns()), \
                UdpServer(host="::1", netns=rk.netns()):
            rk.add(18080, 80, parent_ip="::1", proto="tcp6")
            rk.add(18053, 53, parent_ip="::1", proto="udp6")
            self.assertEqual(exchange("::1", 18080, 10_000)[0], 10_000)
            self.assertEqual(ask("::1", 18053, b"six"), b"six")

    def test_both_families(self):
        with Rootlesskit(*SOCAT) as rk, TcpServer(echo, netns=rk.netns()):
            rk.add(18080, 80, parent_ip="0.0.0.0")
            rk.add(18081, 80, parent_ip="0.0.0.0", proto="tcp4")
            self.assertEqual(exchange("::1", 18080, 100)[0], 100)
            self.assertEqual(exchange("127.0.0.1", 18080, 100)[0], 100)
            with self.assertRaises(ConnectionRefusedError):
                net.connect("::1", 18081)

    def test_large_datagrams(self):
        with Rootlesskit(*SOCAT) as rk, UdpServer(netns=rk.netns()):
            rk.add(18053, 53, proto="udp")
            data = os.urandom(30_000)
            self.assertEqual(ask("127.0.0.1", 18053, data), data)

    def test_half_close(self):
        """The answer arrives whole, although the client has ended its half before."""
        def late(conn, _address):
            got = receive(conn)
            time.sleep(1.5)  # longer than socat's own time-out after a half-close (-t)
            send_payload(conn, 100_000)
            return got
        with Rootlesskit(*SOCAT) as rk, TcpServer(late, netns=rk.netns()) as server:
            rk.add(18080, 80)
            self.assertEqual(exchange("127.0.0.1", 18080, 5000), (100_000, payload_hash(100_000)))
            self.assertEqual(server.jobs[0].result(), (5000, payload_hash(5000)))

    def test_the_server_ends_first(self):
        """The server's end reaches the client, which has not ended its own half yet."""
        def say(conn, _address):
            conn.sendall(receive_exactly(conn, 4))
        with Rootlesskit(*SOCAT) as rk, TcpServer(say, netns=rk.netns()):
            rk.add(18080, 80)
            with net.connect("127.0.0.1", 18080) as c:
                c.sendall(b"word")
                self.assertEqual(receive(c)[0], 4)

    def test_udp_clients_that_are_silent_are_forgotten(self):
        with Rootlesskit(*SOCAT, "--udp-timeout=1s") as rk, UdpServer(netns=rk.netns()):
            rk.add(18053, 53, proto="udp")
            self.assertEqual(ask("127.0.0.1", 18053, b"one"), b"one")
            wait_for("one socat to be left", lambda: len(pids_of("socat")) == 1)
            self.assertEqual(ask("127.0.0.1", 18053, b"two"), b"two")

    def test_removal_ends_the_connections(self):
        with Rootlesskit(*SOCAT) as rk, TcpServer(echo, netns=rk.netns()):
            rk.add(18080, 80)
            with net.connect("127.0.0.1", 18080) as c:
                c.sendall(b"open")
                self.assertEqual(receive_exactly(c, 4), b"open")
                rk.remove(1)
                self.assertEqual(pids_of("socat"), [])
                self.assertIn(c.recv(1), (b"",))

    def test_a_burst_of_connections(self):
        """Connections that come while socat is stopped wait, and are all answered later."""
        with Rootlesskit(*SOCAT) as rk, TcpServer(echo, netns=rk.netns()), \
                contextlib.ExitStack() as clients:
            rk.add(18080, 80)
            pid = the_pid_of("socat")
            os.kill(pid, signal.SIGSTOP)
            conns = [clients.enter_context(net.connect("127.0.0.1", 18080)) for _ in range(64)]
            os.kill(pid, signal.SIGCONT)
            for i, c in enumerate(conns):
                c.sendall(b"%4d" % i)
            self.assertEqual([receive_exactly(c, 4) for c in conns],
                             [b"%4d" % i for i in range(64)])

    def test_a_socat_that_dies_is_started_again(self):
        with Rootlesskit(*SOCAT) as rk, TcpServer(echo, netns=rk.netns()), \
                UdpServer(port=80, netns=rk.netns()):
            rk.add(18080, 80)
            rk.add(18080, 80, proto="udp")
            self.assertEqual(ask("127.0.0.1", 18080, b"hello"), b"hello")
            with net.connect("127.0.0.1", 18080) as c:
                c.sendall(b"open")
                self.assertEqual(receive_exactly(c, 4), b"open")
                for pid in pids_of("socat"):
                    kill(pid)
                self.assertEqual(c.recv(1), b"")
            wait_for("words about it", lambda: all(
                "port %d: socat ended (exit status 137) and said nothing; starting it again" % number
                in rk.log() for number in (1, 2)))
            wait_for("the port", lambda: listens(18080))
            self.assertEqual(exchange("127.0.0.1", 18080, 1000)[0], 1000)
            self.assertEqual(ask("127.0.0.1", 18080, b"again"), b"again")
            self.assertEqual([p["id"] for p in rk.ports()], [1, 2])
            for number in (1, 2):
                rk.remove(number)
            self.assertEqual(pids_of("socat"), [])

    @contextlib.contextmanager
    def port_taken(self, rk):
        """Kills the port's socat, and takes its port before the next socat can."""
        guard = [pid for pid in leaks.processes() if role_of(pid) == "guard"][0]
        os.kill(rk.pid, signal.SIGSTOP)
        try:
            for pid in pids_of("socat"):
                kill(pid)
            wait_for("its guard to end", lambda: ended(guard))
            with net.bound(socket.SOCK_STREAM, "127.0.0.1", 18080):
                os.kill(rk.pid, signal.SIGCONT)
                yield
        finally:
            os.kill(rk.pid, signal.SIGCONT)

    def test_a_socat_that_cannot_be_started_again(self):
        """When somebody has taken the port meanwhile, rootlesskit tries again until it is free."""
        with Rootlesskit(*SOCAT) as rk, TcpServer(echo, netns=rk.netns()):
            rk.add(18080, 80)
            with self.port_taken(rk):
                wait_for("words about it", lambda: re.search(
                    "error: port 1 is not forwarded: socat ended .*Address already in use; "
                    "starting it again in 1 s", rk.log()))
                self.assertEqual([p["id"] for p in rk.ports()], [1])
            wait_for("the port", lambda: listens(18080))
            self.assertEqual(exchange("127.0.0.1", 18080, 1000)[0], 1000)
            with self.port_taken(rk):
                wait_for("a pause", lambda: "starting it again in 5 s" in rk.log())
                rk.remove(1)
            self.assertEqual(rk.ports(), [])
            self.assertEqual(rk.add(18080, 80), 2)

    def test_guard_stopped_does_not_stop_us(self):
        """A port can be removed although the process between rootlesskit and socat is stopped."""
        with Rootlesskit(*SOCAT) as rk:
            rk.add(18080, 80)
            guard = [pid for pid in leaks.processes() if role_of(pid) == "guard"][0]
            os.kill(guard, signal.SIGSTOP)
            removal = background(rk.remove, 1)
            self.assertEqual(rk.api("GET", "/v1/ports")[0], 200)
            removal.result()
            wait_for("socat to end", lambda: not pids_of("socat"))

    def test_keys_of_the_terminal_do_not_reach_socat(self):
        with Rootlesskit(*SOCAT, command=("sh", "-c", "trap : INT; while :; do sleep 1; done"),
                         start_new_session=True) as rk, TcpServer(echo, netns=rk.netns()):
            rk.add(18080, 80)
            os.killpg(rk.pid, signal.SIGINT)
            time.sleep(0.3)  # in which socat would end
            self.assertEqual(exchange("127.0.0.1", 18080, 100)[0], 100)
            os.kill(rk.pid, signal.SIGKILL)
            rk.wait()
        rk.forget_state()

    def test_missing_programs(self):
        for name in ("socat", "nsenter"):
            with tempfile.TemporaryDirectory(dir=self.world.base) as path:
                os.chmod(path, 0o755)
                got = rootlesskit(*SOCAT, "true", env=self.world.environ_without(name, path))
            self.assertEqual(got.returncode, 1)
            self.assertRegex(got.stderr, "install it.*cannot run " + name)

    def test_socat_that_fails_hangs_or_ends(self):
        fake = self.world.tmp + "/fake"
        os.mkdir(fake)
        env = self.world.environ()
        env["PATH"] = fake + ":" + env["PATH"]
        start = '#!/bin/sh\n[ "$1" = -V ] && exit 0\n'
        cases = (("echo '2026/01/01 00:00:00 socat[1] E no such thing' >&2; exit 3",
                  "no such thing"),
                 ("exit 4", r"exit status 4\) and said nothing"),
                 ("kill -9 $$", "socat ended"),
                 ("exec sleep 1000", "does not listen after 10000 ms"))
        for what, why in cases:
            with self.subTest(what):
                write(fake + "/socat", start + what + "\n", 0o755)
                with Rootlesskit(*SOCAT, env=env) as rk:
                    adding = background(rk.add, 18080, 80)
                    self.assertEqual(rk.api("GET", "/v1/ports")[0], 200)
                    with self.assertRaisesRegex(ApiError, why):
                        adding.result()
                    self.assertEqual(rk.ports(), [])
                    self.assertEqual([p for p in leaks.processes() if role_of(p) == "guard"], [])
        subprocess.run(["rm", "-r", fake], check=True)


@rkit.needs("slirp4netns", "tun")
class Slirp4netns(OfBoth, rkit.RkTestCase):
    options, server = SLIRP, CHILD

    def slirp_list(self, rk):
        """The ports that slirp4netns itself lists."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(rk.state + "/.s4nn.sock")
            s.sendall(b'{"execute":"list_hostfwd"}')
            s.shutdown(socket.SHUT_WR)
            text = b""
            while True:
                data = s.recv(65536)
                if not data:
                    return json.loads(text)["entries"]
                text += data

    def test_its_list_is_ours(self):
        with Rootlesskit(*SLIRP) as rk:
            for i in range(20):
                rk.add(18100 + i, 80, proto="udp4" if i % 2 else "tcp4")
            for i in range(0, 20, 3):
                rk.remove(i + 1)
            self.assertEqual(sorted(e["host_port"] for e in self.slirp_list(rk)),
                             sorted(p["spec"]["parentPort"] for p in rk.ports()))

    @rkit.ours("says nothing")
    def test_udp_without_replies_is_warned_of(self):
        with Rootlesskit(*SAFE, "--port-driver=slirp4netns") as rk:
            rk.add(18080, 80)
            self.assertNotIn("UDP", rk.log())
            rk.add(18053, 53, proto="udp")
            rk.add(18054, 53, proto="udp")
            self.assertEqual(rk.log().count("UDP clients on this host get no replies"), 1)
            with UdpServer(host=CHILD, netns=rk.netns()) as server:
                self.assertIsNone(ask("127.0.0.1", 18053, b"question", tries=1))
                self.assertTrue(server.seen)

    @rkit.ours("says nothing")
    def test_loopback_child_ip_is_warned_of(self):
        with Rootlesskit(*SLIRP) as rk:
            for port, ip in ((18080, "127.0.0.1"), (18081, "::ffff:127.0.0.2")):
                rk.add(port, 80, child_ip=ip)
                self.assertRegex(rk.log(), "warning: .*leave the child IP %s out" % ip)

    def test_sandboxed(self):
        with Rootlesskit(*SLIRP, "--slirp4netns-sandbox=true", "--slirp4netns-seccomp=true") as rk, \
                TcpServer(echo, host=CHILD, netns=rk.netns()):
            rk.add(18080, 80)
            self.assertEqual(exchange("127.0.0.1", 18080, 1000)[0], 1000)

    @rkit.ours("waits for ever")
    def test_one_that_hangs(self):
        """While slirp4netns is stopped, requests for ports time out and the API goes on. Once it runs again,
        its list and ours agree."""
        with Rootlesskit(*SLIRP) as rk:
            rk.add(18080, 80)
            pid = the_pid_of("slirp4netns")
            os.kill(pid, signal.SIGSTOP)
            adding, removing = background(rk.add, 18081, 80), background(rk.remove, 1)
            self.assertEqual(rk.api("GET", "/v1/info")[0], 200)
            for job in adding, removing:
                with self.assertRaisesRegex(ApiError, "has not answered .* within 10000 ms"):
                    job.result()
            self.assertEqual([p["id"] for p in rk.ports()], [1])
            os.kill(pid, signal.SIGCONT)
            wait_for("the tables to agree",
                     lambda: [e["host_port"] for e in self.slirp_list(rk)] == [18080])
            self.assertEqual(rk.add(18081, 80), 2)
            rk.remove(1)
            self.assertEqual([e["host_port"] for e in self.slirp_list(rk)], [18081])

    @rkit.ours("the port stays")
    def test_one_that_dies(self):
        with Rootlesskit(*SLIRP) as rk:
            rk.add(18080, 80)
            os.kill(the_pid_of("slirp4netns"), signal.SIGKILL)
            wait_for("a word about it", lambda: "has lost its network" in rk.log())
            with self.assertRaisesRegex(ApiError, "slirp4netns does not run any more"):
                rk.add(18081, 80)
            rk.remove(1)
            self.assertEqual(rk.ports(), [])


if __name__ == "__main__":
    rkit.main()
