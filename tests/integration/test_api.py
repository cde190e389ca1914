#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The REST API under good and bad clients. The recorded exchanges are replayed by the unit tests."""

import contextlib
import ctypes
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time

import rkit
from rkit import leaks, net
from rkit.launch import Rootlesskit, UnixConnection, ctl, popen, run, wait_for
from rkit.peers import TcpServer, background, hello
from rkit.ports import PortTestCase, builtin
from rkit.world import UID

SPEC = {"proto": "tcp", "parentIP": "127.0.0.1", "parentPort": 18080, "childPort": 80}


def http_library():
    """Version of libmicrohttpd, as a tuple."""
    library = ctypes.CDLL("libmicrohttpd.so.12")
    library.MHD_get_version.restype = ctypes.c_char_p
    return tuple(int(word) for word in re.findall(r"\d+", library.MHD_get_version().decode()))


@rkit.ours("is written in Go")
class Library(rkit.RkTestCase):
    """libmicrohttpd and what it needs are loaded for the first client."""

    def libraries(self, rk):
        with open("/proc/%d/maps" % rk.proc.pid) as f:
            return "libmicrohttpd" in f.read()

    def test_loaded_for_the_first_client(self):
        with Rootlesskit("--net=none", "--port-driver=builtin", "-p", "127.0.0.1:18080:80/tcp") as rk:
            self.assertFalse(self.libraries(rk))
            self.assertEqual(rk.api("GET", "/v1/info")[0], 200)
            self.assertTrue(self.libraries(rk))

    def test_many_first_clients(self):
        with Rootlesskit("--net=none") as rk:
            got = []
            threads = [threading.Thread(target=lambda: got.append(rk.api("GET", "/v1/info")[0]))
                       for _ in range(20)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            self.assertEqual(got, [200] * 20)

    def test_cannot_be_loaded(self):
        """Everything else works; a client is let go, and the log says why."""
        with tempfile.TemporaryDirectory(dir=self.world.tmp) as directory:
            os.chmod(directory, 0o755)
            with open(directory + "/libmicrohttpd.so.12", "w"):
                pass
            self.check_without(directory)

    def check_without(self, directory):
        with Rootlesskit("--net=none", "--port-driver=builtin", "-p", "127.0.0.1:18080:80/tcp",
                         env=self.world.environ(LD_LIBRARY_PATH=directory)) as rk, \
                TcpServer(hello("inside"), port=80, netns=rk.netns()):
            for _ in range(2):
                got = rk.ctl("info")
                self.assertNotEqual(got.returncode, 0)
            self.assertEqual(rk.log().count("the HTTP library cannot be loaded (Debian's package is "
                                            "libmicrohttpd12)"), 2, rk.log())
            with net.connect("127.0.0.1", 18080) as s:
                self.assertEqual(s.recv(100), b"inside")
            # It is there now.
            os.unlink(directory + "/libmicrohttpd.so.12")
            self.assertEqual(rk.api("GET", "/v1/info")[0], 200)


class Api(PortTestCase):
    def tearDown(self):
        # No test's clients may keep the next request from being answered.
        start = time.monotonic()
        self.assertEqual(self.rk.api("GET", "/v1/info")[0], 200)
        self.assertLess(time.monotonic() - start, 10)
        super().tearDown()

    def raw(self, data, timeout=20, until_end=False):
        """Sends bytes. Returns what comes back until the peer closes or is silent, or unless until_end, until
        the end of a header."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(timeout)
            s.connect(self.rk.state + "/api.sock")
            got = b""
            try:
                s.sendall(data)
                while part := s.recv(65536):
                    got += part
                    if not until_end and b"\r\n\r\n" in got:
                        break
            except (BrokenPipeError, ConnectionResetError, TimeoutError):
                pass
            return got

    def status(self, data):
        got = self.raw(data)
        return int(got.split()[1]) if got.startswith(b"HTTP/1.1 ") else None

    def test_info(self):
        status, info = self.rk.api("GET", "/v1/info")
        self.assertEqual(status, 200)
        self.assertEqual(info["stateDir"], self.rk.state)
        self.assertEqual(info["childPID"], self.rk.child_pid)
        self.assertEqual(info["portDriver"]["driver"], "builtin")
        self.assertLessEqual({"tcp", "udp"}, set(info["portDriver"]["protos"]))
        self.assertEqual(info["networkDriver"]["driver"],
                         "slirp4netns" if self.world.reference else "none")
        self.assertRegex(info["version"], r"^\d+\.\d+\.\d+")

    def test_life_of_a_port(self):
        status, answer = self.rk.api("POST", "/v1/ports", SPEC)
        self.assertEqual((status, answer["spec"]), (201, SPEC))
        self.assertIn(answer, self.rk.ports())
        self.assertEqual(self.rk.api("DELETE", "/v1/ports/%d" % answer["id"])[0], 200)
        self.assertEqual(self.rk.api("DELETE", "/v1/ports/%d" % answer["id"])[0], 400)

    def test_several_requests_on_one_connection(self):
        conn = UnixConnection(self.rk.state + "/api.sock")
        for _ in range(50):
            conn.request("GET", "/v1/info")
            self.assertEqual(json.loads(conn.getresponse().read())["childPID"], self.rk.child_pid)
        conn.request("POST", "/v1/ports", json.dumps(SPEC))
        number = json.loads(conn.getresponse().read())["id"]
        conn.request("DELETE", "/v1/ports/%d" % number)
        self.assertEqual(conn.getresponse().read(), b"")
        conn.close()

    def can_bind(self):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((SPEC["parentIP"], SPEC["parentPort"]))
            except OSError:
                return False
            return True

    @rkit.ours("knows no leases")
    def test_a_killed_client_leaves_no_leased_port(self):
        self.assertIs(self.rk.api("GET", "/v1/info")[1]["portLeases"], True)
        code = """if 1:
            import json, sys, time
            sys.path.insert(0, %r)
            from rkit.launch import UnixConnection
            conn = UnixConnection(sys.argv[1])
            conn.request("POST", "/v1/ports", json.dumps(dict(%r, lease="connection")))
            print(conn.getresponse().status, flush=True)
            time.sleep(600)
        """ % (os.path.dirname(os.path.abspath(__file__)), SPEC)
        for _ in range(3):
            client = subprocess.Popen(["python3", "-c", code, self.rk.state + "/api.sock"],
                                      stdout=subprocess.PIPE)
            self.assertEqual(client.stdout.readline(), b"201\n")
            self.assertEqual(len(self.rk.ports()), 1)
            client.kill()
            client.wait()
            client.stdout.close()
            wait_for("the port to go", lambda: not self.rk.ports())
            wait_for("its address", self.can_bind)

    def test_malformed_bodies(self):
        for body in ("", "{", "[]", "null", '"x"', "{}", "\0", "{" * 10000, '{"proto":5}',
                     '{"proto":"tcp","parentPort":"80"}', '{"proto":"tcp","parentPort":1e999}',
                     '{"proto":"tcp\\u0000","parentPort":18080,"childPort":80}',
                     '{"parentIP":"%s"}' % ("1" * 5000), "\xff\xfe", '{"a":' * 2000):
            with self.subTest(body[:40]):
                status, answer = self.rk.api("POST", "/v1/ports", body.encode("latin-1"))
                self.assertEqual(status, 400)
                self.assertTrue(answer["message"])
        self.assertEqual(self.rk.ports(), [])

    def test_unknown_paths_and_methods(self):
        for method, path, want in (("GET", "/", 404), ("GET", "/v1", 404), ("GET", "/v2/info", 404),
                                   ("GET", "/v1/ports/1", 405), ("PUT", "/v1/ports", 405),
                                   ("POST", "/v1/info", 405), ("DELETE", "/v1/ports", 405)):
            with self.subTest(method + " " + path):
                self.assertEqual(self.rk.api(method, path)[0], want)

    def test_malformed_requests(self):
        for data in (b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"\r\n" * 50,
                     b"GET /v1/info HTTP/9.9\r\n\r\n", b"GET /v1/info\r\n\r\n",
                     b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
                     b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
                     b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
                     os.urandom(4096)):
            with self.subTest(data[:50]):
                got = self.raw(data, timeout=2)
                if got:
                    self.assertRegex(got[:12], rb"^HTTP/1\.[01] (2|4|505)")

    BODY = json.dumps(SPEC).encode()
    # Requests that some servers understand in one way and some in another, with the status that Go's net/http
    # gives. libmicrohttpd 1.0 (Debian 13) refuses some before our code sees them, with the second status;
    # None: it closes the connection. Version 0.9.75 (Debian 12) ends a header's value at a NUL, unseen by us.
    ODD = (
        (b"GET http://localhost/v1/info HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET HTTP://localhost:80/v1/info?x HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /v1/info\0x HTTP/1.1\r\nHost: x\r\n\r\n", 400, None),
        (b"GET /v1/info?a\0b HTTP/1.1\r\nHost: x\r\n\r\n", 400, None),
        (b"GET\0X /v1/info HTTP/1.1\r\nHost: x\r\n\r\n", 400, None),
        (b"GET /v1/info%00x HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"GET /v1/in fo HTTP/1.1\r\nHost: x\r\n\r\n", 400, 301),
        (b"GET /v1/info HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/info HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET /v1/info HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n", 400),
        (b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nContent-Length: %d\r\n\r\n%s"
         % (len(BODY), len(BODY) - 1, BODY), 400),
        (b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: %d, 7\r\n\r\n%s"
         % (len(BODY), BODY), 400),
        (b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, 400),
        (b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nExpect: more\r\nContent-Length: 2\r\n\r\n{}", 417),
        (b"GET /v1/info HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"GET  /v1/info HTTP/1.1\r\nHost: x\r\n\r\n", 200, 301),
        (b"GET /v1/info HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", 200, 400),
        (b"GET /v1/info HTTP/1.1\r\nHost: x\0y\r\n\r\n", 200, 400),
        (b"GET /v1/info HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n", 200, 400),
        (b"GET /v1/info HTTP/1.1\r\nHost: x\r\nX\0Z: a\r\n\r\n", 400),
        (b"GET /v1/info HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: +%d\r\n\r\n%s"
         % (len(BODY), BODY), 400),
        (b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"PUT /v1/info HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405))

    def test_requests_that_are_read_in_two_ways(self):
        for data, *want in self.ODD:
            with self.subTest(data[:60]):
                self.assertEqual(self.status(data), want[-1] if http_library() >= (1,) else want[0])
        self.assertEqual(self.rk.ports(), [])
        # The same Content-Length twice counts as one.
        twice = b"Content-Length: %d\r\n" % len(self.BODY) * 2
        self.assertEqual(self.status(b"POST /v1/ports HTTP/1.1\r\nHost: x\r\n" + twice + b"\r\n"
                                     + self.BODY), 201)

    @rkit.ours("has no such file")
    def test_every_status_is_documented(self):
        top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        with open(top + "/src/api/openapi.yaml") as f:
            paths = f.read().split("\ncomponents:")[0].split("\n  /v1")[1:]
        limits = (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
                  b"GET /v1/info HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 20000 + b"\r\n\r\n")
        seen = {self.status(data) for data in limits} | {want for _, want, *_ in self.ODD} | {503}
        self.assertLessEqual({414, 431}, seen)
        for status in seen - {200}:
            for path in paths:
                self.assertIn("'%d':" % status, path)

    @rkit.ours("takes any size")
    def test_huge_requests(self):
        memory = leaks.memory_kib(self.rk)
        big = b"x" * (8 << 20)
        head = b"POST /v1/ports HTTP/1.1\r\nHost: x\r\n"
        for name, data in (
                ("body", head + b"Content-Length: %d\r\n\r\n" % len(big) + big),
                ("promise", head + b"Content-Length: 99999999999\r\n\r\n"),
                ("number", head + b"Content-Length: " + b"9" * 1000 + b"\r\n\r\n"),
                ("chunked", head + b"Transfer-Encoding: chunked\r\n\r\n800000\r\n" + big + b"\r\n0\r\n\r\n"),
                ("header", head + b"X-Big: " + big + b"\r\n\r\n"),
                ("headers", head + b"X-H: 1\r\n" * 100000 + b"\r\n"),
                ("path", b"GET /" + big + b" HTTP/1.1\r\n\r\n")):
            with self.subTest(name):
                got = self.raw(data, timeout=5)
                if got:
                    self.assertRegex(got[:12], rb"^HTTP/1\.1 4")
                self.assertEqual(self.rk.api("GET", "/v1/info")[0], 200)
        self.assertLess(leaks.memory_kib(self.rk) - memory, 8 << 10)

    def test_slow_and_stuck_clients_hold_nobody_up(self):
        stuck = []
        for head in (b"", b"G", b"GET /v1/info HTTP/1.1\r\nHost: x\r\n",
                     b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
                     b"GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n" * 500) * 20:
            s = socket.socket(socket.AF_UNIX)
            s.setblocking(False)
            try:
                s.connect(self.rk.state + "/api.sock")
                s.send(head)
            except BlockingIOError:
                pass
            stuck.append(s)
        for _ in range(20):
            start = time.monotonic()
            self.rk.remove(self.rk.add(18080, 80))
            self.assertLess(time.monotonic() - start, 5)
        # A request that comes one byte at a time is answered, too.
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(self.rk.state + "/api.sock")
            for b in b"GET /v1/info HTTP/1.1\r\nHost: x\r\n\r\n":
                s.send(bytes([b]))
                time.sleep(0.002)
            self.assertTrue(s.recv(65536).startswith(b"HTTP/1.1 200"))
        for s in stuck:
            s.close()

    def test_client_that_leaves_before_its_answer(self):
        """The port may have been added or not. If it was, it is in the list and can be removed."""
        body = json.dumps(SPEC).encode()
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(self.rk.state + "/api.sock")
                s.sendall(b"POST /v1/ports HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
                          % (len(body), body))
            for p in self.rk.ports():
                self.rk.remove(p["id"])

        def add():
            # A request whose client has left may still be carried out now, and take the port.
            for p in self.rk.ports():
                self.rk.remove(p["id"])
            status, answer = self.rk.api("POST", "/v1/ports", SPEC)
            return answer["id"] if status == 201 else None
        self.rk.remove(wait_for("the port to be free", add))

    def test_at_the_same_time(self):
        """Ten clients at once: no id is given twice, and the ports work."""
        def client(n):
            return [self.rk.add(21000 + 20 * n + i, 80) for i in range(20)]
        jobs = [background(client, n) for n in range(10)]
        ids = [i for job in jobs for i in job.result()]
        self.assertEqual(len(set(ids)), 200)
        with TcpServer(hello("here"), netns=self.ns):
            for port in (21000, 21199):
                c = net.connect("127.0.0.1", port)
                self.assertEqual(c.recv(10), b"here")
                c.close()
        jobs = [background(lambda part: [self.rk.remove(i) for i in part], ids[n::10])
                for n in range(10)]
        for job in jobs:
            job.result()
        self.assertEqual(self.rk.ports(), [])

    def test_one_port_wanted_by_many(self):
        def client():
            return self.rk.api("POST", "/v1/ports", SPEC)[0]
        answers = [job.result() for job in [background(client) for _ in range(8)]]
        self.assertEqual(sorted(answers), [201] + [400] * 7)

    @rkit.needs("curl")
    def test_curl(self):
        got = run("curl", "-sS", "--unix-socket", self.rk.state + "/api.sock",
                  "-H", "Content-Type: application/json", "-d", json.dumps(SPEC),
                  "http://rootlesskit/v1/ports")
        self.assertEqual(json.loads(got.stdout)["spec"], SPEC, got.stderr)

    @rkit.ours("whoever may enter the directory may use its socket")
    def test_socket_is_the_users_alone(self):
        mode = os.stat(self.rk.state + "/api.sock").st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)


class WithoutPortDriver(rkit.RkTestCase):
    def test_refuses_ports_and_still_informs(self):
        with Rootlesskit() as rk:
            status, answer = rk.api("GET", "/v1/ports")
            self.assertEqual((status, answer["message"]), (400, "no PortDriver is available"))
            status, answer = rk.api("POST", "/v1/ports", SPEC)
            self.assertEqual((status, answer["message"]), (400, "no PortDriver is available"))
            info = rk.api("GET", "/v1/info")[1]
            self.assertNotIn("portDriver", info)
            self.assertNotIn("networkDriver", info)


class FromInside(rkit.RkTestCase):
    def test_rootlessctl_in_the_namespace(self):
        """rootlessctl finds the socket by the command's environment."""
        with builtin(command=("sh", "-c", "rootlessctl add-ports 127.0.0.1:18080:80/tcp; "
                              "rootlessctl list-ports --json; exec sleep infinity")) as rk:
            wait_for("the list", lambda: "18080" in rk.out())
            self.assertEqual(rk.out().splitlines()[0], "1")
            self.assertEqual(json.loads(rk.out().splitlines()[1]), {"id": 1, "spec": SPEC})


# Answers every client, and prints what each has sent.
IMPOSTOR = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
s.listen()
print("listening", flush=True)
while True:
    c = s.accept()[0]
    data = c.recv(65536)
    print(data, flush=True)
    if data:
        body = b'{"apiVersion":"1.1.1","version":"3.0.0","stateDir":"/x","childPID":1}'
        c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n%s"
                  % (len(body), body))
    c.close()
"""


@rkit.ours("asks a socket of any user")
class Impostor(rkit.RkTestCase):
    """Another user has put a socket where rootlesskit's is expected."""

    OTHER = 20004

    @contextlib.contextmanager
    def impostor(self, uid=OTHER):
        state = self.world.tmp + "/impostor"
        os.mkdir(state)
        os.chown(state, uid, uid)
        with popen(["python3", "-c", IMPOSTOR, state + "/api.sock"], uid=uid, cwd="/",
                   stdout=subprocess.PIPE) as proc:
            self.assertEqual(proc.stdout.readline(), b"listening\n")
            self.out = proc.stdout
            try:
                yield state
            finally:
                proc.kill()
                shutil.rmtree(state)

    def test_rootlessctl(self):
        for words in (["info"], ["list-ports"], ["add-ports", "127.0.0.1:18080:80/tcp"],
                      ["stats", "--json"], ["events"]):
            with self.subTest(words), self.impostor() as state:
                got = ctl(state, *words)
                self.assertEqual((got.returncode, got.stdout), (1, ""))
                self.assertIn("/api.sock is served by user id %d, who is neither you (%d) nor root: nothing "
                              "is asked there" % (self.OTHER, UID), got.stderr)
                self.assertEqual(self.out.readline(), b"b''\n", "it was asked something")

    def test_docker_proxy(self):
        with self.impostor() as state:
            env = self.world.environ(ROOTLESSKIT_STATE_DIR=state)
            got = run("sh", "-c", 'exec "$@" 3>&1', "sh", self.world.path["rootlesskit-docker-proxy"],
                      "-proto", "tcp", "-host-ip", "127.0.0.1", "-host-port", "18080",
                      "-container-ip", "127.0.0.1", "-container-port", "80", env=env)
            self.assertNotEqual(got.returncode, 0)
            self.assertRegex(got.stdout, r"^1\n(?s:.*)served by user id %d" % self.OTHER)
            self.assertEqual(self.out.readline(), b"b''\n", "it was asked something")

    def test_ones_own_and_roots(self):
        for uid in (UID, 0):
            with self.impostor(uid) as state:
                got = ctl(state, "info")
                self.assertEqual(got.returncode, 0, got.stderr)

    def test_root_asks_whom_it_names(self):
        with self.impostor() as state:
            got = ctl(state, "info", uid=0)
            self.assertEqual(got.returncode, 0, got.stderr)
        with Rootlesskit("--net=none", "--port-driver=builtin") as rk:
            self.assertEqual(ctl(rk.state, "add-ports", "127.0.0.1:18080:80/tcp", uid=0).stdout, "1\n")


if __name__ == "__main__":
    rkit.main()
