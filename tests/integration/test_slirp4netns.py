#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=slirp4netns: what gets out, its options, and its death."""

import os
import signal

import rkit
from rkit import net, networks
from rkit.launch import Rootlesskit, rootlesskit, wait_for
from rkit.networks import ask, gone, process_named, said
from rkit.peers import TcpServer, UdpServer, echo, hello
from rkit.world import write

NET = ["--net=slirp4netns", "--copy-up=/etc"]
SAFE = NET + ["--disable-host-loopback"]


@rkit.needs("slirp4netns", "tun")
class Outgoing(networks.Reaching, rkit.RkTestCase):
    options, detached = SAFE, ["--net=slirp4netns", "--detach-netns", "--disable-host-loopback"]
    test_detached = rkit.ours("since 2.0")(networks.Reaching.test_detached)

    def test_name_server_on_the_hosts_loopback_address(self):
        with UdpServer(networks.dns_answer, port=53, host="127.0.0.1"):
            got = rootlesskit(*SAFE, "python3", "-c",
                              "import socket; print(socket.gethostbyname('any.example.'))")
            self.assertEqual(got.stdout, "192.0.2.77\n", got.stderr)

    def test_without_disable_host_loopback_there_is_a_warning(self):
        got = rootlesskit(*NET, "true")
        self.assertRegex(got.stderr, "(?i)warn.*disable-host-loopback")


@rkit.needs("slirp4netns", "tun")
class Options(rkit.RkTestCase):
    def test_defaults(self):
        seen = networks.look(*SAFE)
        self.assertRegex(seen, r"tap0\s+inet 10\.0\.2\.100/24")
        self.assertIn("default via 10.0.2.2 dev tap0", seen)
        self.assertRegex(seen, r"tap0: .*mtu 65520")
        self.assertRegex(seen, r"tap0: <[^>]*UP")
        self.assertRegex(seen, r"lo: <[^>]*UP")
        self.assertIn("nameserver 10.0.2.3", seen)

    def test_mtu(self):
        self.assertRegex(networks.look(*SAFE, "--mtu=1400"), r"tap0: .*mtu 1400 ")

    def test_cidr(self):
        seen = networks.look(*SAFE, "--cidr=10.11.12.0/24")
        self.assertRegex(seen, r"tap0\s+inet 10\.11\.12\.100/24")
        self.assertIn("default via 10.11.12.2 dev tap0", seen)
        self.assertIn("nameserver 10.11.12.3", seen)

    def test_ifname(self):
        seen = networks.look(*SAFE, "--ifname=ether7")
        self.assertRegex(seen, r"ether7\s+inet 10\.0\.2\.100/24")
        self.assertNotIn("tap0", seen)

    def test_ipv6(self):
        with Rootlesskit(*SAFE, "--ipv6") as rk:
            self.assertIn("--enable-ipv6", process_named("slirp4netns")[1])
            if not self.world.reference:
                self.assertIn("nameserver fd00::3", rk.nsenter("cat",
                                                               "/etc/resolv.conf").stdout)

    def test_sandbox_and_seccomp(self):
        for option in ("sandbox", "seccomp"):
            for value, want in (("auto", True), ("true", True), ("false", False)):
                with self.subTest(option=option, value=value):
                    with Rootlesskit(*SAFE, "--slirp4netns-%s=%s" % (option, value)) as rk:
                        self.assertEqual("--enable-" + option in process_named("slirp4netns")[1], want)
                        self.assertEqual(rk.nsenter("ip", "route").stdout.count("default"), 1)

    def test_information(self):
        with Rootlesskit(*SAFE, "--cidr=10.9.0.0/24") as rk:
            driver = rk.api("GET", "/v1/info")[1]["networkDriver"]
            self.assertEqual(driver["driver"], "slirp4netns")
            self.assertEqual(driver["childIP"], "10.9.0.100")
            self.assertEqual(driver["dns"], ["10.9.0.3"])

    def test_binary_elsewhere(self):
        path = self.world.base + "/my-slirp"
        with open(path, "w") as f:
            f.write('#!/bin/sh\necho "$@" >> %s/called\nexec slirp4netns "$@"\n' % self.world.home)
        os.chmod(path, 0o755)
        try:
            got = rootlesskit(*SAFE, "--slirp4netns-binary=" + path, "true")
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertIn("tap0", open(self.world.home + "/called").read())
        finally:
            os.unlink(path)
            os.unlink(self.world.home + "/called")


@rkit.needs("slirp4netns", "tun")
class Ports(networks.Publishing, rkit.RkTestCase):
    options, child_ip = SAFE, "10.0.2.100"


@rkit.needs("slirp4netns", "tun")
class Ipv6(rkit.RkTestCase):
    """--ipv6: fd00::/64 inside, and a way out. The host needs only some IPv6 address."""

    V6 = [*SAFE, "--ipv6"]

    @rkit.ours("waits some seconds for a router advertisement")
    def test_reaches_out_at_once(self):
        code = ["python3", "-c", networks.PROBE]
        with networks.outside():
            for extra in ([], ["--pidns", "--cgroupns", "--utsns", "--ipcns"], ["--cidr=10.9.0.0/24"]):
                for words in (["tcp", "2001:db8::100", "80"], ["tcp", "192.0.2.100", "80"]):
                    with self.subTest(extra=extra, words=words):
                        got = rootlesskit(*self.V6, *extra, *code, *words)
                        self.assertEqual(got.stdout, "question\n", got.stderr)

    @rkit.ours("since 2.0")
    def test_detached(self):
        with networks.outside(), Rootlesskit(*self.V6, "--detach-netns") as rk:
            self.assertEqual(networks.probe(rk, "tcp", "2001:db8::100", "80",
                                            netns=rk.state + "/netns"), "question")

    @rkit.ours("only has router advertisements, which give another address")
    def test_addresses_and_route(self):
        with Rootlesskit(*self.V6) as rk:
            self.assertRegex(rk.nsenter("ip", "-6", "-o", "addr", "show", "tap0").stdout,
                             r"inet6 fd00::100/64 scope global(?!.*tentative)")
            self.assertIn("default via fd00::2 dev tap0",
                          rk.nsenter("ip", "-6", "route").stdout)
            self.assertIn("nameserver fd00::3\n", rk.nsenter("cat", "/etc/resolv.conf").stdout)
            self.assertEqual(rk.api("GET", "/v1/info")[1]["networkDriver"]["dns"],
                             ["10.0.2.3", "fd00::3"])

    @rkit.ours("a kernel that forwards ignores router advertisements")
    def test_while_the_namespace_forwards(self):
        """IPv6 works in a namespace that forwards, as with Kubernetes."""
        with networks.outside():
            got = rootlesskit(*self.V6, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; "
                              "exec python3 -c '%s' tcp 2001:db8::100 80" % networks.PROBE)
            self.assertEqual(got.stdout, "question\n", got.stderr)

    @rkit.ours("needs some seconds")
    def test_services_of_the_host_unless_forbidden(self):
        with TcpServer(echo, port=8000, host="::1"):
            for options, want in ((NET, "question\n"), (SAFE, "")):
                got = rootlesskit(*options, "--ipv6", "python3", "-c", networks.PROBE, "tcp", "fd00::2",
                                  "8000")
                self.assertEqual(got.stdout, want, got.stderr)

    @rkit.ours("does not write it to resolv.conf")
    def test_names(self):
        """Names are resolved at fd00::3 alone, on a host whose name server has an IPv6 address."""
        write("/etc/resolv.conf", "nameserver ::1\n")
        try:
            with UdpServer(networks.dns_answer, port=53, host="::1"):
                got = rootlesskit(*self.V6, "sh", "-c", "sed -i /10.0.2.3/d /etc/resolv.conf; "
                                  "exec python3 -c '%s' name any.example." % networks.PROBE)
        finally:
            write("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        self.assertEqual(got.stdout, "192.0.2.77\n", got.stderr)

    def test_without_it_there_is_none(self):
        with Rootlesskit(*SAFE) as rk:
            self.assertNotIn("fd00", rk.nsenter("ip", "-6", "addr").stdout)
            self.assertNotIn("default", rk.nsenter("ip", "-6", "route").stdout)
            self.assertNotIn("fd00", rk.nsenter("cat", "/etc/resolv.conf").stdout)

    @rkit.ours("needs some seconds")
    def test_published_ports(self):
        """Ports lead to the namespace's own address and to its loopback address, for clients of this and of
        another machine."""
        ports = {18080: "[::]:18080:[fd00::100]:80/tcp", 18081: "[2001:db8::1]:18081:[::1]:81/tcp6",
                 18082: "[::]:18082:82/tcp", 18083: "[::1]:18083:83/tcp"}
        with net.neighbour() as client, \
                Rootlesskit(*self.V6, "--port-driver=builtin",
                            *["--publish=" + p for p in ports.values()],
                            "-p", "[::]:18053:[fd00::100]:53/udp") as rk, \
                TcpServer(hello("80"), port=80, host="fd00::100", netns=rk.netns()), \
                TcpServer(hello("81"), port=81, host="::1", netns=rk.netns()), \
                TcpServer(hello("82"), port=82, host="::1", netns=rk.netns()), \
                TcpServer(hello("83"), port=83, host="::1", netns=rk.netns()), \
                UdpServer(port=53, host="fd00::100", netns=rk.netns()):
            for host, port, ns in (("2001:db8::1", 18080, client), ("::1", 18080, None),
                                   ("127.0.0.1", 18080, None), ("192.0.2.1", 18080, client),
                                   ("2001:db8::1", 18081, client), ("2001:db8::1", 18082, client),
                                   ("::1", 18083, None)):
                with self.subTest(host=host, port=port):
                    self.assertEqual(said(host, port, netns=ns), b"%d" % (port - 18000))
            for host, ns in (("2001:db8::1", client), ("::1", None), ("192.0.2.1", client)):
                self.assertEqual(ask(host, 18053, netns=ns), b"datagram", host)


@rkit.needs("slirp4netns", "tun")
class Death(rkit.RkTestCase):
    @rkit.ours("says nothing")
    def test_is_noticed_and_reported(self):
        rk = Rootlesskit(*SAFE).ready()
        os.kill(process_named("slirp4netns")[0], signal.SIGKILL)
        wait_for("a word about it", lambda: "slirp4netns" in rk.log())
        rk.stop()

    def test_ends_with_us(self):
        with Rootlesskit(*SAFE) as rk:
            pid = process_named("slirp4netns")[0]
            rk.stop()
            gone(pid)


if __name__ == "__main__":
    rkit.main()
