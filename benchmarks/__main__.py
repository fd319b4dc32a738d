"""``python -m benchmarks``: see ``docs/benchmarks.md``."""

from __future__ import annotations

import argparse
import sys

from benchmarks import (
    cells,
    fairness,
    knowledge,
    machine_code,
    peers,
    people,
    plan,
    planner,
    service,
    site_run,
)
from benchmarks.fuzz import SHARE
from benchmarks.fuzz import run as fuzz

AREAS = {
    "service": (service.BARS, service.run),
    "people": (people.BARS, people.run),
    "fairness": (fairness.BARS, fairness.run),
    "knowledge": (knowledge.BARS, knowledge.run),
    "plan": (plan.BARS, plan.run),
    "planner": (planner.BARS, planner.run),
    "cells": (cells.BARS, cells.run),
}


def main() -> int:
    """The command line; the exit status is 1 where a bar does not hold."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure what Modu promises.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (names, _) in AREAS.items():
        bars = commands.add_parser(name, help=f"the bars of the {name}")
        bars.add_argument("--quick", action="store_true", help="under a minute, to find breakage only")
        bars.add_argument("--only", default="", metavar="BAR,…", help=f"only these: {', '.join(names)}")
        bars.add_argument("--source", action="store_true", help="measure the sources, not the machine code")
        if name == "fairness":
            bars.add_argument("--data", default="", metavar="DIR", help="folder that holds the traces")
            bars.add_argument(
                "--figures", default="", metavar="DIR", help="draw the documentation's figures there"
            )
    fuzzer = commands.add_parser("fuzz", help="broken requests, answers, bodies and documents")
    fuzzer.add_argument("--inputs", type=int, default=1_000_000, help="how many, over all kinds")
    fuzzer.add_argument("--seconds", type=float, default=0.0, help="end after this time; 0: after the inputs")
    fuzzer.add_argument("--seed", type=int, default=1, help="another seed makes other inputs")
    fuzzer.add_argument("--only", default="", choices=["", *SHARE], help="only this kind")
    fuzzer.add_argument("--quick", action="store_true", help="ten seconds")
    whole = commands.add_parser(
        "site", help="a whole site at work on this machine, with parts that are killed"
    )
    whole.add_argument("--seconds", type=float, default=180.0, help="how long people ask")
    whole.add_argument("--quick", action="store_true", help="twelve seconds")
    whole.add_argument("--pictures", default="", metavar="DIR", help="screenshots of the console go there")
    peer = commands.add_parser("peers", help="what we are measured against")
    peer.add_argument("action", choices=["install"], help="install it into the cache folder")
    peer.add_argument("names", nargs="*", help=f"only these: {', '.join(each.name for each in peers.EVERY)}")
    arguments = parser.parse_args()
    if arguments.command == "peers":
        return _install(arguments.names)
    if arguments.command == "fuzz":
        seconds = 10.0 if arguments.quick else arguments.seconds
        return fuzz(inputs=arguments.inputs, seconds=seconds, seed=arguments.seed, only=arguments.only)
    if arguments.command == "site":
        return site_run.run(
            seconds=12.0 if arguments.quick else arguments.seconds, pictures=arguments.pictures
        )
    machine_code.choose(source=arguments.source)
    only = tuple(filter(None, arguments.only.split(",")))
    if arguments.command == "fairness":
        return fairness.run(only=only, quick=arguments.quick, data=arguments.data, figures=arguments.figures)
    _, run = AREAS[arguments.command]
    return run(only=only, quick=arguments.quick)


def _install(names: list[str]) -> int:
    known = {peer.name: peer for peer in peers.EVERY}
    if unknown := set(names) - known.keys():
        print(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = 0
    for peer in (known[name] for name in names or known):
        reason = peers.install(peer)
        print(f"{peer.name} {peer.version}: {reason or 'installed'}", flush=True)
        failed += bool(reason)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
