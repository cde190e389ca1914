#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TCP through published ports: payload in both directions, every kind of end, addresses."""

import fcntl
import select
import socket
import struct
import sys
import termios
import time

import rkit
from rkit import net
from rkit.launch import DEADLINE_S, much, wait_for
from rkit.peers import (TcpServer, background, echo, hello, payload_hash, receive,
                        receive_exactly, reset, send_payload)
from rkit.ports import PortTestCase, both_backends

SIZES = (1, 2, 1447, 1448, 4096, 65535, 65536, 65537, 1 << 20, 10_000_019)


@both_backends
class Payload(PortTestCase):
    workers = 2

    def setUp(self):
        super().setUp()
        self.rk.add(18080, 80)

    def upload(self, size):
        with TcpServer(lambda c, a: receive(c), netns=self.ns) as server:
            client = net.connect("127.0.0.1", 18080)
            send_payload(client, size)
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(client.recv(1), b"")
            client.close()
            self.assertEqual(server.result(), (size, payload_hash(size)))

    def download(self, size):
        with TcpServer(lambda c, a: send_payload(c, size), netns=self.ns):
            client = net.connect("127.0.0.1", 18080)
            self.assertEqual(receive(client), (size, payload_hash(size)))
            client.close()

    def test_upload(self):
        for size in SIZES:
            with self.subTest(size):
                self.upload(size)

    def test_download(self):
        for size in SIZES:
            with self.subTest(size):
                self.download(size)

    def test_nothing_at_all(self):
        self.upload(0)
        self.download(0)

    def both_ways(self, up, down):
        def serve(conn, _):
            job = background(receive, conn, up)
            send_payload(conn, down, seed=2)
            conn.shutdown(socket.SHUT_WR)
            return job.result(8 * DEADLINE_S)
        with TcpServer(serve, netns=self.ns) as server:
            client = net.connect("127.0.0.1", 18080)
            job = background(send_payload, client, up, 1)
            self.assertEqual(receive(client, down), (down, payload_hash(down, 2)))
            job.result(8 * DEADLINE_S)
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(client.recv(1), b"")
            client.close()
            self.assertEqual(server.result(0, 8 * DEADLINE_S), (up, payload_hash(up, 1)))

    def test_both_directions_at_once(self):
        self.both_ways(much(100_000_007), much(90_000_001))
        self.both_ways(1, much(50_000_000))

    def test_small_messages_come_at_once(self):
        """No small message is held back to be joined with the next one."""
        with TcpServer(echo, netns=self.ns):
            client = net.connect("127.0.0.1", 18080)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            times = []
            for i in range(200):
                message = struct.pack("<I", i) * (1 + i % 50)
                start = time.monotonic()
                client.sendall(message)
                self.assertEqual(receive_exactly(client, len(message)), message)
                times.append(time.monotonic() - start)
            client.close()
            # Each message would wait for a delayed acknowledgement (40 ms) or for the end of a cork (200 ms).
            # On a slow machine many take that long, but not the fastest quarter.
            self.assertLess(sorted(times)[50], 0.035)


class OneGibibyte(PortTestCase):
    """A gibibyte, with the back end that is chosen by default."""

    both_ways = Payload.both_ways

    def test_both_directions_at_once(self):
        self.rk.add(18080, 80)
        self.both_ways(much(1 << 29), much(1 << 30))


def unsent(sock):
    """Bytes that the other side has not acknowledged: SIOCOUTQ, tcp(7)."""
    return int.from_bytes(fcntl.ioctl(sock, termios.TIOCOUTQ, b"\0\0\0\0"), sys.byteorder)


@both_backends
class Ends(PortTestCase):
    workers = 2

    def setUp(self):
        super().setUp()
        self.rk.add(18080, 80)

    def test_client_closes_first_and_still_gets_the_answer(self):
        def serve(conn, _):
            got = receive(conn)
            send_payload(conn, 5_000_000, seed=3)
            return got
        with TcpServer(serve, netns=self.ns):
            client = net.connect("127.0.0.1", 18080)
            send_payload(client, 3_000_000)
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(receive(client), (5_000_000, payload_hash(5_000_000, 3)))
            client.close()

    def test_server_closes_first_and_still_gets_the_rest(self):
        def serve(conn, _):
            send_payload(conn, 3_000_000)
            conn.shutdown(socket.SHUT_WR)
            return receive(conn)
        with TcpServer(serve, netns=self.ns) as server:
            client = net.connect("127.0.0.1", 18080)
            self.assertEqual(receive(client), (3_000_000, payload_hash(3_000_000)))
            send_payload(client, 5_000_000, seed=3)
            client.close()
            self.assertEqual(server.result(), (5_000_000, payload_hash(5_000_000, 3)))

    def test_half_closed_idle_connection_stays(self):
        go = []

        def serve(conn, _):
            receive(conn)
            while not go:
                time.sleep(0.01)
            conn.sendall(b"late")
        with TcpServer(serve, netns=self.ns):
            client = net.connect("127.0.0.1", 18080)
            client.shutdown(socket.SHUT_WR)
            self.assertEqual(select.select([client], [], [], 0.5)[0], [])
            go.append(1)
            self.assertEqual(receive_exactly(client, 4), b"late")
            client.close()

    def tcp(self, name):
        return self.rk.api("GET", "/v1/stats")[1]["total"]["tcp"][name]

    @rkit.ours("has no statistics")
    def test_answer_before_the_request_was_read_reaches_a_slow_client(self):
        """The server resets the connection after its answer, and so must we, after the whole answer."""
        size = 400_000

        def serve(conn, _):
            conn.recv(1)
            send_payload(conn, size)
            # When the server closes, its kernel must have sent everything. The close is a reset, since the
            # request is unread.
            wait_for("the answer to leave", lambda: unsent(conn) == 0)
            conn.close()
        with TcpServer(serve, netns=self.ns):
            client = net.connect("127.0.0.1", 18080, rcvbuf=4096)
            client.sendall(b"x" * 100_000)
            got = 0
            while got < size:
                part = client.recv(10_000)
                self.assertTrue(part, "the end after %d bytes" % got)
                got += len(part)
                time.sleep(0.002)
            client.close()
        wait_for("the flow to end", lambda: self.tcp("flows") == 0)

    @rkit.ours("has no statistics")
    def test_refused_server_is_asked_again(self):
        """A server that refuses may not listen yet, so it is tried ten times, as RootlessKit does."""
        before = {name: self.tcp(name) for name in ("retried", "refused")}
        with net.connect("127.0.0.1", 18080) as client:
            client.sendall(b"x")
            with self.assertRaises(ConnectionResetError):
                client.recv(1)
        self.assertEqual(self.tcp("refused"), before["refused"] + 1)
        self.assertEqual(self.tcp("retried"), before["retried"] + 9)

    @rkit.ours("has no statistics")
    def test_clients_that_go_while_the_server_hangs(self):
        """The flows of clients that reset while the server does not answer end at once, and not only when the
        connection in the namespace times out."""
        def full():
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", 80))
            s.listen(0)
            return s
        with net.in_netns(self.ns, full):
            clients = [net.connect("127.0.0.1", 18080) for _ in range(20)]
            wait_for("flows", lambda: self.tcp("flows") == 20)
            for c in clients:
                reset(c)
            wait_for("the flows to end", lambda: self.tcp("flows") == 0)

    @rkit.ours("1.1.0 forwards an abort as an end")
    def test_reset_by_the_client_reaches_the_server(self):
        def serve(conn, _):
            try:
                conn.sendall(b"x")
                return receive(conn)[0]
            except ConnectionResetError:
                return "reset"
        with TcpServer(serve, netns=self.ns) as server:
            client = net.connect("127.0.0.1", 18080)
            self.assertEqual(client.recv(1), b"x")
            reset(client)
            self.assertEqual(server.result(), "reset")

    @rkit.ours("1.1.0 forwards an abort as an end")
    def test_reset_by_the_server_reaches_the_client(self):
        def serve(conn, _):
            conn.recv(1)
            reset(conn)
        with TcpServer(serve, netns=self.ns):
            client = net.connect("127.0.0.1", 18080)
            client.sendall(b"x")
            with self.assertRaises(ConnectionResetError):
                client.recv(1)
            client.close()

    @rkit.ours("1.1.0 forwards an abort as an end")
    def test_reset_after_a_half_close(self):
        """After one side has ended its stream, a reset by the other side arrives. In both directions."""
        def serve(conn, _):
            conn.shutdown(socket.SHUT_WR)
            try:
                conn.recv(1)
                return receive(conn)[0]
            except ConnectionResetError:
                return "reset"
        with TcpServer(serve, netns=self.ns) as server:
            client = net.connect("127.0.0.1", 18080)
            self.assertEqual(client.recv(1), b"")
            client.sendall(b"x")
            reset(client)
            self.assertEqual(server.result(), "reset")

        def serve2(conn, _):
            receive(conn)
            reset(conn)
        with TcpServer(serve2, netns=self.ns):
            client = net.connect("127.0.0.1", 18080)
            client.shutdown(socket.SHUT_WR)
            with self.assertRaises(ConnectionResetError):
                client.recv(1)
            client.close()

    def test_refused_backend_ends_the_connection_at_once(self):
        self.rk.add(18081, 81)
        if self.world.reference:
            client = net.connect("127.0.0.1", 18081, timeout=20)
            self.assertEqual(client.recv(1), b"")
            client.close()
            return
        with self.assertRaises(ConnectionResetError):  # from connect() or recv()
            with net.connect("127.0.0.1", 18081, timeout=20) as client:
                client.recv(1)

    def test_a_server_that_comes_later_is_reached(self):
        self.rk.add(18081, 81)
        for _ in range(3):
            try:
                with net.connect("127.0.0.1", 18081) as client:
                    self.assertEqual(client.recv(1), b"")
            except ConnectionResetError:
                pass
        with TcpServer(hello("here"), port=81, netns=self.ns):
            client = net.connect("127.0.0.1", 18081)
            self.assertEqual(receive_exactly(client, 4), b"here")
            client.close()

    @rkit.ours("1.1.0 cuts the stream at the urgent byte")
    def test_urgent_byte_does_not_cut_the_stream(self):
        with TcpServer(lambda c, a: receive_exactly(c, 2001), netns=self.ns) as server:
            server.sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            client = net.connect("127.0.0.1", 18080)
            client.sendall(b"a" * 1000)
            client.send(b"!", socket.MSG_OOB)
            client.sendall(b"b" * 1000)
            self.assertEqual(server.result(0, 20), b"a" * 1000 + b"!" + b"b" * 1000)
            client.close()

    @rkit.ours("1.1.0 cuts the stream at the urgent byte")
    def test_urgent_byte_from_the_server(self):
        def serve(conn, _):
            conn.sendall(b"a" * 1000)
            conn.send(b"!", socket.MSG_OOB)
            conn.sendall(b"b" * 1000)
            conn.recv(1)
        with TcpServer(serve, netns=self.ns):
            client = net.connect("127.0.0.1", 18080)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
            client.settimeout(20)
            self.assertEqual(receive_exactly(client, 2001), b"a" * 1000 + b"!" + b"b" * 1000)
            client.close()

    def test_many_short_connections(self):
        with TcpServer(echo, netns=self.ns):
            for i in range(300):
                client = net.connect("127.0.0.1", 18080)
                client.sendall(b"%03d" % i)
                self.assertEqual(receive_exactly(client, 3), b"%03d" % i)
                client.close()


@both_backends
class Addresses(PortTestCase):
    """The addresses on which a port listens, and to which it leads."""

    def fetch(self, host, port, **kw):
        client = net.connect(host, port, timeout=20, **kw)
        try:
            return client.recv(100).decode()
        except ConnectionResetError:
            return "reset"
        finally:
            client.close()

    def refused(self, host, port, **kw):
        with self.assertRaises(ConnectionRefusedError, msg="%s:%d" % (host, port)):
            net.connect(host, port, timeout=20, **kw)

    def test_specific_address_is_the_only_one(self):
        self.rk.add(18080, 80, parent_ip="127.0.0.5")
        with TcpServer(hello("here"), host="0.0.0.0", netns=self.ns):
            self.assertEqual(self.fetch("127.0.0.5", 18080), "here")
            self.refused("127.0.0.1", 18080)
            self.refused("::1", 18080)

    def test_wildcard_takes_both_families(self):
        for ip in ("0.0.0.0", "", "::"):
            with self.subTest(ip):
                port = self.rk.add(18080, 80, parent_ip=ip)
                with TcpServer(hello("here"), netns=self.ns):
                    self.assertEqual(self.fetch("127.0.0.1", 18080), "here")
                    self.assertEqual(self.fetch("127.3.2.1", 18080), "here")
                    self.assertEqual(self.fetch("::1", 18080), "here")
                self.rk.remove(port)

    def test_tcp4_and_tcp6_are_strict(self):
        with TcpServer(hello("here"), netns=self.ns):
            port = self.rk.add(18080, 80, proto="tcp4", parent_ip="0.0.0.0")
            self.assertEqual(self.fetch("127.0.0.1", 18080), "here")
            self.refused("::1", 18080)
            self.rk.remove(port)
            self.rk.add(18080, 80, proto="tcp6", parent_ip="::")
            self.refused("127.0.0.1", 18080)
            self.assertEqual(self.fetch("::1", 18080), "here")

    def test_tcp4_and_tcp6_side_by_side(self):
        with TcpServer(hello("four"), port=80, netns=self.ns), \
                TcpServer(hello("six"), port=81, netns=self.ns):
            self.rk.add(18080, 80, proto="tcp4", parent_ip="0.0.0.0")
            self.rk.add(18080, 81, proto="tcp6", parent_ip="::")
            self.assertEqual(self.fetch("127.0.0.1", 18080), "four")
            self.assertEqual(self.fetch("::1", 18080), "six")

    def test_child_address(self):
        with TcpServer(hello("one"), host="127.0.0.1", netns=self.ns), \
                TcpServer(hello("two"), host="127.0.0.2", netns=self.ns), \
                TcpServer(hello("six"), host="::1", netns=self.ns):
            self.rk.add(18080, 80)
            self.rk.add(18081, 80, child_ip="127.0.0.2")
            self.rk.add(18082, 80, child_ip="::1")
            self.rk.add(18083, 80, parent_ip="127.0.0.2")  # leads to the same address inside
            self.rk.add(18084, 80, parent_ip="0.0.0.0")
            self.rk.add(18085, 80, parent_ip="")
            self.rk.add(18086, 80, parent_ip="::ffff:127.0.0.1", child_ip="::ffff:127.0.0.2")
            for port, word in ((18080, "one"), (18081, "two"), (18082, "six"), (18084, "one"),
                               (18085, "one"), (18086, "two")):
                self.assertEqual(self.fetch("127.0.0.1", port), word)
            if not self.world.reference:
                self.assertEqual(self.fetch("127.0.0.2", 18083), "two")

    @rkit.ours("1.1.0 tries 127.0.0.1 only")
    def test_server_on_ipv6_loopback_only(self):
        with TcpServer(hello("six"), host="::1", netns=self.ns):
            self.rk.add(18080, 80, parent_ip="::")
            self.rk.add(18081, 80, parent_ip="::1")
            self.assertEqual(self.fetch("::1", 18080), "six")
            self.assertEqual(self.fetch("::1", 18081), "six")

    def test_from_another_machine(self):
        with net.neighbour() as client, TcpServer(echo, netns=self.ns):
            self.rk.add(18080, 80, parent_ip="0.0.0.0")
            self.rk.add(18081, 80, parent_ip="192.0.2.2", child_ip="127.0.0.1")
            for host, port in (("192.0.2.1", 18080), ("192.0.2.2", 18080), ("192.0.2.2", 18081),
                               ("2001:db8::1", 18080)):
                with self.subTest(host=host, port=port):
                    c = net.connect(host, port, netns=client)
                    job = background(send_payload, c, 10_000_000)
                    self.assertEqual(receive(c, 10_000_000), (10_000_000, payload_hash(10_000_000)))
                    job.result()
                    c.close()
            self.refused("192.0.2.1", 18081, netns=client)

    def test_first_address_of_the_host_means_loopback_inside(self):
        """A port on the host's first address leads to loopback, and not to the same address inside."""
        with net.neighbour(host_addresses=("192.0.2.1/24",)) as client, \
                TcpServer(hello("loopback"), netns=self.ns):
            self.rk.add(18080, 80, parent_ip="192.0.2.1")
            self.assertEqual(self.fetch("192.0.2.1", 18080, netns=client), "loopback")

    def test_link_with_a_small_mtu(self):
        with net.neighbour() as client, TcpServer(echo, netns=self.ns):
            net.sh("ip", "link", "set", "to-client", "mtu", "1280")
            net.sh("ip", "-n", "client", "link", "set", "eth0", "mtu", "1280")
            self.rk.add(18080, 80, parent_ip="0.0.0.0")
            c = net.connect("192.0.2.1", 18080, netns=client)
            job = background(send_payload, c, 5_000_000)
            self.assertEqual(receive(c, 5_000_000), (5_000_000, payload_hash(5_000_000)))
            job.result()
            c.close()


if __name__ == "__main__":
    rkit.main()
