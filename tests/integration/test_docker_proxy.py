#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""rootlesskit-docker-proxy: what it tells dockerd, the API and the real docker-proxy."""

import glob
import json
import os
import re
import shutil
import signal
import socket

import rkit
from rkit import leaks, net
from rkit.launch import Rootlesskit, comm, wait_for
from rkit.networks import ask
from rkit.peers import TcpServer, UdpServer, background, echo, hello, receive_exactly
from rkit.proxy import BUILTIN, NET, Proxy, ProxyTestCase, proxy_words

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden")


class Recording:
    """A recorded run. The recording lost the blanks of descriptor 3, so blanks are not compared."""

    def __init__(self, path):
        with open(path, newline="\n") as f:
            text = f.read()
        section = lambda a, b: text.split(a, 1)[1].split(b, 1)[0].strip()
        command = section("### command:", "(port driver")
        self.words = command.split("rootlesskit-docker-proxy", 1)[1].split()
        self.signal = signal.SIGTERM if "then SIGTERM" in text else signal.SIGINT
        self.called = section("### exec'd child:", "### fd3")
        self.verdict = re.sub(r"\s", "", section("### fd3:", "### exit")).replace("\\n", "\n", 1)
        self.code = int(section("### exit", "### stdout"))
        wire = text.split("### wire", 1)[1].replace("\\r\\n\n", "\r\n")
        self.exchanges = [part.split("<<< server\n") for part in wire.split(">>> client\n")[1:]]

    def answers(self):
        """Yields for each request (method, path, decoded body), and the whole answer."""
        for request, answer in self.exchanges:
            head, body = request.split("\r\n\r\n")
            body = body.strip()
            answer_head, answer_body = answer.split("--- closed")[0].split("\r\n\r\n")
            answer_body = answer_body.strip("\n")
            answer_head = re.sub(r"Content-Length: \d+", "Content-Length: %d"
                                 % len(answer_body.encode()), answer_head)
            yield ((*head.split()[:2], json.loads(body) if body else None),
                   (answer_head + "\r\n\r\n" + answer_body).encode())


def answer(status, body=None):
    text = json.dumps(body) if body is not None else ""
    return ("HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
            % (status, len(text), text)).encode()


INFO = {"apiVersion": "1.1.1", "version": "x", "stateDir": "/", "childPID": 1,
        "portDriver": {"driver": "builtin", "protos": ["tcp", "tcp4", "udp"]}}
SPEC = {"proto": "tcp4", "parentIP": "127.0.0.1", "parentPort": 18080, "childPort": 18080,
        "childIP": "127.0.0.1"}


class Replayer:
    """An API that gives the recorded answers. seen lists the requests; with keep_ends also None for each
    connection that has ended."""

    def __init__(self, path, answers, keep_ends=False):
        self.keep_ends = keep_ends
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(path)
        os.chmod(path, 0o777)
        self.sock.listen(5)
        self.answers, self.seen = list(answers), []
        self.job = background(self._serve)

    def _serve(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            with conn, conn.makefile("rb") as stream:
                while line := stream.readline():
                    length = 0
                    while header := stream.readline().strip():
                        if header.lower().startswith(b"content-length:"):
                            length = int(header.split(b":")[1])
                    body = stream.read(length)
                    self.seen.append((*line.decode().split()[:2],
                                      json.loads(body) if body else None))
                    conn.sendall(self.answers.pop(0))
            if self.keep_ends:
                self.seen.append(None)

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.job.result()


@rkit.ours("is what was recorded, and leaves ports behind")
class Recorded(ProxyTestCase):
    def play(self, name, recording, code=None, extra=(), called=None):
        state = self.world.tmp + "/state"
        os.mkdir(state)
        os.chmod(state, 0o755)
        if os.path.exists(self.fakes + "/called"):
            os.unlink(self.fakes + "/called")
        want = list(recording.answers())
        api = Replayer(state + "/api.sock", [answer for _, answer in want]
                       + [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"] * len(extra))
        proxy = Proxy(recording.words, state, env=self.env)
        verdict = proxy.verdict()
        ends_by_itself = not recording.called and called is None
        have = proxy.end(None if ends_by_itself else recording.signal)
        api.close()
        if called is None:
            self.assertEqual(re.sub(r"\s", "", verdict), re.sub(r"\s", "", recording.verdict), name)
        self.assertEqual(have, recording.code if code is None else code, proxy.err())
        self.assertEqual(self.called(), recording.called if called is None else called)
        self.assertEqual(api.seen, [request for request, _ in want] + list(extra))
        shutil.rmtree(state)

    def test_replay(self):
        found = sorted(glob.glob(GOLDEN + "/dockerproxy-*.txt"))
        self.assertEqual(len(found), 9)
        for path in found:
            name = os.path.basename(path)[:-len(".txt")]
            recording = Recording(path)
            with self.subTest(name):
                if name == "dockerproxy-builtin-sigterm":  # RootlessKit's leaves the port behind
                    self.play(name, recording, code=0,
                              extra=[("DELETE", "/v1/ports/1", None)])
                elif name == "dockerproxy-nodriver":  # RootlessKit's crashes, ours becomes docker-proxy
                    self.play(name, recording, code=-signal.SIGINT,
                              called="docker-proxy " + " ".join(recording.words))
                else:
                    self.play(name, recording)


@rkit.ours("waits for ever, and leaves ports behind")
class Scripted(ProxyTestCase):
    """The proxy with an API that the test plays."""

    def setUp(self):
        super().setUp()
        self.state = self.world.tmp + "/state"
        os.mkdir(self.state)
        os.chmod(self.state, 0o755)
        self.api = None

    def tearDown(self):
        if self.api:
            self.api.close()
        shutil.rmtree(self.state)
        super().tearDown()

    def start(self, *answers):
        self.api = Replayer(self.state + "/api.sock", answers, keep_ends=True)
        return Proxy(proxy_words(), self.state, env=self.env)

    def published(self, info, posted, sig, code, *rest):
        proxy = self.start(answer("200 OK", info), answer("201 Created", {"id": 7, "spec": SPEC}),
                           answer("200 OK"))
        self.assertEqual(proxy.verdict(), "0\n", proxy.err())
        before = [("GET", "/v1/info", None), ("POST", "/v1/ports", posted)]
        self.assertEqual(self.api.seen[:2], before)
        self.assertEqual(proxy.end(sig), code, proxy.err())
        wait_for("the connection's end", lambda: self.api.seen == before + list(rest))

    def test_lease(self):
        """The port ends with the connection, which the proxy keeps open as long as it runs."""
        leased = dict(SPEC, lease="connection")
        self.published(dict(INFO, portLeases=True), leased, signal.SIGTERM, 0,
                       ("DELETE", "/v1/ports/7", None), None)

    def test_lease_of_a_killed_proxy(self):
        leased = dict(SPEC, lease="connection")
        self.published(dict(INFO, portLeases=True), leased, signal.SIGKILL, -signal.SIGKILL, None)

    def test_no_lease_left(self):
        """When the server has no lease left, the port is published without one."""
        leased = dict(SPEC, lease="connection")
        proxy = self.start(answer("200 OK", dict(INFO, portLeases=True)),
                           answer("400 Bad Request", {"message": "no more leases"}),
                           answer("201 Created", {"id": 7, "spec": SPEC}), answer("200 OK"))
        self.assertEqual(proxy.verdict(), "0\n", proxy.err())
        self.assertEqual(proxy.end(signal.SIGTERM), 0, proxy.err())
        wait_for("the connection's end", lambda: self.api.seen == [
            ("GET", "/v1/info", None), ("POST", "/v1/ports", leased), ("POST", "/v1/ports", SPEC),
            None, ("DELETE", "/v1/ports/7", None), None])

    def test_no_lease(self):
        """A server without leases gets the requests that RootlessKit's proxy makes: without a member that it
        does not know, and without a connection that stays open."""
        self.published(INFO, SPEC, signal.SIGTERM, 0, None, ("DELETE", "/v1/ports/7", None), None)

    def test_server_that_does_not_answer(self):
        """The proxy reacts to a signal while it waits for an answer, and tells dockerd."""
        for sig in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(sig), socket.socket(socket.AF_UNIX) as sock:
                path = self.state + "/api.sock"
                sock.bind(path)
                os.chmod(path, 0o777)
                sock.listen(5)
                proxy = Proxy(proxy_words(), self.state, env=self.env)
                conn, _ = sock.accept()
                conn.recv(4096)
                proxy.proc.send_signal(sig)
                self.assertRegex(proxy.verdict(), r"\A1\n.*had not answered when a signal")
                self.assertEqual(proxy.end(None), 1)
                conn.close()
                os.unlink(path)

    def test_signal_while_the_port_is_published(self):
        """The proxy still waits for the answer, and then removes the port."""
        path = self.state + "/api.sock"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            os.chmod(path, 0o777)
            sock.listen(5)
            proxy = Proxy(proxy_words(), self.state, env=self.env)
            conn, _ = sock.accept()
            conn.recv(4096)
            conn.sendall(answer("200 OK", INFO))
            conn.recv(4096)
            proxy.proc.send_signal(signal.SIGTERM)
            conn.sendall(answer("201 Created", {"id": 7, "spec": SPEC}))
            again, _ = sock.accept()
            self.assertTrue(again.recv(4096).startswith(b"DELETE /v1/ports/7 "))
            again.sendall(answer("200 OK"))
            self.assertEqual(proxy.end(None), 0)
            conn.close()
            again.close()


@rkit.needs("slirp4netns", "tun", "rootlesskit")
@rkit.ours("is its own parent")
class TheirParent(ProxyTestCase):
    def test_published_while_it_lives(self):
        """Our proxy with RootlessKit's API, which has no leases."""
        theirs = Rootlesskit("--net=slirp4netns", "--disable-host-loopback",
                             "--port-driver=builtin", binary="/usr/bin/rootlesskit")
        with theirs as rk:
            wait_for("the API", lambda: os.path.exists(rk.state + "/api.sock"))
            proxy = Proxy(proxy_words(), rk.state, env=self.env)
            self.assertEqual(proxy.verdict(), "0\n", proxy.err())
            self.assertEqual([p["spec"] for p in rk.ports()], [SPEC])
            self.assertEqual(proxy.end(signal.SIGTERM), 0, proxy.err())
            self.assertEqual(rk.ports(), [])


@rkit.needs("slirp4netns", "tun")
@rkit.ours("leaves ports behind, or crashes")
class WithFake(ProxyTestCase):
    def test_published_while_it_lives(self):
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(sig), Rootlesskit(*BUILTIN) as rk, \
                    TcpServer(hello("in"), port=18080, netns=rk.netns()):
                proxy = self.proxy(rk, *proxy_words())
                self.assertEqual(proxy.verdict(), "0\n")
                self.assertEqual(self.called(), "docker-proxy -container-ip 127.0.0.1 "
                                 "-container-port 80 -host-ip 127.0.0.1 -host-port 18080 "
                                 "-proto tcp")
                with net.connect("127.0.0.1", 18080) as c:
                    self.assertEqual(receive_exactly(c, 2), b"in")
                self.assertEqual([p["spec"] for p in rk.ports()], [SPEC])
                self.assertEqual(proxy.end(sig), 0)
                self.assertEqual(rk.ports(), [])
                self.assertFalse([p for p, c in leaks.processes().items() if "1000" in c])

    def test_wildcards(self):
        for host_ip, proto, child_ip in (("0.0.0.0", "udp4", "127.0.0.1"), ("::", "udp6", "::1")):
            with self.subTest(host_ip), Rootlesskit(*BUILTIN) as rk:
                proxy = self.proxy(rk, *proxy_words(proto="udp", host_ip=host_ip))
                self.assertEqual(proxy.verdict(), "0\n")
                spec = rk.ports()[0]["spec"]
                self.assertEqual((spec["proto"], spec["parentIP"], spec["childIP"]),
                                 (proto, host_ip, child_ip))
                self.assertIn("-host-ip %s -host-port" % child_ip, self.called())
                self.assertEqual(proxy.end(), 0)

    def test_port_that_cannot_be_had(self):
        with Rootlesskit(*BUILTIN) as rk, net.bound(socket.SOCK_STREAM, "127.0.0.1", 18080):
            proxy = self.proxy(rk, *proxy_words())
            self.assertRegex(proxy.verdict(), r"\A1\nerror while calling PortManager.AddPort\(\): "
                             ".*address already in use")
            self.assertEqual(proxy.end(None), 1)
            self.assertEqual(self.called(), "")

    def test_docker_proxy_that_ends(self):
        """dockerd gets its verdict, the proxy exits with its code, and the port is removed."""
        self.fake("#!/bin/sh\nprintf '1\\nnot today' >&3\nexit 7\n")
        with Rootlesskit(*BUILTIN) as rk:
            proxy = self.proxy(rk, *proxy_words())
            self.assertEqual(proxy.verdict(), "1\nnot today")
            self.assertEqual(proxy.end(None), 7)
            self.assertEqual(rk.ports(), [])

    def test_docker_proxy_that_does_not_want_to_end(self):
        self.fake("#!/bin/sh\ntrap '' INT\nprintf '0\\n' >&3\nwhile :; do sleep 1; done\n")
        with Rootlesskit(*BUILTIN) as rk:
            proxy = self.proxy(rk, *proxy_words())
            self.assertEqual(proxy.verdict(), "0\n")
            self.assertEqual(proxy.end(), 0)
            self.assertEqual(rk.ports(), [])

    def test_no_docker_proxy(self):
        """The proxy does not start itself, although it may have been installed as docker-proxy."""
        os.unlink(self.fakes + "/docker-proxy")
        os.symlink(self.world.path["rootlesskit-docker-proxy"], self.fakes + "/docker-proxy")
        self.env["PATH"] = self.fakes
        with Rootlesskit(*BUILTIN) as rk:
            proxy = Proxy(proxy_words(), rk.state, env=self.env)
            self.assertRegex(proxy.verdict(), r"\A1\n.*docker-proxy.*not found in \$PATH")
            self.assertEqual(proxy.end(None), 1)
            self.assertEqual(rk.ports(), [])

    def test_parent_that_is_gone(self):
        rk = Rootlesskit(*BUILTIN).ready()
        proxy = self.proxy(rk, *proxy_words())
        self.assertEqual(proxy.verdict(), "0\n")
        rk.stop()
        self.assertEqual(proxy.end(), 0)
        self.assertEqual(proxy.err(), "")

    def test_drivers_without_ports(self):
        for options in (NET, ["--net=slirp4netns", "--port-driver=none"]):
            with self.subTest(options), Rootlesskit(*options) as rk:
                proxy = self.proxy(rk, *proxy_words())
                self.assertEqual(proxy.verdict(), "0\n")
                self.assertEqual(self.called(), "docker-proxy " + " ".join(proxy_words()))
                self.assertEqual(proxy.end(signal.SIGTERM), -signal.SIGTERM)

    def test_without_descriptor_3(self):
        with Rootlesskit(*BUILTIN) as rk, net.bound(socket.SOCK_STREAM, "127.0.0.1", 18080):
            proxy = self.proxy(rk, *proxy_words(), fd3=False)
            self.assertEqual(proxy.end(None), 1)
            self.assertIn("address already in use", proxy.err())

    def test_killed(self):
        """docker-proxy ends with the proxy. So does the port, where the server has leases; elsewhere somebody
        can remove it."""
        with Rootlesskit(*BUILTIN) as rk:
            proxy = self.proxy(rk, *proxy_words())
            self.assertEqual(proxy.verdict(), "0\n")
            self.assertEqual(proxy.end(signal.SIGKILL), -signal.SIGKILL)
            wait_for("the end of docker-proxy", lambda: not [
                p for p, c in leaks.processes().items() if "1000" in c])
            if rk.api("GET", "/v1/info")[1].get("portLeases"):
                wait_for("the end of the port", lambda: not rk.ports())
            else:
                self.assertEqual(len(rk.ports()), 1)
                rk.remove(1)


class Words(ProxyTestCase):
    def refused(self, why, *words, **env):
        self.env.update(env)
        proxy = Proxy(words, self.world.tmp, env=self.env)
        self.assertRegex(proxy.verdict(), r"\A1\n.*" + why)
        self.assertEqual(proxy.end(None), 1)
        self.assertRegex(proxy.err(), r"\A\[rootlesskit-docker-proxy\] error: .*" + why)
        self.assertEqual(proxy.err().count("\n"), 1)

    @rkit.ours("other words")
    def test_nonsense(self):
        good = proxy_words()
        self.refused("unknown option --prot", "--prot", "tcp")
        self.refused("-proto is tcp, udp or sctp", *good, "-proto=icmp")
        self.refused("-host-port takes a port", *good, "-host-port=0")
        self.refused("-host-port takes a port", *good, "--host-port=65536")
        self.refused("-container-port takes a port", *good, "-container-port", "x")
        self.refused("-host-ip takes an IP address", *good, "-host-ip", "localhost")
        self.refused("-container-ip takes an IP", *good, "-container-ip=")
        self.refused("-host-ip needs a value", "-host-ip")
        self.refused("unexpected word", "tcp")
        self.refused("are needed", "-container-ip=10.0.0.1", "-host-port=80")
        self.refused("takes true or false", *good, "-use-listen-fd=maybe")

    @rkit.ours("other words")
    def test_no_api(self):
        self.refused("cannot connect to .*api.sock", *proxy_words())
        got = rkit.run(self.world.path["rootlesskit-docker-proxy"], *proxy_words())
        self.assertRegex(got.stderr, r"\$ROOTLESSKIT_STATE_DIR needs to be set")
        self.assertEqual(got.returncode, 1)

    @rkit.ours("has neither")
    def test_help_and_version(self):
        for option in "--help", "-h":
            self.assertIn("-container-ip", rkit.run(
                self.world.path["rootlesskit-docker-proxy"], option).stdout)
        self.assertIn("version", rkit.run(self.world.path["rootlesskit-docker-proxy"],
                                          "--version").stdout)


@rkit.needs("slirp4netns", "tun", "docker-proxy")
class Real(ProxyTestCase):
    """The proxy with the real docker-proxy. The container is an address in the namespace."""

    CONTAINER = "172.30.9.2"

    def setUp(self):
        super().setUp()
        os.unlink(self.fakes + "/docker-proxy")

    def run_one(self, options, proto, host_ip, sig):
        with Rootlesskit(*options) as rk:
            got = rk.nsenter("ip", "addr", "add", self.CONTAINER + "/32", "dev", "lo")
            self.assertEqual(got.returncode, 0, got.stderr)
            server = TcpServer(echo, port=80, host=self.CONTAINER, netns=rk.netns()) \
                if proto == "tcp" else UdpServer(port=80, host=self.CONTAINER, netns=rk.netns())
            with server:
                proxy = self.proxy(rk, *proxy_words(proto=proto, host_ip=host_ip,
                                                    container_ip=self.CONTAINER))
                self.assertEqual(proxy.verdict(), "0\n", proxy.err())
                self.say(proto, host_ip)
                self.assertEqual(proxy.end(sig), 0)
                self.assertEqual(rk.ports(), [])
                self.assertEqual([p for p in leaks.processes() if comm(p) == "docker-proxy"], [])

    def say(self, proto, host_ip):
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host_ip, host_ip)
        if proto == "tcp":
            with net.connect(host, 18080) as c:
                c.sendall(b"through both" * 1000)
                self.assertEqual(receive_exactly(c, 12000), b"through both" * 1000)
        else:
            self.assertEqual(ask(host, 18080), b"datagram")

    def test_tcp(self):
        for host_ip in "127.0.0.1", "0.0.0.0", "::":
            with self.subTest(host_ip):
                self.run_one(BUILTIN, "tcp", host_ip, signal.SIGINT)

    def test_udp(self):
        for host_ip in "127.0.0.1", "0.0.0.0", "::":
            with self.subTest(host_ip):
                self.run_one(BUILTIN, "udp", host_ip, signal.SIGINT)

    @rkit.ours("leaves the port behind")
    def test_sigterm(self):
        self.run_one(BUILTIN, "tcp", "127.0.0.1", signal.SIGTERM)

    def test_slirp4netns_driver(self):
        """slirp4netns forwards to the address of its interface, where docker-proxy must listen."""
        self.run_one(NET[:2] + ["--port-driver=slirp4netns"], "tcp", "127.0.0.1", signal.SIGINT)

    @rkit.ours("has no socat driver")
    def test_socat_driver(self):
        if not shutil.which("socat"):
            self.skipTest("socat is not installed")
        self.run_one(NET + ["--port-driver=socat"], "tcp", "0.0.0.0", signal.SIGINT)

    def test_sctp_is_discarded(self):
        with Rootlesskit(*BUILTIN) as rk:
            proxy = self.proxy(rk, *proxy_words(proto="sctp"))
            self.assertEqual(proxy.verdict(), "0\n")
            self.assertEqual(proxy.end(None), 0)
            self.assertRegex(proxy.err(), 'protocol ."?sctp4."? is not supported by the RootlessKit')


if __name__ == "__main__":
    rkit.main()
