"""A busy line's readings in columns: they mean what the same readings mean one by one, and none goes missing."""

import asyncio
import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.outputs import Output
from drivers.reading import FAULT, Reading, Run
from gateway.alarms import Alarms, Rule
from gateway.box import Box
from gateway.conditions import parse
from gateway.contract import PACK_BYTES_MAX, PACK_RECORDS_MAX, Label, pack_payload
from gateway.detector import Detector
from gateway.detectors import Detectors
from gateway.packs import reading_records
from gateway.pending import Draft, Pending, Work
from gateway.pipeline import Pipeline
from gateway.reactions import Plan
from gateway.sensors import Role
from gateway.windows import WAITING_ROWS_MAX, Windows
from tests.deeds_rig import deeds, rules_of

LABEL = Label(1, 1000.0, 1_800_000_000.0, "ntp", 0.01, "cafe0001")
POINTS = [f"n1:flow{i}" for i in range(1, 7)]


class Pin:
    def __init__(self) -> None:
        self.driven: list[bool] = []

    def drive(self, on: bool) -> None:
        self.driven.append(on)

    def close(self) -> None: ...


class Model:
    name, version = "water-leak", "1.0.0"

    def score(self, windows):
        self.windows = windows
        return [0.5] * len(windows)

    def because(self, window):
        return []


class House:
    """A pipeline with a plain sensor, a scored one, one with an alarm, one with limits, one that reports, no sixth."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        rules = [
            Rule("high", "high", "high", (parse("watched > 3"),)),
            Rule("leak", "leak", "low", (parse("model:water-leak on scored > 0.9 for 10 min"),)),
        ]
        roles = [
            Role("plain", POINTS[0], "flow"),
            Role("scored", POINTS[1], "flow"),
            Role("watched", POINTS[2], "flow"),
            Role("limited", POINTS[3], "flow", valid=(0.0, 2.0)),
            Role("reported", POINTS[4], "flow", every_s=10.0, deadband=1.0),
        ]
        self.pin = Pin()
        self.pending = Pending(lambda: LABEL, 10.0, 30.0)
        self.detector = Detector(Model(), ["scored"])
        outputs = {"strobe": Output("strobe", self.pin)}
        done = deeds([Plan("light", "high", 0, "strobe", "on")], outputs, self.pending, lambda: LABEL)
        alarms = Alarms([*rules, *rules_of(outputs)], {}, {}, self.now_s)
        self.pipeline = Pipeline(
            roles, alarms, done, Detectors({"water-leak": self.detector}), self.pending, lambda: self.now_s,
            lambda: LABEL,
        )  # fmt: skip

    def outcome(self) -> tuple[object, ...]:
        work = self.pending.take(self.now_s, everything=True)
        assert work
        kept = (work.marks, work.keep, sorted(map(repr, work.minutes)), [repr(group.columns) for group in work.samples])
        return records_in(work.drafts), kept[:2], self.pipeline.values(), self.detector.state(), self.pin.driven


def records_in(drafts: list[Draft]) -> list[str]:
    found: list[str] = []
    for draft in drafts:
        assert draft.records <= PACK_RECORDS_MAX
        if draft.stream != "readings":
            found.append(f"{draft.stream} {draft.body()!r}")
            continue
        body = reading_records(draft.body(), draft.label)
        assert len(pack_payload("readings", "9f3c2a71", 10**9, draft.label, body)) <= PACK_BYTES_MAX
        for record in json.loads(b"[" + body + b"]"):
            record.pop("bt", None)
            found.append(json.dumps(record, sort_keys=True))
    return sorted(found)


ROWS = st.lists(
    st.tuples(st.sampled_from(POINTS), st.sampled_from([0.0, 1.0, 2.5, 4.0]), st.integers(-5, 120)), min_size=1
)


@given(st.lists(ROWS, min_size=1, max_size=4))
def test_a_run_means_exactly_what_its_readings_mean(reads):
    in_columns, one_by_one = House(), House()
    seq = 1
    for rows in reads:
        points, values, after_s = zip(*rows, strict=True)
        run = Run("n1", 7, seq, points, values, [in_columns.now_s + s for s in after_s])
        in_columns.pipeline.handle([run])
        one_by_one.pipeline.handle(run.readings())
        assert run.readings()[-1].seq == run.last
        seq += len(rows)
    assert in_columns.outcome() == one_by_one.outcome()


# Cutting: every reading is in one pack or durable in the journal, whenever somebody looks.


class Disk:
    """What a store keeps of the works, as the numbers of the readings."""

    def __init__(self) -> None:
        self.packed: list[int] = []
        self.journal: list[int] = []

    def take(self, work: Work | None) -> None:
        if work is None:
            return
        self.packed += numbers_in(work.drafts)
        if "readings" in work.closed:
            self.journal = []
        self.journal += numbers_in(work.journal)


def numbers_in(drafts: list[Draft]) -> list[int]:
    return [json.loads(record)["v"] for record in records_in(drafts)]


STEPS = st.lists(
    st.tuples(st.integers(1, 700), st.sampled_from([3, 40, 200]), st.sampled_from([1, 60]), st.sampled_from([0, 0, 4])),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(STEPS, st.booleans())
def test_at_every_commit_each_reading_is_in_one_pack_or_in_the_journal(steps, urgent):
    pending, disk, now_s, seq = Pending(lambda: LABEL, 10.0, 30.0), Disk(), 1000.0, 0
    for count, sensors, longest, waited_s in steps:
        rows = range(seq + 1, seq + 1 + count)
        names = [(f"{n % sensors}".rjust(longest, "s"), "m3/s") for n in rows]
        pending.run(Run("n1", 7, rows[0], ["n1:x"] * count, [float(n) for n in rows], [now_s] * count), names, now_s)
        seq += count
        if urgent:  # of another boot of the node, and no good value
            seq += 1
            pending.reading("one", "", "n1", Reading("n1:one", float(seq), now_s, 8, seq, FAULT, True), now_s)
        now_s += waited_s
        pending.hurry(now_s)
        disk.take(pending.take(now_s))
        assert sorted(disk.packed + disk.journal) == list(range(1, seq + 1))
        assert len(disk.journal) < PACK_RECORDS_MAX
    disk.take(pending.take(now_s, everything=True))
    assert (sorted(disk.packed), disk.journal, pending.records) == (list(range(1, seq + 1)), [], 0)


def test_a_busy_line_makes_full_packs_of_few_long_columns():
    pending, rows = Pending(lambda: LABEL, 10.0, 30.0), 10_000
    names = [(f"s{n % 200}", "m3/s") for n in range(rows)]
    pending.run(Run("n1", 7, 1, ["n1:x"] * rows, [1.0] * rows, [1000.0] * rows), names, 1000.0)
    pending.hurry(1000.0)
    work = pending.take(1000.0)
    assert work and [draft.records for draft in work.drafts] == [PACK_RECORDS_MAX] * 20
    assert [len(draft.columns) for draft in work.drafts] == [10] * 20 and work.journal == []


def test_what_waits_in_the_journal_fits_a_message_too():
    pending = Pending(lambda: LABEL, 10.0, 30.0)
    for seq in range(1, 450):
        pending.reading("s" * 64, "", "n1", Reading("n1:p", "x" * 200, 1000.0, 7, seq), 1000.0)
        pending.hurry(1000.0)
        work = pending.take(1000.0)
        assert work
        records_in([*work.drafts, *work.journal])
        if work.drafts:
            return
    pytest.fail("450 readings of 300 bytes were held back as one pack")


# The detector: rows that wait are counted as if they had not.


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab?"), st.floats(0, 1), st.integers(-20, 95)), min_size=1), st.integers(1, 9)
)
def test_rows_taken_together_make_the_same_windows_as_one_by_one(rows, size):
    together, single = Detector(Model(), "ab"), Detector(Model(), "ab")
    at_s, times = 1.0, []
    for _, _, after_s in rows:
        at_s = max(0.0, at_s + after_s)
        times.append(at_s)
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        sensors, values, _ = zip(*rows[part], strict=True)
        together.run(sensors, values, times[part])
        for row in zip(sensors, values, times[part], strict=True):
            single.feed(*row)
        together.state()  # somebody asks, so nothing waits any more
        for detector in (together, single):
            detector.tick(times[part][-1])
    for detector in (together, single):
        detector.tick(max(times) + 120)
    found, expected = together.state(), single.state()
    assert found.keys() == expected.keys()
    for sensor in found:
        assert found[sensor]["end_s"] == expected[sensor]["end_s"]
        pairs = list(zip(found[sensor]["minutes"], expected[sensor]["minutes"], strict=True))
        assert all((a is None) == (b is None) and (a is None or a == pytest.approx(b)) for a, b in pairs)


def test_rows_do_not_wait_without_bound():
    windows = Windows(["a"], least=0.0)
    for n in range(3 * WAITING_ROWS_MAX):
        windows.run(["a"], [1.0], [n * 0.001])
        assert windows.rows_waiting < WAITING_ROWS_MAX


# Gathering: full rings hurry one commit at a time.


def test_while_a_commit_is_under_way_the_next_one_is_gathered():
    put: list[Work] = []
    house = House()
    parts = SimpleNamespace(
        pending=house.pending, pipeline=house.pipeline, mono_s=lambda: house.now_s, wall=SimpleNamespace(),
        storage=SimpleNamespace(put=put.append), uplink=SimpleNamespace(state=SimpleNamespace(behind=False)),
    )  # fmt: skip
    loop = asyncio.new_event_loop()
    box = Box(parts, loop)
    link = SimpleNamespace(ring=64, undurable=33)
    box._ports = {"n1": SimpleNamespace(link=link, durable=lambda boot, seq: None, paused=False)}

    def say(first: int, count: int) -> None:
        box.take([Run("n1", 7, first, POINTS[:1] * count, [1.0] * count, [house.now_s] * count)])

    say(1, 40)
    assert len(put) == 1
    say(41, 40)
    say(81, 40)
    assert len(put) == 1, "the ring is half full, but its first half is on its way to the disk"
    box._stored(SimpleNamespace(works=[put[0]], heads={}))
    assert len(put) == 2 and put[1].marks == {"n1": (7, 120)}
    say(121, 10_001)
    assert len(put) == 3, "as much as one commit should hold goes without waiting"
    loop.close()
