"""What the history costs the card: 200 polled sensors at 1 Hz, bytes written a day as a + b x commits (promise P5).

The real `linli run` polls 25 units of eight inputs on five lines; behind each pymodbus' own server plays the units, and
every input changes every second over its whole range, which is the worst that such an input can do to a compressor.
Three gateways run side by side, with commits every 30, 10 and 5 s, so that what a day of samples costs (a) and what a
commit costs (b) can be told apart; as root the first has a disk of its own.
"""

import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from gateway import config
from gateway.home import DATABASE
from gateway.site_devices import model_of
from simulator.bench_disk import LoopDisk
from simulator.bench_rig import BenchError, answer
from simulator.bench_table import Figure
from simulator.bench_written import Seen, Written, alone, law, own_disk
from simulator.broker import Broker
from simulator.modbus_peer import Faults, Peer
from simulator.modbus_side import SimUnit
from simulator.processes import ROOT

BUSES, UNITS, INPUTS = 5, 5, 8
LINE, LOW_UA, HIGH_UA = "38400 8N1", 4000, 20000
SECONDS, SETTLE_S, START_S = 900.0, 65.0, 30.0
COMMIT_EVERY_S = (30.0, 10.0, 5.0)
BUDGET_MB = 200.0


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


class Run:
    """One gateway and its five lines. disk: where its state lies; None for `folder`."""

    def __init__(self, folder: Path, commit_every_s: float, disk: LoopDisk | None) -> None:
        (folder / "links").mkdir(parents=True)
        self.state = (disk.path if disk else folder) / "state"
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
        command = [sys.executable, "-m", "gateway", "run", str(site), "--state", str(self.state)]
        with (folder / "gateway.log").open("wb") as log:
            self.gateway = subprocess.Popen(
                [*command, "--links", str(folder / "links")], stdout=log, stderr=log, cwd=ROOT
            )
        self.written = Written(self.gateway.pid, self.state / DATABASE, disk)

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

    def samples(self) -> int:
        query = [sys.executable, "-m", "gateway", "db", "--state", str(self.state), "query"]
        query.append("SELECT sum(samples) n FROM raw")
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT)
        if done.returncode:
            raise BenchError(f"{self.state}: {done.stderr.strip()}")
        return int(json.loads(done.stdout)["n"] or 0)

    def close(self) -> None:
        self.gateway.terminate()
        try:
            self.gateway.wait(20)
        except subprocess.TimeoutExpired:
            self.gateway.kill()
            self.gateway.wait()
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
    with ExitStack() as stack:
        disk = own_disk(folder, stack)
        runs = []
        for commit_s in COMMIT_EVERY_S:
            runs.append(Run(folder / f"every-{commit_s:.0f}", commit_s, None if runs else disk))
            stack.callback(runs[-1].close)
        for run in runs:
            answer(run.state, START_S)
        time.sleep(SETTLE_S)
        before = runs[0].samples()
        for run in runs:
            run.written.begin()
        time.sleep(seconds)
        seen = [run.written.end() for run in runs]
        samples = runs[0].samples() - before
    return rows(seen, samples)


def rows(seen: list[Seen], samples: int) -> list[Figure]:
    """seen: in the order of COMMIT_EVERY_S. samples: how many the first kept."""
    slow, fast = seen[:2]
    device = []
    if slow.device_b is not None:
        what = "promised; at a disk of its own, commits every 30 s"
        device = [Figure("history_device_mb_a_day", round(slow.device_mb_a_day, 1), "MB", BUDGET_MB, what)]
    return [
        Figure("history_mb_a_day", round(slow.mb_a_day, 1), "MB", BUDGET_MB, "promised; commits every 30 s"),
        *device,
        Figure("history_mb_a_day_10s", round(fast.mb_a_day, 1), "MB", BUDGET_MB, "that of 30 s; commits every 10 s"),
        *law("history", seen),
        Figure("history_commits_a_day", round(slow.commits_a_day), "commits"),
        Figure("history_samples_s", round(samples / slow.took_s, 1), "1/s", BUSES * UNITS * INPUTS, "as polled"),
        Figure("history_b_sample", round(slow.written_b / samples, 2), "B"),
        Figure("history_rss", round(slow.peak_mib, 1), "MiB", 50.0, "promised, without models"),
        Figure("history_cpu", round(slow.cpu, 3), "cores"),
    ]


if __name__ == "__main__":
    sys.exit(alone(figures, SECONDS, __doc__))
