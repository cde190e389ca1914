#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GET /v1/metrics and `rootlessctl metrics`: the format is right, and so are the numbers."""

import json
import os
import re
import signal
import urllib.parse
import urllib.request

import rkit
from rkit import net
from rkit.launch import DEADLINE_S, Rootlesskit, popen, run, wait_for
from rkit.peers import TcpServer, echo, receive_exactly
from rkit.ports import PortTestCase, both_backends

DASHBOARD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../data/grafana.json")
SAMPLE = re.compile(r'([a-z_]+)(\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})? (\d+(?:\.\d+)?)\Z')
REQUEST = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"


def samples(text, **labels):
    """The lines that have these labels: {(name, labels as they are written): value}."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, own, value = SAMPLE.match(line).groups()
        if all('%s="%s"' % pair in (own or "") for pair in labels.items()):
            found[name, own] = float(value) if "." in value else int(value)
    return found


@rkit.ours("has no metrics")
@both_backends
class Metrics(PortTestCase):
    workers = 2

    def metrics(self):
        got = self.rk.ctl("metrics")
        self.assertEqual((got.returncode, got.stderr), (0, ""))
        return got.stdout

    def open_metrics(self):
        got = self.rk.ctl("metrics", "--http", input=REQUEST)
        self.assertEqual((got.returncode, got.stderr), (0, ""))
        head, body = got.stdout.split("\n\n", 1)
        self.assertIn("Content-Type: application/openmetrics-text; version=1.0.0", head)
        self.assertIn("Content-Length: %d" % len(body), head)
        return body

    def test_numbers(self):
        number = self.rk.add(18080, 80)
        with TcpServer(echo, netns=self.ns), net.connect("127.0.0.1", 18080) as client:
            client.sendall(b"x" * 1000)
            receive_exactly(client, 1000)
            wait_for("1,000 bytes", lambda: sum(
                value for (name, _), value in samples(self.metrics(), id=number,
                                                      direction="out").items()
                if name == "ringkit_port_bytes_total") == 1000)
            port = {name: value for (name, _), value in samples(self.metrics(), id=number).items()
                    if "bytes" not in name and "datagrams" not in name}
            self.assertEqual(port, {"ringkit_port_flows": 1, "ringkit_port_flows_opened_total": 1,
                                    "ringkit_port_errors_total": 0, "ringkit_port_dropped_total": 0})
            flows = [value for (name, _), value in samples(self.metrics()).items()
                     if name == "ringkit_tcp_flows"]
            self.assertEqual(sum(flows), 1)
        self.rk.remove(number)
        self.assertEqual(samples(self.metrics(), id=number), {})

    def test_every_counter_is_there(self):
        stats = self.rk.api("GET", "/v1/stats")[1]
        # The metrics of a histogram have one line more, its sum.
        counters = sum(len(group) + name.endswith("Time")
                       for worker in stats["workers"] for name, group in worker.items())
        self.assertEqual(sum(bool(own and own.startswith('{worker="'))
                             for _, own in samples(self.metrics())), counters)

    def test_open_metrics(self):
        """The order of lines and the names of counters are as OpenMetrics demands."""
        text = self.open_metrics()
        self.assertTrue(text.endswith("\n# EOF\n"))
        seen, name, kind = set(), None, None
        for line in text.splitlines()[:-1]:
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                self.assertNotIn(name, seen)
                self.assertIn(kind, ("gauge", "counter", "unknown", "histogram"))
                seen.add(name)
            elif line.startswith("# UNIT "):
                self.assertEqual(line.split()[2:], [name, name.rpartition("_")[2]])
            elif line.startswith("# HELP "):
                self.assertEqual(line.split()[2], name)
                self.assertTrue(line.endswith("."), line)
            else:
                ends = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
                self.assertIn(SAMPLE.match(line).group(1),
                              [name + end for end in ends.get(kind, [""])])
        self.assertEqual(len(samples(text)), sum(not line.startswith("#")
                                                 for line in text.splitlines()))

    def histogram(self, name):
        """The buckets of each worker, in the order of the lines, and the count and sum of all workers."""
        buckets, count, total = {}, 0, 0.0
        for (got, own), value in samples(self.metrics()).items():
            if got == name + "_bucket":
                worker, bound = re.fullmatch(r'{worker="(\d+)",le="([^"]+)"}', own).groups()
                buckets.setdefault(worker, []).append((float(bound), value))
            elif got == name + "_count":
                count += value
            elif got == name + "_sum":
                total += value
        return buckets, count, total

    def test_times(self):
        """The histogram of connects counts each connection, that of the backlog one in sixteen."""
        number = self.rk.add(18080, 80)
        before, asked = self.histogram("ringkit_tcp_connect_seconds")[1:], \
            self.histogram("ringkit_tcp_backlog_seconds")[1]
        with TcpServer(echo, netns=self.ns):
            for _ in range(40):
                with net.connect("127.0.0.1", 18080) as client:
                    client.sendall(b"x")
                    receive_exactly(client, 1)
        buckets, count, total = self.histogram("ringkit_tcp_connect_seconds")
        self.assertEqual(count - before[0], 40)
        self.assertGreater(total, before[1])
        for worker in buckets.values():
            bounds = [bound for bound, _ in worker]
            values = [value for _, value in worker]
            self.assertEqual(bounds, sorted(bounds))
            self.assertEqual(bounds[-1], float("inf"))
            self.assertEqual(values, sorted(values))
        self.assertEqual(sum(worker[-1][1] for worker in buckets.values()), count)
        workers = len(buckets)
        got = self.histogram("ringkit_tcp_backlog_seconds")[1] - asked
        self.assertTrue(40 // 16 - workers <= got <= 40 // 16 + workers, got)
        self.assertRegex(self.rk.ctl("stats").stdout,
                         r"(?m)^- TCP connect time: half within \d+ (µs|ms|s), 99 % within \S+( \S+)?; "
                         r"in the backlog: half within ")
        self.rk.remove(number)

    def test_http_requests(self):
        for request, status in (("GET / HTTP/1.1\r\n\r\n", 404), ("GET /metricsx HTTP/1.1\r\n\r\n", 404),
                                ("POST /metrics HTTP/1.1\r\n\r\n", 405), ("GET /metrics", 400),
                                ("", 400), ("x" * 10000, 400)):
            with self.subTest(request[:20]):
                got = self.rk.ctl("metrics", "--http", input=request)
                self.assertRegex(got.stdout, r"\AHTTP/1.0 %d " % status)
                self.assertEqual(got.returncode, 1)
        got = self.rk.ctl("metrics", "--http", input="HEAD /metrics?x=y HTTP/1.1\n\n")
        self.assertRegex(got.stdout, r"\AHTTP/1.0 200 OK\n(\S.*\n)+\n\Z")

    def test_the_dashboard_asks_for_what_there_is(self):
        with open(DASHBOARD) as f:
            dashboard = json.load(f)
        number = self.rk.add(18080, 80)
        names = {name for name, _ in samples(self.metrics())}
        self.rk.remove(number)
        asked = re.findall(r"ringkit_\w+", json.dumps(dashboard))
        self.assertGreater(len(asked), 20)
        self.assertEqual(set(asked) - names, set())

    @rkit.needs("promtool")
    def test_promtool_has_nothing_to_say(self):
        number = self.rk.add(18080, 80)
        got = run("promtool", "check", "metrics", input=self.metrics())
        self.assertEqual((got.returncode, got.stdout + got.stderr), (0, ""))
        self.rk.remove(number)


@rkit.ours("has no metrics")
class Scrape(rkit.RkTestCase):
    @rkit.needs("prometheus", "socat")
    def test_by_prometheus(self):
        """Prometheus asks through the bridge that README.md describes."""
        base = self.world.tmp + "/prometheus"
        os.mkdir(base)
        os.chmod(base, 0o777)
        with open(base + "/config.yml", "w") as f:
            json.dump({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
                       "scrape_configs": [{"job_name": "ringkit", "static_configs":
                                           [{"targets": ["127.0.0.1:9477"]}]}]}, f)
        with Rootlesskit("--net=none", "--port-driver=builtin", "-p",
                         "127.0.0.1:18080-18082:80-82/tcp") as rk:
            ctl = "%s --socket %s/api.sock metrics --http" % (self.world.path["rootlessctl"],
                                                              rk.state)
            bridge = popen(["socat", "TCP-LISTEN:9477,bind=127.0.0.1,reuseaddr,fork",
                            "EXEC:" + ctl])
            with open(base + "/log", "wb") as log:
                prometheus = popen(["prometheus", "--config.file=%s/config.yml" % base,
                                    "--storage.tsdb.path=%s/data" % base,
                                    "--web.listen-address=127.0.0.1:9478"],
                                   stdout=log, stderr=log)
            try:
                for expression, value in (("ringkit_ports", "3"), ("up", "1"),
                                          ("count(ringkit_port_bytes_total)", "6"),
                                          ('sum(ringkit_tcp_accepted_total{job="ringkit"})', "0")):
                    wait_for("%s to be %s" % (expression, value),
                             lambda: self.query(expression) == value, 120)
            finally:
                for process in prometheus, bridge:
                    process.send_signal(signal.SIGTERM)
                    process.wait(DEADLINE_S)
        run("rm", "-rf", base + "/data")
        for name in os.listdir(base):
            os.unlink(base + "/" + name)
        os.rmdir(base)

    def query(self, expression):
        """The value of the first result, as text; None when there is none."""
        url = "http://127.0.0.1:9478/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
                result = json.load(answer)["data"]["result"]
        except OSError:
            return None
        return result[0]["value"][1] if result else None

    def test_drivers_that_count_nothing(self):
        """Drivers without counters have the metrics that all have."""
        for words in (["--net=none", "--port-driver=none"], ["--net=host"]):
            with self.subTest(words), Rootlesskit(*words) as rk:
                got = rk.ctl("metrics")
                self.assertEqual((got.returncode, got.stderr), (0, ""))
                self.assertIn("ringkit_build_info{", got.stdout)
                self.assertNotIn("ringkit_ports ", got.stdout)

    @rkit.needs("slirp4netns", "tun")
    def test_slirp4netns(self):
        with Rootlesskit("--net=slirp4netns", "--port-driver=slirp4netns", "--disable-host-loopback",
                         "--copy-up=/etc") as rk:
            self.assertIn("\nringkit_ports 0\n", rk.ctl("metrics").stdout)


if __name__ == "__main__":
    rkit.main()
