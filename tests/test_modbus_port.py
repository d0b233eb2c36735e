"""A Modbus line through real ports: pymodbus' own server as the units, pulled plugs, a held port, a whole gateway."""

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import serial

from drivers import registers
from drivers.modbus import Master, Timing
from drivers.modbus_unit import Unit
from drivers.reading import Fact, Reading
from drivers.serial_line import SerialLine
from gateway.control import NotRunning, ask
from gateway.modbus_port import ModbusPort, Source
from simulator.modbus_peer import Faults, Peer
from tests.modbus_rig import IO, LINE, TUF, put, tuf, tuf_image

ROOT = Path(__file__).parent.parent
FAST = "115200 8N1"  # so that a test does not wait for the line


def io_image() -> registers.Image:
    return {(area, at): 0 for area in ("coil", "discrete") for at in range(8)}


def port_on(link: Path, units: list[Unit], facts: list[Fact], line: str = FAST) -> ModbusPort:
    master = Master(units, Timing.of(line, 200), time.monotonic())
    sources = [Source(unit, 1.0, time.monotonic) for unit in units]
    serial_line = SerialLine(lambda: link, line, time.monotonic)
    return ModbusPort("b1", serial_line, master, sources, asyncio.get_running_loop(), facts.extend, time.monotonic, 1.0)


async def ticking(port: ModbusPort, ready: Callable[[], object], seconds: float = 8.0) -> None:
    until_s = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < until_s, port.facts()
        port.tick()
        await asyncio.sleep(0.05)


def run(story: Coroutine[object, object, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 30))


def test_the_server_of_another_maker_is_read_and_written(tmp_path: Path) -> None:
    async def story() -> None:
        peer = Peer(
            tmp_path / "b1", FAST, {1: tuf_image(), 2: io_image() | {("discrete", 2): 1}}, Faults(random.Random(1))
        )
        await peer.start()
        meter, io1 = tuf("meter", 1, 0.2), Unit("io1", 2, IO, ["di3"], 0.2, outputs=["do1"])
        facts: list[Fact] = []
        port = port_on(tmp_path / "b1", [meter, io1], facts)
        await ticking(port, lambda: meter.counts.good > 3 and io1.counts.good > 3)
        found = {fact.point: fact.value for fact in facts if isinstance(fact, Reading)}
        assert found["meter:flow"] == pytest.approx(0.001)
        assert (found["meter:total"], found["io1:di3"]) == (1234.5, True)
        io1.want("do1", True)
        assert port.unwritten
        await ticking(port, lambda: io1.pending() is None)
        good = io1.counts.good
        await ticking(port, lambda: io1.counts.good > good + 2)  # the server's own coil agrees, poll after poll
        assert io1.counts.rewritten == 0 and port.link.frames_bad == 0
        port.close()
        await peer.stop()

    run(story())


def test_a_line_that_was_unplugged_is_read_again_under_its_old_name(tmp_path: Path) -> None:
    async def story() -> None:
        meter = tuf("meter", 1, 0.2)
        facts: list[Fact] = []
        port = port_on(tmp_path / "b1", [meter], facts)
        for _ in range(2):
            peer = Peer(tmp_path / "b1", FAST, {1: tuf_image()}, Faults(random.Random(1)))
            await peer.start()
            good = meter.counts.good
            await ticking(port, lambda good=good: meter.counts.good > good + 2)
            await peer.stop()
            await ticking(port, lambda: "found the line gone" in port.trouble or "no such port" in port.trouble)
            await ticking(port, lambda: port.units[0].silent_s)
        assert port.opened == 2
        port.close()

    run(story())


def test_a_port_that_another_program_holds_names_it(tmp_path: Path) -> None:
    async def story() -> None:
        peer = Peer(tmp_path / "b1", FAST, {1: tuf_image()}, Faults(random.Random(1)))
        await peer.start()
        with serial.Serial(str(tmp_path / "b1"), exclusive=True):
            port = port_on(tmp_path / "b1", [tuf("meter", 1)], [])
            port.tick()
            assert f"opened by python (pid {os.getpid()})" in port.trouble or f"(pid {os.getpid()})" in port.trouble
        port.close()
        await peer.stop()

    run(story())


# -- a whole gateway ---------------------------------------------------------------------------------------------------

SITE = """
schema = 1
site = { id = "test", gateway = "test-a", name = "测试" }
clock = { trust = "system" }
bus.b1 = { kind = "modbus", port = "link:b1", line = "115200 8N1", silent_s = 2, timeout_ms = 100 }
device.meter = { bus = "b1", address = 1, model = "tuf-2000m", poll_s = 0.2, silent_s = 2 }
device.io1 = { bus = "b1", address = 2, model = "generic-8di-8do", poll_s = 0.2, silent_s = 2 }
device.gone = { bus = "b1", address = 3, model = "qdy30a", poll_s = 0.2, silent_s = 1 }
sensor."main/flow" = { from = "meter:flow", name = "流量" }
sensor."main/total" = { from = "meter:total" }
sensor."rope" = { from = "io1:di1", kind = "leak" }
sensor."tank" = { from = "gone:pressure" }
output.valve = { to = "io1:do1", kind = "valve", at_stop = "on", approved_by = "物业 2026-11-20" }
alarm.leak = { name = "漏水", severity = "urgent", any = ["rope is wet"] }
reaction.close = { when = "alarm.leak active", do = "valve close" }
uplink = { broker = "mqtt://127.0.0.1:1" }
store = { commit_every_s = 0.5 }
"""


class Centre:
    """`linli run` with a line of pymodbus units, in a thread of this process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "links").mkdir()
        (folder / "site.toml").write_text(SITE)
        self.images = {1: tuf_image(), 2: io_image()}
        self.loop = asyncio.new_event_loop()
        self.peer = Peer(folder / "links/b1", FAST, self.images, Faults(random.Random(1)))
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self._do(self.peer.start())
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "gateway", "run", "site.toml", "--state", "state", "--links", "links"]
        env = os.environ | {"PYTHONPATH": str(ROOT), "GPIOZERO_PIN_FACTORY": "mock"}
        self.gateway = subprocess.Popen(command, cwd=self.folder, env=env)

    def _do(self, story: Coroutine[object, object, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(story, self.loop).result(10)

    def put(self, address: int, area: str, at: int, word: int) -> None:
        self._do(self.peer.set(address, area, at, word))

    def relay(self) -> int:
        return int(self._do(self.peer.get(2, "coil", 0)))

    def status(self) -> dict:
        try:
            return dict(ask(self.folder / "state", {"ask": "status"}, 3.0))
        except (NotRunning, ValueError):
            return {}

    def until(self, ready: Callable[[dict], object], what: str, seconds: float = 20.0) -> dict:
        until_s = time.monotonic() + seconds
        while not ((status := self.status()) and ready(status)):
            assert time.monotonic() < until_s, (what, status)
            time.sleep(0.1)
        return status

    def stop_gateway(self) -> int:
        self.gateway.terminate()
        return self.gateway.wait(20)

    def close(self) -> None:
        self.gateway.kill()
        self.gateway.wait()
        self._do(self.peer.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def centre(tmp_path: Path) -> Iterator[Centre]:
    made = Centre(tmp_path)
    yield made
    made.close()


@pytest.mark.slow
def test_a_whole_gateway_reads_alarms_and_drives_over_modbus(centre: Centre) -> None:
    status = centre.until(lambda s: "main/total" in s["values"] and "rope" in s["values"], "readings")
    assert status["values"]["main/flow"]["value"] == pytest.approx(0.001)
    assert "tank" not in status["values"], "a unit that never spoke is never shown as fine"
    centre.until(lambda s: s["alarms"].get("source:gone") == "unacknowledged", "the silent unit's own alarm")
    assert "source:meter" not in centre.status()["alarms"] and "source:b1" not in centre.status()["alarms"]
    units = centre.status()["ports"]["b1"]["units"]
    assert units["gone"]["offline"] and units["meter"]["good"] > 2
    assert centre.status()["process"]["rss_mib"] < 60
    centre.put(2, "discrete", 0, 1)
    centre.until(lambda s: s["alarms"].get("leak") and s["outputs"]["valve"], "the rope closes the valve")
    centre.until(lambda s: centre.relay() == 1, "and the relay is on")
    centre.put(2, "coil", 0, 0)
    centre.until(lambda s: centre.relay() == 1, "whoever switches it, it is put right")
    centre.peer.faults.dead.add(1)
    centre.until(lambda s: s["alarms"].get("source:meter"), "the meter falls silent")
    centre.peer.faults.dead.clear()
    centre.until(lambda s: s["alarms"].get("source:meter") == "returned-unacknowledged", "and speaks again")
    assert centre.stop_gateway() == 0


@pytest.mark.slow
def test_a_safe_state_is_written_before_the_gateway_ends_and_a_total_goes_on(centre: Centre) -> None:
    centre.until(lambda s: "main/total" in s["values"] and "rope" in s["values"], "readings")
    time.sleep(1)  # a commit
    assert centre.stop_gateway() == 0
    assert centre.relay() == 1, 'at_stop = "on"'
    image = tuf_image(total=7)
    for (area, at), word in image.items():
        centre.put(1, area, at, word)
    centre.start()
    status = centre.until(lambda s: s["values"].get("main/total", {}).get("value", 0) > 1234, "the total goes on")
    assert status["values"]["main/total"]["value"] == pytest.approx(1234.5, abs=0.6)


def test_the_line_of_the_rig_is_the_one_the_meter_is_delivered_with() -> None:
    assert TUF.line == LINE
    put(TUF, image := tuf_image(), flow=7.2)
    assert registers.decode(TUF, TUF.point["flow"], image)[0] == pytest.approx(0.002)
