#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How the bench takes its samples: order, failures, forwarders that die; the way of the payload."""

import io
import os
import sys
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "..", "tests", "integration")]

from ringbench import programs, runner, scenarios, suites  # noqa: E402


class _Peer:
    """A peer whose interfaces moved some bytes during a sample."""

    name = "pasta"

    def __init__(self, *readings):
        self.readings = list(readings)

    def other_bytes(self):
        return self.readings.pop(0)


class Paths(unittest.TestCase):
    def _sample(self, payload, on_interfaces):
        with scenarios.over_loopback(_Peer(1000, 1000 + on_interfaces), lambda: payload):
            pass

    def test_payload_over_loopback(self):
        self._sample(10 ** 9, 0)
        self._sample(10 ** 9, 50_000)  # some neighbour discovery does no harm

    def test_payload_over_an_interface_is_refused(self):
        with self.assertRaises(programs.Failed):
            self._sample(10 ** 9, 10 ** 9)


class _Forwarder:
    """A peer that is always there."""

    services = frozenset()
    core_only = False

    def __init__(self, name):
        self.name = self.label = name
        self.up = True

    def alive(self):
        return self.up

    def start(self, _programs, _congestion):
        self.up = True

    def stop(self):
        self.up = False


class _Scenario(scenarios.Scenario):
    primary, group = "gbps", "Test"

    def __init__(self, act=lambda peer, seconds: None):
        super().__init__("test", "a test")
        self.act = act
        self.calls = []

    def sample(self, peer, programs, seconds):
        self.calls.append((peer.name, seconds))
        self.act(peer, seconds)
        return {"gbps": 1.0}


class _Host:
    congestion_now = "reno"

    def congestion_controls(self):
        return ["reno", "bbr"]

    def set_congestion(self, name):
        self.congestion_now = name

    def congestion(self):
        return self.congestion_now


class Running(unittest.TestCase):
    def _run(self, scenario, rounds=3, names=("a", "b")):
        self.out = io.StringIO()
        chosen = suites.Suite([scenario], rounds, 1.0, 0.1)
        self.runner = runner.Runner(_Host(), None, chosen, runner.Progress(self.out))
        self.runner.peers = {name: _Forwarder(name) for name in names}
        self.runner.run(self.runner.plan([], []))
        self.assertEqual(len(self.runner.results), 1)  # not a scenario for BBR
        return self.runner.results[0]["peers"]

    def test_rounds_are_interleaved_after_a_warm_up(self):
        scenario = _Scenario()
        peers = self._run(scenario, rounds=2)
        self.assertEqual(scenario.calls, [("a", 0.1), ("b", 0.1)] + [("a", 1.0), ("b", 1.0)] * 2)
        self.assertEqual(len(peers["a"]["samples"]), 2)

    def test_a_long_scenario_runs_once(self):
        scenario = _Scenario()
        scenario.once, scenario.warm = True, False
        self._run(scenario)
        self.assertEqual(scenario.calls, [("a", 1.0), ("b", 1.0)])

    def test_failures_are_kept_and_not_repeated_for_ever(self):
        def act(peer, seconds):
            if peer.name == "a":
                raise programs.Failed("no luck")
        scenario = _Scenario(act)
        peers = self._run(scenario, rounds=5)
        self.assertEqual(peers["a"]["failures"], ["no luck"])
        self.assertEqual((peers["a"]["samples"], peers["a"]["summary"]), ([], {}))
        self.assertEqual(scenario.calls.count(("a", 1.0)), runner.FAILURES_MAX)
        self.assertEqual(len(peers["b"]["samples"]), 5)
        self.assertIn("failed: test, a: no luck", self.out.getvalue())

    def test_a_warm_up_may_fail(self):
        def act(peer, seconds):
            if seconds < 1:
                raise programs.Failed("too short")
        peers = self._run(_Scenario(act))
        self.assertEqual((peers["a"]["failures"], len(peers["a"]["samples"])), ([], 3))

    def test_one_that_hangs_is_not_tried_again(self):
        def act(peer, seconds):
            if peer.name == "a":
                raise programs.TimedOut("no result")
        scenario = _Scenario(act)
        self._run(scenario)
        self.assertEqual(scenario.calls.count(("a", 0.1)), 1)
        self.assertNotIn(("a", 1.0), scenario.calls)

    def test_a_forwarder_that_died_is_said_to_and_started_again(self):
        deaths = [1]

        def act(peer, seconds):
            if peer.name == "a" and seconds == 1.0 and deaths:
                deaths.pop()
                peer.up = False
                raise programs.Failed("reset")
        peers = self._run(_Scenario(act))
        self.assertEqual(peers["a"]["failures"], ["reset; the forwarder has ended"])
        self.assertEqual(len(peers["a"]["samples"]), 2)

    def test_patterns(self):
        chosen = suites.suite("full").scenarios
        self.assertEqual([s.key for s in runner.select(chosen, ["bulk-*-1", "memory"])],
                         ["bulk-up-1", "bulk-down-1", "bulk-both-1", "memory"])
        self.assertEqual(runner.select(chosen, []), chosen)
        with self.assertRaises(SystemExit):
            runner.select(chosen, ["bulk-*", "nothing"])


if __name__ == "__main__":
    unittest.main()
