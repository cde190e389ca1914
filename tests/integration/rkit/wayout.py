# SPDX-License-Identifier: Apache-2.0
"""What the tests of --net=builtin share: one rootlesskit for a class, and the world outside."""

import contextlib
import subprocess
import unittest

from . import case, net
from .launch import Rootlesskit, popen, processes_of
from .networks import outside
from .world import sh, world

SERVER4, SERVER6 = "192.0.2.100", "2001:db8::100"
GATEWAY4, GATEWAY6 = "10.0.2.2", "fd00::2"

# Run by the host for the outside: all of that is refused in a way of its own.
ROUTES = [("unreachable", "198.51.100.1", "EHOSTUNREACH"), ("prohibit", "198.51.100.2", "EACCES"),
          ("unreachable", "2001:db8:1::1", "EHOSTUNREACH")]


# An address that the kernel still looks for on the link cannot be a sender's (RFC 4862).
BRIDGE = """
    echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
    ip link add br0 type bridge
    ip addr add 172.17.0.1/16 dev br0
    ip -6 addr add fd00:17::1/64 dev br0 nodad
    ip link set br0 up
    ip link add c0 type veth peer name eth0 netns {pid}
    ip link set c0 master br0 up
    nsenter -n -t {pid} sh -ec '
        ip link set lo up
        ip addr add 172.17.0.2/16 dev eth0
        ip -6 addr add fd00:17::2/64 dev eth0 nodad
        ip link set eth0 up
        ip route add default via 172.17.0.1
        ip -6 route add default via fd00:17::1'
"""


@contextlib.contextmanager
def container(rk):
    """A network namespace behind a bridge in the command's, with 172.17.0.2 and fd00:17::2 and no
    masquerading. Yields its path."""
    proc = popen(["nsenter", "-U", "--preserve-credentials", "-n", "-m", "-t", str(rk.child_pid),
                  "unshare", "-n", "sh", "-c", "echo ready; exec sleep infinity"],
                 stdout=subprocess.PIPE)
    try:
        assert proc.stdout.readline() == b"ready\n"
        got = rk.nsenter("sh", "-ec", BRIDGE.format(pid=proc.pid))
        assert got.returncode == 0, got.stderr
        yield "/proc/%d/ns/net" % proc.pid
    finally:
        rk.nsenter("sh", "-c", "ip link del c0; ip link del br0")
        proc.kill()
        proc.wait()
        proc.stdout.close()


class Inside:
    """Sockets that are made in the command's network namespace, by threads of the test."""

    def __init__(self, rk):
        self.netns = rk.netns() if "--detach-netns" not in rk.proc.args else rk.state + "/netns"

    def connect(self, host, port, **kw):
        return net.connect(host, port, netns=self.netns, **kw)

    def udp(self, host, port, **kw):
        return net.udp_client(host, port, netns=self.netns, **kw)

    def error(self, host, port, timeout=20):
        """The errno of a connection that must fail."""
        try:
            self.connect(host, port, timeout=timeout).close()
        except TimeoutError:
            return None
        except OSError as e:
            return e.errno
        raise AssertionError("%s port %d was connected" % (host, port))


class NetBuiltinCase(case.RkTestCase):
    """One rootlesskit for each class, and the world outside."""

    args = ()
    backend = None  # rkit.ports.both_backends sets it
    may_die = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if world().reference:
            raise unittest.SkipTest("reference: has no --net=builtin")
        cls.stack = contextlib.ExitStack()
        cls.server = cls.stack.enter_context(outside())
        for kind, address, _ in ROUTES:
            sh("ip", *(["-6"] if ":" in address else []), "route", "add", kind, address)
        cls.rk = cls.stack.enter_context(cls.launch(*cls.args))
        cls.inside = Inside(cls.rk)

    @classmethod
    def launch(cls, *args, **kw):
        if cls.backend:
            args += ("--dataplane=" + cls.backend,)
        return Rootlesskit("--net=builtin", "--copy-up=/etc", *args, **kw)

    @classmethod
    def tearDownClass(cls):
        cls.stack.close()
        for kind, address, _ in ROUTES:
            sh("ip", *(["-6"] if ":" in address else []), "route", "del", kind, address,
               check=False)
        super().tearDownClass()

    def expected_processes(self):
        """Data plane and brokers may be others than before."""
        return self.processes_before | set(processes_of(self.rk.pid))
