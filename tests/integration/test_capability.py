#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ports below 1024 by setcap cap_net_bind_service=ep. Only the parent has the capability."""

import os
import shutil
import signal
import struct
import unittest

import rkit
from rkit import leaks, net
from rkit.launch import Rootlesskit, processes_of, restart_role, restrictions, role_of, rootlesskit, wait_for
from rkit.networks import ask
from rkit.peers import TcpServer, UdpServer, echo, receive_exactly

CAP_NET_BIND_SERVICE = 10
# vfs_cap_data of capabilities(7). Revision 2 is for the host's user namespace. Revision 3 is for another one,
# and has the id of that one's root.
EFFECTIVE, REVISION_2, REVISION_3 = 0x1, 0x02000000, 0x03000000
DETACHED = "/proc/{0.child_pid}/root{0.state}/netns"


def give_capability(path):
    revision = REVISION_3 if rkit.world().in_userns else REVISION_2
    data = struct.pack("<5I", revision | EFFECTIVE, 1 << CAP_NET_BIND_SERVICE, 0, 0, 0)
    if revision == REVISION_3:
        data += struct.pack("<I", 0)
    os.setxattr(path, "security.capability", data)


def capabilities(pid):
    return {name: value for name, value in restrictions(pid).items() if name.startswith("Cap")}


def user_namespace(pid):
    return os.readlink("/proc/%d/ns/user" % pid)


@rkit.ours("is not tried with a capability")
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
                with UdpServer(netns=rk.netns()):
                    self.assertEqual(ask("127.0.0.1", 53), b"datagram")

    def test_the_same_for_all_namespaces(self):
        """The parent opens the child's namespaces at other moments for each of these options."""
        for args in (["--pidns", "--utsns", "--ipcns", "--cgroupns"], ["--detach-netns"],
                     ["--copy-up=/etc", "--copy-up=/run"], ["--reaper=false"]):
            with self.subTest(args), self.start("--net=none", "-p", "127.0.0.1:80:80/tcp",
                                                *args) as rk:
                detached = "--detach-netns" in args
                self.assertServed(rk, netns=DETACHED.format(rk) if detached else None)
        for _ in range(20):  # the parent looks at the child while that starts, which must never matter
            with self.start("--net=none", "-p", "127.0.0.1:80:80/tcp"):
                pass

    @rkit.needs("tun", "slirp4netns")
    def test_with_a_network(self):
        with self.start("--net=slirp4netns", "--disable-host-loopback", "--copy-up=/etc", "-p",
                        "127.0.0.1:80:80/tcp") as rk:
            self.assertServed(rk)

    def test_nobody_else_has_it(self):
        """No other process in the host's user namespace has it. In the new one the command is root anyway."""
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
        """All others end. prctl(2): the kernel clears PR_SET_PDEATHSIG when a program with capabilities is
        executed, so that signal alone would not do."""
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
            restart_role(rk.pid, "dataplane")
            self.assertServed(rk)


if __name__ == "__main__":
    rkit.main()
