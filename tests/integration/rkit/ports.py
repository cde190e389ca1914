# SPDX-License-Identifier: Apache-2.0
"""What the tests of ports share: one rootlesskit with the builtin port driver, for each back end."""

import sys
import unittest

from . import case
from .launch import Rootlesskit, processes_of
from .world import world


def builtin(*args, backend=None, net=None, workers=None, **kw):
    """Starts rootlesskit with the builtin port driver. Unless net names a network there is none; the
    reference cannot do that, and gets slirp4netns. workers: of the data plane, if it has any."""
    w = world()
    if w.reference:
        options = ["--net=slirp4netns", "--disable-host-loopback"]
    else:
        options = ["--net=" + (net or "none")]
        if net:
            options.append("--disable-host-loopback")
        if backend:
            options.append("--dataplane=" + backend)
        if workers:
            options.append("--workers=%d" % workers)
    return Rootlesskit(*options, "--port-driver=builtin", *args, **kw)


class PortTestCase(case.RkTestCase):
    """One rootlesskit for all tests of a class. both_backends() sets backend."""

    backend = None
    workers = None  # 2: the tests are about what workers share; the default is one where there are two CPUs
    options = ()
    may_die = False  # True: the tests kill the data plane or the broker
    not_reference = None  # why these tests cannot run with the reference

    @classmethod
    def setUpClass(cls):
        if world().reference and (world().tun_error or cls.backend == "epoll"):
            raise unittest.SkipTest(world().tun_error or "reference: one data plane only")
        if world().reference and cls.not_reference:
            raise unittest.SkipTest("reference: " + cls.not_reference)
        cls.rk = builtin(*cls.options, backend=cls.backend, workers=cls.workers).ready()
        cls.rk.wait_for_command()  # else the first test's tearDown() would take it for a process that is left

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "rk"):
            cls.rk.stop()
            if not cls.may_die and "starting it again" in cls.rk.log():
                raise AssertionError("a process of rootlesskit died:\n" + cls.rk.log())

    def expected_processes(self):
        """The data plane and the broker may have been replaced in a test."""
        return self.processes_before | set(processes_of(self.rk.pid))

    def setUp(self):
        super().setUp()
        self.assertIsNone(self.rk.proc.poll(), self.rk.log())
        self.ports_before = [p["id"] for p in self.rk.ports()]

    def tearDown(self):
        try:
            for p in self.rk.ports():
                if p["id"] not in self.ports_before:
                    self.rk.remove(p["id"])
        finally:
            super().tearDown()

    @property
    def ns(self):
        return self.rk.netns()


def both_backends(cls):
    """Adds the classes NameIoUring and NameEpoll to the class's module; Name itself runs no test then."""
    module = sys.modules[cls.__module__]
    for backend in case.BACKENDS:
        name = cls.__name__ + backend.title().replace("_", "")
        one = type(name, (cls,), {"backend": backend, "__module__": cls.__module__, "__doc__": cls.__doc__})
        setattr(module, name, case.needs("io_uring")(one) if backend == "io_uring" else one)
    return type(cls.__name__, (), {k: v for k, v in vars(cls).items()
                                   if not k.startswith(("test", "__"))})
