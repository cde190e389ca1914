# SPDX-License-Identifier: Apache-2.0
"""What the tests of the network drivers share: a world outside, and programs that reach it."""

import contextlib
import glob
import os
import shutil
import socket
import struct
import subprocess
import time

from . import leaks, lxc, net
from .launch import DEADLINE_S, Rootlesskit, rootlesskit, wait_for
from .peers import TcpServer, UdpServer, background, echo, hello, payload_hash, receive, send_payload
from .world import sh, world, write

PEER = os.environ.get("RK_VPNKIT_PEER")  # a stand-in for vpnkit

# A program for the command's namespaces. Its arguments are "tcp HOST PORT [SECONDS]", "udp HOST PORT" or
# "name NAME". It prints the answer.
PROBE = r"""
import socket, sys, time
what, *rest = sys.argv[1:]
if what == "tcp":
    s = socket.create_connection((rest[0], int(rest[1])), float((rest + [20])[2]))
    s.sendall(b"question")
    print(s.recv(100).decode())
elif what == "udp":
    s = socket.socket(socket.AF_INET6 if ":" in rest[0] else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(2)
    s.connect((rest[0], int(rest[1])))
    for _ in range(10):
        s.send(b"question")
        try:
            print(s.recv(100).decode())
            break
        except TimeoutError:
            pass
        except ConnectionError:
            time.sleep(0.2)
elif what == "name":
    print(socket.gethostbyname(rest[0]))
"""


def probe(rk, *words, netns=None, **kw):
    """Runs PROBE in the namespaces of the command, or in a detached network namespace. Returns what it
    printed, or "failed: " and the last line of its error."""
    if netns:
        got = rk.nsenter("nsenter", "--net=" + netns, "python3", "-c", PROBE, *words, net=False,
                         **kw)
    else:
        got = rk.nsenter("python3", "-c", PROBE, *words, **kw)
    if got.returncode:
        return "failed: " + (got.stderr.strip().splitlines() or [""])[-1]
    return got.stdout.strip()


def dns_answer(query, _address):
    """Answers a query for any name with 192.0.2.77."""
    question = query[12:]
    return (query[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, 1, 0, 0) + question
            + b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton("192.0.2.77"))


@contextlib.contextmanager
def outside(default_route=True):
    """A neighbour, 192.0.2.100, that echoes on TCP port 80 and UDP port 7 and is the host's name server and
    default route. Yields the neighbour's namespace."""
    world()  # this makes our own /etc and /run, which the next lines change
    with net.neighbour("server") as ns:
        if default_route:
            sh("ip", "route", "add", "default", "via", "192.0.2.100")
            sh("ip", "-6", "route", "add", "default", "via", "2001:db8::100")
        write("/etc/resolv.conf", "nameserver 192.0.2.100\n")
        try:
            with TcpServer(echo, port=80, host="0.0.0.0", netns=ns), \
                    TcpServer(echo, port=80, host="::", netns=ns), \
                    UdpServer(port=7, host="0.0.0.0", netns=ns), \
                    UdpServer(dns_answer, port=53, host="0.0.0.0", netns=ns):
                yield ns
        finally:
            write("/etc/resolv.conf", "nameserver 127.0.0.1\n")


def missing(network):
    """Why this network driver cannot run here, or None."""
    programs = {"slirp4netns": ["slirp4netns"], "pasta": ["pasta"], "lxc-user-nic": ["dnsmasq"],
                "vdeplug_slirp": ["vde_plug", "nsenter"]}.get(network, [])
    for name in programs:
        if not shutil.which(name):
            return name + " is not installed"
    if network == "vdeplug_slirp" and not glob.glob("/usr/lib/*/vdeplug/libvdeplug_slirp.so"):
        return "libvdeplug-slirp is not installed"
    if network == "vpnkit" and not PEER and not shutil.which("vpnkit"):
        return "built without libslirp, and no vpnkit in PATH"
    if network == "lxc-user-nic" and lxc.unusable():
        return lxc.unusable()
    return None if network in ("none", "builtin", "lxc-user-nic") else world().tun_error


def pasta_is_of_2024():
    """Whether pasta is of 2024 or later. The test is whether it takes an option of that year, since versions
    of 2025 print no --help to a pipe."""
    return bool(shutil.which("pasta")) and subprocess.run(
        ["pasta", "--host-lo-to-ns-lo", "--version"], capture_output=True).returncode == 0


@contextlib.contextmanager
def vpnkit_stand_in():
    """Puts the stand-in for vpnkit into the first directory of PATH, where any user may run it."""
    path = world().bin + "/vpnkit"
    shutil.copy(PEER, path)
    os.chmod(path, 0o755)
    try:
        yield
    finally:
        os.unlink(path)


@contextlib.contextmanager
def surroundings(network):
    """The world outside, with what this network driver needs there."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(outside())
        if network == "lxc-user-nic":
            stack.enter_context(lxc.bridge())
            stack.enter_context(lxc.Dnsmasq())
            lxc.route_back(server)
        if network == "vpnkit" and PEER:
            stack.enter_context(vpnkit_stand_in())
        yield


def process_named(name, *words):
    """(pid, words of the command line) of a process that runs this program with these words."""
    for pid in leaks.processes():
        try:
            with open("/proc/%d/cmdline" % pid, "rb") as f:
                line = f.read().decode().split("\0")[:-1]
        except OSError:
            continue
        if line and os.path.basename(line[0]) == name and all(w in line for w in words):
            return pid, line
    raise AssertionError("no %s runs" % name)


def gone(pid):
    wait_for("the end of process %d" % pid, lambda: not os.path.exists("/proc/%d" % pid))


@contextlib.contextmanager
def fake(name, script):
    """Makes a shell script that stands in for a program of this name. Yields its path."""
    path = "%s/fake-%s" % (world().base, name)
    write(path, "#!/bin/sh\n" + script, 0o755)
    try:
        yield path
    finally:
        os.unlink(path)


def look(*options):
    """What a command sees of its network, followed by what rootlesskit has logged."""
    got = rootlesskit(*options, "sh", "-c", "ip -o -4 addr; ip route; ip -o link; "
                      "cat /etc/resolv.conf; ip -6 -o addr")
    assert got.returncode == 0, got.stderr
    return got.stdout + got.stderr


def exchange(host, port, size, netns=None):
    """Sends size bytes over TCP and receives them back at the same time. Returns what came: (bytes, hash)."""
    with net.connect(host, port, netns=netns) as c:
        return exchange_over(c, size)


def exchange_over(c, size):
    """exchange() over an existing connection."""
    back = background(receive, c)
    send_payload(c, size)
    c.shutdown(socket.SHUT_WR)
    return back.result()


def ask(host, port, data=b"datagram", netns=None, tries=20):
    """ask_over() with a new client."""
    with net.udp_client(host, port, timeout=2, netns=netns) as c:
        return ask_over(c, data, tries)


def ask_over(client, data, tries=20):
    """Sends a datagram until an answer comes, since either may get lost. Returns the answer; None: there was
    none to so many tries."""
    for _ in range(tries):
        try:
            client.send(data)
            return client.recv(65536)
        except ConnectionRefusedError:
            time.sleep(0.5)  # a server that is being started needs some time
        except TimeoutError:
            pass
    return None


def said(host, port, **kw):
    """What the TCP server says; None: it says nothing, or there is none."""
    try:
        with net.connect(host, port, timeout=20, **kw) as c:
            return c.recv(100) or None
    except OSError:
        return None


def ping(rk, host):
    """Whether the host answers a ping from inside."""
    got = rk.nsenter("ping", "-c", "1", "-W", "10", host)
    print(got.stdout + got.stderr) if got.returncode else None
    return got.returncode == 0


class Reaching:
    """Tests that a network reaches the world outside, from a detached network namespace and with a PID
    namespace as well. Subclasses set the options, which forbid the host's services, and the address at which
    these would be."""

    options = detached = None
    gateway = "10.0.2.2"
    size = 20_000_000  # in bytes, of what goes out and comes back

    def test_tcp_udp_names(self):
        with outside(), Rootlesskit(*self.options) as rk:
            self.assertEqual(probe(rk, "tcp", "192.0.2.100", "80"), "question")
            self.assertEqual(probe(rk, "udp", "192.0.2.100", "7"), "question")
            self.assertEqual(probe(rk, "name", "any.example."), "192.0.2.77")

    def test_much(self):
        with outside(), Rootlesskit(*self.options) as rk:
            self.assertEqual(exchange("192.0.2.100", 80, self.size, netns=rk.netns()),
                             (self.size, payload_hash(self.size)))

    def test_services_of_the_host_unless_forbidden(self):
        with outside(), TcpServer(echo, port=8000):
            with Rootlesskit(*(o for o in self.options if o != "--disable-host-loopback")) as rk:
                self.assertEqual(probe(rk, "tcp", self.gateway, "8000"), "question")
            with Rootlesskit(*self.options) as rk:
                for address in (self.gateway, "127.0.0.1"):
                    self.assertRegex(probe(rk, "tcp", address, "8000", "3"),
                                     "^failed: .*(refused|timed out|unreachable|No route)")

    def test_detached(self):
        with outside(), Rootlesskit(*self.detached) as rk:
            inside = rk.state + "/netns"
            self.assertEqual(probe(rk, "tcp", "192.0.2.100", "80", netns=inside), "question")
            self.assertEqual(probe(rk, "udp", "192.0.2.100", "7", netns=inside), "question")

    def test_with_a_pid_namespace(self):
        with outside(), Rootlesskit(*self.options, "--pidns") as rk:
            self.assertEqual(probe(rk, "tcp", "192.0.2.100", "80"), "question")


class Publishing:
    """Tests the builtin port driver on top of a network."""

    options = child_ip = None

    def test_builtin(self):
        with Rootlesskit(*self.options, "--port-driver=builtin", "-p", "127.0.0.1:18080:80/tcp",
                         "-p", "127.0.0.1:18081:%s:81/tcp" % self.child_ip,
                         "-p", "127.0.0.1:18082:82/udp") as rk:
            with TcpServer(hello("lo"), netns=rk.netns()), \
                    TcpServer(hello("tap"), port=81, host=self.child_ip, netns=rk.netns()), \
                    UdpServer(port=82, netns=rk.netns()):
                self.assertEqual(said("127.0.0.1", 18080), b"lo")
                self.assertEqual(said("127.0.0.1", 18081), b"tap")
                self.assertEqual(ask("127.0.0.1", 18082), b"datagram")


class Ending:
    """Tests that the programs of a network driver end when rootlesskit does. A subclass's pids() finds
    them."""

    options = detached = None

    def test_with_us(self):
        for options in (self.options, self.detached):
            with outside(), Rootlesskit(*options) as rk:
                pids = self.pids()
                self.assertEqual(rk.stop(), 255)
                for pid in pids:
                    gone(pid)

    def test_when_the_parent_is_killed(self):
        for options in (self.options, self.detached):
            with outside():
                rk = Rootlesskit(*options).ready()
                pids = self.pids()
                rk.proc.kill()
                rk.wait()
                for pid in pids:
                    gone(pid)
                rk.forget_state()


class Failing:
    """For tests of a network driver whose set-up fails: the log has one line with the reason, and nothing is
    left. Subclasses set the options."""

    options = None
    warnings = 0  # how many lines come before the one with the reason

    def fails(self, say, *args, **env):
        got = rootlesskit(*self.options, *args, "true", env=world().environ(**env), timeout=2 * DEADLINE_S)
        self.assertEqual(got.returncode, 1)
        lines = got.stderr.strip().splitlines()
        self.assertEqual(len(lines), self.warnings + 1, got.stderr)
        self.assertRegex(lines[-1], say)

    def fails_in_a_long_directory(self, say):
        """In this directory, the driver's socket has no room, although that of the API has."""
        path = world().tmp + "/"
        path += "x" * (107 - len("/api.sock") - len(path))
        self.fails(say + ".* choose a shorter --state-dir", "--state-dir=" + path)


class NeedingTun(Failing):
    """Failing, for drivers that open /dev/net/tun."""

    def test_a_bad_device(self):
        if not world().own_tun:
            self.skipTest("/dev/net/tun is the machine's, and open to all")
        os.chmod("/dev/net/tun", 0o600)
        try:
            self.fails("/dev/net/tun must be readable and writable")
        finally:
            os.chmod("/dev/net/tun", 0o666)
