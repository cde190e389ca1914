#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=builtin: the command's interface, its options, and published ports."""

import contextlib
import socket
import struct
import subprocess

import rkit
from rkit import net
from rkit.launch import DEADLINE_S, Rootlesskit, denying, find_role, much, rootlesskit, run, wait_for
from rkit.networks import PROBE, ask, exchange, outside, probe
from rkit.packets import ACK, RST, tcp_segment
from rkit.peers import TcpServer, UdpServer, background, echo, hello, payload_hash
from rkit.wayout import GATEWAY4, GATEWAY6, SERVER4, Inside, NetBuiltinCase, container


class TestInterface(NetBuiltinCase):
    """The command sees an ordinary interface."""

    args = ("--ipv6",)

    def test_addresses(self):
        out = self.rk.nsenter("ip", "-o", "addr", "show", "dev", "eth0").stdout
        self.assertIn("10.0.2.100/24", out)
        self.assertIn("fd00::100/64", out)
        self.assertIn("default via 10.0.2.2 dev eth0", self.rk.nsenter("ip", "route").stdout)
        self.assertIn("default via fd00::2 dev eth0", self.rk.nsenter("ip", "-6", "route").stdout)
        self.assertIn("mtu 65520", self.rk.nsenter("ip", "link", "show", "eth0").stdout)
        # With more, each start waits for the kernel to leave them unused.
        self.assertIn("numtxqueues 1 numrxqueues 1 ",
                      self.rk.nsenter("ip", "-d", "link", "show", "eth0").stdout)
        self.assertIn("nameserver 10.0.2.3", self.rk.nsenter("cat", "/etc/resolv.conf").stdout)

    def test_no_rule_of_ours_inside(self):
        self.assertEqual(self.rk.nsenter("ip", "rule").stdout.count("\n"), 3)

    @rkit.needs("nft")
    def test_no_connection_is_reset_by_a_moment(self):
        """While the kernel replaces a request socket, a look-up finds nothing. Clients that meet the few
        nanoseconds cannot be made to order (`bench-reqres --reconnect --conns=64` has one in ten thousand),
        so this looks for the rules that look again before they reset."""
        router = find_role(self.rk.pid, "router-broker")
        rules = subprocess.run(["nsenter", "-n", "-t", str(router), "nft", "list", "chain", "inet", "router",
                                "route"], check=True, capture_output=True, text=True).stdout.splitlines()
        tcp = [r for r in rules if "meta l4proto tcp" in r and "mark 0x" not in r.split("meta l4proto")[0]]
        self.assertRegex(tcp[-1], "reject with tcp reset")
        self.assertGreater(len([r for r in tcp[:-1] if "socket transparent 1" in r]), 1, rules)

    def test_router_answers_pings(self):
        for host in GATEWAY4, "10.0.2.3", GATEWAY6, "fd00::3":
            got = self.rk.nsenter("ping", "-c1", "-W5", host)
            self.assertEqual(got.returncode, 0, got.stdout + got.stderr)

    def test_info(self):
        info = self.rk.api("GET", "/v1/info")[1]
        self.assertEqual(info["networkDriver"]["driver"], "builtin")
        self.assertEqual(info["networkDriver"]["dns"], ["10.0.2.3"])
        self.assertEqual(info["networkDriver"]["childIP"], "10.0.2.100")
        outward = info["networkDriver"]["outward"]
        self.assertEqual(outward["connect"], "honest")
        self.assertIn(outward["connectReason"], ("nft_queue", "xt_NFQUEUE with nft_compat"))
        self.assertEqual((outward["ipv6"], outward["hostLoopback"]), ("yes", "yes"))
        self.assertNotIn("egress", outward)
        # Without a port driver, the facts about the data plane are with the network.
        self.assertIn(info["networkDriver"]["dataplane"], ("io_uring", "epoll"))
        said = self.rk.ctl("info").stdout
        self.assertIn("connections are made inside when they are made outside", said)

    def test_stats_without_a_port_driver(self):
        before = self.rk.api("GET", "/v1/stats")[1]["total"]["outward"]["tcpConnected"]
        self.inside.connect(SERVER4, 80).close()
        wait_for("it is counted", lambda: self.rk.api(
            "GET", "/v1/stats")[1]["total"]["outward"]["tcpConnected"] == before + 1)
        self.assertIn("- Way out: TCP connections now: ", self.rk.ctl("stats").stdout)
        self.assertIn("ringkit_outward_packets_refused_total", self.metrics())

    def metrics(self):
        return self.rk.ctl("metrics").stdout

    def test_other_protocols_are_refused(self):
        """A packet of a protocol that is not carried is answered by ICMP (protocol unreachable)."""
        def make():
            s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 132)  # SCTP
            s.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
            s.settimeout(DEADLINE_S)
            return s

        def refused():
            return self.rk.api("GET", "/v1/stats")[1]["total"]["outward"]["packetsRefused"]
        before = refused()
        with net.in_netns(self.inside.netns, make) as s:
            s.connect((SERVER4, 1))
            s.send(bytes(12))
            with self.assertRaises(OSError) as e:
                s.recv(100)
            self.assertEqual(e.exception.strerror, "Protocol not available")
        self.assertEqual(refused(), before + 1)

    def test_tcp_without_a_connection_is_reset(self):
        """A segment that belongs to no connection is answered by a reset, as a host without it answers."""
        def make():
            s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
            s.settimeout(DEADLINE_S)
            s.bind(("10.0.2.100", 0))
            return s
        segment = tcp_segment("10.0.2.100", SERVER4, 40001, 81, ACK, sequence=7, acknowledged=9)
        with net.in_netns(self.inside.netns, make) as s:
            s.sendto(segment, (SERVER4, 0))
            while True:
                answer = s.recv(200)[20:]
                if answer[:4] == struct.pack(">HH", 81, 40001):
                    break
            self.assertEqual(answer[13] & RST, RST)


class TestWayIn(NetBuiltinCase):
    """Published ports: connections come through the router with the client's address, and pass the command's
    own rules."""

    args = ("--ipv6", "--port-driver=builtin", "-p", "0.0.0.0:8060:80/tcp", "-p", "[::]:8061:80/tcp",
            "-p", "0.0.0.0:8062:53/udp",
            "-p", "0.0.0.0:8063:127.0.0.1:81/tcp", "-p", "[::]:8064:[::1]:81/tcp6",
            "-p", "0.0.0.0:8065:127.0.0.1:54/udp", "-p", "[::]:8066:[::1]:54/udp6")

    def who(self, host, port, **kw):
        """The address that the server sees, and our own."""
        with net.connect(host, port, **kw) as s:
            return s.recv(100).decode(), s.getsockname()[0]

    @staticmethod
    def tell(conn, address):
        conn.sendall(address[0].encode())

    def test_client_address(self):
        with TcpServer(self.tell, port=80, host="0.0.0.0", netns=self.inside.netns), \
                TcpServer(self.tell, port=80, host="::", netns=self.inside.netns):
            for host, port in ("192.0.2.1", 8060), ("2001:db8::1", 8061):
                seen, own = self.who(host, port, netns=self.server)
                self.assertEqual(seen, own)
            # A client on this host comes from a loopback address.
            self.assertEqual(self.who("127.0.0.1", 8060)[0], "127.0.0.1")

    def test_server_on_the_namespaces_own_address(self):
        with TcpServer(self.tell, port=80, host="10.0.2.100", netns=self.inside.netns):
            self.assertEqual(self.who("192.0.2.1", 8060, netns=self.server)[0], SERVER4)
            # A client on this host comes from the gateway, where the server has no loopback address.
            self.assertEqual(self.who("127.0.0.1", 8060)[0], GATEWAY4)

    def test_server_on_loopback_alone(self):
        with TcpServer(self.tell, port=80, host="127.0.0.1", netns=self.inside.netns):
            for _ in range(30):
                self.assertEqual(self.who("192.0.2.1", 8060, netns=self.server)[0], SERVER4)

    @rkit.needs("nft")
    def test_rules_that_are_taken_away(self):
        """The way to the namespace's loopback address needs rules in the namespace. They are put back."""
        rules = "ip rule | sed -n 's/:.*fwmark.*//p' | while read p; do ip rule del priority $p; done"

        def works():
            return self.who("192.0.2.1", 8060, netns=self.server)[0] == SERVER4
        with TcpServer(self.tell, port=80, host="127.0.0.1", netns=self.inside.netns):
            self.assertTrue(works())
            self.assertIn("fwmark", self.rk.nsenter("ip", "rule").stdout)
            for script in "nft flush ruleset", rules, "nft flush ruleset; " + rules:
                with self.subTest(script):
                    got = self.rk.nsenter("sh", "-ec", script)
                    self.assertEqual(got.returncode, 0, got.stderr)
                    wait_for("the rules", lambda: "fwmark" in self.rk.nsenter("ip", "rule").stdout)
                    wait_for("the client's address", works, step_s=0.2)
        # The same with a container behind a bridge.
        with container(self.rk) as netns, TcpServer(self.tell, port=80, host="0.0.0.0", netns=netns):
            port = self.rk.add(8067, 80, parent_ip="192.0.2.1", child_ip="172.17.0.2")
            try:
                for script in ":", "nft flush ruleset", rules:
                    with self.subTest("container: " + script):
                        self.assertEqual(self.rk.nsenter("sh", "-ec", script).returncode, 0)
                        wait_for("the client's address", lambda: self.who(
                            "192.0.2.1", 8067, netns=self.server)[0] == SERVER4, step_s=0.2)
            finally:
                self.rk.remove(port)

    def udp_who(self, host, port, **kw):
        got = ask(host, port, **kw)
        return got and got.decode()

    def tell_udp(self, host, netns=None, port=53):
        return UdpServer(lambda data, address: address[0].encode(), port=port, host=host,
                         netns=netns or self.inside.netns)

    def test_udp_client_address(self):
        """Servers see the client's address once the router's broker has sent spare sockets. A client that
        comes sooner does not wait for one."""
        for host in "0.0.0.0", "10.0.2.100":
            with self.tell_udp(host):
                wait_for("the router's sockets",
                         lambda: self.udp_who("192.0.2.1", 8062, netns=self.server) == SERVER4)
                for _ in range(5):
                    self.assertEqual(self.udp_who("192.0.2.1", 8062, netns=self.server), SERVER4)

    def test_udp_server_on_loopback_alone(self):
        """The first datagram goes to the loopback address when the other way refuses it: it is not lost."""
        with self.tell_udp("127.0.0.1"):
            for _ in range(5):
                self.assertEqual(ask("192.0.2.1", 8062, netns=self.server, tries=1), b"127.0.0.1")
            self.assertEqual(self.udp_who("127.0.0.1", 8062), "127.0.0.1")

    def test_udp_servers_on_loopback_alone(self):
        """Many ports at once: each refusal is noticed, although the kernel sends a host one ICMP error a
        second."""
        with contextlib.ExitStack() as stack:
            for port in range(5301, 5325):
                stack.enter_context(self.tell_udp("127.0.0.1", port=port))
                self.rk.add(port, port, "udp", "0.0.0.0")
                stack.callback(self.rk.ctl, "remove-ports", "0.0.0.0:%d:%d/udp" % (port, port))
            for port in range(5301, 5325):
                self.assertEqual(ask("192.0.2.1", port, netns=self.server, tries=1), b"127.0.0.1", port)

    def test_loopback_address_that_was_asked_for(self):
        """Docker 28 publishes ports for a loopback address. Connections and datagrams go there with the
        client's address, and not to a server at the namespace's own address. There are no more rounds than
        spare sockets, since a datagram does not wait for one."""
        with TcpServer(self.tell, port=81, host="127.0.0.1", netns=self.inside.netns), \
                TcpServer(self.tell, port=81, host="::1", netns=self.inside.netns), \
                TcpServer(hello("wrong"), port=81, host="10.0.2.100", netns=self.inside.netns), \
                self.tell_udp("127.0.0.1", port=54), self.tell_udp("::1", port=54):
            wait_for("the router's sockets",
                     lambda: self.udp_who("192.0.2.1", 8065, netns=self.server) == SERVER4)
            for _ in range(5):
                self.assertEqual(self.who("192.0.2.1", 8063, netns=self.server)[0], SERVER4)
                self.assertEqual(self.udp_who("192.0.2.1", 8065, netns=self.server), SERVER4)
                seen, own = self.who("2001:db8::1", 8064, netns=self.server)
                self.assertEqual(seen, own)
                self.assertEqual(self.udp_who("2001:db8::1", 8066, netns=self.server), own)
            self.assertEqual(self.who("127.0.0.1", 8063)[0], "127.0.0.1")

    def test_nobody_listens(self):
        with self.assertRaises(ConnectionResetError):  # from connect(2) or recv(2)
            self.who("192.0.2.1", 8060, netns=self.server)

    @rkit.needs("nft")
    def test_no_answer_on_the_way(self):
        """When the command's rules drop packets from outside, the loopback way is tried after a while."""
        rules = "nft add table ip t; nft add chain ip t c '{ type filter hook input priority 0; }';" \
                "nft add rule ip t c iifname eth0 tcp dport 80 drop"
        self.assertEqual(self.rk.nsenter("sh", "-ec", rules).returncode, 0)
        try:
            with TcpServer(self.tell, port=80, host="0.0.0.0", netns=self.inside.netns):
                for _ in range(3):
                    self.assertEqual(self.who("192.0.2.1", 8060, netns=self.server)[0], SERVER4)
        finally:
            self.rk.nsenter("nft", "delete", "table", "ip", "t")

    @rkit.needs("nft")
    def test_the_commands_own_dnat(self):
        """DNAT rules as Docker's and kube-proxy's lead to the container, without a proxy, and the container
        sees the client's address."""
        rules = "nft add table ip t;" \
                "nft add chain ip t c '{ type nat hook prerouting priority dstnat; }';" \
                "nft add rule ip t c tcp dport 80 dnat to 172.17.0.2:8080;" \
                "nft add rule ip t c udp dport 53 dnat to 172.17.0.2:8053"
        with container(self.rk) as netns, self.tell_udp("0.0.0.0", netns, 8053), \
                TcpServer(self.tell, port=8080, host="0.0.0.0", netns=netns):
            got = self.rk.nsenter("sh", "-ec", rules)
            self.assertEqual(got.returncode, 0, got.stderr)
            try:
                for _ in range(20):
                    self.assertEqual(self.who("192.0.2.1", 8060, netns=self.server)[0], SERVER4)
                self.assertEqual(self.who("127.0.0.1", 8060)[0], GATEWAY4)
                self.assertEqual(self.udp_who("192.0.2.1", 8062, netns=self.server), SERVER4)
            finally:
                self.rk.nsenter("nft", "delete", "table", "ip", "t")

    @rkit.needs("nft")
    def test_client_with_an_address_of_the_namespaces_own(self):
        """Its packets do not get in by the router. That does not keep other clients from the container."""
        rules = "nft add table ip t;" \
                "nft add chain ip t c '{ type nat hook prerouting priority dstnat; }';" \
                "nft add rule ip t c tcp dport 80 dnat to 172.17.0.2:8080"
        with container(self.rk) as netns, net.further_address(self.server, "172.17.0.1"), \
                TcpServer(self.tell, port=8080, host="0.0.0.0", netns=netns), \
                TcpServer(hello("loopback"), port=80, netns=self.inside.netns):
            self.assertEqual(self.rk.nsenter("sh", "-ec", rules).returncode, 0)
            try:
                for _ in range(5):
                    self.assertEqual(self.who("192.0.2.1", 8060, netns=self.server, source="172.17.0.1")[0],
                                     "loopback")
                    self.assertEqual(self.who("192.0.2.1", 8060, netns=self.server)[0], SERVER4)
            finally:
                self.rk.nsenter("nft", "delete", "table", "ip", "t")

    @contextlib.contextmanager
    def dnat_for_loopback(self):
        """The rules that Docker 28 makes by default: packets for 127.0.0.1 go to the container, but are
        dropped when they come by another interface than lo; and docker-proxy listens there."""
        rules = "nft add table inet t;" \
                "nft add chain inet t r '{ type filter hook prerouting priority raw; }';" \
                "nft add rule inet t r ip daddr 127.0.0.1 iifname != lo drop;" \
                "nft add rule inet t r ip6 daddr ::1 iifname != lo drop;" \
                "nft add chain inet t c '{ type nat hook prerouting priority dstnat; }';" \
                "nft add rule inet t c ip daddr 127.0.0.1 meta l4proto { tcp, udp } th dport 83 " \
                "dnat ip to 172.17.0.2:8080;" \
                "nft add rule inet t c ip6 daddr ::1 meta l4proto { tcp, udp } th dport 83 " \
                "dnat ip6 to '[fd00:17::2]:8080';" \
                "nft add chain inet t f '{ type filter hook forward priority filter; }';" \
                "nft add rule inet t f ct state invalid drop"
        with TcpServer(hello("proxy"), port=83, netns=self.inside.netns) as proxy4, \
                TcpServer(hello("proxy"), port=83, host="::1", netns=self.inside.netns) as proxy6:
            got = self.rk.nsenter("sh", "-ec", rules)
            self.assertEqual(got.returncode, 0, got.stderr)
            try:
                yield proxy4, proxy6
            finally:
                self.rk.nsenter("nft", "delete", "table", "inet", "t")

    @rkit.needs("nft")
    def test_dnat_for_a_loopback_address(self):
        """Much data both ways at once, and every connection, arrive. Nothing is lost, and docker-proxy gets
        no connection."""
        with container(self.rk) as netns, TcpServer(echo, port=8080, host="0.0.0.0", netns=netns), \
                TcpServer(echo, port=8080, host="::", netns=netns), \
                self.dnat_for_loopback() as proxies:
            for host, loopback in ("192.0.2.1", "127.0.0.1"), ("2001:db8::1", "::1"):
                port = self.rk.add(8068, 83, parent_ip=host, child_ip=loopback)
                try:
                    with self.subTest(host):
                        self.check_path(host, 8068, self.segments(netns))
                finally:
                    self.rk.remove(port)
            self.assertEqual([p.jobs for p in proxies], [[], []])

    @rkit.needs("nft")
    def test_dnat_for_a_loopback_address_and_clients_on_this_host(self):
        """They reach the container, too, past docker-proxy, which gets what the container refuses."""
        servers = [("127.0.0.1", "172.17.0.1", "0.0.0.0"), ("::1", "fd00:17::1", "::")]
        with container(self.rk) as netns, self.dnat_for_loopback():
            for loopback, seen, anywhere in servers:
                ids = [self.rk.add(8068, 83, proto, parent_ip=anywhere, child_ip=loopback)
                       for proto in ("tcp6" if ":" in loopback else "tcp4",
                                     "udp6" if ":" in loopback else "udp4")]
                try:
                    with self.subTest(loopback):
                        self.assertEqual(self.who(loopback, 8068)[0], "proxy")
                        with TcpServer(self.tell, port=8080, host=anywhere, netns=netns), \
                                self.tell_udp(anywhere, netns, 8080):
                            wait_for("the container", lambda: self.who(loopback, 8068)[0] == seen)
                            wait_for("the container, by UDP",
                                     lambda: self.udp_who(loopback, 8068, tries=1) == seen)
                        self.assertEqual(self.who(loopback, 8068)[0], "proxy")
                finally:
                    for number in ids:
                        self.rk.remove(number)

    def segments(self, container_netns):
        """A function that returns the kernel's TCP counters in the container and in the router."""
        def of(path):
            with open(path[:-len("/ns/net")] + "/net/snmp") as f:
                names, values = [line.split()[1:] for line in f if line.startswith("Tcp:")]
            return dict(zip(names, map(int, values)))
        router = find_role(self.rk.pid, "router-broker")
        return lambda: [of(p) for p in (container_netns, "/proc/%d/ns/net" % router)]

    def check_path(self, host, port, count):
        size, n = much(100_000_000), 100
        stats = self.rk.api("GET", "/v1/stats")[1]["total"]["tcp"]
        before = count()
        self.assertEqual(exchange(host, port, size, self.server), (size, payload_hash(size)))
        for _ in range(n):
            self.assertEqual(exchange(host, port, 1000, self.server), (1000, payload_hash(1000)))
        for was, now in zip(before, count()):
            more = {k: now[k] - was[k] for k in now}
            self.assertEqual((more["InErrs"], more["InCsumErrors"]), (0, 0))
            # On a busy machine the kernel repeats some segments that were late, but not lost.
            self.assertLess(more["RetransSegs"], 20 + more["OutSegs"] / 20, more)
        after = self.rk.api("GET", "/v1/stats")[1]["total"]["tcp"]
        self.assertEqual([after[k] - stats[k] for k in ("transparent", "transparentLost")], [n + 1, 0])

    def test_many(self):
        with TcpServer(self.tell, port=80, host="0.0.0.0", netns=self.inside.netns):
            jobs = [background(lambda: [self.who("192.0.2.1", 8060, netns=self.server)[0]
                                        for _ in range(50)]) for _ in range(8)]
            for job in jobs:
                self.assertEqual(set(job.result()), {SERVER4})


@rkit.ours("has no --net=builtin")
class TestPlaces(rkit.RkTestCase):
    """Options that change addresses, names, or the place of the way out."""

    def check_out(self, rk):
        inside = Inside(rk)
        with inside.connect(SERVER4, 80) as s:
            s.sendall(b"question")
            self.assertEqual(s.recv(100), b"question")

    def test_names_and_numbers(self):
        with outside(), Rootlesskit("--net=builtin", "--copy-up=/etc", "--cidr=10.99.0.0/16",
                                    "--mtu=1400", "--ifname=net7", "--ipv6=false") as rk:
            out = rk.nsenter("ip", "-o", "addr", "show", "dev", "net7").stdout
            self.assertIn("10.99.0.100/16", out)
            self.assertNotIn("fd00::", out)
            self.assertIn("mtu 1400", rk.nsenter("ip", "link", "show", "net7").stdout)
            self.check_out(rk)

    def test_no_batch_of_rules_is_refused(self):
        """Each that is costs the start a grace period of RCU; what the kernel has is asked before."""
        with outside(), Rootlesskit("--debug", "--net=builtin", "--copy-up=/etc") as rk:
            if "the kernel has neither nft_queue nor xt_NFQUEUE" in rk.log():
                self.skipTest("the kernel has no queue")
            self.assertNotIn("cannot add nftables rules", rk.log())

    def test_link_is_up_before_the_command(self):
        """Else the kernel drops packets, and the first connection takes a second."""
        for _ in range(5):
            got = run(self.world.path["rootlesskit"], "--net=builtin", "--copy-up=/etc",
                      "cat", "/sys/class/net/eth0/operstate")
            self.assertEqual(got.stdout, "up\n", got.stderr)

    def test_link_local_address_is_ready(self):
        """What comes from ::1 asks for its way out with that address. Else a port at [::1] has no answers
        for a second or two, while the kernel looks whether somebody else has the address."""
        got = run(self.world.path["rootlesskit"], "--net=builtin", "--ipv6", "--copy-up=/etc",
                  "cat", "/proc/sys/net/ipv6/conf/eth0/accept_dad")
        self.assertEqual(got.stdout, "0\n", got.stderr)

    def test_router_fails(self):
        """The processes that were started beside it end, and the log names the network once."""
        for ports in (), ("--port-driver=builtin", "-p", "127.0.0.1:8040:80/tcp"):
            got = run(*denying("unshare=ENOSPC"), self.world.path["rootlesskit"], "--net=builtin",
                      "--state-dir=" + self.world.tmp + "/state-router-fails", *ports, "true", uid=0)
            self.assertEqual(got.returncode, 1, got.stderr)
            self.assertRegex(got.stderr, r"failed to set up the network \(--net=builtin\): "
                             r"cannot make the router's network namespace")
            self.assertNotIn("port driver", got.stderr)
            self.assertNothingLeft()

    def test_table_of_descriptors(self):
        """The data plane's has room for the sockets of a start: it does not grow beside threads."""
        with outside(), Rootlesskit("--net=builtin", "--copy-up=/etc", "--port-driver=builtin",
                                    "--publish=127.0.0.1:8040:80/tcp") as rk:
            plane = find_role(rk.pid, "dataplane")
            with open("/proc/%d/status" % plane) as f:
                (size,) = [int(line.split()[1]) for line in f if line.startswith("FDSize:")]
            self.assertGreaterEqual(size, 1024)

    def test_with_ports(self):
        with outside(), Rootlesskit("--net=builtin", "--copy-up=/etc", "--port-driver=builtin",
                                    "--publish=127.0.0.1:8040:80/tcp") as rk:
            self.check_out(rk)
            with TcpServer(hello("inside"), port=80, host="0.0.0.0", netns=rk.netns()):
                with net.connect("127.0.0.1", 8040) as s:
                    self.assertEqual(s.recv(100), b"inside")

    def test_detached(self):
        with outside(), Rootlesskit("--net=builtin", "--detach-netns") as rk:
            netns = rk.state + "/netns"
            self.assertEqual(probe(rk, "tcp", SERVER4, "80", netns=netns), "question")

    def test_pidns(self):
        with outside(), Rootlesskit("--net=builtin", "--copy-up=/etc", "--pidns") as rk:
            self.check_out(rk)

    def test_nested(self):
        """rootlesskit in rootlesskit: connections and refusals pass both routers."""
        script = """
            rm -f /etc/subuid /etc/subgid
            echo root:1:10000 >/etc/subuid
            echo root:1:10000 >/etc/subgid
            exec "$0" --net=builtin --cidr=10.99.0.0/24 --copy-up=/etc python3 -c "$@"
        """
        with outside(), Rootlesskit("--net=builtin", "--copy-up=/etc") as rk:
            def inner(port):
                return rk.nsenter("sh", "-ec", script, self.world.path["rootlesskit"], PROBE, "tcp",
                                  SERVER4, port)
            got = inner("80")
            self.assertEqual(got.stdout.strip(), "question", got.stderr)
            self.assertIn("ConnectionRefusedError", inner("81").stderr)

    def test_epoll(self):
        with outside(), Rootlesskit("--net=builtin", "--copy-up=/etc", "--port-driver=builtin",
                                    "--dataplane=epoll", "--workers=3") as rk:
            for _ in range(20):
                self.check_out(rk)

    def test_ipv6_where_the_host_has_it(self):
        with outside(), Rootlesskit("--net=builtin", "--copy-up=/etc") as rk:
            self.assertIn("fd00::100", rk.nsenter("ip", "addr").stdout)
        with outside(default_route=False), Rootlesskit("--net=builtin", "--copy-up=/etc") as rk:
            self.assertNotIn("fd00::100", rk.nsenter("ip", "addr").stdout)

    def test_auto(self):
        with outside(), Rootlesskit("--net=auto", "--copy-up=/etc") as rk:
            self.assertIn("--net=auto: builtin", rk.log())
            self.check_out(rk)

    def test_outbound_addr(self):
        with outside() as server:
            with TcpServer(lambda conn, address: address[0], port=8041, host="0.0.0.0",
                           netns=server) as s, \
                    Rootlesskit("--net=builtin", "--copy-up=/etc", "--outbound-addr=192.0.2.2") as rk:
                Inside(rk).connect(SERVER4, 8041).close()
                self.assertEqual(s.result(), "192.0.2.2")
            got = rootlesskit("--net=builtin", "--outbound-addr=198.51.100.7", "true")
            self.assertEqual(got.returncode, 1)
            self.assertIn("an address of this host", got.stderr)


if __name__ == "__main__":
    rkit.main()
