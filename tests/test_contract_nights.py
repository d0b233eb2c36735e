"""What the store, the courier and the ledger say to each other on bad nights keeps the strict contract."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from jsonschema import Draft202012Validator

from drivers.reading import Event, Reading
from gateway.box import Box
from gateway.build import _versions
from gateway.contract import STREAMS, Label, Record, status
from gateway.contract_schema import TOPICS, schemas
from gateway.reader import Reader
from gateway.store import Store
from simulator.world import TOPICS as OURS
from simulator.world import World

STRICT = {name: Draft202012Validator(schema) for name, schema in schemas(strict=True).items()}
WALL_S = 1_800_000_000.0


class Night(World):
    """A world that keeps every payload it handed to the broker, and says what real drivers say."""

    def __init__(self, folder: Path, seed: int = 7, **more: object) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.words: list[bytes] = []
        self._flow = random.Random(seed)
        super().__init__(folder, random.Random(seed), **more)

    def label(self) -> Label:
        label = super().label()
        return Label(label.boot, label.mono, label.wall, label.clock, None, "0a1b2c3d")

    def facts(self, count: int) -> None:
        for _ in range(count):
            self.seq += 1
            if self.seq % 7 == 0:
                event = Event("n1", "ticket.issued", {"value": f"A{self.seq}"}, self.now_s, 1, self.seq)
                record = Record(event.type, "n1", event.mono_s, event.data, f"n1/1/{self.seq}")
                self.pending.record("events", record, self.now_s)
            else:
                reading = Reading("n1:flow1", self._flow.random(), self.now_s - self.seq % 3, 1, self.seq)
                self.pending.reading(f"s{self.seq % 5}", "m3/s", "n1", reading, self.now_s)
        self.pending.mark("n1", 1, self.seq)

    def _status(self, *, online: bool) -> bytes:
        who = {"session": 65_537, "epoch": self.store.epoch, "boot": self.boot, "cfg": "0a1b2c3d"}
        return status(online=online, versions=_versions(), heads=self.store.heads(), **who)

    def _deliver(self, topic: str, payload: bytes) -> None:
        self.sent.append((topic, payload))
        super()._deliver(topic, payload)

    def city_step(self) -> None:
        super().city_step()
        self.words += self._to_gateway

    def settle(self, seconds: float = 60) -> None:
        self.away = False
        self.commit()
        self.connect()
        self.run(seconds)
        self.commit()
        self.run(5)

    def lose_the_city(self) -> None:
        self.ledger.close()
        for old in self.folder.glob("city.db*"):
            old.unlink()
        self.start_city()
        self.disconnect()


def keep_the_contract(night: Night) -> None:
    """All but the long packs that look like one another: a validator is slow."""
    long: Counter[str] = Counter()
    for topic, payload in night.sent:
        name = topic.removeprefix(OURS.status.removesuffix("status"))
        schema = next(topic.schema for topic in TOPICS if topic.name == name)
        long[name] += len(payload) > 2000
        if len(payload) <= 2000 or long[name] <= 5 or b'"gap"' in payload:
            STRICT[schema].validate(json.loads(payload))
    for word in night.words:
        STRICT["ack"].validate(json.loads(word))


def reasons(night: Night) -> set[str]:
    return {str(gap["reason"]) for gap in night.gaps()}


# -- what is sent ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_a_day_with_and_without_a_clock_keeps_the_contract(tmp_path: Path, known: bool) -> None:
    night = Night(tmp_path)
    night.clock_known = known
    night.connect()
    for _ in range(5):
        night.facts(50)
        night.commit()
        night.run(0.5)
    night.settle()
    keep_the_contract(night)
    packs = [json.loads(payload) for topic, payload in night.sent if "/up/" in topic]
    assert {pack["stream"] for pack in packs} == set(STREAMS) and night.words
    assert {pack["clock"] for pack in packs if pack["n"] > 1} == {"ntp" if known else "unsure"}


def test_what_a_broken_file_lost_is_told_within_the_contract(tmp_path: Path) -> None:
    night = Night(tmp_path)
    night.away = True
    for _ in range(40):
        night.facts(400)
        night.commit()
    night.store.close()
    with (tmp_path / "linli.db").open("r+b") as file:
        file.seek((tmp_path / "linli.db").stat().st_size // 2)
        file.write(b"\xa5" * 12_000)
    night.start_gateway()
    night.settle()
    assert reasons(night) == {"corrupt"}
    assert any(b'"prev"' in payload for _, payload in night.sent), "a began that names the epoch before it"
    keep_the_contract(night)


def test_what_the_disk_had_no_room_for_is_told_within_the_contract(tmp_path: Path) -> None:
    night = Night(tmp_path, budget_mb=0.35)
    night.away = True
    for _ in range(120):
        night.facts(400)
        night.commit()
    night.settle()
    assert reasons(night) == {"disk-budget"}
    keep_the_contract(night)


def test_what_was_pruned_and_what_was_refused_is_told_within_the_contract(tmp_path: Path) -> None:
    night = Night(tmp_path)
    night.connect()
    night.facts(50)
    night.settle()
    refusal = f'{{"v":1,"epoch":"{night.store.epoch}","streams":{{"events":{{"reject":[{{"n":3,"why":"schema"}}]}}}}}}'
    STRICT["ack"].validate(json.loads(refusal))
    night.facts(50)
    night.commit()
    night._to_gateway.append(refusal.encode())
    night.settle()
    night.store._db.execute("DELETE FROM packs WHERE notice = 0")
    night.lose_the_city()
    night.settle()
    assert reasons(night) == {"rejected: schema", "pruned"}
    assert any(b"linli.pack.rejected.v1" in payload for _, payload in night.sent)
    keep_the_contract(night)


def test_the_loss_bound_of_polled_readings_keeps_the_contract(tmp_path: Path) -> None:
    world = Night(tmp_path)
    world.store._db.close()  # as kill -9
    store = Store(tmp_path / "linli.db", world, random.Random(1), polled=True)
    store.open("first")
    reader = Reader(store.path)
    bodies = [json.loads(reader.payload(row, OURS)) for row in reader.after(store.epoch_no, "readings", 0, 9, 9)]
    assert [list(body["records"][0]) for body in bodies] == [["began"], ["gap"]]
    for body in bodies:
        STRICT["pack-readings"].validate(body)


def test_a_disk_in_trouble_and_well_again_keeps_the_contract(tmp_path: Path) -> None:
    night = Night(tmp_path)
    box = SimpleNamespace(_disk_trouble="", _mono_s=lambda: night.now_s, _pending=night.pending, _due_s={})
    Box._trouble(box, "the disk does not take what is to be stored: disk I/O error")
    Box._trouble(box, "")
    night.settle()
    assert all(f"linli.disk.{word}.v1".encode() in dict(night.sent)[OURS.up("health")] for word in ("trouble", "well"))
    keep_the_contract(night)


# -- readings as any SenML reader sees them ----------------------------------------------------------------------------


def resolve(pack: list[dict]) -> Iterator[tuple[str, str, float, object]]:
    """RFC 8428, section 4.6, written from the RFC alone: (name, unit, time, value) of each record."""
    base: dict = {}
    for record in pack:
        assert not any(label.endswith("_") for label in record), "a label that must be understood"
        base |= {label: value for label, value in record.items() if label in ("bn", "bt", "bu", "bv")}
        name = base.get("bn", "") + record.get("n", "")
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*", name)
        values = [label for label in ("v", "vs", "vb", "vd") if label in record]
        assert len(values) == 1
        value = record[values[0]]
        if values == ["v"]:
            assert not isinstance(value, bool)
            value += base.get("bv", 0)
        yield name, record.get("u", base.get("bu", "")), base.get("bt", 0) + record.get("t", 0), value


def test_readings_resolve_as_rfc_8428_says(tmp_path: Path) -> None:
    night = Night(tmp_path)
    said = []
    for seq, (value, unit, age_s) in enumerate(
        [(0.25, "m3/s", 12.0), (True, "", 3.5), ("cut", "", 0.0), (-7.5, "Cel", 0.001)], 1
    ):
        at_s = night.now_s - age_s
        night.pending.reading(f"room-{seq}/x", unit, "n1", Reading("p", value, at_s, 1, seq), night.now_s)
        said.append((f"room-{seq}/x", unit, at_s, value))
    night.pending.mark("n1", 1, 4)
    night.settle()
    [pack] = [
        json.loads(payload)
        for topic, payload in night.sent
        if topic == OURS.up("readings") and b'"began"' not in payload
    ]
    assert [("bt" in record) for record in pack["records"]] == [True, False, False, False]
    found = list(resolve(pack["records"]))
    assert [(name, unit, value) for name, unit, _, value in found] == [(n, u, v) for n, u, _, v in said]
    for (_, _, time_s, _), (_, _, at_s, _) in zip(found, said, strict=True):
        assert time_s == pytest.approx(WALL_S + at_s, abs=2e-3)
        assert time_s > 2**28, "an absolute time"


def test_without_a_clock_times_are_relative_and_clock_synced_makes_them_whole(tmp_path: Path) -> None:
    night = Night(tmp_path)
    night.clock_known = False
    at_s = night.now_s - 4.0
    night.pending.reading("s1", "m3/s", "n1", Reading("p", 0.5, at_s, 1, 1), night.now_s)
    night.pending.mark("n1", 1, 1)
    night.settle()
    [pack] = [
        json.loads(payload)
        for topic, payload in night.sent
        if topic == OURS.up("readings") and b'"began"' not in payload
    ]
    [(_, _, time_s, _)] = resolve(pack["records"])
    assert -(2**28) < time_s <= 0, "RFC 8428: relative"
    synced = {"boot": pack["boot"], "mono": 1500.0, "wall": WALL_S + 1500.0}
    assert synced["wall"] + pack["mono"] + time_s - synced["mono"] == pytest.approx(WALL_S + at_s, abs=2e-3)
