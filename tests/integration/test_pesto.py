#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The port driver pesto, with stand-ins for a pasta that knows it and for pesto (rkit/pesto.py)."""

import os
import re
import shutil
import socket

import rkit
from rkit import net, pesto
from rkit.launch import ApiError, Rootlesskit, rootlesskit, wait_for
from rkit.networks import ask, exchange, outside, process_named
from rkit.peers import TcpServer, UdpServer, echo, payload_hash
from rkit.world import world, write

CHILD = "10.0.2.100"
SIZE = 100_000


@rkit.needs("pasta", "tun")
@rkit.ours("since 3.2")
class Pesto(rkit.RkTestCase):
    options = ["--net=pasta", "--copy-up=/etc", "--disable-host-loopback", "--port-driver=pesto"]

    def setUp(self):
        super().setUp()
        self.dir = world().base + "/pesto"
        os.mkdir(self.dir)
        self.addCleanup(shutil.rmtree, self.dir)
        pesto.install(self.dir)
        self.env = self.world.environ(PATH=self.dir + ":" + self.world.environ()["PATH"])

    def start(self, *options):
        return Rootlesskit(*self.options, *options, env=self.env)

    def assertForwards(self, port):
        self.assertEqual(exchange("127.0.0.1", port, SIZE), (SIZE, payload_hash(SIZE)))

    @staticmethod
    def is_closed(port):
        try:
            net.connect("127.0.0.1", port).close()
        except ConnectionRefusedError:
            return True
        return False

    def replace_pesto(self, script):
        """Makes this script pesto from now on."""
        write(self.dir + "/pesto", "#!/bin/sh\n" + script, 0o755)

    def test_ports_come_and_go(self):
        with outside(), self.start("-p", "127.0.0.1:18080:80/tcp") as rk, \
                TcpServer(echo, host=CHILD, netns=rk.netns()), \
                UdpServer(port=53, host=CHILD, netns=rk.netns()):
            self.assertForwards(18080)
            first = rk.add(18081, 80)
            second = rk.add(18053, 53, "udp4", parent_ip="", child_ip="::ffff:" + CHILD)
            self.assertForwards(18081)
            self.assertEqual(ask("127.0.0.1", 18053), b"datagram")
            for port_id in (first, second):
                rk.remove(port_id)
            self.assertTrue(self.is_closed(18081))
            self.assertForwards(18080)
            self.assertEqual(len(rk.ports()), 1)
            rk.add(18081, 80)
            self.assertForwards(18081)

    def test_information(self):
        for options, protos in (([], ["tcp", "tcp4", "udp", "udp4"]),
                                (["--ipv6"], ["tcp", "tcp4", "tcp6", "udp", "udp4", "udp6"])):
            with self.subTest(options), outside(), self.start(*options) as rk:
                driver = rk.api("GET", "/v1/info")[1]["portDriver"]
                self.assertEqual((driver["driver"], driver["protos"], driver["disallowLoopbackChildIP"]),
                                 ("pesto", protos, True))

    def test_range(self):
        with outside(), self.start("-p", "127.0.0.1:20000-20019:80-99/tcp") as rk, \
                TcpServer(echo, port=99, host=CHILD, netns=rk.netns()):
            self.assertForwards(20019)
            self.assertEqual(len(rk.ports()), 20)

    def test_what_pesto_would_call_a_success(self):
        """A port that pasta cannot open is refused without running pesto, which would close the others."""
        with outside(), self.start() as rk, TcpServer(echo, host=CHILD, netns=rk.netns()):
            rk.add(18080, 80)
            with net.bound(socket.SOCK_STREAM, "127.0.0.1", 18081):
                for port, ip, say in ((18081, "127.0.0.1", "address already in use"),
                                      (18082, "192.0.2.77", "cannot assign requested address"),
                                      (81, "127.0.0.1", "privileged port 81"),
                                      (18080, "0.0.0.0", "address already in use")):
                    with self.assertRaisesRegex(ApiError, say):
                        rk.add(port, 80, parent_ip=ip)
            self.assertForwards(18080)
            self.assertEqual(len(rk.ports()), 1)

    def test_child_ip_and_protocol(self):
        with outside(), self.start() as rk:
            for child_ip in ("127.0.0.1", "10.0.2.101", "::1"):
                with self.assertRaisesRegex(ApiError, "namespace's own address alone"):
                    rk.add(18080, 80, child_ip=child_ip)
            for proto, ip in (("tcp", "::1"), ("tcp6", ""), ("udp6", "::")):
                with self.assertRaisesRegex(ApiError, "an IPv6 port needs --ipv6"):
                    rk.add(18080, 80, proto, parent_ip=ip)
            with self.assertRaisesRegex(ApiError, "unsupported protocol"):
                rk.add(18080, 80, "sctp")
            self.assertEqual(rk.ports(), [])

    def test_pasta_does_not_listen_after_all(self):
        """When pasta does not listen for a new rule, the rule is removed, so that the other ports stay."""
        with outside(), self.start("--debug") as rk, TcpServer(echo, host=CHILD, netns=rk.netns()):
            rk.add(18080, 80)
            self.replace_pesto("exit 0")
            with self.assertRaisesRegex(ApiError, "pesto ended with success, but pasta does not listen"):
                rk.add(18081, 80)
            self.assertEqual(re.findall(r"(--\w+) --tcp-ports=127.0.0.1/18081:80", rk.log()),
                             ["--add", "--delete"])
            pesto.install(self.dir)
            rk.add(18081, 80)
            self.assertForwards(18081)
            self.assertForwards(18080)

    def test_pesto_fails(self):
        with outside(), self.start() as rk:
            port_id = rk.add(18080, 80)
            self.replace_pesto("echo the moon is down >&2; exit 3")
            for what in (lambda: rk.add(18081, 80), lambda: rk.remove(port_id)):
                with self.assertRaisesRegex(ApiError, r"pesto ended \(exit status 3\): the moon is down"):
                    what()
            self.assertEqual(len(rk.ports()), 1)
            pesto.install(self.dir)
            rk.remove(port_id)
            self.assertTrue(self.is_closed(18080))

    def test_pasta_ends(self):
        """Ports that pasta has forwarded can be removed after it has ended."""
        with outside(), self.start() as rk:
            port_id = rk.add(18080, 80)
            os.kill(process_named("pasta")[0], 9)
            wait_for("a word about it", lambda: "has lost its network" in rk.log())
            wait_for("the port to be free", lambda: self.is_closed(18080))
            rk.remove(port_id)
            with self.assertRaisesRegex(ApiError, "Failed to connect"):
                rk.add(18080, 80)

    def test_options(self):
        with outside():
            got = rootlesskit(*self.options, "--pesto-binary=" + self.dir + "/none", "true", env=self.env)
            self.assertEqual(got.returncode, 1)
            self.assertIn("--pesto-binary", got.stderr)
            os.rename(self.dir + "/pesto", self.dir + "/other")
            with self.start("--pesto-binary=" + self.dir + "/other") as rk:
                rk.add(18080, 80)
        for options, say in ((["--net=slirp4netns", "--port-driver=pesto"], "goes with --net=pasta"),
                             (["--net=host", "--port-driver=pesto"], "requires non-host network")):
            got = rootlesskit(*options, "true")
            self.assertEqual((got.returncode, say in got.stderr), (1, True), got.stderr)


if __name__ == "__main__":
    rkit.main()
