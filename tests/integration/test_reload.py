#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rootlessctl reload: new processes take over ports, connections and UDP clients, and nobody notices."""

import errno
import http.client
import json
import os
import shutil
import socket
import struct
import subprocess
import threading

import rkit
from rkit import net
from rkit.launch import Rootlesskit, comm, popen, processes_of, restart_role, role_of, wait_for
from rkit.peers import (TcpServer, UdpServer, background, echo, payload_hash, receive, receive_exactly,
                        send_payload)
from rkit.ports import PortTestCase, both_backends, builtin
from rkit.wayout import SERVER4, NetBuiltinCase

RELOADS = int(os.environ.get("RINGKIT_RELOADS", "20"))
FLOWS = int(os.environ.get("RINGKIT_RELOAD_FLOWS", "24"))
SIZE = 24 << 20


class Reloading(PortTestCase):
    not_reference = "has no such request"
    workers = 2

    def reload(self):
        return self.rk.reload()

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
        self.assertIn("    - Version: %s\n" % answer["version"], self.rk.ctl("info").stdout)

    def test_transfers_both_ways(self):
        """Uploads, downloads and echoes at full speed go through many reloads: each byte arrives once."""
        self.rk.add(18080, 80)
        self.rk.add(18081, 81)
        self.rk.add(18082, 82)
        pauses, stop, before = [], threading.Event(), self.total("tcp", "connected")

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
            wait_for("flows", lambda: self.total("tcp", "connected") - before >= len(jobs))
            for _ in range(RELOADS):
                answer = self.reload()
                pauses.append(answer["pauseUs"])
            stop.set()
            for job in jobs:
                job.result(600)
        pauses.sort()
        print("%s: %d reloads, pause %.1f ms median, %.1f most" %
              (self.backend, len(pauses), pauses[len(pauses) // 2] / 1000, pauses[-1] / 1000))

    def test_no_connection_is_refused(self):
        """Clients that connect again and again during reloads are all served."""
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
        """Bytes that a flow holds in a pipe are taken over, too."""
        self.rk.add(18080, 80)
        go = threading.Event()

        def late(conn, _address):
            go.wait(60)
            return receive(conn)

        with TcpServer(late, netns=self.ns) as server:
            with net.connect("127.0.0.1", 18080, timeout=60) as c:
                job = background(send_payload, c, SIZE, 3)
                wait_for("the flow", lambda: self.total("tcp", "flows") == 1)
                for _ in range(3):
                    wait_for("a full pipe", lambda: self.total("resources", "pipesOpen") > 0)
                    self.assertEqual(self.reload()["flows"], 1)
                go.set()
                job.result()
                c.shutdown(socket.SHUT_WR)
                self.assertEqual(server.result(), (SIZE, payload_hash(SIZE, 3)))

    def test_connecting(self):
        """A flow whose server refuses is taken over while it still tries."""
        self.rk.add(18080, 80)
        for _ in range(10):
            with net.connect("127.0.0.1", 18080) as c:
                self.reload()
                with self.assertRaises(ConnectionResetError):  # after a quarter of a second of tries
                    c.recv(1)

    def test_counters_go_on(self):
        port = self.rk.add(18080, 80)

        def stats():
            return self.rk.api("GET", "/v1/stats")[1]

        def is_counted():
            return [p["bytesOut"] for p in stats()["ports"] if p["id"] == port] == [4]

        with TcpServer(echo, netns=self.ns):
            with net.connect("127.0.0.1", 18080, timeout=60) as c:
                c.sendall(b"ping")
                receive_exactly(c, 4)
                wait_for("the answer to be counted", is_counted)  # the client has it before that
                before = stats()
                self.reload()
                after = stats()
                self.assertEqual(after["starts"], before["starts"])
                for key in ("accepted", "connected", "bytesIn", "bytesOut", "flows"):
                    self.assertEqual(after["total"]["tcp"][key], before["total"]["tcp"][key], key)
                self.assertEqual(after["ports"], before["ports"])

    def test_ports_meanwhile(self):
        """Ports are added and removed during reloads."""
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

    def test_thousand_ports_meanwhile(self):
        """A command adds or removes many ports, as a range or one by one, during reloads."""
        singles = ["127.0.0.1:%d:80/tcp" % port for port in range(20000, 21000)]
        span = ["127.0.0.1:20000-20999:20000-20999/tcp"]
        for specs in (singles, span):
            for command in ("add-ports", "remove-ports"):
                with self.subTest(command=command, specs=len(specs)):
                    job = background(lambda c=command, s=specs: self.rk.ctl(c, *s))
                    n = 0
                    while n == 0 or job.is_alive():
                        self.reload()
                        n += 1
                    done = job.result()
                    self.assertEqual(done.returncode, 0, done.stderr)
                    left = 1000 if command == "add-ports" else 0
                    self.assertEqual(len(self.rk.ports()), left)
                    for port in (20000, 20500, 20999):
                        if left:
                            net.connect("127.0.0.1", port, timeout=60).close()
                        else:
                            self.assertRaises(ConnectionRefusedError, net.connect, "127.0.0.1", port)


# A program of another version: it receives its first message, and answers that its protocol is another one.
OTHER_VERSION = """#!/usr/bin/python3
import socket, struct, time
s = socket.socket(fileno=3)
s.recv(65536)
time.sleep(%s)
s.send(struct.pack("=iI32s", -93, 4711, b"9.9"))
"""


@rkit.ours("has no such request")
class OnDisk(Reloading):
    """A reload starts the program that is on disk at that time. If that does not work, nothing changes."""

    backend = "io_uring"
    may_die = True

    @classmethod
    def setUpClass(cls):
        cls.directory = rkit.world().tmp + "/on-disk"
        cls.binary = cls.directory + "/rootlesskit"
        os.makedirs(cls.directory, exist_ok=True)
        os.chmod(cls.directory, 0o755)
        shutil.copy(rkit.world().path["rootlesskit"], cls.binary)
        cls.rk = builtin(binary=cls.binary).ready()
        cls.rk.wait_for_command()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.directory)

    def replace(self, text=None, mode=0o755, script=None):
        """Puts another file in the program's place by rename(2), as the upgrade of a package does."""
        new = self.binary + ".new"
        if text is None and script is None:
            shutil.copy(rkit.world().path["rootlesskit"], new)
        else:
            with open(new, "w") as f:
                f.write(text or script)
        os.chmod(new, mode)
        os.rename(new, self.binary)

    def replace_back(self):
        shutil.copy(rkit.world().path["rootlesskit"], self.binary + ".new")
        os.rename(self.binary + ".new", self.binary)

    def tearDown(self):
        self.replace_back()
        super().tearDown()

    def refused(self, *words):
        """The reload is refused. An open connection goes on, and new ones are served."""
        port = self.rk.add(18080, 80)
        try:
            with TcpServer(echo, netns=self.ns), net.connect("127.0.0.1", 18080, timeout=60) as c:
                c.sendall(b"before")
                receive_exactly(c, 6)
                before = self.roles()
                status, answer = self.rk.api("POST", "/v1/reload")
                self.assertIn(status, (400, 500), answer)
                for word in words:
                    self.assertIn(word, answer["message"])
                self.assertEqual(self.roles(), before)
                for s in (c, net.connect("127.0.0.1", 18080, timeout=60)):
                    s.sendall(b"after")
                    self.assertEqual(receive_exactly(s, 5), b"after")
                s.close()
        finally:
            self.rk.remove(port)

    def test_replaced_by_rename(self):
        self.replace()
        self.reload()
        self.reload()

    def test_it_is_not_there(self):
        os.remove(self.binary)
        self.refused("No such file", self.binary)

    def test_failure_is_an_event(self):
        """The stream of events has each reload that failed, however early."""
        proc = popen([self.world.path["rootlessctl"], "--socket", self.rk.state + "/api.sock", "events"],
                     stdout=subprocess.PIPE)
        try:
            self.assertIn(b"listening", proc.stdout.readline())
            for spoil, why in ((lambda: self.replace(script="no program"), b"Exec format error"),
                               (lambda: os.remove(self.binary), b"No such file")):
                spoil()
                self.assertNotEqual(self.rk.api("POST", "/v1/reload")[0], 200)
                line = proc.stdout.readline()
                self.assertIn(b" reloadFailed what=dataplane message=reload: " + self.binary.encode(), line)
                self.assertIn(why, line)
        finally:
            proc.kill()
            proc.wait()
            proc.stdout.close()

    def test_not_executable(self):
        self.replace(text="no program", mode=0o644)
        self.refused("Permission denied", self.binary)

    def test_no_program(self):
        self.replace(text="\177ELF is not enough")
        self.refused("cannot run rootlesskit: Exec format error", self.binary)
        self.assertIn("Exec format error", self.rk.log())

    def test_ends_at_once(self):
        self.replace(script="#!/bin/sh\nexit 3\n")
        self.refused("exit status 3", self.binary)

    def test_killed_at_once(self):
        self.replace(script="#!/bin/sh\nkill -9 $$\n")
        self.refused("killed")

    def test_another_version(self):
        """The message names both versions, and both protocols."""
        ours = self.rk.api("GET", "/v1/info")[1]["version"]
        for pause_s in (0, 0.3):  # its channels have been closed before it answers
            with self.subTest(pause_s):
                self.replace(script=OTHER_VERSION % pause_s)
                self.refused("version 9.9", "version " + ours, "protocols differ (4711, ")

    def test_our_processes_refuse_another_protocol(self):
        """What a parent of another version hears from ours."""
        for role in ("dataplane", "broker", "router-broker"):
            with self.subTest(role):
                a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                self.addCleanup(a.close)
                self.addCleanup(b.close)
                proc = popen(["bash", "-c", "exec %s 3<&%d %d<&-" % (self.world.path["rootlesskit"],
                                                                     b.fileno(), b.fileno())],
                             env=self.world.environ(_RINGKIT_ROLE=role), pass_fds=[b.fileno()],
                             stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                self.addCleanup(proc.wait)
                a.settimeout(60)
                a.send(struct.pack("=I", 4711) + bytes(1000))
                err, version, program = struct.unpack("=iI32s", a.recv(1000))
                self.assertEqual(err, -errno.EPROTONOSUPPORT)
                self.assertNotEqual(version, 4711)
                self.assertEqual(program.rstrip(b"\0").decode(), self.rk.api("GET", "/v1/info")[1]["version"])
                self.assertNotEqual(proc.wait(60), 0)

    def test_does_not_answer(self):
        self.replace(script="#!/bin/sh\nexec sleep 1000\n")
        self.refused("do not answer")

    def test_one_at_a_time(self):
        self.replace(script="#!/bin/sh\nexec sleep 1000\n")
        job = background(self.rk.api, "POST", "/v1/reload")
        # The command in the namespace is another sleep.
        wait_for("the first", lambda: [comm(p) for p in processes_of(self.rk.pid)].count("sleep") > 1)
        status, answer = self.rk.api("POST", "/v1/reload")
        self.assertEqual(status, 400)
        self.assertIn("under way", answer["message"])
        # Ports can be added and removed while the reload waits.
        self.rk.remove(self.rk.add(18080, 80))
        self.assertEqual(job.result()[0], 500)

    def test_the_data_plane_dies_after_a_reload(self):
        """After a death, rootlesskit starts the program of the last reload again, and not the file that has
        its name by then."""
        self.replace()
        self.reload()
        os.remove(self.binary)
        restart_role(self.rk.pid, "dataplane")
        port = self.rk.add(18080, 80)
        with TcpServer(echo, netns=self.ns), net.connect("127.0.0.1", 18080, timeout=60) as c:
            c.sendall(b"ping")
            self.assertEqual(receive_exactly(c, 4), b"ping")
        self.rk.remove(port)

    def test_command_and_events(self):
        r = self.rk.ctl("reload")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertRegex(r.stdout, r"^version \S+ serves; connections and UDP clients taken over: 0; at rest")
        self.assertIn("flows", json.loads(self.rk.ctl("reload", "--json").stdout))

    def test_signal(self):
        before = self.roles()
        subprocess.run(["kill", "-q", "0", "-s", "USR2", str(self.rk.pid)], check=True)

        def others():
            now = self.roles()
            return len(now) == 2 and not set(now.values()) & set(before.values())
        wait_for("others", others)

    def test_ends_meanwhile(self):
        with builtin(binary=self.binary) as rk:
            self.replace(script="#!/bin/sh\nexec sleep 1000\n")
            job = background(rk.api, "POST", "/v1/reload")
            wait_for("it", lambda: "sleep" in [comm(p) for p in processes_of(rk.pid)])
            rk.stop()
            with self.assertRaises((OSError, http.client.HTTPException)):
                job.result()

    def test_nothing_to_reload(self):
        with Rootlesskit("--net=none") as rk:
            status, answer = rk.api("POST", "/v1/reload")
            self.assertEqual(status, 400)
            self.assertIn("no data plane", answer["message"])


@rkit.ours("has no such request")
@both_backends
class WayOut(NetBuiltinCase):
    """--net=builtin: connections and UDP clients on the way out are taken over, too."""

    args = ("--port-driver=builtin",)
    may_die = True
    workers = 2

    def reload(self):
        return self.rk.reload()

    def test_transfers(self):
        def send(conn, _address):
            send_payload(conn, SIZE, 5)

        with TcpServer(slow_hash(SIZE), port=8090, host=SERVER4, netns=self.server), \
                TcpServer(send, port=8091, host=SERVER4, netns=self.server):
            def up(seed):
                with self.inside.connect(SERVER4, 8090, timeout=200) as c:
                    send_payload(c, SIZE, seed)
                    return c.recv(200).decode() == "%d %s" % (SIZE, payload_hash(SIZE, seed))

            def down(_seed):
                with self.inside.connect(SERVER4, 8091, timeout=200) as c:
                    return receive(c) == (SIZE, payload_hash(SIZE, 5))
            jobs = [background(kind, i) for i in range(6) for kind in (up, down)]
            for _ in range(RELOADS):
                self.reload()
            for job in jobs:
                self.assertTrue(job.result())

    def test_connections_are_made_meanwhile(self):
        stop = threading.Event()

        def load():
            n = 0
            while not stop.is_set():
                with self.inside.connect(SERVER4, 8092, timeout=60) as c:
                    c.sendall(b"ping")
                    self.assertEqual(receive_exactly(c, 4), b"ping")
                    n += 1
            return n

        with TcpServer(echo, port=8092, host=SERVER4, netns=self.server):
            jobs = [background(load) for _ in range(4)]
            for _ in range(RELOADS):
                self.reload()
            stop.set()
            self.assertGreater(sum(job.result() for job in jobs), 0)

    def test_lowered_limit(self):
        """When somebody has lowered the limit of the process that starts it, to the least with which it can,
        the new data plane serves all the same."""
        pid = str(self.rk.pid)
        limit = len(os.listdir("/proc/%s/fd" % pid))
        was = rkit.run("prlimit", "--pid", pid, "--noheadings", "-o", "SOFT", "--nofile").stdout.strip()
        try:
            status = 0
            while status != 200:
                limit += 1
                rkit.run("prlimit", "--pid", pid, "--nofile=%d:" % limit, check=True)
                status, _ = self.rk.api("POST", "/v1/reload")
        finally:
            rkit.run("prlimit", "--pid", pid, "--nofile=%s:" % was, check=True)
        with TcpServer(echo, port=8094, host=SERVER4, netns=self.server):
            for _ in range(20):
                with self.inside.connect(SERVER4, 8094, timeout=60) as c:
                    c.sendall(b"ping")
                    self.assertEqual(receive_exactly(c, 4), b"ping")
        self.reload()

    def test_mappings_keep_their_port(self):
        with UdpServer(answer=lambda data, address: b"%d" % address[1], port=8093, host=SERVER4,
                       netns=self.server):
            with self.inside.udp(SERVER4, 8093, timeout=30) as s:
                def first():  # sent again, since the router's spare sockets may not be there yet
                    s.settimeout(1)
                    s.send(b"x")
                    try:
                        return s.recv(100)
                    except TimeoutError:
                        return None
                port = wait_for("an answer", first)
                s.settimeout(30)
                for _ in range(3):
                    self.assertGreaterEqual(self.reload()["flows"], 1)
                    s.send(b"x")
                    self.assertEqual(s.recv(100), port)


if __name__ == "__main__":
    rkit.main()
