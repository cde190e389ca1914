#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The slirp4netns network: what reaches out, its options, and its death."""

import os
import signal
import socket
import struct

import rkit
from rkit import leaks, net
from rkit.launch import Rootlesskit, rootlesskit, wait_for
from rkit.peers import TcpServer, UdpServer, hello, payload_hash, receive

NET = ["--net=slirp4netns", "--copy-up=/etc"]
SAFE = NET + ["--disable-host-loopback"]


def slirp_command():
    """The command line of the running slirp4netns, as a list of words."""
    for pid in leaks.processes():
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            words = f.read().decode().split("\0")[:-1]
        if words and os.path.basename(words[0]) == "slirp4netns":
            return pid, words
    raise AssertionError("no slirp4netns runs")


def dns_answer(query, _address):
    """Every name is 192.0.2.77."""
    question = query[12:]
    return (query[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, 1, 0, 0) + question
            + b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton("192.0.2.77"))


@rkit.needs("slirp4netns", "tun")
class Outgoing(rkit.RkTestCase):
    def test_tcp_to_another_machine(self):
        size = 20_000_000
        with net.neighbour("server") as server_ns, \
                TcpServer(lambda c, a: receive(c), port=80, host="0.0.0.0", netns=server_ns) \
                as server:
            got = rootlesskit(*SAFE, "python3", "-c", "import socket,sys\n"
                              "sys.path.insert(0, %r)\n"
                              "from rkit.peers import send_payload\n"
                              "s = socket.create_connection(('192.0.2.100', 80)); "
                              "send_payload(s, %d); s.shutdown(1); s.recv(1)"
                              % (os.path.dirname(os.path.abspath(__file__)), size))
            self.assertEqual(got.returncode, 0, got.stderr)
            self.assertEqual(server.result(), (size, payload_hash(size)))

    def test_udp_to_another_machine(self):
        with net.neighbour("server") as server_ns, \
                UdpServer(port=53, host="0.0.0.0", netns=server_ns):
            got = rootlesskit(*SAFE, "python3", "-c", "import socket\n"
                              "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                              "s.settimeout(2); s.connect(('192.0.2.100', 53))\n"
                              "for _ in range(5):\n"
                              "  s.send(b'question')\n"
                              "  try: print(s.recv(100)); break\n"
                              "  except TimeoutError: pass")
            self.assertEqual(got.stdout, "b'question'\n", got.stderr)

    def test_services_of_the_host_unless_forbidden(self):
        code = ("import socket,sys; s = socket.create_connection(('10.0.2.2', 8000), 10); "
                "print(s.recv(10).decode())")
        with TcpServer(hello("host"), port=8000):
            self.assertEqual(rootlesskit(*NET, "python3", "-c", code).stdout, "host\n")
            got = rootlesskit(*SAFE, "python3", "-c", code)
            self.assertNotEqual(got.returncode, 0)
            self.assertEqual(got.stdout, "")

    def test_names(self):
        with UdpServer(dns_answer, port=53, host="127.0.0.1"):
            got = rootlesskit(*SAFE, "python3", "-c",
                              "import socket; print(socket.gethostbyname('any.example.'))")
            self.assertEqual(got.stdout, "192.0.2.77\n", got.stderr)

    def test_without_disable_host_loopback_there_is_a_warning(self):
        got = rootlesskit(*NET, "true")
        self.assertRegex(got.stderr, "(?i)warn.*disable-host-loopback")


@rkit.needs("slirp4netns", "tun")
class Options(rkit.RkTestCase):
    def look(self, *args):
        got = rootlesskit(*SAFE, *args, "sh", "-c", "ip -o -4 addr; ip route; ip -o link; "
                          "cat /etc/resolv.conf; ip -6 -o addr")
        self.assertEqual(got.returncode, 0, got.stderr)
        return got.stdout

    def test_defaults(self):
        seen = self.look()
        self.assertRegex(seen, r"tap0\s+inet 10\.0\.2\.100/24")
        self.assertIn("default via 10.0.2.2 dev tap0", seen)
        self.assertRegex(seen, r"tap0: .*mtu 65520")
        self.assertRegex(seen, r"tap0: <[^>]*UP")
        self.assertRegex(seen, r"lo: <[^>]*UP")
        self.assertIn("nameserver 10.0.2.3", seen)

    def test_mtu(self):
        self.assertRegex(self.look("--mtu=1400"), r"tap0: .*mtu 1400 ")

    def test_cidr(self):
        seen = self.look("--cidr=10.11.12.0/24")
        self.assertRegex(seen, r"tap0\s+inet 10\.11\.12\.100/24")
        self.assertIn("default via 10.11.12.2 dev tap0", seen)
        self.assertIn("nameserver 10.11.12.3", seen)

    def test_ifname(self):
        seen = self.look("--ifname=ether7")
        self.assertRegex(seen, r"ether7\s+inet 10\.0\.2\.100/24")
        self.assertNotIn("tap0", seen)

    def test_ipv6(self):
        with Rootlesskit(*SAFE, "--ipv6") as rk:
            self.assertIn("--enable-ipv6", slirp_command()[1])
            if not self.world.reference:
                self.assertIn("nameserver fd00::3", rk.nsenter("cat",
                                                               "/etc/resolv.conf").stdout)

    def test_sandbox_and_seccomp(self):
        for option in ("sandbox", "seccomp"):
            for value, want in (("auto", True), ("true", True), ("false", False)):
                with self.subTest(option=option, value=value):
                    with Rootlesskit(*SAFE, "--slirp4netns-%s=%s" % (option, value)) as rk:
                        self.assertEqual("--enable-" + option in slirp_command()[1], want)
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

    def test_builtin_ports_work_beside_it(self):
        with Rootlesskit(*SAFE, "--port-driver=builtin", "-p", "127.0.0.1:18080:80/tcp", "-p",
                         "127.0.0.1:18081:10.0.2.100:81/tcp") as rk:
            with TcpServer(hello("lo"), netns=rk.netns()), \
                    TcpServer(hello("tap"), port=81, host="10.0.2.100", netns=rk.netns()):
                for port, word in ((18080, b"lo"), (18081, b"tap")):
                    c = net.connect("127.0.0.1", port)
                    self.assertEqual(c.recv(10), word)
                    c.close()


@rkit.needs("slirp4netns", "tun")
class Death(rkit.RkTestCase):
    @rkit.ours("says nothing")
    def test_is_noticed_and_reported(self):
        rk = Rootlesskit(*SAFE).ready()
        os.kill(slirp_command()[0], signal.SIGKILL)
        wait_for("a word about it", lambda: "slirp4netns" in rk.log())
        rk.stop()

    def test_ends_with_us(self):
        with Rootlesskit(*SAFE) as rk:
            pid = slirp_command()[0]
            rk.stop()
            wait_for("the end of slirp4netns", lambda: not os.path.exists("/proc/%d" % pid))


if __name__ == "__main__":
    rkit.main()
