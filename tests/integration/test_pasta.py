#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--net=pasta: what gets out and in, its options, and how it ends."""

import os
import socket

import rkit
from rkit import net, networks
from rkit.launch import Rootlesskit, rootlesskit, wait_for
from rkit.networks import fake, look, outside, pasta_is_of_2024, ping, probe, process_named, said
from rkit.peers import TcpServer, UdpServer, hello

SAFE = ["--net=pasta", "--copy-up=/etc", "--disable-host-loopback"]
IMPLICIT = SAFE + ["--port-driver=implicit"]
DETACHED = ["--net=pasta", "--detach-netns", "--disable-host-loopback"]

# Debian 12's version of March 2023 looks only once for UDP ports that are open inside.
OPENS_UDP = pasta_is_of_2024()


@rkit.needs("pasta", "tun")
@rkit.ours("2.0")
class Outgoing(networks.Reaching, rkit.RkTestCase):
    options, detached = SAFE, DETACHED
    test_much = None  # pasta carries the bytes, and Debian 12's sometimes loses the end of a stream

    def test_ping(self):
        with open("/proc/sys/net/ipv4/ping_group_range", "w") as f:
            f.write("0 65535")
        with outside(), Rootlesskit(*SAFE) as rk:
            self.assertTrue(ping(rk, "192.0.2.100"))

    def test_ipv6(self):
        with outside(), Rootlesskit(*SAFE, "--ipv6") as rk:
            self.assertEqual(probe(rk, "tcp", "2001:db8::100", "80"), "question")
            self.assertEqual(probe(rk, "tcp", "192.0.2.100", "80"), "question")

    def test_address_in_a_detached_one(self):
        with outside(), Rootlesskit(*DETACHED) as rk:
            links = rk.nsenter("nsenter", "--net=" + rk.state + "/netns", "ip", "-o", "-4", "addr",
                               net=False)
            self.assertRegex(links.stdout, r"tap0\s+inet 10\.0\.2\.100/24")


@rkit.needs("pasta", "tun")
@rkit.ours("2.0")
class Implicit(rkit.RkTestCase):
    """--port-driver=implicit: a server that listens inside can be reached outside."""

    def test_tcp(self):
        with outside(), Rootlesskit(*IMPLICIT) as rk:
            with TcpServer(hello("inside"), port=8081, host="0.0.0.0", netns=rk.netns()):
                self.assertEqual(wait_for("port 8081 outside", lambda: said("127.0.0.1", 8081)), b"inside")
            wait_for("port 8081 to close", lambda: said("127.0.0.1", 8081) is None)

    def test_udp(self):
        with outside(), Rootlesskit(*IMPLICIT) as rk:
            with UdpServer(port=8082, host="0.0.0.0", netns=rk.netns()), \
                    TcpServer(hello("inside"), port=8082, host="0.0.0.0", netns=rk.netns()):
                def reached(kind=socket.SOCK_DGRAM):
                    with socket.socket(socket.AF_INET, kind) as c:
                        c.settimeout(1)
                        try:
                            c.connect(("127.0.0.1", 8082))
                            c.send(b"inside")
                            return c.recv(10)
                        except OSError:
                            return None
                if OPENS_UDP:
                    self.assertEqual(wait_for("port 8082 outside", reached), b"inside")
                else:
                    wait_for("TCP port 8082", lambda: reached(socket.SOCK_STREAM))
                    self.assertIsNone(reached())

    def test_detached(self):
        with outside(), Rootlesskit(*DETACHED, "--port-driver=implicit") as rk:
            inside = "/proc/%d/root%s/netns" % (rk.child_pid, rk.state)
            with TcpServer(hello("inside"), port=8083, host="0.0.0.0", netns=inside):
                self.assertEqual(wait_for("port 8083 outside", lambda: said("127.0.0.1", 8083)), b"inside")

    def test_the_price_with_an_old_one(self):
        with outside(), Rootlesskit(*IMPLICIT) as rk:
            _, words = process_named("pasta")
            self.assertEqual("--tcp-ns=none" in words, OPENS_UDP)
            self.assertEqual("despite --disable-host-loopback" in rk.log(), not OPENS_UDP)
            self.assertIn("--udp-ns=none", words)

    # A pasta that answers questions as versions of 2025 do: by exit status, without printing anything.
    NEWER = """
real=$(command -v pasta)
case "$*" in
*--help*|*--version*)
    for word do
        shift
        [ "$word" = --host-lo-to-ns-lo ] || set -- "$@" "$word"
    done
    $real "$@" >/dev/null 2>&1
    exit;;
esac
echo "$*" >"$TMPDIR/words"
for word do
    shift
    [ "$word" = --host-lo-to-ns-lo ] || set -- "$@" "$word"
done
exec $real "$@"
"""

    # A pasta that answers questions as versions of 2023 do.
    OLDER = """
real=$(command -v pasta)
case "$*" in
*--host-lo-to-ns-lo*) echo "pasta: unrecognized option '--host-lo-to-ns-lo'" >&2; exit 1;;
*--help*) $real --help 2>&1 | grep -v host-lo-to-ns-lo; exit 1;;
esac
echo "$*" >"$TMPDIR/words"
exec $real "$@"
"""

    def words_given(self, script, options):
        """The command line that this pasta gets, and rootlesskit's log. The network must work."""
        with fake("pasta", script) as path, outside(), \
                Rootlesskit(*options, "--pasta-binary=" + path) as rk:
            with open(self.world.tmp + "/words") as f:
                words = f.read().split()
            os.unlink(self.world.tmp + "/words")
            inside = rk.state + "/netns" if "--detach-netns" in options else None
            self.assertEqual(probe(rk, "tcp", "192.0.2.100", "80", netns=inside), "question")
            return words, rk.log()

    def test_with_a_newer_one(self):
        """rootlesskit finds the option and sets it. The host's 127.0.0.1 need not be open then."""
        for options in (IMPLICIT, [*DETACHED, "--port-driver=implicit"]):
            with self.subTest(options):
                words, log = self.words_given(self.NEWER, options)
                for word in ("--host-lo-to-ns-lo", "--tcp-ns=none", "--udp-ns=none",
                             "--tcp-ports=auto", "--udp-ports=auto"):
                    self.assertIn(word, words)
                self.assertNotIn("--stderr", words)
                self.assertNotIn("too old", log)

    def test_with_an_older_one(self):
        for options in (IMPLICIT, [*DETACHED, "--port-driver=implicit"]):
            with self.subTest(options):
                words, log = self.words_given(self.OLDER, options)
                self.assertNotIn("--host-lo-to-ns-lo", words)
                self.assertIn("--stderr", words)
                self.assertIn("too old", log)

    def test_the_api_has_no_ports(self):
        with outside(), Rootlesskit(*IMPLICIT) as rk:
            self.assertNotIn("portDriver", rk.api("GET", "/v1/info")[1])
            status, answer = rk.api("POST", "/v1/ports", {"proto": "tcp", "parentPort": 8084,
                                                          "childPort": 80})
            self.assertEqual((status, answer), (400, {"message": "no PortDriver is available"}))

    def test_without_it_nothing_is_open(self):
        with outside(), Rootlesskit(*SAFE) as rk:
            _, words = process_named("pasta")
            self.assertIn("--tcp-ports=none", words)
            self.assertIn("--udp-ports=none", words)
            with TcpServer(hello("inside"), port=8085, host="0.0.0.0", netns=rk.netns()):
                with self.assertRaises(ConnectionRefusedError):
                    net.connect("127.0.0.1", 8085)

    def test_refused_combinations(self):
        for options, say in (
                (["--net=pasta", "--port-driver=builtin"], "none, implicit or pesto"),
                (["--net=none", "--port-driver=implicit"], "--net=builtin or pasta"),
                (["--net=pasta", "--port-driver=implicit", "-p", "127.0.0.1:80:80/tcp"],
                 "does not support publishing ports")):
            got = rootlesskit(*options, "true")
            self.assertEqual(got.returncode, 1)
            self.assertIn(say, got.stderr)


@rkit.needs("pasta", "tun")
@rkit.ours("2.0")
class Options(rkit.RkTestCase):
    def look(self, *args):
        with outside():
            return look(*SAFE, *args)

    def test_defaults(self):
        seen = self.look()
        self.assertRegex(seen, r"tap0\s+inet 10\.0\.2\.100/24")
        self.assertIn("default via 10.0.2.2 dev tap0", seen)
        self.assertRegex(seen, r"tap0: <[^>]*UP.*mtu 65520")
        self.assertRegex(seen, r"lo: <[^>]*UP")
        self.assertIn("nameserver 10.0.2.3", seen)

    def test_mtu_cidr_ifname(self):
        seen = self.look("--mtu=1400", "--cidr=10.11.12.0/24", "--ifname=ether7")
        self.assertRegex(seen, r"ether7\s+inet 10\.11\.12\.100/24")
        self.assertIn("default via 10.11.12.2 dev ether7", seen)
        self.assertRegex(seen, r"ether7: .*mtu 1400 ")
        self.assertIn("nameserver 10.11.12.3", seen)
        self.assertNotIn("tap0", seen)

    def test_information(self):
        with outside(), Rootlesskit(*SAFE, "--cidr=10.9.0.0/24") as rk:
            driver = rk.api("GET", "/v1/info")[1]["networkDriver"]
            self.assertEqual(driver, {"driver": "pasta", "childIP": "10.9.0.100",
                                      "dns": ["10.9.0.3"]})


@rkit.needs("pasta", "tun")
@rkit.ours("2.0")
class End(networks.Ending, rkit.RkTestCase):
    options, detached = SAFE, DETACHED

    def pids(self):
        return [process_named("pasta")[0]]

    def test_with_the_command(self):
        with outside():
            got = rootlesskit(*SAFE, "true")
            self.assertEqual(got.returncode, 0, got.stderr)
        self.assertNothingLeft()


@rkit.needs("pasta", "tun")
@rkit.ours("2.0")
class Failures(networks.NeedingTun, rkit.RkTestCase):
    options = SAFE
    ANSWERS = 'case "$*" in *--version*) exec pasta "$@";; esac\n'

    def fails_with(self, script, say):
        with fake("pasta", script) as path:
            self.fails(say, "--pasta-binary=" + path)

    def test_too_old(self):
        self.fails_with("""case "$*" in *--no-map-gw*) echo "pasta: unrecognized option '--no-map-gw'
Usage: pasta [OPTION]..." >&2; exit 1;; esac""",
                        r"unsupported pasta version: pasta: unrecognized option '--no-map-gw'; install "
                        r"passt of 2023 or later")

    def test_no_pasta_at_all(self):
        self.fails_with("exit 0", r"pasta ended \(exit status 0\) and said nothing")
        self.fails_with("echo the moon is down; exit 3", "for its version: .*exit status 3.*the moon is")

    def test_ends_without_being_ready(self):
        self.fails_with(self.ANSWERS + "exit 0", r"pasta ended \(exit status 0\) and said nothing")

    def test_closes_its_output(self):
        self.fails_with(self.ANSWERS + "exec sleep 1000 >&-", "without being ready")

    def test_hangs(self):
        self.fails_with(self.ANSWERS + "echo waiting for the moon >&2; exec sleep 1000",
                        "pasta is not ready after 10000 ms: waiting for the moon")

    def test_no_default_route(self):
        if OPENS_UDP:  # such versions go on, for the services of the host
            return self.assertEqual(rootlesskit(*SAFE, "true").returncode, 0)
        self.fails("default route on the host.*pasta ended")


if __name__ == "__main__":
    rkit.main()
