#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Socket activation, sd_listen_fds(3). Sockets that were bound before rootlesskit started go to the command,
with their numbers and names. LISTEN_PID names the command."""

import os
import socket

import rkit
from rkit import leaks, net
from rkit.launch import Rootlesskit, run, wait_for
from rkit.networks import said

# An activated service: it uses the sockets that sd_listen_fds() would return.
SERVER = r"""
import os, socket, sys
count = int(os.environ["LISTEN_FDS"])
if int(os.environ["LISTEN_PID"]) != os.getpid():
    sys.exit("LISTEN_PID is %s, we are %d" % (os.environ["LISTEN_PID"], os.getpid()))
names = os.environ.get("LISTEN_FDNAMES", "").split(":")
print("fds", count, *names, flush=True)
servers = [socket.socket(fileno=3 + i) for i in range(count)]
for _ in range(2):
    for s in servers:
        if s.type == socket.SOCK_DGRAM:
            data, address = s.recvfrom(100)
            s.sendto(b"udp " + data, address)
        else:
            c, _ = s.accept()
            c.sendall(b"hello from %d" % os.getuid())
            c.close()
print("served", flush=True)
"""

# A shell sets LISTEN_PID, as systemd does between fork and exec, and moves the sockets to 3 and up.
START = '%s export LISTEN_PID=$$; exec "$@"'


class Activation(rkit.RkTestCase):
    COMBINATIONS = ([], ["--pidns"], ["--pidns", "--reaper=true"], ["--pidns", "--reaper=false"],
                    ["--pidns", "--cgroupns", "--utsns", "--ipcns", "--copy-up=/etc"])

    def setUp(self):
        super().setUp()
        self.path = self.world.base + "/activated.sock"
        self.sockets = [net.bound(socket.SOCK_STREAM, "127.0.0.1", 0),
                        socket.socket(socket.AF_UNIX),
                        net.bound(socket.SOCK_DGRAM, "127.0.0.1", 0)]
        for s in self.sockets:
            self.addCleanup(s.close)
        self.sockets[1].bind(self.path)
        self.addCleanup(os.unlink, self.path)
        self.sockets[1].listen()

    def start(self, *args, command=None, names="web:local:dns"):
        fds = [s.fileno() for s in self.sockets]
        # The sockets move to high numbers first, since one may occupy the number where another belongs.
        moves = "".join("exec %d<&%d;" % (7 + i, fd) for i, fd in enumerate(fds))
        moves += "".join("exec %d<&%d %d<&-;" % (3 + i, 7 + i, 7 + i) for i in range(len(fds)))
        moves += "".join("exec %d<&-;" % fd for fd in fds if not 3 <= fd < 3 + len(fds))
        return Rootlesskit(*args, command=command or ["python3", "-c", SERVER],
                           before=["bash", "-c", START % moves, "bash"], pass_fds=fds,
                           env=self.world.environ(LISTEN_FDS="3", LISTEN_FDNAMES=names))

    def serve(self, *args):
        with self.start(*args) as rk:
            wait_for("the server", lambda: "fds" in rk.out() or rk.proc.poll() is not None)
            for _ in range(2):
                with net.connect(*self.sockets[0].getsockname()) as c:
                    self.assertEqual(c.recv(100), b"hello from 0")
                with socket.socket(socket.AF_UNIX) as c:
                    c.settimeout(30)
                    c.connect(self.path)
                    self.assertEqual(c.recv(100), b"hello from 0")
                with net.udp_client(*self.sockets[2].getsockname()) as c:
                    c.send(b"question")
                    self.assertEqual(c.recv(100), b"udp question")
            self.assertEqual(rk.wait(), 0, rk.log())
            self.assertEqual(rk.out(), "fds 3 web local dns\nserved\n")

    @rkit.ours("passes no sockets on")
    def test_server_answers(self):
        for extra in self.COMBINATIONS:
            with self.subTest(extra):
                self.serve(*extra)

    @rkit.ours("passes no sockets on")
    @rkit.needs("slirp4netns", "tun")
    def test_with_a_network_and_ports(self):
        """The sockets still serve the host's network: a socket stays in the namespace that it was made in."""
        for extra in (["--net=none"], ["--net=none", "--detach-netns"],
                      ["--net=slirp4netns", "--disable-host-loopback", "--pidns"]):
            with self.subTest(extra):
                self.serve(*extra, "--copy-up=/etc", "--port-driver=builtin", "-p",
                           "127.0.0.1:18080:80/tcp")

    def holders(self, inode):
        """The names of our processes that have this file open. A process that ends meanwhile is left out."""
        names = set()
        for pid in set(leaks.processes()) - set(self.processes_before):
            try:
                held = leaks.links(pid)
                with open("/proc/%d/comm" % pid) as f:
                    names.update([f.read().strip()] if inode in held else [])
            except FileNotFoundError:
                pass
        return names

    @rkit.ours("passes no sockets on")
    @rkit.needs("slirp4netns", "tun")
    def test_nobody_else_holds_them(self):
        """A process that kept a socket would keep its port from being bound again."""
        with self.start("--net=slirp4netns", "--disable-host-loopback", "--port-driver=builtin", "-p",
                        "127.0.0.1:18080:80/tcp", command=["sleep", "600"]) as rk:
            rk.wait_for_command()
            inode = "socket:[%d]" % os.fstat(self.sockets[0].fileno()).st_ino
            # The parent and the child inherit the sockets, and the command has them.
            wait_for("sleep and ours alone to hold it: %s" % inode, lambda: {"sleep"} <=
                     self.holders(inode) <= {"rootlesskit", "exe", "sleep"})
            for name, pid in leaks.own_processes(rk).items():
                if name in ("dataplane", "broker"):
                    held = leaks.links(pid)
                    self.assertTrue(held, name)
                    self.assertNotIn(inode, held, name)

    def test_of_somebody_else_is_left_alone(self):
        """A LISTEN_PID that does not name rootlesskit stays as it is."""
        got = run(self.world.path["rootlesskit"], "sh", "-c", "echo $LISTEN_PID $LISTEN_FDS",
                  env=self.world.environ(LISTEN_PID="1", LISTEN_FDS="2"))
        self.assertEqual(got.stdout, "1 2\n", got.stderr)

    @rkit.ours("passes no sockets on")
    @rkit.needs("systemd-socket-activate")
    def test_started_by_systemd_socket_activate(self):
        port = self.sockets[0].getsockname()[1]
        self.sockets[0].close()
        rk = Rootlesskit("--pidns", before=["systemd-socket-activate", "--listen=127.0.0.1:%d" % port,
                                            "--fdname=web"],
                         command=["python3", "-c", SERVER])
        try:
            for _ in range(2):
                self.assertEqual(wait_for("an answer", lambda: said("127.0.0.1", port)), b"hello from 0")
            self.assertEqual(rk.wait(), 0, rk.log())
            self.assertEqual(rk.out(), "fds 1 web\nserved\n")
        finally:
            rk.stop()


if __name__ == "__main__":
    rkit.main()
