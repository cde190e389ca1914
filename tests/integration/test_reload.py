#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rootlessctl reload: other processes take ports, connections and UDP clients over, and nobody notices."""

import os
import socket
import threading

import rkit
from rkit import net
from rkit.launch import processes_of, role_of, wait_for
from rkit.peers import (TcpServer, UdpServer, background, echo, payload_hash, receive, receive_exactly,
                        send_payload)
from rkit.ports import PortTestCase, both_backends

RELOADS = int(os.environ.get("RINGKIT_RELOADS", "20"))
FLOWS = int(os.environ.get("RINGKIT_RELOAD_FLOWS", "24"))
SIZE = 24 << 20


class Reloading(PortTestCase):
    not_reference = "has no such request"

    def reload(self):
        status, answer = self.rk.api("POST", "/v1/reload")
        self.assertEqual(status, 200, answer)
        return answer

    def total(self, group, name):
        return self.rk.api("GET", "/v1/stats")[1]["total"][group][name]

    def roles(self):
        return {role_of(p): p for p in processes_of(self.rk.pid)
                if role_of(p) in ("dataplane", "broker", "router-broker")}


def slow_hash(size):
    """A handler that reads size bytes, and answers with their hash."""
    def handler(conn, _address):
        got = receive(conn, size)
        conn.sendall(b"%d %s" % (got[0], got[1].encode()))
        return got
    return handler


@rkit.ours("has no such request")
@both_backends
class Reload(Reloading):
    def test_processes_are_others(self):
        before = self.roles()
        answer = self.reload()
        self.assertEqual(answer["flows"], 0)
        after = self.roles()
        self.assertEqual(set(before), set(after))
        self.assertFalse(set(before.values()) & set(after.values()))
        self.assertEqual(answer["version"], self.rk.api("GET", "/v1/info")[1]["version"])

    def test_transfers_both_ways(self):
        """Uploads, downloads and echoes in full run, through many reloads: each byte once."""
        self.rk.add(18080, 80)
        self.rk.add(18081, 81)
        self.rk.add(18082, 82)
        pauses, stop = [], threading.Event()

        def down(conn, _address):
            send_payload(conn, SIZE, 7)

        def upload(seed):
            with net.connect("127.0.0.1", 18080, timeout=300) as c:
                send_payload(c, SIZE, seed)
                return c.recv(200).decode() == "%d %s" % (SIZE, payload_hash(SIZE, seed))

        def download(_seed):
            with net.connect("127.0.0.1", 18081, timeout=300) as c:
                return receive(c) == (SIZE, payload_hash(SIZE, 7))

        def both(seed):
            with net.connect("127.0.0.1", 18082, timeout=300) as c:
                job = background(send_payload, c, SIZE, seed)
                got = receive(c, SIZE)
                job.result()
                c.shutdown(socket.SHUT_WR)
                return got == (SIZE, payload_hash(SIZE, seed)) and c.recv(1) == b""

        def load(kind, seed):
            n = 0
            while not stop.is_set() or n == 0:
                self.assertTrue(kind(seed), kind.__name__)
                n += 1
            return n

        with TcpServer(slow_hash(SIZE), port=80, netns=self.ns), TcpServer(down, port=81, netns=self.ns), \
                TcpServer(echo, port=82, netns=self.ns):
            jobs = [background(load, kind, i) for i in range(FLOWS // 3) for kind in (upload, download, both)]
            wait_for("flows", lambda: self.total("tcp", "flows") >= len(jobs))
            for _ in range(RELOADS):
                answer = self.reload()
                self.assertEqual(answer["lost"], 0)
                pauses.append(answer["pauseUs"])
            stop.set()
            for job in jobs:
                job.result(600)
        pauses.sort()
        print("%s: %d reloads, pause %.1f ms median, %.1f most" %
              (self.backend, len(pauses), pauses[len(pauses) // 2] / 1000, pauses[-1] / 1000))

    def test_no_connection_is_refused(self):
        """One after the other, while the data plane changes: each is served."""
        self.rk.add(18080, 80)
        stop = threading.Event()

        def load():
            n = 0
            while not stop.is_set():
                with net.connect("127.0.0.1", 18080, timeout=60) as c:
                    c.sendall(b"ping")
                    self.assertEqual(receive_exactly(c, 4), b"ping")
                    n += 1
            return n

        with TcpServer(echo, netns=self.ns):
            jobs = [background(load) for _ in range(4)]
            for _ in range(RELOADS):
                self.reload()
            stop.set()
            self.assertGreater(sum(job.result() for job in jobs), 0)

    def test_udp_clients_keep_their_port(self):
        self.rk.add(18053, 53, proto="udp")
        with UdpServer(answer=lambda data, address: b"%d" % address[1], netns=self.ns):
            clients = []
            for _ in range(40):
                c = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self.addCleanup(c.close)
                c.connect(("127.0.0.1", 18053))
                c.settimeout(30)
                c.send(b"x")
                clients.append((c, c.recv(100)))
            for _ in range(3):
                self.assertEqual(self.reload()["flows"], len(clients))
                for c, port in clients:
                    c.send(b"x")
                    self.assertEqual(c.recv(100), port)
            self.assertEqual(self.rk.api("GET", "/v1/stats")[1]["total"]["udp"]["flows"], len(clients))

    def test_half_closed(self):
        self.rk.add(18080, 80)
        release = threading.Event()

        def late(conn, _address):
            got = receive(conn)
            release.wait(60)
            conn.sendall(b"%d" % got[0])

        with TcpServer(late, netns=self.ns):
            with net.connect("127.0.0.1", 18080, timeout=60) as c:
                c.sendall(b"x" * 1000)
                c.shutdown(socket.SHUT_WR)
                self.reload()
                release.set()
                self.assertEqual(receive_exactly(c, 4), b"1000")
                self.assertEqual(c.recv(1), b"")

    def test_nobody_reads(self):
        """What a flow holds in a pipe goes along."""
        self.rk.add(18080, 80)
        go = threading.Event()

        def late(conn, _address):
            go.wait(60)
            return receive(conn)

        with TcpServer(late, netns=self.ns) as server:
            with net.connect("127.0.0.1", 18080, timeout=60) as c:
                job = background(send_payload, c, SIZE, 3)
                for _ in range(3):
                    wait_for("a full pipe", lambda: self.total("resources", "pipesOpen") > 0)
                    self.assertEqual(self.reload()["flows"], 1)
                go.set()
                job.result()
                c.shutdown(socket.SHUT_WR)
                self.assertEqual(server.result(), (SIZE, payload_hash(SIZE, 3)))

    def test_connecting(self):
        """A flow whose server is not there yet, and connections that wait for it."""
        self.rk.add(18080, 80)
        for _ in range(10):
            with net.connect("127.0.0.1", 18080) as c:
                self.reload()
                with self.assertRaises(ConnectionResetError):  # when it has been tried for long enough
                    c.recv(1)

    def test_counters_go_on(self):
        self.rk.add(18080, 80)
        with TcpServer(echo, netns=self.ns):
            with net.connect("127.0.0.1", 18080, timeout=60) as c:
                c.sendall(b"ping")
                receive_exactly(c, 4)
                before = self.rk.api("GET", "/v1/stats")[1]
                self.reload()
                after = self.rk.api("GET", "/v1/stats")[1]
                self.assertEqual(after["starts"], before["starts"])
                for key in ("accepted", "connected", "bytesIn", "bytesOut", "flows"):
                    self.assertEqual(after["total"]["tcp"][key], before["total"]["tcp"][key], key)
                self.assertEqual(after["ports"], before["ports"])

    def test_ports_meanwhile(self):
        """Ports are added and removed while the data plane changes."""
        stop = threading.Event()

        def reloads():
            n = 0
            while not stop.is_set():
                self.reload()
                n += 1
            return n

        with TcpServer(echo, netns=self.ns):
            job = background(reloads)
            for i in range(30):
                port = self.rk.add(18100 + i, 80)
                with net.connect("127.0.0.1", 18100 + i, timeout=60) as c:
                    c.sendall(b"ping")
                    self.assertEqual(receive_exactly(c, 4), b"ping")
                self.rk.remove(port)
            stop.set()
            self.assertGreater(job.result(), 0)


if __name__ == "__main__":
    rkit.main()
