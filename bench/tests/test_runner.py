#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests how the bench takes its samples: their order, failures, forwarders that die, and whether the payload
takes the way that it should."""

import io
import os
import sys
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "..", "..", "tests", "integration")]

from ringbench import (drivers, host, networks, peers, programs, runner, scenarios,  # noqa: E402
                       suites)


class _Peer:
    """A peer whose interfaces moved some bytes during a sample."""

    name = "pasta"
    over_loopback = True

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
        self._sample(10 ** 9, 50_000)  # a little traffic, such as neighbour discovery, is allowed

    def test_payload_over_an_interface_is_refused(self):
        with self.assertRaises(programs.Failed):
            self._sample(10 ** 9, 10 ** 9)


class _Forwarder:
    """A peer that needs no program."""

    services = frozenset()
    core_only = False
    only = ""

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
        self.assertEqual(len(self.runner.results), 1)  # the scenario is not measured with BBR
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

    def test_the_run_goes_on_after_whatever_breaks(self):
        def act(peer, seconds):
            if peer.name == "a":
                raise FileNotFoundError("/proc/1/gone")
        peers = self._run(_Scenario(act))
        self.assertEqual(len(peers["a"]["failures"]), 1)
        self.assertIn("/proc/1/gone", peers["a"]["failures"][0])
        self.assertEqual(len(peers["b"]["samples"]), 3)

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


class _World:
    path = {"rootlesskit": "/bin/true", "rootlessctl": "/bin/true"}


class _BareHost:
    world = _World()


class Drivers(unittest.TestCase):
    """Which peers take part in the scenarios of the driver groups."""

    def setUp(self):
        self.peers = {}
        for index, (name, make) in enumerate({**peers.PEERS, **drivers.DRIVERS}.items()):
            try:
                self.peers[name] = make(_BareHost(), name, index)
            except host.Skip:
                pass  # not installed here

    def _those_in(self, scenario):
        return {name for name, peer in self.peers.items()
                if runner.Runner._takes_part(scenario, peer, "unpaced")}

    def test_networks_take_part_where_they_know_the_mtu(self):
        small = self._those_in(networks.NetworkBulk(1500))
        large = self._those_in(networks.NetworkBulk(65520))
        self.assertLessEqual({"net-slirp4netns", "net-lxc-user-nic", "net-pasta", "net-vpnkit",
                              "net-vdeplug_slirp"}, small)
        self.assertIn("net-direct", small)
        self.assertEqual(small - large, {"net-vpnkit", "net-vdeplug_slirp"})
        self.assertTrue(all(name.startswith("net-") for name in small))

    def test_where_clients_and_servers_are(self):
        bulk = {place: self._those_in(networks.NetworkBulk(65520, place=place))
                for place in (networks.HERE, networks.FAR, networks.BRIDGE)}
        self.assertIn("net-direct", bulk[networks.FAR])
        self.assertNotIn("net-direct", bulk[networks.BRIDGE])
        self.assertIn("net-builtin", bulk[networks.BRIDGE])
        # The slow peers only take part in the core scenarios.
        self.assertIn("net-lxc-user-nic", bulk[networks.HERE])
        self.assertNotIn("net-lxc-user-nic", bulk[networks.FAR])
        self.assertNotIn("net-direct", self._those_in(networks.NetworkMemory()))

    def test_port_drivers_beside_the_builtin_ones(self):
        for scenario in (drivers.PublishedBulk(), drivers.PublishedRequests(64)):
            there = self._those_in(scenario)
            self.assertLessEqual({"ringkit", "port-socat", "port-implicit"}, there)
            self.assertEqual(there & {"ringkit-epoll", "pasta", "socat", "direct"}, set())
            self.assertFalse(any(name.startswith("net-") for name in there))

    def test_nowhere_else(self):
        for scenario in suites.suite("quick").scenarios:
            self.assertEqual(self._those_in(scenario) & set(drivers.DRIVERS), set(), scenario.key)

    def test_ports_outside_are_all_different(self):
        bases = [peer.base for peer in self.peers.values()]
        self.assertEqual(len(set(bases)), len(bases))
        self.assertLess(max(bases) + 100, 30000)

    def test_a_network_runs_again_with_another_mtu_only(self):
        peer, calls = self.peers["net-slirp4netns"], []
        peer.start = lambda _programs, _congestion: calls.append(peer.mtu)
        peer.alive = lambda: bool(calls)
        peer.host = _Host()
        for mtu in (1500, 1500, 65520, 65520):
            peer.use_mtu(mtu, None)
        self.assertEqual(calls, [1500, 65520])

    def test_a_network_that_cannot_start_fails_the_sample(self):
        peer = self.peers["net-slirp4netns"]
        peer.host = _Host()

        def start(_programs, _congestion):
            raise host.Skip("no luck")
        peer.start = start
        with self.assertRaisesRegex(programs.Failed, "no luck"):
            peer.use_mtu(1500, None)


class Unwanted(unittest.TestCase):
    def test_one_that_cannot_start_is_left_out(self):
        scenario = _Scenario()
        chosen = suites.Suite([scenario], 1, 1.0, 0.1)
        out = io.StringIO()
        run = runner.Runner(_Host(), None, chosen, runner.Progress(out))
        run.peers = {name: _Forwarder(name) for name in ("a", "b")}

        def start(_programs, _congestion):
            raise OSError("no such thing")
        run.peers["a"].start = start
        run.run(run.plan([], []))
        self.assertEqual(list(run.results[0]["peers"]), ["b"])
        self.assertIn("skipped: a: no such thing", out.getvalue())

    def test_peers_are_up_while_they_are_needed(self):
        class Group(_Scenario):
            def __init__(self, group, seen):
                super().__init__()
                self.group, self.seen = group, seen

            def sample(self, peer, programs, seconds):
                self.seen.append((self.group, sorted(n for n, p in run.peers.items() if p.up)))
                return {"gbps": 1.0}
        seen = []
        chosen = suites.Suite([Group("A", seen), Group("B", seen)], 1, 1.0, 0.1)
        run = runner.Runner(_Host(), None, chosen, runner.Progress(io.StringIO()))
        run.peers = {name: _Forwarder(name) for name in ("a", "b", "all")}
        for name, group in (("a", "A"), ("b", "B")):
            run.peers[name].only = group
        for peer in run.peers.values():
            peer.up = False
        run.run(run.plan([], []))
        self.assertEqual({group: up for group, up in seen},
                         {"A": ["a", "all"], "B": ["all", "b"]})
        self.assertFalse(any(peer.up for peer in run.peers.values()))

    def test_a_peer_without_a_scenario_is_not_started(self):
        scenario = _Scenario()
        started = []
        chosen = suites.Suite([scenario], 1, 1.0, 0.1)
        run = runner.Runner(_Host(), None, chosen, runner.Progress(io.StringIO()))
        run.peers = {name: _Forwarder(name) for name in ("a", "b")}
        for name, peer in run.peers.items():
            peer.start = lambda _programs, _congestion, name=name: started.append(name)
        run.peers["b"].only = "Another group"
        run.run(run.plan([], []))
        self.assertEqual(started, ["a"])
        self.assertEqual(list(run.results[0]["peers"]), ["a"])


if __name__ == "__main__":
    unittest.main()
