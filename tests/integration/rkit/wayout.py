# SPDX-License-Identifier: Apache-2.0
"""What the tests of --net=builtin share: one rootlesskit for a class, and the world outside."""

import contextlib
import unittest

from . import case, net
from .container import behind_bridge
from .launch import Rootlesskit, processes_of
from .networks import outside
from .world import sh, world

SERVER4, SERVER6 = "192.0.2.100", "2001:db8::100"
GATEWAY4, GATEWAY6 = "10.0.2.2", "fd00::2"

# Routes of the host, each of which refuses connections with an error of its own: kind, address, error.
ROUTES = [("unreachable", "198.51.100.1", "EHOSTUNREACH"), ("prohibit", "198.51.100.2", "EACCES"),
          ("unreachable", "2001:db8:1::1", "EHOSTUNREACH")]


@contextlib.contextmanager
def container(rk):
    """A container that may reach what is outside. Yields the path of its network namespace."""
    with behind_bridge(rk, forward=True) as pid:
        yield "/proc/%d/ns/net" % pid


class Inside:
    """Makes sockets in the command's network namespace, for threads of the test."""

    def __init__(self, rk):
        self.netns = rk.netns() if "--detach-netns" not in rk.proc.args else rk.state + "/netns"

    def connect(self, host, port, **kw):
        return net.connect(host, port, netns=self.netns, **kw)

    def udp(self, host, port, **kw):
        return net.udp_client(host, port, netns=self.netns, **kw)

    def error(self, host, port, timeout=20):
        """The errno of a connection that must fail; None: it timed out."""
        try:
            self.connect(host, port, timeout=timeout).close()
        except TimeoutError:
            return None
        except OSError as e:
            return e.errno
        raise AssertionError("%s port %d was connected" % (host, port))


class NetBuiltinCase(case.RkTestCase):
    """One rootlesskit for each class, and the world outside. server is the namespace outside."""

    args = ()
    backend = None  # rkit.ports.both_backends sets it
    workers = None  # as in rkit.ports.PortTestCase
    may_die = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if world().reference:
            raise unittest.SkipTest("reference: has no --net=builtin")
        # Cleanups run when the rest of the set-up fails, too; tearDownClass is not called then.
        cls.server = cls.enterClassContext(outside())
        for kind, address, _ in ROUTES:
            ip = ("ip", *(["-6"] if ":" in address else []), "route")
            sh(*ip, "add", kind, address)
            cls.addClassCleanup(sh, *ip, "del", kind, address, check=False)
        cls.rk = cls.enterClassContext(cls.launch(*cls.args))
        cls.inside = Inside(cls.rk)

    @classmethod
    def launch(cls, *args, **kw):
        if cls.backend:
            args += ("--dataplane=" + cls.backend,)
        if cls.workers:
            args += ("--workers=%d" % cls.workers,)
        return Rootlesskit("--net=builtin", "--copy-up=/etc", *args, **kw)

    def expected_processes(self):
        """The data plane and the brokers may have been replaced in a test."""
        return self.processes_before | set(processes_of(self.rk.pid))
