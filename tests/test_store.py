"""What is committed is there, numbered without holes, and what policy gave up is said."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from drivers.reading import Reading
from gateway import schema
from gateway.contract import Label, Record
from gateway.packs import open_records
from gateway.pending import Confirm, Pending, Work
from gateway.schema import SCHEMA_VERSION, pack_id, pack_name
from gateway.store import Store, StoreCorrupt, StoreStalled
from simulator.virtual_disk import VirtualDisk


class Hand:
    """A clock a test turns by hand."""

    def __init__(self) -> None:
        self.mono = 1000.0
        self.known = True
        self.boot = 0

    def label(self) -> Label:
        wall = 1_800_000_000.0 + self.mono if self.known else None
        return Label(self.boot, self.mono, wall, "ntp" if self.known else "unsure", None, "cfg00000")


@pytest.fixture
def hand() -> Hand:
    return Hand()


def opened(folder: Path, hand: Hand, seed: int = 1, boot_id: str = "first", **settings: float) -> Store:
    hand.boot = 0
    store = Store(folder / "linli.db", hand, random.Random(seed), **settings)
    store.open(boot_id)
    return store


def work(hand: Hand, events: int = 0, readings: int = 0, first_seq: int = 1, noise: bool = False) -> Work:
    pending = Pending(hand.label, 1.0, 30.0)
    dice = random.Random(first_seq)
    for i in range(events):
        pending.record("events", Record("ticket.issued", "k1", hand.mono, {"value": f"A{i:03}"}), hand.mono)
    for seq in range(first_seq, first_seq + readings):
        value = dice.random() if noise else float(seq)
        pending.reading(f"s{seq % 7}", "m3/s", "n1", Reading("n1:flow1", value, hand.mono, 3, seq), hand.mono)
    if readings:
        pending.mark("n1", 3, first_seq + readings - 1)
    found = pending.take(hand.mono, everything=True)
    assert found is not None
    return found


def packs(folder: Path) -> list[tuple[str, int, int, bytes]]:
    db = sqlite3.connect(folder / "linli.db")
    rows = db.execute("SELECT id, records, body FROM packs ORDER BY id").fetchall()
    db.close()
    return [(*pack_name(row_id)[1:], records, body) for row_id, records, body in rows]


def notices(folder: Path, stream: str) -> list[dict]:
    db = sqlite3.connect(folder / "linli.db")
    rows = db.execute("SELECT id, body FROM packs WHERE notice = 1 ORDER BY id").fetchall()
    db.close()
    return [record for row_id, body in rows if pack_name(row_id)[1] == stream for record in open_records(body)]


def test_the_first_pack_of_every_stream_says_why_the_epoch_began(tmp_path, hand):
    opened(tmp_path, hand)
    for stream in ("alarms", "events", "readings", "health"):
        assert notices(tmp_path, stream) == [{"began": {"why": "new"}}]


def test_numbers_go_on_without_a_hole_after_a_restart(tmp_path, hand):
    store = opened(tmp_path, hand)
    store.commit([work(hand, events=2)])
    del store
    store = opened(tmp_path, hand)
    store.commit([work(hand, events=1)])
    assert [n for stream, n, *_ in packs(tmp_path) if stream == "events"] == [1, 2, 3]


def test_a_work_that_cannot_be_committed_leaves_neither_packs_nor_marks(tmp_path, hand):
    store = opened(tmp_path, hand)
    bad = work(hand, readings=3)
    bad.marks["n1"] = (3, "x")  # STRICT refuses a word in a column of numbers
    with pytest.raises(sqlite3.IntegrityError):
        store._commit_once([bad], [])
    assert store.marks() == {}
    assert store.heads()["readings"] == 1


def test_numbers_that_the_disk_took_back_are_given_again(tmp_path, hand):
    disk = VirtualDisk()
    store = Store(tmp_path / "linli.db", hand, random.Random(1), vfs=disk.name)
    store.open("first")
    for what in ("sync", "write"):
        disk.fail(what, 1)
        with pytest.raises(StoreStalled):
            store.commit([work(hand, events=2)])
        before = store.heads()
        store.commit([work(hand, events=2)])
        assert store.heads() == before | {"events": before["events"] + 1}
    store.close()
    assert [n for stream, n, *_ in packs(tmp_path) if stream == "events"] == [1, 2, 3]
    disk.close()


def test_the_mark_of_a_source_is_as_new_as_its_readings(tmp_path, hand):
    store = opened(tmp_path, hand)
    store.commit([work(hand, readings=700)])
    assert store.marks() == {"n1": (3, 700)}
    assert [records for stream, _, records, _ in packs(tmp_path) if stream == "readings"] == [1, 500, 200]


def test_a_second_start_after_a_kill_says_what_polled_readings_may_be_lost(tmp_path, hand):
    opened(tmp_path, hand, polled=True)
    hand.mono += 100
    opened(tmp_path, hand, polled=True)
    gap = notices(tmp_path, "readings")[-1]["gap"]
    assert gap == {"reason": "polled-loss", "from": 1_800_001_000.0, "to": 1_800_001_100.0}


def test_a_clean_end_loses_nothing_and_says_nothing(tmp_path, hand):
    opened(tmp_path, hand, polled=True).close()
    opened(tmp_path, hand, polled=True)
    assert len(notices(tmp_path, "readings")) == 1


def test_the_boot_number_counts_on_only_when_the_kernel_booted(tmp_path, hand):
    boots = []
    for boot_id in ("a", "a", "b"):
        opened(tmp_path, hand, boot_id=boot_id).close()
        boots.append(hand.boot)
    assert boots == [1, 1, 2]


def test_what_was_durable_in_an_open_pack_is_numbered_after_a_kill(tmp_path, hand):
    store = opened(tmp_path, hand)
    pending = Pending(hand.label, 10.0, 30.0)
    for seq in range(1, 6):
        pending.reading("s", "", "n1", Reading("n1:a", float(seq), hand.mono, 3, seq), hand.mono)
        pending.mark("n1", 3, seq)
        pending.hurry(hand.mono)
        store.commit([pending.take(hand.mono)])
    assert store.heads()["readings"] == 1 and store.marks() == {"n1": (3, 5)}
    store = opened(tmp_path, hand)
    assert [records for stream, n, records, _ in packs(tmp_path) if stream == "readings"] == [1, 1, 1, 1, 1, 1]
    assert store.heads()["readings"] == 6


def test_a_closed_pack_holds_what_the_journal_held_and_empties_it(tmp_path, hand):
    store = opened(tmp_path, hand)
    pending = Pending(hand.label, 10.0, 30.0)
    for seq in range(1, 1300):
        pending.reading("s", "", "n1", Reading("n1:a", float(seq), hand.mono, 3, seq), hand.mono)
        if seq % 90 == 0:
            pending.hurry(hand.mono)
            store.commit([pending.take(hand.mono)])
    store.commit([pending.take(hand.mono, everything=True)])
    assert [records for stream, _, records, _ in packs(tmp_path) if stream == "readings"] == [1, 500, 500, 299]
    assert store._db.execute("SELECT count(*) FROM journal").fetchone() == (0,)


def test_a_rejected_pack_is_kept_and_said_once(tmp_path, hand):
    store = opened(tmp_path, hand)
    store.commit([work(hand, events=1)])
    for _ in range(2):
        store.commit([], [Confirm(store.epoch, reject={"events": [(2, "schema")]})])
    gaps = [n["gap"] for n in notices(tmp_path, "events") if "gap" in n]
    assert gaps == [{"reason": "rejected: schema", "first": 2, "last": 2, "records": 1}]
    assert ("events", 2) in [(stream, n) for stream, n, *_ in packs(tmp_path)]


def test_confirmed_packs_stay_a_week_of_operation_and_then_go(tmp_path, hand):
    store = opened(tmp_path, hand, confirmed_days=1)
    store.commit([work(hand, events=1)])
    store.commit([], [Confirm(store.epoch, upto={"events": 2})])
    for _ in range(24):
        store.upkeep()
        hand.mono += 3600
    assert ("events", 2) in [(stream, n) for stream, n, *_ in packs(tmp_path)]
    for _ in range(3):
        store.upkeep()
        hand.mono += 3600
    assert ("events", 2) not in [(stream, n) for stream, n, *_ in packs(tmp_path)]


def test_an_ack_beyond_the_head_does_not_move_the_mark_beyond_it(tmp_path, hand):
    store = opened(tmp_path, hand)
    store.commit([], [Confirm(store.epoch, upto={"events": 99}), Confirm("ffffffff", upto={"events": 1})])
    assert store.acked()["events"] == 1


def accounted(folder: Path, stream: str) -> set[int]:
    """Numbers that are there or named in a gap record."""
    held = {n for s, n, *_ in packs(folder) if s == stream}
    for notice in notices(folder, stream):
        if "gap" in notice and "first" in notice["gap"]:
            held |= set(range(notice["gap"]["first"], notice["gap"]["last"] + 1))
    return held


@pytest.mark.parametrize("page_b", [schema.PAGE_BYTES, 1024])  # an older file keeps its own
def test_over_the_budget_readings_go_before_events_and_every_number_is_accounted_for(tmp_path, hand, page_b):
    opened(tmp_path, hand).close()
    with closing(sqlite3.connect(tmp_path / "linli.db")) as db:
        for statement in ("PRAGMA journal_mode = DELETE", f"PRAGMA page_size = {page_b}", "VACUUM"):
            db.execute(statement)
        assert db.execute("PRAGMA page_size").fetchone() == (page_b,)
    store = opened(tmp_path, hand, budget_mb=2)
    for i in range(500):
        hand.mono += 1
        store.commit([work(hand, events=1, readings=500, first_seq=500 * i + 1, noise=True)])
    heads = store.heads()
    assert (tmp_path / "linli.db").stat().st_size <= 2.1e6
    assert accounted(tmp_path, "readings") == set(range(1, heads["readings"] + 1))
    assert accounted(tmp_path, "events") == set(range(1, heads["events"] + 1))
    assert [n for n in notices(tmp_path, "events") if "gap" in n] == []
    readings_gone = [n["gap"] for n in notices(tmp_path, "readings") if "gap" in n]
    assert readings_gone and all(gap["reason"] == "disk-budget" and gap["records"] >= 500 for gap in readings_gone)


def test_what_the_city_has_goes_first_and_needs_no_gap(tmp_path, hand):
    store = opened(tmp_path, hand, budget_mb=1)
    for i in range(300):
        store.commit([work(hand, readings=500, first_seq=500 * i + 1, noise=True)])
        store.commit([], [Confirm(store.epoch, upto={"readings": store.heads()["readings"]})])
    assert [n for n in notices(tmp_path, "readings") if "gap" in n] == []


def test_a_database_of_a_newer_version_is_left_alone_and_said(tmp_path, hand):
    opened(tmp_path, hand).close()
    db = sqlite3.connect(tmp_path / "linli.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(Exception, match=f"schema 99 found, {SCHEMA_VERSION} expected"):
        opened(tmp_path, hand)


def smash(path: Path, offset: int, length: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(0xA5 for _ in range(length)))


def test_a_broken_file_is_set_aside_and_what_opens_keeps_its_old_numbers(tmp_path, hand):
    store = opened(tmp_path, hand)
    for i in range(40):
        store.commit([work(hand, events=1, readings=500, first_seq=500 * i + 1, noise=True)])
    old_epoch, old_heads, marks = store.epoch, store.heads(), store.marks()
    store.close()
    smash(tmp_path / "linli.db", 60_000, 9_000)
    store = opened(tmp_path, hand, seed=2)
    assert store.epoch != old_epoch and store.marks() == marks
    assert list(tmp_path.glob("linli.db.corrupt-*"))
    began = notices(tmp_path, "events")
    assert {"began": {"why": "corrupt", "prev": old_epoch, "heads": old_heads}} in began
    db = sqlite3.connect(tmp_path / "linli.db")
    for stream in ("events", "readings"):
        first = pack_id(1, stream, 0)
        held = {
            row[0] - first for row in db.execute("SELECT id FROM packs WHERE id > ? AND id < ?", (first, first + 10**4))
        }
        lost = set()
        for notice in notices(tmp_path, stream):
            gap = notice.get("gap", {})
            if gap.get("epoch") == old_epoch:
                assert gap["reason"] == "corrupt"
                lost |= set(range(gap["first"], gap["last"] + 1))
        assert held | lost == set(range(1, old_heads[stream] + 1)) and not held & lost
    assert len(held) > 20


def test_a_file_whose_header_is_gone_leaves_its_heads_in_the_gap_record(tmp_path, hand):
    store = opened(tmp_path, hand)
    store.commit([work(hand, events=3)])
    old = store.epoch
    store.close()
    smash(tmp_path / "linli.db", 0, 100)
    opened(tmp_path, hand, seed=2, boot_id="second")
    gaps = [n["gap"] for n in notices(tmp_path, "events") if "gap" in n]
    assert gaps == [{"reason": "corrupt", "first": 1, "last": 2, "epoch": old}]
    assert hand.boot == 2


def test_a_file_that_vanished_is_a_reset_and_its_numbers_are_named(tmp_path, hand):
    store = opened(tmp_path, hand)
    store.commit([work(hand, events=1)])
    store.close()
    (tmp_path / "linli.db").unlink()
    opened(tmp_path, hand, seed=2)
    first = notices(tmp_path, "events")[0]["began"]
    assert first["why"] == "reset" and first["prev"] == store.epoch


def test_a_file_that_breaks_while_running_is_renewed_and_goes_on(tmp_path, hand):
    store = opened(tmp_path, hand)
    for i in range(40):
        store.commit([work(hand, readings=500, first_seq=500 * i + 1, noise=True)])
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    smash(tmp_path / "linli.db", 4096, 150_000)
    store._db.execute("PRAGMA cache_size=0")
    with pytest.raises(StoreCorrupt) as broken:
        for _ in range(20):
            store.commit([work(hand, events=1, readings=500)])
    store.renew(str(broken.value))
    store.commit([work(hand, events=1)])
    assert store.heads()["events"] >= 2 and store.generation == 1


def test_a_renewal_that_was_interrupted_is_finished_at_the_next_start(tmp_path, hand, monkeypatch):
    store = opened(tmp_path, hand)
    for i in range(20):
        store.commit([work(hand, events=1, readings=500, first_seq=500 * i + 1, noise=True)])
    old, heads = store.epoch, store.heads()
    store.close()
    smash(tmp_path / "linli.db", 60_000, 3_000)
    with monkeypatch.context() as power, pytest.raises(KeyboardInterrupt):
        power.setattr("gateway.store.salvage", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        opened(tmp_path, hand, seed=2)
    store = opened(tmp_path, hand, seed=3)
    db = sqlite3.connect(tmp_path / "linli.db")
    first = pack_id(1, "events", 0)
    held = {row[0] - first for row in db.execute("SELECT id FROM packs WHERE id > ? AND id < ?", (first, first + 999))}
    gaps = [n["gap"] for n in notices(tmp_path, "events") if "gap" in n and n["gap"]["epoch"] == old]
    lost = {n for gap in gaps for n in range(gap["first"], gap["last"] + 1)}
    assert held | lost == set(range(1, heads["events"] + 1)) and held
    assert list(tmp_path.glob("linli.db.corrupt-*")) and not (tmp_path / "linli.db.broken").exists()


def test_a_database_put_back_from_a_copy_never_uses_a_number_twice(tmp_path, hand):
    store = opened(tmp_path, hand)
    store.commit([work(hand, events=1)])
    store.close()
    copy = (tmp_path / "linli.db").read_bytes()
    store = opened(tmp_path, hand)
    for _ in range(5):
        store.commit([work(hand, events=1)])
    old = store.epoch
    store.close()
    (tmp_path / "linli.db").write_bytes(copy)
    store = opened(tmp_path, hand, seed=2)
    assert store.epoch != old
    assert notices(tmp_path, "events")[-2:] == [
        {"began": {"why": "restored", "prev": old, "heads": {"alarms": 1, "events": 7, "readings": 1, "health": 1}}},
        {"gap": {"reason": "restored", "first": 3, "last": 7, "epoch": old}},
    ]


def test_the_note_of_the_heads_is_written_anew_when_it_would_mislead_and_not_each_minute(tmp_path, hand):
    store = opened(tmp_path, hand)
    notes = [noted(tmp_path)]

    def minutes(count: int, events: int = 0, confirmed: int = 0) -> int:
        """Notes written in so many minutes, with so many events in all and so many numbers confirmed in the first."""
        before = len(notes)
        for minute in range(count):
            hand.mono += 60
            if events:
                store.commit([work(hand, events=events // count)])
            if confirmed and not minute:
                store.commit([], [Confirm(store.epoch, upto={"events": confirmed})])
            store.upkeep()
            notes.extend({noted(tmp_path)} - set(notes))
        return len(notes) - before

    assert minutes(60, events=60) == 6
    assert minutes(60) <= 1  # nothing to say
    for _ in range(240):
        store.commit([work(hand, events=1)])
    minutes(1)
    assert minutes(9, confirmed=250) == 1  # else an unreadable file would name 250 that the city holds


def noted(folder: Path) -> str:
    return (folder / "heads.json").read_text()


def test_a_renewal_while_facts_are_in_the_journal_stores_none_of_them_twice(tmp_path, hand):
    store = opened(tmp_path, hand)
    pending = Pending(hand.label, 10.0, 30.0)
    for seq in range(1, 21):
        pending.reading("s", "", "n1", Reading("n1:a", float(seq), hand.mono, 3, seq), hand.mono)
        pending.mark("n1", 3, seq)
    pending.hurry(hand.mono)
    store.commit([pending.take(hand.mono)])
    store.renew("by a test")
    store.commit([pending.take(hand.mono, everything=True)])
    assert [records for stream, n, records, _ in packs(tmp_path) if stream == "readings" and n > 1][-1:] == [20]
    assert sum(records for stream, _, records, _ in packs(tmp_path) if stream == "readings") == 20 + 2
