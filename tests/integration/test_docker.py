#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's rootless Docker on our rootlesskit and rootlesskit-docker-proxy.

Debian 12 has Docker 20.10, so --detach-netns, which came with Docker 26, is not tried here.
"""

import glob
import os
import shutil
import signal
import socket
import time

import rkit
from rkit import docker, leaks, net
from rkit.launch import comm, wait_for
from rkit.networks import ask, said
from rkit.peers import background, payload_hash, receive, send_payload
from rkit.world import world

TCP_ECHO = ("nc", "-ll", "-p", "80", "-e", "cat")
TCP_WHO = ("/usr/bin/socat", "TCP4-LISTEN:80,fork,reuseaddr", "SYSTEM:echo $SOCAT_PEERADDR")
# Without socat's option fork, since such a server stops answering on a busy machine.
UDP_ECHO = ("sh", "-c", "while :; do /usr/bin/socat UDP4-RECVFROM:53 EXEC:cat; done")


def tcp_echo(host, port, size=100_000, netns=None):
    """Sends size bytes and gets them back. Returns (bytes, hash)."""
    with net.connect(host, port, netns=netns) as c:
        back = background(receive, c, size)
        send_payload(c, size)
        return back.result()


def docker_proxies():
    return [p for p in leaks.processes() if comm(p) == "docker-proxy"]


class DockerTestCase(rkit.RkTestCase):
    storage, flags, network = "vfs", (), ""

    @classmethod
    def setUpClass(cls):
        docker.require()

    def setUp(self):
        super().setUp()
        self.addCleanup(docker.forget)

    def assertNothingLeft(self):
        # On a busy machine dockerd lets a slow containerd write its stacks.
        for path in glob.glob(self.world.tmp + "/containerd.*.stacks.log"):
            os.unlink(path)
        super().assertNothingLeft()

    def start(self, *args, image=True, supervised=False):
        d = docker.Docker(*args, storage=self.storage, flags=self.flags,
                          network=self.network, supervised=supervised).ready()
        if image:
            d.docker("import", docker.image_tar(), "bb")
        return d

    def assertEcho(self, host, port, netns=None):
        """Waits until the server in the container answers. Then all bytes must come back."""
        def answers():
            try:
                return tcp_echo(host, port, 1, netns=netns)[0]
            except OSError:
                return None
        wait_for("the server behind port %d" % port, answers, step_s=0.05)
        self.assertEqual(tcp_echo(host, port, netns=netns), (100_000, payload_hash(100_000)))

    def assertFree(self, kind, host, port, netns=None):
        net.bound(kind, host, port, netns).close()


class Everyday(DockerTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.storage = "overlay2" if docker.can_overlay() else "vfs"

    def test_container_sees_the_client(self):
        """Connections go to the container without docker-proxy, through Docker's rules, with the client's
        address."""
        with net.neighbour("client") as client, self.start() as d:
            d.run("who", ["18080:80"], *TCP_WHO)

            self.assertEqual(wait_for("the server", lambda: said("192.0.2.1", 18080, netns=client),
                                      step_s=0.05), b"192.0.2.100\n")
            self.assertNotIn("did not see the address", d.log())

    def test_tcp_udp_and_families(self):
        with net.neighbour("client") as client, self.start() as d:
            d.run("web", ["18080:80", "127.0.0.2:18081:80", "[::1]:18082:80", "192.0.2.2:18083:80"],
                  *TCP_ECHO)
            d.run("dns", ["18053:53/udp", "127.0.0.2:18054:53/udp", "[::1]:18055:53/udp"],
                  *UDP_ECHO)
            self.assertEqual(
                [p for p in d.ports() if p[0].startswith("tcp")],
                [("tcp4", "0.0.0.0", 18080), ("tcp4", "127.0.0.2", 18081),
                 ("tcp4", "192.0.2.2", 18083), ("tcp6", "::", 18080), ("tcp6", "::1", 18082)])
            for host, port in (("127.0.0.1", 18080), ("::1", 18080), ("127.0.0.2", 18081),
                               ("::1", 18082), ("192.0.2.2", 18083)):
                with self.subTest(host=host, port=port):
                    self.assertEcho(host, port)
            for host, port in (("192.0.2.1", 18080), ("2001:db8::1", 18080), ("192.0.2.2", 18083)):
                with self.subTest(neighbour=host, port=port):
                    self.assertEcho(host, port, netns=client)
            for host, port in (("127.0.0.1", 18053), ("::1", 18053), ("127.0.0.2", 18054),
                               ("::1", 18055)):
                with self.subTest(udp=host, port=port):
                    self.assertEqual(ask(host, port), b"datagram")
            self.assertEqual(ask("192.0.2.1", 18053, netns=client), b"datagram")
            with self.assertRaises(ConnectionRefusedError):
                net.connect("127.0.0.1", 18081)

    def test_straight_to_the_container(self):
        """No docker-proxy runs. The port is also open where docker-proxy would open it: in the namespace, and
        for containers at the address of their gateway."""
        with self.start() as d:
            d.run("web", ["18080:80", "127.0.0.1:18081:80"], *TCP_ECHO)
            d.run("dns", ["18053:53/udp"], *UDP_ECHO)
            address = d.docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}",
                               "web").stdout.strip()
            gateway = d.docker("inspect", "-f", "{{.NetworkSettings.Gateway}}", "web").stdout.strip()
            self.assertEqual({(s["childIP"], s["childPort"], s["childListenIP"])
                              for s in d.specs() if s["proto"].startswith("tcp")},
                             {(address, 80, "0.0.0.0"), (address, 80, "::"),
                              (address, 80, "127.0.0.1")})
            self.assertEqual(docker_proxies(), [])
            for host, port, netns in (
                    ("127.0.0.1", 18080, None), ("::1", 18080, None), ("127.0.0.1", 18081, None),
                    ("127.0.0.1", 18080, d.netns()), ("::1", 18080, d.netns()),
                    ("127.0.0.1", 18081, d.netns()), ("10.0.2.100", 18080, d.netns()),
                    (gateway, 18080, d.netns())):
                with self.subTest(host=host, port=port, inside=netns):
                    self.assertEcho(host, port, netns=netns)
            self.assertEqual(ask("127.0.0.1", 18053), b"datagram")
            self.assertEqual(ask("127.0.0.1", 18053, netns=d.netns()), b"datagram")
            self.assertEqual(ask(gateway, 18053, netns=d.netns()), b"datagram")
            # Clients are another container, and the one that serves the port.
            for how in ("run", "--rm", "bb"), ("exec", "web"):
                got = d.docker(*how, "sh", "-c", "echo hairpin | nc -w 1 %s 18080" % gateway)
                self.assertEqual(got.stdout, "hairpin\n")
            got = d.docker("run", "--rm", "bb", "sh", "-c",
                           "echo hairpin | /usr/bin/socat -t 2 - UDP4:%s:18053" % gateway)
            self.assertEqual(got.stdout, "hairpin\n")

    @staticmethod
    def tentative(netns):
        """The IPv6 addresses that cannot be used yet, since the kernel still looks for duplicates."""
        def read():
            with open("/proc/thread-self/net/if_inet6") as f:
                return [line.split()[0] for line in f if int(line.split()[4], 16) & 0x40]
        return net.in_netns(netns, read)

    def test_container_with_ipv6(self):
        with self.start("--ipv6", "--fixed-cidr-v6=fd00:17::/64") as d:
            d.run("web", ["18080:80"], "/usr/bin/socat", "TCP6-LISTEN:80,fork", "EXEC:cat")
            address = d.docker("inspect", "-f", "{{.NetworkSettings.GlobalIPv6Address}}",
                               "web").stdout.strip()
            self.assertIn((address, "::"), [(s["childIP"], s["childListenIP"]) for s in d.specs()])
            self.assertEqual(docker_proxies(), [])
            # Before the bridge's address can be used, packets leave from ::1, and nobody answers them.
            wait_for("the bridge's address", lambda: not self.tentative(d.netns()))
            self.assertEcho("::1", 18080)
            self.assertEcho("::1", 18080, netns=d.netns())
            self.assertEcho("127.0.0.1", 18080)

    def test_removal_frees_the_ports(self):
        with self.start() as d:
            d.run("web", ["127.0.0.1:18080:80", "[::1]:18080:80"], *TCP_ECHO)
            d.run("dns", ["127.0.0.1:18053:53/udp"], *UDP_ECHO)
            netns = d.netns()
            d.docker("rm", "-f", "web", "dns")
            self.assertEqual(d.ports(), [])
            self.assertFree(socket.SOCK_STREAM, "127.0.0.1", 18080, netns)
            self.assertFree(socket.SOCK_STREAM, "::1", 18080, netns)
            self.assertFree(socket.SOCK_DGRAM, "127.0.0.1", 18053, netns)
            self.assertFree(socket.SOCK_STREAM, "127.0.0.1", 18080)
            self.assertFree(socket.SOCK_STREAM, "::1", 18080)
            self.assertFree(socket.SOCK_DGRAM, "127.0.0.1", 18053)
            self.assertEqual([p for p in leaks.processes() if "docker-pr" in comm(p)
                              or "rootlesskit-do" in comm(p)], [])
            d.run("web2", ["127.0.0.1:18080:80"], *TCP_ECHO)
            self.assertEcho("127.0.0.1", 18080)
            d.docker("stop", "-t", "0", "web2")
            self.assertEqual(d.ports(), [])
            d.docker("start", "web2")
            self.assertEcho("127.0.0.1", 18080)

    def test_port_that_is_taken(self):
        """docker run fails with the reason, and leaves no port."""
        with self.start() as d, net.bound(socket.SOCK_STREAM, "127.0.0.1", 18081):
            got = d.docker("run", "-d", "-p", "127.0.0.1:18080:80", "-p", "127.0.0.1:18081:80",
                           "bb", *TCP_ECHO, check=False)
            self.assertNotEqual(got.returncode, 0)
            self.assertIn("address already in use", got.stderr)
            wait_for("the ports to go", lambda: d.ports() == [])
            got = d.docker("run", "-d", "-p", "81:80", "bb", *TCP_ECHO, check=False)
            self.assertIn("net.ipv4.ip_unprivileged_port_start", got.stderr)

    def test_range(self):
        with self.start() as d:
            began = time.monotonic()
            d.run("many", ["127.0.0.1:20000-20099:80-179"], "sh", "-c",
                  "i=80; while [ $i -lt 180 ]; do nc -ll -p $i -e cat & i=$((i+1)); done; wait")
            took = time.monotonic() - began
            self.assertEqual(d.ports(), [("tcp4", "127.0.0.1", p) for p in range(20000, 20100)])
            for port in (20000, 20050, 20099):
                self.assertEcho("127.0.0.1", port)
            ours = [leaks.pss_kib(p) for p in leaks.processes()
                    if comm(p).startswith("rootlesskit-do")]
            self.assertEqual(len(ours), 100)
            self.assertEqual(docker_proxies(), [])
            if "ASAN_OPTIONS" not in os.environ:
                self.assertLess(sum(ours) / len(ours), 1024)
            print("        100 ports: %.1f s, %d KiB a rootlesskit-docker-proxy"
                  % (took, sum(ours) / len(ours)))
            began = time.monotonic()
            d.docker("rm", "-f", "many")
            print("        removed: %.1f s" % (time.monotonic() - began))
            self.assertEqual(d.ports(), [])

    def test_restart_policy(self):
        """The container's command ends again and again. The port works each time."""
        with self.start() as d:
            d.run("web", ["127.0.0.1:18080:80"], "sh", "-c", "nc -ll -p 80 -e cat & sleep 2",
                  options=["--restart=always"])
            self.assertEcho("127.0.0.1", 18080)
            wait_for("a restart", lambda: int(d.docker(
                "inspect", "-f", "{{.RestartCount}}", "web").stdout) >= 1, step_s=0.2)
            self.assertEcho("127.0.0.1", 18080)
            self.assertEqual(d.ports(), [("tcp4", "127.0.0.1", 18080)])

    def test_reaching_out(self):
        """A container reaches another machine, through the bridge and the network of the namespace."""
        with net.neighbour("server") as server, self.start() as d, \
                rkit.peers.TcpServer(rkit.peers.hello("outside"), port=80, host="0.0.0.0",
                                     netns=server):
            got = d.docker("run", "--rm", "bb", "nc", "192.0.2.100", "80")
            self.assertEqual(got.stdout, "outside")

    def test_daemon_restart(self):
        with self.start() as d:
            d.run("web", ["127.0.0.1:18080:80"], *TCP_ECHO, options=["--restart=always"])
            self.assertEcho("127.0.0.1", 18080)
            self.assertEqual(d.stop(), 0)
            self.assertNothingLeft()
            self.assertFree(socket.SOCK_STREAM, "127.0.0.1", 18080)
        with self.start(image=False) as d:
            wait_for("the container's port", lambda: d.ports() == [("tcp4", "127.0.0.1", 18080)])
            self.assertEcho("127.0.0.1", 18080)


class LiveRestore(DockerTestCase):
    """dockerd ends and another one starts, while rootlesskit and the container stay."""

    def test_ports_go_with_their_dockerd(self):
        """And so another one can have them."""
        for sig in (signal.SIGTERM, signal.SIGKILL):
            with self.subTest(sig), self.start("--live-restore", supervised=True) as d:
                number = d.run("web", ["127.0.0.1:18080:80"], *TCP_ECHO)
                try:
                    self.assertEcho("127.0.0.1", 18080)
                    logged = len(d.log())
                    d.restart_daemon(sig)
                    self.assertNotIn("Failed to reserve", d.log()[logged:])
                finally:
                    d.kill_container(number)
                d.docker("rm", "-f", "web")
                wait_for("the port to go", lambda: d.ports() == [])
                d.run("again", ["127.0.0.1:18080:80"], *TCP_ECHO)
                self.assertEcho("127.0.0.1", 18080)
                d.docker("rm", "-f", "again")
            docker.forget()


class OwnNetwork(DockerTestCase):
    """Docker with --net=builtin, without slirp4netns."""

    network = "builtin"
    test_container_sees_the_client = Everyday.test_container_sees_the_client
    test_reaching_out = Everyday.test_reaching_out
    test_daemon_restart = Everyday.test_daemon_restart


class Storage(DockerTestCase):
    def check(self, storage):
        self.storage = storage
        with self.start() as d:
            d.run("web", ["127.0.0.1:18080:80"], *TCP_ECHO)
            d.run("dns", ["127.0.0.1:18053:53/udp"], *UDP_ECHO)
            self.assertEcho("127.0.0.1", 18080)
            self.assertEqual(ask("127.0.0.1", 18053), b"datagram")
            self.assertEqual(d.docker("info", "-f", "{{.Driver}}").stdout.strip(), storage)

    def test_vfs(self):
        self.check("vfs")

    def test_overlay2(self):
        if not docker.can_overlay():
            self.skipTest("overlayfs cannot be mounted in a user namespace on tmpfs here")
        self.check("overlay2")

    def test_fuse_overlayfs(self):
        if not shutil.which("fuse-overlayfs"):
            self.skipTest("fuse-overlayfs is not installed")
        if world().fuse_error:
            self.skipTest(world().fuse_error)
        self.check("fuse-overlayfs")


class NewerScript(DockerTestCase):
    """Docker with options that later versions of the script and Usernetes add."""

    flags = ("--pidns", "--ipcns", "--utsns", "--cgroupns")

    def test_container_with_ports(self):
        with self.start() as d:
            d.run("web", ["127.0.0.1:18080:80"], *TCP_ECHO)
            self.assertEcho("127.0.0.1", 18080)
            self.assertEqual(d.stop(), 0)

    def test_killed_and_started_again(self):
        """SIGKILL ends everything. Files that stay in the state directory do not prevent another start."""
        with self.start() as d:
            d.run("web", ["127.0.0.1:18080:80"], *TCP_ECHO, options=["--restart=always"])
            self.assertEcho("127.0.0.1", 18080)
            self.assertEqual(d.end(signal.SIGKILL), -signal.SIGKILL)
            wait_for("everything to end", lambda: not set(leaks.processes()) - self.processes_before)
            # Other processes have these pids in the next PID namespace, and dockerd would not start.
            for name in "docker.pid", "docker/containerd/containerd.pid":
                os.unlink(d.runtime + "/" + name)
        with self.start(image=False) as d:
            wait_for("the container's port", lambda: d.ports() == [("tcp4", "127.0.0.1", 18080)])
            self.assertEcho("127.0.0.1", 18080)


class SlirpPorts(DockerTestCase):
    """dockerd-rootless.sh with DOCKERD_ROOTLESS_ROOTLESSKIT_PORT_DRIVER=slirp4netns."""

    flags = ("--port-driver=slirp4netns",)

    def test_container_with_ports(self):
        with self.start() as d:
            d.run("web", ["18080:80"], *TCP_ECHO)
            self.assertEcho("127.0.0.1", 18080)
            self.assertEqual(d.ports(), [("tcp4", "0.0.0.0", 18080)])
            self.assertEqual(len(docker_proxies()), 1)
            d.docker("rm", "-f", "web")
            self.assertEqual(d.ports(), [])


if __name__ == "__main__":
    rkit.main()
