# SPDX-License-Identifier: Apache-2.0
"""CPU time and memory of a tree of processes, from /proc."""

import os
import re

_TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid):
    """(ppid, own CPU seconds, reaped children's CPU seconds)"""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    utime, stime, cutime, cstime = (int(x) for x in fields[11:15])
    return int(fields[1]), (utime + stime) / _TICKS, (cutime + cstime) / _TICKS


def everything_cpu_ticks():
    """Clock ticks that all processes of this PID namespace have used, including ended ones."""
    seconds = 0.0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                _, own, reaped = _stat(entry)
            except OSError:
                continue
            seconds += own + reaped
    return seconds * _TICKS


def _threads_cpu(pid):
    """CPU seconds of the living threads, precise to a nanosecond; 0: the kernel does not count them."""
    total = 0
    try:
        for tid in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{tid}/schedstat", encoding="ascii") as file:
                total += int(file.read().split()[0])
    except OSError:
        pass
    return total / 1e9


def comm(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def tree(root_pid):
    """The process and its descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                children.setdefault(_stat(entry)[0], []).append(int(entry))
            except OSError:
                continue
    found, todo = [], [root_pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


class CpuMeter:
    """CPU seconds that processes have used since the meter was made.

    The tree is read again at the end. Processes that started meanwhile count as a whole. Those that ended
    count through the parent that reaped them.
    """

    def __init__(self, list_pids):
        self._list_pids = list_pids
        self._start = self._read()

    def _read(self):
        seen = {}
        for pid in self._list_pids():
            try:
                _, own, reaped = _stat(pid)
            except OSError:
                continue
            # Ticks are rounded down to 10 ms. The threads' counters are exact, but lack ended threads.
            seen[pid] = (max(own, _threads_cpu(pid)), reaped)
        return seen

    def seconds(self):
        total = 0.0
        for pid, (own, reaped) in self._read().items():
            own_before, reaped_before = self._start.get(pid, (0.0, 0.0))
            total += own - own_before + reaped - reaped_before
        return max(total, 0.0)


def memory(pids):
    """Resident, proportional and private memory of all processes, in KiB, and their number."""
    total = {"rss_kib": 0, "pss_kib": 0, "private_kib": 0, "processes": 0}
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                rollup = dict(re.findall(r"^(\w+):\s+(\d+) kB", file.read(), re.M))
        except OSError:
            continue
        total["processes"] += 1
        total["rss_kib"] += int(rollup.get("Rss", 0))
        total["pss_kib"] += int(rollup.get("Pss", 0))
        total["private_kib"] += (int(rollup.get("Private_Clean", 0))
                                 + int(rollup.get("Private_Dirty", 0)))
    return total


def reset_peaks(pids):
    """Resets the kernel's record of each process's largest resident size."""
    for pid in pids:
        try:
            with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
                file.write("5")
        except OSError:
            continue


def peak_rss_mib(pids):
    """The sum of the largest resident sizes that the processes have had since reset_peaks()."""
    kib = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
                peak = re.search(r"^VmHWM:\s+(\d+) kB", file.read(), re.M)
        except OSError:
            continue
        kib += int(peak.group(1)) if peak else 0
    return kib / 1024


def descriptors(pids, kind=""):
    """For each process, how many descriptors it has whose target starts with kind."""
    counts = []
    for pid in pids:
        count = 0
        try:
            for number in os.listdir(f"/proc/{pid}/fd"):
                try:
                    count += os.readlink(f"/proc/{pid}/fd/{number}").startswith(kind)
                except OSError:
                    continue
        except OSError:
            continue
        counts.append(count)
    return counts


class Meter:
    """CPU seconds and peak memory of a forwarder over one sample."""

    def __init__(self, peer):
        self._peer = peer
        if peer.counts_memory:
            reset_peaks(peer.forwarder_pids())
        self._cpu = CpuMeter(peer.forwarder_pids)

    def finish(self, amount, metric):
        """{metric: CPU seconds / amount, peak_rss_mib: ...}; {}: there is no forwarder."""
        seconds = self._cpu.seconds()
        pids = self._peer.forwarder_pids()
        if not pids or not amount:
            return {}
        sample = {metric: seconds / amount}
        if self._peer.counts_memory:
            sample["peak_rss_mib"] = peak_rss_mib(pids)
        return sample
