# SPDX-License-Identifier: Apache-2.0
"""Servers in a namespace, and payload that is checked by its hash."""

import hashlib
import socket
import struct
import threading

from .launch import DEADLINE_S, wait_for
from .net import bound

BLOCK = 1 << 18


def payload(size, seed=0):
    """Yields size bytes in blocks, no two of them the same. The same seed gives the same bytes."""
    base = bytearray(hashlib.shake_256(b"%d" % seed).digest(min(BLOCK, max(size, 1))))
    sent = 0
    while sent < size:
        n = min(len(base), size - sent)
        struct.pack_into("<Q", base, 0, sent) if len(base) >= 8 else None
        yield memoryview(base)[:n]
        sent += n


def payload_hash(size, seed=0):
    h = hashlib.sha256()
    for block in payload(size, seed):
        h.update(block)
    return h.hexdigest()


def send_payload(sock, size, seed=0):
    for block in payload(size, seed):
        sock.sendall(block)


def receive(sock, size=None):
    """Reads size bytes, or until the end of the stream. Returns (bytes read, hash)."""
    h, got, buf = hashlib.sha256(), 0, bytearray(1 << 20)
    view = memoryview(buf)
    while size is None or got < size:
        want = len(buf) if size is None else min(len(buf), size - got)
        n = sock.recv_into(view[:want])
        if n == 0:
            break
        h.update(view[:n])
        got += n
    return got, h.hexdigest()


def receive_exactly(sock, size):
    data = bytearray()
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError("end after %d of %d bytes" % (len(data), size))
        data += part
    return bytes(data)


def background(target, *args):
    """Runs target(*args) in a thread. result() waits for its value, or raises its exception."""
    return _Job(target, args)


class _Job(threading.Thread):
    def __init__(self, target, args):
        super().__init__(daemon=True)
        self._job, self._job_args, self.value, self.error = target, args, None, None
        self.start()

    def run(self):
        try:
            self.value = self._job(*self._job_args)
        except BaseException as e:
            self.error = e

    def result(self, timeout=3 * DEADLINE_S):
        self.join(timeout)
        if self.is_alive():
            raise AssertionError("still waiting for %s" % self._job)
        if self.error:
            raise self.error
        return self.value


class TcpServer:
    """Accepts in one thread, and runs handler(socket, address) for each connection in another."""

    def __init__(self, handler, port=80, host="127.0.0.1", netns=None, v6only=True):
        self.sock = bound(socket.SOCK_STREAM, host, port, netns, v6only)
        self.handler, self.port = handler, self.sock.getsockname()[1]
        self.jobs = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                conn, address = self.sock.accept()
            except OSError:
                return
            self.jobs.append(background(self._serve, conn, address))

    def result(self, number=0, timeout=3 * DEADLINE_S):
        """What the handler of a connection returned."""
        # The client may be done before the accepting thread has put its connection into the list.
        wait_for("connection %d" % number, lambda: len(self.jobs) > number)
        return self.jobs[number].result(timeout)

    def _serve(self, conn, address):
        with conn:
            return self.handler(conn, address)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


def echo(conn, _address):
    """A handler that sends back what comes, and then ends the stream as the client has."""
    buf = bytearray(1 << 18)
    view = memoryview(buf)
    while True:
        n = conn.recv_into(buf)
        if n == 0:
            break
        conn.sendall(view[:n])
    conn.shutdown(socket.SHUT_WR)


def hello(word):
    """A handler that says one word and closes."""
    def handler(conn, _address):
        conn.sendall(word.encode())
    return handler


class UdpServer:
    """Answers each datagram with answer(data, address), which gives bytes or None. seen lists the length and
    sender of each."""

    stopping = False

    def __init__(self, answer=lambda data, address: data, port=53, host="127.0.0.1", netns=None,
                 v6only=True):
        self.sock = bound(socket.SOCK_DGRAM, host, port, netns, v6only)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.answer, self.port, self.seen = answer, self.sock.getsockname()[1], []
        self.thread = threading.Thread(target=self._loop, daemon=True)
        self.thread.start()

    def _loop(self):
        while True:
            try:
                data, address = self.sock.recvfrom(65536)
            except OSError:
                return
            if address is None or self.stopping:
                return
            self.seen.append((len(data), address))
            back = self.answer(data, address)
            if back is not None:
                try:
                    self.sock.sendto(back, address)
                except OSError:
                    pass

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stopping = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread, although it fails with ENOTCONN
        except OSError:
            pass
        self.thread.join(10)
        self.sock.close()


def reset(sock):
    """Closes a connection with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
