# SPDX-License-Identifier: Apache-2.0
"""Gives a test file a machine of its own: new mount, network and pid namespaces.

Whatever a test does to addresses, /etc, /dev/net/tun or sysctls of the network ends with it, no port
is taken by anyone else, and every process that is left over can be seen.

Three ways in: as root; as a user with `sudo -n`; else inside a user namespace made with the user's
own sub-ids, whose root plays the administrator.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile

NEEDED = ("unshare", "nsenter", "setpriv", "mount", "ip", "newuidmap", "newgidmap")  # by every file
MARK = "RKIT_INSIDE"
SKIP = 77


def _can(*argv):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def _way_in():
    for name in NEEDED:
        if not shutil.which(name):
            return "%s is not installed" % name
    if os.geteuid() == 0 and _can("unshare", "--mount", "--net", "--pid", "--fork", "true"):
        return []
    if os.geteuid() != 0 and shutil.which("sudo") and _can("sudo", "-n", "true"):
        keep = [k for k in os.environ if k.startswith(("RK_", "RKIT_", "RINGKIT_"))]
        return ["sudo", "-n", "env"] + ["%s=%s" % (k, os.environ[k]) for k in keep]
    if _can("unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--net", "--pid",
            "--fork", "mount", "-t", "tmpfs", "none", "/mnt"):
        os.environ["RKIT_USERNS"] = "1"
        return None
    return "no root, no sudo without a password, and no user namespace with sub-ids"


def _outer(argv):
    """Makes the scratch directory and the namespaces, waits, tidies up. Returns the exit code."""
    way = _way_in()
    if isinstance(way, str):
        print("SKIP: " + way)
        return 1 if os.environ.get("RINGKIT_NO_SKIP") else SKIP
    if way:
        return subprocess.call(way + [sys.executable, "-u"] + argv)
    base = tempfile.mkdtemp(prefix="rkit-")
    os.chmod(base, 0o755)
    user = ["--user", "--map-root-user", "--map-auto"] if way is None else []
    env = dict(os.environ, **{MARK: "init", "RKIT_BASE": base})
    cmd = ["unshare"] + user + ["--mount", "--net", "--pid", "--fork", "--kill-child",
                                "--mount-proc", sys.executable, "-u"] + argv
    # Without this, a SIGTERM would end us and leave everything inside running.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        return subprocess.call(cmd, env=env)
    finally:
        os.rmdir(base)


def _init(argv):
    """Process 1 of the new pid namespace: reaps orphans until the tests have ended."""
    env = dict(os.environ, **{MARK: "tests"})
    child = subprocess.Popen([sys.executable, "-u"] + argv, env=env)
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, lambda s, f: os.kill(child.pid, signal.SIGKILL))
    while True:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        if pid == child.pid:
            child.returncode = 0
            os._exit(os.waitstatus_to_exitcode(status) & 0xff)


def _heed_signals():
    """nohup(1) and a shell's & have some ignored, and so would be all that the tests start."""
    for number in signal.valid_signals():
        if number not in (signal.SIGPIPE, signal.SIGXFSZ) and (  # Python's own doing
                signal.getsignal(number) == signal.SIG_IGN):
            signal.signal(number, signal.SIG_DFL)


def _see_all_programs():
    """Debian's ordinary user does not have the administrator's programs in PATH."""
    path = os.environ.get("PATH", os.defpath).split(":")
    for directory in ("/usr/local/sbin", "/usr/sbin", "/sbin"):
        if directory not in path:
            path.append(directory)
    os.environ["PATH"] = ":".join(path)


def enter(argv):
    """Returns in the process that runs the tests; exits in the ones around it."""
    _heed_signals()
    _see_all_programs()
    stage = os.environ.get(MARK)
    if stage is None:
        sys.exit(_outer(argv))
    if stage == "init":
        _init(argv)
