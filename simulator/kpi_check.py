"""`linli kpi`: the figures that the gateway tells against those that the truth gives, and its two estimates of a wait.

Days of two halls (simulator/hall_days.py) through a box that is restarted and rebooted (hall_box.py); the truth file is
read back by kpi.py, which shares no code with the gateway.
"""

import argparse
import json
import random
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from simulator import kpi
from simulator.hall_box import FIRST_MIDNIGHT_S, WITHIN_S, Bad, HallBox, live
from simulator.hall_days import Happened, days
from simulator.mms import add_mms, run_mms

GOOD, FAILED = 0, 1
EXACT_S = 0.001
SHOWN_MAX = 20
_ASIDE = ("value", "queue", "day", "service", "within_s", "closed", "waiting", "at_window", "ratings")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, default=100, metavar="N", help="simulated days (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="K", help="of everything (default: %(default)s)")
    parser.add_argument("--truth", type=Path, metavar="FILE", help="where to leave the truth (default: nowhere)")
    add_mms(parser)


def run(args: argparse.Namespace) -> int:
    """0 when every figure agrees."""
    if args.mms:
        return run_mms(args)
    with tempfile.TemporaryDirectory() as folder:
        truth = args.truth or Path(folder) / "truth.jsonl"
        found = played(args.days, args.seed, truth)
    print("\n".join(found.lines()))
    return FAILED if found.problems else GOOD


class Found(NamedTuple):
    """parts: services and halls, day by day. worst_s: the largest difference; worst_approx_s: where approximate."""

    parts: int
    counts: int
    durations: int
    approx: int
    worst_s: float
    worst_approx_s: float
    problems: list[str]
    box: HallBox

    def lines(self) -> list[str]:
        return [
            f"{self.parts} parts of days: {self.counts} counts and {self.durations} durations compared",
            f"{self.box.restarts} restarts and {self.box.boot - 1} reboots of the gateway",
            f"exact durations differ by at most {self.worst_s * 1000:.3f} ms",
            f"{self.approx} of them rest on waits across a reboot: at most {self.worst_approx_s * 1000:.1f} ms",
            *self.problems[:SHOWN_MAX], f"{len(self.problems)} figures disagree",
        ]  # fmt: skip


def played(number: int, seed: int, truth: Path, luck: Bad | None = None) -> Found:
    happened = days(0, number, seed)
    write(truth, happened)
    luck = luck or Bad()
    box = live(happened, random.Random(f"kpi/{seed}"), luck)
    return compared(kpi.kpis(kpi.rows(truth), WITHIN_S), box, luck)


def write(truth: Path, happened: list[Happened]) -> None:
    with truth.open("w", encoding="utf-8") as file:
        for each in happened:
            t_s = FIRST_MIDNIGHT_S + each.t_s
            day = datetime.fromtimestamp(t_s + 8 * 3600, UTC).date().isoformat()
            row = {"kind": "hall", "day": day, "hall": each.hall, "person": each.person, "what": each.what}
            row |= {"said": each.said, "t": round(t_s, 3), **each.fields}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def compared(wanted: dict[kpi.Key, kpi.Row], box: HallBox, luck: Bad) -> Found:
    tally = _Tally(2 * luck.wall_err_s)
    if wanted.keys() != box.told.keys():
        tally.problems.append(f"the parts differ: {sorted(wanted.keys() ^ box.told.keys())[:3]} …")
    for key in sorted(wanted.keys() & box.told.keys()):
        told: dict[str, Any] = dict(box.told[key])
        if not told["closed"]:
            tally.problems.append(f"{key}: the day was never closed")
        tally.match(str(key), wanted[key], {name: told[name] for name in told if name not in _ASIDE})
    return Found(
        len(wanted), tally.counts, tally.durations, tally.approx, tally.worst_s[False], tally.worst_s[True],
        tally.problems, box,
    )  # fmt: skip


class _Tally:
    def __init__(self, clock_s: float) -> None:
        self.counts = self.durations = self.approx = 0
        self.worst_s = {False: 0.0, True: 0.0}
        self.problems: list[str] = []
        self._clock_s = clock_s

    def match(self, where: str, wanted: Any, told: Any, *, approx: bool = False) -> None:
        if isinstance(wanted, dict):
            approx = approx or bool(told.get("approx"))
            self.approx += bool(told.get("approx"))
            if set(wanted) != set(told) - {"approx", "per_hour"}:
                self.problems.append(f"{where}: expected {sorted(wanted)}, found {sorted(told)}")
            for name in wanted.keys() & told.keys():
                inside = approx or name == "open_s"  # of a window, which may span a reboot
                self.match(f"{where} {name}", wanted[name], told[name], approx=inside and name.endswith("_s"))
        elif where.endswith("_s"):
            self.durations += 1
            off_s = abs(wanted - told)
            self.worst_s[approx] = max(self.worst_s[approx], off_s)
            if off_s > (self._clock_s if approx else EXACT_S):
                self.problems.append(f"{where}: expected {wanted:.4f}, found {told:.4f}")
        else:
            self.counts += 1
            same = abs(wanted - told) < 1e-4 if isinstance(wanted, float) and told is not None else wanted == told
            if not same:
                self.problems.append(f"{where}: expected {wanted}, found {told}")
