"""One gateway under measurement: the real `linli run`, a real broker, counting subscribers, pins and a node."""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from gateway.control import NotRunning, ask
from simulator.bench_frames import SENSORS
from simulator.broker import Broker
from simulator.pin_server import PinServer
from simulator.processes import ROOT, TAIL_LINES
from simulator.relay import Relay

ROPE, VALVE = 17, 5
NO_CHATTER = "{ times = 100, within_s = 0.01, hold_s = 0 }"  # one trial follows the other at once
START_S = 20.0
_ASK_S = 5.0
_TICKS_S = os.sysconf("SC_CLK_TCK")
_BROKER = "set_tcp_nodelay true\nmax_queued_messages 0\n"


class BenchError(Exception):
    """What did not come about, and where to look."""


def site_text(
    broker: str, *, model: bool = False, node_commit_ms: int = 10_000, confirm: str = "broker", gzip: bool = False
) -> str:
    """A site of 200 flow sensors on one node, a rope and a light that follows it.

    gzip: as by default on a box; off, because opening packs would be the counter's work on the cores it shares.
    """
    lines = [
        "schema = 1",
        'site = { id = "bench-site", gateway = "bench-box", name = "bench" }',
        'clock = { trust = "system" }',
        'bus.n1 = { kind = "node", port = "link:n1" }',
        f'uplink = {{ broker = "{broker}", confirm = "{confirm}", gzip = {str(gzip).lower()}, window = 20 }}',
        f"store = {{ node_commit_ms = {node_commit_ms} }}",
        f'sensor."rope" = {{ from = "gpio:{ROPE}", kind = "leak", wiring = "normally-open" }}',
        f'output.valve = {{ to = "gpio:{VALVE}", kind = "strobe" }}',
        f'alarm.leak = {{ name = "leak", severity = "urgent", any = ["rope is wet"], chatter = {NO_CHATTER} }}',
        'reaction.light = { when = "alarm.leak active", do = "valve on" }',
    ]
    lines += [f'sensor."s{i:03}" = {{ from = "n1:flow{i + 1}" }}' for i in range(SENSORS)]
    if model:
        conditions = ", ".join(f'"model:water-leak on s{i:03} > 0.9 for 10 min"' for i in range(SENSORS))
        lines.append(f'alarm.model = {{ name = "model", severity = "low", any = [{conditions}] }}')
    return "\n".join(lines) + "\n"


class Usage:
    """What a process has used so far. Raises OSError when it is gone."""

    def __init__(self, pid: int) -> None:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        status = Path(f"/proc/{pid}/status").read_text()
        self.cpu_s = (int(stat[11]) + int(stat[12])) / _TICKS_S
        self.written_b = int(io["write_bytes"])
        self.peak_mib = int(status.partition("VmHWM:")[2].split()[0]) / 1024
        self.at_s = time.monotonic()


def answer(state: Path, within_s: float = 5.0) -> Any:
    """What the gateway of this folder says of itself. Raises BenchError when it has not said so in time."""
    until_s = time.monotonic() + within_s
    while True:
        try:
            return ask(state, {"ask": "status"}, _ASK_S)
        except (NotRunning, ValueError) as error:
            if time.monotonic() > until_s:
                raise BenchError(f"{state}: no gateway answers: {error}") from None
            time.sleep(0.2)


class Heard:
    """What the subscribers (simulator/bench_counter.py) told; bulk and alarms have a process each."""

    def __init__(self, url: str, selector: selectors.BaseSelector) -> None:
        self.readings = self.messages = self.payload_b = 0
        self.first_reading_s = self.last_s = 0.0
        self.alarms: dict[int, float] = {}  # occurrence -> when
        self.ready = 0
        self._selector = selector
        self._children = [self._start(url, "readings", self._sums), self._start(url, "alarms", self._alarm)]

    def _start(self, url: str, stream: str, take: Callable[[dict[str, Any]], None]) -> "subprocess.Popen[bytes]":
        topic = f"linli/v1/+/up/{stream}"
        command = [sys.executable, "-m", "simulator.bench_counter", url, topic]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert child.stdout
        os.set_blocking(child.stdout.fileno(), False)
        rest = bytearray()
        pipe = child.stdout
        self._selector.register(pipe, selectors.EVENT_READ, lambda: self._read(pipe, rest, take))
        return child

    def _read(self, pipe: IO[bytes], rest: bytearray, take: Callable[[dict[str, Any]], None]) -> None:
        data = os.read(pipe.fileno(), 65536)
        if not data:
            self._selector.unregister(pipe)
            return
        rest += data
        *lines, tail = bytes(rest).split(b"\n")
        rest[:] = tail
        for line in lines:
            said = json.loads(line)
            if "ready" in said:
                self.ready += 1
            else:
                take(said)

    def _sums(self, said: dict[str, Any]) -> None:
        for name, value in said.items():
            setattr(self, name, value)

    def _alarm(self, said: dict[str, Any]) -> None:
        if "alarm" in said:
            self.alarms.setdefault(said["alarm"], said["at_s"])

    @property
    def pid(self) -> int:
        """Of the one that counts readings."""
        return self._children[0].pid

    def close(self) -> None:
        for child in self._children:
            child.kill()
            child.wait()
            assert child.stdout
            if child.stdout in self._selector.get_map():
                self._selector.unregister(child.stdout)
            child.stdout.close()


class Rig:
    """with Rig(folder, model=True) as rig: ...

    state: the gateway's folder, when it lies elsewhere than in `folder`. relay: what the gateway reaches the broker
    through; running. start: whether the gateway runs from the beginning.
    """

    def __init__(
        self, folder: Path, *, state: Path | None = None, relay: Relay | None = None, start: bool = True,
        **site: Any,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True)
        self.folder = folder
        self.state = state or folder / "state"
        self.links = folder / "links"
        self.links.mkdir()
        self.broker = Broker(folder / "broker", "auto", extra=_BROKER)
        self._relay, self._start, self._site = relay, start, site
        self.outputs: dict[int, tuple[int, float]] = {}
        self._selector = selectors.DefaultSelector()
        self.pins = PinServer(self.links / "pins.sock", self._selector, self._output)
        self.gateway: subprocess.Popen[bytes] | None = None
        self._loads: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Rig":
        self.broker.start()
        self.pins.open()
        self.pins.set(ROPE, 1)
        url = self.broker.url
        if self._relay:
            self._relay.to_port, url = self.broker.port, self._relay.url
        (self.folder / "site.toml").write_text(site_text(url, **self._site))
        self.heard = Heard(self.broker.url, self._selector)
        try:
            if not self.wait(lambda: self.heard.ready >= 2, START_S):
                raise self.error(f"the subscribers did not come up within {START_S:.0f} s")
            if self._start:
                self.start_gateway()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_gateway(self) -> float:
        """Returns when it was started, CLOCK_MONOTONIC s."""
        command = [sys.executable, "-m", "gateway", "run", str(self.folder / "site.toml")]
        command += ["--state", str(self.state), "--links", str(self.links)]
        began_s = time.monotonic()
        with (self.folder / "gateway.log").open("ab") as log:
            self.gateway = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)
        return began_s

    def await_gateway(self) -> None:
        """It drives its outputs, so its pins are open. Raises BenchError."""
        if not self.wait(lambda: VALVE in self.outputs, START_S):
            raise self.error(f"the gateway did not come up within {START_S:.0f} s")

    def await_readings(self) -> None:
        """Something was published. Raises BenchError."""
        self.await_gateway()
        if not self.wait(lambda: self.heard.messages > 0, START_S):
            raise self.error(f"nothing was published within {START_S:.0f} s")

    def error(self, what: str) -> BenchError:
        """With the end of the gateway's log, because the folder will be gone."""
        log = self.folder / "gateway.log"
        said = log.read_text(errors="replace").splitlines()[-TAIL_LINES:] if log.exists() else []
        return BenchError("\n".join([f"{what}; the gateway's last words:", *said]))

    def __exit__(self, *_: object) -> None:
        for load in self._loads:
            load.kill()
            load.wait()
        if self.gateway:
            self.gateway.terminate()
            try:
                self.gateway.wait(15)
            except subprocess.TimeoutExpired:
                self.gateway.kill()
                self.gateway.wait()
        self.heard.close()
        self.pins.close()
        self.broker.stop()
        self._selector.close()

    @property
    def pid(self) -> int:
        assert self.gateway
        return self.gateway.pid

    def _output(self, gpio: int, level: int) -> None:
        self.outputs[gpio] = (level, time.monotonic())

    def turn(self, wait_s: float) -> None:
        """Serve the pins and the subscribers' pipes for a moment."""
        for key, _ in self._selector.select(wait_s):
            key.data()

    def wait(self, true: Callable[[], bool], seconds: float) -> bool:
        """Serves the pins while it waits. False when it took longer."""
        end_s = time.monotonic() + seconds
        while not true() and time.monotonic() < end_s:
            self.turn(0.005)
        return true()

    def rest(self, seconds: float) -> None:
        self.wait(lambda: False, seconds)

    def load(
        self, count: int, rate: float = 0, seconds: float = 600, boot: int = 1, ring: int = 20_000
    ) -> "subprocess.Popen[bytes]":
        """Start the load. Its frames are made before it opens its line. It ends with the rig at the latest."""
        command = [sys.executable, "-m", "simulator.bench_load", str(self.links / "n1"), "--count", str(count)]
        command += ["--rate", str(rate), "--seconds", str(seconds), "--boot", str(boot), "--ring", str(ring)]
        load = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        self._loads.append(load)
        return load

    def finish(self, load: "subprocess.Popen[bytes]", seconds: float) -> dict[str, float]:
        """What the load said at its end. Raises BenchError when not everything was durable in time."""
        if not self.wait(lambda: load.poll() is not None, seconds) or load.returncode:
            raise self.error(f"the gateway did not make everything durable within {seconds:.0f} s")
        assert load.stdout
        said: dict[str, float] = json.loads(load.stdout.read())
        return said
