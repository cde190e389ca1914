#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A thousand connections at full speed, and a hundred reloads in a row: each byte arrives once."""

import hashlib
import os
import resource
import selectors
import socket
import time

import rkit
from rkit import net
from rkit.launch import wait_for
from rkit.net import bound
from rkit.ports import PortTestCase, both_backends

FLOWS = int(os.environ.get("RINGKIT_RELOAD_FLOWS", "1000"))
RELOADS = int(os.environ.get("RINGKIT_RELOADS", "100"))
CHUNK = 16384


def echo_server(listener):
    """Sends back what comes, on all connections at once, until one sends "over"."""
    sel = selectors.DefaultSelector()
    listener.setblocking(False)
    sel.register(listener, selectors.EVENT_READ, None)
    while True:
        for key, mask in sel.select():
            if key.fileobj is listener:
                conn, _ = listener.accept()
                conn.setblocking(False)
                sel.register(conn, selectors.EVENT_READ, bytearray())
                continue
            conn, pending = key.fileobj, key.data
            if mask & selectors.EVENT_READ and len(pending) < 4 * CHUNK:
                try:
                    data = conn.recv(CHUNK)
                except BlockingIOError:
                    continue
                if data == b"":
                    if not pending:
                        sel.unregister(conn)
                        conn.close()
                    continue
                if data == b"over":
                    return
                pending += data
            if pending:
                try:
                    del pending[:conn.send(pending)]
                except BlockingIOError:
                    pass
            sel.modify(conn, (selectors.EVENT_READ if len(pending) < 4 * CHUNK else 0) |
                       (selectors.EVENT_WRITE if pending else 0), pending)


class Flow:
    def __init__(self, number):
        self.sock = net.connect("127.0.0.1", 18080, timeout=120)
        self.sock.setblocking(False)
        self.block = hashlib.shake_256(b"%d" % number).digest(CHUNK * 3 + number % 1000)
        self.sent, self.got = 0, 0
        self.sent_hash, self.got_hash = hashlib.sha256(), hashlib.sha256()

    def write(self):
        at = self.sent % len(self.block)
        part = self.block[at:at + CHUNK]
        n = self.sock.send(part)
        self.sent_hash.update(part[:n])
        self.sent += n

    def read(self):
        data = self.sock.recv(4 * CHUNK)
        if not data:
            raise EOFError("after %d of %d bytes" % (self.got, self.sent))
        self.got_hash.update(data)
        self.got += len(data)


def transfer(flows, sel, until, writing):
    """Sends and receives on all flows until until() is true. writing=False: only receives."""
    while not until():
        for key, mask in sel.select(0.1):
            try:
                if mask & selectors.EVENT_READ:
                    key.data.read()
                if mask & selectors.EVENT_WRITE and writing:
                    key.data.write()
            except BlockingIOError:
                pass


@rkit.ours("has no such request")
@both_backends
class Long(PortTestCase):
    not_reference = "has no such request"
    workers = 2

    def test_thousand_flows(self):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        n_flows = min(FLOWS, hard // 4)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.rk.add(18080, 80)
        listener = bound(socket.SOCK_STREAM, "127.0.0.1", 80, self.ns)
        listener.listen(n_flows)
        server = os.fork()
        if server == 0:
            try:
                echo_server(listener)
            finally:
                os._exit(0)
        listener.close()
        flows, sel, pauses = [Flow(i) for i in range(n_flows)], selectors.DefaultSelector(), []
        try:
            for f in flows:
                sel.register(f.sock, selectors.EVENT_READ | selectors.EVENT_WRITE, f)
            reloader, told = os.pipe()
            pid = os.fork()
            if pid == 0:
                self.reload_again_and_again(told, n_flows)
            os.close(told)
            transfer(flows, sel, lambda: os.waitpid(pid, os.WNOHANG)[0] == pid, True)
            with os.fdopen(reloader) as f:
                pauses = sorted(int(word) for word in f.read().split())
            self.assertEqual(len(pauses), RELOADS)
            end = time.monotonic() + 300
            for f in flows:
                sel.modify(f.sock, selectors.EVENT_READ, f)
            transfer(flows, sel, lambda: all(f.got == f.sent for f in flows) or time.monotonic() > end, False)
            for f in flows:
                self.assertEqual((f.got, f.got_hash.hexdigest()), (f.sent, f.sent_hash.hexdigest()))
            self.assertGreater(min(f.sent for f in flows), 0)
        finally:
            for f in flows:
                f.sock.close()
            with net.connect("127.0.0.1", 80, netns=self.ns) as c:
                c.sendall(b"over")
            os.waitpid(server, 0)
        print("%s: %d flows, %.1f GB, %d reloads: at rest for %.1f ms (median), 95%% %.1f, most %.1f" %
              (self.backend, n_flows, sum(f.sent for f in flows) / 1e9, RELOADS,
               pauses[len(pauses) // 2] / 1000, pauses[len(pauses) * 95 // 100] / 1000, pauses[-1] / 1000))
        wait_for("the end", lambda: self.rk.api("GET", "/v1/stats")[1]["total"]["tcp"]["flows"] == 0)

    def reload_again_and_again(self, told, n_flows):
        """The work of a process of its own: reloads, and writes how long each pause was. Never returns."""
        try:
            for _ in range(RELOADS):
                status, answer = self.rk.api("POST", "/v1/reload")
                if status != 200 or answer["flows"] != n_flows:
                    os.write(told, b"failed %d %r" % (status, repr(answer).encode()))
                    break
                os.write(told, b"%d " % answer["pauseUs"])
        finally:
            os._exit(0)


if __name__ == "__main__":
    rkit.main()
