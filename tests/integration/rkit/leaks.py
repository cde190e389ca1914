# SPDX-License-Identifier: Apache-2.0
"""Lists of what a test may leave: processes, mounts, files, descriptors, memory."""

import functools
import os

from .launch import processes_of, role_of, wait_for


def processes():
    """Every process of this PID namespace but ours and process 1: {pid: command line}."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in (1, os.getpid()):
            continue
        try:
            with open("/proc/%s/stat" % name) as f:
                if f.read().rsplit(")", 1)[1].split()[0] in "ZX":
                    continue
            with open("/proc/%s/cmdline" % name, "rb") as f:
                found[int(name)] = f.read().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            pass
    return found


def mounts():
    with open("/proc/self/mountinfo") as f:
        return sorted(line.split()[4] for line in f)


def tree(path):
    """The paths of everything below a directory."""
    return sorted(os.path.join(d, n) for d, dirs, files in os.walk(path) for n in dirs + files)


def links(pid):
    """What the descriptors of a process refer to, as /proc shows it. Some may be closed meanwhile."""
    found = []
    base = "/proc/%d/fd" % pid
    try:
        names = os.listdir(base)
    except OSError:
        return []
    for name in names:
        try:
            found.append(os.readlink("%s/%s" % (base, name)))
        except OSError:
            pass
    return found


def descriptors(pid):
    """The same, sorted; for sockets, pipes and the like only the kind."""
    return sorted(link.split(":")[0] for link in links(pid))


def rss_kib(pid):
    try:
        with open("/proc/%d/status" % pid) as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def pss_kib(pid):
    """Memory of a process. Each shared page is divided among the processes that share it."""
    try:
        with open("/proc/%d/smaps_rollup" % pid) as f:
            for line in f:
                if line.startswith("Pss:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def own_processes(rk):
    """The processes of rootlesskit itself, without the command: {name: pid}."""
    found = {"parent": rk.pid}
    for pid in processes_of(rk.pid):
        role = role_of(pid)
        if role in ("dataplane", "broker"):
            found[role] = pid
    if len(found) == 1:
        found["child"] = rk.child_pid
    return found


def fd_counts(rk):
    return {name: len(descriptors(pid)) for name, pid in own_processes(rk).items()}


def fd_counts_at_rest(rk):
    """fd_counts when the API has had a client, for whom the parent opens some, and that is gone."""
    counts = []

    def steady():
        counts.append(fd_counts(rk))
        return counts[-3:] == 3 * [counts[-1]]
    rk.api("GET", "/v1/info")
    wait_for("descriptors at rest", steady, step_s=0.1)
    return counts[-1]


@functools.cache
def keeps_freed_memory(path):
    """Whether a program has AddressSanitizer, which keeps up to 256 MiB of freed memory for a while."""
    with open(path, "rb") as f:
        return b"__asan_init" in f.read()


def memory_kib(rk):
    """Resident memory of rootlesskit's own processes. 0 with AddressSanitizer, where it says nothing about
    leaks."""
    if keeps_freed_memory("/proc/%d/exe" % rk.pid):
        return 0
    return sum(rss_kib(pid) for pid in own_processes(rk).values())
