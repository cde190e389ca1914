#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counted fault injection, as in test_inject.py, into the set-up of the networks for which a process of ours
runs inside: calls of that process and of the driver."""

import unittest

import rkit
import test_inject
from rkit import lxc
from rkit.networks import PEER, vpnkit_stand_in

CALLS = {
    "setns": ("EPERM", 2), "socketpair": ("EMFILE", 4), "socket": ("ENFILE", 4),
    "connect": ("ECONNREFUSED", 2), "ioctl": ("EBUSY", 4), "sendmsg": ("ENOBUFS", 5),
    "recvmsg": ("ENOMEM", 5), "prctl": ("EINVAL", 4), "seccomp": ("EINVAL", 3),
    "capset": ("EPERM", 2), "getrandom": ("ENOSYS", 2), "fcntl": ("EMFILE", 6),
    "setpgid": ("EPERM", 2), "pipe2": ("EMFILE", 6), "pidfd_open": ("EMFILE", 4),
}


@unittest.skipUnless(PEER, "built without libslirp")
@rkit.needs("strace", "tun")
class Vpnkit(test_inject.Inject):
    calls = CALLS

    def options(self):
        return ["--net=vpnkit", "--disable-host-loopback", "--copy-up=/etc"]

    def setUp(self):
        self.enterContext(vpnkit_stand_in())
        super().setUp()


@unittest.skipIf(lxc.unusable(), lxc.unusable())
@rkit.needs("strace", "dnsmasq")
class LxcUserNic(test_inject.Inject):
    calls = {**CALLS, "bind": ("EACCES", 3), "setsockopt": ("ENOMEM", 3)}

    def options(self):
        return ["--net=lxc-user-nic", "--disable-host-loopback", "--copy-up=/etc"]

    def expected_processes(self):
        return set(self.processes_before) | {self.dnsmasq.proc.pid}

    def setUp(self):
        lxc.prepare()
        self.enterContext(lxc.bridge(quota=1000))
        self.dnsmasq = self.enterContext(lxc.Dnsmasq())
        super().setUp()


@rkit.needs("strace")
class Builtin(test_inject.Inject):
    calls = {**CALLS, "unshare": ("EPERM", 2), "bind": ("EACCES", 8), "listen": ("EADDRINUSE", 4),
             "setsockopt": ("ENOMEM", 30), "sendto": ("ENOBUFS", 24), "openat": ("ENFILE", 2),
             "socket": ("ENFILE", 20), "getsockopt": ("ENOSYS", 2)}

    def options(self):
        return ["--net=builtin", "--ipv6", "--disable-host-loopback", "--copy-up=/etc"]


if __name__ == "__main__":
    rkit.main()
