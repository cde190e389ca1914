#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the whole bench with tiny loads, so that a fault of the bench is noticed. Does not check any speed.

Arguments: the build directory.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = os.path.dirname(os.path.realpath(__file__))
RUN, COMPARE = os.path.join(HERE, "..", "run"), os.path.join(HERE, "..", "compare")
SKIP = 77
BUILD_DIR = sys.argv.pop(1) if len(sys.argv) > 1 else os.path.join(HERE, "..", "..", "build")


class Reqres(unittest.TestCase):
    def test_the_first_answer_is_waited_for(self):
        """A run that is shorter than the first answer takes goes on until that has come."""
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()

            def serve():
                for _ in range(2):  # the first is the warm-up's
                    conn = server.accept()[0]
                    with conn:
                        question = conn.recv(64)
                        time.sleep(0.5)
                        conn.sendall(question)
            threading.Thread(target=serve, daemon=True).start()
            done = subprocess.run([BUILD_DIR + "/bench/bench-reqres", "--host=127.0.0.1", "--conns=1",
                                   f"--port={server.getsockname()[1]}", "--seconds=0.1", "--warmup=0.001",
                                   "--reconnect"], capture_output=True, text=True, check=True)
        got = json.loads(done.stdout)
        self.assertEqual((got["requests"], got["failures"]), (1, 0))
        self.assertGreaterEqual(got["seconds"], 0.4)


class Smoke(unittest.TestCase):
    # Drivers with pasta are missing: pasta of Debian 12 sometimes cuts off the end of a stream.
    DRIVERS = ("net-direct", "net-builtin", "net-slirp4netns", "net-lxc-user-nic",
               "net-vdeplug_slirp", "net-vpnkit", "port-slirp4netns",
               "port-socat", "docker-direct", "docker-proxy", "workers-2")

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.out = scratch.name

    def _bench(self, *options):
        done = subprocess.run([sys.executable, RUN, "--build-dir", BUILD_DIR, "--out", self.out,
                               *options], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False)
        if done.returncode == SKIP:
            self.skipTest(done.stdout.strip())
        return done

    def _file(self, suffix):
        found = [name for name in os.listdir(self.out) if name.endswith(suffix)]
        self.assertEqual(len(found), 1, found)
        return os.path.join(self.out, found[0])

    def test_run(self):
        done = self._bench("--suite=smoke", "--peers=direct,ringkit,ringkit-epoll,rootlesskit,"
                           + ",".join(self.DRIVERS))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(self._file(".json"), encoding="utf-8") as file:
            run = json.load(file)
        listed = self._bench("--suite=smoke", "--list").stdout.splitlines()
        self.assertEqual([entry["scenario"] for entry in run["results"]],
                         [line.split()[0] for line in listed])
        for entry in run["results"]:
            for peer in {"ringkit", "ringkit-epoll", *self.DRIVERS} & set(entry["peers"]):
                of = entry["peers"][peer]
                self.assertEqual(of["failures"], [], (entry["scenario"], peer))
                self.assertEqual(len(of["samples"]), 1, (entry["scenario"], peer))
                self.assertIn(entry["primary"], of["summary"])
            if entry["group"] not in ("Networks", "Docker", "Workers"):
                self.assertIn("ringkit", entry["peers"])
        self._drivers(run)
        udp = next(e for e in run["results"] if e["scenario"] == "udp-1400-5")
        for of in udp["peers"].values():
            for sample in of["samples"]:
                self.assertEqual((sample["doubled"], sample["damaged"]), (0, 0))
        with open(self._file(".html"), encoding="utf-8") as file:
            self.assertIn("<svg", file.read())
        same = subprocess.run([sys.executable, COMPARE, self._file(".json"), self._file(".json")],
                              capture_output=True, text=True, check=False)
        self.assertEqual(same.returncode, 0, same.stdout + same.stderr)
        self.assertIn("0 regressions", same.stdout)

    def _drivers(self, run):
        """Each driver took part in its own group only, or the output says why it was skipped."""
        seen = {}
        for entry in run["results"]:
            for peer in set(self.DRIVERS) & set(entry["peers"]):
                seen.setdefault(peer, set()).add(entry["group"])
        for peer in self.DRIVERS:
            group = {"net": "Networks", "port": "Port drivers", "docker": "Docker",
                     "workers": "Workers"}[peer.partition("-")[0]]
            if not any(text.startswith(peer + ":") for text in run["skipped"]):
                self.assertEqual(seen.get(peer), {group}, peer)

    def test_profile(self):
        done = self._bench("--profile", "--only=reqres-1x64", "--peers=ringkit", "--seconds=0.3")
        if "nothing can be profiled" in done.stdout:
            self.skipTest(done.stdout.strip())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        with open(self._file("profile.json"), encoding="utf-8") as file:
            profile = json.load(file)
        self.assertEqual([p["scenario"] for p in profile["profiles"]], ["reqres-1x64"])

    def test_wrong_words(self):
        for option, word in (("--peers=nobody", "expected one of"), ("--rounds=0", "1 to 1000"),
                             ("--only=nothing", "no such scenario"),
                             ("--build-dir=/nonexistent", "build it with")):
            done = self._bench("--suite=smoke", option)
            self.assertNotEqual(done.returncode, 0, option)
            self.assertIn(word, done.stdout + done.stderr)
            self.assertNotIn("Traceback", done.stdout + done.stderr)


if __name__ == "__main__":
    result = unittest.main(exit=False).result
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIP if len(result.skipped) == result.testsRun else 0)
