"""What a backlog costs: the price of a commit as it grows, and how fast it goes while alarms come."""

import time
from pathlib import Path

from simulator.bench_alarms import OUTPUT_MS, PUBACK_ROOM_MS, Trial, rows, trial
from simulator.bench_fill import Filled
from simulator.bench_limits import Limits
from simulator.bench_rig import Rig
from simulator.bench_table import Figure, median, p99

GROWTH_MAX = 1.3
_STILL_S = 20.0


def growth(folder: Path, _limits: Limits, *, quick: bool) -> list[Figure]:
    """The price of a commit and its ack by the length of the backlog, beside a short one tried in turn with it."""
    powers = (6,) if quick else (4, 5, 6, 7)
    trials = 60 if quick else 400
    short, long = Filled(folder / "short"), Filled(folder / "long")
    short.fill(1000)
    figures: list[Figure] = []
    for power in powers:
        long.fill(10**power)
        pairs = [(short.append_and_ack_s(), long.append_and_ack_s()) for _ in range(trials)]
        short_ms, long_ms = (median([pair[i] * 1000 for pair in pairs]) for i in (0, 1))
        figures.append(Figure(f"commit_ms_1e{power}", long_ms, "ms", short_ms, "with 10^3 waiting, tried in turn"))
    short.close()
    long.close()
    ratio = round(figures[-1].ratio or 0.0, 3)
    said = f"promised; the price with 10^{powers[-1]} waiting to that with 10^3"
    return [Figure("backlog_growth", ratio, "ratio", GROWTH_MAX, said), *figures]


def drain(folder: Path, limits: Limits, *, quick: bool) -> list[Figure]:
    """The backlog of an outage goes as fast as it can, and alarms come meanwhile."""
    count = 500_000 if quick else 5_000_000
    with Rig(folder, start=False) as rig:
        trials = _drained(rig, count)
        heard = rig.heard
        rate = count / (heard.last_s - heard.first_reading_s)
    bare = round(limits.paho_messages * count / max(1, heard.messages))
    promise = round(limits.alarm_ms + PUBACK_ROOM_MS, 3)
    said = f"promised; {len(trials)} trials while {count:,} readings drained"
    return [
        Figure("drain", round(rate), "readings/s", bare, "bare paho, messages of 30 kB with as many"),
        Figure("alarm_output_ms_p99_drain", p99([t.output_ms for t in trials]), "ms", OUTPUT_MS, said),
        Figure("alarm_puback_ms_p99_drain", p99([t.arrival_ms for t in trials]), "ms", promise, said),
    ]


def waiting(folder: Path, limits: Limits, *, quick: bool) -> list[Figure]:
    """The same by size; and then, everything sent but nothing acknowledged by the city, while all of it waits."""
    figures: list[Figure] = []
    for power in (6,) if quick else (6, 7):
        tail = f"1e{power}"
        with Rig(folder / tail, start=False, confirm="city") as rig:
            figures += rows(
                f"_drain_{tail}", _drained(rig, 10**power), limits.alarm_ms, when=f" while 10^{power} drain"
            )
            trials = [trial(rig) for _ in range(40 if quick else 200)]
        figures += rows(f"_wait_{tail}", trials, limits.alarm_ms, when=f" while 10^{power} wait")
    return figures


def _drained(rig: Rig, count: int) -> list[Trial]:
    """Fill the store, start the gateway, try alarms until every reading has arrived. The trials in that time."""
    filled = Filled(rig.state)
    filled.fill(count)
    filled.close()
    rig.start_gateway()
    rig.await_gateway()
    if not rig.wait(lambda: rig.heard.readings > 0, _STILL_S):
        raise rig.error(f"the backlog did not begin to go within {_STILL_S:.0f} s")
    trials: list[Trial] = []
    while rig.heard.readings < count:
        tried = trial(rig)
        if rig.heard.readings < count or not trials:
            trials.append(tried)
        if rig.heard.last_s < time.monotonic() - _STILL_S:
            raise rig.error(f"the backlog stood still at {rig.heard.readings} of {count} readings")
    return trials
