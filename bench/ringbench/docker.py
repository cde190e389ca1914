# SPDX-License-Identifier: Apache-2.0
"""Published ports of containers: straight to the container, or by way of docker-proxy.

No dockerd is needed: a network namespace on a bridge in rootlesskit's namespace is the container,
and rootlesskit-docker-proxy is started as dockerd starts it, one process after the other, each
waited for.
"""

import os
import select
import shutil
import signal
import subprocess
import time

from . import procs
from .host import Skip
from .peers import REST, SERVICES, RootlessKit
from .programs import Failed, run_json
from .scenarios import Bulk, Requests, Scenario, instance

GROUP = "Docker"
CONTAINER = "172.31.0.2"
# In rootlesskit's namespace; $1 is a process of the container.
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
# dockerd gives it a descriptor 3, and waits for "0\n" there.
_AS_DOCKERD = 'exec "$@" 3>&1 >/dev/null'
_PATIENCE_S = 20


class Docker(RootlessKit):
    """Servers in a container; ports published by a rootlesskit-docker-proxy each."""

    only = GROUP
    port_driver = ""
    over_loopback = False  # over the bridge
    can = frozenset({"bulk", "echo", "close"})

    def __init__(self, host, name, index, program, proxy, label, env=()):
        super().__init__(host, name, index, program, None, label=label)
        if not proxy or not os.access(proxy, os.X_OK):
            raise Skip(f"{name}: there is no rootlesskit-docker-proxy")
        self.proxy, self.env = proxy, list(env)

    def _forget(self):
        super()._forget()
        self.container = self.outer_pid = None
        self.proxies = []

    def command(self):
        return [self.program, f"--state-dir={self.state_dir()}", *self.drivers(),
                *self.rest_argv()]

    def _find_rest(self):
        """Makes the container when the namespace is there; it is where the servers run."""
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

    def publish(self, port, container_port):
        argv = ["nsenter", "--user", "--preserve-credentials", "--mount", "--net", "--target",
                str(self.outer_pid), "env", f"ROOTLESSKIT_STATE_DIR={self.state_dir()}", *self.env,
                "sh", "-c", _AS_DOCKERD, "sh", self.proxy, "-proto", "tcp", "-host-ip",
                "127.0.0.1", "-host-port", str(port), "-container-ip", CONTAINER,
                "-container-port", str(container_port)]
        proxy = subprocess.Popen(self.host.as_user(self.user, argv), stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=self.log)
        self.proxies.append(proxy)
        ready, _, _ = select.select([proxy.stdout], [], [], _PATIENCE_S)
        said = os.read(proxy.stdout.fileno(), 1000) if ready else b"nothing"
        if said != b"0\n":
            raise Skip(f"{self.name}: docker proxy: {said.decode(errors='replace').strip()}")

    def unpublish(self, proxies):
        """As dockerd does it, but all at once."""
        for proxy in proxies:
            proxy.send_signal(signal.SIGINT)
        for proxy in proxies:
            try:
                proxy.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                proxy.kill()
                proxy.wait()
            proxy.stdout.close()
            self.proxies.remove(proxy)

    def forwarder_pids(self):
        own = super().forwarder_pids()
        return own + [pid for proxy in self.proxies for pid in procs.tree(proxy.pid)]

    def stop(self):
        self.unpublish(list(self.proxies))
        container = self.container
        super().stop()
        if container:
            container.kill()
            container.wait()


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
                  ["ROOTLESSKIT_DOCKER_PROXY_DIRECT=false"])


def _rootlesskit(host, name, index):
    _need_docker_proxy(name)
    return Docker(host, name, index, "/usr/bin/rootlesskit", "/usr/bin/rootlesskit-docker-proxy",
                  "RootlessKit, docker-proxy")


# In the order of tables; each makes a Peer or raises Skip.
DOCKER = {
    "docker-direct": _direct,
    "docker-proxy": _by_docker_proxy,
    "docker-rootlesskit": _rootlesskit,
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
    """Ports published one after the other, the last one used, then all of them given up."""

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
