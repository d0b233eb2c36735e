"""`linli check SITE`: every mistake in a site file, one a line, with what was expected and what to do."""

import argparse
import sys
from pathlib import Path

from gateway.config import read
from gateway.site_devices import bus_plan
from gateway.site_tables import SiteFile
from gateway.site_writer import cfg, effective

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, help="the site file, for example simulator/sites/demo.toml")
    parser.add_argument("--effective", action="store_true", help="print the settings with every default filled in")


def run(args: argparse.Namespace) -> int:
    """0: good. 1: mistakes, each a line on standard output. 2: there is no such file to read."""
    try:
        args.site.open("rb").close()
    except OSError as error:
        reason = (error.strerror or "an error").lower()
        print(
            f"linli check: {args.site}: found {reason}, expected a site file; "
            "see that the path is right, simulator/sites/demo.toml is one to start from",
            file=sys.stderr,
        )
        return WRONG_USE
    file, wrong = read(args.site)
    for problem in wrong:
        print(problem)
    if file is None:
        print(f"{len(wrong)} {'mistake' if len(wrong) == 1 else 'mistakes'}", file=sys.stderr)
        return CHECK_FAILED
    if args.effective:
        print(effective(file), end="")  # nothing besides: its SHA-256 begins with cfg
    else:
        print(f"{args.site}: {summary(file)}")
    return GOOD


def summary(file: SiteFile) -> str:
    """One line: the box, the hash of its settings, and how much of everything it has."""
    counts = {
        "bus": len(file.bus),
        "device": len(file.device),
        "pulse meter": len(file.pulse),
        "sensor": len(file.sensor),
        "machine": len(file.machine),
        "output": len(file.output),
        "alarm": len(file.alarm),
        "reaction": len(file.reaction),
        "queue": len(file.queue),
    }
    many = [
        _count(number, name)
        for name, number in counts.items()
        if number or name not in ("device", "pulse meter", "machine")
    ]
    plans = {name: sum(part.share for part in bus_plan(file, name)) for name in file.bus}
    talks = [f"; {name} talks {share:.2f} s in each second" for name, share in plans.items() if share]
    return f"OK, {file.site.gateway}, cfg {cfg(file)}: {', '.join(many)}{''.join(talks)}"


def _count(number: int, name: str) -> str:
    plural = {"bus": "buses"}.get(name, f"{name}s")
    return f"{number} {name if number == 1 else plural}"
