# SPDX-License-Identifier: Apache-2.0
"""The command line of bench/run: options, the sandbox, the files that a run leaves."""

import argparse
import collections
import datetime
import json
import os
import time

from rkit import sandbox

from . import machine, peerdirs, profile, report, results, table, targets
from .drivers import DRIVERS
from .host import Host
from .peers import OPTIONS_PEER, PEERS, with_options
from .programs import Programs
from .runner import Progress, Runner, select
from .suites import suite

FORMAT = 1  # of the JSON; compare refuses others
QUIET_PERCENT = 15


def _words(text):
    return [word for word in text.split(",") if word]


def _joined(args):
    """Makes one word of --options and its value, which argparse would take for an option of ours."""
    args = list(args)
    if "--options" in args[:-1]:
        at = args.index("--options")
        args[at:at + 2] = [f"--options={args[at + 1]}"]
    return args


def parse(argv):
    """The options of a command line. A wrong one ends the program."""
    here = os.path.dirname(os.path.realpath(argv[0]))
    parser = argparse.ArgumentParser(
        prog="bench/run", description="Measures ringkit and its peers. See bench/README.md.")
    parser.add_argument("--suite", choices=("full", "quick", "smoke"), default="full")
    parser.add_argument("--profile", action="store_true",
                        help="record where the time goes, instead of measuring")
    parser.add_argument("--build-dir", default=os.path.join(here, "..", "build"), metavar="DIR")
    parser.add_argument("--out", metavar="DIR", help="where the results go (BUILD/bench-results)")
    parser.add_argument("--only", type=_words, default=[], metavar="SCENARIO,...",
                        help="names or shell patterns; --list shows them")
    parser.add_argument("--peers", type=_words, default=[], metavar="PEER,...",
                        help="some of " + ", ".join([*PEERS, *DRIVERS]))
    parser.add_argument("--rounds", type=int, metavar="N", help="samples of each peer")
    parser.add_argument("--seconds", type=float, metavar="S", help="how long the load of a sample lasts")
    parser.add_argument("--variants", type=_words, default=[], metavar="V,...",
                        help="some of unpaced, bbr")
    parser.add_argument("--peer-dir", action="append", default=[], metavar="NAME=DIR",
                        help="measure the rootlesskit, pasta or slirp4netns in DIR, or another "
                        "build of ringkit, in the same rounds: peers NAME, NAME-epoll, net-NAME")
    parser.add_argument("--other-build", metavar="DIR", help="the same as --peer-dir other=DIR")
    parser.add_argument("--options", metavar="WORDS", help="measure ringkit with these options, "
                        "too: peer options; several words in quotes")
    parser.add_argument("--write-results", metavar="FILE", help="put the figures into this file, "
                        "between its two markers, as bench/results does")
    parser.add_argument("--list", action="store_true", help="list the scenarios and stop")
    options = parser.parse_args(_joined(argv[1:]))
    if options.other_build:
        options.peer_dir.append(f"other={options.other_build}")
    try:
        options.peer_dir = [peerdirs.parse(word) for word in options.peer_dir]
    except peerdirs.Unusable as why:
        parser.error(str(why))
    more = [name for pair in options.peer_dir for name in peerdirs.names(*pair)]
    if options.options is not None:
        more.append(OPTIONS_PEER)
    elif OPTIONS_PEER in options.peers and OPTIONS_PEER not in more:
        parser.error(f"--peers={OPTIONS_PEER}: say which options: --options='--workers=1'")
    twice = [name for name, count in collections.Counter(more).items() if count > 1]
    if twice:
        parser.error(f"two peers would have the name {twice[0]}: give each --peer-dir a name of its own")
    for words, known, name in ((options.peers, [*PEERS, *DRIVERS, *more], "peers"),
                               (options.variants, ("unpaced", "bbr"), "variants")):
        for word in words:
            if word not in known:
                parser.error(f"--{name}={word}: expected one of {', '.join(known)}")
    if options.rounds is not None and not 1 <= options.rounds <= 1000:
        parser.error("--rounds: expected a number from 1 to 1000")
    if options.seconds is not None and not 0.05 <= options.seconds <= 60:
        parser.error("--seconds: expected 0.05 to 60")
    options.build_dir = os.path.realpath(options.build_dir)
    if options.write_results:
        try:
            results.check(options.write_results)
        except results.Unusable as why:
            parser.error(str(why))
        options.write_results = os.path.realpath(options.write_results)
    options.out = os.path.realpath(options.out or options.build_dir + "/bench-results")
    return options


def _chosen_suite(options):
    chosen = suite("profile" if options.profile else options.suite)
    if options.rounds is not None:
        chosen = chosen._replace(rounds=options.rounds)
    if options.seconds is not None:
        chosen = chosen._replace(seconds=options.seconds)
    return chosen


def _binaries(build_dir):
    """The paths of rootlesskit and rootlessctl in a build directory."""
    paths = [f"{build_dir}/src/rootlesskit", f"{build_dir}/src/ctl/rootlessctl"]
    for path in paths:
        if not os.access(path, os.X_OK):
            raise SystemExit(f"there is no {path}: build it with `ninja -C {build_dir}`, or name "
                             "another directory")
    return paths


def _point_at_build(build_dir):
    """Makes the sandbox copy the binaries of this build."""
    os.environ.update(zip(("RK_ROOTLESSKIT", "RK_ROOTLESSCTL"), _binaries(build_dir)))
    os.environ["RK_DOCKER_PROXY"] = f"{build_dir}/src/ctl/rootlesskit-docker-proxy"


def _more_peers(options, programs):
    more = {}
    for name, directory in options.peer_dir:
        more.update(peerdirs.makers(programs, name, directory))
    if options.options is not None:
        more.update(with_options(options.options.split()))
    return more


class Files:
    """The files with the results. They belong to the user who started the bench, also with sudo."""

    def __init__(self, out_dir, stem):
        self.out_dir = out_dir
        self.stem = f"{out_dir}/{stem}"
        try:
            os.makedirs(out_dir, exist_ok=True)
        except OSError as error:
            raise SystemExit(f"--out={out_dir}: {error.strerror}") from None
        self._own(out_dir)

    @staticmethod
    def _own(path):
        if os.environ.get("SUDO_UID", "").isdigit():
            os.chown(path, int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))

    def write(self, suffix, text):
        """Writes the file with this suffix, or replaces it. Returns its path."""
        path = self.stem + suffix
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(path + ".new", path)
        self._own(path)
        return path


def _stem(kind):
    """The common beginning of the names of a run's files."""
    return datetime.datetime.now().strftime("%Y%m%d-%H%M%S-") + kind


def _header(options, chosen, build_dir):
    now = datetime.datetime.now().astimezone()
    return {
        "format": FORMAT, "suite": options.suite, "started": now.isoformat(timespec="seconds"),
        "rounds": chosen.rounds, "sample_seconds": chosen.seconds,
        "machine": machine.facts(build_dir), "busy_before_percent": machine.busy_percent(),
    }


def _warn(say, run):
    texts = [machine.build_warning(run["machine"]["build"])]
    if run["busy_before_percent"] > QUIET_PERCENT:
        texts.append(f"others use {run['busy_before_percent']:.0f} % of this machine: the figures "
                     "will be noisy")
    run["warnings"] = [text for text in texts if text]
    for text in run["warnings"]:
        say(f"warning: {text}")


def _measure(options, chosen, host, programs, progress):
    start, unrest = time.monotonic(), machine.Unrest()
    run = _header(options, chosen, options.build_dir)
    _warn(progress.say, run)
    files = Files(options.out, _stem(options.suite))

    def save():
        others, stolen = unrest.percent()
        run.update(results=runner.results, skipped=runner.skipped, others_percent=others,
                   steal_percent=stolen, seconds=time.monotonic() - start,
                   targets=targets.evaluate(runner.results),
                   peers={name: {"label": peer.label, "version": peer.version()}
                          for name, peer in runner.peers.items()})
        return files.write(".json", json.dumps(run, indent=1) + "\n")

    runner = Runner(host, programs, chosen, progress, after_scenario=save)
    runner.make_peers(options.peers, _more_peers(options, programs))
    runner.run(runner.plan(options.variants, options.only))
    data = save()
    page = files.write(".html", report.page(run))
    progress.say("\n" + table.conditions(run))
    progress.say(table.results(run["results"], list(run["peers"])))
    progress.say(table.targets(run["targets"]))
    if options.write_results:
        results.write(options.write_results, [run])
    progress.say(f"\nreport: {page}\ndata:   {data}\n"
                 f"{run['seconds']:.0f} s; others used {run['others_percent']:.0f} % of the CPU "
                 f"time, of which the hypervisor {run['steal_percent']:.1f} %")
    return _failed_ours(runner)


def _profile(options, chosen, host, programs, progress):
    host.set_congestion(host.congestion_controls()[0])
    chosen = chosen._replace(scenarios=select(chosen.scenarios, options.only))
    runner = Runner(host, programs, chosen, progress)
    runner.make_peers(options.peers or ["ringkit", "ringkit-epoll"],
                      _more_peers(options, programs))
    return profile.run(host, programs, chosen, runner, Files(options.out, _stem("profile")),
                       progress.say)


def _failed_ours(runner):
    """The exit status: 1 if a sample of ringkit or of the direct path failed, so that somebody notices."""
    bad = [(e["scenario"], name) for e in runner.results for name, of in e["peers"].items()
           if of["failures"] and (name == "direct" or runner.peers[name].ours)]
    for key, name in bad:
        runner.progress.say(f"failed: {key} with {name}")
    if not runner.results:
        runner.progress.say("nothing was measured")
    return 1 if bad or not runner.results else 0


def main(argv):
    options = parse(argv)
    chosen = _chosen_suite(options)
    if options.list:
        for scenario in chosen.scenarios:
            print(f"{scenario.key:20} {scenario.group}: {scenario.title}")
        return 0
    _point_at_build(options.build_dir)
    # The sandbox starts this program again inside, for which it needs its path.
    sandbox.enter([os.path.realpath(argv[0]), *argv[1:]])
    host = Host()
    programs = Programs(host, options.build_dir)
    progress = Progress()
    if options.profile:
        return _profile(options, chosen, host, programs, progress)
    return _measure(options, chosen, host, programs, progress)
