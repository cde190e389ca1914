#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--source-ip-transparent: the address of its client that a server in the namespace sees."""

import operator
import os
import signal
import socket

import rkit
from rkit import net
from rkit.container import behind_bridge
from rkit.launch import DEADLINE_S, find_role, restart_role, wait_for
from rkit.peers import TcpServer, reset
from rkit.ports import both_backends, builtin
from rkit.transparent import (CLIENT4, CLIENT6, HOST4, HOST6, TRACKED, TransparentCase, do_inside, inside,
                              seen, server, turned)
from rkit.world import UID, USER, world

PORT = 30000  # a client's port, below those that the kernel gives to others

# Starts a program as the test user, in a place where sysctls cannot be written.
READ_ONLY = ("unshare", "-m", "sh", "-c", "mount --bind /proc/sys /proc/sys && "
             "mount -o remount,bind,ro /proc/sys && exec setpriv --reuid=%d --regid=%d "
             "--clear-groups -- \"$@\"" % (UID, UID), "sh")


@both_backends
class Namespace(TransparentCase):
    """Servers in the namespace itself."""

    def test_ipv4(self):
        self.rk.add(18080, 80, parent_ip="0.0.0.0", proto="tcp4")
        before = self.counters()
        with server(self.rk):
            got, me = seen(HOST4, 18080, self.client, payload=b"x" * 300_000)
        self.assertEqual(got, me)
        self.assertEqual(me[0], CLIENT4)
        self.assertEqual(self.counted(before), (1, 0))

    def test_ipv4_on_a_dual_stack_port(self):
        self.rk.add(18080, 80, parent_ip="0.0.0.0")
        with server(self.rk):
            got, me = seen(HOST4, 18080, self.client)
        self.assertEqual(got, me)

    def test_ipv6(self):
        self.rk.add(18080, 80, parent_ip="::", child_ip="::1")
        before = self.counters()
        with server(self.rk, "::1"):
            got, me = seen(HOST6, 18080, self.client, payload=b"x" * 300_000)
        self.assertEqual(got, me)
        self.assertEqual(me[0], CLIENT6)
        self.assertEqual(self.counted(before), (1, 0))

    def test_ipv6_without_a_child_ip(self):
        """The server may be on either loopback address: the one of the client's family is tried first."""
        self.rk.add(18080, 80, parent_ip="::")
        with server(self.rk, "::1"), server(self.rk, "127.0.0.1"):
            self.assertEqual(*seen(HOST6, 18080, self.client))
            self.assertEqual(*seen(HOST4, 18080, self.client))

    def test_ipv6_client_of_an_ipv4_server(self):
        self.rk.add(18080, 80, parent_ip="::")
        before = self.counters()
        with server(self.rk):
            self.assertEqual(seen(HOST6, 18080, self.client)[0][0], "127.0.0.1")
        self.assertEqual(self.counted(before), (0, 1))

    def test_loopback_client(self):
        self.rk.add(18080, 80, parent_ip="0.0.0.0")
        self.rk.add(18081, 80, parent_ip="127.0.0.1")
        before = self.counters()
        with server(self.rk):
            self.assertEqual(seen("127.0.0.1", 18080)[0][0], "127.0.0.1")
            self.assertEqual(seen("127.0.0.1", 18081)[0][0], "127.0.0.1")
        self.assertEqual(self.counted(before), (0, 0))

    def test_client_on_this_host(self):
        """A client on this host that connects to the host's own address has that address."""
        self.rk.add(18080, 80, parent_ip="0.0.0.0")
        with server(self.rk):
            got, me = seen(HOST4, 18080)
        self.assertEqual(got, me)
        self.assertEqual(me[0], HOST4)

    def test_clients_that_are_gone_when_they_are_accepted(self):
        """A client that sends and resets at once is never taken for one on loopback. The server may see it
        with its own address, or not at all."""
        self.rk.add(18080, 80, parent_ip="0.0.0.0")
        before, seen_by = self.counters()["accepted"], []

        def shoot():
            for _ in range(500):
                s = socket.create_connection((HOST4, 18080), DEADLINE_S)
                s.send(b"FLUSHALL\r\n")
                reset(s)

        def look(conn, address):
            if conn.recv(100):
                seen_by.append(address[0])
        with TcpServer(look, netns=self.ns):
            net.in_netns(self.client, shoot)
            wait_for("all flows to end", lambda: self.counters()["accepted"] == before + 500
                     and self.counters()["flows"] == 0)
        self.assertLessEqual(set(seen_by), {CLIENT4})

    def test_one_client_port_to_two_ports(self):
        """The second connection cannot have the client's port, but it has its address."""
        self.rk.add(18080, 80, parent_ip="0.0.0.0")
        self.rk.add(18081, 80, parent_ip="0.0.0.0")

        def connect(port):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.settimeout(DEADLINE_S)
            s.bind((CLIENT4, PORT))
            s.connect((HOST4, port))
            return s
        with server(self.rk):
            with net.in_netns(self.client, lambda: connect(18080)) as a, \
                    net.in_netns(self.client, lambda: connect(18081)) as b:
                lines = sorted(s.makefile().readline().split() for s in (a, b))
        self.assertEqual([address for address, _ in lines], [CLIENT4, CLIENT4])
        self.assertIn(str(PORT), [port for _, port in lines])
        self.assertNotEqual(lines[0], lines[1])

    def test_the_client_s_port_stays_free_for_servers(self):
        self.rk.add(18080, 80, parent_ip="0.0.0.0")
        with server(self.rk), net.connect(HOST4, 18080, netns=self.client) as s:
            self.assertEqual(s.makefile().readline().split(), [CLIENT4, str(s.getsockname()[1])])
            with server(self.rk, "0.0.0.0", s.getsockname()[1]):
                pass

    @rkit.needs("nft")
    def test_client_that_is_shut_out(self):
        """Rules in the namespace drop what comes from one client, so no answer comes. The port goes on
        showing the addresses of its other clients."""
        other = "198.51.100.7"
        self.rk.add(18080, 80, parent_ip="0.0.0.0", proto="tcp4")
        do_inside(self.rk, "nft add table ip t;"
                  "nft add chain ip t c '{ type filter hook input priority 0; }';"
                  "nft add rule ip t c ip saddr %s drop" % other)
        try:
            with server(self.rk), net.further_address(self.client, other):
                for _ in range(3):
                    self.assertEqual(seen(HOST4, 18080, self.client, source=other)[0][0], "127.0.0.1")
                    self.assertEqual(*seen(HOST4, 18080, self.client))
        finally:
            do_inside(self.rk, "nft delete table ip t")

    def test_refused(self):
        self.rk.add(18080, 80, parent_ip="0.0.0.0")
        before = self.counters()
        with self.assertRaises(ConnectionResetError):
            with net.connect(HOST4, 18080, netns=self.client) as s:
                s.recv(1)
        self.assertEqual(self.counters()["refused"], before["refused"] + 1)
        self.assertEqual(self.counted(before), (0, 0))

    def test_many(self):
        self.rk.add(18080, 80, parent_ip="0.0.0.0")
        before = self.counters()
        with server(self.rk):
            for _ in range(200):
                self.assertEqual(*seen(HOST4, 18080, self.client))
        self.assertEqual(self.counted(before), (200, 0))

    def test_broker_killed(self):
        self.rk.add(18080, 80, parent_ip="0.0.0.0")
        with server(self.rk):
            for _ in range(3):
                restart_role(self.rk.pid, "broker")
                for _ in range(20):  # more than there are spare sockets
                    self.assertEqual(*seen(HOST4, 18080, self.client))

    def test_data_plane_killed(self):
        self.rk.add(18080, 80, parent_ip="0.0.0.0")
        with server(self.rk):
            for _ in range(3):
                restart_role(self.rk.pid, "dataplane")
                self.assertEqual(*wait_for("a connection", self.seen_or_none))


@both_backends
class Container(TransparentCase):
    """Servers behind a bridge in the namespace."""

    def test_ipv4(self):
        with behind_bridge(self.rk) as pid, server(self.rk, "172.17.0.2", netns_of=pid):
            self.rk.add(18080, 80, parent_ip="0.0.0.0", child_ip="172.17.0.2")
            before = self.counters()
            got, me = seen(HOST4, 18080, self.client, payload=b"x" * 300_000)
            self.assertEqual(got, me)
            self.assertEqual(me[0], CLIENT4)
            for _ in range(50):
                self.assertEqual(*seen(HOST4, 18080, self.client))
            self.assertEqual(self.counted(before), (51, 0))
            # A client on this host looks like one in the namespace.
            self.assertEqual(seen("127.0.0.1", 18080)[0][0], "172.17.0.1")

    def test_ipv6(self):
        with behind_bridge(self.rk) as pid, server(self.rk, "fd00:17::2", netns_of=pid):
            self.rk.add(18080, 80, parent_ip="::", child_ip="fd00:17::2")
            got, me = seen(HOST6, 18080, self.client, payload=b"x" * 300_000)
            self.assertEqual(got, me)
            self.assertEqual(me[0], CLIENT6)

    def test_rules_that_are_taken_away(self):
        """Root inside flushes all rules, as the script of a firewall does: ours are put back."""
        with behind_bridge(self.rk) as pid, server(self.rk, "172.17.0.2", netns_of=pid):
            self.rk.add(18080, 80, parent_ip="0.0.0.0", child_ip="172.17.0.2")
            self.assertEqual(*seen(HOST4, 18080, self.client))
            for script in ("nft flush ruleset", "ip rule del priority 101", "nft flush ruleset"):
                do_inside(self.rk, script)
                with self.subTest(script):
                    wait_for("the client's address",
                             lambda: operator.eq(*seen(HOST4, 18080, self.client)), step_s=0.2)

    def test_keeper_killed(self):
        """A keeper that dies is replaced, and the next one does the same."""
        with behind_bridge(self.rk) as pid, server(self.rk, "172.17.0.2", netns_of=pid):
            self.rk.add(18080, 80, parent_ip="0.0.0.0", child_ip="172.17.0.2")
            for role in ("keeper", "broker", "keeper"):
                before = find_role(self.rk.pid, "keeper")
                restart_role(self.rk.pid, role)
                wait_for("another keeper",
                         lambda: find_role(self.rk.pid, "keeper") not in (None, before))
                do_inside(self.rk, "nft flush ruleset")

                def transparent():
                    pair = self.seen_or_none()
                    return pair and pair[0] == pair[1]
                wait_for("the client's address", transparent, step_s=0.2)

    def test_rules_that_are_taken_away_from_a_keeper_that_dies(self):
        """It hears nothing of it any more: the next one puts them back."""
        keeper = find_role(self.rk.pid, "keeper")
        os.kill(keeper, signal.SIGSTOP)
        do_inside(self.rk, "nft flush ruleset")
        os.kill(keeper, signal.SIGKILL)
        wait_for("our rules", lambda: "rootlesskit" in self.rk.nsenter("nft", "list", "ruleset").stdout)

    def test_data_plane_killed(self):
        """The next data plane serves the backlog, with the client's address from the first connection on."""
        with behind_bridge(self.rk) as pid, server(self.rk, "172.17.0.2", netns_of=pid):
            self.rk.add(18080, 80, parent_ip="0.0.0.0", child_ip="172.17.0.2")
            restart_role(self.rk.pid, "dataplane")
            self.assertEqual(*wait_for("a connection", self.seen_or_none))

    def test_client_on_the_container_s_network(self):
        """A container would send the answer to a neighbour with the client's address, so the address is not
        shown."""
        with net.neighbour("twin", ("172.17.0.7/24",), ("172.17.0.9/24",)) as twin, \
                behind_bridge(self.rk) as pid, server(self.rk, "172.17.0.2", netns_of=pid):
            self.rk.add(18080, 80, parent_ip="0.0.0.0", child_ip="172.17.0.2")
            before = self.counters()
            self.assertEqual(seen("172.17.0.7", 18080, twin)[0][0], "172.17.0.1")
            self.assertEqual(self.counted(before), (0, 1))
            self.assertEqual(*seen(HOST4, 18080, self.client))

    def test_container_without_a_way_back(self):
        """The container's answers to other networks go nowhere. The first connection loses a second, and the
        next ones nothing for a while."""
        with behind_bridge(self.rk, routes="true") as pid, server(self.rk, "172.17.0.2", netns_of=pid):
            self.rk.add(18080, 80, parent_ip="0.0.0.0", child_ip="172.17.0.2")
            before = self.counters()
            for _ in range(10):
                self.assertEqual(seen(HOST4, 18080, self.client)[0][0], "172.17.0.1")
            self.assertEqual(self.counted(before), (0, 10))
        self.assertEqual(self.rk.log().count("did not see the address of its client"), 1)

    def test_a_way_back_that_comes_later(self):
        """The client's address is tried again after a while."""
        with behind_bridge(self.rk, routes="true") as pid, server(self.rk, "172.17.0.2", netns_of=pid):
            self.rk.add(18080, 80, parent_ip="0.0.0.0", child_ip="172.17.0.2")
            self.assertEqual(seen(HOST4, 18080, self.client)[0][0], "172.17.0.1")
            do_inside(self.rk, "nsenter -n -t %d ip route add default via 172.17.0.1" % pid)
            wait_for("the client's address",
                     lambda: seen(HOST4, 18080, self.client)[0][0] == CLIENT4, step_s=0.2)

    def test_the_container_s_own_connections(self):
        """A connection of the container to an address that is also a client's is not caught."""
        with behind_bridge(self.rk) as pid, server(self.rk, "172.17.0.2", netns_of=pid):
            self.rk.add(18080, 80, parent_ip="0.0.0.0", child_ip="172.17.0.2")
            seen(HOST4, 18080, self.client)
            do_inside(self.rk, "ip addr add 192.0.2.100/32 dev br0")
            try:
                with server(self.rk, "192.0.2.100", 81):
                    out = do_inside(self.rk, "nsenter -n -t %d python3 -c \"import socket; "
                                    "print(socket.create_connection(('192.0.2.100', 81), 20)"
                                    ".makefile().readline().split()[0])\"" % pid)
                self.assertEqual(out.strip(), "172.17.0.2")
            finally:
                do_inside(self.rk, "ip addr del 192.0.2.100/32 dev br0")

    def test_a_thousand_ports(self):
        with behind_bridge(self.rk) as pid, server(self.rk, "172.17.0.2", netns_of=pid):
            specs = ["0.0.0.0:%d:172.17.0.2:80/tcp4" % p for p in range(20000, 21000)]
            self.assertEqual(self.rk.ctl("add-ports", *specs).returncode, 0)
            for port in range(20000, 21000, 100):
                self.assertEqual(*seen(HOST4, port, self.client))
            ids = [str(p["id"]) for p in self.rk.ports()]
            self.assertEqual(self.rk.ctl("remove-ports", *ids).returncode, 0)


@rkit.ours("has no such option")
class Options(rkit.RkTestCase):
    """Options; each test has a rootlesskit of its own."""

    def setUp(self):
        world()  # sets up our own machine, before another one is put beside it
        self.client = self.enterContext(net.neighbour())
        super().setUp()

    def check(self, rk, address, child="127.0.0.1", to=HOST4, port=18080):
        with server(rk, child):
            self.assertEqual(seen(to, port, self.client)[0][0], address)

    def rules(self, rk):
        return do_inside(rk, "ip rule; ip -6 rule; ip route show table all type local;"
                             "cat /proc/sys/net/ipv4/tcp_fwmark_accept")

    def test_off(self):
        """Without it there are no rules in the namespace and no counters."""
        with builtin("-p", "0.0.0.0:18080:80/tcp4", "--source-ip-transparent=false") as rk:
            self.check(rk, "127.0.0.1")
            self.assertNotIn("extra", rk.api("GET", "/v1/info")[1]["portDriver"])
            tcp = rk.api("GET", "/v1/stats")[1]["total"]["tcp"]
            self.assertEqual((tcp["connected"], tcp["transparent"], tcp["transparentLost"]), (1, 0, 0))
            rules = self.rules(rk)
            self.assertNotIn("fwmark", rules)
            self.assertNotIn("local default", rules)
            self.assertEqual(rules.split()[-1], "0")
            self.assertNotIn("transparent", rk.log())

    def test_on_by_default(self):
        with builtin("-p", "0.0.0.0:18080:80/tcp4") as rk:
            self.assertIn("fwmark", self.rules(rk))
            self.check(rk, CLIENT4)
            self.assertEqual(rk.log(), "")

    def test_beside_a_udp_port_that_was_there_first(self):
        """The UDP port has ordered spare sockets before the first connection to a container needs some."""
        with builtin() as rk, behind_bridge(rk) as pid, server(rk, "172.17.0.2", netns_of=pid):
            rk.add(18053, 53, proto="udp", parent_ip="0.0.0.0")
            sockets = lambda: rk.api("GET", "/v1/stats")[1]["total"]["resources"]
            wait_for("sockets", lambda: 0 < sockets()["socketsRequested"]
                     == sockets()["socketsReceived"])
            rk.add(18080, 80, parent_ip="0.0.0.0", child_ip="172.17.0.2")
            for _ in range(20):
                self.assertEqual(seen(HOST4, 18080, self.client, timeout=20)[0][0], CLIENT4)

    def test_backend(self):
        """There is one backend, whatever is asked for. iptables makes a warning."""
        for backend in ("auto", "nft", "iptables"):
            with self.subTest(backend), builtin(
                    "-p", "0.0.0.0:18080:80/tcp4", "--source-ip-transparent-backend=" + backend) as rk:
                self.check(rk, CLIENT4)
                self.assertEqual(rk.api("GET", "/v1/info")[1]["portDriver"]["extra"],
                                 {"sourceIPTransparentBackend": "nft"})
                self.assertEqual("has no effect" in rk.log(), backend == "iptables")

    def test_detached_namespace(self):
        with builtin("-p", "0.0.0.0:18080:80/tcp4", "--detach-netns") as rk:
            self.check(rk, CLIENT4)

    def test_without_the_sandbox(self):
        with builtin("-p", "0.0.0.0:18080:80/tcp4", "--dataplane-sandbox=false") as rk:
            self.check(rk, CLIENT4)

    @rkit.needs("tun", "slirp4netns")
    def test_address_of_the_namespace_and_its_own_connections(self):
        """The client's address is seen also when the namespace is on a network like the client's."""
        with net.neighbour("twin", ("10.0.2.7/24",), ("10.0.2.9/24",)) as twin, \
                builtin("-p", "0.0.0.0:18080:10.0.2.100:80/tcp4", "-p",
                        "0.0.0.0:18081:127.0.0.1:80/tcp4", net="slirp4netns") as rk:
            self.check(rk, CLIENT4, "0.0.0.0")
            self.check(rk, CLIENT4, "10.0.2.100")
            with server(rk, "0.0.0.0"):
                self.assertEqual(*seen("10.0.2.7", 18080, twin))
                self.assertEqual(*seen("10.0.2.7", 18081, twin))
                with net.bound(socket.SOCK_STREAM, CLIENT4, 8000, netns=self.client) as s, \
                        net.connect(HOST4, 18080, netns=self.client) as c:
                    self.assertEqual(c.makefile().readline().split()[0], CLIENT4)
                    # The namespace can connect to a client whose connection it has just accepted.
                    s.settimeout(DEADLINE_S)
                    proc = inside(rk, "python3", "-c", "import socket; socket.create_connection"
                                  "(('%s', 8000), 20).sendall(b'hello')" % CLIENT4)
                    other = s.accept()[0]
                    self.assertEqual(other.recv(5), b"hello")
                    other.close()
                    self.assertEqual(proc.wait(DEADLINE_S), 0)
            tcp = rk.api("GET", "/v1/stats")[1]["total"]["tcp"]
            self.assertEqual((tcp["transparent"], tcp["transparentLost"]), (5, 0))

    @rkit.needs("tun", "slirp4netns")
    def test_refused_at_the_address_of_the_namespace(self):
        """A refusal comes back at once."""
        with builtin("-p", "0.0.0.0:18080:10.0.2.100:80/tcp4", net="slirp4netns") as rk:
            with self.assertRaises(ConnectionResetError):
                with net.connect(HOST4, 18080, netns=self.client) as s:
                    s.recv(1)
            tcp = rk.api("GET", "/v1/stats")[1]["total"]["tcp"]
            self.assertEqual((tcp["refused"], tcp["timedOut"]), (1, 0))
            self.check(rk, CLIENT4, "10.0.2.100")
            self.assertNotIn("transparent", rk.log())

    @rkit.needs("tun", "slirp4netns")
    def test_server_outside_the_namespace(self):
        """A child IP outside the namespace: answers to the client's address could not come back."""
        with net.bound(socket.SOCK_STREAM, CLIENT4, 8000, netns=self.client) as s, \
                builtin("-p", "0.0.0.0:18080:%s:8000/tcp4" % CLIENT4, net="slirp4netns") as rk:
            s.settimeout(DEADLINE_S)
            with net.connect(HOST4, 18080, netns=self.client):
                with s.accept()[0]:
                    pass

            def counted():
                tcp = rk.api("GET", "/v1/stats")[1]["total"]["tcp"]
                return tcp["connected"] == tcp["transparentLost"] == 1
            wait_for("the counters", counted)  # which rise after the connection was made
            self.assertIn("transparent: 0, transparentLost: 1,", rk.ctl("stats").stdout)

    @rkit.needs("tun", "slirp4netns")
    def test_sysctls_that_cannot_be_written(self):
        """In a container sysctls often cannot be written. Servers at loopback addresses do not need them."""
        with builtin("-p", "0.0.0.0:18080:10.0.2.100:80/tcp4", "-p",
                     "0.0.0.0:18081:127.0.0.1:80/tcp4", net="slirp4netns", uid=0,
                     before=READ_ONLY) as rk:
            self.check(rk, "10.0.2.100", "0.0.0.0")
            self.check(rk, CLIENT4, "0.0.0.0", port=18081)
            self.assertEqual(rk.log().count("did not see the address of its client"), 1)

    @rkit.needs("iptables", "ip6tables")
    def test_turned_where_sysctls_cannot_be_written(self):
        with builtin(uid=0, before=READ_ONLY) as rk, turned(rk) as pid, \
                server(rk, "172.17.0.2", netns_of=pid):
            rk.add(18080, 8080, parent_ip="0.0.0.0")
            self.assertEqual(seen("127.0.0.1", 18080)[0][0], "172.17.0.1")
            self.assertEqual(seen(HOST4, 18080, self.client)[0][0], CLIENT4)

    @rkit.needs("iptables", "ip6tables")
    def test_turned_from_some_time_on(self):
        """Connections are tracked only when rules of others need it, since each packet pays for it."""
        for sandbox in ("true", "false"):
            with self.subTest(sandbox), builtin(
                    "-p", "0.0.0.0:18080:8080/tcp4", "--dataplane-sandbox=" + sandbox) as rk:
                with server(rk, port=8080):
                    for _ in range(20):
                        self.assertEqual(seen(HOST4, 18080, self.client)[0][0], CLIENT4)
                if os.path.exists(TRACKED):
                    self.assertEqual(do_inside(rk, "cat " + TRACKED), "0\n")
                with turned(rk) as pid, server(rk, "172.17.0.2", netns_of=pid):
                    wait_for("the client's address",
                             lambda: seen(HOST4, 18080, self.client)[0][0] == CLIENT4, step_s=0.2)

    def test_somebody_else_s_routing(self):
        """Rules of others send the answers elsewhere: after a second, servers are reached without it."""
        with builtin("-p", "0.0.0.0:18080:80/tcp4") as rk:
            self.check(rk, CLIENT4)
            do_inside(rk, "ip rule add pref 50 to 192.0.2.0/24 unreachable")
            with server(rk):
                for _ in range(5):
                    self.assertEqual(seen(HOST4, 18080, self.client)[0][0], "127.0.0.1")


@rkit.needs("strace")
@rkit.ours("has no such option")
class SetUp(rkit.RkTestCase):
    """Each step of the set-up fails in turn: ports work, with or without the client's address."""

    CALLS = {"sendto": ("EAGAIN", 12), "socket": ("ENFILE", 16), "setsockopt": ("EPERM", 8),
             "bind": ("EACCES", 11), "listen": ("EINVAL", 6), "connect": ("ENETDOWN", 6),
             "accept4": ("ENFILE", 4), "getsockopt": ("EPERM", 4)}

    def attempt(self, call, error, number, client):
        """Lets the call fail. Returns the address that the server saw; None: rootlesskit could not start."""
        trace = self.world.base + "/transparent.trace"
        rk = builtin("-p", "0.0.0.0:18080:80/tcp4", "--workers=1", uid=0, before=(
            "strace", "-D", "-f", "-qq", "-u", USER, "-o", trace, "-e", "trace=" + call, "-e",
            "inject=%s:error=%s:when=%d" % (call, error, number)))
        wait_for("the start", lambda: rk.proc.poll() is not None
                 or os.path.exists(rk.state + "/child_pid"))
        if rk.proc.poll() is not None:
            self.assertRegex(rk.log(), r"(?m)^\[rootlesskit:(parent|child )\] error: .+")
            return None
        with rk:
            with server(rk):
                address = seen(HOST4, 18080, client)[0][0]
                self.assertIn(address, (CLIENT4, "127.0.0.1"))
                if address != CLIENT4:
                    self.assertIn("--source-ip-transparent", rk.log())
                # One failure must not change the way of later connections, unless the log says so.
                if "will not see" not in rk.log():
                    self.assertEqual(*seen(HOST4, 18080, client))
            self.assertLessEqual(rk.log().count("will not see"), 1)
            self.assertLessEqual(rk.log().count("did not see"), 1)
        return address

    def test_each_step(self):
        results = set()
        with net.neighbour() as client:
            for call, (error, most) in self.CALLS.items():
                for number in range(1, most + 1):
                    with self.subTest(call=call, number=number):
                        results.add(self.attempt(call, error, number, client))
        self.assertEqual(results - {None}, {CLIENT4, "127.0.0.1"}, "nothing failed, or everything")


if __name__ == "__main__":
    rkit.main()
