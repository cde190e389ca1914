#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--source-ip-transparent with rules in the namespace that send connections elsewhere (DNAT)."""

import contextlib
import subprocess

import rkit
from rkit import inject, net
from rkit.container import behind_bridge
from rkit.launch import processes_of, restart_role, role_of, wait_for
from rkit.networks import ask
from rkit.ports import both_backends
from rkit.transparent import (CLIENT4, CLIENT6, HOST4, HOST6, TURN, TURN_IN, TURN_IN_BACK, TransparentCase,
                              do_inside, inside, proxy, running, seen, server, turned)

UDP_SERVER = """
import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    data, who = s.recvfrom(65536)
    s.sendto(who[0].encode() + b" " + data, who)
"""


@rkit.needs("iptables", "ip6tables")
@both_backends
class Turned(TransparentCase):
    """Connections that the command's DNAT rules send elsewhere arrive there with their client's address."""

    def clients_are_seen(self, times, host, port, address, payload=b""):
        """Servers see the client's address each time, and its port mostly. The namespace's NAT changes a port
        while another connection with the same one, by another of our ports, is in its table."""
        pairs = [seen(host, port, self.client, payload=payload) for _ in range(times)]
        self.assertEqual({(got[0], me[0]) for got, me in pairs}, {(address, address)})
        self.assertGreater(sum(got == me for got, me in pairs), times // 2, pairs)

    def test_ipv4(self):
        with turned(self.rk) as pid, server(self.rk, "172.17.0.2", netns_of=pid):
            self.rk.add(18080, 8080, parent_ip="0.0.0.0", child_ip="127.0.0.1")
            before = self.counters()
            self.clients_are_seen(5, HOST4, 18080, CLIENT4, b"x" * 300_000)
            self.clients_are_seen(50, HOST4, 18080, CLIENT4)
            self.assertEqual(self.counted(before), (55, 0))
            self.assertEqual(seen("127.0.0.1", 18080)[0][0], "172.17.0.1")

    def test_ipv6(self):
        with turned(self.rk) as pid, server(self.rk, "fd00:17::2", netns_of=pid):
            self.rk.add(18080, 8080, parent_ip="::", child_ip="::1")
            before = self.counters()
            self.clients_are_seen(20, HOST6, 18080, CLIENT6, b"x" * 300_000)
            self.assertEqual(self.counted(before), (20, 0))

    def test_client_with_an_address_of_the_container_s_network(self):
        """Answers to it do not come back. The port goes on showing the addresses of its other clients."""
        other = "172.17.0.9"
        with turned(self.rk) as pid, server(self.rk, "172.17.0.2", netns_of=pid), \
                net.further_address(self.client, other):
            self.rk.add(18080, 8080, parent_ip="0.0.0.0", child_ip="127.0.0.1")
            for _ in range(5):
                self.assertEqual(seen(HOST4, 18080, self.client, source=other)[0][0], "172.17.0.1")
                self.clients_are_seen(2, HOST4, 18080, CLIENT4)

    def test_to_the_namespace_itself(self):
        with turned(self.rk), server(self.rk, "127.0.0.1", 81), server(self.rk, "172.17.0.1", 82):
            self.rk.add(18081, 8081, parent_ip="0.0.0.0")
            self.rk.add(18082, 8082, parent_ip="0.0.0.0")
            before = self.counters()
            for port in (18081, 18082):
                self.assertEqual(*seen(HOST4, port, self.client, payload=b"x" * 300_000))
            self.assertEqual(self.counted(before), (2, 0))
            for port in (18081, 18082):
                self.assertEqual(seen("127.0.0.1", port)[0][0], "127.0.0.1")

    def test_from_an_address_of_the_namespace_s_own(self):
        for proto, own, container, host, me in (
                ("tcp4", "172.17.0.1", "172.17.0.2", HOST4, CLIENT4),
                ("tcp6", "fd00:17::1", "fd00:17::2", HOST6, CLIENT6)):
            with self.subTest(own), turned(self.rk) as pid, \
                    server(self.rk, container, netns_of=pid), server(self.rk, own, 84):
                ids = [self.rk.add(10000 + port, port, parent_ip="::" if ":" in own else "0.0.0.0",
                                   proto=proto, child_ip=own) for port in (8083, 84)]
                before = self.counters()
                for port in (18083, 10084):
                    self.clients_are_seen(20, host, port, me, b"x" * 30_000)
                self.assertEqual(self.counted(before), (40, 0))
                for number in ids:
                    self.rk.remove(number)

    def test_udp(self):
        """UDP comes without the client's address, as always with --source-ip-transparent."""
        self.rk.add(18053, 8080, proto="udp", parent_ip="0.0.0.0", child_ip="127.0.0.1")
        with turned(self.rk) as pid:
            proc = inside(self.rk, "nsenter", "-n", "-t", str(pid), "python3", "-c", UDP_SERVER,
                          "172.17.0.2", "80", stdout=subprocess.PIPE)
            try:
                self.assertEqual(proc.stdout.readline(), b"ready\n")
                for host, netns in (("127.0.0.1", None), (HOST4, self.client)):
                    self.assertEqual(ask(host, 18053, b"question", netns=netns),
                                     b"172.17.0.1 question")
            finally:
                proc.kill()
                proc.wait()
                proc.stdout.close()

    def test_the_namespace_s_own_connections(self):
        with turned(self.rk) as pid, server(self.rk, "172.17.0.2", netns_of=pid):
            out = do_inside(self.rk, "python3 -c \"import socket; print(socket.create_connection("
                            "('127.0.0.1', 8080), 20).makefile().readline().split()[0])\"")
            self.assertEqual(out.strip(), "172.17.0.1")

    def test_broker_killed(self):
        with turned(self.rk) as pid, server(self.rk, "172.17.0.2", netns_of=pid):
            self.rk.add(18080, 8080, parent_ip="0.0.0.0")
            for _ in range(2):
                for _ in range(20):
                    self.assertEqual(*seen(HOST4, 18080, self.client))
                restart_role(self.rk.pid, "broker")


@rkit.needs("iptables", "ip6tables")
@both_backends
class ComingIn(TransparentCase):
    """Rules turn what comes in for a loopback address, as Docker's do beside its userland proxy, which
    listens there. A port that names the address leads past it, to where they turn it."""

    def setUp(self):
        super().setUp()
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.container = self.stack.enter_context(behind_bridge(self.rk))
        self.stack.callback(do_inside, self.rk, TURN_IN_BACK)

    def tearDown(self):
        self.stack.close()
        super().tearDown()

    def turn(self):
        do_inside(self.rk, TURN_IN)

    def add(self, proto="tcp4", **kw):
        """As dockerd asks for it."""
        v6 = proto.endswith("6")
        return self.rk.add(18080, 8080, proto=proto, child_ip="::1" if v6 else "127.0.0.1",
                           **{"parent_ip": "::" if v6 else "0.0.0.0", **kw})

    def become(self, who, host=HOST4, netns=True):
        """The server that is reached sees this, from now on."""
        def look():
            try:
                return seen(host, 18080, self.client if netns else None)[0][0]
            except OSError:
                return None
        wait_for("%s at %s" % (who, host), lambda: look() == who)
        for _ in range(20):
            self.assertEqual(look(), who)

    def test_rules_that_come_later(self):
        with proxy(self.rk), server(self.rk, "172.17.0.2", netns_of=self.container):
            number = self.add()
            self.become("proxy")
            before = self.counters()
            self.turn()
            self.become(CLIENT4)
            self.assertEqual(self.counted(before)[1], 0)
            self.become("172.17.0.1", "127.0.0.1", netns=False)
            do_inside(self.rk, TURN_IN_BACK)
            self.become("proxy")
            self.turn()
            self.become(CLIENT4)
            self.rk.remove(number)
            self.add()
            self.become(CLIENT4)

    def test_rules_of_the_older_iptables(self):
        """The kernel does not report these."""
        def older(script):
            return "export XTABLES_LOCKFILE=/dev/null;" + script.replace("tables ", "tables-legacy ")
        try:
            do_inside(self.rk, older("iptables -t nat -L; ip6tables -t nat -L"))
        except AssertionError as e:
            self.skipTest("the machine does not have them: " + str(e).splitlines()[-1])
        self.stack.callback(do_inside, self.rk, older(TURN_IN_BACK))
        with proxy(self.rk), server(self.rk, "172.17.0.2", netns_of=self.container):
            do_inside(self.rk, older(TURN_IN))
            number = self.add()
            self.become(CLIENT4)
            self.rk.remove(number)
            do_inside(self.rk, older(TURN_IN_BACK))
            # Connections are tracked by now, so no rule of ours is added any more, which would be news.
            self.add()
            self.become("proxy")
            do_inside(self.rk, older(TURN_IN))
            self.become(CLIENT4)

    def test_rules_that_are_there(self):
        self.turn()
        with proxy(self.rk), server(self.rk, "172.17.0.2", netns_of=self.container):
            self.add()
            self.become(CLIENT4)
            got, me = seen(HOST4, 18080, self.client, payload=b"x" * 3_000_000)
            self.assertEqual(got, me)

    def test_on_the_host_s_loopback(self):
        self.turn()
        with proxy(self.rk), server(self.rk, "172.17.0.2", netns_of=self.container):
            self.add(parent_ip="127.0.0.1")
            self.become("172.17.0.1", "127.0.0.1", netns=False)

    def refused(self):
        return self.rk.api("GET", "/v1/stats")[1]["total"]["udp"]["refused"]

    def test_udp_client_that_was_there_first(self):
        """It keeps its socket, and sends before there are rules or a container. It is refused, and served as
        soon as they are there."""
        self.add("udp")
        for turn in (self.turn, lambda: do_inside(self.rk, TURN)):
            for host, netns in ("127.0.0.1", None), (HOST4, self.client):
                before = self.refused()
                with self.subTest(host), net.udp_client(host, 18080, netns=netns, timeout=0.2) as s:
                    s.send(b"early")
                    wait_for("a refusal", lambda: self.refused() > before)

                    def answered():
                        s.send(b"question")
                        try:
                            return s.recv(100)
                        except TimeoutError:
                            return None
                    turn()
                    with running(self.rk, "server", "nsenter", "-n", "-t", str(self.container), "python3",
                                 "-c", UDP_SERVER, "172.17.0.2", "80"):
                        self.assertEqual(wait_for("the container", answered), b"172.17.0.1 question")
                do_inside(self.rk, TURN_IN_BACK)

    def test_ipv6(self):
        self.turn()
        with proxy(self.rk, "::1"), server(self.rk, "fd00:17::2", netns_of=self.container):
            self.add("tcp6")
            self.become(CLIENT6, HOST6)

    def test_container_that_refuses(self):
        """What listens at the address that was named serves the port then."""
        self.turn()
        self.add()
        with proxy(self.rk):
            with server(self.rk, "172.17.0.2", netns_of=self.container):
                self.become(CLIENT4)
            self.become("proxy")
            with server(self.rk, "172.17.0.2", netns_of=self.container):
                self.become(CLIENT4)

    def test_udp(self):
        self.turn()
        with proxy(self.rk):
            self.add("udp4")
            self.assertEqual(ask(HOST4, 18080, b"question", netns=self.client), b"proxy")
            proc = inside(self.rk, "nsenter", "-n", "-t", str(self.container), "python3", "-c",
                          UDP_SERVER, "172.17.0.2", "80", stdout=subprocess.PIPE)
            try:
                self.assertEqual(proc.stdout.readline(), b"ready\n")
                wait_for("the container", lambda: ask(HOST4, 18080, b"question", netns=self.client)
                         == b"172.17.0.1 question")
                self.assertEqual(ask("127.0.0.1", 18080, b"question"), b"172.17.0.1 question")
            finally:
                proc.kill()
                proc.wait()
                proc.stdout.close()

    def test_ports_that_do_not_name_it(self):
        """They lead where RootlessKit has them lead."""
        self.turn()
        with proxy(self.rk), server(self.rk, "172.17.0.2", netns_of=self.container):
            self.rk.add(18080, 8080, parent_ip="0.0.0.0")
            for _ in range(20):
                self.assertEqual(seen(HOST4, 18080, self.client)[0][0], "proxy")

    def test_deaths_and_reload(self):
        self.turn()
        with proxy(self.rk), server(self.rk, "172.17.0.2", netns_of=self.container):
            self.add()
            self.become(CLIENT4)
            for role in ("broker", "dataplane"):
                restart_role(self.rk.pid, role)
                self.become(CLIENT4)
            self.assertEqual(self.rk.api("POST", "/v1/reload")[0], 200)
            self.become(CLIENT4)
            # The next broker's keeper is asked, too.
            do_inside(self.rk, TURN_IN_BACK)
            self.become("proxy")

    @rkit.needs("strace")
    def test_no_memory_for_messages(self):
        """Questions, answers and news that cannot be sent at first come through later."""
        with proxy(self.rk), server(self.rk, "172.17.0.2", netns_of=self.container):
            self.add()
            for role in ("keeper", "broker"):
                (pid,) = [p for p in processes_of(self.rk.pid) if role_of(p) == role]
                with inject.failing(pid, "sendmsg", "ENOBUFS", 1, 3):
                    self.turn()
                    wait_for("the failure", inject.was_hit)
                    self.become(CLIENT4)
                do_inside(self.rk, TURN_IN_BACK)
                self.become("proxy")

    @rkit.needs("nft")
    def test_rules_that_are_flushed(self):
        """Ours, by which the keeper asks, go with them."""
        with proxy(self.rk), server(self.rk, "172.17.0.2", netns_of=self.container):
            self.turn()
            self.add()
            self.become(CLIENT4)
            do_inside(self.rk, "nft flush ruleset")
            self.become("proxy")
            self.turn()
            self.become(CLIENT4)


if __name__ == "__main__":
    rkit.main()
