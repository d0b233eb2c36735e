"""Alarms: from the edge at the gateway's pin to the output that follows, and to the subscriber."""

import sys
import time
from pathlib import Path
from typing import NamedTuple

from simulator.bench_disk import LoopDisk, why_not
from simulator.bench_fill import Filled
from simulator.bench_limits import Limits, fsync_ms, round_trip_ms
from simulator.bench_rig import ROPE, VALVE, Rig, Usage
from simulator.bench_table import Figure, median, p99
from simulator.relay import Relay

OUTPUT_MS = 10.0  # promised, at the process
PUBACK_ROOM_MS = 50.0  # promised, above one fsync and one way through the broker
NARROW_BYTES_S = 32_000  # 256 kbit/s
STALL_S = 2.0
STEADY_PER_S = 5000
_PAUSE_S = 0.03
_PATIENCE_S = 20.0


class Trial(NamedTuple):
    output_ms: float
    arrival_ms: float


def edge(rig: Rig) -> tuple[float, float]:
    """Wet the rope and see the light follow: when it was wetted (CLOCK_MONOTONIC s), and ms until the output."""
    rig.outputs.pop(VALVE, None)
    began_s = time.monotonic()
    rig.pins.set(ROPE, 0)
    if not rig.wait(lambda: rig.outputs.get(VALVE, (0, 0))[0] == 1, _PATIENCE_S):
        raise rig.error(f"the output did not follow the rope within {_PATIENCE_S:.0f} s")
    return began_s, (rig.outputs[VALVE][1] - began_s) * 1000


def dry(rig: Rig) -> None:
    rig.pins.set(ROPE, 1)
    if not rig.wait(lambda: rig.outputs.get(VALVE, (1, 0))[0] == 0, _PATIENCE_S):
        raise rig.error(f"the output did not go back within {_PATIENCE_S:.0f} s")


def trial(rig: Rig) -> Trial:
    """One alarm, all the way; the rope is dry again at the end."""
    known = set(rig.heard.alarms)
    began_s, output_ms = edge(rig)
    if not rig.wait(lambda: bool(rig.heard.alarms.keys() - known), _PATIENCE_S):
        raise rig.error(f"the alarm did not reach the subscriber within {_PATIENCE_S:.0f} s")
    arrived_s = rig.heard.alarms[max(rig.heard.alarms)]
    dry(rig)
    rig.rest(_PAUSE_S)
    return Trial(output_ms, (arrived_s - began_s) * 1000)


def rows(tail: str, trials: list[Trial], bare_ms: float, *, more_ms: float = 0.0, when: str = "") -> list[Figure]:
    """p50 beside what is bare, p99 beside what is promised. more_ms: what the promise adds (the stall)."""
    outputs, arrivals = [t.output_ms for t in trials], [t.arrival_ms for t in trials]
    bare_ms = round(bare_ms, 3)
    said = f"promised; {len(trials)} trials{when}"
    return [
        Figure(f"alarm_output_ms_p50{tail}", median(outputs), "ms"),
        Figure(f"alarm_output_ms_p99{tail}", p99(outputs), "ms", OUTPUT_MS, said),
        Figure(f"alarm_puback_ms_p50{tail}", median(arrivals), "ms", bare_ms, "bare fsync + round trip"),
        Figure(f"alarm_puback_ms_p99{tail}", p99(arrivals), "ms", round(bare_ms + PUBACK_ROOM_MS + more_ms, 3), said),
    ]


def idle(folder: Path, limits: Limits, *, quick: bool) -> list[Figure]:
    with Rig(folder) as rig:
        rig.await_readings()
        trials = [trial(rig) for _ in range(40 if quick else 200)]
    return rows("", trials, limits.alarm_ms)


def busy(folder: Path, limits: Limits, *, quick: bool) -> list[Figure]:
    """At STEADY_PER_S readings a second, with the store's own commit interval: their price, then alarms meanwhile."""
    with Rig(folder) as rig:
        rig.await_readings()
        cpu_s, written_b = steady(rig, 6.0 if quick else 60.0)
        trials = [trial(rig) for _ in range(40 if quick else 200)]
    bare = round(1e6 / limits.pty_cobs, 2)
    return [
        Figure("cpu_s_per_million_5k", cpu_s, "s", bare, "bare pty + COBS, taken as one core busy"),
        Figure("bytes_per_reading_5k", written_b, "B"),
        *rows("_5k", trials, limits.alarm_ms),
    ]


def steady(rig: Rig, window_s: float) -> tuple[float, float]:
    """Load at STEADY_PER_S, which goes on: (CPU seconds a million readings, bytes written a reading) of a window."""
    rig.load(STEADY_PER_S * 600, STEADY_PER_S)
    if not rig.wait(lambda: rig.heard.readings > STEADY_PER_S, 30):
        raise rig.error("the load did not arrive")
    before = Usage(rig.pid)
    rig.rest(window_s)
    after = Usage(rig.pid)
    count = (after.at_s - before.at_s) * STEADY_PER_S
    return round((after.cpu_s - before.cpu_s) / count * 1e6, 2), round((after.written_b - before.written_b) / count, 2)


def stalled(folder: Path, limits: Limits, *, quick: bool) -> list[Figure]:
    """The disk takes nothing for 2 s, again and again; edges come at different moments of that time."""
    if reason := why_not():
        print(f"bench: no stall rows: {reason}", file=sys.stderr)
        return []
    folder.mkdir(parents=True)
    outputs, arrivals = [], []
    with LoopDisk(folder, 128) as disk, Rig(folder / "rig", state=disk.path / "state") as rig:
        rig.await_readings()
        bare_ms = fsync_ms(disk.path) + limits.round_trip_ms
        for _ in range(3 if quick else 20):
            known = len(rig.heard.alarms)
            disk.freeze()
            until_s, edges = time.monotonic() + STALL_S, []
            while time.monotonic() < until_s - 0.1:
                edges.append(edge(rig))
                dry(rig)
                rig.rest(0.1)
            rig.rest(max(0.0, until_s - time.monotonic()))
            disk.thaw()
            _await_alarms(rig, known + len(edges))
            arrived = sorted(rig.heard.alarms.values())[known:]
            outputs += [output_ms for _, output_ms in edges]
            arrivals += [(came_s - began_s) * 1000 for came_s, (began_s, _) in zip(arrived, edges, strict=True)]
            rig.rest(0.2)
    trials = [Trial(*pair) for pair in zip(outputs, arrivals, strict=True)]
    return rows("_stall", trials, bare_ms, more_ms=STALL_S * 1000, when=" in stalls of 2 s")


def _await_alarms(rig: Rig, count: int) -> None:
    if not rig.wait(lambda: len(rig.heard.alarms) >= count, _PATIENCE_S):
        raise rig.error(f"{len(rig.heard.alarms)} of {count} alarms arrived within {_PATIENCE_S:.0f} s of a stall")


def narrow(folder: Path, _limits: Limits, *, quick: bool) -> list[Figure]:
    """Through 256 kbit/s, 20 ms each way: with nothing else on it, and while a backlog goes; packs compressed."""
    figures: list[Figure] = []
    bare_ms = 0.0
    for tail, waiting in (("_256k", 0), ("_256k_drain", 1_000_000)):
        relay = Relay(0, delay_s=0.02, bytes_s=NARROW_BYTES_S)
        with relay, Rig(folder / str(int(waiting > 0)), relay=relay, start=False, gzip=True) as rig:
            filled = Filled(rig.state)
            filled.fill(waiting)
            filled.close()
            rig.start_gateway()
            rig.await_readings()
            rig.rest(5.0 if waiting else 2.0)
            if not waiting:
                bare_ms = fsync_ms(rig.folder) + round_trip_ms(relay.url, 20)
            trials = [trial(rig) for _ in range(10 if quick else 200)]
        figures += rows(tail, trials, bare_ms, when=" at 256 kbit/s")
    return figures
