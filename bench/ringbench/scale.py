# SPDX-License-Identifier: Apache-2.0
"""Scenarios with many ports, many idle connections, and several workers.

The forwarders run with the limit on descriptors that an ordinary user has. Some scenarios need a higher
limit. They are skipped where it cannot be had: only root with CAP_SYS_RESOURCE may exceed the hard limit.
"""

import json
import subprocess
import time

from . import procs
from .host import NOFILE, Skip
from .peers import SERVICES, RootlessKit
from .programs import Failed, run_json, run_text
from .scenarios import Bulk, Memory, Requests, Scenario, Startup, instance

WORKERS = "Workers"
# Descriptors that a process needs in addition to those of the scenario's connections or ports.
SPARE = 500
# How many connections use the same source address. There are about 28,000 ephemeral ports.
PORTS_OF_AN_ADDRESS = 20000
CONNS_OF_A_SERVER = 50000


def _nofile(host, wanted):
    """The limit on descriptors for the forwarder, at least the usual one. Raises Skip if it cannot be had."""
    if wanted <= NOFILE:
        return NOFILE
    if not host.may_hold(wanted):
        raise Skip(f"{wanted:,} descriptors are more than may be had here (hard limit "
                   f"{host.hard_limit():,}, no CAP_SYS_RESOURCE)")
    return wanted


class _Scale(Scenario):
    once, warm = True, False
    descriptors = 0  # how many the forwarder needs in one process

    def check(self, programs):
        try:
            _nofile(programs.host, self.descriptors)
        except Skip as why:
            raise Skip(f"{self.key}: {why}") from None


def _let_go(holder):
    """Ends a program that holds connections until its standard input ends."""
    try:
        holder.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        holder.kill()
        holder.communicate()


class Idle(_Scale):
    """Connections through a fresh instance that carry one byte each way and are idle from then on."""

    primary, group = "grown_rss_mib", "Idle connections"
    needs = frozenset({"echo"})
    LOOK_S = 2

    def __init__(self, conns, ours_alone=False):
        super().__init__(f"idle-{conns}", f"{conns:,} idle connections")
        self.conns, self.ours_alone = conns, ours_alone
        # Two descriptors for each connection. SPARE covers the pipes that are kept for later flows.
        self.descriptors = 2 * conns + SPARE

    def applies(self, peer):
        return (super().applies(peer) and not peer.core_only and peer.forwards
                and (peer.ours or not self.ours_alone))

    def _holders(self, peer, programs):
        """Command lines of the clients, one for each server. There is more than one server because an
        address has a limited number of ports for connections to the same server."""
        servers = ["echo", "close"][:-(-self.conns // CONNS_OF_A_SERVER)]
        share = -(-self.conns // len(servers))
        return [["prlimit", f"--nofile={share + SPARE}:{share + SPARE}",
                 *programs.client(peer, service, "idle", f"--conns={share}",
                                  f"--sources={-(-share // PORTS_OF_AN_ADDRESS)}")]
                for service in servers]

    def sample(self, peer, programs, seconds):
        nofile = _nofile(peer.host, self.descriptors)
        with instance(peer, programs, {"echo", "close"}, nofile=nofile) as own:
            before = procs.memory(own.forwarder_pids())
            pipes = sum(procs.descriptors(own.forwarder_pids(), "pipe:"))
            holders, held = [], []
            try:
                for argv in self._holders(own, programs):
                    holders.append(subprocess.Popen(argv, stdin=subprocess.PIPE, text=True,
                                                    stdout=subprocess.PIPE,
                                                    stderr=subprocess.PIPE))
                    line = holders[-1].stdout.readline()
                    if not line:
                        raise Failed(holders[-1].stderr.read().strip() or "the holder ended")
                    held.append(json.loads(line))
                return self._look(own, before, pipes, held)
            finally:
                for holder in holders:
                    _let_go(holder)

    def _look(self, peer, before, pipes, held):
        time.sleep(0.5)
        cpu = procs.CpuMeter(peer.forwarder_pids)
        time.sleep(self.LOOK_S)
        busy = cpu.seconds()
        after = procs.memory(peer.forwarder_pids())
        now = sum(procs.descriptors(peer.forwarder_pids(), "pipe:"))
        there = sum(one["held"] for one in held)
        grown = after["rss_kib"] - before["rss_kib"]
        return {"held": there, "failures": sum(one["failed"] for one in held),
                "open_s": sum(one["seconds"] for one in held), "grown_rss_mib": grown / 1024,
                "bytes_per_flow": grown * 1024 / max(there, 1),
                "idle_cpu_ms_per_s": busy * 1000 / self.LOOK_S, "pipes_held": now - pipes}


BATCH, RANGE, SINGLE = "batch", "range", "single"
_HOW = {BATCH: "by one call", RANGE: "as one range", SINGLE: "by a call each"}


class AddPorts(_Scale):
    """Adds ports, checks that all are listed and that the last one works, and removes them."""

    primary, group, cpu = "add_s", "Ports", "add_cpu_ms"
    # The address is one on which no other forwarder has ports.
    ADDRESS, FIRST = "127.0.0.2", 11000

    def __init__(self, count, how=BATCH):
        word = "" if how == BATCH else f"{how}-"
        super().__init__(f"ports-{word}{count}", f"{count:,} TCP ports {_HOW[how]}")
        self.count, self.how = count, how
        # Ports may use three quarters of the limit. The data plane keeps a quarter for connections.
        self.descriptors = count * 4 // 3 + SPARE

    def applies(self, peer):
        return (isinstance(peer, RootlessKit) and peer.ctl is not None
                and (peer.ours or self.how != RANGE))

    def _specs(self):
        """Specs of the ports. The last one leads to the echo server, so that it can be tried."""
        last, echo = self.FIRST + self.count - 1, SERVICES["echo"]
        if self.how == RANGE:
            return [f"{self.ADDRESS}:{self.FIRST}-{last}:"
                    f"{echo - self.count + 1}-{echo}/tcp"] if echo >= self.count else [
                f"{self.ADDRESS}:{self.FIRST}-{last - 1}:1-{self.count - 1}/tcp",
                f"{self.ADDRESS}:{last}:{echo}/tcp"]
        inner = [30000 + i % 30000 for i in range(self.count - 1)] + [echo]
        return [f"{self.ADDRESS}:{self.FIRST + i}:{port}/tcp" for i, port in enumerate(inner)]

    def _call(self, peer, command, words):
        """One call, or one for each word."""
        if self.how != SINGLE:
            run_text(peer.rootlessctl(command, *words), 180)
            return
        argv = peer.rootlessctl(command)
        at = argv.index(peer.ctl)
        argv[at:at] = ["xargs", "-n", "1"]
        done = subprocess.run(argv, input="\n".join(words), capture_output=True, text=True,
                              timeout=180, check=False)
        if done.returncode:
            raise Failed(done.stderr.strip())

    def _remove(self, peer, specs):
        if peer.ours:
            self._call(peer, "remove-ports", specs)
            return
        listed = run_text(peer.rootlessctl("list-ports"), 30).splitlines()[1:]
        self._call(peer, "remove-ports", [line.split()[0] for line in listed
                                          if self.ADDRESS in line])

    def _listed(self, peer):
        every = ["--all"] if peer.ours else []
        return run_text(peer.rootlessctl("list-ports", *every), 60).count(self.ADDRESS)

    def sample(self, peer, programs, seconds):
        specs = self._specs()
        nofile = _nofile(peer.host, self.descriptors)
        with instance(peer, programs, {"echo"}, nofile=nofile) as own:
            pids = own.forwarder_pids()
            before, held = procs.memory(pids), procs.descriptors(pids)
            cpu, start = procs.CpuMeter(own.forwarder_pids), time.monotonic()
            self._call(own, "add-ports", specs)
            took, busy = time.monotonic() - start, cpu.seconds()
            after, now = procs.memory(pids), procs.descriptors(pids)
            listed = self._listed(own)
            if listed < self.count:
                raise Failed(f"only {listed} of {self.count} ports are listed")
            run_json([programs.paths["reqres"], f"--host={self.ADDRESS}", "--seconds=0.05",
                      f"--port={self.FIRST + self.count - 1}"], 20)
            cpu, start = procs.CpuMeter(own.forwarder_pids), time.monotonic()
            self._remove(own, specs)
            gone, busy_gone = time.monotonic() - start, cpu.seconds()
            if self._listed(own):
                raise Failed("some ports are still listed")
        most = max((b - a for a, b in zip(held, now)), default=0)
        grown = after["rss_kib"] - before["rss_kib"]
        return {"add_s": took, "remove_s": gone, "add_cpu_ms": busy * 1000,
                "remove_cpu_ms": busy_gone * 1000, "descriptors_per_port": most / self.count,
                "rss_kib_per_port": grown / self.count, "grown_rss_mib": grown / 1024}


class _ByWorkers:
    """Makes a scenario of another group one that is measured with one, two and four workers."""

    group, once = WORKERS, False

    def for_workers(self):
        self.key, self.core, self.group = f"workers-{self.key}", False, WORKERS

    def applies(self, peer):
        return peer.only == WORKERS and super().applies(peer)


class WorkersBulk(_ByWorkers, Bulk):
    def __init__(self, mode, flows):
        super().__init__(mode, flows)
        self.for_workers()


class WorkersRequests(_ByWorkers, Requests):
    def __init__(self, conns, reconnect=False):
        super().__init__(conns, reconnect=reconnect)
        self.for_workers()


class WorkersStartup(_ByWorkers, Startup):
    def __init__(self):
        super().__init__()
        self.for_workers()


class WorkersMemory(_ByWorkers, Memory):
    primary = "pss_mib"

    def __init__(self):
        super().__init__()
        self.for_workers()


class WorkersIdle(_ByWorkers, Idle):
    def __init__(self, conns):
        super().__init__(conns)
        self.for_workers()


def _workers(count):
    def make(host, name, index):
        peer = RootlessKit(host, name, index, host.world.path["rootlesskit"],
                           host.world.path["rootlessctl"], [f"--workers={count}"],
                           f"ringkit, {count} worker" + "s" * (count > 1))
        peer.only, peer.port_driver = WORKERS, ""
        return peer
    return make


# {name: function that makes the Peer}
WORKER_PEERS = {f"workers-{count}": _workers(count) for count in (1, 2, 4)}


def full():
    """Ports and connections."""
    return [Idle(1000), Idle(2000, True), Idle(4000, True), Idle(8000), Idle(9000, True),
            Idle(50000, True), Idle(100000, True),
            AddPorts(1000), AddPorts(10000), AddPorts(500, SINGLE), AddPorts(1000, RANGE),
            AddPorts(10000, RANGE), AddPorts(14000, RANGE), AddPorts(50000, RANGE)]


def by_workers():
    return [WorkersBulk("up", 1), WorkersBulk("up", 16), WorkersRequests(1), WorkersRequests(64),
            WorkersRequests(64, reconnect=True), WorkersStartup(), WorkersMemory(),
            WorkersIdle(1000)]
