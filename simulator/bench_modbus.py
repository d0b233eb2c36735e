"""A 9,600 Bd line of 16 meters: how often the healthy ones are read when 3 are dead and 1 is noisy.

Periods are taken at the units' end of the wire. The real `linli run` opens a pseudo-terminal; behind it pymodbus' own
server plays the units, and every byte takes its time. The same plan is run with all 16 healthy, with the four bad
ones taken out, and with them in.
"""

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from gateway import config
from gateway.site_devices import bus_plan, model_of
from simulator.bench_rig import answer
from simulator.bench_table import Figure
from simulator.modbus_peer import Faults, Peer
from simulator.modbus_side import SimUnit

UNITS, DEAD, NOISY, NOISE = 16, (3, 8, 13), 5, 0.3
LINE, POLL_S = "9600 8N1", 1.9  # 0.75 of the line's time: a full plan is 0.8
SETTLE_S, WINDOW_S = 25.0, 60.0
START_S = 20.0
_FLOW_AT = 0  # the register on the wire where the read of flow and total begins


def site_text(units: list[int]) -> str:
    lines = [
        "schema = 1",
        'site = { id = "bench-site", gateway = "bench-box", name = "bench" }',
        'clock = { trust = "system" }',
        f'bus.b1 = {{ kind = "modbus", port = "link:b1", line = "{LINE}" }}',
        'uplink = { broker = "mqtt://127.0.0.1:1" }',
    ]
    for address in units:
        device = f"m{address}"
        lines.append(
            f'device.{device} = {{ bus = "b1", address = {address}, model = "tuf-2000m", poll_s = {POLL_S}, '
            "expect = { flow_unit = 0 } }"
        )
        lines += [f'sensor."{device}/{what}" = {{ from = "{device}:{what}" }}' for what in ("flow", "total")]
    return "\n".join(lines) + "\n"


class Seen(NamedTuple):
    """periods_s: {address: its intervals in the window}. busy: share of the window the wire carried bytes."""

    periods_s: dict[int, list[float]]
    busy: float
    plan: float
    rss_mib: float
    cpu: float


class Run:
    """One gateway and its line. bad: the dead and the noisy unit are there."""

    def __init__(self, folder: Path, units: list[int], *, bad: bool) -> None:
        (folder / "links").mkdir(parents=True)
        self.folder = folder
        site = folder / "site.toml"
        site.write_text(site_text(units))
        loaded = config.load(site)
        file, _ = config.read(site)
        assert file
        self.plan = sum(part.share for part in bus_plan(file, "b1"))
        images = {
            device.address: SimUnit(name, device.address, model_of(device), dict(device.expect)).image
            for name, device in loaded.devices.items()
        }
        faults = Faults(random.Random(1), DEAD if bad else (), {NOISY: NOISE} if bad else {})
        self.loop = asyncio.new_event_loop()
        self.peer = Peer(folder / "links/b1", LINE, images, faults)
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self._do(self.peer.start())
        command = [sys.executable, "-m", "gateway", "run", str(site), "--state", str(folder / "state")]
        with (folder / "gateway.log").open("wb") as log:
            self.gateway = subprocess.Popen([*command, "--links", str(folder / "links")], stdout=log, stderr=log)

    def _do(self, story: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(story, self.loop).result(10)

    def watch(self, settle_s: float, window_s: float) -> Seen:
        state = self.folder / "state"
        answer(state, START_S)
        time.sleep(settle_s)
        before, wire_s, began_s = answer(state), self.peer.wire.carried_s, time.monotonic()
        time.sleep(window_s)
        after, took_s = answer(state), time.monotonic() - began_s
        periods = {
            address: [later - earlier for earlier, later in pairwise(t for t in times if t >= began_s)]
            for (address, register), times in list(self.peer.asked_s.items())
            if register == _FLOW_AT
        }
        cpu = (after["process"]["cpu_s"] - before["process"]["cpu_s"]) / took_s
        busy = (self.peer.wire.carried_s - wire_s) / took_s
        return Seen(periods, busy, self.plan, after["process"]["rss_mib"], cpu)

    def close(self) -> None:
        self.gateway.terminate()
        self.gateway.wait(20)
        self._do(self.peer.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def figures(folder: Path, *, quick: bool = False) -> list[Figure]:
    """Takes 4.5 minutes, or 2 when quick."""
    settle_s, window_s = (20.0, 15.0) if quick else (SETTLE_S, WINDOW_S)
    everybody = list(range(1, UNITS + 1))
    healthy = [address for address in everybody if address not in (*DEAD, NOISY)]
    seen: dict[str, Seen] = {}
    for name, units, bad in (("all_well", everybody, False), ("taken_out", healthy, False), ("bad", everybody, True)):
        run = Run(folder / name, units, bad=bad)
        try:
            seen[name] = run.watch(settle_s, window_s)
        finally:
            run.close()
    periods = {name: [s for address in healthy for s in each.periods_s[address]] for name, each in seen.items()}
    median = {name: statistics.median(each) for name, each in periods.items()}
    p99 = {name: statistics.quantiles(each, n=100)[98] for name, each in periods.items()}
    bad = seen["bad"]
    noisy_s = window_s / sum(s > POLL_S / 2 for s in bad.periods_s[NOISY])  # retries come at once, and are no poll
    return [
        Figure("modbus_period", _r(median["bad"]), "s", _r(median["all_well"]), "the same 16 units, all healthy"),
        Figure("modbus_period_12", _r(median["bad"]), "s", _r(median["taken_out"]), "only the 12 healthy units"),
        Figure("modbus_period_p99", _r(p99["bad"]), "s", _r(p99["all_well"]), "the same 16 units, all healthy"),
        Figure("modbus_noisy_period", _r(noisy_s), "s", POLL_S, f"poll_s; {NOISE:.0%} of its answers spoiled"),
        Figure(
            "modbus_wire_busy", _r(seen["all_well"].busy), "share", _r(seen["all_well"].plan), "what check computes"
        ),
        Figure("modbus_cpu", _r(bad.cpu), "cores"),
        Figure("modbus_rss", _r(bad.rss_mib), "MiB", 50.0, "promised, without models"),
    ]


def _r(value: float) -> float:
    return round(value, 3)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dir", type=Path, help="a folder on a disk (not tmpfs)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="linli-modbus-", dir=args.dir) as name:
        for figure in figures(Path(name), quick=args.quick):
            print(json.dumps(figure.as_json()), figure.what)
    return 0


if __name__ == "__main__":
    sys.exit(main())
