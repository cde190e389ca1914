#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Answers of slirp4netns to requests for ports, good and bad."""

import json
import os
import socket
import stat

import rkit
from rkit import inject
from rkit.launch import ApiError, Rootlesskit, wait_for
from rkit.peers import background

SLIRP = ["--net=slirp4netns", "--copy-up=/etc", "--port-driver=slirp4netns"]
CHILD = "10.0.2.100"


class FakeSlirp:
    """The API of a slirp4netns that gives the test's answers: the real one's socket is moved away, and ours
    takes its place."""

    def __init__(self, rk, answers):
        self.path, self.answers, self.seen = rk.state + "/.s4nn.sock", list(answers), []
        os.rename(self.path, self.path + ".real")
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        os.chmod(self.path, stat.S_IRWXU | stat.S_IRWXG | stat.S_IRWXO)
        self.sock.listen(1)
        self.job = background(self._serve)

    def _serve(self):
        for answer in self.answers:
            conn, _ = self.sock.accept()
            with conn:
                self.seen.append(json.loads(receive_text(conn)))
                conn.sendall(answer)

    def done(self, case):
        self.job.result()
        self.sock.close()
        os.rename(self.path + ".real", self.path)
        return self.seen


def receive_text(conn):
    text = b""
    while True:
        data = conn.recv(65536)
        if not data:
            return text
        text += data


@rkit.ours("other words")
@rkit.needs("slirp4netns", "tun")
class Slirp4netnsAnswers(rkit.RkTestCase):
    def test_nonsense(self):
        """After nonsense it is not known whether there is a port: one that slirp4netns lists, and that nobody
        has asked for, is removed."""
        stray = b'{"entries":[{"id":9,"proto":"tcp","host_port":18080}]}'
        for nonsense, why in ((b"", "without an answer"), (b"garbage\x1b[2J", r"garbage\?\[2J"),
                              (b'{"return":{}}', "not understood"), (b'{"return":', "not underst"),
                              (b'{"return":{"id":"1"}}', "not understood"), (b"null", "null"),
                              (b"x" * 100_000, "not understood")):
            with self.subTest(nonsense[:20]), Rootlesskit(*SLIRP) as rk:
                fake = FakeSlirp(rk, [nonsense, stray, b'{"return":{}}'])
                with self.assertRaisesRegex(ApiError, why):
                    rk.add(18080, 80)
                self.assertEqual([r["execute"] for r in fake.done(self)],
                                 ["add_hostfwd", "list_hostfwd", "remove_hostfwd"])
                self.assertEqual(fake.seen[2]["arguments"], {"id": 9})
                self.assertEqual(rk.add(18080, 80), 1)

    @rkit.needs("strace")
    def test_no_descriptor_for_a_removal(self):
        """What nobody asked for is removed all the same, a moment later."""
        stray = b'{"entries":[{"id":9,"proto":"tcp","host_port":18080}]}'
        with Rootlesskit(*SLIRP) as rk:
            fake = FakeSlirp(rk, [b"garbage", stray, stray, b'{"return":{}}'])
            with inject.failing(rk.pid, "socket", "ENFILE", 3):
                with self.assertRaisesRegex(ApiError, "garbage"):
                    rk.add(18080, 80)
                wait_for("the failure", inject.was_hit)
            self.assertEqual([r["execute"] for r in fake.done(self)],
                             ["add_hostfwd", "list_hostfwd", "list_hostfwd", "remove_hostfwd"])
            self.assertEqual(rk.add(18080, 80), 1)

    def test_an_answer_without_end(self):
        with Rootlesskit(*SLIRP) as rk:
            fake = FakeSlirp(rk, [b" " * (17 << 20)])
            with self.assertRaisesRegex(ApiError, "(?i)message too long"):
                rk.add(18080, 80)
            try:
                fake.done(self)
            except (BrokenPipeError, ConnectionResetError):
                fake.sock.close()
                os.rename(fake.path + ".real", fake.path)

    def test_requests(self):
        with Rootlesskit(*SLIRP) as rk:
            fake = FakeSlirp(rk, [b'{"return":{"id":41}}', b'{"return":{"id":42}}',
                                  b'{"return":{}}',
                                  b'{"error":{"desc":"bad request: remove_hostfwd: whatever"}}'])
            rk.add(18080, 80)
            rk.add(18053, 53, proto="udp4", parent_ip="0.0.0.0", child_ip="10.0.2.7")
            rk.remove(2)
            with self.assertRaisesRegex(ApiError, "remove_hostfwd: whatever"):
                rk.remove(1)
            self.assertEqual(fake.done(self), [
                {"execute": "add_hostfwd", "arguments": {
                    "proto": "tcp", "host_addr": "127.0.0.1", "host_port": 18080,
                    "guest_addr": CHILD, "guest_port": 80}},
                {"execute": "add_hostfwd", "arguments": {
                    "proto": "udp", "host_addr": "0.0.0.0", "host_port": 18053,
                    "guest_addr": "10.0.2.7", "guest_port": 53}},
                {"execute": "remove_hostfwd", "arguments": {"id": 42}},
                {"execute": "remove_hostfwd", "arguments": {"id": 41}}])
            self.assertEqual([p["id"] for p in rk.ports()], [1])


if __name__ == "__main__":
    rkit.main()
