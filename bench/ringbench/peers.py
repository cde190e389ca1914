# SPDX-License-Identifier: Apache-2.0
"""The forwarders that are compared. Each is started once, and serves all scenarios of a phase."""

import copy
import os
import re
import shutil
import signal
import socket
import subprocess
import time

from . import procs
from .host import NOFILE, Skip

# The ports of the servers inside each namespace. Ports outside have the same last digits.
SERVICES = {"bulk": 10001, "echo": 10002, "close": 10003, "http": 10004, "udp": 10005}
TCP_SERVICES = frozenset(SERVICES) - {"udp"}
# The command that keeps a peer's namespace alive. It is not counted as the forwarder's.
REST = "sleep"
START_TIMEOUT_S = 15
# Ports outside: each peer has 100, of which the second half is for a fresh instance.
_BASE, _FRESH = 20000, 50


def _wait_for(what, check, process=None):
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        if process and process.poll() is not None:
            raise Skip(f"{what}: exited with status {process.returncode}")
        found = check()
        if found:
            return found
        time.sleep(0.01)
    raise Skip(f"{what}: not ready after {START_TIMEOUT_S} s")


def _end(processes, patience_s=5):
    """Ends all processes: by SIGTERM, or by SIGKILL if that takes too long."""
    alive = [process for process in processes if process and process.poll() is None]
    for process in alive:
        process.terminate()
    for process in alive:
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Peer:
    """A way from the client to the servers. name: its key in results; label: its name in reports."""

    label = ""
    can = frozenset(SERVICES)  # services that it is able to forward
    nofile = NOFILE  # its limit of descriptors
    only = ""  # if set: it takes part in this group of scenarios alone
    port_driver = ""  # if set: it is compared in the group of port drivers
    over_loopback = True  # the payload enters the namespace by its loopback interface
    address = "127.0.0.1"  # where a client finds the services
    core_only = False  # True: it is slow, so a full run has it in the core scenarios alone
    counts_memory = True  # its processes live as long as the forwarder, so their memory says something
    forwards = True  # it has processes whose memory and CPU time can be measured
    ours = False
    not_counted = frozenset({REST})  # names of processes in its tree that are not the forwarder's

    def __init__(self, host, name, index):
        self.host = host
        self.name = name
        self.base = _BASE + 100 * index
        self.services = self.can
        self.user = None
        self.fresh_copy = False
        self._forget()

    def _forget(self):
        self.process = None
        self.servers = []
        self.log = None
        self.inner_pid = None

    def version(self):
        """A line for the report, or ""."""
        return ""

    def command(self):
        """The command that starts it. REST runs inside, as a descendant of that process."""
        raise NotImplementedError

    def rest_argv(self):
        return [REST, "1000000"]

    def port(self, service):
        """The port at self.address where a client finds the service."""
        return self.base + SERVICES[service] - 10000

    def client_prefix(self):
        """The prefix of a client's command. Without one the client runs where the forwarders listen."""
        return []

    def fresh(self, services):
        """A second instance with fewer services, for beside the running one. It is not started yet."""
        other = copy.copy(self)
        other._forget()
        other.base += _FRESH
        other.services = frozenset(services) & self.can
        other.fresh_copy = True
        return other

    def start(self, programs, congestion):
        """Starts forwarder and servers. If that fails, nothing is left, and Skip gives the reason."""
        if not self.user:
            self.user = self.host.user(self.name)
        self.log = open(f"{self.host.dir}/{self.name}.log", "ab")
        self.process = subprocess.Popen(
            self.host.as_user(self.user, self.command(), self.nofile), stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log, start_new_session=True)
        more = [] if self.nofile <= NOFILE else ["prlimit", f"--nofile={self.nofile}"]
        try:
            self.inner_pid = _wait_for(self.name, self._find_rest, self.process)
            enter = self.host.enter(self.inner_pid)
            self.host.set_congestion(congestion, enter)
            self.host.widen_ports(enter)
            for service, argv in programs.servers().items():
                if service in self.services:
                    self._serve(service, [*more, *enter, *argv], self.inner_pid, SERVICES[service])
            self.after_start(programs)
        except Skip as skip:
            words = self._last_words()
            self.stop()
            raise Skip(f"{skip}{words}") from None

    def after_start(self, programs):
        for service in self.services & TCP_SERVICES:
            _wait_for(f"{self.name}: port of {service}",
                      lambda s=service: _listens("self", self.port(s)), self.process)

    def _last_words(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            lines = file.read().strip().splitlines()
        return f" ({lines[-1]})" if lines else ""

    def _serve(self, service, argv, pid, port):
        """Starts a server, and waits until it listens in the namespace of the process pid ("self": ours)."""
        log = f"{self.host.dir}/{self.name}-{service}.log"
        with open(log, "wb") as file:
            server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self.servers.append(server)
        _wait_for(f"{self.name}: server {service}",
                  lambda: _listens(pid, port), server)

    def _find_rest(self):
        for pid in procs.tree(self.process.pid):
            if procs.comm(pid) == REST:
                return pid
        return None

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def forwarder_pids(self):
        """The processes whose CPU time and memory count as the forwarder's."""
        return [pid for pid in procs.tree(self.process.pid)
                if procs.comm(pid) not in self.not_counted]

    def other_bytes(self):
        """How many bytes the interfaces of the peer's namespace, except lo, have carried so far."""
        total = 0
        with open(f"/proc/{self.inner_pid}/net/dev", encoding="ascii") as file:
            for line in file.readlines()[2:]:
                name, _, rest = line.partition(":")
                if name.strip() != "lo":
                    fields = rest.split()
                    total += int(fields[0]) + int(fields[8])
        return total

    def stop(self):
        if self.inner_pid and procs.comm(self.inner_pid) == REST:
            # pasta does not end its command when it is told to end.
            os.kill(self.inner_pid, signal.SIGKILL)
        _end([*self.servers, self.process])
        if self.log:
            self.log.close()
        self._forget()


def _listens(pid, port):
    """Whether a TCP socket listens on the port in the network namespace of the process."""
    hexport = f":{port:04X} "
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{table}", encoding="ascii") as file:
            if any(hexport in line and " 0A " in line for line in file):
                return True
    return False


class _BareNamespace(Peer):
    """A user and network namespace without anything that forwards."""

    def command(self):
        return ["unshare", "--user", "--map-root-user", "--net", "sh", "-c",
                "ip link set lo up && exec " + " ".join(self.rest_argv())]


class Direct(_BareNamespace):
    """No forwarder: the client runs in the namespace of the server."""

    label = "direct path"
    forwards = False

    def startup_command(self, slirp):
        """The least that a start takes: that of the namespaces alone."""
        if slirp:
            return None
        return ["unshare", "--user", "--map-root-user", "--mount", "true"]

    def port(self, service):
        return SERVICES[service]

    def client_prefix(self):
        return self.host.enter(self.inner_pid)

    def after_start(self, programs):
        pass

    def forwarder_pids(self):
        return []


class RootlessKit(Peer):
    """ringkit or Debian's RootlessKit."""

    port_driver = "builtin"
    # With the builtin port driver, slirp4netns carries no forwarded byte.
    not_counted = frozenset({REST, "slirp4netns"})

    def __init__(self, host, name, index, program, ctl, extra=(), label=None):
        super().__init__(host, name, index)
        if not os.access(program, os.X_OK):
            raise Skip(f"{name}: {program} is not installed (bench/install-peers)")
        self.program = program
        self.ctl = ctl
        self.extra = list(extra)
        self.ours = "ringkit" in self.version()
        self.label = label or "RootlessKit builtin"

    def version(self):
        return subprocess.run([self.program, "--version"], capture_output=True, text=True,
                              check=False).stdout.strip()

    def state_dir(self):
        return f"{self.user.pw_dir}/state" + ("-fresh" if self.fresh_copy else "")

    def net(self):
        """Options of a network. RootlessKit 1 has no --net=none. Forwarding is the same with any network."""
        try:
            need_slirp(self.name)
        except Skip:
            if not self.ours:
                raise
            return ["--net=none"]
        return ["--net=slirp4netns", "--disable-host-loopback", "--copy-up=/etc"]

    def drivers(self):
        return [*self.net(), "--port-driver=builtin"]

    def command(self):
        ports = []
        for service in sorted(self.services):
            proto = "udp" if service == "udp" else "tcp"
            ports += ["-p", f"127.0.0.1:{self.port(service)}:{SERVICES[service]}/{proto}"]
        return [self.program, f"--state-dir={self.state_dir()}", *self.drivers(), *self.extra,
                *ports, *self.rest_argv()]

    def startup_command(self, slirp):
        if not slirp:
            return [self.program, "true"]
        return [self.program, "--net=slirp4netns", "--disable-host-loopback", "--copy-up=/etc",
                "--port-driver=builtin", *self.extra, "-p", f"127.0.0.1:{free_port()}:80/tcp",
                "true"]

    def rootlessctl(self, *args):
        return self.host.as_user(self.user, [self.ctl, f"--socket={self.state_dir()}/api.sock",
                                             *args])


class SlirpPorts(RootlessKit):
    """RootlessKit with slirp4netns as the port driver, which has TCP and UDP in user space."""

    port_driver = "slirp4netns"
    over_loopback = False
    core_only = True
    not_counted = frozenset({REST})

    def __init__(self, host, name, index, program):
        need_slirp(name)
        super().__init__(host, name, index, program, None)
        self.label = "RootlessKit slirp4netns"

    def drivers(self):
        return [*self.net(), "--port-driver=slirp4netns"]


class Pasta(Peer):
    """pasta's loopback path, its fastest one, on which it splices."""

    def __init__(self, host, name, index, binary="pasta", label="pasta"):
        super().__init__(host, name, index)
        self.binary, self.label = binary, label
        if not shutil.which(binary):
            raise Skip(f"{name}: pasta is not installed (bench/install-peers)")
        need_tun(name)

    def version(self):
        return first_line(self.binary, "--version")

    def startup_command(self, slirp):
        if slirp:
            return None
        return [self.binary, "--foreground", "--config-net", "-t", "none", "-u", "none", "-T", "none",
                "-U", "none", "--", "true"]

    def command(self):
        tcp = ",".join(f"{self.port(s)}:{SERVICES[s]}"
                       for s in sorted(self.services & TCP_SERVICES))
        tcp = f"127.0.0.1/{tcp}" if tcp else "none"
        udp = f"127.0.0.1/{self.port('udp')}:{SERVICES['udp']}" if "udp" in self.services \
            else "none"
        # Without -T none and -U none, it would look for ports of the host and forward them inwards.
        return [self.binary, "--foreground", "--config-net", "-t", tcp, "-u", udp, "-T", "none",
                "-U", "none", "--", *self.rest_argv()]


class Socat(_BareNamespace):
    """The solution by hand: a socat outside, which starts one inside by nsenter for each connection."""

    label = "socat + nsenter"
    can = TCP_SERVICES
    core_only = True
    counts_memory = False

    def __init__(self, host, name, index):
        super().__init__(host, name, index)
        if not shutil.which("socat"):
            raise Skip(f"{name}: socat is not installed (bench/install-peers)")
        self.listeners = []

    def version(self):
        text = subprocess.run(["socat", "-V"], capture_output=True, text=True, check=False).stdout
        found = re.search(r"socat version \S+", text)
        return found.group(0) if found else ""

    def startup_command(self, slirp):
        return None

    def after_start(self, programs):
        inner = self.inner_pid
        self.listeners = []
        for service in sorted(self.services):
            shell = (f"nsenter --user=/proc/{inner}/ns/user --net=/proc/{inner}/ns/net "
                     f"--preserve-credentials socat -b 262144 STDIO "
                     # A colon without a backslash would be socat's own separator.
                     f"TCP\\:127.0.0.1\\:{SERVICES[service]}")
            argv = ["socat", "-b", "262144",
                    f"TCP-LISTEN:{self.port(service)},bind=127.0.0.1,fork,reuseaddr,backlog=1024",
                    f"EXEC:{shell}"]
            # In a session of its own, so that a socat that ends does not affect the benchmark's terminal.
            self.listeners.append(subprocess.Popen(
                self.host.as_user(self.user, argv), stdin=subprocess.DEVNULL, stdout=self.log,
                stderr=self.log, start_new_session=True))
        self.servers += self.listeners
        super().after_start(programs)

    def forwarder_pids(self):
        return [pid for listener in self.listeners for pid in procs.tree(listener.pid)]


def need_tun(what):
    try:
        mode = os.stat("/dev/net/tun").st_mode
    except OSError:
        raise Skip(f"{what}: /dev/net/tun is not there") from None
    if mode & 0o006 != 0o006:
        raise Skip(f"{what}: /dev/net/tun is closed to ordinary users "
                   "(remedy: chmod 0666 /dev/net/tun)")


def need_slirp(what):
    if not shutil.which("slirp4netns"):
        raise Skip(f"{what}: slirp4netns is not installed (bench/install-peers)")
    need_tun(what)


def need(what, program, package):
    if not shutil.which(program):
        raise Skip(f"{what}: {program} is not installed (package {package})")


def first_line(*argv):
    """The first line that a program prints, for its version; "": it is not installed."""
    if not shutil.which(argv[0]):
        return ""
    text = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return (text.strip().splitlines() or [""])[0]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _debian(name):
    return f"/usr/bin/{name}"


def _ours(backend):
    def make(host, name, index):
        return RootlessKit(host, name, index, host.world.path["rootlesskit"],
                           host.world.path["rootlessctl"], [f"--dataplane={backend}"],
                           f"ringkit {backend}")
    return make


# In the order of the tables. Each makes a Peer or raises Skip.
PEERS = {
    "direct": Direct,
    "ringkit": _ours("io_uring"),
    "ringkit-epoll": _ours("epoll"),
    "rootlesskit": lambda host, name, index: RootlessKit(
        host, name, index, _debian("rootlesskit"), _debian("rootlessctl")),
    "rootlesskit-slirp": lambda host, name, index: SlirpPorts(
        host, name, index, _debian("rootlesskit")),
    "socat": Socat,
    "pasta": Pasta,
}


OPTIONS_PEER = "options"


def with_options(words):
    """{name: maker} of a peer that runs our build with more options."""
    def make(host, name, index):
        return RootlessKit(host, name, index, host.world.path["rootlesskit"],
                           host.world.path["rootlessctl"], words, " ".join(["ringkit", *words]))
    return {OPTIONS_PEER: make}
