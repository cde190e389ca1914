#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""RootlessKit's rootlessctl on our API, and our rootlessctl on RootlessKit's API."""

import http.server
import json
import os
import shutil
import socket
import socketserver
import tempfile
import threading
import unittest

import rkit
from rkit.launch import Rootlesskit, ctl, popen, wait_for
from rkit.ports import builtin

THEIRS = {"rootlesskit": "/usr/bin/rootlesskit", "rootlessctl": "/usr/bin/rootlessctl"}
TCP, UDP = "127.0.0.1:18080:80/tcp", "127.0.0.1:18053:10.0.2.100:53/udp"


class Client:
    """The same tests for each pair. Subclasses set the client and the server; None is ours."""

    client = server = None

    @classmethod
    def setUpClass(cls):
        w = rkit.world()
        for name in THEIRS.values():
            if not os.path.exists(name):
                raise unittest.SkipTest("package rootlesskit is not installed")
        if cls.server:
            if w.tun_error:
                raise unittest.SkipTest(w.tun_error)
            cls.rk = Rootlesskit("--net=slirp4netns", "--disable-host-loopback",
                                 "--port-driver=builtin", binary=cls.server).ready()
            # RootlessKit writes child_pid before its API is there.
            wait_for("the API", lambda: os.path.exists(cls.rk.state + "/api.sock"))
        else:
            cls.rk = builtin().ready().wait_for_command()

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "rk"):
            cls.rk.stop()

    def ctl(self, *args, code=0):
        got = ctl(self.rk.state, *args, binary=self.client)
        self.assertEqual(got.returncode, code, got.stderr)
        return got

    def test_conversation(self):
        self.assertEqual(self.ctl("list-ports").stdout.split(),
                         "ID PROTO PARENTIP PARENTPORT CHILDIP CHILDPORT".split())
        self.assertEqual(self.ctl("list-ports", "--json").stdout, "")
        first, second = self.ctl("add-ports", TCP, UDP).stdout.split()
        rows = [line.split() for line in self.ctl("list-ports").stdout.splitlines()[1:]]
        self.assertEqual(sorted(rows), [[first, "tcp", "127.0.0.1", "18080", "80"],
                                        [second, "udp", "127.0.0.1", "18053", "10.0.2.100", "53"]])
        listed = sorted((json.loads(line) for line in
                         self.ctl("list-ports", "--json").stdout.splitlines()),
                        key=lambda port: port["id"])
        self.assertEqual(listed[1], {"id": int(second), "spec": {
            "proto": "udp", "parentIP": "127.0.0.1", "parentPort": 18053, "childIP": "10.0.2.100",
            "childPort": 53}})
        added = json.loads(self.ctl("add-ports", "--json", "127.0.0.1:18081:81/tcp4").stdout)
        self.assertEqual(added["spec"]["proto"], "tcp4")
        self.assertEqual(self.ctl("remove-ports", first, second, str(added["id"])).stdout.split(),
                         [first, second, str(added["id"])])
        self.assertEqual(self.rk.ports(), [])

    def test_errors(self):
        first = self.ctl("add-ports", TCP).stdout.strip()
        got = self.ctl("add-ports", TCP, code=1)
        self.assertEqual(got.stdout, "")
        self.assertIn("conflict with ID " + first, got.stderr)
        self.ctl("remove-ports", first)
        self.ctl("remove-ports", first, code=1)
        for bad in ("nonsense", "127.0.0.1:80/tcp", "127.0.0.1:18090:80/carrier-pigeon"):
            self.ctl("add-ports", bad, code=1)
        # rootlessctl parses all specs before it sends the first.
        self.ctl("add-ports", TCP, "nonsense", code=1)
        self.assertEqual(self.rk.ports(), [])
        self.ctl("remove-ports", "x", code=1)
        self.ctl("no-such-command", code=3)
        self.ctl("help", "no-such-command", code=3)

    def test_info(self):
        info = json.loads(self.ctl("info", "--json").stdout)
        self.assertEqual(info["stateDir"], self.rk.state)
        self.assertEqual(info["childPID"], self.rk.child_pid)
        text = self.ctl("info").stdout
        self.assertIn(self.rk.state, text)
        self.assertIn(str(self.rk.child_pid), text)
        self.assertIn("builtin", text)


class TheirClientOurServer(Client, rkit.RkTestCase):
    client = THEIRS["rootlessctl"]

    def test_range(self):
        """Their client sees the range as single ports, and can remove each."""
        got = ctl(self.rk.state, "add-ports", "127.0.0.1:18080-18082:80-82/tcp")
        first, last = map(int, got.stdout.split("-"))
        listed = [json.loads(line) for line in
                  self.ctl("list-ports", "--json").stdout.splitlines()]
        self.assertEqual(listed, [{"id": first + i, "spec": {
            "proto": "tcp", "parentIP": "127.0.0.1", "parentPort": 18080 + i,
            "childPort": 80 + i}} for i in range(3)])
        self.ctl("remove-ports", *map(str, range(first, last + 1)))
        self.assertEqual(self.rk.ports(), [])


class OurClientTheirServer(Client, rkit.RkTestCase):
    server = THEIRS["rootlesskit"]

    def test_range(self):
        """Our client adds the single ports of the range, all or none."""
        ids = self.ctl("add-ports", "127.0.0.1:18080-18082:80-82/tcp").stdout.split()
        self.assertEqual(len(ids), 3)
        got = self.ctl("add-ports", "127.0.0.1:18078-18083:78-83/tcp", code=1)
        self.assertIn("conflict with ID", got.stderr)
        self.assertEqual(sorted(str(port["id"]) for port in self.rk.ports()), sorted(ids))
        got = self.ctl("remove-ports", "127.0.0.1:18080-18082:80-82/tcp")
        self.assertEqual(sorted(got.stdout.split()), sorted(ids))
        self.assertEqual(self.rk.ports(), [])


class _Ports(http.server.BaseHTTPRequestHandler):
    """An API with ports 1 to 200, which counts what it is asked."""

    asked = {"GET": 0, "DELETE": 0}

    def _answer(self, body=b""):
        self.asked[self.command] += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body:
            self.wfile.write(body)

    def do_GET(self):
        self._answer(json.dumps([
            {"id": i, "spec": {"proto": "tcp", "parentIP": "127.0.0.1", "parentPort": 20000 + i,
                               "childPort": 80}} for i in range(1, 201)]).encode())

    def do_DELETE(self):
        self._answer()

    def address_string(self):
        return "client"

    def log_message(self, *_args):
        pass


class OurClientOurServer(Client, rkit.RkTestCase):
    def test_closed_output(self):
        """Without a standard output, the server does not get what is printed."""
        with socket.socket(socket.AF_UNIX) as server, tempfile.TemporaryDirectory() as directory:
            path = directory + "/api.sock"
            server.bind(path)
            os.chmod(directory, 0o755)
            os.chmod(path, 0o666)
            server.listen()
            proc = popen(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", rkit.world().path["rootlessctl"], "--debug",
                          "--socket", path, "--timeout", "60s", "list-ports", "--json"])
            self.addCleanup(proc.wait)
            client = server.accept()[0]
            client.settimeout(60)
            with client:
                got = b""
                while b"\r\n\r\n" not in got:
                    got += client.recv(4096)
                body = b'[{"id":1,"spec":{"proto":"tcp","parentPort":80,"childPort":80}}]'
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                self.assertEqual(client.recv(4096), b"")

    def test_many_specs_to_remove(self):
        """The client asks for the list once, however many ports are named by their specs."""
        state = tempfile.mkdtemp(dir=rkit.world().tmp)
        os.chmod(state, 0o755)
        with socketserver.UnixStreamServer(state + "/api.sock", _Ports) as server:
            os.chmod(state + "/api.sock", 0o666)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            numbers = [*range(200, 100, -1), *range(1, 101)]
            got = ctl(state, "remove-ports",
                      *("127.0.0.1:%d:80/tcp" % (20000 + i) for i in numbers))
            self.assertEqual(got.stderr, "")
            self.assertEqual(got.stdout.split(), [str(i) for i in numbers])
            self.assertEqual(_Ports.asked, {"GET": 1, "DELETE": 200})
            twice = ctl(state, "remove-ports", *["127.0.0.1:20001:80/tcp"] * 2)
            self.assertIn("127.0.0.1:20001:80/tcp is not published", twice.stderr)
            server.shutdown()
        shutil.rmtree(state)


if __name__ == "__main__":
    rkit.main()
