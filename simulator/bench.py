"""`linli bench`: the figures of the README, each beside the limit of this machine measured in the same run.

What is measured is the real `linli run` on a disk, with one reading a frame through the node link, committed with
synchronous=FULL, to a subscriber at a real broker. Times are reported, never gated: the machine may be shared.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from simulator import bench_limits as limits
from simulator.bench_rig import ROPE, VALVE, Rig, Usage
from simulator.broker import BrokerError


class Figure(NamedTuple):
    """One row. limit: the same thing done bare, None where there is none; ratio: value to limit."""

    name: str
    value: float
    unit: str
    limit: float | None = None
    what: str = ""

    def as_json(self) -> dict[str, object]:
        ratio = round(self.value / self.limit, 3) if self.limit else None
        return {"name": self.name, "value": self.value, "unit": self.unit, "limit": self.limit, "ratio": ratio}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="within a minute: fewer readings and trials")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--dir", type=Path, help="a folder on the disk to measure (not tmpfs)")


def run(args: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="linli-bench-", dir=args.dir) as name:
        folder = Path(name)
        if _is_tmpfs(folder):
            print(
                f"{folder}: found tmpfs, expected a disk: what is written there is not stored; use --dir",
                file=sys.stderr,
            )
            return 2
        try:
            figures = _measure(folder, quick=args.quick)
        except BrokerError as error:
            print(error, file=sys.stderr)
            return 1
    print(table(figures))
    if args.json:
        args.json.write_text(json.dumps([figure.as_json() for figure in figures], indent=1) + "\n")
    return 0


def table(figures: list[Figure]) -> str:
    lines = [f"{'figure':<28}{'value':>12}  {'unit':<12}{'limit':>12}{'ratio':>8}  limit is"]
    for figure in figures:
        limit = f"{figure.limit:,.2f}" if figure.limit else "-"
        ratio = f"{figure.value / figure.limit:.2f}" if figure.limit else "-"
        lines.append(f"{figure.name:<28}{figure.value:>12,.2f}  {figure.unit:<12}{limit:>12}{ratio:>8}  {figure.what}")
    return "\n".join(lines)


def _is_tmpfs(folder: Path) -> bool:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(len(point), kind) for point, kind in mounts if os.path.commonpath([point, folder.resolve()]) == point]
    return max(holding)[1] in ("tmpfs", "ramfs")


def _measure(folder: Path, *, quick: bool) -> list[Figure]:
    count, trials = (60_000, 40) if quick else (400_000, 200)
    found: list[Figure] = []
    for model in (False, True):
        with Rig(folder / f"flat-{model}", model=model, node_commit_ms=200) as rig:
            found += _flat_out(rig, count, model=model, folder=folder)
    with Rig(folder / "steady") as rig:
        found += _steady(rig, 5000, seconds=4 if quick else 30)
        found += _alarms_under_load(rig, 5000, trials)
    with Rig(folder / "idle") as rig:
        found += _alarms(rig, trials, "", folder)
    with Rig(folder / "drain") as rig:
        found += _drain(rig, count)
    return found


def _ready(rig: Rig) -> None:
    """Connected, started, and the rope known."""
    if not rig.wait(lambda: rig.counter.messages > 0, 20):
        raise SystemExit(f"bench: the gateway did not come up; see {rig.folder}/gateway.log")
    rig.wait(lambda: False, 1.0)


def _flat_out(rig: Rig, count: int, *, model: bool, folder: Path) -> list[Figure]:
    _ready(rig)
    before = Usage(rig.pid)
    load = rig.load(count)
    rig.wait(lambda: rig.counter.readings >= count, 120)
    after = Usage(rig.pid)
    said = json.loads((load.communicate(timeout=20)[0] or "{}").splitlines()[0])
    rate = rig.counter.readings / (rig.counter.last_s - said["began_s"])
    tail = "_model" if model else ""
    figures = [
        Figure(f"throughput{tail}", round(rate), "readings/s"),
        Figure(f"cpu_s_per_million{tail}", round((after.cpu_s - before.cpu_s) / count * 1e6, 2), "s"),
        Figure(f"rss_mib{tail}", round(after.peak_mib, 1), "MiB"),
    ]
    if not model:
        bare = limits.paho_messages(rig.broker.url)
        per_message = rig.counter.readings / max(1, rig.counter.messages)
        figures[0] = figures[0]._replace(limit=round(bare * per_message), what="bare paho, as many readings a message")
        figures.append(Figure("bytes_per_reading", round((after.written_b - before.written_b) / count, 1), "B"))
        figures.append(Figure("wire_b_per_reading", round(rig.counter.payload_b / count, 1), "B"))
        figures.append(Figure("fsync_ms", round(limits.fsync_ms(folder), 3), "ms"))
    return figures


def _steady(rig: Rig, rate: int, seconds: int) -> list[Figure]:
    _ready(rig)
    count = rate * seconds
    before = Usage(rig.pid)
    load = rig.load(count, rate)
    rig.wait(lambda: rig.counter.readings >= count, seconds + 30)
    after = Usage(rig.pid)
    load.communicate(timeout=20)
    return [
        Figure("cpu_s_per_million_5k", round((after.cpu_s - before.cpu_s) / count * 1e6, 2), "s"),
        Figure("bytes_per_reading_5k", round((after.written_b - before.written_b) / count, 1), "B"),
    ]


def _alarms_under_load(rig: Rig, rate: int, trials: int) -> list[Figure]:
    load = rig.load(rate * 600, rate, boot=2)
    try:
        outputs, pubacks = _trials(rig, trials, every_s=0.05)
    finally:
        load.kill()
        load.communicate()
    return [
        Figure("alarm_output_ms_p99_5k", _p99(outputs), "ms"),
        Figure("alarm_puback_ms_p99_5k", _p99(pubacks), "ms"),
    ]


def _alarms(rig: Rig, trials: int, tail: str, folder: Path) -> list[Figure]:
    _ready(rig)
    outputs, pubacks = _trials(rig, trials, every_s=0.05)
    bare = round(limits.fsync_ms(folder) + limits.round_trip_ms(rig.broker.url), 2)
    return [
        Figure(f"alarm_output_ms_p50{tail}", round(statistics.median(outputs), 2), "ms"),
        Figure(f"alarm_output_ms_p99{tail}", _p99(outputs), "ms"),
        Figure(f"alarm_puback_ms_p50{tail}", round(statistics.median(pubacks), 2), "ms", bare, "fsync + round trip"),
        Figure(f"alarm_puback_ms_p99{tail}", _p99(pubacks), "ms", bare, "fsync + round trip"),
    ]


def _trials(rig: Rig, trials: int, every_s: float) -> tuple[list[float], list[float]]:
    """Wet the rope, see the output, see the alarm at the subscriber: ms from the edge at the socket to each."""
    outputs, pubacks = [], []
    for _ in range(trials):
        known = set(rig.counter.alarms)
        rig.outputs.pop(VALVE, None)
        began_s = time.monotonic()
        rig.pins.set(ROPE, 0)
        if not rig.wait(lambda: rig.outputs.get(VALVE, (0, 0))[0] == 1, 5):
            raise SystemExit("bench: the output did not follow the rope within 5 s")
        outputs.append((rig.outputs[VALVE][1] - began_s) * 1000)
        if not rig.wait(lambda known=known: set(rig.counter.alarms) - known, 10):  # type: ignore[misc]
            raise SystemExit("bench: the alarm did not reach the subscriber within 10 s")
        pubacks.append((rig.counter.alarms[max(rig.counter.alarms)] - began_s) * 1000)
        rig.pins.set(ROPE, 1)
        rig.wait(lambda: rig.outputs.get(VALVE, (1, 0))[0] == 0, 5)
        rig.wait(lambda: False, every_s)
    return outputs, pubacks


def _drain(rig: Rig, count: int) -> list[Figure]:
    """The broker is away while the readings come; then how fast they go."""
    _ready(rig)
    rig.broker.stop()
    load = rig.load(count)
    load.communicate(timeout=120)
    before = rig.counter.readings
    rig.broker.start()
    rig.wait(lambda: rig.counter.readings > before, 60)
    began_s, at = time.monotonic(), rig.counter.readings
    rig.wait(lambda: rig.counter.readings >= count, 120)
    rate = (rig.counter.readings - at) / max(1e-3, rig.counter.last_s - began_s)
    return [Figure("drain", round(rate), "readings/s")]


def _p99(values: list[float]) -> float:
    return round(sorted(values)[min(len(values) - 1, int(len(values) * 0.99))], 2)
