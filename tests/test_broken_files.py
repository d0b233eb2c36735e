"""A database with broken pages, bits or rows: it starts, nothing is lost in silence, nothing waits for gigabytes."""

import os
import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from drivers.reading import Reading
from gateway import salvage, schema, wal
from gateway.contract import STREAMS, Ack, Label, Record, StreamAck
from gateway.courier import Courier
from gateway.packs import open_records
from gateway.pending import Confirm, Pending, Work
from gateway.reader import Reader
from gateway.schema import pack_id, pack_name
from gateway.storage import Broken, Storage, StorageThread, Stored
from gateway.store import Store, StoreCorrupt


class Hand:
    """A clock that stands, and the boot."""

    boot = 0

    def label(self) -> Label:
        return Label(self.boot, 1000.0, 1_800_000_000.0, "ntp", 0.05, "cfg00000")


def opened(folder: Path, seed: int = 1, budget_mb: float = 4000.0) -> Store:
    store = Store(folder / "linli.db", Hand(), random.Random(seed), budget_mb=budget_mb)
    store.open("kernel")
    return store


def work(number: int) -> Work:
    """An event and twenty readings, whose packs are closed."""
    pending = Pending(Hand().label, 10.0, 30.0)
    dice = random.Random(number)
    for seq in range(20 * number, 20 * number + 20):
        pending.reading("s", "", "n1", Reading("n1:a", dice.random(), 1000.0, 3, seq), 1000.0)
    pending.mark("n1", 3, 20 * number + 19)
    pending.record("events", Record("ticket.issued", "k1", 1000.0, {"value": f"A{number:03}"}), 1000.0)
    pending.keep("level:door", number % 2 == 0)
    found = pending.take(1000.0, everything=True)
    assert found
    return found


def filled(folder: Path, commits: int) -> Store:
    store = opened(folder)
    for number in range(1, commits + 1):
        store.commit([work(number)])
    return store


@cache
def _ended(commits: int) -> tuple[Store, dict[str, bytes]]:
    with TemporaryDirectory() as folder:
        store = filled(Path(folder), commits)
        store.close()
        return store, {name: (Path(folder) / name).read_bytes() for name in ("linli.db", "heads.json")}


def ended(folder: Path, commits: int = 30) -> Store:
    """A clean end; what is returned knows how far it had got."""
    store, files = _ended(commits)
    for name, body in files.items():
        (folder / name).write_bytes(body)
    return store


def by_hand(folder: Path, *statements: str) -> None:
    db = sqlite3.connect(folder / "linli.db")
    with db:
        for statement in statements:
            db.execute(statement)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    db.close()


def rewrite(folder: Path, change: Callable[[bytes], bytes]) -> None:
    path = folder / "linli.db"
    before = path.read_bytes()
    after = change(before)
    assert after != before and len(after) == len(before)
    path.write_bytes(after)


def root_of(folder: Path, table: str) -> int:
    db = sqlite3.connect(folder / "linli.db")
    page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
    db.close()
    return int(page)


def smash(folder: Path, page: int) -> None:
    size = schema.PAGE_BYTES
    rewrite(folder, lambda raw: raw[: (page - 1) * size] + b"\xa5" * size + raw[page * size :])


def accounted(folder: Path, epoch: str, stream: str) -> set[int]:
    """Numbers of the first epoch that the database has or that its gap records name."""
    db = sqlite3.connect(folder / "linli.db")
    rows = db.execute("SELECT id, notice, body FROM packs").fetchall()
    db.close()
    found: set[int] = set()
    for row_id, notice, body in rows:
        epoch_no, name, n = pack_name(row_id)
        if name == stream and epoch_no == 1:
            found.add(n)
        for record in open_records(body) if notice and name == stream else ():
            gap = record.get("gap")
            if isinstance(gap, dict) and gap.get("epoch") == epoch:
                found |= set(range(gap["first"], gap["last"] + 1))
    return found


def nothing_is_silent(folder: Path, before: Store) -> bool:
    return all(
        accounted(folder, before.epoch, stream) >= set(range(1, head + 1)) for stream, head in before.heads().items()
    )


# -- a big file ------------------------------------------------------------------------------------------------------


@pytest.fixture
def big(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is big."""
    monkeypatch.setattr("gateway.store._CHECK_BYTES", 0)


def a_page_of_packs(folder: Path) -> int:
    """One in the middle, which neither a start nor the next commits read."""
    db = sqlite3.connect(folder / "linli.db")
    root, pages = root_of(folder, "packs"), db.execute("PRAGMA page_count").fetchone()[0]
    others = {row[0] for row in db.execute("SELECT rootpage FROM sqlite_master")}
    db.close()
    return next(page for page in range(pages // 2, pages) if page not in others | {root})


class Heard:
    """What the storage thread says."""

    def __init__(self, store: Store) -> None:
        self.renewed = threading.Event()
        self.stored = threading.Event()
        self.storage = StorageThread(store, lambda: 1000.0, self._stored, self._trouble)

    def _stored(self, stored: Stored) -> None:
        self.stored.set()

    def _trouble(self, why: str) -> None:
        if "set aside" in why:
            self.renewed.set()


def test_a_broken_page_of_a_big_file_is_found_after_the_start_and_nothing_waits_for_it(
    big: None, tmp_path: Path
) -> None:
    before = ended(tmp_path)
    smash(tmp_path, a_page_of_packs(tmp_path))
    store = opened(tmp_path, seed=2)
    assert store.unchecked and store.epoch == before.epoch
    heard = Heard(store)
    heard.storage.start()
    heard.storage.put(work(31))
    assert heard.stored.wait(10) and heard.renewed.wait(10)
    assert heard.storage.close(10)
    assert store.epoch != before.epoch and nothing_is_silent(tmp_path, before)


def test_a_big_file_that_is_whole_stays(big: None, tmp_path: Path) -> None:
    before = ended(tmp_path)
    store = opened(tmp_path, seed=2)
    heard = Heard(store)
    heard.storage.start()
    for thread in threading.enumerate():
        if thread.name == "check":
            thread.join(10)
    assert heard.storage.close(10)
    assert store.epoch == before.epoch and not heard.renewed.is_set()


@pytest.mark.parametrize("table", ["box", "epochs", "streams", "sources", "keep"])
def test_what_a_start_reads_is_checked_before_it_in_a_big_file_too(big: None, tmp_path: Path, table: str) -> None:
    before = ended(tmp_path)
    smash(tmp_path, root_of(tmp_path, table))
    store = opened(tmp_path, seed=2)
    assert store.epoch != before.epoch and "set aside" in store.happened
    assert nothing_is_silent(tmp_path, before)


def test_a_big_file_of_an_older_version_has_not_all_tables_and_is_no_broken_one(tmp_path: Path) -> None:
    ended(tmp_path)
    by_hand(tmp_path, "DROP TABLE walls", "DROP TABLE names")
    schema.quick_check(tmp_path / "linli.db", small=True)


def test_what_was_found_twice_by_who_had_the_time_is_not_looked_at_a_third_time(tmp_path: Path) -> None:
    """Commits would wait while gigabytes are read."""
    store = filled(tmp_path, 3)
    epoch = store.epoch
    storage = Storage(store, lambda: 1000.0, lambda stored: None, lambda why: None)
    store.whole = lambda: pytest.fail("read again")  # type: ignore[method-assign]
    storage.put(Broken(0, "read twice", sure=True))
    storage.round()
    assert store.epoch != epoch


# -- bits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "flipped"),
    [
        (b"last_mono REAL NOT NULL, hour", b"last_mOno REAL NOT NULL, hour"),
        (b"CREATE TABLE keep (key", b"CREATE TABLE keep (kEx"),
        (b"tablekeepkeep", b"tablekeEqkeep"),
        (b"tablekeepkeep", b"tablek\xc5epkeep"),
        (b"packs_confirmed", b"packs_conf\xe9rmed"),
    ],
)
def test_a_name_with_a_flipped_bit_is_a_broken_file_and_not_a_disk_to_wait_for(
    tmp_path: Path, name: bytes, flipped: bytes
) -> None:
    before = ended(tmp_path)
    rewrite(tmp_path, lambda raw: raw.replace(name, flipped))
    store = opened(tmp_path, seed=2)
    store.commit([work(31)])
    assert store.epoch != before.epoch and nothing_is_silent(tmp_path, before)


def test_kept_state_that_cannot_be_read_is_forgotten_alone(tmp_path: Path) -> None:
    before = ended(tmp_path)
    by_hand(tmp_path, "INSERT INTO keep VALUES ('alarm:x', '{\"state\":')")
    store = opened(tmp_path, seed=2)
    assert store.epoch == before.epoch and store.kept() == {"level:door": True}


def test_counts_that_are_no_numbers_any_more_keep_nobody_from_starting(tmp_path: Path) -> None:
    ended(tmp_path)
    by_hand(tmp_path, "UPDATE box SET value = '1x' WHERE key IN ('hours', 'boot', 'starts')")
    store = opened(tmp_path, seed=2)
    store.commit([work(31)])
    assert store.starts == 2, "the note beside it knows"


def test_a_number_that_is_taken_already_means_a_broken_file(tmp_path: Path) -> None:
    before = ended(tmp_path)
    (tmp_path / "heads.json").unlink()
    by_hand(tmp_path, "UPDATE streams SET head = 5 WHERE stream = 1")
    store = opened(tmp_path, seed=2)
    with pytest.raises(StoreCorrupt) as broken:
        store.commit([work(31)])
    store.renew(str(broken.value))
    store.commit([work(31)])
    assert store.epoch != before.epoch and nothing_is_silent(tmp_path, before)


@pytest.mark.parametrize("table", ["epochs", "streams"])
def test_a_file_that_forgot_who_it_is_does_not_begin_as_a_new_one(tmp_path: Path, table: str) -> None:
    before = ended(tmp_path)
    by_hand(tmp_path, f"DELETE FROM {table}")
    store = opened(tmp_path, seed=2)
    assert store.epoch != before.epoch and "has forgotten" in store.happened
    assert nothing_is_silent(tmp_path, before)


def test_what_a_notice_named_that_does_not_open_any_more_is_named_again(tmp_path: Path) -> None:
    before = filled(tmp_path, 3)
    before.commit([], [Confirm(before.epoch, reject={"events": [(2, "schema")]})])
    by_hand(tmp_path, "UPDATE packs SET body = x'00' WHERE notice = 1 AND id & 0xFFFFFFFF > 1")
    reader = Reader(tmp_path / "linli.db")
    courier = Courier(reader, random.Random(1), "city", 8, 600.0, 0.0)
    confirm = courier.ack(Ack(1, before.epoch, {"events": StreamAck(1, [], [(2, 2)])}), 0.0)
    reader.close()
    assert confirm and confirm.pruned == {"events": [(2, 2)]}


# -- what is saved ---------------------------------------------------------------------------------------------------


def test_what_is_saved_goes_over_in_parts_and_whoever_waits_hears_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ended(tmp_path)
    smash(tmp_path, root_of(tmp_path, "keep"))
    heard: list[int] = []
    monkeypatch.setattr(salvage, "_POUR_PACKS", 4)
    monkeypatch.setattr("gateway.store.still_starting", lambda: heard.append(1))
    opened(tmp_path, seed=2)
    assert len(heard) >= sum(-(-head // 4) for head in before.heads().values())
    assert nothing_is_silent(tmp_path, before)


def test_where_there_is_no_room_for_all_of_a_broken_file_alarms_and_events_are_saved_and_the_rest_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ended(tmp_path, 600)
    smash(tmp_path, root_of(tmp_path, "keep"))
    monkeypatch.setattr(salvage, "_POUR_PACKS", 4)
    store = opened(tmp_path, seed=2, budget_mb=0.12)
    store.commit([work(601)])
    assert nothing_is_silent(tmp_path, before)
    db = sqlite3.connect(tmp_path / "linli.db")
    held = {pack_name(row[0])[1] for row in db.execute("SELECT id FROM packs WHERE id < ?", (pack_id(2, "alarms", 0),))}
    db.close()
    assert "events" in held and "health" not in held


def test_a_row_that_fits_no_table_any_more_is_left_out_and_named(tmp_path: Path) -> None:
    before = ended(tmp_path)
    smash(tmp_path, root_of(tmp_path, "keep"))
    body = (tmp_path / "linli.db").read_bytes()
    at = body.index(b"ntp", root_of(tmp_path, "packs"))  # a label's clock: what is no text fits no such column
    rewrite(tmp_path, lambda raw: raw[:at] + b"\xff\xfe\xfd" + raw[at + 3 :])
    store = opened(tmp_path, seed=2)
    assert store.epoch != before.epoch and nothing_is_silent(tmp_path, before)


def killed(folder: Path, to: Path) -> Path:
    """As a killed gateway leaves it: nothing closed, nothing checkpointed."""
    to.mkdir()
    for name in ("linli.db", "linli.db-wal", "heads.json"):
        shutil.copy(folder / name, to)
    return to


def break_last_word(folder: Path, page: int) -> None:
    """The second half of what the log has of one page."""
    log = folder / "linli.db-wal"
    places = [i for i, frame in enumerate(wal.frames(log)) if frame.page == page]
    raw = bytearray(log.read_bytes())
    for place in places[len(places) // 2 :]:
        at = 32 + place * (24 + schema.PAGE_BYTES) + 24
        raw[at + 200 : at + 260] = b"\xa5" * 60
    log.write_bytes(raw)
    assert places and wal.damage(folder / "linli.db")


def test_a_log_whose_last_word_on_the_heads_is_broken_names_all_that_may_have_been_given(tmp_path: Path) -> None:
    """The page stays as it was before: a head that is too low would let numbers go in silence."""
    before = filled(tmp_path, 40)
    folder = killed(tmp_path, tmp_path / "killed")
    break_last_word(folder, root_of(tmp_path, "streams"))
    store = opened(folder, seed=2)
    assert store.epoch != before.epoch and nothing_is_silent(folder, before)


def test_readings_that_were_durable_in_an_open_pack_are_named_when_the_log_lost_them(tmp_path: Path) -> None:
    """They have no number yet, so the next one is named in their place."""
    before = opened(tmp_path)
    pending = Pending(Hand().label, 10.0, 30.0)
    for seq in range(1, 60):
        pending.reading("s", "", "n1", Reading("n1:a", float(seq), 1000.0, 3, seq), 1000.0)
        pending.mark("n1", 3, seq)
        pending.hurry(1000.0)
        before.commit([found] if (found := pending.take(1000.0)) else [])
    head = before.heads()["readings"]
    folder = killed(tmp_path, tmp_path / "killed")
    break_last_word(folder, root_of(tmp_path, "journal"))
    opened(folder, seed=2)
    assert head + 1 in accounted(folder, before.epoch, "readings")


def test_pages_of_the_log_are_fresh_only_behind_its_last_broken_frame(tmp_path: Path) -> None:
    filled(tmp_path, 20)
    folder = killed(tmp_path, tmp_path / "killed")
    log = folder / "linli.db-wal"
    pages = [frame.page for frame in wal.frames(log)]
    middle = len(pages) // 2
    with open(log, "r+b") as file:
        file.seek(32 + middle * (24 + schema.PAGE_BYTES) + 24)
        file.write(b"\xa5" * 40)
    fresh = wal.replay(folder / "linli.db")
    assert fresh == set(pages[middle + 1 :])
    assert not log.exists()


# -- numbers in a thousand places ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(int(os.environ.get("LINLI_BROKEN", "12"))))
def test_a_page_of_rubbish_anywhere_leaves_no_number_in_silence(tmp_path: Path, seed: int) -> None:
    before = ended(tmp_path, 12)
    pages = (tmp_path / "linli.db").stat().st_size // schema.PAGE_BYTES
    smash(tmp_path, 1 + random.Random(seed).randrange(pages))
    store = opened(tmp_path, seed=100 + seed)
    store.commit([work(13)])
    assert nothing_is_silent(tmp_path, before)
    assert set(store.heads()) == set(STREAMS)
