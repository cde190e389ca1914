#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests the parts of the bench that work on samples: statistics, targets, reports, parsers."""

import contextlib
import io
import json
import os
import sys
import tempfile
import time
import unittest
import unittest.mock
import xml.dom.minidom
from html.parser import HTMLParser

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "..", "tests", "integration")]

from ringbench import (cli, compare, flame, machine, metrics, peerdirs, procs, profile,  # noqa: E402
                       programs, report, results, scenarios, stats, suites, svg, table, targets)


def entry(key, peers, primary="gbps", variant="unpaced", group="Bulk TCP"):
    """A result like one of the runner's. peers: {name: [samples]}."""
    return {"scenario": key, "group": group, "title": f"title <of> {key}", "primary": primary,
            "cpu": "cpu_s_per_gb", "variant": variant, "congestion": "reno", "others_percent": 12,
            "peers": {name: {"samples": samples, "summary": stats.summarize(samples),
                             "failures": [] if samples else ["it <broke>"]}
                      for name, samples in peers.items()}}


def run_of(*results):
    names = dict.fromkeys(name for result in results for name in result["peers"])
    return {"format": 1, "suite": "full", "started": "2026-01-01T00:00:00+00:00", "rounds": 5,
            "sample_seconds": 0.7, "seconds": 61.0, "busy_before_percent": 1.0,
            "steal_percent": 0.0, "others_percent": 1.0, "warnings": ["mind & matter"],
            "skipped": ["pasta: <none>"],
            "machine": {"cpu": "a & b", "cpus": 2, "memory_gib": 1, "kernel": "Linux",
                        "arch": "x", "build": {"buildtype": "release", "sanitize": "none"}},
            "peers": {name: {"label": name.upper(), "version": "1"} for name in names},
            "results": list(results), "targets": targets.evaluate(results)}


def speeds(*values):
    return [{"gbps": value} for value in values]


class Stats(unittest.TestCase):
    def test_summary(self):
        got = stats.summary([5, 1, 3, 2, 4])
        self.assertEqual(got, {"median": 3, "low": 2, "high": 4, "min": 1, "max": 5, "count": 5})

    def test_one_value_has_no_spread(self):
        got = stats.summary([7])
        self.assertEqual((got["median"], got["low"], got["high"]), (7, 7, 7))
        self.assertEqual(stats.noise(got), 0)

    def test_summarize_takes_the_samples_that_have_a_metric(self):
        got = stats.summarize([{"a": 1}, {"a": 3, "b": 10}])
        self.assertEqual((got["a"]["median"], got["a"]["count"]), (2, 2))
        self.assertEqual((got["b"]["median"], got["b"]["count"]), (10, 1))

    def test_noise_is_relative(self):
        self.assertAlmostEqual(stats.noise(stats.summary([90, 95, 100, 105, 110])), 0.05)
        self.assertEqual(stats.noise(stats.summary([-1, 0, 1])), 0.0)

    def _verdict(self, before, after, better="higher", floor=0.05):
        return stats.change(stats.summary(before), stats.summary(after), better, floor)[1]

    def test_change_beyond_the_noise(self):
        self.assertEqual(self._verdict([100, 101, 99], [80, 81, 79]), "worse")
        self.assertEqual(self._verdict([100, 101, 99], [120, 121, 119]), "better")
        self.assertEqual(self._verdict([100, 101, 99], [80, 81, 79], better="lower"), "better")

    def test_change_within_the_floor(self):
        self.assertEqual(self._verdict([100, 100, 100], [96, 96, 96]), "same")
        self.assertEqual(self._verdict([100, 100, 100], [94, 94, 94]), "worse")

    def test_change_within_the_noise(self):
        self.assertEqual(self._verdict([80, 100, 120], [70, 85, 110]), "same")

    def test_change_inside_the_other_runs_samples(self):
        # The middle halves are narrow, but one sample of the first run is as high as those of the second.
        self.assertEqual(self._verdict([70, 100, 100, 100, 100], [75, 75, 75, 75, 75]), "same")

    def test_change_from_zero(self):
        self.assertEqual(self._verdict([0, 0], [5, 5]), "same")


class Machine(unittest.TestCase):
    def test_unrest_does_not_count_our_own_work(self):
        end = time.monotonic() + 0.3
        unrest = machine.Unrest()
        while time.monotonic() < end:
            pass
        ours = procs.everything_cpu_ticks()
        others, stolen = unrest.percent()
        self.assertGreater(ours, 0)
        self.assertLessEqual(0, stolen)
        self.assertLessEqual(others, 100)

    def test_ranges_of_numbers(self):
        self.assertEqual(machine.number_ranges({3, 0, 1, 2, 5}), "0-3,5")
        self.assertEqual(machine.number_ranges({1}), "1")

    def test_builds_whose_figures_mean_little(self):
        self.assertEqual(machine.build_warning({"buildtype": "release", "sanitize": "none"}), "")
        self.assertIn("sanitizers", machine.build_warning({"sanitize": "address"}))
        self.assertIn("not optimized", machine.build_warning({"buildtype": "debug"}))


class Targets(unittest.TestCase):
    def _find(self, results, **want):
        found = [t for t in targets.evaluate(results) if all(t[k] == v for k, v in want.items())]
        self.assertEqual(len(found), 1, want)
        return found[0]

    def test_ratio(self):
        results = [entry("bulk-up-1", {"ringkit": speeds(30, 30, 30), "direct": speeds(40),
                                       "rootlesskit": speeds(20)})]
        met = self._find(results, scenario="bulk-up-1", metric="gbps", peer="rootlesskit",
                         variant="unpaced")
        self.assertEqual((met["met"], met["value"]), (True, 1.5))
        missed = self._find(results, scenario="bulk-up-1", metric="gbps", peer="direct",
                            variant="unpaced")
        self.assertEqual((missed["met"], missed["value"]), (False, 0.75))

    def test_what_was_not_measured_is_neither_met_nor_missed(self):
        results = [entry("bulk-up-1", {"ringkit": speeds(30), "rootlesskit": []})]
        failed = self._find(results, scenario="bulk-up-1", metric="gbps", peer="rootlesskit",
                            variant="unpaced")
        self.assertIsNone(failed["met"])
        self.assertIn("failed", failed["note"])
        absent = self._find(results, scenario="bulk-up-1", metric="gbps", peer="pasta",
                            variant="unpaced")
        self.assertIsNone(absent["met"])
        self.assertIn("pasta", absent["note"])
        bbr = self._find(results, scenario="bulk-up-1", peer="pasta", variant="bbr")
        self.assertEqual(bbr["note"], "scenario not run")

    def test_absolute(self):
        sample = {"held": 8000, "grown_rss_mib": 6.5, "idle_cpu_ms_per_s": 0, "pipes_held": 0}
        results = [entry("idle-8000", {"ringkit": [sample]}, "grown_rss_mib")]
        self.assertIs(self._find(results, metric="held", who="ringkit")["met"], True)
        self.assertIs(self._find(results, metric="grown_rss_mib", who="ringkit")["met"], False)

    def test_back_ends_are_compared_everywhere(self):
        results = [entry("bulk-up-64", {"ringkit": speeds(30), "ringkit-epoll": speeds(20)}),
                   entry("memory", {"ringkit": [{"rss_mib": 10}],
                                    "ringkit-epoll": [{"rss_mib": 11}]}, "rss_mib")]
        self.assertIs(self._find(results, scenario="bulk-up-64")["met"], False)
        self.assertIs(self._find(results, scenario="memory", peer="ringkit")["met"], True)

    def test_every_target_has_a_scenario_and_a_metric(self):
        keys = {scenario.key for scenario in suites.suite("full").scenarios}
        for target in targets.TARGETS:
            self.assertIn(target.scenario, keys)
            self.assertIn(target.metric, metrics.METRICS)
            if target.variant == "bbr":
                self.assertIn(target.scenario, suites.PACED_KEYS)


class Suites(unittest.TestCase):
    def test_keys_are_unique_and_metrics_known(self):
        for kind in ("full", "quick", "smoke", "profile"):
            chosen = suites.suite(kind).scenarios
            keys = [scenario.key for scenario in chosen]
            self.assertEqual(len(keys), len(set(keys)))
            for scenario in chosen:
                self.assertIn(scenario.primary, metrics.METRICS)
                self.assertTrue(scenario.cpu is None or scenario.cpu in metrics.METRICS)

    def test_paced_keys_are_scenarios_of_the_full_run(self):
        keys = {scenario.key for scenario in suites.suite("full").scenarios}
        self.assertLessEqual(set(suites.PACED_KEYS), keys)


class Results(unittest.TestCase):
    """Writing figures between the marker lines of a file."""

    def _write(self, text, runs, **kw):
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "R.md")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            results.write(path, runs, **kw)
            with open(path, encoding="utf-8") as file:
                return file.read()

    def test_figures_take_the_place_of_figures(self):
        run = run_of(entry("bulk-up-1", {"ringkit": speeds(30, 31, 33), "direct": speeds(40),
                                         "pasta": []}))
        frame = f"before\n{results.BEGIN}\nold\n{results.END}\nafter\n"
        once = self._write(frame, [run])
        self.assertTrue(once.startswith(f"before\n{results.BEGIN}\n\n## Run of 2026-01-01"))
        self.assertTrue(once.endswith(f"{results.END}\nafter\n"))
        self.assertNotIn("old", once)
        self.assertIn("| 31.0 | 40.0 | failed |", once)
        self.assertIn("congestion control reno", once)
        self.assertIn("1 missed", once)
        self.assertEqual(self._write(once, [run]), once)
        self.assertEqual(self._write(frame, [run, run]).count("## Run of"), 2)

    def test_figures_are_added_before_figures(self):
        run = run_of(entry("bulk-up-1", {"ringkit": speeds(30)}))
        frame = f"before\n{results.BEGIN}\n\nold\n\n{results.END}\nafter\n"
        got = self._write(frame, [run], add=True)
        self.assertLess(got.index("## Run of"), got.index("\n\nold\n\n"))
        self.assertEqual(self._write(frame.replace("old", ""), [run], add=True), self._write(frame, [run]))

    def test_a_file_without_a_place_is_left_alone(self):
        with self.assertRaises(results.Unusable):
            self._write("no markers", [run_of()])
        with self.assertRaises(results.Unusable):
            results.check("/nonexistent/R.md")

    def test_places_where_nothing_can_be_written(self):
        with self.assertRaisesRegex(SystemExit, "^--out=/proc/x: "):
            cli.Files("/proc/x", "stem")
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "R.md")
            with open(path, "w", encoding="ascii") as file:
                file.write(f"{results.BEGIN}\n{results.END}\n")
            results.check(path)
            with unittest.mock.patch("os.access", return_value=False), \
                    self.assertRaisesRegex(results.Unusable, "beside it"):
                results.check(path)


class PeerDirs(unittest.TestCase):
    """The option --peer-dir=NAME=DIR."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.dir = scratch.name

    def _program(self, path, version=""):
        path = os.path.join(self.dir, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as file:
            file.write(f"#!/bin/sh\necho '{version}'\n")
        os.chmod(path, 0o755)

    def test_what_becomes_of_a_directory(self):
        self._program("a/rootlesskit", "rootlesskit version 3.0.0")
        self._program("a/rootlessctl")
        self._program("b/src/rootlesskit", "rootlesskit version 2.0.0+ringkit")
        self._program("b/src/ctl/rootlessctl")
        self._program("c/usr/bin/pasta", "pasta 2026")
        self._program("d/bin/slirp4netns", "slirp4netns 1.4")
        for directory, names in (("a", ["x"]), ("b", ["x", "x-epoll", "net-x"]),
                                 ("c", ["x", "net-x"]), ("d", ["net-x"])):
            name, path = peerdirs.parse(f"x={self.dir}/{directory}")
            self.assertEqual(peerdirs.names(name, path), names)
            made = peerdirs.makers(_Installer(), name, path)
            self.assertEqual(sorted(made), sorted(names))

    def test_wrong_words(self):
        self._program("a/rootlesskit")
        for word in ("x", "=dir", "x y=dir", f"x={self.dir}", "x=/nonexistent",
                     f"x={self.dir}/a"):
            with self.assertRaises(peerdirs.Unusable):
                peerdirs.parse(word)


class CommandLine(unittest.TestCase):
    """The options of bench/run."""

    def _refused(self, *words):
        said = io.StringIO()
        with contextlib.redirect_stderr(said), self.assertRaises(SystemExit) as end:
            cli.parse(["bench/run", *words])
        self.assertEqual(end.exception.code, 2)
        return said.getvalue()

    def test_options_of_ringkit(self):
        for words in (["--options", "--workers=1"], ["--options=--workers=1"]):
            got = cli.parse(["bench/run", "--peers", "direct,options", *words, "--rounds", "3"])
            self.assertEqual((got.options, got.peers, got.rounds), ("--workers=1", ["direct", "options"], 3))

    def test_options_of_ringkit_that_are_missing(self):
        self.assertIn("say which options", self._refused("--peers=direct,options"))
        self.assertIn("expected one argument", self._refused("--options"))

    def test_a_name_belongs_to_one_peer(self):
        with tempfile.TemporaryDirectory() as directory:
            for program in ("rootlesskit", "rootlessctl"):
                path = os.path.join(directory, program)
                with open(path, "w", encoding="ascii") as file:
                    file.write("#!/bin/sh\n")
                os.chmod(path, 0o755)
            for words in (["--peer-dir", f"x={directory}", "--other-build", directory, "--peer-dir",
                           f"other={directory}"],
                          ["--peer-dir", f"options={directory}", "--options=--workers=1"]):
                self.assertIn("two peers would have the name", self._refused(*words))


class _Installer:
    """A stand-in for Programs."""

    @staticmethod
    def install(source, _name):
        return source


class Compare(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)

    def _file(self, name, content):
        path = os.path.join(self.dir.name, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(content if isinstance(content, str) else json.dumps(content))
        return path

    def _main(self, before, after):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = compare.main(["compare", self._file("a", before), self._file("b", after)])
        return status, out.getvalue(), err.getvalue()

    def _runs(self, before, after, **others):
        """Two runs, with the first and the second list of speeds of ringkit, and of other peers."""
        peers = {"ringkit": (before, after), **others}
        return [run_of(entry("bulk-up-1", {name: speeds(*pair[i])
                                           for name, pair in peers.items()})) for i in (0, 1)]

    def test_regression_fails(self):
        status, out, _ = self._main(*self._runs([30, 31, 32], [20, 21, 22]))
        self.assertEqual(status, 1)
        self.assertIn("worse", out)
        self.assertIn("1 regressions", out)

    def test_gain_and_standstill_pass(self):
        status, out, _ = self._main(*self._runs([30, 31, 32], [40, 41, 42]))
        self.assertEqual(status, 0)
        self.assertIn("better", out)
        status, out, _ = self._main(*self._runs([30, 31, 32], [30, 31, 32]))
        self.assertEqual(status, 0)
        self.assertIn("0 beyond the noise", out)

    def test_peers_that_got_slower_do_not_fail(self):
        status, out, _ = self._main(*self._runs([30, 31, 32], [30, 31, 32],
                                                pasta=([30, 30, 30], [20, 20, 20])))
        self.assertEqual(status, 0)
        self.assertIn("pasta", out)

    def test_what_the_others_did_too_is_the_machine(self):
        others = {name: ([40, 40, 40], [27, 27, 27]) for name in ("direct", "pasta")}
        status, _, _ = self._main(*self._runs([30, 31, 32], [20, 21, 22], **others))
        self.assertEqual(status, 0)

    def test_a_peer_of_another_version_is_no_control(self):
        before, after = self._runs([30, 31, 32], [20, 21, 22], pasta=([40] * 3, [27] * 3))
        after["peers"]["pasta"]["version"] = "2"
        self.assertEqual(self._main(before, after)[0], 1)

    def test_failure_where_there_was_a_figure_is_a_regression(self):
        before, after = self._runs([30, 31, 32], [])
        status, out, _ = self._main(before, after)
        self.assertEqual(status, 2)  # there is nothing else to compare
        before["results"].append(entry("memory", {"ringkit": [{"rss_mib": 10}]}, "rss_mib"))
        after["results"].append(entry("memory", {"ringkit": [{"rss_mib": 10}]}, "rss_mib"))
        status, out, _ = self._main(before, after)
        self.assertEqual(status, 1)
        self.assertIn("failed", out)

    def test_bad_files(self):
        good = self._runs([30], [30])[0]
        for bad, word in (("{", "not JSON"), ({"format": 99}, "expected"), ("[]", "expected")):
            status, _, err = self._main(good, bad)
            self.assertEqual(status, 2)
            self.assertIn(word, err)
        with contextlib.redirect_stderr(io.StringIO()) as err:
            self.assertEqual(compare.main(["compare", "/nonexistent/a", "/nonexistent/b"]), 2)
        self.assertIn("No such file", err.getvalue())

    def test_nothing_in_common(self):
        other = run_of(entry("bulk-down-1", {"ringkit": speeds(1)}))
        status, _, err = self._main(self._runs([30], [30])[0], other)
        self.assertEqual(status, 2)
        self.assertIn("in common", err)


class _Balance(HTMLParser):
    """A parser that fails if tags are not closed in order."""

    VOID = {"meta", "br", "rect", "path", "circle"}

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], {}, []

    def handle_starttag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            raise AssertionError(f"</{tag}> closes something else")

    def handle_data(self, data):
        self.text.append(data)


class Reports(unittest.TestCase):
    def _run(self):
        latency = {"rps": 1000.0, "p50_us": 50, "p90_us": 60, "p99_us": 200, "max_us": 900}
        return run_of(
            entry("bulk-up-1", {"ringkit": speeds(30, 31, 33), "direct": speeds(40), "pasta": []}),
            entry("bulk-up-16", {"ringkit": speeds(30, 31, 33), "direct": speeds(40)}),
            entry("reqres-64x64", {"ringkit": [latency, latency]}, "rps", "bbr", "Requests"))

    def _parse(self, page):
        parser = _Balance()
        parser.feed(page)
        self.assertEqual(parser.open, [])
        return parser

    def test_page_is_whole_and_needs_no_network(self):
        page = report.page(self._run())
        parser = self._parse(page)
        self.assertGreater(parser.seen["svg"], 4)
        for word in ("http://", "https://", "<script", "<link", "@import", "url("):
            self.assertNotIn(word, page)

    def test_page_shows_figures_targets_skips_and_failures(self):
        text = " ".join(self._parse(report.page(self._run())).text)
        for word in ("Targets", "0.78", "pasta: <none>", "it <broke>", "mind & matter",
                     "Latency percentiles", "Scaling", "title <of> bulk-up-1", "RINGKIT"):
            self.assertIn(word, text)

    def test_page_of_nothing(self):
        self._parse(report.page(run_of()))

    def test_tables(self):
        run = self._run()
        text = table.results(run["results"], list(run["peers"]))
        self.assertIn("31.0 ±2%", text)
        self.assertIn("failed", text)
        text = table.targets(run["targets"])
        self.assertIn("failed", text)
        self.assertIn("not measured", text)
        self.assertNotIn("udp-1400-200", text)  # not run
        self.assertLessEqual(max(map(len, text.splitlines())), 100)

    def test_every_target_fits_a_terminal(self):
        found = [dict(t._asdict(), ours=1, theirs=1, value=12345.678, met=False, note="",
                      unmeasured=False) for t in targets.TARGETS]
        self.assertLessEqual(max(map(len, table.targets(found).splitlines())), 100)

    def test_charts_are_well_formed(self):
        stat = stats.summary([1, 2, 4])
        chart = svg.bars([("a", "A & B", stat, ""), ("b", "<b>", None, "failed")], "a \"label\"")
        xml.dom.minidom.parseString(chart)
        points = {"1": (1, 0.5, 2), "64": (1000, 900, 1100)}
        for log in (False, True):
            chart = svg.lines(["1", "64"], [("a", "A", points), ("b", "B", {})], "x", log)
            xml.dom.minidom.parseString(chart)
        xml.dom.minidom.parseString(svg.lines(["1"], [("a", "A", {"1": (0, 0, 0)})], "x", True))
        self.assertEqual(svg.lines(["1"], [], "x"), "")

    def test_longer_bars_for_larger_figures(self):
        small, large = stats.summary([10]), stats.summary([20])
        doc = xml.dom.minidom.parseString(
            svg.bars([("a", "A", small, ""), ("b", "B", large, "")], "x"))
        widths = [float(r.getAttribute("width")) for r in doc.getElementsByTagName("rect")]
        self.assertAlmostEqual(widths[1] / widths[0], 2, places=2)

    def test_numbers(self):
        self.assertEqual([svg.number(v) for v in (0, 0.053, 1.5, 35.25, 950, 61940, 2.5e6, 3e9)],
                         ["0", "0.053", "1.50", "35.2", "950", "61.9k", "2.5M", "3G"])


PERF = """\
rk-worker 12
\tffffffff81 tcp_sendmsg ([kernel.kallsyms])
\tffffffff82 do_syscall_64+0x1 ([kernel.kallsyms])
\t    7f01 [unknown] (/usr/lib/libc.so.6)
\t    7f02 [unknown] (/usr/lib/libc.so.6)
\t    5501 worker_run (/tmp/x/rootlesskit)

rk-worker 12
\tffffffff81 tcp_sendmsg ([kernel.kallsyms])
\tffffffff82 do_syscall_64+0x1 ([kernel.kallsyms])

other name 13
\t    5502 main (/bin/other)
\t       8 [unknown] ([unknown])

"""


class Profiles(unittest.TestCase):
    def test_parse(self):
        stacks = flame.parse(PERF)
        self.assertEqual(sum(stacks.values()), 3)
        self.assertIn((("rk-worker", "thread"), ("worker_run", "user"), ("[libc.so.6]", "user"),
                       ("do_syscall_64+0x1", "kernel"), ("tcp_sendmsg", "kernel")), stacks)
        self.assertIn((("other name", "thread"), ("[unknown]", "user"), ("main", "user")), stacks)

    def test_hottest(self):
        hot = flame.hottest(flame.parse(PERF))
        self.assertEqual(hot[0], ("tcp_sendmsg", "kernel", 2, 2))
        self.assertIn(("main", "user", 1, 1), hot)

    def test_svg(self):
        stacks = flame.parse(PERF)
        doc = xml.dom.minidom.parseString(flame.svg(stacks, "a <title>"))
        titles = [t.firstChild.data for t in doc.getElementsByTagName("title")]
        self.assertIn("tcp_sendmsg (kernel): 1 samples, 33.3 %", titles)
        self.assertIn("rk-worker (thread): 2 samples, 66.7 %", titles)
        xml.dom.minidom.parseString(flame.svg(flame.parse(""), "nothing"))

    def test_perf_trace(self):
        text = """
 rk-worker (12), 9 events, 50.0%

   syscall            calls  errors  total       min       avg       max       stddev
                                     (msec)    (msec)    (msec)    (msec)        (%)
   --------------- --------  ------ -------- --------- --------- ---------     ------
   splice                 7      2     1.500     0.010     0.010     0.010      0.00%
   io_uring_enter         2      0    10.000     0.010     0.010     0.010     12.00%

 rk-worker (13), 1 events, 50.0%

   splice                 3      0     0.500     0.010     0.010     0.010      0.00%
"""
        self.assertEqual(profile.parse_perf_trace(text),
                         {"splice": (10, 2, 2.0), "io_uring_enter": (2, 0, 10.0)})

    def test_strace(self):
        text = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 90.00    0.001500           1       700        20 splice
 10.00    0.000100           1        30           epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.001600           2       730        20 total
"""
        self.assertEqual(profile.parse_strace(text),
                         {"splice": (700, 20, 1.5), "epoll_wait": (30, 0, 0.1)})


class Parsers(unittest.TestCase):
    WRK = """\
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.01ms    0.5ms   9.00ms   90.00%
  Latency Distribution
     50%  850.00us
     99%    2.25ms
  61000 requests in 1.00s, 20.00MB read
  Socket errors: connect 0, read 2, write 0, timeout 1
Requests/sec:  60999.50
"""

    def test_wrk(self):
        got = programs.parse_wrk(self.WRK)
        self.assertEqual(got["rps"], 60999.5)
        self.assertEqual((got["p50_us"], got["p99_us"]), (850, 2250))
        self.assertEqual(got["failures"], 3)

    def test_wrk_without_a_rate(self):
        with self.assertRaises(programs.Failed):
            programs.parse_wrk("unable to connect")

    def test_udp(self):
        sent = {"sent": 1000, "seconds": 0.5}
        got = {"received": 900, "reordered": 9, "doubled": 1, "damaged": 0,
               "latency_us": {"p50": 10}}
        sample = scenarios.udp_sample(sent, got)
        self.assertAlmostEqual(sample["kdps"], 1.8)
        self.assertAlmostEqual(sample["lost_pct"], 10)
        self.assertAlmostEqual(sample["reordered_pct"], 1)
        self.assertEqual(sample["p50_us"], 10)
        with self.assertRaises(programs.Failed):
            scenarios.udp_sample({"sent": 0, "seconds": 1}, got)


if __name__ == "__main__":
    unittest.main()
