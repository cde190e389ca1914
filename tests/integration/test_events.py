#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The API's stream of events."""

import contextlib
import json
import os
import select
import socket
import subprocess
import threading

import rkit
from rkit import leaks
from rkit.launch import DEADLINE_S, Rootlesskit, UnixConnection, popen, restart_role, wait_for
from rkit.peers import background
from rkit.ports import PortTestCase
from rkit.world import UID


@rkit.ours("has no such request")
class Events(PortTestCase):
    """The stream of events, as `rootlessctl events` shows it."""

    def setUp(self):
        super().setUp()
        self.listeners = []

    def tearDown(self):
        for proc in self.listeners:
            proc.kill()
            proc.wait()
            proc.stdout.close()
        super().tearDown()

    def listen(self, *args, rk=None):
        proc = popen([self.world.path["rootlessctl"], "--socket",
                      (rk or self.rk).state + "/api.sock", "events", *args],
                     stdout=subprocess.PIPE, bufsize=0)
        self.listeners.append(proc)
        return proc

    def next(self, proc, *events):
        """The next event of one of these kinds."""
        while select.select([proc.stdout], [], [], DEADLINE_S)[0] and (
                line := proc.stdout.readline()):
            event = json.loads(line)
            if event["event"] in events:
                self.assertRegex(event["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
                return event
        raise AssertionError("the stream has ended")

    def test_ports_and_who_asked(self):
        proc = self.listen("--json")
        self.next(proc, "listening")
        number = self.rk.add(18080, 80)
        got = self.next(proc, "portAdded", "portRemoved")
        self.assertEqual((got["event"], got["id"], got["spec"]["parentPort"]),
                         ("portAdded", number, 18080))
        self.assertEqual((got["pid"], got["uid"]), (os.getpid(), os.getuid()))
        self.assertEqual(got["program"], open("/proc/self/comm").read().strip())
        self.rk.remove(number)
        got = self.next(proc, "portAdded", "portRemoved")
        self.assertEqual((got["event"], got["id"]), ("portRemoved", number))
        add = self.rk.ctl("add-ports", "127.0.0.1:18080:80/tcp", "127.0.0.1:18081:80/udp")
        for line in add.stdout.split():
            got = self.next(proc, "portAdded")
            self.assertEqual((got["id"], got["uid"], got["program"]),
                             (int(line), UID, "rootlessctl"))
        conn = UnixConnection(self.rk.state + "/api.sock")
        conn.request("POST", "/v1/ports", json.dumps(dict(
            proto="tcp", parentIP="127.0.0.1", parentPort=18082, childPort=80, lease="connection")))
        number = json.loads(conn.getresponse().read())["id"]
        conn.close()
        self.assertEqual(self.next(proc, "leaseEnded")["id"], number)
        self.assertEqual(self.next(proc, "portRemoved")["id"], number)

    def test_restart(self):
        with Rootlesskit("--net=none", "--port-driver=builtin") as rk:
            proc = self.listen("--json", rk=rk)
            self.next(proc, "listening")
            for role in "dataplane", "broker":
                restart_role(rk.pid, role)
                got = self.next(proc, "restart")
                self.assertEqual((got["what"], got["message"]), (role, "signal: killed"))

    def test_limits(self):
        proc = self.listen("--json")
        self.next(proc, "listening")
        idle, stop = [], threading.Event()

        def connect():
            while not stop.wait(0.02):
                s = socket.socket(socket.AF_UNIX)
                s.connect(self.rk.state + "/api.sock")
                idle.append(s)
        job = background(connect)
        got = self.next(proc, "limit")
        stop.set()
        job.result()
        self.assertEqual(got["what"], "apiConnections")
        self.assertGreater(got["count"], 0)
        for s in idle:
            s.close()

    def test_plain(self):
        proc = self.listen()
        proc.stdout.readline()
        number = self.rk.add(18080, 80)
        self.assertRegex(proc.stdout.readline().decode(),
                         r"^\S+Z portAdded id=%d pid=%d uid=\d+ program=\S.* proto=tcp "
                         r"parentIP=127\.0\.0\.1 parentPort=18080 childPort=80\n$"
                         % (number, os.getpid()))

    def test_listener_that_does_not_read(self):
        """A listener that does not read is dropped. Others get every event, and memory does not grow."""
        self.rk.add(18080, 80)
        good = self.listen("--json")
        self.next(good, "listening")
        seen = []
        background(lambda: seen.extend(iter(good.stdout.readline, b"")))
        stuck = []
        for _ in range(8):
            s = socket.socket(socket.AF_UNIX)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(self.rk.state + "/api.sock")
            s.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            stuck.append(s)
        memory = leaks.memory_kib(self.rk)
        for i in range(1500):
            self.rk.remove(self.rk.add(18081, 80))
        wait_for("all events", lambda: sum(b"portRemoved" in line for line in seen) == 1500)
        for s in stuck:
            s.settimeout(DEADLINE_S)
            with contextlib.suppress(ConnectionResetError):
                while s.recv(65536):
                    pass
            s.close()
        self.assertLess(leaks.memory_kib(self.rk) - memory, 8192)

    def test_too_many_listeners(self):
        streams = []
        for i in range(17):
            s = socket.socket(socket.AF_UNIX)
            s.connect(self.rk.state + "/api.sock")
            s.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertIn(b" 200 " if i < 16 else b" 503 ", s.recv(65536))
            streams.append(s)
        # A listener that leaves makes room, although no event shows that it has left.
        for s in streams:
            s.close()
        proc = self.listen("--json")
        self.next(proc, "listening")

    def test_end_of_rootlesskit(self):
        with Rootlesskit() as rk:
            proc = self.listen("--json", rk=rk)
            self.next(proc, "listening")
        self.assertEqual(proc.stdout.read(), b"")
        self.assertEqual(proc.wait(DEADLINE_S), 0)

    def test_debug_log(self):
        with Rootlesskit("--net=none", "--port-driver=builtin", "--debug", "-p",
                         "127.0.0.1:18090:80/tcp") as rk:
            rk.remove(rk.add(18091, 80))
            log = rk.log()
        self.assertIn("debug: portAdded: id 1, by the command line", log)
        self.assertRegex(log, r"debug: portAdded: id 2, 127\.0\.0\.1:18091:80/tcp, by \S.* "
                              r"\(pid %d, uid %d\)" % (os.getpid(), os.getuid()))
        self.assertRegex(log, r"debug: portRemoved: id 2, by \S.* \(pid %d" % os.getpid())


if __name__ == "__main__":
    rkit.main()
