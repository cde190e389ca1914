#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The data plane or the broker dies. Ports stay, new connections work, and the log has one line about it."""

import os
import signal
import threading
import time

import rkit
from rkit import leaks, net
from rkit.launch import comm, find_role, processes_of, restart_role, run, wait_for
from rkit.networks import ask
from rkit.peers import TcpServer, UdpServer, background, echo, receive_exactly
from rkit.ports import PortTestCase, both_backends


def start_of(pid):
    """The start time of a process, which tells it from a later one with the same number."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


@rkit.ours("has none of these processes")
@both_backends
class Crash(PortTestCase):
    not_reference = "has none of these processes"
    may_die = True
    workers = 2

    def find(self, role):
        return find_role(self.rk.pid, role)

    def kill(self, role):
        restart_role(self.rk.pid, role)

    def exchange(self, port=18080, word=b"ping"):
        c = net.connect("127.0.0.1", port, timeout=20)
        try:
            c.sendall(word)
            return receive_exactly(c, len(word)) == word
        finally:
            c.close()

    def tries(self):
        try:
            return self.exchange()
        except (OSError, EOFError):
            return False

    def works(self):
        """Connections work again. One that the death has caught may be lost, but none after it."""
        wait_for("a connection that works", self.tries)
        for _ in range(20):
            self.assertTrue(self.exchange())

    def survives(self, role, word):
        self.rk.add(18080, 80)
        self.rk.add(18053, 53, proto="udp")
        stop, done = threading.Event(), []

        def load():
            while not stop.is_set():
                try:
                    self.exchange(word=b"x" * 100_000)
                    done.append(1)
                except (OSError, EOFError):
                    pass
        with TcpServer(echo, netns=self.ns), UdpServer(port=53, netns=self.ns):
            jobs = [background(load) for _ in range(4)]
            for _ in range(3):
                wait_for("load", lambda n=len(done): len(done) > n + 5)
                lines = len(self.rk.log().splitlines())
                self.kill(role)
                wait_for("a line in the log",
                         lambda: len(self.rk.log().splitlines()) > lines)
                wait_for("load again", lambda n=len(done): len(done) > n + 5)
                new = self.rk.log().splitlines()[lines:]
                self.assertEqual(len(new), 1, new)
                self.assertRegex(new[0], "(?i)%s.*kill" % word)
            stop.set()
            for job in jobs:
                job.result()
            self.works()
            self.assertEqual([p["spec"]["parentPort"] for p in self.rk.ports()], [18080, 18053])
            self.assertEqual(wait_for("an answer", lambda: ask("127.0.0.1", 18053, b"q", tries=1)), b"q")

    def test_data_plane_under_load(self):
        self.survives("dataplane", "data ?plane")

    def test_broker_under_load(self):
        self.survives("broker", "broker")

    def test_both_at_once(self):
        self.rk.add(18080, 80)
        with TcpServer(echo, netns=self.ns):
            self.assertTrue(self.exchange())
            for role in ("dataplane", "broker"):
                os.kill(self.find(role), signal.SIGKILL)
            self.works()

    def test_data_plane_while_the_broker_starts(self):
        """The parent does not keep descriptors that it has made for a data plane that has died."""
        self.rk.add(18080, 80)
        with TcpServer(echo, netns=self.ns):
            self.kill("broker")
            self.kill("dataplane")
            self.works()
            before = leaks.fd_counts(self.rk)["parent"]
            for i in range(30):
                pids = [wait_for(role, lambda r=role: self.find(r))
                        for role in ("broker", "dataplane")]
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                    time.sleep(0.0005 * (i % 5))
                self.works()
            wait_for("descriptors of the parent: %d" % before,
                     lambda: leaks.fd_counts(self.rk)["parent"] <= before)

    def limit_descriptors(self, pid, soft):
        """Returns the limit that there was."""
        show = run("prlimit", "--pid", str(pid), "--nofile", "--noheadings", "-o", "SOFT")
        self.assertEqual(run("prlimit", "--pid", str(pid), "--nofile=%s:" % soft).returncode, 0)
        return show.stdout.strip()

    def test_broker_while_the_data_plane_has_no_descriptors(self):
        """The channel to the next broker does not reach it at first."""
        self.rk.add(18080, 80)
        with TcpServer(echo, netns=self.rk.netns()):
            self.works()
            pid = self.find("dataplane")
            limit = self.limit_descriptors(pid, "3")
            self.kill("broker")
            time.sleep(0.2)  # nothing shows that the channel has been lost
            self.limit_descriptors(pid, limit)
            for _ in range(300):  # more than there are sockets made ahead
                self.assertTrue(self.exchange())
        self.assertEqual(self.find("dataplane"), pid)

    def test_port_stays_bound_all_the_time(self):
        """Connections are never refused, since the parent keeps the listening sockets."""
        self.rk.add(18080, 80)
        refused, stop = [], threading.Event()

        def knock():
            while not stop.is_set():
                try:
                    net.connect("127.0.0.1", 18080).close()
                except ConnectionRefusedError:
                    refused.append(1)
                except OSError:
                    pass
                time.sleep(0.001)  # few enough connections for the server, which has a thread for each
        with TcpServer(echo, netns=self.ns):
            job = background(knock)
            for _ in range(3):
                self.kill("dataplane")
                self.works()
            stop.set()
            job.result()
        self.assertEqual(refused, [])

    def test_api_while_the_data_plane_is_away(self):
        """The API answers while the data plane is away, and its answers are true."""
        with TcpServer(echo, netns=self.ns):
            for i in range(10):
                os.kill(wait_for("dataplane", lambda: self.find("dataplane")), signal.SIGKILL)
                port = None
                status, answer = self.rk.api("POST", "/v1/ports", {
                    "proto": "tcp", "parentIP": "127.0.0.1", "parentPort": 18080,
                    "childPort": 80})
                listed = [p["id"] for p in self.rk.ports()]
                if status == 201:
                    port = answer["id"]
                    self.assertIn(port, listed)
                    self.works()
                    os.kill(wait_for("dataplane", lambda: self.find("dataplane")),
                            signal.SIGKILL)
                    self.rk.remove(port)
                else:
                    self.assertEqual((status, listed), (400, []))
                self.assertEqual(self.rk.ports(), [])
                time.sleep(0.1)

    def test_killed_while_ports_are_being_added(self):
        """One command adds many ports. It succeeds, and the next data plane or broker serves each port."""
        specs = ["127.0.0.1:%d:80/tcp" % port for port in range(20000, 21000)]
        with TcpServer(echo, netns=self.ns):
            for role in ("dataplane", "broker"):
                with self.subTest(role):
                    job = background(lambda: self.rk.ctl("add-ports", *specs))
                    wait_for("the first ports", self.rk.ports)
                    os.kill(self.find(role), signal.SIGKILL)
                    added = job.result()
                    self.assertEqual(added.returncode, 0, added.stderr)
                    self.assertEqual(len(self.rk.ports()), len(specs))
                    for port in (20000, 20500, 20999):
                        self.assertTrue(wait_for("an answer", lambda p=port: self.exchange(p)))
                    self.rk.ctl("remove-ports", *added.stdout.split())
                    self.assertEqual(self.rk.ports(), [])

    def test_a_hundred_deaths(self):
        """100 deaths under load: connections work again each time, and nothing leaks. Prints how long it
        took."""
        took = {"dataplane": [], "broker": []}
        self.rk.add(18080, 80)
        stop = threading.Event()

        def load():
            while not stop.is_set():
                self.tries()
        with TcpServer(echo, netns=self.ns):
            jobs = [background(load) for _ in range(2)]
            self.kill("dataplane")
            self.works()
            before = leaks.fd_counts(self.rk)["parent"]
            for i in range(100):
                role = ("dataplane", "broker")[i % 2]
                pid = wait_for(role, lambda r=role: self.find(r))
                # Some deaths come while the process still starts.
                time.sleep((0, 0.002, 0.01, 0.05)[i % 4])
                start = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                wait_for("a connection that works", self.tries, step_s=0.001)
                took[role].append(time.monotonic() - start)
            stop.set()
            for job in jobs:
                job.result()
            self.works()
            wait_for("descriptors of the parent: %d" % before,
                     lambda: leaks.fd_counts(self.rk)["parent"] <= before)
        for role, times in took.items():
            times.sort()
            print("%s: a new connection works after %.0f ms, at most %.0f ms (median, maximum of %d)"
                  % (role, times[len(times) // 2] * 1000, times[-1] * 1000, len(times)))

    def test_killed_as_soon_as_it_starts(self):
        """A process that somebody kills has not failed, so the next start does not wait for seconds."""
        self.rk.add(18080, 80)
        with TcpServer(echo, netns=self.ns):
            for role in ("dataplane", "broker"):
                seen = set()
                for _ in range(12):
                    def fresh(role=role, seen=seen):
                        pid = self.find(role)
                        began = pid and start_of(pid)  # None: it has just ended
                        return began and (pid, began) not in seen and (pid, began)
                    found = wait_for("another " + role, fresh, step_s=0.0005)
                    seen.add(found)
                    os.kill(found[0], signal.SIGKILL)
                self.works()
        self.assertNotRegex(self.rk.log(), "starting it again in [0-9]+ s")

    def test_command_lives_on(self):
        self.kill("dataplane")
        self.kill("broker")
        self.assertIsNone(self.rk.proc.poll())
        self.assertIn("sleep", [comm(p) for p in processes_of(self.rk.child_pid)])


if __name__ == "__main__":
    rkit.main()
