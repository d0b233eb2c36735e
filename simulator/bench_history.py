"""What the history costs the card: 200 polled sensors at 1 Hz, bytes written a day as a + b x commits (promise P5).

The real `linli run` polls 25 units of eight inputs on five lines; behind each pymodbus' own server plays the units, and
every input changes every second over its whole range, which is the worst that such an input can do to a compressor. Two
gateways run side by side, one with commits every 30 s and one every 10 s, so that what a day of samples costs (a) and
what a commit costs (b) can be told apart. The checkpoint that belongs to each window is made and counted here.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from gateway import config
from gateway.control import NotRunning, ask
from gateway.home import DATABASE
from gateway.site_devices import model_of
from simulator.bench_rig import Usage
from simulator.bench_table import Figure
from simulator.broker import Broker
from simulator.modbus_peer import Faults, Peer
from simulator.modbus_side import SimUnit

BUSES, UNITS, INPUTS = 5, 5, 8
LINE, LOW_UA, HIGH_UA = "38400 8N1", 4000, 20000
SECONDS, SETTLE_S, START_S = 900.0, 65.0, 30.0
COMMIT_EVERY_S = (30.0, 10.0)
DAY_S = 86_400.0
BUDGET_MB = 200.0
_CHECKPOINT = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30)
db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
print(dict(line.split(": ") for line in open("/proc/self/io").read().splitlines())["write_bytes"])
"""


def site_text(broker: str, commit_every_s: float) -> str:
    lines = [
        "schema = 1",
        'site = { id = "bench-site", gateway = "bench-box", name = "bench" }',
        'clock = { trust = "system" }',
        f'uplink = {{ broker = "{broker}", confirm = "broker" }}',
        f"store = {{ commit_every_s = {commit_every_s} }}",
    ]
    for bus in range(1, BUSES + 1):
        lines.append(f'bus.b{bus} = {{ kind = "modbus", port = "link:b{bus}", line = "{LINE}" }}')
        for unit in range(1, UNITS + 1):
            name = f"d{bus}-{unit}"
            lines.append(
                f'device.{name} = {{ bus = "b{bus}", address = {unit}, model = "waveshare-ai-8ch", poll_s = 1 }}'
            )
            lines += [
                f'sensor."{name}/{i}" = {{ from = "{name}:ai{i}", report = {{ every_s = 60, deadband = 1, '
                'stats = ["mean"] } }'
                for i in range(1, INPUTS + 1)
            ]  # fmt: skip
    return "\n".join(lines) + "\n"


class Seen(NamedTuple):
    """Of one window: bytes written with the checkpoint, commits, samples kept, seconds."""

    written_b: int
    commits: int
    samples: int
    took_s: float
    peak_mib: float
    cpu: float

    @property
    def mb_a_day(self) -> float:
        return self.written_b / self.took_s * DAY_S / 1e6


class Run:
    """One gateway and its five lines."""

    def __init__(self, folder: Path, commit_every_s: float) -> None:
        (folder / "links").mkdir(parents=True)
        self.folder = folder
        self.database = folder / "state" / DATABASE
        self.broker = Broker(folder / "broker", "auto")
        self.broker.start()
        site = folder / "site.toml"
        site.write_text(site_text(self.broker.url, commit_every_s))
        devices = config.load(site).devices
        self.peers = []
        for bus in range(1, BUSES + 1):
            mine = [device for device in devices.values() if device.bus == f"b{bus}"]
            units = {d.address: SimUnit(d.name, d.address, model_of(d), {}).image for d in mine}
            self.peers.append(Peer(folder / f"links/b{bus}", LINE, units, Faults(random.Random(bus))))
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self.loop).result(30)
        self._feeding = asyncio.run_coroutine_threadsafe(self._feed(random.Random(7)), self.loop)
        command = [sys.executable, "-m", "gateway", "run", str(site), "--state", str(folder / "state")]
        with (folder / "gateway.log").open("wb") as log:
            self.gateway = subprocess.Popen([*command, "--links", str(folder / "links")], stdout=log, stderr=log)

    async def _start(self) -> None:
        for peer in self.peers:
            await peer.start()

    async def _feed(self, dice: random.Random) -> None:
        """A new value at each input, each second."""
        while True:
            for peer in self.peers:
                for unit in range(1, UNITS + 1):
                    for i in range(INPUTS):
                        await peer.set(unit, "input", i, dice.randint(LOW_UA, HIGH_UA))
            await asyncio.sleep(1.0)

    def status(self) -> Any:
        until_s = time.monotonic() + START_S
        while True:
            try:
                return ask(self.folder / "state", {"ask": "status"}, 5.0)
            except (NotRunning, ValueError):
                if time.monotonic() > until_s:
                    raise SystemExit(f"bench: no gateway answers; see {self.folder}/gateway.log") from None
                time.sleep(0.2)

    def checkpoint(self) -> int:
        """Bytes it wrote."""
        command = [sys.executable, "-c", _CHECKPOINT, str(self.database)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def samples(self) -> int:
        query = [sys.executable, "-m", "gateway", "db", "--state", str(self.folder / "state"), "query"]
        out = subprocess.run([*query, "SELECT sum(samples) n FROM raw"], capture_output=True, text=True, check=True)
        return int(json.loads(out.stdout)["n"] or 0)

    def begin(self) -> None:
        self.checkpoint()
        self._before = Usage(self.gateway.pid), self.status()["commits"], self.samples()

    def end(self) -> Seen:
        usage, commits, samples = self._before
        now = Usage(self.gateway.pid)
        written_b = now.written_b - usage.written_b + self.checkpoint()
        took_s = now.at_s - usage.at_s
        cpu = (now.cpu_s - usage.cpu_s) / took_s
        return Seen(written_b, self.status()["commits"] - commits, self.samples() - samples, took_s, now.peak_mib, cpu)

    def close(self) -> None:
        self.gateway.terminate()
        self.gateway.wait(20)
        self._feeding.cancel()
        asyncio.run_coroutine_threadsafe(self._stop(), self.loop).result(20)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.broker.stop()

    async def _stop(self) -> None:
        for peer in self.peers:
            await peer.stop()


def figures(folder: Path, seconds: float = SECONDS) -> list[Figure]:
    runs = [Run(folder / f"every-{commit_s:.0f}", commit_s) for commit_s in COMMIT_EVERY_S]
    try:
        for run in runs:
            run.status()
        time.sleep(SETTLE_S)
        for run in runs:
            run.begin()
        time.sleep(seconds)
        slow, fast = (run.end() for run in runs)
    finally:
        for run in runs:
            run.close()
    slow_a_day, fast_a_day = (seen.commits / seen.took_s * DAY_S for seen in (slow, fast))
    commit_b = (fast.mb_a_day - slow.mb_a_day) * 1e6 / (fast_a_day - slow_a_day)
    fixed_mb = slow.mb_a_day - commit_b * slow_a_day / 1e6
    return [
        Figure("history_mb_a_day", round(slow.mb_a_day, 1), "MB", BUDGET_MB, "the budget; commits every 30 s"),
        Figure("history_mb_a_day_10s", round(fast.mb_a_day, 1), "MB", BUDGET_MB, "the budget; commits every 10 s"),
        Figure("history_a", round(fixed_mb, 1), "MB a day"),
        Figure("history_b", round(commit_b), "B a commit"),
        Figure("history_commits_a_day", round(slow_a_day), "commits"),
        Figure("history_samples_s", round(slow.samples / slow.took_s, 1), "1/s", BUSES * UNITS * INPUTS, "as polled"),
        Figure("history_b_sample", round(slow.written_b / slow.samples, 2), "B"),
        Figure("history_rss", round(slow.peak_mib, 1), "MiB", 50.0, "the box's budget without models"),
        Figure("history_cpu", round(slow.cpu, 3), "cores"),
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--dir", type=Path, help="a folder on a disk (not tmpfs)")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="linli-history-", dir=args.dir) as name:
        for figure in figures(Path(name), args.seconds):
            print(json.dumps(figure.as_json()), figure.what)
    return 0


if __name__ == "__main__":
    sys.exit(main())
