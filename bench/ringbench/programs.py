# SPDX-License-Identifier: Apache-2.0
"""Command lines of the load programs and servers, and running one client."""

import json
import os
import re
import shutil
import subprocess

from .peers import SERVICES

REQUEST_SIZE = 64  # bytes. The server of the service "close" ends a connection after so many.

_NGINX_CONF = """\
daemon off;
worker_processes 1;
pid {dir}/nginx.pid;
error_log stderr error;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
    scgi_temp_path {dir}/nginx-scgi;
    server {{
        listen 0.0.0.0:{port};
        location / {{ return 200 "{body}"; }}
    }}
}}
"""


class Failed(Exception):
    """One measurement went wrong; the text is the program's last lines."""


class TimedOut(Failed):
    """A program did not end in time. The runner does not try again, since each attempt would take as long."""


class Programs:
    """The load programs. They are copied into the run's own directory, for two reasons: peers run as users
    who may not be able to read the build directory, and a rebuild during the run must not change them."""

    def __init__(self, host, build_dir):
        self.dir = f"{host.dir}/bin"
        self.host = host
        self.paths = {}
        os.mkdir(self.dir, 0o755)
        for name in ("bulk", "dns", "echo", "idle", "reqres", "startup", "udp"):
            source = f"{build_dir}/bench/bench-{name}"
            if not os.path.exists(source):
                raise SystemExit(f"{source} is missing: build it with `ninja -C {build_dir} "
                                 f"bench/bench-{name}`, or run `ninja bench`")
            self.paths[name] = self.install(source, f"bench-{name}")
        # The stand-in for vpnkit. It is only built where the headers of libslirp are installed.
        peer = f"{build_dir}/tests/peers/vpnkit_peer"
        if os.path.exists(peer):
            self.paths["vpnkit_peer"] = self.install(peer, "vpnkit_peer")
        self.http = bool(shutil.which("wrk") and shutil.which("nginx"))

    def install(self, source, name):
        """Copies the program and returns the path of the copy. name: may contain a directory."""
        target = f"{self.dir}/{name}"
        os.makedirs(os.path.dirname(target), mode=0o755, exist_ok=True)
        shutil.copy(source, target)
        os.chmod(target, 0o755)
        return target

    def _nginx(self):
        conf = f"{self.host.dir}/nginx.conf"
        with open(conf, "w", encoding="ascii") as file:
            file.write(_NGINX_CONF.format(
                dir=self.host.dir, port=SERVICES["http"], body="x" * 256,
                user="user root;"))
        return ["nginx", "-c", conf, "-e", "stderr"]

    def server(self, service, port, address="0.0.0.0"):
        """The command of one of our own TCP servers: "bulk", "echo", or "close"."""
        where = [f"--host={address}", f"--port={port}"]
        if service == "bulk":
            return [self.paths["bulk"], "--listen", *where]
        close = [f"--close-after={REQUEST_SIZE}"] if service == "close" else []
        return [self.paths["echo"], *where, *close]

    def servers(self):
        found = {service: self.server(service, SERVICES[service])
                 for service in ("bulk", "echo", "close")}
        if self.http:
            found["http"] = self._nginx()
        return found

    def client(self, peer, service, program, *args):
        return [*peer.client_prefix(), self.paths[program], f"--host={peer.address}",
                f"--port={peer.port(service)}", *args]


def run_json(argv, timeout_s):
    """Runs the command and returns the JSON that it prints. Raises Failed, or TimedOut."""
    return json.loads(run_text(argv, timeout_s))


def run_text(argv, timeout_s):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s,
                              stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        raise TimedOut(f"no result after {timeout_s:.0f} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise Failed(" | ".join(lines[-2:]))
    return done.stdout


_WRK_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


def parse_wrk(text):
    """rps and latency percentiles in microseconds from `wrk --latency`."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    if not rate:
        raise Failed("wrk printed no rate")
    sample = {"rps": float(rate.group(1))}
    for share, value, unit in re.findall(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s)$", text, re.M):
        sample[f"p{share}_us"] = float(value) * _WRK_UNITS[unit]
    errors = re.search(r"Socket errors: (.*)", text)
    if errors:
        sample["failures"] = sum(int(n) for n in re.findall(r"\d+", errors.group(1)))
    return sample
