# SPDX-License-Identifier: Apache-2.0
"""Other builds of peers: --peer-dir NAME=DIR.

The programs in the directory decide which peers there are: a build of ringkit gives both back ends and its
own network; others are RootlessKit, pasta and slirp4netns. The peers are NAME, NAME-epoll and net-NAME. If
NAME is in the tables, it replaces that peer, and the targets are judged against it.
"""

import os
import re
import subprocess

from .networks import BuiltinNetwork, Network, PastaNetwork
from .peers import Pasta, RootlessKit

# Where a program may be below the directory: unpacked there, installed, or built by meson.
_PLACES = ("", "bin", "usr/bin", "src", "src/ctl")
PROGRAMS = ("rootlesskit", "rootlessctl", "pasta", "slirp4netns")


class Unusable(Exception):
    """The argument does not name a directory with a peer. The text says why."""


def parse(word):
    """(name, directory) of NAME=DIR."""
    name, sign, directory = word.partition("=")
    if not sign or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", name):
        raise Unusable(f"--peer-dir={word}: expected NAME=DIR, the name of letters and digits")
    directory = os.path.realpath(directory)
    found = find(directory)
    if not found:
        raise Unusable(f"--peer-dir={word}: there is none of {', '.join(PROGRAMS)} in it")
    if ("rootlesskit" in found) != ("rootlessctl" in found):
        raise Unusable(f"--peer-dir={word}: rootlesskit and rootlessctl go together")
    return name, directory


def find(directory):
    """The programs in the directory: {program: path}."""
    found = {}
    for program in PROGRAMS:
        for place in _PLACES:
            path = os.path.join(directory, place, program)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                found[program] = path
                break
    return found


def names(name, directory):
    """The names of the peers that the directory gives."""
    found = find(directory)
    if _is_ours(found):
        return [name, f"{name}-epoll", f"net-{name}"]
    kept = [name] if {"rootlesskit", "pasta"} & set(found) else []
    return kept + [f"net-{name}"] * bool({"pasta", "slirp4netns"} & set(found))


def _is_ours(found):
    if "rootlesskit" not in found:
        return False
    done = subprocess.run([found["rootlesskit"], "--version"], capture_output=True, text=True,
                          check=False)
    return "ringkit" in done.stdout


def makers(programs, name, directory):
    """{peer: maker}. The peers use copies of the programs, which any user can start."""
    found = find(directory)
    ours = _is_ours(found)
    # The copies keep their names: pasta behaves according to its name.
    path = {program: programs.install(source, f"{name}/{program}")
            for program, source in found.items()}
    made = {}

    def kit(extra, label):
        return lambda host, peer, index: RootlessKit(
            host, peer, index, path["rootlesskit"], path["rootlessctl"], extra, label)
    if ours:
        made[name] = kit(["--dataplane=io_uring"], f"{name} io_uring")
        made[f"{name}-epoll"] = kit(["--dataplane=epoll"], f"{name} epoll")
        made[f"net-{name}"] = lambda host, peer, index: BuiltinNetwork(
            host, peer, index, path["rootlesskit"], f"{name} builtin")
        return made
    if "rootlesskit" in path:
        made[name] = kit([], f"{name} builtin")
    if "pasta" in path:
        made.setdefault(name, lambda host, peer, index: Pasta(host, peer, index, path["pasta"],
                                                              name))
        made[f"net-{name}"] = lambda host, peer, index: PastaNetwork(
            host, peer, index, label=f"ringkit {name}", binary=path["pasta"])
    elif "slirp4netns" in path:
        made[f"net-{name}"] = lambda host, peer, index: Network(
            host, peer, index, label=f"ringkit {name}", binary=path["slirp4netns"])
    return made
