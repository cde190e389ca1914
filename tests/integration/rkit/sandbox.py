# SPDX-License-Identifier: Apache-2.0
"""Gives a test file a machine of its own: new mount, network and PID namespaces.

A test may change addresses, /etc, /dev/net/tun and network sysctls: the changes end with the namespaces.
Nobody else uses a port there, and every process that a test leaves behind can be seen.

There are three ways in: as root; as a user with `sudo -n`; or else in a user namespace made with the
user's own sub-ids, whose root takes the place of the administrator.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile

NEEDED = ("unshare", "nsenter", "setpriv", "mount", "ip", "newuidmap", "newgidmap")  # every file runs these
MARK = "RKIT_INSIDE"  # not set outside; "init" or "tests" in the new namespaces
SKIP = 77
UIDS = 22001  # the first of the files' user numbers


def _can(*argv):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


def _way_in():
    """Words to put before the command to become root ([]: we are root); None: a user namespace will do; or
    a string that says why there is no way."""
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


def _uid(path):
    """The number of a file's user, which no other file of the directory has. Files run at the same time, and
    the kernel compares a user's processes, pipes and descriptors on their way with limits."""
    directory, name = os.path.split(os.path.abspath(path))
    names = {name, *(n for n in os.listdir(directory) if n.startswith("test_"))}
    return UIDS + sorted(names).index(name)


def _outer(argv):
    """Makes the scratch directory and the namespaces, waits for the tests, and removes the directory. Returns
    the exit code."""
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
    """Process 1 of the new PID namespace: reaps orphans until the tests have ended."""
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
    """Resets signals that are ignored. nohup(1) and a shell's & ignore some, and every process that the tests
    start would inherit that."""
    for number in signal.valid_signals():
        if number not in (signal.SIGPIPE, signal.SIGXFSZ) and (  # Python itself ignores these two
                signal.getsignal(number) == signal.SIG_IGN):
            signal.signal(number, signal.SIG_DFL)


def _see_all_programs():
    """Adds the administrator's programs to PATH, where Debian's ordinary user does not have them."""
    path = os.environ.get("PATH", os.defpath).split(":")
    for directory in ("/usr/local/sbin", "/usr/sbin", "/sbin"):
        if directory not in path:
            path.append(directory)
    os.environ["PATH"] = ":".join(path)


def enter(argv):
    """Returns in the process that runs the tests; exits in the processes around it. Sets RKIT_UID."""
    _heed_signals()
    _see_all_programs()
    stage = os.environ.get(MARK)
    if stage is None:
        os.environ["RKIT_UID"] = str(_uid(argv[0]))
        sys.exit(_outer(argv))
    if stage == "init":
        _init(argv)
