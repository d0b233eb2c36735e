"""A running gateway, a real broker and the reference ledger: everything that travels keeps the strict contract."""

import gzip
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from drivers.kiosk_side import KioskSide
from drivers.node_frame import DATA, EVENT
from drivers.node_side import NodeSide
from gateway.contract import STREAMS, Topics
from gateway.contract_catalogue import RECORD_TYPES
from gateway.contract_schema import TOPICS, schemas
from gateway.control import ask
from simulator.broker import Broker
from simulator.mqtt import Connection
from tests.test_city import Running

ROOT = Path(__file__).parents[1]
SITE = ROOT / "simulator/sites/demo.toml"
WAIT_MAX_S = 30.0
OURS = Topics("linli", "demo-centre-a")
STRICT = {name: Draft202012Validator(schema) for name, schema in schemas(strict=True).items()}
SCHEMA_OF = {f"linli/v1/demo-centre-a/{topic.name}": topic.schema for topic in TOPICS}
NODES = {"n1": "sim-1.0;flow*2 temp*1 total*1", "n2": "sim-1.0;flow*1 loop*1 contact*1 pad*1"}
NOT_ON_A_GOOD_DAY = {"disk.trouble", "disk.well", "pack.rejected"}  # tests/test_contract.py makes them
NOT_ON_A_GOOD_DAY |= {"meter.swapped", "settings.changed"}  # tests/test_meters.py and test_modbus.py
NOT_ON_A_GOOD_DAY |= {"output.refused", "output.proved", "output.exercised", "reaction.held"}  # tests/house.py
NOT_ON_A_GOOD_DAY |= {"ticket.reprinted"}  # only an overheard printer makes it: tests/test_overheard.py
NOT_ON_A_GOOD_DAY |= {"command.done", "command.refused"}  # and their topics: tests/test_city_desk.py

NOT_ON_A_GOOD_DAY |= {"model.decided"}  # tests/test_rollout.py
NOT_ON_A_GOOD_DAY |= {
    "facility.watched",
    "facility.unwatched",
    "water.night",
}  # test_facilities.py, test_night_water.py


def mono_ms() -> int:
    return int(time.monotonic() * 1000)


class Site:
    """The demonstration centre: its gateway as a process, and the far ends of its three lines."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.state, links = folder / "state", folder / "links"
        links.mkdir()
        self.sides: dict[str, NodeSide | KioskSide] = {
            name: NodeSide(3, 64, text, mono_ms) for name, text in NODES.items()
        }
        self.sides["k1"] = KioskSide(5, 64, "hall", mono_ms)
        self._ends: dict[str, tuple[int, int]] = {}
        for name in self.sides:
            master, slave = self._ends[name] = pty.openpty()
            tty.setraw(slave)
            os.set_blocking(master, False)
            (links / name).symlink_to(os.ttyname(slave))
        command = [sys.executable, "-m", "gateway", "run", str(SITE)]
        command += ["--state", str(self.state), "--links", str(links), "--broker", broker]
        with (folder / "gateway.log").open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)

    def talk(self) -> None:
        for name, side in self.sides.items():
            master = self._ends[name][0]
            try:
                side.feed(os.read(master, 65_536))
            except BlockingIOError:
                pass
            if out := side.outgoing(4096):
                os.write(master, out)

    @property
    def all_durable(self) -> bool:
        return all(side.undurable == 0 for side in self.sides.values())

    def ask(self, **request: object) -> dict:
        return ask(self.state, request)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)
        for ends in self._ends.values():
            for fd in ends:
                os.close(fd)


def speak(site: Site) -> None:
    """A little of everything that nodes and kiosks can say."""
    n1, n2, k1 = site.sides["n1"], site.sides["n2"], site.sides["k1"]
    assert isinstance(n1, NodeSide) and isinstance(n2, NodeSide) and isinstance(k1, KioskSide)
    for i in range(12):
        n1.add(DATA, 0, i * 1e-6)
    n1.add(DATA, 0, 5.0)  # out of its range
    n1.add(DATA, 2, 21.5)
    n1.add(DATA, 3, 1234.5)
    for point, value in ((1, 1.0), (1, 2.0), (1, 1.0), (1, 3.0), (1, 9.0), (2, 1.0), (2, 0.0), (3, 4.0), (3, 0.0)):
        n2.add(EVENT, point, value)
    ticket = {"service": "A", "number": 12, "label": "A012"}
    k1.add("issued", ticket)
    k1.give_up(1)  # what the ring lost is told, too
    k1.add("window_open", {"window": "2"})
    for event in ("issued", "called", "recalled", "serving", "served", "no_show", "cancelled"):
        k1.add(event, ticket | {"window": "2"})
    for event in ("window_pause", "window_close"):
        k1.add(event, {"window": "2"})
    k1.add("transferred", ticket | {"to": "B"})
    k1.add("rated", {"grade": 5, "window": "1", "clerk": "07"})
    k1.add("rated", {"grade": 1, "window": "2"})
    k1.add("rated", {})


Heard = list[tuple[str, bytes]]


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    """(topic, payload) of all that went over the broker in the life of one gateway, the city's acks included."""
    folder = tmp_path_factory.mktemp("live")
    found: Heard = []
    with Broker(folder / "broker", "embedded") as broker:
        ear = Connection(broker.url, "ear", lambda topic, payload: found.append((topic, payload)))
        assert ear.open()
        city = Running(folder / "city.db", broker.url, acking=True)
        site = Site(folder, broker.url)

        def until(ready: Callable[[], bool]) -> None:
            give_up_s = time.monotonic() + WAIT_MAX_S
            while not ready():
                assert time.monotonic() < give_up_s, (folder / "gateway.log").read_text()
                site.talk()
                assert ear.turn(0.01), ear.error
                ear.settle()

        until(lambda: ear.up)
        ear.subscribe(["linli/#"])
        until(lambda: ear.ready and city.city.listening.is_set())
        speak(site)
        until(lambda: site.all_durable and (site.state / "linli.sock").exists())
        site.ask(ask="acknowledge", alarm="cord")
        site.ask(ask="reset", alarm="cord")
        site.ask(ask="output", output="strobe", action="on", minutes=1, by="desk")
        site.ask(ask="mode", mode="test", place="", minutes=1, by="desk")
        site.ask(ask="mode", mode="end", place="", by="desk")
        for deed in ("open", "ack", "repaired", "tested"):
            site.ask(ask="facility", deed=deed, facility="toilet-f2", by="王师傅", note="拉绳脱落")
        until(lambda: site.ask(ask="facility", deed="list")["facilities"]["toilet-f1"]["state"] != "unknown")
        assert site.ask(ask="probe")["acked"]
        site.process.send_signal(signal.SIGTERM)
        until(lambda: site.process.poll() is not None)
        until(lambda: b'"offline"' in dict(found)[OURS.status])
        site.close()
        ear.close()
        city.close()
    yield found


def opened(payload: bytes) -> dict:
    return json.loads(gzip.decompress(payload) if payload[:2] == b"\x1f\x8b" else payload)


def records(heard: Heard, stream: str) -> list[dict]:
    """In the order of their packs' numbers: the city may get live packs before the backlog."""
    packs = sorted((opened(body) for topic, body in heard if topic == OURS.up(stream)), key=lambda pack: pack["n"])
    return [record for pack in packs for record in pack["records"]]


def test_everything_that_travels_keeps_the_strict_contract(heard: Heard) -> None:
    commands = {OURS.down("read"), OURS.down("operate"), OURS.result}
    assert {topic for topic, _ in heard} == SCHEMA_OF.keys() - commands, "every topic, and no other"
    for topic, payload in heard:
        STRICT[SCHEMA_OF[topic]].validate(opened(payload))


def test_every_type_of_the_catalogue_travelled(heard: Heard) -> None:
    for stream in STREAMS:
        found = {record["type"] for record in records(heard, stream) if "type" in record}
        wanted = {f"linli.{name}.v1" for name in RECORD_TYPES[stream].keys() - NOT_ON_A_GOOD_DAY}
        assert found - {f"linli.{name}.v1" for name in NOT_ON_A_GOOD_DAY} == wanted
        assert records(heard, stream)[0] == {"began": {"why": "new"}}


def test_readings_of_every_kind_of_value_travelled(heard: Heard) -> None:
    found = [record for record in records(heard, "readings") if "n" in record]
    assert {key for record in found for key in record} == {"n", "t", "bt", "u", "v", "vb", "vs", "q", "src"}
    assert {record.get("q") for record in found} == {None, "range", "fault"}


def test_status_tells_the_heads_at_connect_and_at_a_clean_end(heard: Heard) -> None:
    first, *_, last = [opened(payload) for topic, payload in heard if topic == OURS.status]
    assert (first["state"], last["state"]) == ("online", "offline")
    for stream in STREAMS:
        packs = [opened(payload)["n"] for topic, payload in heard if topic == OURS.up(stream)]
        assert sorted(set(packs)) == list(range(1, last["heads"][stream] + 1))


def test_the_will_keeps_the_contract_and_tells_no_heads(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(WAIT_MAX_S)
        site = Site(tmp_path, f"mqtt://127.0.0.1:{server.getsockname()[1]}")
        try:
            line, _ = server.accept()
            with line:
                line.settimeout(WAIT_MAX_S)
                connect = line.recv(65_536)
        finally:
            site.close()
    assert OURS.status.encode() in connect
    will = json.loads(re.findall(rb"\{.*\}", connect)[0])
    STRICT["status"].validate(will)
    assert will["state"] == "offline" and "heads" not in will
    flags = connect[connect.index(b"MQTT") + 5]
    assert flags & 0x3C == 0x2C, "a will, QoS 1, retained"
