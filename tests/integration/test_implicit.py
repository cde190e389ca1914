#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--port-driver=implicit with --net=builtin: a server that listens inside can be reached outside."""

import socket

import rkit
from rkit import net
from rkit.launch import Rootlesskit, rootlesskit, wait_for
from rkit.networks import ask, outside, said
from rkit.peers import TcpServer, UdpServer, hello
from rkit.ports import both_backends
from rkit.wayout import SERVER4, NetBuiltinCase


@both_backends
class TestFollow(NetBuiltinCase):
    """The table of ports follows the sockets that listen inside."""

    args = ("--ipv6", "--port-driver=implicit")

    def ports(self):
        return {(p["spec"]["proto"], p["spec"]["parentIP"], p["spec"]["parentPort"])
                for p in self.rk.api("GET", "/v1/ports")[1] or ()}

    def counted(self):
        counters = self.rk.api("GET", "/v1/stats")[1]["total"]["implicit"]
        return {name: n for name, n in counters.items() if n}

    def metrics(self):
        return self.rk.ctl("metrics").stdout

    def test_tcp_comes_and_goes(self):
        inside = self.inside.netns
        with TcpServer(hello("inside"), port=8081, host="0.0.0.0", netns=inside):
            wait_for("port 8081 outside", lambda: said("127.0.0.1", 8081) == b"inside")
            self.assertEqual(said("192.0.2.1", 8081, netns=self.server), b"inside")
            self.assertIn(("tcp4", "0.0.0.0", 8081), self.ports())
            self.assertIsNone(said("::1", 8081))
        wait_for("port 8081 to close", lambda: said("127.0.0.1", 8081) is None)
        wait_for("its end in the list", lambda: not self.ports())
        # The same port again, and another one beside it.
        with TcpServer(hello("again"), port=8081, host="0.0.0.0", netns=inside), \
                TcpServer(hello("other"), port=8082, host="0.0.0.0", netns=inside):
            wait_for("port 8081 again", lambda: said("127.0.0.1", 8081) == b"again")
            wait_for("port 8082", lambda: said("127.0.0.1", 8082) == b"other")

    def test_both_families(self):
        def server():
            s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            s.bind(("::", 8083))
            s.listen()
            return s
        with net.in_netns(self.inside.netns, server) as s:
            wait_for("both families", lambda: {("tcp4", "0.0.0.0", 8083), ("tcp6", "::", 8083)}
                     <= self.ports())
            for host in "127.0.0.1", "::1":
                with net.connect(host, 8083):
                    s.settimeout(20)
                    s.accept()[0].close()
        with TcpServer(hello("six"), port=8084, host="::", netns=self.inside.netns):
            wait_for("IPv6", lambda: said("2001:db8::1", 8084, netns=self.server) == b"six")
            self.assertNotIn(("tcp4", "0.0.0.0", 8084), self.ports())

    def test_udp(self):
        with UdpServer(lambda data, address: address[0].encode(), port=8085, host="0.0.0.0",
                       netns=self.inside.netns):
            wait_for("UDP", lambda: ask("127.0.0.1", 8085, tries=1))
            wait_for("the client's address", lambda: ask(
                "192.0.2.1", 8085, netns=self.server, tries=1) == SERVER4.encode())
        wait_for("its end", lambda: not self.ports())

    def test_loopback_stays_on_loopback(self):
        with TcpServer(hello("private"), port=8086, host="127.0.0.1", netns=self.inside.netns):
            wait_for("port 8086", lambda: said("127.0.0.1", 8086) == b"private")
            self.assertIsNone(said("192.0.2.1", 8086, netns=self.server))
            self.assertEqual(self.ports(), {("tcp4", "127.0.0.1", 8086)})
        # A server on an address of the interface is for everybody.
        with TcpServer(hello("public"), port=8086, host="10.0.2.100", netns=self.inside.netns):
            wait_for("port 8086 for all", lambda: said("192.0.2.1", 8086, netns=self.server) ==
                     b"public")

    def test_a_clients_sockets_are_not_servers(self):
        def client():
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(("0.0.0.0", 0))
            return s
        with net.in_netns(self.inside.netns, client), \
                TcpServer(hello("x"), port=8087, host="0.0.0.0", netns=self.inside.netns):
            wait_for("a look", lambda: said("127.0.0.1", 8087))
            self.assertEqual(self.ports(), {("tcp4", "0.0.0.0", 8087)})

    def test_what_is_taken_is_said_once(self):
        with TcpServer(hello("host"), port=8088, host="0.0.0.0"), \
                TcpServer(hello("inside"), port=8088, host="0.0.0.0", netns=self.inside.netns), \
                TcpServer(hello("other"), port=8089, host="0.0.0.0", netns=self.inside.netns):
            wait_for("the next port", lambda: said("127.0.0.1", 8089) == b"other")
            wait_for("the line", lambda: "8088" in self.rk.log())
            self.assertEqual(said("127.0.0.1", 8088), b"host")
            wait_for("the counters", lambda: self.counted() == {"open": 1, "inUse": 1})
            self.assertIn('ringkit_implicit_ports{state="in_use"} 1\n', self.metrics())
            self.assertIn("in use there: 1", self.rk.ctl("stats").stdout)
        wait_for("its end in the counters", lambda: not self.counted())
        self.assertEqual(self.rk.log().count(":8088/tcp4 is open inside, but"), 1, self.rk.log())
        self.assertIn("address already in use", self.rk.log())

    def test_privileged_is_counted(self):
        # Root inside may bind the port, the user outside may not.
        with TcpServer(hello("low"), port=81, host="0.0.0.0", netns=self.inside.netns), \
                UdpServer(lambda data, address: b"", port=82, host="0.0.0.0",
                          netns=self.inside.netns):
            wait_for("both ports", lambda: self.counted() == {"privileged": 2})
            self.assertIn("permission denied", self.rk.log())
            self.assertIn('ringkit_implicit_ports{state="privileged"} 2\n', self.metrics())
        wait_for("their end", lambda: not self.counted())

    def test_published_by_the_api_is_in_use(self):
        status, port = self.rk.api("POST", "/v1/ports", {
            "proto": "tcp4", "parentIP": "0.0.0.0", "parentPort": 8091, "childPort": 80})
        self.assertEqual(status, 201, port)
        with TcpServer(hello("inside"), port=8091, host="0.0.0.0", netns=self.inside.netns):
            wait_for("the port", lambda: self.counted() == {"inUse": 1})
        self.rk.api("DELETE", "/v1/ports/%d" % port["id"])

    def test_info(self):
        info = self.rk.api("GET", "/v1/info")[1]
        self.assertEqual(info["portDriver"]["driver"], "implicit")


@rkit.ours("has no --net=builtin")
class TestOptions(rkit.RkTestCase):
    def test_auto(self):
        with outside(), Rootlesskit("--net=auto", "--copy-up=/etc", "--port-driver=implicit") as rk:
            self.assertIn("--net=auto: builtin", rk.log())
            with TcpServer(hello("inside"), port=8090, host="0.0.0.0", netns=rk.netns()):
                wait_for("port 8090 outside", lambda: said("127.0.0.1", 8090) == b"inside")

    def test_what_goes_with_it(self):
        got = rootlesskit("--net=none", "--port-driver=implicit", "true")
        self.assertNotEqual(got.returncode, 0)
        self.assertIn("--net=builtin or pasta", got.stderr)
        got = rootlesskit("--net=builtin", "--port-driver=implicit", "-p", "127.0.0.1:80:80/tcp", "true")
        self.assertNotEqual(got.returncode, 0)
        self.assertIn("leave --publish out", got.stderr)


if __name__ == "__main__":
    rkit.main()
