#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rootlessctl reload is disturbed at each step: a process waits, dies, or has no memory or descriptors left.

Whatever happens, either the new data plane has every connection, or the present one goes on with them. Only
where the present data plane itself dies are they lost.
"""

import hashlib
import http.client
import mmap
import os
import re
import shutil
import signal
import struct
import subprocess
import threading
import time

import rkit
import test_reload
from rkit import leaks, net
from rkit.launch import processes_of, role_of, run, wait_for
from rkit.peers import TcpServer, UdpServer, background, echo, receive_exactly
from rkit.ports import both_backends, builtin
from rkit.world import UID

# A reload takes a process up to 40 messages. RKIT_EVERY: one of so many is disturbed.
STEPS = 60
EVERY = int(os.environ.get("RKIT_EVERY", 1))
HOLD, MESSAGE_FAILS, MEMORY_FAILS = 1, 2, 3
BLOCK = 20_000
ENOUGH = 1000  # descriptors for a data plane


class Page:
    """What tests/peers/atstep.c reads: which process is disturbed, how, and at which of its calls."""

    def __init__(self, path):
        with open(path, "wb") as f:
            f.write(bytes(4096))
        os.chmod(path, 0o666)
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), 4096)

    def arm(self, kind, role, number, only=0, other_than=0, times=0):
        self.map[:32] = struct.pack("8I", 0, ord(role[0]), only, other_than, number, times, 0, 0)
        self.map[:4] = struct.pack("I", kind)

    def off(self):
        self.map[28:32] = struct.pack("I", 1)
        self.map[:4] = struct.pack("I", 0)

    @property
    def hit(self):
        """The process that is held, or had a call fail; 0: none yet."""
        return struct.unpack("I", self.map[24:28])[0]


def preload(library, directory, state):
    """Copies the library to a directory, and puts a page into a state directory where rootlesskit has run
    before. Returns the page, and the environment that makes a rootlesskit there use both."""
    os.makedirs(state, 0o700)
    with open(state + "/lock", "wb"):
        pass
    shutil.copy(library, directory + "/atstep.so")
    os.chmod(directory + "/atstep.so", 0o755)
    page = Page(state + "/page")
    for path in (state, state + "/lock", state + "/page"):
        os.chown(path, UID, UID)
    return page, {"LD_PRELOAD": directory + "/atstep.so", "ATSTEP": state + "/page"}


class Traffic:
    """Connections that get back what they send, block by block, and UDP clients that ask for their port."""

    def __init__(self, tcp=6, udp=3):
        self.stop, self.rounds = threading.Event(), [0] * (tcp + udp)
        self.jobs = [background(self.talk if i < tcp else self.ask, i) for i in range(tcp + udp)]

    def talk(self, i):
        with net.connect("127.0.0.1", 18080, timeout=100) as c:
            while not self.stop.is_set():
                block = hashlib.shake_256(b"%d %d" % (i, self.rounds[i])).digest(BLOCK)
                c.sendall(block)
                if receive_exactly(c, BLOCK) != block:
                    raise AssertionError("other bytes than were sent")
                self.rounds[i] += 1

    def ask(self, i):
        port = None
        with net.udp_client("127.0.0.1", 18053, timeout=0.2) as c:
            while not self.stop.is_set():
                c.send(b"which?")
                try:
                    answer = c.recv(100)
                except TimeoutError:
                    continue
                if answer != (port or answer):
                    raise AssertionError("another port than before: %r, %r" % (port, answer))
                port = answer
                self.rounds[i] += 1
                time.sleep(0.01)

    def moves(self):
        """Every flow has come further, and none has failed."""
        before = list(self.rounds)

        def further():
            for job in self.jobs:
                if job.error:
                    raise job.error
            return all(a < b for a, b in zip(before, self.rounds))
        wait_for("traffic", further)

    def end(self):
        self.stop.set()
        for job in self.jobs:
            job.join(120)
        return [job.error for job in self.jobs if job.error]


class Disturbed(test_reload.Reloading):
    """One instance, with traffic, whose binary may be replaced, and whose processes can be disturbed."""

    may_die = True
    backend = None
    preloads = True

    @classmethod
    def setUpClass(cls):
        w = rkit.world()
        cls.directory = w.tmp + "/steps"
        os.makedirs(cls.directory, exist_ok=True)
        os.chmod(cls.directory, 0o755)
        cls.binary = cls.directory + "/rootlesskit"
        shutil.copy(w.path["rootlesskit"], cls.binary)
        cls.env = {}
        library = os.environ.get("RK_ATSTEP", "")
        cls.page = None
        state = None
        if os.path.exists(library) and cls.preloads:
            state = cls.directory + "/state"
            cls.page, cls.env = preload(library, cls.directory, state)
        cls.rk = builtin("--debug", binary=cls.binary, backend=cls.backend, workers=cls.workers, state=state,
                         env=w.environ(**cls.env)).ready()
        cls.rk.wait_for_command()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.directory)

    def setUp(self):
        super().setUp()
        for server in (TcpServer(echo, netns=self.ns),
                       UdpServer(answer=lambda data, address: b"%d" % address[1], netns=self.ns)):
            server.__enter__()
            self.addCleanup(server.__exit__)
        self.rk.add(18080, 80)
        self.rk.add(18053, 53, proto="udp")
        self.reload()  # from here on the parent has the descriptor of the binary
        self.traffic = Traffic()
        self.addCleanup(lambda: self.traffic.end())
        self.traffic.moves()
        self.before = self.what_there_is()

    def tearDown(self):
        self.page and self.page.off()
        self.assertEqual(self.traffic.end(), [])
        super().tearDown()

    def processes(self, role):
        """The parent's own children in this role."""
        return [p for p in processes_of(self.rk.pid) if role_of(p) == role and parent_of(p) == self.rk.pid]

    def what_there_is(self):
        """Processes and descriptors of rootlesskit, which are the same whenever nothing is going on. (A
        broker that cannot start its keeper goes on without.)"""
        return (sorted(role_of(p) for p in processes_of(self.rk.pid) if role_of(p) != "keeper"),
                [path.replace(" (deleted)", "") for path in leaks.descriptors(self.rk.pid)])

    def nothing_is_left(self):
        try:
            wait_for("processes and descriptors as before", lambda: self.what_there_is() == self.before, 30)
        except AssertionError:
            self.assertEqual(self.what_there_is(), self.before)

    def works(self):
        """Ports serve new clients."""
        with net.connect("127.0.0.1", 18080, timeout=60) as c:
            c.sendall(b"ping")
            self.assertEqual(receive_exactly(c, 4), b"ping")

    def ask(self, how):
        """Asks for a reload. Returns "" when it is done, or why it was not."""
        if how == "signal":
            return self.ask_by_signal()
        try:
            status, answer = self.rk.api("POST", "/v1/reload")
        except (OSError, http.client.HTTPException) as e:
            return "no answer: %r" % e
        return "" if status == 200 else answer["message"]

    def ask_by_signal(self):
        at = len(self.rk.log())
        subprocess.run(["kill", "-q", "0", "-s", "USR2", str(self.rk.pid)], check=True)
        said = wait_for("a line in the log", lambda: re.search(
            r"reloaded: version|\[rootlesskit:parent\] error: (.*)\n", self.rk.log()[at:]))
        return said.group(1) or ""

    def disturb(self, how, arm, act, after, least=1):
        """A reload at a time, disturbed at one call after the other, until that call does not come any more
        before the reload has ended. act(pid): what is done to the process. after(outcome): checks."""
        done, number = 0, 0
        for number in range(1, STEPS * EVERY, EVERY):
            with self.subTest(number=number):
                arm(number)
                job = background(self.ask, how)
                wait_for("the step or the end", lambda j=job: self.page.hit or not j.is_alive(), step_s=0.001)
                hit = self.page.hit
                if hit:
                    act(hit)
                self.page.off()
                outcome = job.result()
                after(outcome)
                self.works()
                self.nothing_is_left()
                if not hit:
                    break
                done += 1
        print("        %s: %d steps" % (self.backend, done))
        self.assertGreaterEqual(done, least)

    def lives(self, outcome):
        del outcome
        self.traffic.moves()

    def new_traffic(self, outcome):
        """The flows may be lost: the others are as good."""
        del outcome
        wait_for("a data plane", lambda: len(self.processes("dataplane")) == 1)
        self.traffic.end()
        self.traffic = Traffic()
        self.traffic.moves()


def parent_of(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return int(f.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # the reload has ended without it, and has ended it


def wait(pid):
    del pid
    time.sleep(0.03)


@rkit.ours("has no such request")
@both_backends
class Steps(Disturbed):
    def setUp(self):
        if not self.page:
            self.skipTest("the machine has no library that lets calls fail (a sanitizer?)")
        super().setUp()

    def of_new(self, kind, role, **kw):
        return lambda number: self.page.arm(kind, role, number, other_than=self.processes(role)[0], **kw)

    def of_present(self, kind, role, **kw):
        return lambda number: self.page.arm(kind, role, number, only=self.processes(role)[0], **kw)

    def test_each_waits(self):
        """Nobody minds a process that has no CPU for a while."""
        for arm in (self.of_new(HOLD, "dataplane"), self.of_present(HOLD, "dataplane"),
                    self.of_new(HOLD, "broker"), self.of_present(HOLD, "broker"),
                    lambda number: self.page.arm(HOLD, "parent", number)):
            def after(outcome):
                self.assertEqual(outcome, "")
                self.traffic.moves()
            self.disturb("api", arm, wait, after, 0)  # the present broker has little to say

    def test_new_plane_dies(self):
        def after(outcome):
            if outcome:
                self.assertRegex(outcome, "the new data plane: .*kill")
                self.traffic.moves()
            else:  # it had been told to serve
                self.new_traffic(outcome)
        for how in ("api", "signal"):
            self.disturb(how, self.of_new(HOLD, "dataplane"), kill, after)

    def test_new_broker_dies(self):
        def after(outcome):
            if outcome:
                self.assertRegex(outcome, "the new socket broker: .*kill")
            self.traffic.moves()
        self.disturb("api", self.of_new(HOLD, "broker"), kill, after)

    def test_present_broker_dies(self):
        self.disturb("api", self.of_present(HOLD, "broker"), kill, self.lives, 0)

    def test_present_plane_dies(self):
        """Its flows are lost, unless it had handed over all of them. The ports are not."""
        def after(outcome):
            if outcome:
                self.new_traffic(outcome)
            else:
                self.traffic.moves()
        self.disturb("api", self.of_present(HOLD, "dataplane"), kill, after)

    def test_messages_fail(self):
        """Once, at each of them."""
        for arm in (self.of_new(MESSAGE_FAILS, "dataplane", times=1),
                    self.of_present(MESSAGE_FAILS, "dataplane", times=1),
                    self.of_new(MESSAGE_FAILS, "broker", times=1),
                    lambda number: self.page.arm(MESSAGE_FAILS, "parent", number, times=1)):
            self.disturb("api", arm, lambda pid: None, self.lives)

    def test_parent_has_no_memory(self):
        for times in (1, 4):
            def arm(number, t=times):
                self.page.arm(MEMORY_FAILS, "parent", number, times=t)
            self.disturb("signal", arm, lambda pid: None, self.lives)

    def test_new_plane_has_no_memory(self):
        for number in (*range(1, 12), *range(12, 400, 29)):
            with self.subTest(number=number):
                self.of_new(MEMORY_FAILS, "dataplane", times=1)(number)
                self.ask("api")
                self.page.off()
                self.traffic.moves()
                self.nothing_is_left()
                if not self.page.hit:
                    break

    def test_new_plane_hangs(self):
        """In the middle. It gets its time, and is given up."""
        self.page.arm(HOLD, "dataplane", 1_000_000, other_than=self.processes("dataplane")[0])
        self.assertEqual(self.ask("api"), "")
        steps = 1_000_000 - struct.unpack("I", self.page.map[16:20])[0]
        outcomes = []
        for number in (1, steps // 3, steps // 2):
            with self.subTest(number=number, of=steps):
                self.of_new(HOLD, "dataplane")(number)
                job = background(self.ask, "api")
                wait_for("the step", lambda: self.page.hit)
                outcomes.append(job.result())
                self.page.off()
                self.traffic.moves()
                self.works()
                self.nothing_is_left()
        for words in ("do not answer", "does not take the ports|does not take over the flows"):
            self.assertRegex("\n".join(outcomes), words)


@rkit.ours("has no such request")
@both_backends
class Descriptors(Disturbed):
    """There are not enough of them."""

    preloads = False

    def limit(self, pid, number):
        """Leaves the process so many of them. Its own user may do that."""
        got = run("prlimit", "--pid=%d" % pid, "--nofile=%d:" % number)
        self.assertEqual(got.returncode, 0, got.stderr)

    def limits(self, pid):
        """The limit with which the process can have no more than it has, and its present one."""
        with open("/proc/%d/limits" % pid) as f:
            present = next(int(line.split()[3]) for line in f if line.startswith("Max open files"))
        used = {int(name) for name in os.listdir("/proc/%d/fd" % pid)}
        return min(set(range(len(used) + 1)) - used), present

    def test_of_the_parent(self):
        refused = 0
        lowest, present = self.limits(self.rk.pid)
        for number in range(0, 60, 2):
            with self.subTest(number=number):
                self.limit(self.rk.pid, lowest + number)
                outcome = self.ask("signal")
                self.limit(self.rk.pid, present)
                refused += outcome != ""
                self.traffic.moves()
                if not outcome:
                    self.reload()
                self.works()
                self.nothing_is_left()
        self.assertGreater(refused, 0)
        self.reload()

    def test_of_the_present_plane(self):
        for number in range(4):
            with self.subTest(number=number):
                plane = self.processes("dataplane")[0]
                lowest, present = self.limits(plane)
                self.limit(plane, lowest + number)
                outcome = self.ask("api")
                if outcome:
                    self.assertIn("the present data plane: Too many open files", outcome)
                    self.limit(plane, present)
                self.traffic.moves()
                self.works()
                self.nothing_is_left()

    def test_of_the_new_ones(self):
        """Too few for all that there is: then the present ones keep it."""
        for number in (6, 8, 10, 12, 14, 16, ENOUGH):
            with self.subTest(number=number):
                with open(self.binary + ".new", "w") as f:
                    f.write("#!/bin/sh\nulimit -n %d\nexec %s\n" %
                            (number, self.world.path["rootlesskit"]))
                os.chmod(self.binary + ".new", 0o755)
                os.rename(self.binary + ".new", self.binary)
                self.assertEqual(self.ask("api") == "", number == ENOUGH)
                self.traffic.moves()
                self.nothing_is_left()
        shutil.copy(self.world.path["rootlesskit"], self.binary + ".new")
        os.rename(self.binary + ".new", self.binary)
        self.reload()
        self.traffic.moves()


@rkit.ours("has no such request")
@both_backends
class Stopped(Disturbed):
    """The present data plane is stopped, as by a debugger. The reload says so in time. When it runs
    again, it has everything."""

    preloads = False

    def outcome(self, under_way=None):
        """The outcome of a reload meanwhile. under_way: a request that is made before, if any."""
        plane = self.processes("dataplane")[0]
        os.kill(plane, signal.SIGSTOP)
        try:
            job = under_way and under_way()
            outcome = self.ask("api")
        finally:
            os.kill(plane, signal.SIGCONT)
        self.assertEqual(self.processes("dataplane"), [plane])
        self.traffic.moves()
        self.works()
        return outcome, job and job.result()

    def test_no_request_is_under_way(self):
        outcome, _ = self.outcome()
        self.assertEqual(outcome, "reload: the present data plane does not hand over its flows within 5 s: "
                                  "stopped, or without a CPU")
        self.nothing_is_left()
        self.reload()
        self.traffic.moves()

    def test_a_port_is_being_added(self):
        def add():
            job = background(lambda: self.rk.add(18054, 53, proto="udp"))
            with open("/proc/net/udp") as sockets:
                wait_for("the port's sockets", lambda: sockets.seek(0) or ":%04X " % 18054 in sockets.read())
            return job

        outcome, port = self.outcome(add)
        self.assertEqual(outcome, "reload: a request about a port is not answered within 10 s: "
                                  "stopped, or without a CPU")
        self.rk.remove(port)
        self.nothing_is_left()
        self.reload()
        self.traffic.moves()


@rkit.ours("has no such request")
class Ends(rkit.RkTestCase):
    """rootlesskit is told to end in the middle of a reload."""

    def test_at_each_step(self):
        library = os.environ.get("RK_ATSTEP", "")
        if not os.path.exists(library):
            self.skipTest("the machine has no library that lets calls fail (a sanitizer?)")
        directory = self.world.tmp + "/ends"
        for number in (1, 2, 4, 6, 8, 10, 12, 16):
            os.makedirs(directory)
            page, env = preload(library, directory, directory + "/state")
            with self.subTest(number=number), \
                    builtin(state=directory + "/state", env=self.world.environ(**env)) as rk:
                rk.add(18080, 80)
                with TcpServer(echo, netns=rk.netns()), net.connect("127.0.0.1", 18080, timeout=60) as c:
                    c.sendall(b"ping")
                    self.assertEqual(receive_exactly(c, 4), b"ping")
                    plane = [p for p in processes_of(rk.pid) if role_of(p) == "dataplane"][0]
                    page.arm(HOLD, "dataplane", number, other_than=plane)
                    job = background(rk.api, "POST", "/v1/reload")
                    wait_for("the step", lambda p=page, j=job: p.hit or not j.is_alive())
                    self.assertEqual(rk.stop(), 255, rk.log())
                    page.off()
                    job.join(60)
                    self.assertFalse(job.is_alive())
                    c.settimeout(30)
                    try:
                        self.assertEqual(c.recv(1), b"")
                    except ConnectionResetError:
                        pass
            shutil.rmtree(directory)
            self.assertNothingLeft()


if __name__ == "__main__":
    rkit.main()
