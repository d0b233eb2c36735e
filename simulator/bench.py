"""`linli bench`: the figures of the README, each beside the limit of this machine measured in the same run.

What is measured is the real `linli run` on a disk, with one reading a frame through the node link, committed with
synchronous=FULL, to a subscriber at a real broker. Times are reported, never gated: the machine may be shared.
docs/bench.md says what each row means.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Protocol

from simulator import bench_alarms, bench_flow, bench_peers, bench_store
from simulator.bench_disk import unfit
from simulator.bench_limits import Limits
from simulator.bench_rig import BenchError
from simulator.bench_table import Figure, table
from simulator.broker import BrokerError


class Measure(Protocol):
    """folder: its own, not made yet. Raises BenchError, BrokerError, OSError."""

    def __call__(self, folder: Path, limits: Limits, *, quick: bool) -> list[Figure]: ...


class Part(NamedTuple):
    """Figures that are measured together. quick: whether `--quick` has them."""

    measure: Measure
    quick: bool
    names: tuple[str, ...]


def _bare(_folder: Path, limits: Limits, *, quick: bool) -> list[Figure]:
    return limits.figures()


def _modbus(folder: Path, _limits: Limits, *, quick: bool) -> list[Figure]:
    from simulator import bench_modbus  # pymodbus takes half a second that only this part pays

    return bench_modbus.figures(folder, quick=quick)


def _history(folder: Path, _limits: Limits, *, quick: bool) -> list[Figure]:
    from simulator import bench_history

    return bench_history.figures(folder, 120.0 if quick else bench_history.SECONDS)


def _card(folder: Path, _limits: Limits, *, quick: bool) -> list[Figure]:
    from simulator import bench_card

    return bench_card.figures(folder, 120.0 if quick else bench_card.SECONDS)


def _alarms(*tails: str) -> tuple[str, ...]:
    return tuple(
        f"alarm_{what}_ms_{p}{tail}" for tail in tails for what in ("output", "puback") for p in ("p50", "p99")
    )


# In this order: what is wanted first, what takes longest last.
PARTS = {
    "flat-out": Part(bench_flow.flat_out, True, (
        "throughput", "cpu_s_per_million", "rss_mib", "throughput_wire", "bytes_per_reading", "wire_b_per_reading",
        "load_cpu_s_per_million", "counter_cpu_s_per_million")),
    "model": Part(bench_flow.flat_out_model, True, ("throughput_model", "cpu_s_per_million_model", "rss_mib_model")),
    "idle": Part(bench_alarms.idle, True, _alarms("")),
    "busy": Part(bench_alarms.busy, True, ("cpu_s_per_million_5k", "bytes_per_reading_5k", *_alarms("_5k"))),
    "drain": Part(bench_store.drain, True, ("drain", "alarm_output_ms_p99_drain", "alarm_puback_ms_p99_drain")),
    "growth": Part(bench_store.growth, True, (
        "backlog_growth", *(f"commit_ms_1e{power}" for power in (4, 5, 6, 7)))),
    "start-up": Part(bench_flow.start_up, True, ("start_s",)),
    "inference": Part(bench_flow.inference, True, (
        "inference_us", "session_us", "score_us_500", "model_start_s")),
    "bare": Part(_bare, True, ("bare_fsync_ms", "bare_round_trip_ms", "bare_paho", "bare_broker", "bare_pty_cobs")),
    "stall": Part(bench_alarms.stalled, False, _alarms("_stall")),
    "waiting": Part(bench_store.waiting, False, _alarms("_drain_1e6", "_wait_1e6", "_drain_1e7", "_wait_1e7")),
    "modbus": Part(_modbus, False, (
        "modbus_period", "modbus_period_12", "modbus_period_p99", "modbus_noisy_period", "modbus_wire_busy",
        "modbus_cpu", "modbus_rss")),
    "narrow": Part(bench_alarms.narrow, False, _alarms("_256k", "_256k_drain")),
    "peers": Part(bench_peers.figures, False, bench_peers.NAMES),
    "history": Part(_history, False, (
        "history_mb_a_day", "history_device_mb_a_day", "history_mb_a_day_10s", "history_a", "history_b",
        "history_commits_a_day", "history_samples_s", "history_b_sample", "history_rss", "history_cpu")),
    "card": Part(_card, False, tuple(
        f"card{away}_{what}" for away in ("", "_away") for what in (
            "mb_a_day", "device_mb_a_day", "a", "b", "commits_a_day"))),
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="within a minute: fewer readings, trials and rows")
    parser.add_argument("--only", metavar="NAME,...", help="figures or parts, by name; an unknown name lists them all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the ratios there")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="where the peers are installed: docs/bench.md")
    parser.add_argument("--dir", type=Path, help="a folder on the disk to measure (not tmpfs)")


def run(args: argparse.Namespace) -> int:
    parts, unknown = chosen(args.only, quick=args.quick)
    if unknown:
        print(
            f"--only: found {', '.join(unknown)}; expected parts ({', '.join(PARTS)}) or figures "
            f"({', '.join(name for part in PARTS.values() for name in part.names)})",
            file=sys.stderr,
        )
        return 2
    if args.dir and not args.dir.is_dir():
        print(f"--dir: found no folder {args.dir}, expected one that is there; make it first", file=sys.stderr)
        return 2
    if wrong := _unwritable(args.json, args.svg):
        print(wrong, file=sys.stderr)
        return 2
    if args.peers:
        os.environ["PEERBENCH"] = str(args.peers.absolute())  # the harness of the peers asks there, too
    with tempfile.TemporaryDirectory(prefix="linli-bench-", dir=args.dir) as name:
        folder = Path(name)
        if wrong := unfit(folder):
            print(wrong, file=sys.stderr)
            return 2
        figures, failed = measure(folder, parts, quick=args.quick)
    print(table(figures))
    if args.json:
        args.json.write_text(json.dumps([figure.as_json() for figure in figures], indent=1) + "\n")
    if args.svg:
        failed |= not _drawn(figures, args.svg)
    return 1 if failed else 0


def _unwritable(*files: Path | None) -> str:
    """What would be found wrong only when everything is measured; "" when nothing would."""
    for file in files:
        if file and not file.absolute().parent.is_dir():
            return f"{file}: found no folder {file.parent}, expected one to write into; make it or name another"
    if files[-1] and importlib.util.find_spec("pygal") is None:
        return "--svg needs pygal, which only `./dev bench` brings along; run that or leave it out"
    return ""


def _drawn(figures: list[Figure], file: Path) -> bool:
    from simulator.bench_plot import draw  # pygal is a developer's

    try:
        draw(figures, file)
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return False
    return True


def chosen(only: str | None, *, quick: bool) -> tuple[list[str], list[str]]:
    """(parts to measure, names nobody knows). Without `only`: all, or those of `--quick`."""
    if not only:
        return [name for name, part in PARTS.items() if part.quick or not quick], []
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    parts = [name for name, part in PARTS.items() if name in wanted or set(part.names) & set(wanted)]
    known = {*PARTS, *(name for part in PARTS.values() for name in part.names)}
    return parts, [name for name in wanted if name not in known]


def measure(folder: Path, parts: Iterable[str], *, quick: bool) -> tuple[list[Figure], bool]:
    """(figures, whether a part failed). A part that fails is named and does not take the others with it."""
    limits = Limits(folder / "bare")
    figures: list[Figure] = []
    failed = False
    for number, name in enumerate(parts):
        began_s = time.monotonic()
        try:
            figures += PARTS[name].measure(folder / str(number), limits, quick=quick)
        except (BenchError, BrokerError, OSError, subprocess.SubprocessError) as error:
            print(f"bench: {name}: {error}", file=sys.stderr)
            failed = True
        print(f"bench: {name}: {time.monotonic() - began_s:.1f} s", file=sys.stderr)
    return figures, failed
