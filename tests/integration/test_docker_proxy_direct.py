#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rootlesskit-docker-proxy when a port leads to the container itself, so that no docker-proxy runs."""

import os
import shutil
import signal
import socket

import rkit
from rkit import leaks, net
from rkit.container import BRIDGE4, BRIDGE6, Container
from rkit.launch import Rootlesskit, comm
from rkit.peers import TcpServer, UdpServer, echo, receive_exactly
from rkit.proxy import BUILTIN, FAKE, NET, Proxy, ProxyTestCase, proxy_words


@rkit.needs("unshare", "nsenter", "ip")
@rkit.ours("always runs docker-proxy")
class Direct(ProxyTestCase):
    """The container is a network namespace on a bridge."""

    def setUp(self):
        super().setUp()
        os.unlink(self.fakes + "/docker-proxy")
        self.env["PATH"] = self.fakes + ":/nowhere"

    def start(self, *options):
        return Rootlesskit("--net=none", "--port-driver=builtin", *options)

    def words(self, proto="tcp", host_ip="0.0.0.0", container_ip="172.31.0.2", **kw):
        return proxy_words(proto=proto, host_ip=host_ip, container_ip=container_ip, **kw)

    def direct(self, rk, *words):
        proxy = Proxy(words, rk.state, env=self.env, child_pid=rk.child_pid,
                      enter=shutil.which("nsenter"))
        self.assertEqual(proxy.verdict(), "0\n", proxy.err())
        return proxy

    def assertTcp(self, host, port=18080, netns=None):
        with net.connect(host, port, netns=netns) as c:
            c.sendall(b"straight" * 1000)
            self.assertEqual(receive_exactly(c, 8000), b"straight" * 1000)

    def assertGone(self, rk, kind=socket.SOCK_STREAM, host="0.0.0.0", port=18080):
        self.assertEqual(rk.ports(), [])
        net.bound(kind, host, port).close()
        net.bound(kind, host, port, netns=rk.netns()).close()

    def test_tcp(self):
        for sig in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
            with self.subTest(sig), self.start() as rk, Container(rk) as a, \
                    Container(rk, 3) as b, TcpServer(echo, host="0.0.0.0", netns=a.netns):
                proxy = self.direct(rk, *self.words())
                self.assertEqual([p["spec"] for p in rk.ports()], [
                    {"proto": "tcp4", "parentIP": "0.0.0.0", "parentPort": 18080,
                     "childIP": "172.31.0.2", "childPort": 80, "childListenIP": "0.0.0.0"}])
                for host, netns in (("127.0.0.1", None), ("127.0.0.1", rk.netns()),
                                    (BRIDGE4, rk.netns()), (BRIDGE4, b.netns), (BRIDGE4, a.netns)):
                    with self.subTest(host=host, netns=netns):
                        self.assertTcp(host, netns=netns)
                self.assertEqual(proxy.end(sig), 0)
                self.assertGone(rk)

    @rkit.needs("strace")
    def test_descriptor_3_is_closed_once(self):
        """A second close could close another file, which has got the number meanwhile."""
        trace = self.world.base + "/proxy.trace"
        os.close(os.open(trace, os.O_CREAT | os.O_WRONLY, 0o666))
        os.chmod(trace, 0o666)
        with self.start() as rk, Container(rk):
            proxy = Proxy(self.words(), rk.state, env=self.env, child_pid=rk.child_pid,
                          enter=shutil.which("nsenter"), before=(
                              shutil.which("strace"), "-D", "-qq", "-o", trace, "-e", "trace=close"))
            self.assertEqual(proxy.verdict(), "0\n", proxy.err())
            self.assertEqual(proxy.end(), 0)
        with open(trace) as f:
            self.assertNotIn("EBADF", f.read())

    def test_udp(self):
        with self.start() as rk, Container(rk) as a, Container(rk, 3) as b, \
                UdpServer(port=80, host="0.0.0.0", netns=a.netns):
            proxy = self.direct(rk, *self.words(proto="udp"))
            for host, netns in (("127.0.0.1", None), ("127.0.0.1", rk.netns()), (BRIDGE4, b.netns)):
                with net.udp_client(host, 18080, netns=netns, timeout=20) as c:
                    c.send(b"datagram")
                    self.assertEqual(c.recv(100), b"datagram")
            self.assertEqual(proxy.end(), 0)
            self.assertGone(rk, kind=socket.SOCK_DGRAM)

    def test_ipv6(self):
        """A port on an IPv6 address leads to a container with IPv6 or, as with Docker, to one without."""
        for container_ip, host in ("fd00:31::2", "::"), ("172.31.0.2", "0.0.0.0"):
            with self.subTest(container_ip), self.start() as rk, Container(rk) as a, \
                    TcpServer(echo, host=host, netns=a.netns):
                proxy = self.direct(rk, *self.words(host_ip="::", container_ip=container_ip))
                self.assertTcp("::1")
                self.assertTcp("::1", netns=rk.netns())
                self.assertTcp(BRIDGE6, netns=rk.netns())
                self.assertEqual(proxy.end(), 0)
                self.assertGone(rk, host="::")

    def test_addresses_of_the_host(self):
        """A port on 127.0.0.1 is at 127.0.0.1 inside, too. One on another address of the host is nowhere
        inside."""
        with net.neighbour("client") as client, self.start() as rk, Container(rk) as a, \
                TcpServer(echo, host="0.0.0.0", netns=a.netns):
            loop = self.direct(rk, *self.words(host_ip="127.0.0.1"))
            other = self.direct(rk, *self.words(host_ip="192.0.2.2"))
            self.assertTcp("127.0.0.1")
            self.assertTcp("127.0.0.1", netns=rk.netns())
            with self.assertRaises(ConnectionRefusedError):
                net.connect(BRIDGE4, 18080, netns=rk.netns())
            self.assertTcp("192.0.2.2", netns=client)
            self.assertEqual(loop.end(), 0)
            with self.assertRaises(ConnectionRefusedError):
                net.connect("127.0.0.1", 18080, netns=rk.netns())
            self.assertEqual(other.end(), 0)
            self.assertEqual(rk.ports(), [])

    def test_taken_on_the_host(self):
        """The proxy falls back to docker-proxy's way, and that one's error goes to dockerd."""
        self.fake(FAKE % self.fakes)
        with self.start() as rk, Container(rk), \
                net.bound(socket.SOCK_STREAM, "127.0.0.1", 18080):
            proxy = self.proxy(rk, *self.words(host_ip="127.0.0.1"), enter=shutil.which("nsenter"))
            self.assertRegex(proxy.verdict(), r"\A1\n.*address already in use")
            self.assertEqual(proxy.end(None), 1)
            self.assertEqual(rk.ports(), [])
            self.assertEqual(self.called(), "")

    def test_memory(self):
        """Docker runs two proxies for each published port: both together take less than 900 KiB."""
        with self.start() as rk, Container(rk):
            proxies = [self.direct(rk, *self.words(host_port=p)) for p in range(18080, 18090)]
            pids = [p for p in leaks.processes() if comm(p).startswith("rootlesskit-do")]
            self.assertEqual(len(pids), 10)
            pss = sum(map(leaks.pss_kib, pids)) / len(pids)
            print("        %d KiB" % pss)
            if "ASAN_OPTIONS" not in os.environ:
                self.assertLess(2 * pss, 900)
            for proxy in proxies:
                self.assertEqual(proxy.end(), 0)

    def falls_back(self, rk, why, *words, **kw):
        """The proxy uses docker-proxy. It says why only with ROOTLESSKIT_DOCKER_PROXY_DEBUG."""
        self.fake(FAKE % self.fakes)
        self.env["PATH"] = self.fakes + ":" + os.environ["PATH"]
        for debug in False, True:
            self.env.pop("ROOTLESSKIT_DOCKER_PROXY_DEBUG", None)
            if debug:
                self.env["ROOTLESSKIT_DOCKER_PROXY_DEBUG"] = "true"
            proxy = self.proxy(rk, *words, **kw)
            self.assertEqual(proxy.verdict(), "0\n", proxy.err())
            self.assertIn("docker-proxy -container-ip", self.called())
            self.assertNotIn("childListenIP", str(rk.ports()))
            self.assertRegex(proxy.err(), r"\A\[rootlesskit-docker-proxy\] debug: by way of "
                             r"docker-proxy: .*%s.*\n\Z" % why if debug else r"\A\Z")
            self.assertEqual(proxy.end(), 0)
            self.assertEqual(rk.ports(), [])
            os.unlink(self.fakes + "/called")

    def test_containers_that_cannot_be_reached(self):
        with self.start() as rk, Container(rk):
            rk.nsenter("ip", "addr", "add", "172.30.9.2/32", "dev", "lo")
            rk.nsenter("ip", "route", "add", "198.51.100.0/24", "via", "172.31.0.3")
            rk.nsenter("ip", "route", "add", "unreachable", "203.0.113.0/24")
            for ip, why in (("10.9.9.9", "no route to 10.9.9.9"),
                            ("203.0.113.1", "no route to 203.0.113.1"),
                            ("198.51.100.7", "198.51.100.7 is behind a gateway"),
                            ("172.30.9.2", "not the address of another machine"),
                            ("127.0.0.1", "not the address of another machine"),
                            (BRIDGE4, "not the address of another machine"),
                            ("224.0.0.1", "224.0.0.1"),
                            ("fe80::1", "fe80::1")):
                with self.subTest(ip):
                    self.falls_back(rk, why, *self.words(container_ip=ip))

    @rkit.needs("slirp4netns", "tun")
    def test_outside_of_the_namespace(self):
        with Rootlesskit(*BUILTIN) as rk:
            self.falls_back(rk, "10.0.2.50 is on the network outside",
                            *self.words(container_ip="10.0.2.50"))
            self.falls_back(rk, "192.0.2.9 is behind a gateway",
                            *self.words(container_ip="192.0.2.9"))

    def test_switched_off(self):
        with self.start() as rk, Container(rk):
            self.env["ROOTLESSKIT_DOCKER_PROXY_DIRECT"] = "false"
            self.falls_back(rk, "ROOTLESSKIT_DOCKER_PROXY_DIRECT", *self.words())

    def test_taken_inside(self):
        with self.start() as rk, Container(rk), \
                net.bound(socket.SOCK_STREAM, "127.0.0.1", 18080, netns=rk.netns()):
            self.falls_back(rk, "cannot listen in the namespace.*in use", *self.words())

    def test_another_namespace(self):
        with self.start() as rk, Container(rk) as a:
            self.falls_back(rk, "another network namespace", *self.words(container_ip=BRIDGE4),
                            netns_pid=a.pid)

    @rkit.needs("slirp4netns", "tun", "socat")
    def test_other_drivers(self):
        for driver in "slirp4netns", "socat":
            with Rootlesskit(*NET, "--port-driver=" + driver) as rk, Container(rk):
                self.falls_back(rk, "cannot listen in the namespace", *self.words())

    def test_listening_socket_of_dockerd(self):
        """With dockerd's listening socket, docker-proxy serves clients inside. Clients outside still go the
        direct way."""
        self.fake(FAKE % self.fakes)
        self.env["PATH"] = self.fakes + ":" + os.environ["PATH"]
        with self.start() as rk, Container(rk) as a, TcpServer(echo, host="0.0.0.0", netns=a.netns):
            proxy = self.direct(rk, *self.words(), "-use-listen-fd")
            self.assertRegex(self.called(), "-use-listen-fd")
            self.assertNotIn("childListenIP", str(rk.ports()))
            self.assertTcp("127.0.0.1")
            self.assertEqual(proxy.end(), 0)
            self.assertGone(rk)


if __name__ == "__main__":
    rkit.main()
