#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ports below 1024 by setcap cap_net_bind_service=ep: the parent has the capability, nobody else."""

import os
import shutil
import signal
import struct
import unittest

import rkit
from rkit import leaks, net
from rkit.launch import Rootlesskit, processes_of, role_of, rootlesskit, wait_for
from rkit.peers import TcpServer, echo, receive_exactly

CAP_NET_BIND_SERVICE = 10
# vfs_cap_data of capabilities(7), in revision 2, which is for the root of the host; one of revision 3
# is for that of a user namespace, and tells its id outside.
EFFECTIVE, REVISION_2, REVISION_3 = 0x1, 0x02000000, 0x03000000
DETACHED = "/proc/{0.child_pid}/root{0.state}/netns"


def give_capability(path):
    revision = REVISION_3 if rkit.world().in_userns else REVISION_2
    data = struct.pack("<5I", revision | EFFECTIVE, 1 << CAP_NET_BIND_SERVICE, 0, 0, 0)
    if revision == REVISION_3:
        data += struct.pack("<I", 0)
    os.setxattr(path, "security.capability", data)


def capabilities(pid):
    with open("/proc/%d/status" % pid) as f:
        words = dict(line.split(":", 1) for line in f)
    return {name: int(words[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}


def user_namespace(pid):
    return os.readlink("/proc/%d/ns/user" % pid)


@rkit.ours("Debian's serves as an example of nothing here")
class Capable(rkit.RkTestCase):
    @classmethod
    def setUpClass(cls):
        directory = rkit.world().base + "/capable"
        cls.binary = directory + "/rootlesskit"
        os.makedirs(directory, exist_ok=True)
        shutil.copy(rkit.world().path["rootlesskit"], cls.binary)
        try:
            give_capability(cls.binary)
        except OSError as e:
            raise unittest.SkipTest("the machine keeps no capabilities in files: %s" % e)
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w") as f:
            f.write("1024")

    def start(self, *args, **kw):
        return Rootlesskit("--port-driver=builtin", *args, binary=self.binary, **kw)

    def assertServed(self, rk, port=80, netns=None):
        with TcpServer(echo, 80, netns=netns or rk.netns()), \
                net.connect("127.0.0.1", port, timeout=20) as c:
            c.sendall(b"ping")
            self.assertEqual(receive_exactly(c, 4), b"ping")

    def test_ports_below_1024(self):
        refused = rootlesskit("--net=none", "--port-driver=builtin", "-p", "127.0.0.1:80:80/tcp", "true")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("CAP_NET_BIND_SERVICE", refused.stderr)
        for how in rkit.backends():
            with self.subTest(how), self.start("--net=none", "--dataplane=" + how, "-p",
                                               "127.0.0.1:80:80/tcp") as rk:
                self.assertServed(rk)
                rk.add(81, 80)
                rk.add(53, 53, "udp")
                self.assertServed(rk, 81)

    def test_the_same_for_all_namespaces(self):
        """What is opened of the child, and when, is not the same for each."""
        for args in (["--pidns", "--utsns", "--ipcns", "--cgroupns"], ["--detach-netns"],
                     ["--copy-up=/etc", "--copy-up=/run"], ["--reaper=false"]):
            with self.subTest(args), self.start("--net=none", "-p", "127.0.0.1:80:80/tcp",
                                                *args) as rk:
                detached = "--detach-netns" in args
                self.assertServed(rk, netns=DETACHED.format(rk) if detached else None)
        for _ in range(20):  # the child's start and the parent's look at it are a race
            with self.start("--net=none", "-p", "127.0.0.1:80:80/tcp"):
                pass

    @rkit.needs("tun", "slirp4netns")
    def test_with_a_network(self):
        with self.start("--net=slirp4netns", "--disable-host-loopback", "--copy-up=/etc", "-p",
                        "127.0.0.1:80:80/tcp") as rk:
            self.assertServed(rk)

    def test_nobody_else_has_it(self):
        """In the host's user namespace; in the new one the command is root anyway."""
        outside = user_namespace(os.getpid())
        with self.start("--net=none", "-p", "127.0.0.1:80:80/tcp") as rk:
            rk.wait_for_command()
            self.assertEqual(capabilities(rk.pid)["CapPrm"], 1 << CAP_NET_BIND_SERVICE)
            roles = set()
            for pid in processes_of(rk.pid):
                if pid != rk.pid and user_namespace(pid) == outside:
                    roles.add(role_of(pid))
                    self.assertEqual(set(capabilities(pid).values()), {0}, role_of(pid))
            self.assertIn("dataplane", roles)

    def test_when_the_parent_is_killed(self):
        """prctl(2): the kernel forgets PR_SET_PDEATHSIG when a program with capabilities is executed."""
        rk = self.start("--net=none", "--pidns", "-p", "127.0.0.1:80:80/tcp").ready()
        rk.wait_for_command()
        below = processes_of(rk.pid)
        self.assertGreater(len(below), 3)
        rk.proc.send_signal(signal.SIGKILL)
        rk.proc.wait()
        wait_for("everything to end", lambda: not set(below) & set(leaks.processes()))
        rk.forget_state()

    def test_data_plane_that_dies(self):
        with self.start("--net=none", "-p", "127.0.0.1:80:80/tcp") as rk:
            def plane():
                return [p for p in processes_of(rk.pid) if role_of(p) == "dataplane"]
            old = wait_for("the data plane", plane)
            os.kill(old[0], signal.SIGKILL)
            wait_for("another", lambda: plane() and plane() != old)
            self.assertServed(rk)


if __name__ == "__main__":
    rkit.main()
