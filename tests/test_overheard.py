"""A hall whose kiosk speaks no LK1: printer, terminals and pad overheard through real ports, by the real gateway."""

import asyncio
import json
import os
import pty
import random
import subprocess
import sys
import time
import tty
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from escpos.printer import Dummy

from drivers import frame_table
from drivers.call_bus import CallBus, checksum
from drivers.escpos_tap import EscposTap, Template
from drivers.reading import Event, Fact
from drivers.serial_line import SerialLine
from gateway import build_lines
from gateway.config import load
from gateway.contract import Topics
from gateway.control import NotRunning, ask
from gateway.listen_port import ListenPort
from gateway.reader import Reader
from gateway.tickets import Tickets
from simulator.centre import Centre as Simulated
from simulator.scenario import parse
from simulator.truth_book import read_truth
from tests.line_world import Clock
from tests.test_leak_to_city import Centre

ROOT = Path(__file__).parent.parent
SITE = """
schema = 1
site = { id = "hall", gateway = "hall-a", name = "Hall" }
clock = { trust = "system" }
queue.hall = { name = "大厅", numbers = { restart = "start" } }
service.A = { queue = "hall", name = "社会保障" }
service.B = { queue = "hall", name = "户籍" }
bus.p1 = { kind = "escpos", port = "link:p1", line = "115200 8N1", ticket = ["您的号码: {label}", "业务: {service}"] }
bus.c1 = { kind = "call-bus", port = "link:c1", line = "9600 8N1", table = "keypad-21" }
bus.r1 = { kind = "rating-pad", port = "link:r1", line = "9600 8N1", table = "pad-byte" }
window.1 = { services = ["A", "B"], calls = "c1:1", rating = "r1:1" }
uplink = { broker = "mqtt://127.0.0.1:9" }
"""


class Cable:
    """A pseudo-terminal under a name, that may be pulled out and plugged in again."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.plug()

    def plug(self) -> None:
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.link.symlink_to(os.ttyname(self._slave))

    def pull(self) -> None:
        self.link.unlink()
        os.close(self.master)
        os.close(self._slave)

    def say(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.master, data[:1000]) :]


def slip(label: str, service: str) -> bytes:
    printer = Dummy()
    printer.hw("INIT")
    printer._raw(f"您的号码：{label}\n业务：{service}\n".encode("gb18030"))
    printer.qr(label, native=True)
    printer.cut()
    return bytes(printer.output)


def call(address: int, command: int, service: str, number: int) -> bytes:
    body = bytes([address, command, ord(service), number // 100, number // 10 % 10 * 16 + number % 10])
    return b"\xff\x68\x05\x05\x68" + body + checksum("sum", body) + b"\x16"


class Hall:
    """The gateway of SITE as a process, and its three lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "links").mkdir()
        (folder / "site.toml").write_text(SITE)
        self.printer, self.terminals, self.pad = (Cable(folder / "links" / name) for name in ("p1", "c1", "r1"))
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "gateway", "run", "site.toml", "--state", "state", "--links", "links"]
        env = os.environ | {"PYTHONPATH": str(ROOT), "GPIOZERO_PIN_FACTORY": "mock"}
        self.gateway = subprocess.Popen(command, cwd=self.folder, env=env)
        self.until(lambda s: all(port["open"] for port in s["ports"].values()))

    def until(self, ready: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        until_s = time.monotonic() + 30
        status: dict[str, Any] = {}
        while not (status and ready(status)):
            assert time.monotonic() < until_s, status
            time.sleep(0.02)
            try:
                status = dict(ask(self.folder / "state", {"ask": "status"}, 3.0))
            except (NotRunning, ValueError):
                status = {}
        return status

    def events(self) -> list[dict[str, Any]]:
        """Of a gateway that has ended in good order."""
        reader = Reader(self.folder / "state" / "linli.db")
        found = []
        for (no, stream), (head, _) in reader.streams().items():
            if stream == "events":
                for row in reader.after(no, stream, 0, head, 10_000):
                    pack = json.loads(reader.payload(row, Topics("linli", "hall-a")))
                    found += [record for record in pack["records"] if "type" in record]
        reader.close()
        return found


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    made = Hall(tmp_path)
    yield made
    made.gateway.kill()
    made.gateway.wait()


@pytest.mark.slow
def test_500_printed_tickets_survive_a_kill_right_behind_the_last_one_and_keep_their_names(hall: Hall) -> None:
    dice, numbers, printed = random.Random("500"), {"A": 0, "B": 0}, []
    for _ in range(500):
        service = dice.choice("AB")
        numbers[service] += 1
        printed.append(f"{service}{numbers[service]:03}")
        hall.printer.say(slip(printed[-1], {"A": "社会保障", "B": "户籍"}[service]))
    hall.until(lambda s: s["ports"]["p1"]["good"] == 500)
    time.sleep(0.2)  # ten times what a ticket may take to be durable
    hall.gateway.kill()
    hall.gateway.wait()
    hall.start()
    hall.printer.say(slip("A001", "社会保障"))  # printed again; before the restart it was the first
    hall.terminals.say(call(1, 1, "A", 2) + call(1, 1, "A", 2))
    hall.until(lambda s: s["ports"]["c1"]["good"] == 2)
    hall.pad.say(b"\x05")
    status = hall.until(lambda s: s["ports"]["r1"]["good"] == 1 and s["ports"]["p1"]["good"] == 1)
    assert status["ports"]["c1"]["beat"]["repeats"] == 1
    hall.gateway.terminate()
    assert hall.gateway.wait(20) == 0
    events = hall.events()
    issued = [event["data"] for event in events if event["type"] == "linli.ticket.issued.v1"]
    assert [data["label"] for data in issued[:500]] == printed
    names = [data["ticket"].split("/") for data in issued[:500]]
    assert {(name[0], name[3]) for name in names} == {("hall", "1")}
    assert [f"{name[2]}{int(name[4]):03}" for name in names] == printed
    assert len(issued) == 501 and issued[-1]["ticket"].split("/")[2:] == ["A", "2", "1"], "a kiosk that began anew"
    (called,) = (event["data"] for event in events if event["type"] == "linli.ticket.called.v1")
    assert called["window"] == "1" and called["label"] == "A002" and called["ticket"].split("/")[2:] == ["A", "1", "2"]
    (rated,) = (event["data"] for event in events if event["type"] == "linli.ticket.rated.v1")
    assert rated == {"value": 5, "grade": 5, "window": "1", "ticket": called["ticket"]}


def test_what_is_overheard_is_due_on_the_disk_within_20_ms(tmp_path: Path) -> None:
    centre = Centre(tmp_path)
    tap = EscposTap("p1", Template(["您的号码: {label}"]), "gb18030", {}, lambda: centre.now_s)
    table = frame_table.load(frame_table.tables()["keypad-21"])
    bus = CallBus("c1", table, lambda: centre.now_s)
    centre.pending.take(centre.now_s, everything=True)  # what the start keeps
    for facts in (tap.feed(slip("A001", "x")), bus.feed(call(1, 1, "A", 1))):
        centre.say(*facts)
        due_s = centre.pending.due_in_s(centre.now_s)
        assert due_s is not None and due_s <= 0.02
        centre.commit(everything=False)
        centre.now_s += 0.021
        centre.commit(everything=False)
    assert [record["type"] for record in centre.sent("events")] == ["linli.ticket.issued.v1", "linli.ticket.called.v1"]


def test_a_printers_line_that_is_pulled_out_is_told_and_heard_again_when_it_is_back(tmp_path: Path) -> None:
    async def story() -> None:
        cable, clock, facts = Cable(tmp_path / "p1"), Clock(), list[Fact]()
        tap = EscposTap("p1", Template(["您的号码: {label}"]), "gb18030", {}, clock.mono_s)
        line = SerialLine(lambda: cable.link, "9600 8N1", clock.mono_s)
        port = ListenPort("p1", line, tap, asyncio.get_running_loop(), facts.extend, clock.mono_s, float("inf"))

        async def until(ready: Callable[[], object]) -> None:
            for _ in range(300):
                port.tick()
                clock.s += 0.1
                if ready():
                    return
                await asyncio.sleep(0.01)
            raise AssertionError(port.facts())

        await until(lambda: port.facts()["open"])
        cable.say(slip("A001", "x")[:-9])  # cut off in the middle of the ticket
        await until(lambda: tap._printer.printing)
        assert port.silent_s is None and port.spoke
        cable.pull()
        await until(lambda: "gone" in port.trouble or "no such port" in port.trouble)
        await until(lambda: port.silent_s)
        cable.plug()
        await until(lambda: port.facts()["open"])
        assert port.silent_s is None and port.trouble == ""
        cable.say(slip("A002", "x"))
        await until(lambda: len(facts) == 2)
        labels = [fact.data["label"] for fact in facts if isinstance(fact, Event)]
        assert labels == ["A001", "A002"], "what was printed before the pull is a slip of its own"
        port.close()

    asyncio.run(asyncio.wait_for(story(), 30))


class Ears:
    """Every overheard line of a simulated hall, read from its terminal by what the gateway would read it with."""

    def __init__(self, folder: Path, scenario: str) -> None:
        self.now_s = 1_795_600_000.0
        self.folder = folder
        self.site = load(ROOT / "simulator/sites/hall.toml")
        clock = self._clock
        self.hall = Simulated(self.site, parse(scenario, "test"), folder, folder / "truth", 7, 20.0, clock, clock)
        names = [bus for bus in self.site.buses.values() if bus.is_overheard]
        self.ears = {bus.name: build_lines.ear(self.site, bus, clock) for bus in names}
        self.lines = {bus.name: SerialLine(self._find(bus.name), bus.line, clock) for bus in names}
        kept: dict[str, object] = {}
        self.tickets = Tickets(build_lines.places(self.site), lambda mono_s: "2026-11-25", kept, kept.__setitem__)
        self.events: list[Event] = []

    def _clock(self) -> float:
        return self.now_s

    def _find(self, name: str) -> Callable[[], Path]:
        return lambda: self.folder / name

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.now_s += 0.05
            self.hall.step(0)
            for name, line in self.lines.items():
                data = line.read(65_536) if line.fd >= 0 or line.open() else None
                facts = (self.ears[name].feed(data) if data else []) + self.ears[name].tick()
                self.events += [self.tickets.named(fact) for fact in facts if isinstance(fact, Event)]

    def heard(self) -> Counter[tuple[str, str, object]]:
        kinds = [f"linli.{event.type}.v1".replace("recalled", "called") for event in self.events]
        return Counter((e.source, kind, e.data["value"]) for e, kind in zip(self.events, kinds, strict=True))


RUSH = '[[at]]\ns = 1\ndo = "rush"\ntickets = 200\nfor_s = 60\n[water]\non = false\n'
CUT = '[[fault]]\ndo = "cut"\nevery_s = 6\nfor_s = 1\n'


@pytest.mark.parametrize("faults", ["", CUT], ids=["", "plugs pulled"])
def test_a_simulated_hall_is_heard_as_it_spoke_and_what_was_said_while_unplugged_is_all_that_lacks(
    tmp_path: Path, faults: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINLI_DATA", str(tmp_path / "none"))
    ears = Ears(tmp_path, RUSH + faults)
    with ears.hall:
        ears.run(300)
    truth, heard = read_truth(tmp_path / "truth").overheard, ears.heard()
    assert truth.total() > 300 and heard - truth == Counter(), "nothing is invented"
    assert heard == truth if not faults else truth.total() * 0.5 < heard.total() < truth.total()
    named: dict[object, set[object]] = {}
    for event in ears.events:
        named.setdefault(event.data["ticket"], set()).add(event.data["label"])
    assert all(len(labels) == 1 for labels in named.values()), "one ticket, one label"
    if not faults:
        assert len(named) == len({event.data["label"] for event in ears.events}), "one label, one ticket, that day"
    called = [event for event in ears.events if event.type == "ticket.called"]
    assert called and all(event.data["window"] in ("1", "2") for event in called)
