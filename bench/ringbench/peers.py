# SPDX-License-Identifier: Apache-2.0
"""The forwarders under comparison. Each is started once and serves all scenarios of a run."""

import os
import shutil
import socket
import subprocess
import time

from . import procs
from .host import Skip

# Where the servers listen inside each namespace, and the last digits of the ports outside.
SERVICES = {"bulk": 10001, "echo": 10002, "close": 10003, "http": 10004, "udp": 10005}
# The command that rests in a peer's namespace; not counted as the forwarder's.
REST = "sleep"
START_TIMEOUT_S = 15


def _wait_for(what, check, process=None):
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        if process and process.poll() is not None:
            raise Skip(f"{what}: exited with status {process.returncode}")
        found = check()
        if found:
            return found
        time.sleep(0.02)
    raise Skip(f"{what}: not ready after {START_TIMEOUT_S} s")


class Peer:
    """name: key in the results; label: in tables. port(): where a client finds a service."""

    services = frozenset(SERVICES)
    slow = False  # takes part in the core scenarios of a full run only

    def __init__(self, host, name, index):
        self.host = host
        self.name = name
        self.base = 20000 + 100 * index
        self.process = None
        self.servers = []
        self.log = None
        self.inner_pid = None
        self.user = None

    def port(self, service):
        return self.base + SERVICES[service] - 10000

    def client_prefix(self):
        """Prefix of a client's command."""
        return self.host.in_host([])

    def start(self, programs):
        self.user = self.host.user(self.name)
        self.log = open(f"{self.host.dir}/{self.name}.log", "wb")
        self.process = subprocess.Popen(
            self.host.as_user(self.user, self.command()), stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, start_new_session=True)
        try:
            self.inner_pid = _wait_for(self.name, self._find_rest, self.process)
        except Skip as skip:
            raise Skip(f"{skip}{self._last_words()}") from None
        if self.host.root:
            self.host.set_congestion(self.host.enter(self.inner_pid))
        self.widen_ports()
        for service, argv in programs.servers().items():
            if service in self.services:
                self.serve(service, argv)

    def widen_ports(self):
        """More local ports inside, for tests that open a connection per request."""
        script = "echo 1024 65000 >/proc/sys/net/ipv4/ip_local_port_range"
        subprocess.run([*self.host.enter(self.inner_pid), "sh", "-c", script],
                       capture_output=True, check=False)

    def _last_words(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            lines = file.read().strip().splitlines()
        return f" ({lines[-1]})" if lines else ""

    def serve(self, service, argv):
        """Starts a server inside and waits until it accepts."""
        log = f"{self.host.dir}/{self.name}-{service}.log"
        with open(log, "wb") as file:
            server = subprocess.Popen([*self.host.enter(self.inner_pid), *argv],
                                      stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self.servers.append(server)
        _wait_for(f"{self.name}: server {service}", lambda: self._accepts(service), server)

    def _accepts(self, service):
        hexport = f":{SERVICES[service]:04X} "
        with open(f"/proc/{self.inner_pid}/net/tcp", encoding="ascii") as file:
            return any(hexport in line and " 0A " in line for line in file)

    def rest_argv(self):
        return [REST, "1000000"]

    def _find_rest(self):
        for pid in procs.tree(self.process.pid):
            if procs.comm(pid) == REST:
                return pid
        return None

    def forwarder_pids(self):
        """The processes whose CPU and memory the peer costs."""
        return [pid for pid in procs.tree(self.process.pid) if procs.comm(pid) != REST]

    def stop(self):
        for process in [*self.servers, self.process]:
            if process and process.poll() is None:
                process.terminate()
        for process in [*self.servers, self.process]:
            if process:
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.servers = []
        if self.log:
            self.log.close()


class Direct(Peer):
    """No forwarder: the client runs in the namespace of the server."""

    def bare_command(self, command, net="none", ports=()):
        """The floor of start-up: the namespaces alone."""
        if net != "none" or ports:
            raise Skip("nothing to compare with")
        return ["unshare", "--user", "--map-root-user", "--net", "--mount", *command]

    def command(self):
        return ["unshare", "--user", "--map-root-user", "--net", "sh", "-c",
                "ip link set lo up && exec " + " ".join(self.rest_argv())]

    def port(self, service):
        return SERVICES[service]

    def client_prefix(self):
        return self.host.enter(self.inner_pid)

    def forwarder_pids(self):
        return []


class RootlessKit(Peer):
    """Ours or Debian's."""

    def __init__(self, host, name, index, program, client_program=None, extra=()):
        super().__init__(host, name, index)
        if not os.access(program, os.X_OK):
            raise Skip(f"{name}: {program} is not there")
        self.program = program
        self.client_program = client_program
        self.extra = list(extra)

    def state_dir(self):
        return f"{self.user.pw_dir}/rkbench-state-{self.name}"

    def drivers(self):
        return ["--net=none", "--port-driver=builtin"]

    def command(self):
        ports = []
        for service, inner in SERVICES.items():
            proto = "udp" if service == "udp" else "tcp"
            ports += ["-p", f"127.0.0.1:{self.port(service)}:{inner}/{proto}"]
        return [self.program, f"--state-dir={self.state_dir()}", *self.drivers(), *self.extra,
                *ports, *self.rest_argv()]

    def bare_command(self, command, net="none", ports=()):
        """Another instance beside the running one: its own state directory, own ports."""
        published = [word for port in ports for word in ("-p", port)]
        slirp = ["--disable-host-loopback"] if net == "slirp4netns" else []
        return [self.program, f"--state-dir={self.state_dir()}-2", f"--net={net}", *slirp,
                "--port-driver=builtin", *self.extra, *published, *command]


class SlirpPorts(RootlessKit):
    """RootlessKit with ports forwarded by slirp4netns, in user space TCP."""

    slow = True

    def __init__(self, host, name, index, program):
        need_slirp(name)
        super().__init__(host, name, index, program)

    def drivers(self):
        return ["--net=slirp4netns", "--disable-host-loopback", "--port-driver=slirp4netns"]


class Pasta(Peer):
    """pasta's loopback path (splice), the fastest it has."""

    def __init__(self, host, name, index):
        super().__init__(host, name, index)
        if not shutil.which("pasta"):
            raise Skip("pasta: not installed (apt-get install passt)")
        _need_tun("pasta")

    def bare_command(self, command, net="none", ports=()):
        if net != "none" or ports:
            raise Skip("not what pasta does")
        return ["pasta", "--foreground", "--config-net", "-t", "none", "-u", "none", "-T", "none",
                "-U", "none", "--", *command]

    def command(self):
        tcp = ",".join(f"{self.port(s)}:{p}" for s, p in SERVICES.items() if s != "udp")
        udp = f"{self.port('udp')}:{SERVICES['udp']}"
        # -T/-U none: it would otherwise scan and forward ports of the namespace outwards.
        return ["pasta", "--foreground", "--config-net", "-t", f"127.0.0.1/{tcp}", "-u",
                f"127.0.0.1/{udp}", "-T", "none", "-U", "none", "--", *self.rest_argv()]


class Socat(Peer):
    """What one would do by hand: a socat outside, one inside by nsenter per connection."""

    services = frozenset({"bulk", "echo", "close", "http"})
    slow = True

    def __init__(self, host, name, index):
        super().__init__(host, name, index)
        if not shutil.which("socat"):
            raise Skip("socat: not installed (apt-get install socat)")
        self.listeners = []

    def command(self):
        return ["unshare", "--user", "--map-root-user", "--net", "sh", "-c",
                "ip link set lo up && exec " + " ".join(self.rest_argv())]

    def start(self, programs):
        super().start(programs)
        inner = self.inner_pid
        for service in sorted(self.services):
            shell = (f"nsenter --user=/proc/{inner}/ns/user --net=/proc/{inner}/ns/net "
                     f"--preserve-credentials socat -b 262144 STDIO "
                     f"TCP:127.0.0.1:{SERVICES[service]}")
            argv = ["socat", "-b", "262144",
                    f"TCP-LISTEN:{self.port(service)},bind=127.0.0.1,fork,reuseaddr,backlog=1024",
                    f"EXEC:{shell}"]
            # Their own session: a socat that ends must not take the benchmark's terminal along.
            self.listeners.append(subprocess.Popen(
                self.host.as_user(self.user, argv), stdin=subprocess.DEVNULL, stdout=self.log,
                stderr=self.log, start_new_session=True))
        self.servers += self.listeners
        time.sleep(0.1)

    def forwarder_pids(self):
        return [pid for listener in self.listeners for pid in procs.tree(listener.pid)]


def _need_tun(what):
    try:
        mode = os.stat("/dev/net/tun").st_mode
    except OSError:
        raise Skip(f"{what}: /dev/net/tun is not there") from None
    if mode & 0o006 != 0o006:
        raise Skip(f"{what}: /dev/net/tun is closed to ordinary users "
                   "(remedy: chmod 0666 /dev/net/tun)")


def need_slirp(what):
    if not shutil.which("slirp4netns"):
        raise Skip(f"{what}: slirp4netns is not installed (apt-get install slirp4netns)")
    _need_tun(what)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
