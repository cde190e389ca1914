# SPDX-License-Identifier: Apache-2.0
"""Facts about the machine and the build, for readers of figures, and how much others use the machine."""

import json
import os
import platform
import re
import time

from . import procs


def _first(path, pattern):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            found = re.search(pattern, file.read(), re.M)
    except OSError:
        return ""
    return found.group(1).strip() if found else ""


def facts(build_dir):
    kib = _first("/proc/meminfo", r"^MemTotal:\s+(\d+)")
    return {
        "kernel": f"{platform.system()} {platform.release()}",
        "arch": platform.machine(),
        "cpu": _first("/proc/cpuinfo", r"^(?:model name|Model)\s*:\s*(.+)$"),
        "cpus": len(os.sched_getaffinity(0)),
        "cpu_list": number_ranges(os.sched_getaffinity(0)),
        "governor": _governors(os.sched_getaffinity(0)),
        "memory_gib": round(int(kib) / 1024 / 1024, 1) if kib else 0,
        "build": _build(build_dir),
    }


def number_ranges(numbers):
    """{0, 1, 2, 5} as "0-2,5"."""
    runs = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{a}-{b}" if a != b else str(a) for a, b in runs)


def _governors(cpus):
    """The frequency governors of the CPUs; "none": the kernel does not change the frequency."""
    path = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
    found = {_first(path.format(cpu), r"^(\S+)") for cpu in cpus} - {""}
    return ",".join(sorted(found)) or "none"


def _build(build_dir):
    """buildtype and sanitizers of the build directory."""
    try:
        with open(f"{build_dir}/meson-info/intro-buildoptions.json", encoding="utf-8") as file:
            options = {option["name"]: option["value"] for option in json.load(file)}
    except (OSError, ValueError):
        return {}
    # Newer versions of meson give a list.
    sanitize = options.get("b_sanitize") or "none"
    if isinstance(sanitize, list):
        sanitize = ",".join(sanitize) or "none"
    return {"buildtype": options.get("buildtype", ""), "sanitize": sanitize}


def build_warning(build):
    if build.get("sanitize", "none") != "none":
        return f"this build has sanitizers ({build['sanitize']}): its figures are worthless"
    if build.get("buildtype", "release") not in ("release", "debugoptimized", "minsize"):
        return f"this build is not optimized (buildtype {build['buildtype']})"
    return ""


def _jiffies():
    """(busy, stolen, all) of all CPUs."""
    with open("/proc/stat", encoding="ascii") as file:
        fields = [int(x) for x in file.readline().split()[1:9]]
    return sum(fields) - fields[3] - fields[4], fields[7], sum(fields)


class Unrest:
    """How much of all CPU time others have used since the object was made, in percent.

    Others are processes outside the bench's PID namespace, kernel threads, and the hypervisor.
    """

    def __init__(self):
        self._start = self._read()

    @staticmethod
    def _read():
        return (*_jiffies(), procs.everything_cpu_ticks())

    def percent(self):
        """(all others, the hypervisor's part of that)"""
        busy, stolen, whole, ours = (b - a for a, b in zip(self._start, self._read()))
        if not whole:
            return 0.0, 0.0
        return 100 * max(busy - ours, 0) / whole, 100 * stolen / whole


def busy_percent(seconds=1.0):
    """How much of the machine is in use, in percent. Asked before a run begins."""
    before = _jiffies()
    time.sleep(seconds)
    after = _jiffies()
    whole = after[2] - before[2]
    return 100 * (after[0] - before[0]) / whole if whole else 0.0
