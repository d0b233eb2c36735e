"""`linli nights`: seeded nights, each a whole gateway among everything that fails, on a clock of its own.

One seed is one night. A failing one prints the command that plays it again, exactly. Nights share nothing, so each core
plays its own. What is modelled and what not: docs/nights.md.
"""

import argparse
import gc
import json
import logging
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from gateway.clock import SystemClock
from gateway.config import load
from gateway.contract import Json
from gateway.home import DATABASE
from gateway.salvage import Aside
from gateway.schema import connect, ensure
from simulator.ledger import Ledger
from simulator.month import DAYS, play_month
from simulator.night import Night, Outcome, Place
from simulator.planted import NIGHT_PLANTS
from simulator.virtual_broker import CITY

GOOD, FAILED = 0, 1
COUNT = 200
SITE = Path(__file__).parent / "sites" / "night.toml"
BUDGET_MB = 0.15  # the least a store lives in: far less than a site file may ask for
NARROW_BYTES = 93_000
FAILURES_MAX = 3  # seeds that fail until no further night begins
TOLD_EVERY = 250
MEMORY = Path("/dev/shm")  # its disk is virtual; the files of it may as well lie in memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--count", type=_whole, default=COUNT, metavar="N", help="nights (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="K", help="of the first night (default: %(default)s)")
    parser.add_argument("--minutes", type=float, metavar="M", help="how long things fail (default: the seed says it)")
    parser.add_argument("--month", action="store_true", help="one month instead, at a natural pace (or --minutes)")
    parser.add_argument("--plant", choices=NIGHT_PLANTS, help="put this bug into the gateway: it must be found")
    parser.add_argument("--json", type=Path, metavar="FILE", help="what was done and found, as one JSON object")


def _whole(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 1_000_000:
        raise argparse.ArgumentTypeError(f"found {text}; expected 1 to 1000000 nights")
    return count


def run(args: argparse.Namespace) -> int:
    """0 when every promise held in every night."""
    clock = SystemClock()
    began_s = clock.mono_s()
    tally = Tally()
    for outcome in _played(args):
        tally.add(outcome)
        if tally.count % TOLD_EVERY == 0:
            print(f"{clock.mono_s() - began_s:6.0f} s  {tally.count} nights, {len(tally.failed)} failed", flush=True)
    for outcome in tally.failed:
        print(f"seed {outcome.seed}: " + "\n    ".join(outcome.problems))
        print(f"    the same again: {replay(args, outcome.seed)}")
    if args.count == 1 and not args.month:
        print("\n".join(outcome.diary))
    took = Took(round(clock.mono_s() - began_s, 1), round(sum(os.times()[:4]), 1))
    print(tally.text(took))
    if args.json:
        said = tally.as_json() | took._asdict() | {"command": replay(args, args.seed, args.count)}
        args.json.write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n")
    return FAILED if tally.failed else GOOD


def _played(args: argparse.Namespace) -> Iterator[Outcome]:
    if not args.month:
        yield from nights(range(args.seed, args.seed + args.count), args.minutes, args.plant or "")
        return
    args.count = 1
    _prepared(args.plant or "")
    with theatre() as place:
        folder = place.template.parent / "month"
        folder.mkdir()
        days = args.minutes / 1440 if args.minutes else DAYS
        yield play_month(args.seed, place, folder, days, partial(print, flush=True))


def replay(args: argparse.Namespace, seed: int, count: int = 1) -> str:
    """The command that does the same again."""
    words = ["linli", "nights", f"--seed {seed}", "--month" if args.month else f"--count {count}"]
    words += [f"--minutes {args.minutes:g}"] if args.minutes else []
    words += [f"--plant {args.plant}"] if args.plant else []
    return " ".join(words)


class Took(NamedTuple):
    """wall_s depends on what else the machine does. cpu_s: of this process and all that it started."""

    wall_s: float
    cpu_s: float


class Tally:
    """What all nights together did."""

    def __init__(self) -> None:
        self.count = self.facts = self.commits = 0
        self.virtual_s = 0.0
        self.faults: Counter[str] = Counter()
        self.failed: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        self.count += 1
        self.facts += outcome.facts
        self.commits += outcome.commits
        self.virtual_s += outcome.lasted_s
        self.faults.update(outcome.faults)
        if outcome.problems:
            self.failed.append(outcome)
            self.failed.sort(key=lambda failed: failed.seed)

    def text(self, took: Took) -> str:
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        return (
            f"faults   {faults}\n"
            f"nights   {self.count} of {self.virtual_s / self.count:.0f} s: {self.facts} facts, "
            f"{self.commits} commits, {sum(self.faults.values())} faults of {len(self.faults)} kinds\n"
            f"took     {took.wall_s:.1f} s, {took.cpu_s:.1f} s of CPU\n"
            f"nights   {'GOOD' if not self.failed else f'BAD: {len(self.failed)} failed'}"
        )

    def as_json(self) -> Json:
        failed = {outcome.seed: outcome.problems for outcome in self.failed}
        return {"good": not failed, "nights": self.count, "facts": self.facts, "commits": self.commits,
                "virtual_s": round(self.virtual_s), "faults": dict(self.faults), "failed": failed}  # fmt: skip


# -- many nights on all cores -----------------------------------------------------------------------------------------


def nights(seeds: range, minutes: float | None, plant: str) -> Iterator[Outcome]:
    """In the order in which they end; none begins any more once FAILURES_MAX have failed."""
    cores = len(os.sched_getaffinity(0))
    pool = ProcessPoolExecutor(cores, get_context("fork"), _prepared, [plant])
    left, failures = iter(seeds), 0
    with theatre() as place, pool:
        waiting: set[Future[Outcome]] = set()
        while True:
            while (
                len(waiting) < 2 * cores
                and failures < (1 if plant else FAILURES_MAX)
                and (seed := next(left, None)) is not None
            ):
                waiting.add(pool.submit(play, seed, place, minutes))
            if not waiting:
                return
            done, waiting = wait(waiting, return_when="FIRST_COMPLETED")
            for future in done:
                outcome = future.result()
                failures += bool(outcome.problems)
                yield outcome


def _prepared(plant: str) -> None:
    gc.freeze()  # nothing of this goes, and of what a night leaves little is worth looking for
    gc.set_threshold(100_000, 20, 20)
    logging.disable(logging.CRITICAL)  # everything fails here, and all of it is logged
    if plant:
        NIGHT_PLANTS[plant]()


def play(seed: int, place: Place, minutes: float | None = None) -> Outcome:
    folder = place.template.parent / f"night-{seed}"
    folder.mkdir()
    try:
        return Night(seed, place, folder, minutes * 60 if minutes else None).run()
    finally:
        shutil.rmtree(folder)


@contextmanager
def theatre() -> Iterator[Place]:
    """What nights need of the machine: the site, and a store that was made once, with its ballast."""
    with tempfile.TemporaryDirectory(prefix="linli-nights-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        template = Path(folder) / "template"
        template.mkdir()
        ensure(template / DATABASE)
        shutil.copy(template / DATABASE, template / "narrow.db")
        with closing(connect(template / "narrow.db")) as db:  # of the budget, only a few dozen pages are left
            db.execute("CREATE TABLE fill (body BLOB)")
            db.execute("INSERT INTO fill VALUES (zeroblob(?))", (NARROW_BYTES,))
        Aside(template / DATABASE).lay_ballast()
        Ledger(template / CITY).close()
        site = load(SITE)
        yield Place(replace(site, store=replace(site.store, budget_mb=BUDGET_MB)), template)
