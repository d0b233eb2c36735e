"""The verdict: each way in which a ledger can differ from the truth is seen, and nothing else is."""

import json
import random
import subprocess
import sys
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from simulator.ledger import Ledger
from simulator.truth_book import TruthError, read_truth, split_src

EPOCH = "9f3c2a71"
WALL_S = 1_795_400_000.0
WALL = datetime.fromtimestamp(WALL_S, UTC).isoformat()
ROOT = Path(__file__).parents[1]


class Case:
    """A truth and a ledger side by side; each method adds to one of them, `good` adds the same fact to both."""

    def __init__(self, folder):
        self.truth_path, self.db = folder / "truth.jsonl", folder / "city.db"
        self._ledger = Ledger(self.db)
        self._truth = []
        self._n = {"readings": count(1), "events": count(1)}

    def truth(self, src, value=0.25, kind="reading", sensor="basement/main/flow", t=WALL_S, **more):
        self._truth.append(json.dumps({"src": src, "kind": kind, "sensor": sensor, "value": value, "t": t} | more))

    def lost(self, prefix, first, last):
        self.truth(f"{prefix}/{last}", None, "lost", prefix.split("/")[0], first=first, last=last)

    def readings(self, *records, **label):
        self._pack("readings", records, **label)

    def reading(self, src, value=0.25, sensor="basement/main/flow", t=0.0, **label):
        member = "vb" if isinstance(value, bool) else "vs" if isinstance(value, str) else "v"
        record = {"n": sensor, member: value, "t": t} | ({"src": src} if src else {})
        if label.get("clock", "ntp") != "unsure":
            record["bt"] = label.pop("bt", WALL_S)
        self._pack("readings", [record], **label)

    def event(self, src, value, kind="ticket.issued", **more):
        label = {name: more.pop(name) for name in ("clock", "boot", "mono", "n", "gateway") if name in more}
        record = {"specversion": "1.0", "type": f"linli.{kind}.v1", "subject": "k1", "data": {"value": value}}
        record |= {"time": WALL, "src": src} | more
        self._pack("events", [record], **label)

    def _pack(self, stream, records, n=None, gateway="box-1", **label):
        n = next(self._n[stream]) if n is None else n
        label = {"boot": 1, "mono": 1000.0, "clock": "ntp", "cfg": "00000000"} | label
        body = {"v": 1, "stream": stream, "epoch": EPOCH, "n": n, **label, "records": list(records)}
        self.message(f"up/{stream}", body, gateway)

    def message(self, topic, body, gateway="box-1"):
        self._ledger.take(f"linli/v1/{gateway}/{topic}", json.dumps(body).encode(), WALL_S)

    def good(self, src, value=0.25, **more):
        self.truth(src, value, **more)
        self.reading(src, value, **more)

    def close(self):
        self._ledger.close()
        self.truth_path.write_text("".join(line + "\n" for line in self._truth))

    def verdict(self, *arguments):
        self.close()
        paths = ("--truth", self.truth_path, "--db", self.db)
        command = [sys.executable, "-m", "gateway", "verify", *map(str, paths), "--json", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        if done.returncode == 2:
            return done
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["good"] == (done.returncode == 0) == (said["failed"] == [])
        assert ("verdict  GOOD" in done.stdout) == said["good"]
        return said


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def test_facts_of_every_kind_that_arrived_unchanged_are_good(case):
    case.good("n1/3/1", 0.1 + 0.2)
    case.good("n1/3/2", "cut", sensor="toilet-f1/cord")
    case.good("n1/3/3", True, sensor="front/door")
    case.good("n1/3/4.2", 5e-324)
    case.truth("k1/1/1", "A001", "event", "k1")
    case.event("k1/1/1", "A001")
    case.truth("n2/1/1", 4, "event", "n2:pad1")
    case.event("n2/1/1", 4, "ticket.rated")
    case.truth("n2/1/2", None, "event", "n2:pad1")
    case.event("n2/1/2", None, "ticket.rated")
    case.event(None, 1, "ticket.rated_badly")  # what the gateway itself makes of a rating
    said = case.verdict()
    assert said["failed"] == []
    assert (said["facts"], said["arrived"], said["packs"]) == (7, 7, 8)


def missing(case):
    case.truth("n1/3/2")


def wrong_value(case):
    case.truth("n1/3/2", 0.25)
    case.reading("n1/3/2", 0.2500000001)


def true_for_one(case):
    case.truth("n1/3/2", 1.0)
    case.reading("n1/3/2", True)


def another_sensor(case):
    case.truth("n1/3/2", sensor="a/b")
    case.reading("n1/3/2", sensor="a/c")


def event_for_reading(case):
    case.truth("n1/3/2")
    case.event("n1/3/2", 0.25)


def wrong_event(case):
    case.truth("k1/1/1", "A001", "event", "k1")
    case.event("k1/1/1", "A002")


def invented_number(case):
    case.reading("n1/3/99")


def invented_boot(case):
    case.reading("n1/4/1")


def invented_part(case):
    case.reading("n1/3/1.1")


def nonsense_src(case):
    case.reading("n1/x")


def twice(case):
    case.reading("n1/3/1")


def twice_in_one_pack(case):
    case.truth("n1/3/2")
    record = {"n": "basement/main/flow", "v": 0.25, "t": 0, "src": "n1/3/2"}
    case.readings({**record, "bt": WALL_S}, record)


def lost_line(case):
    case.lost("n1/3", 2, 4)


def lost_event(case):
    case.event("n1/3/4", None, "source.lost", data={"value": None, "first": 2, "last": 4})


def late(case):
    case.truth("n1/3/2", t=WALL_S - 6)
    case.reading("n1/3/2")


def hole(case):
    case.good("n1/3/2", n=None)
    case.readings({"n": "x", "v": 1.0, "t": 0}, n=9)


def tail(case):
    case.message("status", {"session": 1, "state": "online", "epoch": EPOCH, "heads": {"readings": 7}})


def conflict(case):
    case.reading(None, 1.0, n=1)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (missing, "missing"),
        (wrong_value, "wrong"),
        (true_for_one, "wrong"),
        (another_sensor, "wrong"),
        (event_for_reading, "wrong"),
        (wrong_event, "wrong"),
        (invented_number, "invented"),
        (invented_boot, "invented"),
        (invented_part, "invented"),
        (nonsense_src, "invented"),
        (twice, "twice"),
        (twice_in_one_pack, "twice"),
        (lost_line, "lost_lines"),
        (lost_event, "lost_events"),
        (late, "time_off"),
        (hole, "holes"),
        (tail, "heads_not_reached"),
        (conflict, "conflicts"),
    ],
)
def test_one_fault_is_named_and_nothing_else(case, fault, name):
    case.good("n1/3/1")
    fault(case)
    said = case.verdict()
    assert said["failed"] == [name]
    assert said[name] >= 1


def test_a_pack_delivered_twice_is_not_a_fact_twice(case):
    case.truth("n1/3/1")
    case.reading("n1/3/1", n=1)
    case.reading("n1/3/1", n=1)
    said = case.verdict()
    assert (said["good"], said["copies"], said["twice"]) == (True, 1, 0)


def test_a_hole_that_a_gap_names_is_no_hole(case):
    case.good("n1/3/1", n=None)
    case.readings({"gap": {"first": 2, "last": 8, "records": 70, "reason": "disk-budget"}}, n=9)
    assert case.verdict()["good"]


def test_what_was_lost_by_somebodys_word_is_not_called_missing(case):
    case.good("n1/3/1")
    for seq in (2, 3, 4, 5):
        case.truth(f"n1/3/{seq}")
    case.reading("n1/3/3")
    case.lost("n1/3", 2, 3)
    case.event("n1/3/4", None, "source.lost", data={"value": None, "first": 4, "last": 4})
    said = case.verdict()
    assert (said["lost_lines"], said["lost_events"], said["given_up"], said["missing"]) == (1, 1, 2, 1)
    assert said["examples"]["missing"] == ["n1/3/5"]


def test_a_device_that_may_lose_is_excused_by_its_own_word(case):
    case.good("n1/3/1")
    for seq in (2, 3):
        case.truth(f"n1/3/{seq}")
    case.lost("n1/3", 2, 3)
    case.event("n1/3/3", None, "source.lost", data={"value": None, "first": 2, "last": 3})
    said = case.verdict("--excuse-lost")
    assert (said["good"], said["given_up"], said["unfounded"]) == (True, 2, 0)


def test_nobody_elses_word_excuses_a_device_that_may_lose(case):
    case.good("n1/3/1")
    for seq in (2, 3, 4):
        case.truth(f"n1/3/{seq}")
    case.lost("n1/3", 2, 3)
    case.event("n1/3/4", None, "source.lost", data={"value": None, "first": 2, "last": 4})
    said = case.verdict("--excuse-lost")
    assert (said["failed"], said["unfounded"], said["missing"]) == (["unfounded"], 1, 0)


def test_what_others_sent_is_not_the_truths_business(case):
    case.good("n1/3/1")
    case.reading("n7/1/1")
    case.reading(None)
    assert case.verdict()["good"]


def test_relative_times_add_to_the_packs_base(case):
    case.truth("n1/3/1", t=WALL_S - 30)
    case.truth("n1/3/2", t=WALL_S - 10)
    record = {"n": "basement/main/flow", "v": 0.25}
    case.readings({**record, "bt": WALL_S, "t": -30, "src": "n1/3/1"}, {**record, "t": -10.5, "src": "n1/3/2"})
    said = case.verdict("--time-tolerance", "1")
    assert (said["good"], said["time_max_s"]) == (True, 0.5)


def test_base_name_and_base_value_are_resolved(case):
    case.truth("n1/3/1", 1.5, sensor="a/b")
    case.readings({"bn": "a/", "n": "b", "bt": WALL_S, "bv": 1.0, "v": 0.5, "t": 0, "src": "n1/3/1"})
    assert case.verdict()["good"]


def test_what_came_while_the_clock_was_unsure_is_corrected_by_a_later_word(case):
    case.truth("n1/3/1", t=WALL_S + 5)
    case.truth("k1/1/1", "A001", "event", "k1", WALL_S + 7)
    case.reading("n1/3/1", t=-5.0, clock="unsure", mono=10.0, boot=4)
    case.event("k1/1/1", "A001", clock="unsure", boot=4, mono=20.0, time=None, monoms=7_000)
    synced = {"value": "ntp", "boot": 4, "mono": 100.0, "wall": WALL_S + 100, "err_s": 0.1}
    case.event(None, None, "clock.synced", boot=4, data=synced)
    said = case.verdict()
    assert (said["good"], said["untimed"], said["time_max_s"]) == (True, 0, 0.0)


def test_a_better_clock_corrects_a_worse_one_of_the_same_boot(case):
    case.truth("n1/3/1")
    case.reading("n1/3/1", clock="rtc", bt=WALL_S - 600)
    for err_s, wall_s in ((1.0, WALL_S - 600), (0.01, WALL_S), (2.0, WALL_S + 900)):
        synced = {"value": "x", "boot": 1, "mono": 1000.0, "wall": wall_s, "err_s": err_s}
        case.event(None, None, "clock.synced", data=synced)
    assert case.verdict()["good"]


def test_a_time_that_nobody_knows_is_told_and_is_no_lie(case):
    case.truth("n1/3/1")
    case.reading("n1/3/1", clock="unsure", boot=4)
    said = case.verdict()
    assert (said["good"], said["untimed"]) == (True, 1)


def test_sampled_levels_are_told_and_not_judged(case):
    case.good("n1/3/1")
    for level, at_s in ((True, 0), (False, 100), (True, 200), (False, 300)):
        case.truth(None, level, "sampled", "basement/rope", WALL_S + at_s)
    case.reading(None, True, "basement/rope", t=3.0)
    case.reading(None, True, "basement/rope", t=101.0)
    case.reading(None, True, "basement/rope", t=210.0)
    case.reading(None, False, "basement/rope", t=298.0)
    said = case.verdict()
    assert (said["good"], said["sampled"], said["sampled_seen"]) == (True, 4, 2)


def test_a_truth_without_facts_shows_nothing_and_is_not_good(case):
    assert case.verdict()["failed"] == ["empty"]


def test_the_gateway_must_be_named_when_there_are_two(case):
    case.good("n1/3/1")
    case.reading("n1/3/1", gateway="box-2", n=1)
    done = case.verdict()
    assert done.returncode == 2
    assert "box-1, box-2" in done.stderr


def test_one_gateway_is_compared_with_its_own_packs_alone(case):
    case.good("n1/3/1")
    case.reading("n1/3/1", gateway="box-2", n=1)
    assert case.verdict("--gateway", "box-2")["good"]


def test_a_torn_last_line_is_a_fact_that_never_left(tmp_path):
    path = tmp_path / "truth.jsonl"
    path.write_text('{"src":"n1/1/1","kind":"reading","sensor":"a","value":1,"t":1.0}\n{"src":"n1/1/2","ki')
    assert len(read_truth(path)) == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2"),
        ('{"src":null,"kind":"reading","sensor":"a","value":1,"t":1.0}', "without src"),
        ('{"src":"n1/1","kind":"reading","sensor":"a","value":1,"t":1.0}', "source/boot/number"),
        ('{"src":"n1/1/2","kind":"guess","sensor":"a","value":1,"t":1.0}', "expected event, reading"),
        ('{"src":"n1/1/1","kind":"reading","sensor":"a","value":1,"t":1.0}', "second time"),
        ('{"src":"n1/1/9","kind":"lost","sensor":"n1","value":null,"t":1.0,"first":9,"last":8}', "lost from 9"),
    ],
)
def test_a_truth_that_cannot_be_one_is_told_with_its_line(tmp_path, line, words):
    path = tmp_path / "truth.jsonl"
    path.write_text('{"src":"n1/1/1","kind":"reading","sensor":"a","value":1,"t":1.0}\n' + line + "\n")
    with pytest.raises(TruthError, match=words):
        read_truth(path)


def test_wrong_files_end_with_two(case, tmp_path):
    case.close()
    case.truth_path = tmp_path / "none.jsonl"
    command = [sys.executable, "-m", "gateway", "verify", "--truth", tmp_path / "none", "--db", case.db]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 2
    command[-3:] = [case.db, "--db", tmp_path / "none.db"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 2


@pytest.mark.parametrize("src", ["n1/3", "n1/3/", "/3", "n1/3/1.", "n1/3/.1", "n1/3/-1", "n1/3/1.1.1", "17", ""])
def test_a_src_that_names_no_number_is_refused(src):
    with pytest.raises(ValueError, match="source/boot/number"):
        split_src(src)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_dropped_changed_or_doubled_is_counted_exactly(case, seed):
    dice = random.Random(seed)
    fate = {"missing": 0, "wrong": 0, "twice": 0}
    for seq in range(1, 301):
        src, value = f"n1/{1 + seq // 200}/{seq}", dice.random()
        case.truth(src, value)
        what = dice.choice([*fate, *["good"] * 9])
        if what != "missing":
            case.reading(src, value + (what == "wrong"))
        if what == "twice":
            case.reading(src, value)
        if what != "good":
            fate[what] += 1
    said = case.verdict()
    assert {name: said[name] for name in fate} == fate
    assert said["arrived"] == 300 - fate["missing"]
