#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TCP with many connections, slow readers and full buffers; removal of a port under traffic."""

import asyncio
import contextlib
import resource
import socket
import time
import unittest

import rkit
from rkit import leaks, net
from rkit.launch import wait_for
from rkit.peers import (TcpServer, background, echo, payload_hash, receive, receive_exactly,
                        send_payload)
from rkit.ports import PortTestCase, both_backends

MANY = 1000


@contextlib.contextmanager
def descriptors(count):
    """Lets the test itself open this many descriptors, up to the hard limit. A login often has 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count:
        raise unittest.SkipTest("the machine gives a process %d descriptors (ulimit -Hn), "
                                "not %d" % (hard, count))
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def in_loop(server_sock, client_job, count):
    """Runs an echo server on server_sock and so many client_job(loop, ready, i) in one event loop. ready is a
    barrier for all jobs."""
    async def serve(loop, conn):
        with conn:
            while data := await loop.sock_recv(conn, 65536):
                await loop.sock_sendall(conn, data)

    async def accept(loop):
        while True:
            conn, _ = await loop.sock_accept(server_sock)
            conn.setblocking(False)
            loop.create_task(serve(loop, conn))

    async def body():
        loop = asyncio.get_running_loop()
        server_sock.setblocking(False)
        acceptor = loop.create_task(accept(loop))
        ready = asyncio.Barrier(count)
        try:
            return await asyncio.wait_for(
                asyncio.gather(*(client_job(loop, ready, i) for i in range(count))), 150)
        finally:
            acceptor.cancel()
    return asyncio.run(body())


@both_backends
class Many(PortTestCase):
    workers = 2

    def test_thousand_connections_at_once(self):
        self.rk.add(18080, 80)
        server = net.bound(socket.SOCK_STREAM, "127.0.0.1", 80, self.ns)

        async def exchange(loop, sock, message):
            await loop.sock_sendall(sock, message)
            back = b""
            while len(back) < len(message):
                part = await loop.sock_recv(sock, 65536)
                if not part:
                    return "ended after %d" % len(back)
                back += part
            return back == message

        async def client(loop, ready, i):
            with socket.socket() as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, ("127.0.0.1", 18080))
                first = await exchange(loop, sock, b"%05d" % i)
                await ready.wait()  # all are open now
                return first, await exchange(loop, sock, (b"%05d" % i) * 2000)

        with descriptors(2 * MANY + 100):  # this process has both ends
            results = in_loop(server, client, MANY)
        server.close()
        self.assertEqual([r for r in results if r != (True, True)], [])

    def test_connections_in_quick_succession(self):
        """3,000 connections with one request each, 64 at a time."""
        self.rk.add(18080, 80)
        server = net.bound(socket.SOCK_STREAM, "127.0.0.1", 80, self.ns)

        async def client(loop, _ready, i):
            for n in range(47):
                with socket.socket() as sock:
                    sock.setblocking(False)
                    await loop.sock_connect(sock, ("127.0.0.1", 18080))
                    await loop.sock_sendall(sock, b"%d.%d" % (i, n))
                    if await loop.sock_recv(sock, 100) != b"%d.%d" % (i, n):
                        return "bad answer"
            return True

        self.assertEqual(set(in_loop(server, client, 64)), {True})
        server.close()


@both_backends
class Backpressure(PortTestCase):
    SIZE = 60_000_000

    def setUp(self):
        super().setUp()
        self.rk.add(18080, 80)

    def blocked_after(self, sock):
        """Sends until the socket has taken nothing for a second. Returns the bytes that it took."""
        sock.setblocking(False)
        sent, last = 0, time.monotonic()
        while time.monotonic() - last < 1:
            try:
                sent += sock.send(b"x" * 65536)
                last = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
            if sent > 200_000_000:
                break
        return sent

    def test_reader_that_stops_holds_the_sender_back(self):
        memory = leaks.memory_kib(self.rk)
        got = []

        def serve(conn, _):
            while not got:
                time.sleep(0.01)
            return receive(conn)[0]
        with TcpServer(serve, netns=self.ns) as server:
            client = net.connect("127.0.0.1", 18080)
            sent = self.blocked_after(client)
            self.assertLess(sent, 64 << 20)
            self.assertLess(leaks.memory_kib(self.rk) - memory, 16 << 10)
            got.append(1)
            client.setblocking(True)
            client.sendall(b"y" * 1_000_000)
            client.close()
            self.assertEqual(server.result(), sent + 1_000_000)

    def test_client_that_stops_reading_for_a_while(self):
        with TcpServer(lambda c, a: send_payload(c, self.SIZE), netns=self.ns):
            client = net.connect("127.0.0.1", 18080)
            part = receive(client, 1_000_000)[0]
            self.assertEqual(part, 1_000_000)
            time.sleep(1)
            rest = receive(client)[0]
            self.assertEqual(rest, self.SIZE - part)
            client.close()

    def test_slow_readers_do_not_slow_the_others(self):
        """20 connections are stuck in each direction, and another one goes on."""
        stuck, stuck_done = [], []

        def serve(conn, _):
            kind = conn.recv(1)
            if kind == b"D":  # sends to a client that does not read
                try:
                    send_payload(conn, self.SIZE)
                except OSError:
                    return "cut"
            elif kind == b"U":  # does not read
                while not stuck_done:
                    time.sleep(0.05)
            elif kind == b"E":
                echo(conn, _)
            return None
        with TcpServer(serve, netns=self.ns):
            for i in range(20):
                c = net.connect("127.0.0.1", 18080)
                c.sendall(b"D")
                stuck.append(c)
                c = net.connect("127.0.0.1", 18080)
                c.sendall(b"U")
                c.setblocking(False)
                try:
                    while True:
                        c.send(b"x" * 65536)
                except BlockingIOError:
                    pass
                stuck.append(c)
            client = net.connect("127.0.0.1", 18080)
            client.sendall(b"E")
            job = background(send_payload, client, 20_000_000)
            self.assertEqual(receive(client, 20_000_000), (20_000_000, payload_hash(20_000_000)))
            job.result()
            client.close()
            stuck_done.append(1)
            for c in stuck:
                c.close()

    def test_tiny_receive_buffer(self):
        with TcpServer(lambda c, a: send_payload(c, 3_000_000), netns=self.ns):
            client = net.connect("127.0.0.1", 18080, rcvbuf=2048)
            self.assertEqual(receive(client), (3_000_000, payload_hash(3_000_000)))
            client.close()

    def test_byte_by_byte(self):
        with TcpServer(echo, netns=self.ns):
            client = net.connect("127.0.0.1", 18080)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            message = bytes(i % 251 for i in range(3000))
            job = background(lambda: [client.send(message[i:i + 1]) for i in range(len(message))])
            self.assertEqual(receive_exactly(client, len(message)), message)
            job.result()
            client.close()


@both_backends
class Removal(PortTestCase):
    workers = 2

    def test_of_a_port_closes_its_flows(self):
        port = self.rk.add(18080, 80)
        other = self.rk.add(18081, 80)
        with TcpServer(echo, netns=self.ns):
            flows = [net.connect("127.0.0.1", 18080) for _ in range(10)]
            stays = net.connect("127.0.0.1", 18081)
            for c in (*flows, stays):
                c.sendall(b"x")
                self.assertEqual(receive_exactly(c, 1), b"x")
            self.rk.remove(port)
            with self.assertRaises(ConnectionRefusedError):
                net.connect("127.0.0.1", 18080)
            for c in flows:
                c.settimeout(20)
                try:
                    self.assertEqual(c.recv(1), b"")
                except ConnectionResetError:
                    pass
                c.close()
            stays.sendall(b"still")
            self.assertEqual(receive_exactly(stays, 5), b"still")
            stays.close()
        self.rk.remove(other)

    def test_during_traffic(self):
        def pump(c):
            try:
                while True:
                    c.sendall(b"x" * 65536)
            except OSError:
                return True

        moving = set()

        def sink(c):
            try:
                while c.recv(1 << 20):
                    moving.add(c)
            except OSError:
                pass
            return True
        with TcpServer(echo, netns=self.ns):
            for _ in range(5):
                port = self.rk.add(18080, 80)
                flows = [net.connect("127.0.0.1", 18080) for _ in range(8)]
                jobs = [background(f, c) for c in flows for f in (pump, sink)]
                wait_for("traffic on each connection", lambda: moving >= set(flows))
                self.rk.remove(port)
                for job in jobs:
                    self.assertTrue(job.result())
                for c in flows:
                    c.close()

    def test_address_can_be_bound_at_once(self):
        """When DELETE has answered, the port is free for everybody."""
        for _ in range(20):
            port = self.rk.add(18080, 80)
            with TcpServer(echo, netns=self.ns):
                c = net.connect("127.0.0.1", 18080)
                c.sendall(b"x")
                self.assertEqual(receive_exactly(c, 1), b"x")
                self.rk.remove(port)
                c.close()
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed flows are in TIME_WAIT
            s.bind(("127.0.0.1", 18080))
            s.listen()
            s.close()


if __name__ == "__main__":
    rkit.main()
