# SPDX-License-Identifier: Apache-2.0
"""What is measured. A scenario takes one sample of one peer; the runner repeats and interleaves.

A sample is a flat dict of numbers. `primary` names the one that tables and bars show.
"""

import subprocess
import time

from . import procs
from .peers import REST, RootlessKit, SERVICES, Skip, free_port, need_slirp
from .programs import Failed, REQUEST_SIZE, parse_wrk, run_json, run_text

# metric: (unit, better, decimals)
METRICS = {
    "gbps": ("Gbit/s", "higher", 1),
    "rps": ("req/s", "higher", 0),
    "p50_us": ("µs", "lower", 0),
    "p99_us": ("µs", "lower", 0),
    "kdps": ("k datagrams/s", "higher", 1),
    "lost_pct": ("% lost", "lower", 1),
    "reordered_pct": ("% reordered", "lower", 2),
    "cpu_s_per_gb": ("CPU s/GB", "lower", 3),
    "cpu_s_per_kreq": ("CPU s/1k req", "lower", 4),
    "cpu_s_per_mdgram": ("CPU s/M datagrams", "lower", 2),
    "wall_ms": ("ms", "lower", 1),
    "cpu_ms": ("CPU ms", "lower", 1),
    "rss_mib": ("MiB RSS", "lower", 1),
    "pss_mib": ("MiB PSS", "lower", 1),
    "grown_rss_mib": ("MiB RSS grown", "lower", 1),
    "idle_cpu_ms_per_s": ("CPU ms/s idle", "lower", 2),
    "pipes": ("pipe descriptors", "lower", 0),
    "add_s": ("s to add", "lower", 2),
    "rss_kib_per_port": ("KiB RSS/port", "lower", 2),
}


class Scenario:
    """key: name in results. services: what the peer must forward. heavy: not for slow peers."""

    primary = ""
    needs = frozenset()
    group = ""
    once = False  # long and steady: one round is enough

    def __init__(self, key, title, core=False):
        self.key = key
        self.title = title
        self.core = core

    def check(self, programs):
        """Raises Skip when the scenario cannot run at all here."""

    def applies(self, peer):
        return self.needs <= peer.services

    def sample(self, peer, programs, seconds):
        raise NotImplementedError


class Bulk(Scenario):
    primary, needs, group = "gbps", frozenset({"bulk"}), "Bulk TCP"

    def __init__(self, mode, flows, core=False):
        word = {"up": "upload", "down": "download", "both": "both directions"}[mode]
        plural = "flow" if flows == 1 else "flows"
        super().__init__(f"bulk-{mode}-{flows}", f"{word}, {flows} {plural}", core)
        self.mode, self.flows = mode, flows

    def sample(self, peer, programs, seconds):
        argv = programs.client(peer, "bulk", "bulk", f"--mode={self.mode}",
                               f"--flows={self.flows}", f"--seconds={seconds}")
        meter = procs.CpuMeter(peer.forwarder_pids)
        got = run_json(argv, seconds + 20)
        gigabytes = (got["up_bytes"] + got["down_bytes"]) / 1e9
        return {"gbps": got["gbps"], "cpu_s_per_gb": meter.seconds() / gigabytes}


class Requests(Scenario):
    """Request and reply, kept connections or one for each request."""

    primary, group = "rps", "Request/response"

    def __init__(self, conns, size=REQUEST_SIZE, reconnect=False, core=False):
        kind = "connreq" if reconnect else "reqres"
        what = "connection per request" if reconnect else f"{size} bytes"
        plural = "connection" if conns == 1 else "connections"
        across = f"{conns} at a time" if reconnect else f"{conns} {plural}"
        super().__init__(f"{kind}-{conns}" + ("" if reconnect else f"x{size}"),
                         f"{what}, {across}", core)
        self.service = "close" if reconnect else "echo"
        self.needs = frozenset({self.service})
        self.args = [f"--conns={conns}", f"--size={size}"] + ["--reconnect"] * reconnect

    def sample(self, peer, programs, seconds):
        argv = programs.client(peer, self.service, "reqres", *self.args, f"--seconds={seconds}")
        meter = procs.CpuMeter(peer.forwarder_pids)
        got = run_json(argv, seconds + 20)
        if not got["requests"]:
            raise Failed("no request was answered")
        # The meter also sees the client's short warm-up, which is not among its requests.
        busy = got["seconds"] / (got["seconds"] + 0.05)
        sample = {"rps": got["rps"], "failures": got["failures"],
                  "cpu_s_per_kreq": meter.seconds() * busy * 1000 / got["requests"]}
        sample.update({f"{name}_us": value for name, value in got["latency_us"].items()})
        return sample


class Http(Scenario):
    primary, needs, group = "rps", frozenset({"http"}), "HTTP (wrk, nginx)"

    def __init__(self, conns, close=False, core=False):
        super().__init__(f"http-{'close' if close else 'keep'}-{conns}",
                         f"{'Connection: close' if close else 'keep-alive'}, "
                         f"{conns} connections", core)
        self.conns = conns
        self.headers = ["-H", "Connection: close"] if close else []

    def check(self, programs):
        if not programs.http:
            raise Skip("HTTP: wrk or nginx is not installed (apt-get install wrk nginx-light)")

    def sample(self, peer, programs, seconds):
        whole = max(1, round(seconds))
        argv = [*peer.client_prefix(), "wrk", "-t1", f"-c{self.conns}", f"-d{whole}s",
                "--latency", *self.headers, f"http://127.0.0.1:{peer.port('http')}/"]
        meter = procs.CpuMeter(peer.forwarder_pids)
        sample = parse_wrk(run_text(argv, whole + 20))
        if not sample["rps"]:
            raise Failed("no request was answered")
        sample["cpu_s_per_kreq"] = meter.seconds() / (sample["rps"] * whole / 1000)
        return sample


class Udp(Scenario):
    primary, needs, group = "kdps", frozenset({"udp"}), "UDP"

    def __init__(self, size, rate=0, gso=False, core=False):
        offered = f"{rate // 1000} k/s offered" if rate else "as fast as it goes"
        kind = "GSO sender" if gso else "plain sender"
        super().__init__(f"udp{'-gso' if gso else ''}-{size}-{rate // 1000 or 'max'}",
                         f"{size} bytes, {kind}, {offered}", core)
        self.size = size
        self.args = [f"--size={size}", f"--rate={rate}"] + ["--gso"] * gso

    def sample(self, peer, programs, seconds):
        receiver = subprocess.Popen(
            [*peer.host.enter(peer.inner_pid), programs.paths["udp"], "--listen",
             "--host=0.0.0.0", f"--port={SERVICES['udp']}", f"--size={self.size}",
             "--seconds=3"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            if receiver.stderr.readline().strip() != "ready":
                raise Failed("the receiver did not start")
            meter = procs.CpuMeter(peer.forwarder_pids)
            sent = run_json(programs.client(peer, "udp", "udp", *self.args,
                                            f"--seconds={seconds}"), seconds + 20)
            out, _ = receiver.communicate(timeout=10)
            cpu = meter.seconds()
        except subprocess.TimeoutExpired:
            raise Failed("the receiver did not end") from None
        finally:
            if receiver.poll() is None:
                receiver.kill()
                receiver.communicate()
        return self._judge(sent, out, cpu)

    @staticmethod
    def _judge(sent, receiver_line, cpu):
        from json import loads
        got = loads(receiver_line)
        count = got["received"]
        if not sent["sent"]:
            raise Failed("nothing was sent")
        sample = {"kdps": count / sent["seconds"] / 1000,
                  "offered_kdps": sent["sent"] / sent["seconds"] / 1000,
                  "lost_pct": 100 * (1 - count / sent["sent"]),
                  "reordered_pct": 100 * got["reordered"] / max(count, 1),
                  "doubled": got["doubled"], "damaged": got["damaged"]}
        if count:
            sample["cpu_s_per_mdgram"] = cpu * 1e6 / count
            sample.update({f"{k}_us": v for k, v in got["latency_us"].items()})
        return sample


class Startup(Scenario):
    """From before fork to the reaped launcher of `true`."""

    primary, group = "wall_ms", "Start-up"
    RUNS = 5

    def __init__(self, slirp=False):
        super().__init__("startup-slirp-port" if slirp else "startup",
                         "`rootlesskit true`" + (", slirp4netns and a port" if slirp else ""))
        self.slirp = slirp

    def check(self, programs):
        if self.slirp:
            need_slirp("start-up with slirp4netns")

    def applies(self, peer):
        return hasattr(peer, "bare_command") and not peer.slow

    def sample(self, peer, programs, seconds):
        if self.slirp:
            command = peer.bare_command(["true"], "slirp4netns",
                                        [f"127.0.0.1:{free_port()}:80/tcp"])
        else:
            command = peer.bare_command(["true"])
        argv = peer.host.as_user(peer.user, [programs.paths["startup"],
                                             f"--count={self.RUNS}", *command])
        runs = run_json(argv, 60)["runs"]
        middle = self.RUNS // 2
        return {name: sorted(run[name] for run in runs)[middle] for name in ("wall_ms", "cpu_ms")}


class _OwnInstance:
    """A second instance of the peer for the time of one sample."""

    def __init__(self, peer, ports=()):
        argv = peer.host.as_user(peer.user, peer.bare_command([REST, "1000001"], ports=ports))
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True)

    def __enter__(self):
        end = time.monotonic() + 10
        while not any(procs.comm(pid) == REST for pid in procs.tree(self.process.pid)):
            if self.process.poll() is not None or time.monotonic() > end:
                self.__exit__()
                raise Failed("the instance did not start")
            time.sleep(0.02)
        time.sleep(0.4)
        return self

    def pids(self):
        return [p for p in procs.tree(self.process.pid) if procs.comm(p) != REST]

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Memory(Scenario):
    primary, group = "rss_mib", "Memory"

    def __init__(self):
        super().__init__("memory", "idle, one TCP port, all processes")

    def applies(self, peer):
        return isinstance(peer, RootlessKit) and not peer.slow

    def sample(self, peer, programs, seconds):
        with _OwnInstance(peer, [f"127.0.0.1:{free_port()}:80/tcp"]) as own:
            got = procs.memory(own.pids())
        return {"rss_mib": got["rss_kib"] / 1024, "pss_mib": got["pss_kib"] / 1024,
                "private_mib": got["private_kib"] / 1024, "processes": got["processes"]}


class Idle(Scenario):
    primary, group, once = "grown_rss_mib", "Idle connections", True
    needs = frozenset({"echo"})

    def __init__(self, conns):
        super().__init__(f"idle-{conns}", f"{conns} idle connections")
        self.conns = conns

    def applies(self, peer):
        return super().applies(peer) and not peer.slow and bool(peer.forwarder_pids())

    def sample(self, peer, programs, seconds):
        before = procs.memory(peer.forwarder_pids())
        argv = programs.client(peer, "echo", "idle", f"--conns={self.conns}")
        holder = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        try:
            line = holder.stdout.readline()
            if not line:
                raise Failed(holder.stderr.read().strip() or "the holder ended")
            return self._look(peer, before, line)
        finally:
            holder.communicate(timeout=30)
            time.sleep(0.5)

    def _look(self, peer, before, line):
        from json import loads
        held = loads(line)
        time.sleep(0.5)
        meter = procs.CpuMeter(peer.forwarder_pids)
        time.sleep(2)
        cpu = meter.seconds()
        after = procs.memory(peer.forwarder_pids())
        return {"held": held["held"], "failed": held["failed"], "open_s": held["seconds"],
                "grown_rss_mib": (after["rss_kib"] - before["rss_kib"]) / 1024,
                "idle_cpu_ms_per_s": cpu * 1000 / 2,
                "pipes": procs.open_pipes(peer.forwarder_pids())}


class AddPorts(Scenario):
    primary, group, once = "add_s", "Ports", True

    def __init__(self, count):
        super().__init__(f"ports-{count}", f"{count} TCP ports by one add-ports call")
        self.count = count

    def applies(self, peer):
        return isinstance(peer, RootlessKit) and not peer.slow and peer.client_program is not None

    def sample(self, peer, programs, seconds):
        first = 30000
        specs = [f"127.0.0.1:{first + i}:{first + i}/tcp" for i in range(self.count)]
        ctl = [peer.client_program, f"--socket={peer.state_dir()}-2/api.sock"]
        with _OwnInstance(peer) as own:
            before = procs.memory(own.pids())
            start = time.monotonic()
            run_text(peer.host.as_user(peer.user, [*ctl, "add-ports", *specs]), 180)
            took = time.monotonic() - start
            listed = run_text(peer.host.as_user(peer.user, [*ctl, "list-ports"]), 30)
            after = procs.memory(own.pids())
        if listed.count("tcp") < self.count:
            raise Failed(f"only {listed.count('tcp')} of {self.count} ports are listed")
        return {"add_s": took,
                "rss_kib_per_port": (after["rss_kib"] - before["rss_kib"]) / self.count}


def quick():
    return [
        Bulk("up", 1), Bulk("down", 1), Requests(1), Requests(64),
        Requests(64, reconnect=True), Http(64), Udp(1400, 200000), Udp(1400, gso=True),
        Startup(), Startup(slirp=True), Memory(),
    ]


def full():
    return [
        Bulk("up", 1, core=True), Bulk("down", 1, core=True), Bulk("both", 1),
        Bulk("up", 4), Bulk("up", 16), Bulk("down", 16), Bulk("up", 64),
        Requests(1, core=True), Requests(64, core=True), Requests(1000),
        Requests(64, 1), Requests(64, 1024), Requests(64, 4096),
        Requests(1, reconnect=True), Requests(64, reconnect=True, core=True),
        Http(64), Http(64, close=True),
        Udp(64, 200000), Udp(1400, 200000, core=True), Udp(16384, 20000), Udp(1400),
        Udp(64, gso=True), Udp(1400, gso=True),
        Startup(), Startup(slirp=True), Memory(), Idle(8000), AddPorts(10000),
    ]


# Where pacing changes the outcome: measured again under BBR.
PACED_KEYS = ("bulk-up-1", "bulk-down-1", "bulk-both-1", "bulk-up-16", "reqres-64x64",
              "connreq-64")
