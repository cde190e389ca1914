# SPDX-License-Identifier: Apache-2.0
"""Published ports of containers, which lead straight to the container or through docker-proxy.

No dockerd is needed: a network namespace on a bridge in rootlesskit's namespace plays the container.
rootlesskit-docker-proxy is started as dockerd does it up to version 27: one process after the other,
and each must be ready before the next one starts. Or the API gets a request, rules are added and
docker-proxy is started, as version 28 does it.
"""

import json
import os
import shutil
import subprocess
import time

from . import procs
from .host import Skip
from .peers import REST, SERVICES, RootlessKit
from .programs import Failed, run_json
from .scenarios import Bulk, Requests, Scenario, instance

GROUP = "Docker"
CONTAINER = "172.31.0.2"
# Runs in rootlesskit's namespace. $1 is a process of the container.
_BRIDGE = """set -e
ip link set lo up
ip link add br0 type bridge
ip addr add 172.31.0.1/16 dev br0
ip link set br0 up
ip link add veth0 type veth peer name eth0 netns "$1"
ip link set veth0 master br0 up
"""
_INSIDE = f"""set -e
ip link set lo up
ip addr add {CONTAINER}/16 dev eth0
ip link set eth0 up
ip route add default via 172.31.0.1
"""
# A stand-in for dockerd. For each line on stdin it starts a proxy, and waits for its message on
# descriptor 3, or ends the proxies that the line names. It is one process, so that no nsenter or shell
# is measured.
_DOCKERD = """
import http.client, json, os, select, signal, socket, subprocess, sys
null = os.open("/dev/null", os.O_RDWR)
class Api(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["API"])
api = None
def ask(method, path, body=None, again=True):
    # One connection for all, as dockerd has it; the server ends one that is idle.
    global api
    api = api or Api("rootlesskit")
    try:
        api.request(method, path, json.dumps(body) if body else None)
        return api.getresponse().read()
    except (http.client.HTTPException, OSError):
        api.close()
        if not again:
            raise
        return ask(method, path, body, again=False)
for line in sys.stdin:
    job = json.loads(line)
    if "end" in job:
        for pid in job["end"]:
            os.kill(pid, signal.SIGINT)
        for pid in job["end"]:
            os.waitpid(pid, 0)
        for number in job.get("ids", ()):
            ask("DELETE", "/v1/ports/%d" % number)
        answer = ["", ""]
    elif "spec" in job:
        os.environ["API"] = job["api"]
        number = json.loads(ask("POST", "/v1/ports", job["spec"]))["id"]
        for rule in job["rules"]:
            subprocess.run(["iptables", "--wait", *rule], check=True)
        pid = os.posix_spawn(job["argv"][0], job["argv"], os.environ, file_actions=[
            (os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1),
            (os.POSIX_SPAWN_DUP2, null, 3)])  # where it tells that it listens
        answer = [pid, number]
    else:
        r, w = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1),
                   (os.POSIX_SPAWN_DUP2, w, 3)]
        pid = os.posix_spawn(job["argv"][0], job["argv"], dict(os.environ, **job["env"]),
                             file_actions=actions)
        os.close(w)
        ready, _, _ = select.select([r], [], [], job["patience_s"])
        answer = [pid, os.read(r, 1000).decode(errors="replace") if ready else "nothing"]
        os.close(r)
    print(json.dumps(answer), flush=True)
"""
_PATIENCE_S = 20
_PYTHON = "/usr/bin/python3"  # the user may have no access to the one that runs the bench


class Docker(RootlessKit):
    """Servers in a container. Each port is published by a rootlesskit-docker-proxy."""

    only = GROUP
    port_driver = ""
    over_loopback = False  # the payload goes over the bridge
    can = frozenset({"bulk", "echo", "close"})

    def __init__(self, host, name, index, program, proxy, label, env=None):
        super().__init__(host, name, index, program, None, label=label)
        if not proxy or not os.access(proxy, os.X_OK):
            raise Skip(f"{name}: there is no rootlesskit-docker-proxy")
        self.proxy, self.env = proxy, env or {}

    def _forget(self):
        super()._forget()
        self.container = self.outer_pid = self.dockerd = None
        self.proxies = []

    def command(self):
        return [self.program, f"--state-dir={self.state_dir()}", *self.drivers(),
                *self.rest_argv()]

    def _find_rest(self):
        """Makes the container, once the namespace is there. The servers run in it."""
        self.outer_pid = super()._find_rest()
        if not self.outer_pid or not os.path.exists(f"{self.state_dir()}/child_pid"):
            return None
        self.container = subprocess.Popen(
            [*self.host.enter(self.outer_pid), "unshare", "--net", REST, "1000000"],
            stdin=subprocess.DEVNULL)
        end = time.monotonic() + _PATIENCE_S
        while procs.comm(self.container.pid) != REST and time.monotonic() < end:
            time.sleep(0.01)
        self._ip(self.outer_pid, _BRIDGE, str(self.container.pid))
        self._ip(self.container.pid, _INSIDE)
        # A namespace's sockets begin with the machine's default. start() changes the container's.
        self.host.set_congestion(self.host.congestion(), self.host.enter(self.outer_pid))
        return self.container.pid

    def _ip(self, pid, script, *args):
        done = subprocess.run([*self.host.enter(pid), "sh", "-c", script, "sh", *args],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise Skip(f"{self.name}: the container's network: {done.stderr.strip()}")

    def after_start(self, programs):
        for service in sorted(self.services):
            self.publish(self.port(service), SERVICES[service])
        super().after_start(programs)

    def _ask(self, **job):
        if not self.dockerd:
            argv = ["nsenter", "--user", "--preserve-credentials", "--mount", "--net", "--target",
                    str(self.outer_pid), _PYTHON, "-c", _DOCKERD]
            self.dockerd = subprocess.Popen(self.host.as_user(self.user, argv), text=True,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=self.log)
        self.dockerd.stdin.write(json.dumps(job) + "\n")
        self.dockerd.stdin.flush()
        line = self.dockerd.stdout.readline()
        if not line:
            raise Skip(f"{self.name}: the stand-in for dockerd has ended")
        return json.loads(line)

    def publish(self, port, container_port):
        argv = [self.proxy, "-proto", "tcp", "-host-ip", "127.0.0.1", "-host-port", str(port),
                "-container-ip", CONTAINER, "-container-port", str(container_port)]
        pid, said = self._ask(argv=argv, patience_s=_PATIENCE_S,
                              env={"ROOTLESSKIT_STATE_DIR": self.state_dir(), **self.env})
        self.proxies.append(pid)
        if said != "0\n":
            raise Skip(f"{self.name}: docker proxy: {said.strip()}")

    def unpublish(self, proxies):
        """Ends these proxies as dockerd does, but all at once."""
        self._ask(end=proxies)
        self.proxies = [pid for pid in self.proxies if pid not in proxies]

    def forwarder_pids(self):
        own = super().forwarder_pids()
        return own + [pid for proxy in self.proxies for pid in procs.tree(proxy)]

    def stop(self):
        if self.dockerd:
            self.unpublish(list(self.proxies))
            self.dockerd.communicate()
        container = self.container
        super().stop()
        if container:
            container.kill()
            container.wait()


class Docker28(Docker):
    """Published as Docker 28 does it: dockerd asks the API for a port at 127.0.0.1 of the namespace,
    adds rules for what comes in there, and starts docker-proxy."""

    def _forget(self):
        super()._forget()
        self.ids = []

    def after_start(self, programs):
        self._ip(self.outer_pid, "iptables -t nat -N DOCKER; iptables -t nat -A PREROUTING -m addrtype "
                 "--dst-type LOCAL -j DOCKER; iptables -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype "
                 "--dst-type LOCAL -j DOCKER")
        super().after_start(programs)

    def publish(self, port, container_port):
        ports = ["-p", "tcp", "--dport", str(port)]
        pid, number = self._ask(
            api=f"{self.state_dir()}/api.sock",
            spec={"proto": "tcp", "parentIP": "127.0.0.1", "parentPort": port,
                  "childIP": "127.0.0.1", "childPort": port},
            rules=[["-t", "raw", "-A", "PREROUTING", "-d", "127.0.0.1", *ports, "!", "-i", "lo",
                    "-j", "DROP"],
                   ["-t", "nat", "-A", "DOCKER", "-d", "127.0.0.1", *ports, "!", "-i", "br0",
                    "-j", "DNAT", "--to-destination", f"{CONTAINER}:{container_port}"]],
            argv=["/usr/sbin/docker-proxy", "-proto", "tcp", "-host-ip", "127.0.0.1", "-host-port",
                  str(port), "-container-ip", CONTAINER, "-container-port", str(container_port)])
        self.proxies.append(pid)
        self.ids.append(number)

    def unpublish(self, proxies):
        """The rules stay: they are dockerd's work, and go with the namespace."""
        ids = [self.ids[self.proxies.index(pid)] for pid in proxies]
        self._ask(end=proxies, ids=ids)
        self.ids = [number for number in self.ids if number not in ids]
        self.proxies = [pid for pid in self.proxies if pid not in proxies]


def _need_docker_proxy(name):
    if not shutil.which("docker-proxy"):
        raise Skip(f"{name}: docker-proxy is not installed (package docker.io)")


def _direct(host, name, index):
    return Docker(host, name, index, host.world.path["rootlesskit"],
                  host.world.path.get("rootlesskit-docker-proxy"), "ringkit, straight")


def _by_docker_proxy(host, name, index):
    _need_docker_proxy(name)
    return Docker(host, name, index, host.world.path["rootlesskit"],
                  host.world.path.get("rootlesskit-docker-proxy"), "ringkit, docker-proxy",
                  {"ROOTLESSKIT_DOCKER_PROXY_DIRECT": "false"})


def _rootlesskit(host, name, index):
    _need_docker_proxy(name)
    return Docker(host, name, index, "/usr/bin/rootlesskit", "/usr/bin/rootlesskit-docker-proxy",
                  "RootlessKit, docker-proxy")


def _docker28(host, name, index):
    _need_docker_proxy(name)
    return Docker28(host, name, index, host.world.path["rootlesskit"],
                    host.world.path.get("rootlesskit-docker-proxy"), "ringkit, Docker 28")


def _docker28_rootlesskit(host, name, index):
    _need_docker_proxy(name)
    return Docker28(host, name, index, "/usr/bin/rootlesskit", "/usr/bin/rootlesskit-docker-proxy",
                    "RootlessKit, Docker 28")


# In the order of the tables. Each makes a Peer or raises Skip.
DOCKER = {
    "docker-direct": _direct,
    "docker-proxy": _by_docker_proxy,
    "docker-rootlesskit": _rootlesskit,
    "docker-28": _docker28,
    "docker-28-rootlesskit": _docker28_rootlesskit,
}


class DockerBulk(Bulk):
    group = GROUP

    def __init__(self):
        super().__init__("up", 1)
        self.key, self.title = "docker-up", "upload to a container, 1 flow"

    def applies(self, peer):
        return peer.only == GROUP


class DockerRequests(Requests):
    def __init__(self, conns, reconnect=False):
        super().__init__(conns, reconnect=reconnect)
        self.key, self.group = "docker-" + self.key, GROUP

    def applies(self, peer):
        return peer.only == GROUP


class DockerPorts(Scenario):
    """Publishes ports one after the other, uses the last one, and then removes all."""

    primary, group, once, warm = "add_s", GROUP, True, False
    FIRST = 30000

    def __init__(self, count):
        super().__init__(f"docker-ports-{count}", f"{count} published ports")
        self.count = count

    def applies(self, peer):
        return peer.only == GROUP

    def sample(self, peer, programs, seconds):
        with instance(peer, programs, {"echo"}) as own:
            before = procs.memory(own.forwarder_pids())
            already = len(own.proxies)
            start = time.monotonic()
            try:
                for i in range(self.count):
                    own.publish(self.FIRST + i, SERVICES["echo"])
            except Skip as why:
                raise Failed(str(why)) from None
            took = time.monotonic() - start
            after = procs.memory(own.forwarder_pids())
            run_json([programs.paths["reqres"], "--host=127.0.0.1", "--seconds=0.05",
                      f"--port={self.FIRST + self.count - 1}"], 20)
            start = time.monotonic()
            own.unpublish(own.proxies[already:])
            gone = time.monotonic() - start
        return {"add_s": took, "remove_s": gone,
                "pss_kib_per_port": (after["pss_kib"] - before["pss_kib"]) / self.count,
                "processes": after["processes"]}
