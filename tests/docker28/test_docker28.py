#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rootless Docker 28 and later on our rootlesskit. dockerd itself publishes ports by the API, with its
userland proxy and without. .ci/docker runs these tests in a root that has such a Docker."""

import gzip
import hashlib
import http.server
import json
import os
import shutil
import signal
import socket
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration"))

import rkit  # noqa: E402
from rkit import docker, leaks, net  # noqa: E402
from rkit.launch import comm, wait_for  # noqa: E402
from rkit.networks import ask, outside  # noqa: E402
from rkit.peers import background, payload_hash, receive, send_payload  # noqa: E402

HOST4, HOST6, CLIENT4, CLIENT6 = "192.0.2.1", "2001:db8::1", "192.0.2.100", "2001:db8::100"
ECHO = ("sh", "-c", "nc -ll -p 80 -e cat & /usr/bin/socat -T1 UDP4-RECVFROM:53,fork EXEC:cat & wait")
WHO = ("/usr/bin/socat", "TCP6-LISTEN:80,fork,reuseaddr", "SYSTEM:echo $SOCAT_PEERADDR")
WHO_BOTH = ("sh", "-c", "/usr/bin/socat TCP6-LISTEN:80,fork,reuseaddr 'SYSTEM:echo $SOCAT_PEERADDR' & "
            "/usr/bin/socat UDP4-RECVFROM:53,fork 'SYSTEM:echo $SOCAT_PEERADDR' & wait")
PORTS = ["18080:80", "18053:53/udp"]


def who(host, port, netns=None):
    """The address that WHO sees; None: it cannot be reached yet."""
    try:
        with net.connect(host, port, netns=netns, timeout=20) as c:
            text = c.recv(100).decode().strip().strip("[]")
    except OSError:
        return None
    if not text:
        return None
    packed = socket.inet_pton(socket.AF_INET6, text)
    mapped = packed[:12] == b"\0" * 10 + b"\xff\xff"
    return socket.inet_ntop(socket.AF_INET, packed[12:]) if mapped \
        else socket.inet_ntop(socket.AF_INET6, packed)


def proxies():
    """What the docker-proxies have used of the CPU, in clock ticks, and how many there are."""
    pids = [p for p in leaks.processes() if comm(p) == "docker-proxy"]
    used = 0
    for pid in pids:
        with open("/proc/%d/stat" % pid) as f:
            used += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    return used, len(pids)


class Docker28TestCase(rkit.RkTestCase):
    args, flags, network = (), (), ""

    @classmethod
    def setUpClass(cls):
        docker.require()

    def setUp(self):
        super().setUp()
        self.addCleanup(docker.forget)

    def start(self, *args, image=True, **env):
        d = docker.Docker(*self.args, *args, flags=self.flags, network=self.network, **env).ready()
        if image:
            d.docker("import", docker.image_tar(), "bb")
        return d

    def assertEcho(self, host, port, netns=None, size=100_000):
        def exchange():
            try:
                with net.connect(host, port, netns=netns, timeout=20) as c:
                    back = background(receive, c, size)
                    send_payload(c, size)
                    return back.result()[0] == size and back.result()
            except OSError:
                return None  # the server is not there yet
        self.assertEqual(wait_for("the server behind port %d" % port, exchange, step_s=0.05),
                         (size, payload_hash(size)))

    def assertSeen(self, client, look):
        """Soon. A server that has not begun to listen refuses the first, which docker-proxy gets then: by
        the time that it asks in turn, the server may be there."""
        wait_for("the client's address", lambda: look() == client, step_s=0.05)
        for _ in range(20):
            self.assertEqual(look(), client)

    def assertPublished(self, d, client, hosts, clients):
        d.run("web", PORTS, *ECHO)
        for host, netns in [(h, None) for h in hosts] + [(h, client) for h in clients]:
            with self.subTest(host=host, netns=netns):
                self.assertEcho(host, 18080, netns)
                self.assertEqual(ask(host, 18053, netns=netns), b"datagram")


class Common:
    """Tests for both: with and without the userland proxy."""

    hosts, clients = ("127.0.0.1", "192.0.2.2"), (HOST4,)

    def test_published(self):
        with net.neighbour("client") as client, self.start() as d:
            self.assertPublished(d, client, self.hosts, self.clients)
            self.assertEqual({s["childIP"] for s in d.specs() if s["proto"].endswith("4")},
                             {"127.0.0.1"})
            self.assertEqual([p for p in leaks.processes() if "rootlesskit-docke" in comm(p)], [])
            d.docker("rm", "-f", "web")
            self.assertEqual(d.ports(), [])

    def test_one_address_and_a_port_of_docker_s_choice(self):
        with self.start() as d:
            d.run("web", ["127.0.0.2:18081:80", "127.0.0.1::80"], *ECHO)
            chosen = {int(line.rsplit(":", 1)[1])
                      for line in d.docker("port", "web", "80/tcp").stdout.split()} - {18081}
            self.assertEqual(len(chosen), 1, chosen)
            self.assertEcho("127.0.0.1", chosen.pop())
            self.assertEcho("127.0.0.2", 18081)
            with self.assertRaises(ConnectionRefusedError):
                net.connect("127.0.0.1", 18081)

    def test_same_port_again_and_again(self):
        with self.start() as d:
            for n in range(30):
                d.run("web", PORTS, *ECHO)
                self.assertEcho("127.0.0.1", 18080, size=1000)
                self.assertEqual(ask("127.0.0.1", 18053), b"datagram", n)
                d.docker("rm", "-f", "web")
                self.assertEqual(d.ports(), [])

    def test_restart(self):
        with self.start() as d:
            d.run("web", PORTS, *ECHO)
            for how in (("restart", "-t", "0"), ("stop", "-t", "0"), ("start",)):
                d.docker(*how, "web")
            self.assertEcho("127.0.0.1", 18080)
            self.assertEqual(ask("127.0.0.1", 18053), b"datagram")

    def test_daemon_restart(self):
        with self.start() as d:
            d.run("web", PORTS, *ECHO, options=["--restart=always"])
            self.assertEcho("127.0.0.1", 18080)
            self.assertEqual(d.stop(), 0)
            self.assertNothingLeft()
        with self.start(image=False) as d:
            self.assertEcho("127.0.0.1", 18080)
            self.assertEqual(ask("127.0.0.1", 18053), b"datagram")

    def test_hairpin(self):
        """A container reaches a port of its own, or of another container, by the host's address: the way goes
        out of the namespace and in again. (The gateway's address does not work with any rootlesskit, since
        these Dockers publish at 127.0.0.1 of the namespace.)"""
        with net.neighbour("client"), self.start() as d:
            for how in (("exec", "web"), ("run", "--rm", "bb")):
                for to in ("TCP4:%s:18080" % HOST4, "UDP4:%s:18053" % HOST4):
                    d.run("web", PORTS, *ECHO)
                    got = d.docker(*how, "sh", "-c", "for i in 0 1 2 3 4; do r=$(echo question | "
                                   "/usr/bin/socat -t2 - %s); [ \"$r\" ] && break; done; echo $r" % to)
                    self.assertEqual(got.stdout.strip(), "question", (how, to))
                    d.docker("rm", "-f", "web")

    def test_network_host(self):
        """With --network=host a container is where dockerd is, and its ports are not published."""
        with self.start() as d:
            d.run("web", [], "sh", "-c", "nc -ll -p 8088 -e cat & wait", options=["--network=host"])
            self.assertEcho("127.0.0.1", 8088, None if d.detached() else d.netns(), size=1000)

    def test_range(self):
        with self.start() as d:
            d.run("many", ["127.0.0.1:20000-20099:80-179"], "sh", "-c",
                  "i=80; while [ $i -lt 180 ]; do nc -ll -p $i -e cat & i=$((i+1)); done; wait")
            self.assertEqual(len(d.ports()), 100)
            for port in (20000, 20050, 20099):
                self.assertEcho("127.0.0.1", port, size=1000)

    def test_custom_network(self):
        with self.start() as d:
            d.docker("network", "create", "mine")
            d.run("web", PORTS, *ECHO, options=["--network=mine"])
            self.assertEcho("127.0.0.1", 18080)
            self.assertEqual(ask("127.0.0.1", 18053), b"datagram")

    def test_port_that_is_taken(self):
        with self.start() as d, net.bound(socket.SOCK_STREAM, "127.0.0.1", 18081):
            got = d.docker("run", "-d", "-p", "127.0.0.1:18081:80", "bb", *ECHO, check=False)
            self.assertNotEqual(got.returncode, 0)
            self.assertIn("address already in use", got.stderr)
            wait_for("the ports to go", lambda: d.ports() == [])


class WithProxy(Common, Docker28TestCase):
    """Clients go straight to the container, past docker-proxy, which Docker's rules for what comes in are
    asked for."""

    hosts, clients = (*Common.hosts, "::1"), (*Common.clients, HOST6)

    def test_container_sees_the_client(self):
        with net.neighbour("client") as client, self.start() as d:
            d.run("who", ["18080:80", "18053:53/udp"], *WHO_BOTH)
            self.assertSeen(CLIENT4, lambda: who(HOST4, 18080, client))
            self.assertEqual(who("127.0.0.1", 18080), "172.17.0.1")
            wait_for("the server", lambda: ask(HOST4, 18053, netns=client) == b"172.17.0.1\n")

    def test_ipv6(self):
        with net.neighbour("client") as client, \
                self.start("--ipv6", "--fixed-cidr-v6=fd00:17::/64") as d:
            d.run("who", ["18080:80"], *WHO)
            self.assertSeen(CLIENT6, lambda: who(HOST6, 18080, client))
            self.assertSeen(CLIENT4, lambda: who(HOST4, 18080, client))

    def test_no_payload_through_docker_proxy(self):
        with net.neighbour("client") as client, self.start() as d:
            d.run("web", PORTS, *ECHO)
            for host, netns in ((HOST4, client), ("127.0.0.1", None)):
                def past_the_proxies():
                    before = proxies()
                    self.assertEcho(host, 18080, netns, size=20_000_000)
                    return proxies() == before
                wait_for("the way past docker-proxy", past_the_proxies)
                before, n = proxies()
                self.assertGreater(n, 0)
                self.assertEcho(host, 18080, netns, size=200_000_000)
                self.assertEqual(proxies(), (before, n))


@unittest.skipIf(docker.major() < 29, "before Docker 29 there is no --firewall-backend")
class Nftables(Common, Docker28TestCase):
    """The rules are dockerd's own nftables tables."""

    args = ("--firewall-backend=nftables",)
    hosts, clients = WithProxy.hosts, WithProxy.clients
    test_container_sees_the_client = WithProxy.test_container_sees_the_client
    test_ipv6 = WithProxy.test_ipv6
    test_no_payload_through_docker_proxy = WithProxy.test_no_payload_through_docker_proxy


@unittest.skipIf(docker.major() < 29, "before Docker 29 there is no --firewall-backend")
class NftablesWithoutProxy(Docker28TestCase):
    args = ("--firewall-backend=nftables", "--userland-proxy=false")
    hosts, clients = Common.hosts, Common.clients
    test_published = Common.test_published
    test_container_sees_the_client = WithProxy.test_container_sees_the_client


class WithoutProxy(Common, Docker28TestCase):
    args = ("--userland-proxy=false",)

    def test_container_sees_the_client(self):
        with net.neighbour("client") as client, self.start() as d:
            d.run("who", ["18080:80"], *WHO)
            self.assertEqual(wait_for("the server", lambda: who(HOST4, 18080, client), step_s=0.05),
                             CLIENT4)
            for _ in range(20):
                self.assertEqual(who(HOST4, 18080, client), CLIENT4)
            self.assertEqual(who("127.0.0.1", 18080), "172.17.0.1")
            self.assertNotIn("did not see the address", d.log())

    def test_ipv6(self):
        with net.neighbour("client") as client, \
                self.start("--ipv6", "--fixed-cidr-v6=fd00:17::/64") as d:
            d.run("who", ["18080:80"], *WHO)
            self.assertEqual(wait_for("the server", lambda: who(HOST6, 18080, client), step_s=0.05),
                             CLIENT6)
            self.assertEqual(who(HOST4, 18080, client), CLIENT4)

    def test_connections_of_the_namespace(self):
        with self.start() as d:
            d.run("web", PORTS, *ECHO)
            self.assertEcho("127.0.0.1", 18080, d.netns())
            self.assertEqual(ask("127.0.0.1", 18053, netns=d.netns()), b"datagram")


class Registry:
    """A registry in a namespace. It has one image, of one layer, with the name bb."""

    KIND = "application/vnd.docker.distribution.manifest.v2+json"

    def __init__(self, netns, image):
        with open(image, "rb") as f:
            tar = f.read()
        self.found = {"/v2/": (b"{}", "application/json")}
        layer = self.blob(gzip.compress(tar, 1), "image.rootfs.diff.tar.gzip")
        config = self.blob(json.dumps({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [self.digest(tar)]}}).encode(),
            "container.image.v1+json")
        manifest = json.dumps({"schemaVersion": 2, "mediaType": self.KIND, "config": config,
                               "layers": [layer]}).encode()
        for name in ("latest", self.digest(manifest)):
            self.found["/v2/bb/manifests/" + name] = (manifest, self.KIND)
        found, digest = self.found, self.digest

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                body, kind = found.get(self.path, (b"", "text/plain"))
                self.send_response(200 if self.path in found else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Docker-Content-Digest", digest(body))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        self.server = net.in_netns(
            netns, lambda: http.server.ThreadingHTTPServer(("0.0.0.0", 5000), Handler))
        self.thread = background(self.server.serve_forever)

    @staticmethod
    def digest(data):
        return "sha256:" + hashlib.sha256(data).hexdigest()

    def blob(self, data, kind):
        """Offers the data as a blob. Returns what a manifest says about it."""
        self.found["/v2/bb/blobs/" + self.digest(data)] = (data, "application/octet-stream")
        return {"mediaType": "application/vnd.docker." + kind, "size": len(data),
                "digest": self.digest(data)}

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.server.shutdown()
        self.server.server_close()


class Builtin(Common, Docker28TestCase):
    """--net=builtin: connections from outside go to the container without docker-proxy, with the client's
    address."""

    network, flags = "builtin", ("--ipv6",)
    hosts, clients = (*Common.hosts, "::1"), (*Common.clients, HOST6)

    def test_container_sees_the_client(self):
        with net.neighbour("client") as client, self.start() as d:
            d.run("who", ["18080:80", "18053:53/udp"], *WHO_BOTH)
            self.assertSeen(CLIENT4, lambda: who(HOST4, 18080, client))
            wait_for("the client's address over UDP",
                     lambda: ask(HOST4, 18053, netns=client) == CLIENT4.encode() + b"\n")

    def test_no_payload_through_docker_proxy(self):
        with net.neighbour("client") as client, self.start() as d:
            d.run("web", PORTS, *ECHO)
            self.assertEcho(HOST4, 18080, client)
            before, n = proxies()
            self.assertGreater(n, 0)
            self.assertEcho(HOST4, 18080, client, size=200_000_000)
            self.assertEqual(proxies(), (before, n))

    def test_ipv6(self):
        with net.neighbour("client") as client, \
                self.start("--ipv6", "--fixed-cidr-v6=fd00:17::/64") as d:
            d.run("who", ["18080:80"], *WHO)
            self.assertSeen(CLIENT6, lambda: who(HOST6, 18080, client))
            self.assertEqual(who(HOST4, 18080, client), CLIENT4)

    def test_reaching_out(self):
        with outside(), self.start() as d:
            got = d.docker("run", "--rm", "bb", "/usr/bin/socat", "-t5", "STDIO,ignoreeof",
                           "SYSTEM:echo question | /usr/bin/socat -t5 - TCP4\\:192.0.2.100\\:80")
            self.assertEqual(got.stdout.strip(), "question")

    def test_pull_and_build(self):
        ask_outside = "echo question | /usr/bin/socat -t5 - TCP4:192.0.2.100:80"
        with outside() as ns, self.start("--insecure-registry=192.0.2.100:5000", image=False) as d, \
                Registry(ns, docker.image_tar()):
            d.docker("pull", "192.0.2.100:5000/bb")
            d.docker("tag", "192.0.2.100:5000/bb", "bb")
            where = self.world.base + "/context"
            os.mkdir(where)
            self.addCleanup(shutil.rmtree, where)
            with open(where + "/Dockerfile", "w") as f:
                f.write("FROM bb\nRUN %s >/answer\nCMD [\"/bin/cat\", \"/answer\"]\n" % ask_outside)
            d.docker("build", "-t", "built", where)
            self.assertEqual(d.docker("run", "--rm", "built").stdout.strip(), "question")


class BuiltinWithoutProxy(Common, Docker28TestCase):
    network = "builtin"
    args = ("--userland-proxy=false",)


class GvisorTapVsock(Docker28TestCase):
    """What the script of Docker 29 takes where there is no other network: ours, under that name."""

    network = "gvisor-tap-vsock"
    hosts, clients = Common.hosts, Common.clients
    test_published = Common.test_published
    test_container_sees_the_client = Builtin.test_container_sees_the_client
    test_reaching_out = Builtin.test_reaching_out


class LiveRestore(Docker28TestCase):
    """dockerd ends and another one starts, while rootlesskit and the container stay. The new one asks for
    the ports of the last, which nobody has given up, and takes the refusal for their end: they are lost, with
    RootlessKit as well."""

    def check(self, sig):
        with self.start("--live-restore", supervised=True) as d:
            number = d.run("web", ["18080:80"], *ECHO)
            try:
                self.assertEcho("127.0.0.1", 18080)
                before, logged = d.ports(), len(d.log())
                self.assertNotEqual(before, [])
                d.restart_daemon(sig)
                self.assertEqual(d.ports(), before)
                self.assertIn("conflict with ID 1", d.log()[logged:])
                self.assertEqual(proxies()[1], 0)
            finally:
                d.kill_container(number)
            d.docker("rm", "-f", "web")
            # Somebody who knows of them removes them, and they can be had again.
            d.forget_ports()
            d.run("again", ["18080:80"], *ECHO)
            self.assertEcho("127.0.0.1", 18080)
            self.assertEqual(d.ports(), before)
            d.docker("rm", "-f", "again")

    def test_ended(self):
        self.check(signal.SIGTERM)

    def test_killed(self):
        self.check(signal.SIGKILL)


class SlirpPorts(Docker28TestCase):
    flags = ("--port-driver=slirp4netns",)

    def test_published(self):
        for args in ((), ("--userland-proxy=false",)):
            with self.subTest(args), net.neighbour("client") as client, self.start(*args) as d:
                d.run("web", PORTS, *ECHO)
                # Docker 28 writes it in the mapped form.
                self.assertEqual({s["childIP"].removeprefix("::ffff:") for s in d.specs()},
                                 {"10.0.2.100"})
                self.assertEcho("127.0.0.1", 18080)
                self.assertEcho(HOST4, 18080, client)
                self.assertEqual(ask(HOST4, 18053, netns=client), b"datagram")
                d.docker("rm", "-f", "web")
                self.assertEqual(d.ports(), [])
            docker.forget()


class Pasta(Docker28TestCase):
    flags = ("--net=pasta", "--port-driver=implicit")

    def test_published(self):
        with outside() as client, self.start() as d:
            d.run("web", PORTS, *ECHO)
            self.assertEcho("127.0.0.1", 18080)
            self.assertEcho(HOST4, 18080, client)


if __name__ == "__main__":
    if not os.path.exists(docker.SCRIPT):
        raise unittest.SkipTest("package docker.io is not installed")
    rkit.main()
