#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Descriptors, pipes and flows run out. The data plane refuses or waits, counts that, and recovers."""

import os
import resource
import select
import socket
import time

import rkit
from rkit import net
from rkit.launch import DEADLINE_S, LOCKED_DOWN, find_role, popen, restrictions, wait_for
from rkit.networks import ask_over
from rkit.peers import (TcpServer, UdpServer, background, echo, hello, payload_hash, receive,
                        receive_exactly, send_payload)
from rkit.ports import PortTestCase, both_backends, builtin

NOFILE = 200
PIPE_UID = 20077
F_SETPIPE_SZ = 1031


def dataplane_of(rk):
    return find_role(rk.pid, "dataplane")


def cpu_s(pid):
    with open("/proc/%d/stat" % pid) as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@rkit.ours("has no statistics")
@both_backends
class Limits(rkit.RkTestCase):
    backend = None

    def start(self, *args, limits=(), **kw):
        def limit():
            for what, value in limits:
                resource.setrlimit(what, (value, value))
        return builtin(*args, backend=self.backend, workers=2, preexec_fn=limit, **kw)

    def total(self, rk, group, name):
        return rk.api("GET", "/v1/stats")[1]["total"][group][name]

    def assertIdle(self, pid):
        """The process waits instead of spinning: in two seconds it uses less than one of CPU time."""
        before = cpu_s(pid)
        time.sleep(2)
        self.assertLess(cpu_s(pid) - before, 1)

    def exchange(self, port, word=b"ping"):
        client = net.connect("127.0.0.1", port)
        client.sendall(word)
        self.assertEqual(receive_exactly(client, len(word)), word)
        return client

    def test_descriptors(self):
        with self.start("-p", "127.0.0.1:18080:80/tcp",
                        limits=((resource.RLIMIT_NOFILE, NOFILE),)) as rk, \
                TcpServer(echo, netns=rk.netns()):
            plane = dataplane_of(rk)
            clients = []
            for _ in range(NOFILE):
                clients.append(net.connect("127.0.0.1", 18080))
            wait_for("a pause", lambda: self.total(rk, "resources", "acceptPaused") > 0)
            wait_for("a word", lambda: "a higher limit of open files (ulimit -n) would help"
                     in rk.log())
            self.assertIdle(plane)
            self.assertEqual(dataplane_of(rk), plane)
            served = 0
            for c in clients:
                c.settimeout(0)
                try:
                    c.sendall(b"x")
                    served += 1
                except OSError:
                    pass
            self.assertGreater(served, 20)
            for c in clients:
                c.close()
            wait_for("connections to end", lambda: self.total(rk, "tcp", "flows") == 0)
            for _ in range(20):
                self.exchange(18080).close()
            self.assertEqual(dataplane_of(rk), plane)
            self.assertNotIn("starting it again", rk.log())
            # Each worker may log a line, not each connection.
            self.assertLessEqual(len(rk.log().splitlines()), 2, rk.log())

    def test_burst_on_many_ports(self):
        """More connections at once than there are descriptors for: all are answered."""
        ports = range(18080, 18100)
        specs = [word for p in ports for word in ("-p", "127.0.0.1:%d:80/tcp" % p)]
        with self.start(*specs, limits=((resource.RLIMIT_NOFILE, NOFILE),)) as rk, \
                TcpServer(hello("here"), netns=rk.netns()):
            clients = [net.connect("127.0.0.1", p) for _ in range(10) for p in ports]
            end = time.monotonic() + DEADLINE_S
            while clients and time.monotonic() < end:
                for c in select.select(clients, [], [], 1)[0]:
                    self.assertEqual(c.recv(10), b"here")
                    c.close()
                    clients.remove(c)
            self.assertEqual(len(clients), 0, "clients without an answer")

    def answered(self, clients, n):
        """Waits until n of the clients have an answer. Returns those and the others. A client that is reset
        or closed fails the test."""
        done, end = [], time.monotonic() + DEADLINE_S
        while len(done) < n:
            self.assertLess(time.monotonic(), end, "clients without an answer")
            for c in select.select(clients, [], [], 1)[0]:
                self.assertEqual(c.recv(10), b"x")
                done.append(c)
            clients = [c for c in clients if c not in done]
        return done, clients

    def test_flooded_port(self):
        """While a port has as many idle connections as it may, another port is served. No connection of the
        first port is reset: accepted ones work, and those that wait are served when others end."""
        with self.start("-p", "127.0.0.1:18080:80/tcp", "-p", "127.0.0.1:18081:80/tcp",
                        limits=((resource.RLIMIT_NOFILE, 2 * NOFILE),)) as rk, \
                TcpServer(echo, netns=rk.netns()):
            plane = dataplane_of(rk)
            clients = [net.connect("127.0.0.1", 18080) for _ in range(2 * NOFILE)]
            for c in clients:
                c.sendall(b"x")
            wait_for("a pause", lambda: self.total(rk, "resources", "acceptPaused") > 0)
            # Enough connections for each worker to get some.
            for _ in range(20):
                self.exchange(18081).close()
            wait_for("a word", lambda: "what is left is for other ports" in rk.log())
            held, waiting = self.answered(clients, 20)
            for c in held:
                c.sendall(b"x")
            self.answered(held, len(held))
            while waiting:
                for c in held:
                    c.close()
                held, waiting = self.answered(waiting, 1)
            for c in held:
                c.close()
            self.assertEqual(dataplane_of(rk), plane)

    def test_ports(self):
        """Listening sockets use up their share of descriptors, and then a new port is refused."""
        with self.start(limits=((resource.RLIMIT_NOFILE, NOFILE),)) as rk:
            added = []
            for i in range(NOFILE + 10):
                try:
                    added.append(rk.add(20000 + i, 80))
                except rkit.launch.ApiError as e:
                    self.assertEqual(e.status, 400)
                    self.assertIn("too many open files (of %d, " % NOFILE, e.message)
                    break
            self.assertGreater(len(added), NOFILE // 4)
            self.assertLess(len(added), NOFILE)
            with TcpServer(echo, netns=rk.netns()):
                for i in (0, len(added) - 1):
                    self.exchange(20000 + i).close()
            rk.remove(added[0])
            rk.add(20000, 80)

    def test_udp_flows(self):
        """A new client is served, and the oldest flow makes room."""
        with self.start("-p", "127.0.0.1:18053:53/udp",
                        limits=((resource.RLIMIT_NOFILE, NOFILE),)) as rk, \
                UdpServer(netns=rk.netns()):
            plane = dataplane_of(rk)

            clients = []
            for _ in range(3 * NOFILE):
                clients.append(net.udp_client("127.0.0.1", 18053, timeout=1))
                self.assertEqual(ask_over(clients[-1], b"x"), b"x")
            self.assertGreater(self.total(rk, "udp", "evicted"), 0)
            self.assertLess(self.total(rk, "udp", "flows"), NOFILE)
            self.assertEqual(ask_over(clients[0], b"x"), b"x")
            for c in clients:
                c.close()
            self.assertIdle(plane)
            self.assertEqual(dataplane_of(rk), plane)

    def test_udp_beside_idle_connections(self):
        """While idle connections use all descriptors that they may, UDP clients keep their flows."""
        with self.start("-p", "127.0.0.1:18080:80/tcp", "-p", "127.0.0.1:18053:53/udp",
                        limits=((resource.RLIMIT_NOFILE, 2 * NOFILE),)) as rk, \
                TcpServer(echo, netns=rk.netns()), UdpServer(netns=rk.netns()) as server:
            idle = []
            for _ in range(2 * NOFILE):
                try:
                    idle.append(net.connect("127.0.0.1", 18080))
                except ConnectionResetError:
                    pass
            wait_for("a pause", lambda: self.total(rk, "resources", "acceptPaused") > 0)
            clients = [net.udp_client("127.0.0.1", 18053, timeout=1) for _ in range(10)]
            for _ in range(3):
                for c in clients:
                    self.assertEqual(ask_over(c, b"x"), b"x")
            self.assertEqual(self.total(rk, "udp", "evicted"), 0)
            self.assertEqual(len({address for _, address in server.seen}), len(clients))
            for c in clients + idle:
                c.close()

    def test_ports_of_the_namespace(self):
        """More UDP clients than the namespace has ports: each is served, and a program inside gets a port."""
        def narrow():
            with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as f:
                f.write("40000 40399")
        with self.start("-p", "127.0.0.1:18053:53/udp") as rk, UdpServer(netns=rk.netns()):
            plane = dataplane_of(rk)
            net.in_netns(rk.netns(), narrow)
            clients = []
            for _ in range(1200):
                clients.append(net.udp_client("127.0.0.1", 18053, timeout=1))
                self.assertEqual(ask_over(clients[-1], b"x"), b"x")
            self.assertGreater(self.total(rk, "udp", "noPort"), 0)
            self.assertLess(self.total(rk, "udp", "flows"), 400)
            wait_for("a port for a program of the namespace's own",
                     lambda: net.udp_client("127.0.0.1", 53, netns=rk.netns()).close() is None)
            for c in clients:
                c.close()
            self.assertIdle(plane)
            self.assertEqual(dataplane_of(rk), plane)

    def test_ports_of_ended_connections(self):
        """More connections, one after the other, than the namespace has ports, to a server that is at no
        loopback address, as in a container. The port of an ended connection can be used again soon."""
        def read(path):
            with open(path) as f:
                return f.read().strip()

        def narrow():
            with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as f:
                f.write("40000 40299")
        with self.start() as rk:
            net.in_netns(rk.netns(), narrow)
            self.assertEqual(net.in_netns(rk.netns(), lambda: read("/proc/sys/net/ipv4/tcp_tw_reuse")), "1")
            net.sh("nsenter", "--net=" + rk.netns(), "ip", "addr", "add", "198.51.100.9/32", "dev", "lo")
            rk.add(18080, 80, child_ip="198.51.100.9")
            with TcpServer(echo, host="198.51.100.9", netns=rk.netns()):
                for _ in range(900):
                    self.exchange(18080).close()

    def take_pipes(self):
        """Starts a process that uses all the pipe memory that its user may have."""
        code = ("import fcntl, os, resource, sys\n"
                "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
                "resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))\n"
                "fds = []\n"
                "for size in 1 << 20, 1 << 16:\n"
                "    try:\n"
                "        while len(fds) < 30000:\n"
                "            fds.append(os.pipe())\n"
                "            fcntl.fcntl(fds[-1][1], %d, size)\n"
                "    except OSError as e:\n"
                "        error = e\n"
                "print(error, flush=True)\n"
                "sys.stdin.read()\n" % F_SETPIPE_SZ)
        return popen(["python3", "-c", code], uid=PIPE_UID, stdin=-1, stdout=-1, text=True)

    def test_pipes(self):
        """Without a pipe the payload is copied, and all of it arrives. The limit is for each user, so this
        test has a user of its own."""
        if not any(line.startswith("rkpipes:") for line in open("/etc/passwd")):
            self.world.add_user("rkpipes", PIPE_UID, (52000, 1000))
        hog = self.take_pipes()
        try:
            if "Operation not permitted" not in hog.stdout.readline():
                self.skipTest("pipes of a user are not limited here")
            with self.start("-p", "127.0.0.1:18080:80/tcp", uid=PIPE_UID) as rk:
                size = 50_000_000

                def serve(conn, _):
                    job = background(receive, conn)
                    send_payload(conn, size, seed=2)
                    conn.shutdown(socket.SHUT_WR)
                    return job.result()
                with TcpServer(serve, netns=rk.netns()) as server:
                    client = net.connect("127.0.0.1", 18080)
                    job = background(send_payload, client, size)
                    self.assertEqual(receive(client, size), (size, payload_hash(size, 2)))
                    job.result()
                    client.shutdown(socket.SHUT_WR)
                    self.assertEqual(server.result(), (size, payload_hash(size)))
                    client.close()
                self.assertGreater(self.total(rk, "resources", "pipesRefused"), 0)
                self.assertEqual(self.total(rk, "resources", "pipesOpen"), 0)
                # Pipes can be had again.
                hog.kill()
                hog.wait()

                def spliced():
                    with TcpServer(lambda c, a: send_payload(c, size), netns=rk.netns()):
                        client = net.connect("127.0.0.1", 18080)
                        receive(client)
                        client.close()
                    return self.total(rk, "resources", "pipesOpen") > 0
                wait_for("pipes", spliced)
        finally:
            hog.kill()
            hog.wait()
            hog.stdin.close()
            hog.stdout.close()


@rkit.ours("has none of these processes")
@both_backends
class Lockdown(PortTestCase):
    not_reference = "has none of these processes"

    def test_processes_have_given_up_everything(self):
        # Rights in the namespace alone: the broker binds ports below 1024 (CAP_NET_BIND_SERVICE), and its
        # keeper looks after the rules for --source-ip-transparent (CAP_NET_ADMIN).
        for role, kept in (("dataplane", 0), ("broker", 1 << 10), ("keeper", 1 << 12)):
            with self.subTest(role):
                self.assertEqual(restrictions(find_role(self.rk.pid, role)),
                                 {**LOCKED_DOWN, "CapPrm": kept, "CapEff": kept})

    def test_for_debugging(self):
        with builtin("--dataplane-sandbox=false", backend=self.backend) as rk:
            self.assertIn("warning: --dataplane-sandbox=false", rk.log())
            self.assertEqual(restrictions(dataplane_of(rk))["Seccomp"], 0)


if __name__ == "__main__":
    rkit.main()
