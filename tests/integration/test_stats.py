#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GET /v1/stats and `rootlessctl stats`: the counters are there and right."""

import json
import subprocess

import rkit
from rkit import net
from rkit.launch import DEADLINE_S, popen, restart_role, wait_for
from rkit.peers import TcpServer, UdpServer, echo, receive_exactly
from rkit.ports import PortTestCase, both_backends, builtin


@both_backends
class Counters(PortTestCase):
    not_reference = "has no statistics"
    may_die = True
    workers = 2

    def stats(self):
        status, answer = self.rk.api("GET", "/v1/stats")
        self.assertEqual(status, 200)
        return answer

    def port(self, number):
        return next(p for p in self.stats()["ports"] if p["id"] == number)

    def exchange(self, port, size):
        client = net.connect("127.0.0.1", port)
        client.sendall(b"x" * size)
        receive_exactly(client, size)
        return client

    def test_tcp(self):
        number = self.rk.add(18080, 80)
        before = self.stats()["total"]["tcp"]
        with TcpServer(echo, netns=self.ns):
            first, second = self.exchange(18080, 10), self.exchange(18080, 1_000_000)
            wait_for("the counters", lambda: self.port(number)["bytesOut"] == 1_000_010)
            port = self.port(number)
            self.assertEqual(port["spec"]["parentPort"], 18080)
            self.assertEqual((port["flows"], port["opened"], port["bytesIn"], port["errors"]),
                             (2, 2, 1_000_010, 0))
            first.close()
            second.close()
            wait_for("the end of both", lambda: self.port(number)["flows"] == 0)
        now = self.stats()["total"]["tcp"]
        self.assertEqual({k: now[k] - before[k] for k in ("accepted", "connected", "closed", "flows")},
                         {"accepted": 2, "connected": 2, "closed": 2, "flows": 0})

    def test_refused(self):
        number = self.rk.add(18081, 81)
        before = self.stats()["total"]["tcp"]["refused"]
        for _ in range(3):
            try:
                net.connect("127.0.0.1", 18081).close()
            except ConnectionResetError:
                pass
        wait_for("three errors", lambda: self.port(number)["errors"] == 3)
        self.assertEqual(self.stats()["total"]["tcp"]["refused"] - before, 3)

    def test_unreachable(self):
        """A connection to an address without a route in the namespace is counted as unreachable."""
        number = self.rk.add(18082, 80, child_ip="192.0.2.77")
        before = self.stats()["total"]["tcp"]["unreachable"]
        try:
            net.connect("127.0.0.1", 18082).close()
        except ConnectionResetError:
            pass
        wait_for("an error", lambda: self.port(number)["errors"] == 1)
        self.assertEqual(self.stats()["total"]["tcp"]["unreachable"] - before, 1)

    def test_udp(self):
        number = self.rk.add(18053, 53, proto="udp")
        with UdpServer(lambda d, a: d + d, netns=self.ns):
            client = net.udp_client("127.0.0.1", 18053)
            for _ in range(5):
                client.send(b"12345")
                client.recv(100)
            # A worker counts an answer after it has sent it.
            wait_for("the counters", lambda: self.port(number)["datagramsOut"] == 5)
            port = self.port(number)
            client.close()
        self.assertEqual((port["flows"], port["opened"]), (1, 1))
        self.assertEqual((port["datagramsIn"], port["bytesIn"]), (5, 25))
        self.assertEqual((port["datagramsOut"], port["bytesOut"]), (5, 50))

    def test_workers_add_up_to_the_total(self):
        self.rk.add(18080, 80)
        with TcpServer(echo, netns=self.ns):
            for _ in range(20):
                self.exchange(18080, 1000).close()
        stats = self.stats()
        for group, counters in stats["total"].items():
            for name, value in counters.items():
                self.assertEqual(value, sum(w[group][name] for w in stats["workers"]), name)

    def test_a_new_port_starts_from_nothing(self):
        """A new port gets the slot of a removed one, but not its counters."""
        with TcpServer(echo, netns=self.ns):
            number = self.rk.add(18080, 80)
            self.exchange(18080, 1000).close()
            wait_for("bytes", lambda: self.port(number)["bytesIn"] == 1000)
            self.rk.remove(number)
            number = self.rk.add(18080, 80)
            port = self.port(number)
            self.assertEqual((port["flows"], port["opened"], port["bytesIn"]), (0, 0, 0))

    def test_after_the_data_plane_died(self):
        number = self.rk.add(18080, 80)
        starts = self.stats()["starts"]
        with TcpServer(echo, netns=self.ns):
            self.exchange(18080, 1000).close()
            restart_role(self.rk.pid, "dataplane")
            wait_for("another data plane", lambda: self.stats()["starts"] == starts + 1)

            def again():
                try:
                    self.exchange(18080, 10).close()
                    return True
                except (OSError, EOFError):
                    return False
            wait_for("a connection", again)
            wait_for("counters", lambda: self.port(number)["bytesIn"] in (10, 20, 30))

    def test_what_runs(self):
        self.assertEqual(self.stats()["dataplane"], self.backend)
        info = self.rk.api("GET", "/v1/info")[1]["portDriver"]
        self.assertEqual(info["dataplane"], self.backend)
        self.assertEqual(info["workers"], len(self.stats()["workers"]))
        self.assertIn("Data plane: %s, workers: %d" % (self.backend, info["workers"]),
                      self.rk.ctl("info").stdout)


@rkit.ours("has no statistics")
class Ctl(rkit.RkTestCase):
    def test_table(self):
        with builtin("-p", "127.0.0.1:18080:80/tcp") as rk, TcpServer(echo, netns=rk.netns()):
            client = net.connect("127.0.0.1", 18080)
            client.sendall(b"x" * 2048)
            receive_exactly(client, 2048)
            got = rk.ctl("stats")
            client.close()
            self.assertEqual((got.returncode, got.stderr), (0, ""))
            lines = got.stdout.splitlines()
            self.assertRegex(got.stdout, "(?m)^- TCP connections now: 1, accepted: 1, .*in: 2.0 kiB")
            self.assertEqual(lines[-2].split()[:4], ["ID", "PROTO", "PARENT", "FLOWS"])
            self.assertEqual(lines[-1].split()[:4], ["1", "tcp", "127.0.0.1:18080", "1"])

    def test_json(self):
        with builtin() as rk:
            got = rk.ctl("stats", "--json")
            self.assertEqual(json.loads(got.stdout), rk.api("GET", "/v1/stats")[1])

    def test_watch(self):
        with builtin("-p", "127.0.0.1:18080:80/tcp") as rk:
            watch = popen([self.world.path["rootlessctl"], "--socket", rk.state + "/api.sock", "stats",
                           "--watch", "--json"], stdout=subprocess.PIPE, text=True)
            for _ in range(3):
                self.assertEqual(json.loads(watch.stdout.readline())["ports"][0]["id"], 1)
            rk.stop()
            self.assertEqual(watch.wait(DEADLINE_S), 1)
            watch.stdout.close()

    def test_rates(self):
        with builtin("-p", "127.0.0.1:18080:80/tcp") as rk:
            watch = popen([self.world.path["rootlessctl"], "--socket", rk.state + "/api.sock", "stats",
                           "--watch"], stdout=subprocess.PIPE, text=True)
            seen = [watch.stdout.readline() for _ in range(15)]
            watch.kill()
            watch.wait()
            watch.stdout.close()
            self.assertIn("BYTESIN ", seen[5])
            self.assertIn("BYTESIN/S", seen[13])

    def test_no_driver(self):
        with rkit.Rootlesskit("--net=none") as rk:
            self.assertEqual(rk.api("GET", "/v1/stats"),
                             (400, {"message": "no PortDriver is available"}))
            got = rk.ctl("stats")
            self.assertEqual(got.returncode, 1)
            self.assertIn("no PortDriver is available", got.stderr)

    def test_misuse(self):
        with builtin() as rk:
            for words, said in ((("stats", "--what"), "unknown option --what"),
                                (("list-ports", "--watch"), "list-ports has no --watch")):
                got = rk.ctl(*words)
                self.assertEqual(got.returncode, 1)
                self.assertIn(said, got.stderr)
            self.assertEqual(rk.api("POST", "/v1/stats", {})[0], 405)


if __name__ == "__main__":
    rkit.main()
