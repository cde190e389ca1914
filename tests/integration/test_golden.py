#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests recorded with the API of RootlessKit 1.1.0 (tests/golden) get the same answers from ours."""

import glob
import json
import os
import re
import socket

import rkit
from rkit import net
from rkit.launch import DEADLINE_S, Rootlesskit

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden")
NET = ["--net=slirp4netns", "--disable-host-loopback"]

# Messages that are other ones in a later RootlessKit, or in ours: patterns of ours.
WORDED_OTHERWISE = {
    "builtin-017-post-sctp": r"^spec was not validated\?: proto sctp is not supported",
    "builtin-018-post-sctp4": r"^spec was not validated\?: proto sctp4 is not supported",
    "builtin-036-post-bad-json": "(?i)invalid JSON|invalid character",
    # RootlessKit prints the character with that number.
    **{name: r"^invalid (Parent|Child)Port: -?\d+: it must be 1 to 65535$" for name in (
        "builtin-022-post-parentport-0", "builtin-023-post-parentport-missing",
        "builtin-024-post-parentport-negative", "builtin-025-post-parentport-65536",
        "builtin-026-post-childport-0", "builtin-027-post-childport-65536",
        "slirp4netnsport-014-post-parentport-0", "slirp4netnsport-015-post-parentport-65536",
        "slirp4netnsport-016-post-childport-0")},
    # Ours adds the reason to slirp4netns's answer, which has none.
    "slirp4netnsport-008-post-tcp-v6addr":
        r"^reply\.Error: map\[desc:bad request: add_hostfwd: bad arguments\.host_addr\]: .*IPv4",
    "slirp4netnsport-012-post-sctp":
        r"^reply\.Error: map\[desc:bad request: add_hostfwd: bad arguments\.proto\]: .*tcp4",
    "slirp4netnsport-018-post-nonlocal-parentip":
        r"slirp_add_hostfwd failed\]: listen tcp4 198\.51\.100\.77:19115: bind: cannot assign",
    "slirp4netnsport-021-post-privileged-port":
        r"slirp_add_hostfwd failed\]: cannot expose privileged port 81, .*permission denied",
    "slirp4netnsport-022-post-port-busy-outside":
        r"slirp_add_hostfwd failed\]: listen tcp4 127\.0\.0\.1:19199: bind: address already in",
    "slirp4netnsport-023-post-bad-json": "(?i)invalid JSON|invalid character",
    "slirp4netnsport-026-delete-unknown-id": "^unknown id: 99999$",
    "builtin-045-post-port-exponent": "cannot unmarshal number .* into Go struct field Spec.parentPort",
}


class Exchange:
    """One recording. The bytes on the wire were written as Latin-1, and line ends as "\\\\r\\\\n"."""

    def __init__(self, path):
        self.number = os.path.basename(path)[:-len(".txt")]
        self.name = re.sub(r"^[a-z0-9]+-\d+-", "", self.number)
        with open(path, encoding="utf-8", newline="\n") as f:
            text = f.read().encode("latin-1")
        text = text.split(b"### request\n", 1)[1]
        request, rest = text.split(b"### response\n", 1)
        answer, end = rest.split(b"### end:", 1)
        self.request = self.wire(request)
        self.keeps_open = b"kept open" in end
        head, self.body = self.wire(answer).rsplit(b"\r\n\r\n", 1)
        self.status = [int(line.split()[1]) for line in head.split(b"\r\n")
                       if line.startswith(b"HTTP/1.1 ")]

    @staticmethod
    def wire(part):
        assert part.endswith(b"\n")
        return part.replace(b"\\r\\n\n", b"\r\n")[:-1]


class Answer:
    """Reads one answer from a connection."""

    def __init__(self, stream):
        self.status = [int(stream.readline().split()[1])]
        self.headers = {}
        while line := stream.readline().strip():
            key, value = line.decode().split(":", 1)
            self.headers[key.lower()] = value.strip()
        self.body = stream.read(int(self.headers.get("content-length", 0)))


class Replay(rkit.RkTestCase):
    prefix = None
    options = ()

    def replay(self):
        found = sorted(glob.glob("%s/%s-*.txt" % (GOLDEN, self.prefix)))
        self.assertTrue(found, "no recordings of " + self.prefix)
        with Rootlesskit(*self.options) as rk:
            for path in found:
                with self.subTest(os.path.basename(path)):
                    self.exchange(rk, Exchange(path))

    def exchange(self, rk, want):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(DEADLINE_S)
            s.connect(rk.state + "/api.sock")
            with s.makefile("rb") as stream:
                self.compare(rk, want, self.ask(s, stream, want.request))
                if want.keeps_open:
                    s.sendall(b"GET /v1/info HTTP/1.1\r\nHost: rootlesskit\r\n\r\n")
                    self.assertEqual(Answer(stream).status, [200])

    @staticmethod
    def ask(sock, stream, request):
        """Sends a request, and returns the answer. With "Expect: 100-continue" the body is sent after the
        server's 100: a server that has the body already may leave the 100 out (RFC 9110, 10.1.1)."""
        head, empty, body = request.partition(b"\r\n\r\n")
        if b"\r\nExpect:" not in head:
            sock.sendall(request)
            return Answer(stream)
        sock.sendall(head + empty)
        first = Answer(stream)
        sock.sendall(body)
        answer = Answer(stream)
        answer.status = first.status + answer.status
        return answer

    def compare(self, rk, want, have):
        self.assertEqual(have.status, want.status, have.body)
        if have.body:
            self.assertIn("content-type", have.headers)
        if have.status[-1] == 400:
            self.compare_message(want, have)
        elif want.name == "info":
            self.compare_info(rk, json.loads(want.body), json.loads(have.body))
        elif want.name.startswith("ports-list"):
            self.compare_list(json.loads(want.body), json.loads(have.body))
        elif want.body:
            self.assertEqual(json.loads(have.body), json.loads(want.body))
            self.assertEqual(have.headers["content-type"], "application/json")
        else:
            self.assertEqual(have.body, b"")

    def compare_message(self, want, have):
        self.assertTrue(have.body.endswith(b"}\n"), have.body)
        have, expected = json.loads(have.body), json.loads(want.body)
        self.assertEqual(set(have), {"message"})
        otherwise = WORDED_OTHERWISE.get(want.number)
        if otherwise and not self.world.reference:
            self.assertRegex(have["message"], otherwise)
        else:
            self.assertEqual(have, expected)

    def compare_info(self, rk, want, have):
        if not self.world.reference and "portDriver" in have:
            self.assertIs(have.pop("portLeases"), True)
            self.assertIs(have["portDriver"].pop("ranges"), True)
        self.assertEqual(list(have), list(want))
        want.update(stateDir=rk.state, childPID=rk.child_pid, version=have["version"])
        driver = have.get("portDriver", {})
        if not self.world.reference and driver.get("driver") == "builtin":
            # Members that only ours has. RootlessKit's clients ignore them.
            self.assertIn(driver.pop("dataplane"), ("io_uring", "epoll"))
            self.assertTrue(driver.pop("dataplaneReason"))
            self.assertEqual(driver.pop("dataplaneVersion"), have["version"])
            self.assertGreater(driver.pop("workers"), 0)
            self.assertGreater(driver.pop("batchMax"), 1)
            self.assertGreater(driver.pop("netnsCookie"), 0)
            self.assertEqual(driver.pop("extra"), {"sourceIPTransparentBackend": "nft"})
        self.assertEqual(have, want)

    def compare_list(self, want, have):
        by_id = lambda ports: ports and sorted(ports, key=lambda port: port["id"])
        self.assertEqual(by_id(have), by_id(want))


class HostNetwork(Replay):
    prefix = "hostnet"

    def test_replay(self):
        self.replay()


@rkit.needs("slirp4netns", "tun")
class NoPortDriver(Replay):
    prefix, options = "noport", NET

    def test_replay(self):
        self.replay()


@rkit.needs("slirp4netns", "tun")
class Ipv6(Replay):
    prefix, options = "ipv6", [*NET, "--ipv6", "--port-driver=builtin"]

    def compare_info(self, rk, want, have):
        if not self.world.reference:  # later versions list the IPv6 resolver, too
            want["networkDriver"]["dns"].append("fd00::3")
        super().compare_info(rk, want, have)

    def test_replay(self):
        self.replay()


@rkit.needs("slirp4netns", "tun")
class Builtin(Replay):
    prefix, options = "builtin", [*NET, "--port-driver=builtin"]

    def test_replay(self):
        with net.bound(socket.SOCK_STREAM, "127.0.0.1", 19199):
            self.replay()


@rkit.needs("slirp4netns", "tun")
class Slirp4netnsPorts(Replay):
    prefix, options = "slirp4netnsport", ["--net=slirp4netns", "--port-driver=slirp4netns"]

    def test_replay(self):
        with net.bound(socket.SOCK_STREAM, "127.0.0.1", 19199):
            self.replay()


if __name__ == "__main__":
    rkit.main()
