# SPDX-License-Identifier: Apache-2.0
"""What is measured. A scenario takes one sample of one peer. The runner decides how often and in which order.

A sample is a flat dict of numbers, whose names are in metrics.py. `primary` is the number that tables and
bars show first. `cpu` is the forwarder's CPU time for the work done.
"""

import functools
import json
import re
import statistics
import subprocess
import threading
import time
from contextlib import contextmanager

from . import procs
from .metrics import METRICS
from .peers import SERVICES, need_slirp
from .host import Skip
from .programs import Failed, REQUEST_SIZE, parse_wrk, run_json, run_text


class Scenario:
    """key: the name in results. needs: the services that the peer must forward."""

    primary, cpu = "", None
    group = ""
    needs = frozenset()
    warm = True  # a first, shorter sample is thrown away
    once = False  # one round is enough, because a sample is long and hardly varies

    def __init__(self, key, title, core=False):
        self.key, self.title, self.core = key, title, core

    def check(self, programs):
        """Raises Skip when the scenario cannot run at all here."""

    def applies(self, peer):
        return self.needs <= peer.services

    def sample(self, peer, programs, seconds):
        raise NotImplementedError


def latencies(got):
    return {f"{name}_us": value for name, value in got["latency_us"].items()}


@contextmanager
def over_loopback(peer, bytes_moved):
    """Fails the sample if the peer says that it uses the loopback interface inside, but the payload went
    through another interface of the namespace. bytes_moved: returns the size of the payload."""
    before = peer.other_bytes()
    yield
    moved = bytes_moved()
    if peer.over_loopback and peer.other_bytes() - before > moved / 10 + 100000:
        raise Failed("the payload went through a network interface, not over loopback")


class Bulk(Scenario):
    """Bulk transfers. The speed is the number of bytes received, divided by the time until the last byte."""

    primary, cpu = "gbps", "cpu_s_per_gb"
    needs, group = frozenset({"bulk"}), "Bulk TCP"

    def __init__(self, mode, flows, core=False):
        word = {"up": "upload", "down": "download", "both": "both directions"}[mode]
        plural = "flow" if flows == 1 else "flows"
        super().__init__(f"bulk-{mode}-{flows}", f"{word}, {flows} {plural}", core)
        self.mode, self.flows = mode, flows

    def sample(self, peer, programs, seconds):
        argv = programs.client(peer, "bulk", "bulk", f"--mode={self.mode}",
                               f"--flows={self.flows}", f"--seconds={seconds}")
        got = {"up_bytes": 0, "down_bytes": 0}
        with over_loopback(peer, lambda: got["up_bytes"] + got["down_bytes"]):
            meter = procs.Meter(peer)
            got = run_json(argv, seconds + 20)
            gigabytes = (got["up_bytes"] + got["down_bytes"]) / 1e9
            return {"gbps": got["gbps"], **meter.finish(gigabytes, self.cpu)}


class Requests(Scenario):
    """Requests and replies, over connections that are kept or over a new one for each request."""

    primary, cpu = "rps", "cpu_s_per_kreq"
    WARM_UP_S = 0.05

    def __init__(self, conns, size=REQUEST_SIZE, reconnect=False, core=False):
        plural = "connection" if conns == 1 else "connections"
        if reconnect:
            key, title = f"connreq-{conns}", f"new connection each, {conns} at a time"
            self.group = "Connection per request"
        else:
            amount = "1 byte" if size == 1 else f"{size} bytes"
            key, title = f"reqres-{conns}x{size}", f"{amount}, {conns} {plural}"
            self.group = "Request/response"
        super().__init__(key, title, core)
        self.conns, self.size = conns, size
        self.service = "close" if reconnect else "echo"
        self.needs = frozenset({self.service})
        self.args = [f"--conns={conns}", f"--size={size}", f"--warmup={self.WARM_UP_S}"]
        self.args += ["--reconnect"] * reconnect

    def sample(self, peer, programs, seconds):
        argv = programs.client(peer, self.service, "reqres", *self.args, f"--seconds={seconds}")
        meter = procs.Meter(peer)
        got = run_json(argv, seconds + 20)
        if not got["requests"]:
            raise Failed("no request was answered")
        # The CPU time includes the client's warm-up, whose requests are not counted. The same rate of
        # requests is assumed for it.
        worked = got["requests"] * (got["seconds"] + self.WARM_UP_S) / got["seconds"]
        return {"rps": got["rps"], "failures": got["failures"], "stuck": got["stuck"],
                **latencies(got), **meter.finish(worked / 1000, self.cpu)}


class Mixed(Scenario):
    """Small requests during bulk transfers. Shows how long a request waits because of the transfers."""

    primary, cpu, group = "rps", "cpu_s_per_gb", "Mixed load"
    needs = frozenset({"bulk", "echo"})
    CONNS = 4
    AHEAD_S = 0.3  # until the transfers are under way

    def __init__(self, flows, core=False):
        super().__init__(f"mixed-{flows}", f"{self.CONNS} connections with requests beside "
                         f"{flows} bulk uploads", core)
        self.flows = flows

    def sample(self, peer, programs, seconds):
        length = seconds + 2 * self.AHEAD_S
        meter = procs.Meter(peer)
        bulk = subprocess.Popen(
            programs.client(peer, "bulk", "bulk", "--mode=up", f"--flows={self.flows}",
                            f"--seconds={length}"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            time.sleep(self.AHEAD_S)
            got = run_json(programs.client(peer, "echo", "reqres", f"--conns={self.CONNS}",
                                           f"--size={REQUEST_SIZE}", f"--seconds={seconds}"),
                           seconds + 20)
            out, err = bulk.communicate(timeout=length + 20)
        except subprocess.TimeoutExpired:
            raise Failed("the transfers did not end") from None
        finally:
            if bulk.poll() is None:
                bulk.kill()
                bulk.communicate()
        if bulk.returncode or not got["requests"]:
            raise Failed(err.strip() or "no request was answered")
        moved = json.loads(out)
        return {"rps": got["rps"], "gbps": moved["gbps"], "failures": got["failures"],
                "stuck": got["stuck"], **latencies(got),
                **meter.finish(moved["up_bytes"] / 1e9, self.cpu)}


class Reload(Mixed):
    """A mixed load during which `rootlessctl reload` restarts the data plane. A lost connection fails the
    sample."""

    primary, group = "max_us", "Reload under load"
    SECONDS = 1.0  # at least

    def __init__(self, flows):
        super().__init__(flows)
        self.key = f"reload-{flows}"
        self.title = f"{self.CONNS} connections with requests beside {flows} bulk uploads"

    def check(self, programs):
        if not _can_reload(programs.host.world.path["rootlessctl"]):
            raise Skip(f"{self.key}: rootlessctl has no command reload")

    def applies(self, peer):
        return (super().applies(peer) and peer.ours and getattr(peer, "ctl", None) is not None
                and _can_reload(peer.ctl))

    def sample(self, peer, programs, seconds):
        seconds = max(seconds, self.SECONDS)
        said = []

        def reload():
            time.sleep(self.AHEAD_S + seconds / 3)
            start = time.monotonic()
            try:
                run_text(peer.rootlessctl("reload"), 60)
                said.append(time.monotonic() - start)
            except Failed as why:
                said.append(why)
        thread = threading.Thread(target=reload)
        thread.start()
        try:
            sample = super().sample(peer, programs, seconds)
        finally:
            thread.join()
        if isinstance(said[0], Failed):
            raise Failed(f"reload: {said[0]}")
        return {**sample, "reload_s": said[0]}


@functools.lru_cache
def _can_reload(ctl):
    text = subprocess.run([ctl, "--help"], capture_output=True, text=True, check=False).stdout
    return re.search(r"^\s+reload\b", text, re.M) is not None


class Http(Scenario):
    """Plain HTTP with wrk and nginx, which are not part of this project. wrk runs for whole seconds."""

    primary, cpu = "rps", "cpu_s_per_kreq"
    needs, group = frozenset({"http"}), "HTTP (wrk, nginx)"

    def __init__(self, conns, close=False, core=False):
        super().__init__(f"http-{'close' if close else 'keep'}-{conns}",
                         f"{'Connection: close' if close else 'keep-alive'}, "
                         f"{conns} connections", core)
        self.conns = conns
        self.headers = ["-H", "Connection: close"] if close else []

    def check(self, programs):
        if not programs.http:
            raise Skip("HTTP: wrk or nginx is not installed (bench/install-peers)")

    def sample(self, peer, programs, seconds):
        whole = max(1, round(seconds))
        argv = [*peer.client_prefix(), "wrk", "-t1", f"-c{self.conns}", f"-d{whole}s",
                "--latency", *self.headers, f"http://127.0.0.1:{peer.port('http')}/"]
        meter = procs.Meter(peer)
        sample = parse_wrk(run_text(argv, whole + 20))
        if not sample["rps"]:
            raise Failed("no request was answered")
        return {**sample, **meter.finish(sample["rps"] * whole / 1000, self.cpu)}


class Udp(Scenario):
    """Datagrams. The receiver counts them; each carries a number.

    The receiver's socket buffer is large, so that it does not lose datagrams while the receiver waits for
    a CPU. What is lost, the forwarder has lost."""

    primary, cpu = "kdps", "cpu_s_per_mdgram"
    needs, group = frozenset({"udp"}), "UDP"
    RCVBUF = 8 << 20

    def __init__(self, size, rate=0, gso=False, core=False):
        offered = f"{rate // 1000} k/s offered" if rate else "as fast as it goes"
        kind = "GSO sender" if gso else "plain sender"
        super().__init__(f"udp{'-gso' if gso else ''}-{size}-{rate // 1000 or 'max'}",
                         f"{size} bytes, {kind}, {offered}", core)
        self.size, self.gso, self.rate = size, gso, rate
        self.args = [f"--size={size}", f"--rate={rate}"] + ["--gso"] * gso

    def receiver(self, peer):
        """Returns the prefix of the receiver's command and the port on which it listens."""
        return peer.host.enter(peer.inner_pid), SERVICES["udp"]

    def sample(self, peer, programs, seconds):
        prefix, port = self.receiver(peer)
        receiver = subprocess.Popen(
            [*prefix, programs.paths["udp"], "--listen", "--host=0.0.0.0", f"--port={port}",
             f"--size={self.size}",
             f"--rcvbuf={self.RCVBUF}", "--seconds=3"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        got = {"bytes": 0}
        try:
            if receiver.stderr.readline().strip() != "ready":
                raise Failed("the receiver did not start")
            with over_loopback(peer, lambda: got["bytes"]):
                meter = procs.Meter(peer)
                sent = run_json(programs.client(peer, "udp", "udp", *self.args,
                                                f"--seconds={seconds}"), seconds + 20)
                got = json.loads(receiver.communicate(timeout=10)[0])
                cost = meter.finish(got["received"] / 1e6, self.cpu)
        except subprocess.TimeoutExpired:
            raise Failed("the receiver did not end") from None
        finally:
            if receiver.poll() is None:
                receiver.kill()
                receiver.communicate()
        return {**udp_sample(sent, got), **cost}


def udp_sample(sent, got):
    """Computes the metrics from what the sender and the receiver printed."""
    count = got["received"]
    if not sent["sent"]:
        raise Failed("nothing was sent")
    sample = {"kdps": count / sent["seconds"] / 1000,
              "offered_kdps": sent["sent"] / sent["seconds"] / 1000,
              "lost_pct": 100 * (1 - count / sent["sent"]),
              "reordered_pct": 100 * got["reordered"] / max(count, 1),
              "doubled": got["doubled"], "damaged": got["damaged"]}
    if count:
        sample.update(latencies(got))
    return sample


class Startup(Scenario):
    """The time to run `true`, from before the fork until the launcher has been reaped."""

    primary, cpu, group, warm = "wall_ms", "cpu_ms", "Start-up", False
    RUNS = 5

    def __init__(self, slirp=False):
        super().__init__("startup-slirp-port" if slirp else "startup",
                         "slirp4netns and a port" if slirp else "plain")
        self.slirp = slirp

    def check(self, programs):
        if self.slirp:
            need_slirp("start-up with slirp4netns")

    def applies(self, peer):
        return not peer.core_only and peer.startup_command(self.slirp) is not None

    def sample(self, peer, programs, seconds):
        command = peer.startup_command(self.slirp)
        argv = peer.host.as_user(peer.user, [programs.paths["startup"],
                                             f"--count={self.RUNS}", *command])
        got = run_json(argv, 60)
        # RootlessKit 1.1.0 now and then ends with "EOF" when the command is over at once.
        if got["failed"] and peer.ours:
            raise Failed(f"{got['failed']} of {self.RUNS} runs failed")
        return {"failures": got["failed"],
                **{name: statistics.median(run[name] for run in got["runs"])
                   for name in ("wall_ms", "cpu_ms")}}


@contextmanager
def instance(peer, programs, services, **settings):
    """Runs a second instance of the peer, with servers of its own, during one sample. settings: attributes
    that differ from the peer's."""
    own = peer.fresh(services)
    vars(own).update(settings)
    try:
        own.start(programs, peer.host.congestion())
    except Skip as skip:
        raise Failed(f"a second instance: {skip}") from None
    try:
        time.sleep(0.3)
        yield own
    finally:
        own.stop()


class Memory(Scenario):
    """Memory of all processes of a fresh instance that has not carried any traffic."""

    primary, group, warm = "rss_mib", "Memory", False

    def __init__(self):
        super().__init__("memory", "idle, one TCP port, all processes")

    def applies(self, peer):
        return not peer.core_only and peer.forwards

    def sample(self, peer, programs, seconds):
        with instance(peer, programs, {"echo"}) as own:
            got = procs.memory(own.forwarder_pids())
        return {"rss_mib": got["rss_kib"] / 1024, "pss_mib": got["pss_kib"] / 1024,
                "private_mib": got["private_kib"] / 1024, "processes": got["processes"]}


def metrics_of(sample):
    """The names of the sample's or summary's metrics that METRICS has, in the order of METRICS."""
    return [name for name in METRICS if name in sample]
