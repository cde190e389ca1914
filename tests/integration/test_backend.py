#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which back end the data plane gets, the reason that is given, and kernels that lack a call we use."""

import contextlib
import socket

import rkit
from rkit import leaks, net
from rkit.launch import Rootlesskit, denying, find_role, restart_role, wait_for
from rkit.peers import TcpServer, UdpServer, echo, receive_exactly
from rkit.ports import both_backends
from rkit.world import sh, world, write
import test_inject_memory

BUILTIN = ["--net=none", "--port-driver=builtin"]

# Kernels before 5.14 answer so.
NO_COOKIE = "SO_NETNS_COOKIE=ENOPROTOOPT"


@contextlib.contextmanager
def disabled(value):
    """Mounts another value of kernel.io_uring_disabled over the host's. None: no such file."""
    sh("mount", "-t", "tmpfs", "tmpfs", "/proc/sys/kernel")
    try:
        if value is not None:
            write("/proc/sys/kernel/io_uring_disabled", value + "\n")
        yield
    finally:
        sh("umount", "/proc/sys/kernel")


# The call that is refused, the value of the sysctl, the command to start by, and the reason that is given.
CAUSES = [
    (["io_uring_setup=EPERM"], "2", [], r"kernel\.io_uring_disabled is 2; 0 allows it"),
    (["io_uring_setup=EPERM"], "1", [],
     r"kernel\.io_uring_disabled is 1: .*group kernel\.io_uring_group"),
    (["io_uring_setup=EPERM"], "0", [], r"a seccomp filter, .* does not permit"),
    (["io_uring_setup=EPERM"], None, [], r"a seccomp filter, .* does not permit"),
    # Started by setarch, the kernel gives its version as 2.6.
    (["io_uring_setup=EINVAL"], None, ["setarch", "--uname-2.6"],
     r"it needs Linux 6\.1 or newer \(this is 2\.6\.\d+\); --dataplane=epoll works"),
    (["io_uring_setup=ENOSYS"], None, ["setarch", "--uname-2.6"], r"it needs Linux 6\.1 or newer"),
    (["io_uring_setup=ENOSYS"], "0", [], r"built without io_uring, or a seccomp filter hides it"),
    (["io_uring_setup=EINVAL"], "0", [], r"refuses a ring of the kind that is used"),
    (["io_uring_setup=ENOMEM"], "0", ["prlimit", "--memlock=65536:65536"],
     r"no memory for its rings: .*RLIMIT_MEMLOCK \(ulimit -l\), which is 64 KiB"),
    (["io_uring_setup=EMFILE"], "0", [], r"io_uring cannot be had .*: Too many open files"),
]


def causes():
    """CAUSES as this kernel gives them. The reason on a kernel before 6.1 is its age, unless it refuses
    io_uring or lacks memory."""
    for refused, sysctl, before, why in CAUSES:
        if world().uring_error and not refused[0].endswith(("EPERM", "ENOMEM")):
            why = r"it needs Linux 6\.1 or newer"
        yield refused, sysctl, before, why


@rkit.ours("has no back ends")
class NoUring(rkit.RkTestCase):
    def start(self, refused, before, *args):
        return Rootlesskit(*BUILTIN, *args, before=[*before, *denying(*refused)], uid=0,
                           command=("sleep", "infinity"))

    def test_automatic_choice_tells_why(self):
        for refused, sysctl, before, why in causes():
            with self.subTest(why, refused=refused), disabled(sysctl), self.start(refused, before) as rk:
                info = rk.api("GET", "/v1/info")[1]["portDriver"]
                self.assertEqual(info["dataplane"], "epoll")
                self.assertRegex(info["dataplaneReason"], why)
                self.assertRegex(rk.ctl("info").stdout, "Data plane: epoll, .*\n.*Why this one: .*" + why)
                self.assertEqual(rk.log(), "")

    def test_forced_one_names_cause_and_remedy_in_one_line(self):
        for refused, sysctl, before, why in causes():
            with self.subTest(why, refused=refused), disabled(sysctl):
                rk = self.start(refused, before, "--dataplane=io_uring")
                self.assertEqual(rk.wait(), 1, rk.log())
                lines = rk.log().splitlines()
                self.assertRegex(lines[0], "--dataplane=io_uring: .*" + why)
                self.assertIn("--dataplane=epoll", lines[0])
                self.assertEqual(len(lines), 1, lines)

    def test_other_reasons(self):
        for how in rkit.backends():
            with Rootlesskit(*BUILTIN, "--dataplane=" + how) as rk:
                info = rk.api("GET", "/v1/info")[1]["portDriver"]
                self.assertEqual((info["dataplane"], info["dataplaneReason"]),
                                 (how, "asked for by --dataplane"))

    @rkit.needs("io_uring")
    def test_it_works(self):
        with Rootlesskit(*BUILTIN) as rk:
            info = rk.api("GET", "/v1/info")[1]["portDriver"]
            self.assertEqual((info["dataplane"], info["dataplaneReason"]),
                             ("io_uring", "io_uring works here"))


def uring_descriptors(pid):
    links = leaks.links(pid)
    assert links, "process %d has ended" % pid
    return [link for link in links if "io_uring" in link]


@rkit.needs("io_uring")
@rkit.ours("has no back ends")
class NoUringForAll(test_inject_memory.Preloaded):
    """The first worker gets a ring and a later one does not. Each makes two calls that may fail."""

    VARIABLE, LIBRARY = "FAILCALL", "RK_FAILCALL"
    WHY = "there is no memory for its rings"
    CALLS = range(1, 7)

    def start(self, number, how):
        return Rootlesskit(*BUILTIN, "--workers=3", "--dataplane=" + how, "-p", "127.0.0.1:18080:80/tcp",
                           env=self.world.environ(LD_PRELOAD=self.copy, FAILCALL="%d:ring:dataplane:%s" % (
                               number, self.hit)))

    def test_all_take_epoll(self):
        for number in self.CALLS:
            with self.subTest(number), self.start(number, "auto") as rk, \
                    TcpServer(echo, netns=rk.netns()):
                self.assertTrue(self.was_hit())
                info = rk.api("GET", "/v1/info")[1]["portDriver"]
                self.assertEqual((info["dataplane"], info["workers"]), ("epoll", 3))
                self.assertIn(self.WHY, info["dataplaneReason"])
                # A connection goes to the worker that its addresses lead to.
                for _ in range(30):
                    with net.connect("127.0.0.1", 18080) as c:
                        c.sendall(b"word")
                        self.assertEqual(receive_exactly(c, 4), b"word")
                self.assertFalse(uring_descriptors(find_role(rk.pid, "dataplane")))
                self.assertEqual(rk.log(), "")

    def test_asked_for(self):
        for number in self.CALLS:
            with self.subTest(number):
                rk = self.start(number, "io_uring")
                self.assertEqual(rk.wait(), 1, rk.log())
                self.assertRegex(rk.log(), "--dataplane=io_uring: " + self.WHY)
                self.assertEqual(len(rk.log().splitlines()), 1, rk.log())

    def test_nothing_fails(self):
        """These are all of the calls."""
        with self.start(self.CALLS[-1] + 1, "auto") as rk:
            self.assertFalse(self.was_hit())
            self.assertEqual(rk.api("GET", "/v1/info")[1]["portDriver"]["dataplane"], "io_uring")


@both_backends
@rkit.ours("knows no cookies")
class NoCookie(rkit.RkTestCase):
    """A kernel without SO_NETNS_COOKIE, which came with Linux 5.14. Only childListenIP needs it."""

    def setUp(self):
        super().setUp()
        self.rk = Rootlesskit(*BUILTIN, "--dataplane=" + self.backend, "-p", "127.0.0.1:18080:80/tcp", "-p",
                              "127.0.0.1:18053:53/udp", before=denying(NO_COOKIE), uid=0).ready()

    def tearDown(self):
        self.rk.stop()
        super().tearDown()

    def test_ports_work_also_after_deaths(self):
        with TcpServer(echo, netns=self.rk.netns()), UdpServer(netns=self.rk.netns(), port=53):
            self.exchange()
            for role in "dataplane", "broker":
                restart_role(self.rk.pid, role)
                wait_for("a connection", self.works)
                self.exchange()

    def works(self):
        try:
            self.exchange()
            return True
        except (OSError, EOFError):
            return False

    def exchange(self):
        with net.connect("127.0.0.1", 18080) as c:
            c.sendall(b"word")
            self.assertEqual(receive_exactly(c, 4), b"word")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as c:
            c.settimeout(30)
            c.connect(("127.0.0.1", 18053))
            c.send(b"question")
            self.assertEqual(c.recv(100), b"question")

    def test_nothing_can_listen_inside(self):
        self.assertNotIn("netnsCookie", self.rk.api("GET", "/v1/info")[1]["portDriver"])
        status, answer = self.rk.api("POST", "/v1/ports", {
            "proto": "tcp", "parentIP": "127.0.0.1", "parentPort": 18081, "childPort": 81,
            "childIP": "127.0.0.1", "childListenIP": "127.0.0.2"})
        self.assertGreaterEqual(status, 400)
        self.assertRegex(answer["message"], r"childListenIP needs Linux 5\.14 or newer")
        self.assertEqual(len(self.rk.ports()), 2)


@rkit.ours("has no such network")
class NoCookieOutward(rkit.RkTestCase):
    def test_net_builtin(self):
        with Rootlesskit("--net=builtin", "--port-driver=builtin", before=denying(NO_COOKIE), uid=0) as rk:
            got = rk.nsenter("ip", "-o", "route")
            self.assertIn("default via 10.0.2.2", got.stdout)


if __name__ == "__main__":
    rkit.main()
