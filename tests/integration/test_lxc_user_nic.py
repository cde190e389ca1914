#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=lxc-user-nic: the set-uid program of package liblxc-common and our DHCP client, with a bridge and a
DHCP server that the test makes."""

import contextlib
import re
import signal
import socket
import time
import unittest

import rkit
from rkit import lxc, net, networks
from rkit.launch import LOCKED_DOWN, Rootlesskit, restrictions, rootlesskit, wait_for
from rkit.lxc import Dnsmasq, RogueDhcp, add_network, bridge, route_back
from rkit.networks import gone, look, outside, probe, process_named
from rkit.peers import TcpServer, UdpServer, echo, hello
from rkit.world import USER, sh, write

NET = ["--net=lxc-user-nic", "--copy-up=/etc", "--disable-host-loopback"]
DETACHED = ["--net=lxc-user-nic", "--detach-netns", "--disable-host-loopback"]


@unittest.skipIf(lxc.unusable(), lxc.unusable())
@rkit.needs("dnsmasq")
class LxcCase(rkit.RkTestCase):
    def setUp(self):
        lxc.prepare()
        super().setUp()


class Outgoing(LxcCase):
    def test_tcp_udp_names_ping(self):
        with outside() as ns, bridge(), Dnsmasq(), Rootlesskit(*NET) as rk:
            route_back(ns)
            self.assertEqual(probe(rk, "tcp", "192.0.2.100", "80"), "question")
            self.assertEqual(probe(rk, "udp", "192.0.2.100", "7"), "question")
            self.assertEqual(probe(rk, "name", "any.example"), "192.0.2.77")
            got = rk.nsenter("ping", "-c", "1", "-W", "10", "192.0.2.100")
            self.assertEqual(got.returncode, 0, got.stdout + got.stderr)

    @rkit.ours("since 2.0")
    def test_detached(self):
        with outside() as ns, bridge(), Dnsmasq(), Rootlesskit(*DETACHED) as rk:
            route_back(ns)
            inside = rk.state + "/netns"
            self.assertEqual(probe(rk, "tcp", "192.0.2.100", "80", netns=inside), "question")
            self.assertEqual(probe(rk, "udp", "192.0.2.100", "7", netns=inside), "question")

    def test_with_a_pid_namespace(self):
        with bridge(), Dnsmasq(), TcpServer(echo, port=8000, host="10.0.3.1"), \
                Rootlesskit(*NET, "--pidns") as rk:
            self.assertEqual(probe(rk, "tcp", "10.0.3.1", "8000"), "question")

    @rkit.ours("tells no address")
    def test_two_at_once(self):
        with bridge(), Dnsmasq(), TcpServer(echo, port=8000, host="10.0.3.1"), \
                Rootlesskit(*NET) as one, Rootlesskit(*NET) as two:
            ips = [rk.api("GET", "/v1/info")[1]["networkDriver"]["childIP"] for rk in (one, two)]
            self.assertNotEqual(ips[0], ips[1])
            for rk in (one, two):
                self.assertEqual(probe(rk, "tcp", "10.0.3.1", "8000"), "question")


@rkit.ours("tells no address")
class Ports(LxcCase):
    def test_builtin(self):
        with bridge(), Dnsmasq(), Rootlesskit(*NET, "--port-driver=builtin", "-p",
                                              "127.0.0.1:18080:80/tcp", "-p",
                                              "127.0.0.1:18082:82/udp") as rk:
            ip = rk.api("GET", "/v1/info")[1]["networkDriver"]["childIP"]
            rk.add(18081, 81, child_ip=ip)
            with TcpServer(hello("lo"), netns=rk.netns()), \
                    TcpServer(hello("veth"), port=81, host=ip, netns=rk.netns()), \
                    UdpServer(port=82, netns=rk.netns()):
                for port, word in ((18080, b"lo"), (18081, b"veth")):
                    with net.connect("127.0.0.1", port) as c:
                        self.assertEqual(c.recv(10), word)
                with net.udp_client("127.0.0.1", 18082) as c:
                    c.send(b"datagram")
                    self.assertEqual(c.recv(20), b"datagram")


class Options(LxcCase):
    @rkit.ours("warns that it is experimental")
    def test_defaults(self):
        with bridge(), Dnsmasq():
            seen = look(*NET)
        self.assertRegex(seen, r"eth0\s+inet 10\.0\.3\.\d+/24")
        self.assertIn("default via 10.0.3.1 dev eth0", seen)
        self.assertRegex(seen, r"eth0[^:]*: <[^>]*UP.*mtu 1500 ")
        self.assertIn("nameserver 10.0.3.1", seen)
        self.assertNotIn("warning", seen)

    def test_mtu_ifname_bridge(self):
        with bridge(name="mybridge"), Dnsmasq(interface="mybridge"):
            seen = look(*NET, "--mtu=1400", "--ifname=ether7", "--lxc-user-nic-bridge=mybridge")
        self.assertRegex(seen, r"ether7\s+inet 10\.0\.3\.\d+/24")
        self.assertRegex(seen, r"ether7[^:]*: .*mtu 1400 ")
        self.assertNotIn("eth0", seen)

    @rkit.ours("demands one")
    def test_no_router(self):
        with bridge(), Dnsmasq("--dhcp-option=3"):
            seen = look(*NET)
        self.assertIn("the DHCP server named no router", seen)
        self.assertNotIn("default via", seen)

    @rkit.ours("tells no address")
    def test_information(self):
        with bridge(), Dnsmasq(), Rootlesskit(*NET) as rk:
            driver = rk.api("GET", "/v1/info")[1]["networkDriver"]
            self.assertRegex(driver.pop("childIP"), r"^10\.0\.3\.\d+$")
            self.assertEqual(driver, {"driver": "lxc-user-nic", "dns": ["10.0.3.1"],
                                      "dynamicChildIP": True})

    def test_refused(self):
        got = rootlesskit(*NET, "--cidr=10.0.2.0/24", "true")
        self.assertEqual(got.returncode, 1)
        self.assertIn("cidr", got.stderr)

    @rkit.ours("has no process for DHCP")
    def test_the_client_is_locked_down(self):
        with bridge(), Dnsmasq(), Rootlesskit(*NET):
            self.assertEqual(restrictions(process_named("rootlesskit", "lxc-dhcp")[0]), LOCKED_DOWN)


@rkit.ours("does not renew in time")
class Lease(LxcCase):
    SHORT = ["--dhcp-option=59,4i"]  # T2, in seconds. dnsmasq makes T1 a second shorter

    def acks(self, server):
        return len(re.findall(r"DHCPACK\(", server.log()))

    def test_is_renewed(self):
        with bridge(), Dnsmasq(*self.SHORT, lease="2m") as server, Rootlesskit(*NET) as rk:
            wait_for("the third acknowledgement", lambda: self.acks(server) >= 3, 60)
            # A renewal asks the server that gave the lease, without another search for one.
            self.assertNotIn("DHCPDISCOVER(", server.log().split("DHCPACK(", 1)[1])
            self.assertIsNone(rk.proc.poll())

    def test_a_server_that_was_away(self):
        """Nobody answers the renewals for a while. Then comes a server that does not know the lease."""
        with bridge():
            with Dnsmasq(*self.SHORT, lease="2m"):
                rk = Rootlesskit(*NET).ready()
                ip = rk.api("GET", "/v1/info")[1]["networkDriver"]["childIP"]
            time.sleep(3)  # T1: now the client asks, and nobody answers
            with Dnsmasq(*self.SHORT, lease="2m") as server:
                wait_for("an acknowledgement", lambda: "DHCPACK(lxcbr0) " + ip in server.log(), 80)
                self.assertNotIn("lost its network", rk.log())
                rk.stop()

    def info(self, rk):
        return rk.api("GET", "/v1/info")[1]["networkDriver"]

    @contextlib.contextmanager
    def readdressed(self, options, *args, wait=True, **kw):
        """A rootlesskit whose DHCP server is replaced by another one, with these arguments."""
        with bridge():
            with Dnsmasq(*self.SHORT, lease="2m", range_="10.0.3.2,10.0.3.99"):
                rk = Rootlesskit(*options).ready()
                self.resolv = rk.nsenter("cat", "/etc/resolv.conf").stdout
            try:
                add_network()
                with Dnsmasq(*self.SHORT, *args, lease="2m", **kw):
                    if wait:
                        wait_for("another address",
                                 lambda: self.info(rk)["childIP"] == kw["range_"].split(",")[0], 80)
                    yield rk
                    self.assertIsNone(rk.proc.poll())
            finally:
                rk.stop()

    def test_another_address(self):
        """The next server gives another address of the same network. The name server stays."""
        for options in (NET, DETACHED):
            with self.subTest(options), \
                    self.readdressed(options, range_="10.0.3.100,10.0.3.100") as rk, \
                    TcpServer(echo, port=8000, host="10.0.3.1"):
                inside = rk.state + "/netns" if options == DETACHED else None
                addresses = self.inside(rk, inside, "ip", "-o", "-4", "addr", "show", "eth0")
                self.assertEqual(re.findall(r"inet (\S+)", addresses), ["10.0.3.100/24"])
                self.assertEqual(self.inside(rk, inside, "ip", "route", "show", "default").strip(),
                                 "default via 10.0.3.1 dev eth0")
                self.assertEqual(probe(rk, "tcp", "10.0.3.1", "8000", netns=inside), "question")
                self.assertRegex(rk.log(), r"warning: the DHCP server gave another address: eth0 has "
                                 r"10\.0\.3\.100, after 10\.0\.3\.\d+; connections of before are lost")
                self.assertEqual(rk.nsenter("cat", "/etc/resolv.conf").stdout, self.resolv)

    def test_another_network(self):
        """The next server gives another address, router and name server."""
        for copy_up in ([], ["--copy-up=/etc"]):
            options = ["--net=lxc-user-nic", "--disable-host-loopback", *copy_up]
            with self.subTest(options), self.readdressed(
                    options, "--dhcp-option=6,10.0.4.1", range_="10.0.4.50,10.0.4.50") as rk, \
                    TcpServer(echo, port=8000, host="10.0.4.1"):
                self.assertEqual(self.info(rk), {"driver": "lxc-user-nic", "dns": ["10.0.4.1"],
                                                 "childIP": "10.0.4.50", "dynamicChildIP": True})
                self.assertEqual(self.inside(rk, None, "ip", "route", "show", "default").strip(),
                                 "default via 10.0.4.1 dev eth0")
                self.assertEqual(rk.nsenter("cat", "/etc/resolv.conf").stdout, "nameserver 10.0.4.1\n")
                self.assertEqual(probe(rk, "tcp", "10.0.4.1", "8000"), "question")
                self.assertEqual(probe(rk, "name", "any.example"), "192.0.2.77")

    def test_without_a_router_or_its_own_resolv_conf(self):
        """The default route is removed. A resolv.conf that the command has changed stays as it is."""
        with self.readdressed([*NET, "--pidns"], "--dhcp-option=3", "--dhcp-option=6,10.0.4.1",
                              wait=False, range_="10.0.4.50,10.0.4.50") as rk:
            rk.nsenter("sh", "-c", "echo nameserver 10.0.3.1 >/etc/resolv.conf; "
                       "echo '# mine' >>/etc/resolv.conf")
            wait_for("another address", lambda: self.info(rk)["childIP"] == "10.0.4.50", 80)
            self.assertEqual(self.inside(rk, None, "ip", "route", "show", "default"), "")
            self.assertIn("# mine", rk.nsenter("cat", "/etc/resolv.conf").stdout)
            self.assertIn("warning: /etc/resolv.conf is not as it was made", rk.log())

    def test_other_name_servers_alone(self):
        with self.readdressed(NET, "--dhcp-option=6,10.0.4.1,10.0.3.1", wait=False,
                              range_="10.0.3.2,10.0.3.99") as rk:
            wait_for("other name servers",
                     lambda: self.info(rk)["dns"] == ["10.0.4.1", "10.0.3.1"], 80)
            self.assertEqual(rk.nsenter("cat", "/etc/resolv.conf").stdout,
                             "nameserver 10.0.4.1\nnameserver 10.0.3.1\n")
            self.assertNotIn("gave another address", rk.log())

    def test_an_address_that_cannot_be_set(self):
        with self.readdressed(NET, wait=False, range_="10.0.3.100,10.0.3.100") as rk:
            rk.nsenter("ip", "link", "set", "eth0", "name", "other0")
            wait_for("a word about it", lambda: "has lost its network" in rk.log(), 80)
            self.assertRegex(rk.log(), r"gives the address 10\.0\.3\.100/24, which the interface "
                             "cannot have: cannot find interface eth0")

    def inside(self, rk, netns, *argv):
        """Runs a command in the namespace that has the interface. Returns what it prints."""
        where = ["nsenter", "--net=" + netns] if netns else []
        got = rk.nsenter(*where, *argv, net=not netns)
        self.assertEqual(got.returncode, 0, got.stderr)
        return got.stdout


def given(address="10.0.3.50", **options):
    """An answer of RogueDhcp, with its options by name."""
    numbers = {"mask": 1, "router": 3, "dns": 6, "lease": 51, "server": 54, "t1": 58, "t2": 59}
    words = {"mask": "255.255.255.0", "lease": (3600).to_bytes(4, "big"), **options}
    return {"address": address, "options": {
        numbers[name]: socket.inet_aton(word) if isinstance(word, str) else word
        for name, word in words.items()}}


@rkit.ours("its client is another program")
class Rogue(LxcCase):
    """Servers on the bridge that give wrong answers, or answer requests that were for another server."""

    def info(self, rk):
        return rk.api("GET", "/v1/info")[1]["networkDriver"]

    @staticmethod
    def plain(word):
        return lambda kind, number, wanted: [{**word, "type": 2 if kind == 1 else 5}]

    def test_another_server_acknowledges(self):
        """A server that has made no offer answers each request at once, with an ACK and a NAK."""
        def answer(kind, number, wanted):
            if kind == RogueDhcp.DISCOVER:
                return []
            return [{**given(wanted, router="10.0.3.66", dns="10.0.3.66"), "type": RogueDhcp.ACK},
                    {**given(wanted), "type": RogueDhcp.NAK}]
        with bridge(), Dnsmasq() as server, RogueDhcp(answer) as rogue, Rootlesskit(*NET) as rk:
            self.assertIn(RogueDhcp.REQUEST, rogue.seen)
            self.assertEqual(self.info(rk)["dns"], ["10.0.3.1"])
            self.assertIn("DHCPACK(lxcbr0) " + self.info(rk)["childIP"], server.log())
            self.assertIn("default via 10.0.3.1 ", rk.nsenter("ip", "route").stdout)

    def test_two_servers_offer(self):
        """Address, route and name server all come from the same server, whichever is selected."""
        offer = given("10.0.3.250", router="10.0.3.66", dns="10.0.3.66")
        with bridge(), Dnsmasq(range_="10.0.3.2,10.0.3.99"), RogueDhcp(self.plain(offer)), \
                Rootlesskit(*NET) as rk:
            one = self.info(rk)["childIP"] == "10.0.3.250"
            server = "10.0.3.66" if one else "10.0.3.1"
            self.assertEqual(self.info(rk)["dns"], [server])
            self.assertIn("default via %s " % server, rk.nsenter("ip", "route").stdout)

    def test_malformed(self):
        """Before each good offer come others that are cut, too long, or impossible."""
        bad = [{"raw": b"\x33\xff\x00"}, {"raw": b"\x36"}, given(mask=b"\xff\x00\xff\x00"),
               given(mask=b"\xff"), given(lease=b"\1"), given(router=b""), given(router=b"\1\2\3"),
               given(dns=b"\1\2\3\4\5"), given(server=b"\1\2"), given("0.0.0.0"), given(server=None),
               given("127.0.0.1"), given("224.0.0.1"), given("255.255.255.255"), given("0.0.0.1")]
        good = given(router="10.0.3.1", dns="10.0.3.1")

        def answer(kind, number, wanted):
            words = [{"address": "10.0.3.99", **word} for word in bad] if kind == RogueDhcp.DISCOVER else []
            kind = RogueDhcp.OFFER if kind == RogueDhcp.DISCOVER else RogueDhcp.ACK
            return [{**word, "type": kind} for word in [*words, good]]
        with bridge(), RogueDhcp(answer), Rootlesskit(*NET) as rk:
            self.assertEqual(self.info(rk)["childIP"], "10.0.3.50")
            self.assertEqual(self.info(rk)["dns"], ["10.0.3.1"])

    def test_leases_of_no_time(self):
        """Lease times of 0 or 1 s make no storm of requests, and the command keeps its network."""
        zero = bytes(4)
        for words in ({"lease": zero}, {"lease": zero, "t1": zero, "t2": zero},
                      {"lease": (1).to_bytes(4, "big"), "t1": b"\xff" * 4, "t2": b"\xff" * 4}):
            with self.subTest(words), bridge(), RogueDhcp(self.plain(given(**words))) as rogue, \
                    Rootlesskit(*NET) as rk:
                start, before = time.monotonic(), len(rogue.seen)
                wait_for("renewals", lambda: len(rogue.seen) >= before + 3)
                self.assertGreater(time.monotonic() - start, 1)
                self.assertIsNone(rk.proc.poll())
                self.assertNotIn("lost its network", rk.log())

    def fails(self, word, say):
        with bridge(), RogueDhcp(self.plain(word)):
            got = rootlesskit(*NET, "true", timeout=80)
        self.assertEqual(got.returncode, 1)
        self.assertRegex(got.stderr, say)

    def test_a_router_outside_the_network(self):
        self.fails(given(router="192.0.2.9"), "cannot add the default route via 192.0.2.9 on eth0: "
                   "Network is unreachable")

    def test_an_address_that_no_host_can_have(self):
        self.fails(given("127.0.0.1"),
                   "the DHCP server on the bridge offers 127.0.0.1, which no host can have")


@rkit.ours("has no process for DHCP")
class End(LxcCase):
    def test_with_us(self):
        with bridge(), Dnsmasq():
            with Rootlesskit(*NET) as rk:
                pid = process_named("rootlesskit", "lxc-dhcp")[0]
                rk.stop()
                gone(pid)
            wait_for("the interface to go",
                     lambda: "veth" not in sh("ip", "-o", "link", "show", "master",
                                              "lxcbr0").stdout)

    def test_when_the_parent_is_killed(self):
        with bridge(), Dnsmasq():
            for options in (NET, DETACHED):
                rk = Rootlesskit(*options).ready()
                pid = process_named("rootlesskit", "lxc-dhcp")[0]
                rk.proc.kill()
                rk.wait()
                gone(pid)
                rk.forget_state()


@rkit.ours("other words")
class Failures(networks.Failing, LxcCase):
    options = NET

    def test_no_bridge(self):
        self.fails("there is no bridge lxcbr0: ")

    def test_no_bridge_but_an_interface(self):
        sh("ip", "link", "add", "notone", "type", "veth", "peer", "name", "other")
        write("/etc/lxc/lxc-usernet", "%s veth notone 10\n" % USER)
        try:
            self.fails("notone must be a bridge", "--lxc-user-nic-bridge=notone")
        finally:
            sh("ip", "link", "del", "notone")

    def test_quota(self):
        with bridge(quota=0):
            self.fails("/etc/lxc/lxc-usernet allows you no .* on lxcbr0")
        with bridge(quota=1), Dnsmasq(), Rootlesskit(*NET):
            got = rootlesskit(*NET, "true")
            self.assertEqual(got.returncode, 1)
            self.assertIn("allows you no (more) interfaces on lxcbr0", got.stderr)

    def test_not_allowed(self):
        with bridge():
            write("/etc/lxc/lxc-usernet", "")
            self.fails("/etc/lxc/lxc-usernet")

    def test_no_dhcp_server(self):
        with bridge():
            self.fails("no DHCP server answered on the bridge within 30 s")

    def test_no_netmask(self):
        with bridge(), Dnsmasq("--dhcp-option=1"):
            self.fails("an address without a netmask")

    def test_interrupted(self):
        with bridge():
            rk = Rootlesskit(*NET)
            wait_for("the DHCP client", lambda: "veth" in sh("ip", "-o", "link", "show", "master",
                                                             "lxcbr0").stdout)
            rk.proc.send_signal(signal.SIGTERM)
            self.assertEqual(rk.wait(), -signal.SIGTERM)
            self.assertIn("interrupted", rk.log())


if __name__ == "__main__":
    rkit.main()
