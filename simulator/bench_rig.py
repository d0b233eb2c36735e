"""One gateway under measurement: the real `linli run`, a real broker, a counting subscriber, pins and a node."""

import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from simulator.bench_load import SENSORS
from simulator.broker import Broker
from simulator.mqtt import Connection
from simulator.parcels import plain
from simulator.pin_server import PinServer

ROPE, VALVE = 17, 5
_TICKS_S = os.sysconf("SC_CLK_TCK")


def site_text(broker: str, *, model: bool, node_commit_ms: int = 10_000) -> str:
    """A site of 200 flow sensors on one node, a rope and a valve."""
    lines = [
        "schema = 1",
        'site = { id = "bench-site", gateway = "bench-box", name = "bench" }',
        'clock = { trust = "system" }',
        'bus.n1 = { kind = "node", port = "link:n1" }',
        f'uplink = {{ broker = "{broker}", confirm = "broker", gzip = false, window = 20 }}',
        f"store = {{ node_commit_ms = {node_commit_ms} }}",
        f'sensor."rope" = {{ from = "gpio:{ROPE}", kind = "leak", wiring = "normally-open" }}',
        f'output.valve = {{ to = "gpio:{VALVE}", kind = "strobe" }}',
        'alarm.leak = { name = "leak", severity = "urgent", any = ["rope is wet"] }',
        'reaction.light = { when = "alarm.leak active", do = "valve on" }',
    ]
    lines += [f'sensor."s{i:03}" = {{ from = "n1:flow{i + 1}" }}' for i in range(SENSORS)]
    if model:
        conditions = ", ".join(f'"model:water-leak on s{i:03} > 0.9 for 10 min"' for i in range(SENSORS))
        lines.append(f'alarm.model = {{ name = "model", severity = "low", any = [{conditions}] }}')
    return "\n".join(lines) + "\n"


class Counter(threading.Thread):
    """The city's end of the wire: counts readings and notes when alarms come."""

    def __init__(self, url: str) -> None:
        super().__init__(name="counter", daemon=True)
        self.readings = self.messages = self.payload_b = 0
        self.last_s = 0.0
        self.alarms: dict[int, float] = {}  # occurrence -> when
        self.stop = False
        self._url = url

    def run(self) -> None:
        while not self.stop:  # the broker may be away for a while
            link = Connection(self._url, "bench-counter", self._take)
            asked = False
            if not link.open():
                time.sleep(0.2)
                continue
            while not self.stop and link.turn(0.1):
                if link.up and not asked:
                    link.subscribe(["linli/v1/+/up/#"])
                    asked = True
                link.settle()
            link.close()

    def _take(self, topic: str, payload: bytes) -> None:
        now_s = time.monotonic()
        self.messages += 1
        self.payload_b += len(payload)
        if topic.endswith("/readings"):
            self.readings += payload.count(b'"src":')
            self.last_s = now_s
        elif topic.endswith("/alarms"):
            for record in json.loads(plain(payload))["records"]:
                if "data" in record and record["data"]["state"] == "unacknowledged":
                    self.alarms.setdefault(record["data"]["occurrence"], now_s)


class Usage:
    """What a process has used so far."""

    def __init__(self, pid: int) -> None:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        status = Path(f"/proc/{pid}/status").read_text()
        self.cpu_s = (int(stat[11]) + int(stat[12])) / _TICKS_S
        self.written_b = int(io["write_bytes"])
        self.peak_mib = int(status.partition("VmHWM:")[2].split()[0]) / 1024
        self.at_s = time.monotonic()


class Rig:
    """with Rig(folder, model=True) as rig: ..."""

    def __init__(self, folder: Path, *, model: bool = False, node_commit_ms: int = 10_000) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.links = folder / "links"
        self.links.mkdir()
        self.broker = Broker(folder / "broker", "auto", extra="set_tcp_nodelay true\nmax_queued_messages 0\n")
        self._model, self._commit_ms = model, node_commit_ms
        self.outputs: dict[int, tuple[int, float]] = {}
        self._selector = selectors.DefaultSelector()
        self.pins = PinServer(self.links / "pins.sock", self._selector, self._output)
        self.gateway: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Rig":
        self.broker.start()
        self.pins.open()
        self.pins.set(ROPE, 1)
        site = self.folder / "site.toml"
        site.write_text(site_text(self.broker.url, model=self._model, node_commit_ms=self._commit_ms))
        self.counter = Counter(self.broker.url)
        self.counter.start()
        self.start_gateway()
        return self

    def start_gateway(self) -> None:
        command = [sys.executable, "-m", "gateway", "run", str(self.folder / "site.toml")]
        command += ["--state", str(self.folder / "state"), "--links", str(self.links)]
        with (self.folder / "gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(command, stdout=log, stderr=log)

    def stop_gateway(self) -> None:
        if self.gateway:
            self.gateway.terminate()
            self.gateway.wait(10)

    def __exit__(self, *_: object) -> None:
        self.stop_gateway()
        self.counter.stop = True
        self.counter.join(5)
        self.pins.close()
        self.broker.stop()

    @property
    def pid(self) -> int:
        assert self.gateway
        return self.gateway.pid

    def _output(self, gpio: int, level: int) -> None:
        self.outputs[gpio] = (level, time.monotonic())

    def turn(self, wait_s: float) -> None:
        """Serve the pins for a moment."""
        for key, _ in self._selector.select(wait_s):
            key.data()

    def wait(self, true: Callable[[], bool], seconds: float) -> bool:
        """Serves the pins while it waits. False when it took longer."""
        end_s = time.monotonic() + seconds
        while not true() and time.monotonic() < end_s:
            self.turn(0.005)
        return true()

    def load(self, count: int, rate: float = 0, seconds: float = 120, boot: int = 1) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "simulator.bench_load", str(self.links / "n1"), "--count", str(count)]
        command += ["--rate", str(rate), "--seconds", str(seconds), "--boot", str(boot)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
