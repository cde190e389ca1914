#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--detach-netns: the network namespace is at STATE/netns, and the command stays in the host's."""

import os

import rkit
from rkit import leaks, net, networks
from rkit.launch import Rootlesskit, rootlesskit, wait_for
from rkit.peers import TcpServer, UdpServer, hello
from rkit.world import UID


class Common:
    options = ()

    def start(self, *args, **kw):
        return Rootlesskit(*self.options, "--detach-netns", *args, **kw)

    def inside(self, rk, *argv):
        """Runs a command in the detached namespace, as rootlesskit's command would."""
        return rk.nsenter("nsenter", "--net=%s/netns" % rk.state, *argv, net=False)

    def test_command_is_in_the_hosts_network(self):
        with self.start() as rk:
            here = os.readlink("/proc/self/ns/net")
            self.assertEqual(os.readlink("/proc/%d/ns/net" % rk.child_pid), here)
            there = self.inside(rk, "readlink", "/proc/self/ns/net")
            self.assertEqual(there.returncode, 0, there.stderr)
            self.assertNotEqual(there.stdout.strip(), here)

    def test_loopback_is_up_in_the_namespace(self):
        with self.start() as rk:
            self.assertRegex(self.inside(rk, "ip", "-o", "link", "show", "lo").stdout, r"[<,]UP[,>]")

    def test_files_of_the_host_are_left_alone(self):
        """The host's resolver and names are right for a command in the host's network."""
        look = "cat /etc/resolv.conf /etc/hosts; ls /sys/class/net"
        with self.start("--copy-up=/etc") as rk:
            plain = rk.nsenter("sh", "-c", look, net=False).stdout
        got = rootlesskit("--copy-up=/etc", "sh", "-c", look)
        self.assertEqual(plain, got.stdout)

    def test_builtin_ports_reach_the_namespace(self):
        for extra in ([], ["--pidns", "--cgroupns", "--ipcns", "--utsns"]):
            with self.subTest(extra):
                with self.start("--port-driver=builtin", "-p", "127.0.0.1:18080:80/tcp", "--publish",
                                "127.0.0.1:18053:53/udp", *extra) as rk:
                    path = self.netns_of(rk)
                    with TcpServer(hello("inside"), netns=path), UdpServer(netns=path):
                        with net.connect("127.0.0.1", 18080) as c:
                            self.assertEqual(c.recv(10), b"inside")
                        with net.udp_client("127.0.0.1", 18053) as u:
                            u.send(b"x")
                            self.assertEqual(u.recv(10), b"x")

    def netns_of(self, rk):
        """A path of the namespace for the tests, which do not see STATE/netns. The broker is in it."""
        return "/proc/%d/ns/net" % leaks.own_processes(rk)["broker"]

    def test_state_directory_in_a_copied_up_one(self):
        os.mkdir(self.world.run_user)
        os.chown(self.world.run_user, UID, UID)
        try:
            with self.start("--copy-up=/run", state=self.world.run_user + "/state") as rk:
                got = self.inside(rk, "ip", "-o", "link", "show", "lo")
                self.assertEqual(got.returncode, 0, got.stderr)
        finally:
            os.rmdir(self.world.run_user)

    def test_after_a_crash(self):
        rk = self.start().ready()
        rk.proc.kill()
        rk.wait()
        wait_for("the end", lambda: not os.path.exists("/proc/%d" % rk.child_pid))
        self.assertTrue(os.path.exists(rk.state + "/netns"))
        with self.start(state=rk.state) as again:
            self.assertEqual(self.inside(again, "true").returncode, 0)
        self.assertFalse(os.path.exists(rk.state))


@rkit.ours("since 2.0")
class WithNone(Common, rkit.RkTestCase):
    options = ("--net=none",)


@rkit.ours("since 2.0")
@rkit.needs("slirp4netns", "tun")
class WithSlirp4netns(Common, rkit.RkTestCase):
    options = ("--net=slirp4netns", "--disable-host-loopback")

    def test_files_for_those_who_enter(self):
        """BuildKit and nerdctl give these files to containers that they put into the namespace."""
        with self.start("--cidr=10.9.0.0/24") as rk:
            self.assertEqual(open(rk.state + "/resolv.conf").read(), "nameserver 10.9.0.3\n")
            self.assertRegex(open(rk.state + "/hosts").read(), r"127\.0\.0\.1\s+localhost")

    def test_sandbox_auto_is_none(self):
        """A sandbox of slirp4netns would hide the namespace from it."""
        with self.start("--slirp4netns-sandbox=auto"):
            self.assertNotIn("--enable-sandbox", networks.process_named("slirp4netns")[1])

    def test_interface(self):
        with self.start("--cidr=10.9.0.0/24", "--mtu=1400", "--slirp4netns-sandbox=auto",
                        "--slirp4netns-seccomp=auto") as rk:
            seen = self.inside(rk, "sh", "-c", "ip -o -4 addr; ip route; ip -o link").stdout
            self.assertRegex(seen, r"tap0\s+inet 10\.9\.0\.100/24")
            self.assertIn("default via 10.9.0.2 dev tap0", seen)
            self.assertRegex(seen, "tap0: .*mtu 1400 ")


if __name__ == "__main__":
    rkit.main()
