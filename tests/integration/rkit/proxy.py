# SPDX-License-Identifier: Apache-2.0
"""What the tests of rootlesskit-docker-proxy share: they start it as dockerd does."""

import os
import select
import shutil
import signal
import subprocess

from . import case
from .launch import DEADLINE_S, popen
from .world import world

NET = ["--net=slirp4netns", "--copy-up=/etc", "--disable-host-loopback"]
BUILTIN = NET + ["--port-driver=builtin"]

# A stand-in for docker-proxy: writes its arguments to a file, tells dockerd "0\n" (all is well), and waits.
FAKE = """#!/bin/sh
echo "docker-proxy $*" > %s/called
printf '0\\n' >&3
exec sleep 1000
"""


def proxy_words(proto="tcp", host_ip="127.0.0.1", host_port=18080, container_ip="127.0.0.1",
                container_port=80):
    return ["-proto", proto, "-host-ip", host_ip, "-host-port", str(host_port), "-container-ip",
            container_ip, "-container-port", str(container_port)]


class Proxy:
    """A running rootlesskit-docker-proxy, started as dockerd does it. It runs in the namespaces of child_pid,
    if that is given, else in ours."""

    def __init__(self, words, state, env=None, child_pid=None, fd3=True, binary=None,
                 enter="nsenter", netns_pid=None, before=()):
        w = world()
        self.read, write = os.pipe()
        env = dict(env or w.environ(), ROOTLESSKIT_STATE_DIR=state)
        netns = "-n/proc/%d/ns/net" % netns_pid if netns_pid else "-n"
        enter = [enter, "-U", "--preserve-credentials", "-m", netns, "-t", str(child_pid)] \
            if child_pid else []
        binary = binary or w.path["rootlesskit-docker-proxy"]
        line = 'exec "$@" 3>&%d %d>&-' % (write, write) if fd3 else 'exec "$@" %d>&-' % write
        with open(w.base + "/proxy.err", "wb") as err:
            self.proc = popen(["/bin/bash", "-c", line, "bash", *enter, *before, binary, *words], env=env,
                              pass_fds=[write], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=err)
        os.close(write)

    def err(self):
        with open(world().base + "/proxy.err") as f:
            return f.read()

    def verdict(self):
        """All that the proxy tells dockerd on descriptor 3."""
        text = b""
        while True:
            ready, _, _ = select.select([self.read], [], [], DEADLINE_S)
            if not ready:
                raise AssertionError("no verdict: " + self.err())
            data = os.read(self.read, 4096)
            text += data
            if not data or text == b"0\n":
                return text.decode()

    def end(self, sig=signal.SIGINT):
        """Sends the signal, if the proxy still runs. Returns its exit code."""
        if self.proc.poll() is None and sig:
            self.proc.send_signal(sig)
        code = self.proc.wait(DEADLINE_S)
        os.close(self.read)
        return code


class ProxyTestCase(case.RkTestCase):
    def setUp(self):
        super().setUp()
        if "rootlesskit-docker-proxy" not in self.world.path:
            self.skipTest("no rootlesskit-docker-proxy")
        self.fakes = self.world.base + "/fakes"
        shutil.rmtree(self.fakes, ignore_errors=True)
        os.mkdir(self.fakes)
        os.chmod(self.fakes, 0o777)
        self.env = self.world.environ()
        self.env["PATH"] = self.fakes + ":" + self.env["PATH"]
        self.fake(FAKE % self.fakes)

    def fake(self, text):
        with open(self.fakes + "/docker-proxy", "w") as f:
            f.write(text)
        os.chmod(self.fakes + "/docker-proxy", 0o755)

    def called(self):
        try:
            with open(self.fakes + "/called") as f:
                return f.read().strip()
        except OSError:
            return ""

    def proxy(self, rk, *words, **kw):
        return Proxy(words, rk.state, env=self.env, child_pid=rk.child_pid, **kw)
