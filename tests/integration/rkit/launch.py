# SPDX-License-Identifier: Apache-2.0
"""Starts rootlesskit as an ordinary user, waits for it, talks to its API, and ends it."""

import http.client
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import time

from .world import UID, world

# For machines that are emulated.
SLOWER = int(os.environ.get("RINGKIT_SLOWER", 1))

# How long tests wait for anything that should take a moment, so that a slow machine fails no test.
DEADLINE_S = 40 * SLOWER
_numbers = itertools.count(1)


def much(size):
    """Much payload, in bytes: less of it on a slow machine."""
    return size // SLOWER


def wait_for(what, predicate, deadline_s=DEADLINE_S, step_s=0.01):
    """Returns predicate()'s first true value."""
    end = time.monotonic() + deadline_s
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited %d s for %s" % (deadline_s, what))
        time.sleep(step_s)


def popen(argv, env=None, uid=UID, **kw):
    """Starts a command as the test user, in its home directory and with its environment."""
    return subprocess.Popen(argv, env=env if env is not None else world().environ(), user=uid,
                            group=uid, extra_groups=[], cwd=kw.pop("cwd", world().home), **kw)


def run(*argv, env=None, uid=UID, timeout=DEADLINE_S, input=None, **kw):
    """Runs a command as the test user until it ends. The result has .returncode, .stdout, .stderr (text)."""
    kw.setdefault("stdin", subprocess.DEVNULL) if input is None else None
    return subprocess.run(argv, env=env if env is not None else world().environ(), user=uid,
                          group=uid, extra_groups=[], cwd=kw.pop("cwd", world().home), text=True,
                          capture_output=True, timeout=timeout, input=input, **kw)


def run_with_log(argv, log, **kw):
    """Runs a command as popen() does, until it ends. Returns (exit code, output, log). Its standard error is
    the file log, so that it never waits for a reader."""
    with open(log, "wb") as err:
        proc = popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, **kw)
        try:
            out = proc.communicate(timeout=2 * DEADLINE_S)[0].decode()
        except subprocess.TimeoutExpired:
            proc.kill()
            raise AssertionError("hangs:\n" + open(log, errors="replace").read())
    with open(log, errors="replace") as err:
        return proc.returncode, out, err.read()


def denying(*denied):
    """Words to put before a command that is started as root. The command runs as the test user, and the
    system calls in denied fail: "mount=EPERM"."""
    return ["env", "PYTHONPATH=" + world().lib,
            "python3", "-m", "rkit.deny", str(UID), *denied, "--"]


# The colon leaves out what LeakSanitizer prints when it cannot do its work in a process with seccomp.
BROKEN = ("Assertion", "Sanitizer: ", "panic:", "runtime error")


def check_log(log):
    """Fails when a program of ours has printed one of BROKEN, whatever else its test checks."""
    for word in BROKEN:
        if word in log:
            raise AssertionError("%s in:\n%s" % (word, log))


def rootlesskit(*args, **kw):
    """Runs rootlesskit with these arguments until it ends."""
    got = run(world().path["rootlesskit"], *args, **kw)
    check_log(got.stderr)
    return got


def ctl(state, *args, binary=None, **kw):
    """Runs rootlessctl with these arguments on the API of a state directory."""
    return run(binary or world().path["rootlessctl"], "--socket", state + "/api.sock", *args, **kw)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=DEADLINE_S):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class ApiError(Exception):
    def __init__(self, status, message):
        super().__init__("%d %s" % (status, message))
        self.status, self.message = status, message


class Rootlesskit:
    """A running rootlesskit. ready() waits for its child_pid, which is written when all is set up."""

    def __init__(self, *args, command=("sleep", "infinity"), state=None, env=None, binary=None,
                 uid=UID, before=(), **kw):
        w = world()
        self.state = state or "%s/state-%d" % (w.tmp, next(_numbers))
        self.own_state = state is None
        self.old_pid = self._child_pid_text()  # of a crashed one, until the new one removes it
        self.command = os.path.basename(command[0])[:15]
        self.log_path = "%s/log-%d" % (w.base, next(_numbers))
        self.out_path = self.log_path + ".out"
        argv = [*before, binary or w.path["rootlesskit"], "--state-dir=" + self.state, *args, *command]
        with open(self.log_path, "wb") as log, open(self.out_path, "wb") as out:
            self.proc = popen(argv, env=env, uid=uid, stdin=kw.pop("stdin", subprocess.DEVNULL),
                              stdout=out, stderr=kw.pop("stderr", log), **kw)
        self.pid = self.proc.pid

    def __enter__(self):
        return self.ready()

    def __exit__(self, *exc):
        if exc[0] is not None:
            print("--- log of rootlesskit %d\n%s---" % (self.pid, self.log()))
        self.stop()

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def out(self):
        with open(self.out_path, errors="replace") as f:
            return f.read()

    def _child_pid_text(self):
        try:
            with open(self.state + "/child_pid") as f:
                return f.read().strip()
        except OSError:
            return ""

    def ready(self):
        def there():
            if self.proc.poll() is not None:
                raise AssertionError("rootlesskit ended with %d:\n%s"
                                     % (self.proc.returncode, self.log()))
            pid = self._child_pid_text()
            return pid if pid and pid != self.old_pid and os.path.exists("/proc/" + pid) else None
        self.child_pid = int(wait_for("child_pid", there))
        if world().reference:  # it writes child_pid before the child has done its part
            self.wait_for_command()
        return self

    def wait_for_command(self):
        """Waits until the command runs, a moment after child_pid is there."""
        wait_for("the command", lambda: self.proc.poll() is not None
                 or self.command in map(comm, processes_of(self.child_pid)))
        return self

    def wait(self, timeout=DEADLINE_S):
        return self.proc.wait(timeout)

    def stop(self):
        """Sends SIGTERM to the parent, which passes it on. Returns the exit code."""
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGTERM)
            try:
                self.proc.wait(DEADLINE_S)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
                raise AssertionError("rootlesskit did not end on SIGTERM:\n" + self.log())
        check_log(self.log())
        return self.proc.returncode

    def api(self, method, path, body=None, headers=None):
        """Makes a request. Returns (status, decoded JSON or text)."""
        conn = UnixConnection(self.state + "/api.sock")
        try:
            text = json.dumps(body) if isinstance(body, (dict, list)) else body
            conn.request(method, path, text, headers or {})
            answer = conn.getresponse()
            data = answer.read().decode()
            try:
                return answer.status, json.loads(data)
            except ValueError:
                return answer.status, data
        finally:
            conn.close()

    def add(self, parent_port, child_port, proto="tcp", parent_ip="127.0.0.1", child_ip=None,
            child_listen_ip=None):
        """Publishes a port; returns its id or raises ApiError."""
        spec = {"proto": proto, "parentIP": parent_ip, "parentPort": parent_port,
                "childPort": child_port}
        if child_ip:
            spec["childIP"] = child_ip
        if child_listen_ip:
            spec["childListenIP"] = child_listen_ip
        status, answer = self.api("POST", "/v1/ports", spec)
        if status != 201:
            raise ApiError(status, answer.get("message", "") if isinstance(answer, dict)
                           else answer)
        return answer["id"]

    def remove(self, port_id):
        status, answer = self.api("DELETE", "/v1/ports/%d" % port_id)
        if status != 200:
            raise ApiError(status, answer)

    def ports(self):
        return self.api("GET", "/v1/ports")[1] or []

    def reload(self):
        """Has the data plane replaced by a new one that takes over its connections. Waits while an earlier
        reload, or a restart after a death, is not over. Returns the API's answer."""
        def done():
            status, answer = self.api("POST", "/v1/reload")
            if status == 400 and ("under way" in answer["message"] or "try again" in answer["message"]):
                return None
            if status != 200:
                raise ApiError(status, answer)
            return answer
        return wait_for("a reload", done)

    def ctl(self, *args, **kw):
        return ctl(self.state, *args, **kw)

    def nsenter(self, *argv, net=True, **kw):
        """Runs a command in the child's namespaces, as their root. net=False is for --net=host."""
        return run("nsenter", "-U", "--preserve-credentials", "-m", *(["-n"] if net else []), "-t",
                   str(self.child_pid), *argv, **kw)

    def forget_state(self):
        shutil.rmtree(self.state, ignore_errors=True)

    def netns(self):
        return "/proc/%d/ns/net" % self.child_pid


def processes_of(root):
    """The pids of a process and everything below it."""
    parent = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name) as f:
                    parent[int(name)] = int(f.read().rsplit(")", 1)[1].split()[1])
            except OSError:
                pass
    found = [root]
    for pid in found:
        found += [p for p, up in parent.items() if up == pid]
    return found


def comm(pid):
    try:
        with open("/proc/%d/comm" % pid) as f:
            return f.read().strip()
    except OSError:
        return ""


def find_role(root, role):
    """The pid of the first process at or below root that has this role; None: there is none."""
    return next((pid for pid in processes_of(root) if role_of(pid) == role), None)


def restart_role(root, role):
    """Kills the process with this role, and waits for the one that replaces it."""
    old = wait_for(role, lambda: find_role(root, role))
    os.kill(old, signal.SIGKILL)
    wait_for("another " + role, lambda: find_role(root, role) not in (None, old))


# The restrictions() of a process that needs no rights.
LOCKED_DOWN = {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0, "NoNewPrivs": 1, "Seccomp": 2}


def restrictions(pid):
    """The values of those lines of /proc/PID/status that say what a process may do."""
    with open("/proc/%d/status" % pid) as f:
        words = dict(line.split(":\t", 1) for line in f if ":\t" in line)
    return {name: int(words[name], 16) for name in LOCKED_DOWN}


def role_of(pid):
    """dataplane, broker, child or ''."""
    try:
        with open("/proc/%d/environ" % pid, "rb") as f:
            for item in f.read().split(b"\0"):
                if item.startswith(b"_RINGKIT_ROLE="):
                    return item.split(b"=", 1)[1].decode()
    except OSError:
        pass
    return ""
