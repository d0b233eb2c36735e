"""`linli soak`: the demonstration's centre, whole and unharmed, for an hour or a night; then what grew.

Broker, city, gateway and simulator are the real programs. Of the gateway: memory, open files and threads, and the size
of its database with its log, sampled each few seconds; the first half of the time is left out, because caches fill: in
a quarter of an hour at 50 times the natural rate, in hours at that. So the rate is high by default: what each fact
leaves behind shows as much steeper, while the bound of memory stays what it is. The slope is that of ordinary least
squares through the means of ten equal blocks, with Student's 95 % interval over these ten: neighbouring samples
resemble each other and are no independent evidence. A slope fails when its whole interval lies above its bound.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.home import DATABASE
from simulator.bench_fit import BLOCKS, Line, trend
from simulator.broker import Broker, BrokerError
from simulator.processes import Died, Interrupted, Processes, WrongPlace, workplace
from simulator.stage import Stage

GOOD, FAILED, WRONG_USE = 0, 1, 2
MINUTES, MINUTES_MIN, MINUTES_MAX = 60.0, 1.0, 60.0 * 24 * 31
TIMES, TIMES_MAX = 50.0, 100.0
SAMPLES = 600  # in a run, but not more than one a second
SETTLE = 1 / 2  # of the time, left out
DAY_S = 86_400.0
_LINGER_S = 30.0


class Quantity(NamedTuple):
    """unit: of the value. bound: what its slope may be, unit a day; the database's is for the natural rate."""

    unit: str
    bound: float
    why: str


QUANTITIES = {
    "rss": Quantity("MiB", 24.0, "1 MiB an hour"),
    "database": Quantity("MiB", 100.0, "what may be written in a day at all, by the natural rate"),
    "files": Quantity("", 24.0, "one an hour"),
    "threads": Quantity("", 24.0, "one an hour"),
}


class Sample(NamedTuple):
    at_s: float
    rss: float
    database: float
    files: float
    threads: float


class Slope(NamedTuple):
    """Of one quantity: unit a day. first, last: means of the first and the last block."""

    name: str
    first: float
    last: float
    line: Line
    bound: float

    @property
    def good(self) -> bool:
        return self.line.slope_low <= self.bound

    def as_json(self) -> dict[str, object]:
        a_day = {"slope_a_day": self.line.slope, "low": self.line.slope_low, "high": self.line.slope_high}
        numbers = {"first": self.first, "last": self.last, **a_day, "bound": self.bound}
        return {
            "name": self.name, "unit": QUANTITIES[self.name].unit, "good": self.good,
            **{name: round(value, 4) for name, value in numbers.items()},
        }  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=_minutes, default=MINUTES, metavar="N", help="(default: %(default)g)")
    parser.add_argument(
        "--times", type=_times, default=TIMES, metavar="N", help="the natural rate (default: %(default)g)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="K", help="of all chance (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="slopes and samples, as one JSON object")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this new folder and leave it there")


def _minutes(text: str) -> float:
    minutes = float(text)
    if not MINUTES_MIN <= minutes <= MINUTES_MAX:
        raise argparse.ArgumentTypeError(f"found {text}; expected {MINUTES_MIN:g} to {MINUTES_MAX:g}")
    return minutes


def _times(text: str) -> float:
    times = float(text)
    if not 0.1 <= times <= TIMES_MAX:
        raise argparse.ArgumentTypeError(f"found {text}; expected 0.1 to {TIMES_MAX:g}")
    return times


def run(args: argparse.Namespace) -> int:
    """0: nothing grew beyond its bound. 1: something did, or something died. 2: wrong use."""
    try:
        with workplace(args.keep, "soak") as folder, Processes(folder) as processes:
            samples = soak(folder, processes, args.minutes * 60, args.times, args.seed)
    except WrongPlace as error:
        print(f"linli soak: {error}", file=sys.stderr)
        return WRONG_USE
    except (Died, BrokerError, OSError) as error:
        print(f"linli soak: {error}", file=sys.stderr)
        return FAILED
    except Interrupted:
        print("linli soak: ended early, no verdict", file=sys.stderr)
        return FAILED
    found = slopes(samples, args.times)
    print(shown(found))
    if args.json:
        said = {"minutes": args.minutes, "times": args.times, "seed": args.seed}
        said |= {"slopes": [slope.as_json() for slope in found], "samples": [each._asdict() for each in samples]}
        args.json.write_text(json.dumps(said, indent=1) + "\n")
    good = all(slope.good for slope in found)
    print("soak  " + ("GOOD" if good else "BAD: " + ", ".join(slope.name for slope in found if not slope.good)))
    return GOOD if good else FAILED


def soak(folder: Path, processes: Processes, seconds: float, times: float, seed: int) -> list[Sample]:
    """Raises Died, Interrupted, BrokerError; OSError when the gateway is gone between two looks."""
    stage = Stage(folder, processes, time.monotonic)
    with Broker(folder / "broker") as broker:
        stage.start_city(broker.url)
        gateway = stage.start_gateway(broker.url)
        stage.await_gateway(gateway)
        simulator = stage.start_simulator("quiet", seconds + _LINGER_S, seed, times)
        began_s = time.monotonic()
        every_s = max(1.0, seconds / SAMPLES)
        samples: list[Sample] = []
        while (now_s := time.monotonic() - began_s) < seconds:
            samples.append(sample(gateway.pid, stage.state, now_s))
            processes.wait(every_s)
        simulator.wanted = False  # the gateway ends before it, which it would mind
    return samples


def sample(pid: int, state: Path, at_s: float) -> Sample:
    """Raises OSError when the process or its database is not there."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    log = state / f"{DATABASE}-wal"
    size_b = (state / DATABASE).stat().st_size + (log.stat().st_size if log.exists() else 0)
    return Sample(
        at_s, int(fields["VmRSS"].split()[0]) / 1024, size_b / 2**20, len(os.listdir(f"/proc/{pid}/fd")),
        int(fields["Threads"]),
    )  # fmt: skip


def slopes(samples: Sequence[Sample], times: float) -> list[Slope]:
    """One a quantity. times: the rate, which the database's bound is multiplied by where it is above 1."""
    settled = samples[int(len(samples) * SETTLE) :]
    block = max(1, len(settled) // BLOCKS)
    days = [each.at_s / DAY_S for each in settled]
    found = []
    for name, quantity in QUANTITIES.items():
        values = [getattr(each, name) for each in settled]
        bound = quantity.bound * (max(1.0, times) if name == "database" else 1.0)
        first, last = (sum(part) / len(part) for part in (values[:block], values[-block:]))
        found.append(Slope(name, first, last, trend(days, values), bound))
    return found


def shown(found: Sequence[Slope]) -> str:
    lines = [f"{'':<10}{'first':>10}{'last':>10}{'a day':>12}  {'95 % interval':<26}{'bound':>10}  "]
    for slope in found:
        quantity, line = QUANTITIES[slope.name], slope.line
        interval = f"{line.slope_low:,.2f} to {line.slope_high:,.2f}"
        lines.append(
            f"{slope.name:<10}{slope.first:>10,.2f}{slope.last:>10,.2f}{line.slope:>12,.2f}  {interval:<26}"
            f"{slope.bound:>10,.0f}  {'ok ' if slope.good else 'BAD'} {quantity.unit} {quantity.why}"
        )
    return "\n".join(lines)
