"""What waits for the city can be looked at beside a running gateway, and looking changes nothing."""

import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.reading import Reading
from gateway import cli, outbox
from gateway.clock import boot_id
from gateway.contract import Label, Record, Topics
from gateway.home import Home
from gateway.pending import Confirm, Pending, Work
from gateway.reader import Reader
from gateway.schema import SCHEMA_VERSION
from gateway.store import Store

DEMO_SITE = Path(__file__).parent.parent / "simulator/sites/demo.toml"
WALL_S = 1_800_000_000.0


class Hand:
    """A clock a test turns by hand, for the store and for the outbox alike."""

    def __init__(self) -> None:
        self.mono = 1000.0
        self.boot = 0

    def label(self) -> Label:
        return Label(self.boot, self.mono, WALL_S + self.mono, "ntp", None, "cfg00000")

    def mono_s(self) -> float:
        return self.mono

    def wall_s(self) -> float:
        return WALL_S + self.mono


@pytest.fixture
def hand() -> Hand:
    return Hand()


def opened(folder: Path, hand: Hand, boot: str = "", budget_mb: float = 4000) -> Store:
    store = Store(folder / "linli.db", hand, random.Random(1), budget_mb=budget_mb)
    store.open(boot or boot_id())
    return store


def work(hand: Hand, events: int = 0, readings: int = 0) -> Work:
    pending = Pending(hand.label, 1.0, 30.0)
    for i in range(events):
        pending.record("events", Record("ticket.issued", "k1", hand.mono, {"value": f"A{i:03}"}), hand.mono)
    for seq in range(1, readings + 1):
        value = random.Random(seq + hand.mono).random()
        pending.reading("flow", "m3/s", "n1", Reading("n1:flow1", value, hand.mono, 3, seq), hand.mono)
    found = pending.take(hand.mono, everything=True)
    assert found is not None
    return found


def streams(folder: Path, hand: Hand) -> dict[str, outbox.Row]:
    return {row.stream: row for row in outbox.overview(folder / "linli.db", hand)}  # type: ignore[arg-type]


Linli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def linli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Linli:
    """`linli("db", "tables")` on this test's state folder: exit code, what it said, what it complained."""

    def call(command: str, *more: str) -> tuple[int, str, str]:
        code = cli.main([command, "--state", str(tmp_path), *more])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


# -- outbox ----------------------------------------------------------------------------------------------------------


def test_what_waits_is_counted_by_stream_with_its_age(tmp_path, hand) -> None:
    store = opened(tmp_path, hand)
    store.commit([work(hand, events=3)])
    hand.mono += 90
    store.commit([work(hand, events=2, readings=700)])
    row = streams(tmp_path, hand)["events"]
    assert (row.head, row.acked, row.packs, row.records) == (3, 0, 3, 6)  # `began` is a record of its own
    assert row.oldest_s == 90
    readings = streams(tmp_path, hand)["readings"]
    assert (readings.head, readings.packs, readings.records) == (3, 3, 701)
    assert readings.bytes > 700


def test_what_the_city_holds_waits_no_more(tmp_path, hand) -> None:
    store = opened(tmp_path, hand)
    for _ in range(5):
        store.commit([work(hand, events=1)])
    store.commit([], [Confirm(store.epoch, {"events": 2}, {"events": [(4, 5)]})])
    row = streams(tmp_path, hand)["events"]
    assert (row.head, row.acked, row.packs) == (6, 2, 2)  # 3 and 6
    store.commit([], [Confirm(store.epoch, {"events": 6})])
    row = streams(tmp_path, hand)["events"]
    assert (row.packs, row.oldest_s) == (0, None)


def test_the_age_of_an_earlier_boots_pack_is_told_by_its_wall(tmp_path, hand) -> None:
    opened(tmp_path, hand, boot="an earlier boot").commit([work(hand, events=1)])
    with sqlite3.connect(tmp_path / "linli.db") as db:
        db.execute("UPDATE packs SET wall = wall - 3600, mono = mono + 5, first_mono = first_mono + 5")
    db.close()
    assert streams(tmp_path, hand)["events"].oldest_s == 3600
    with sqlite3.connect(tmp_path / "linli.db") as db:
        db.execute("UPDATE packs SET wall = NULL")
    db.close()
    assert streams(tmp_path, hand)["events"].oldest_s is None


def test_what_was_given_up_shows_with_its_reason(tmp_path, hand, linli) -> None:
    store = opened(tmp_path, hand, budget_mb=1)
    for _ in range(400):
        store.commit([work(hand, readings=500)])
    store.commit([], [Confirm(store.epoch, reject={"events": [(1, "schema")]})])  # a notice is never rejected
    store.commit([work(hand, events=1)])
    store.commit([], [Confirm(store.epoch, reject={"events": [(2, "schema: no type")]})])
    rows = streams(tmp_path, hand)
    assert rows["events"].gaps == {"rejected": 1}
    assert rows["readings"].gaps is not None
    assert rows["readings"].gaps["disk-budget"] > 0
    code, said, _ = linli("outbox")
    assert code == 0
    assert f"disk-budget {rows['readings'].gaps['disk-budget']}" in said


def test_counting_gaps_stops_when_it_takes_too_long(tmp_path, hand, monkeypatch) -> None:
    opened(tmp_path, hand)
    monkeypatch.setattr(outbox, "READ_S", -1.0)
    monkeypatch.setattr(outbox, "_STEPS", 1)
    assert streams(tmp_path, hand)["events"].gaps is None


def test_the_outbox_is_looked_at_beside_its_gateway_and_not_touched(tmp_path, hand, linli) -> None:
    home = Home(tmp_path)
    store = opened(tmp_path, hand)
    store.commit([work(hand, events=1)])
    before = {path.name: path.read_bytes() for path in tmp_path.glob("linli.db*") if path.suffix != ".db-shm"}
    code, said, _ = linli("outbox")
    assert code == 0
    assert f"{store.epoch}  events    2     0      2      2" in said
    after = {path.name: path.read_bytes() for path in tmp_path.glob("linli.db*") if path.suffix != ".db-shm"}
    assert after == before
    home.release()


def test_a_pack_is_shown_byte_for_byte_as_it_is_published(tmp_path, hand, linli) -> None:
    store = opened(tmp_path, hand)
    store.commit([work(hand, events=2, readings=20)])
    reader = Reader(tmp_path / "linli.db")
    for stream in ("events", "readings"):
        row = reader.one(store.epoch_no, stream, 2)
        assert row is not None
        code, said, _ = linli("outbox", "show", stream, "2", "--site", str(DEMO_SITE))
        assert code == 0
        assert said.encode() == reader.payload(row, Topics("linli", "demo-centre-a")) + b"\n"
    reader.close()
    event = json.loads(linli("outbox", "show", "events", "2")[1])
    assert event["records"][0]["source"] == "linli/local"
    assert [record["data"]["value"] for record in event["records"]] == ["A000", "A001"]


@pytest.mark.parametrize(
    ("look", "code", "words"),
    [
        (["show", "events", "9"], 1, "expected 1 to 1"),
        (["show", "events", "0"], 1, "expected 1 to 1"),
        (["show", "events", "1", "--epoch", "00000000"], 1, "found epoch 00000000, expected one of"),
        (["show", "leaks", "1"], 2, "STREAM one of alarms, events, readings, health"),
        (["show", "events", "-"], 2, "expected linli outbox"),
        (["forget", "events", "1"], 2, "expected linli outbox"),
    ],
)
def test_a_pack_that_is_not_there_is_told_with_what_is(tmp_path, hand, linli, look, code, words) -> None:
    opened(tmp_path, hand)
    found, said, complained = linli("outbox", *look)
    assert (found, said) == (code, "")
    assert words in complained


def test_a_folder_without_a_database_is_wrong_use(linli) -> None:
    for command in (["outbox"], ["db", "tables"], ["db", "migrate"]):
        code, _, complained = linli(*command)
        assert code == 2
        assert "found no database, expected one" in complained


def test_a_broken_file_is_told_and_not_a_traceback(tmp_path, linli) -> None:
    (tmp_path / "linli.db").write_bytes(b"\xa5" * 9000)
    for command in (["outbox"], ["db", "tables"], ["db", "rows", "packs"], ["db", "migrate"]):
        code, _, complained = linli(*command)
        assert code == 1
        assert "not a database" in complained


# -- db --------------------------------------------------------------------------------------------------------------


def test_tables_are_listed_with_their_rows(tmp_path, hand, linli) -> None:
    opened(tmp_path, hand).commit([work(hand, readings=3)])
    counts = dict(line.split() for line in linli("db", "tables")[1].splitlines())
    assert counts["packs"] == "5"
    assert counts["epochs"] == "1"


def test_rows_are_json_lines_and_bodies_only_sizes(tmp_path, hand, linli) -> None:
    opened(tmp_path, hand).commit([work(hand, events=4)])
    rows = [json.loads(line) for line in linli("db", "rows", "packs")[1].splitlines()]
    assert [row["records"] for row in rows if not row["notice"]] == [4]
    assert all(row["body"].endswith(" bytes>") for row in rows)
    code, said, complained = linli("db", "rows", "packs", "--limit", "2")
    assert (code, len(said.splitlines())) == (0, 2)
    assert "--limit 0 shows all" in complained
    code, _, complained = linli("db", "rows", "pack")
    assert code == 1
    assert "expected one of" in complained


def test_a_query_answers_beside_a_running_gateway(tmp_path, hand, linli) -> None:
    home = Home(tmp_path)
    store = opened(tmp_path, hand)
    code, said, _ = linli("db", "query", "SELECT epoch, why FROM epochs")
    assert code == 0
    assert json.loads(said) == {"epoch": store.epoch, "why": "new"}
    home.release()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM packs",
        "DELETE FROM packs RETURNING id",
        "UPDATE streams SET acked = head",
        "DROP TABLE packs",
        "PRAGMA user_version = 7",
        "PRAGMA query_only = 0",
        "PRAGMA journal_mode = DELETE",
        "ATTACH '{folder}/other.db' AS other",
        "VACUUM INTO '{folder}/other.db'",
        "SELECT 1; DELETE FROM packs",
        "no sql at all",
    ],
)
def test_a_query_never_writes(tmp_path, hand, linli, sql) -> None:
    opened(tmp_path, hand).close()
    before = (tmp_path / "linli.db").read_bytes()
    code, said, complained = linli("db", "query", sql.format(folder=tmp_path))
    assert (code, said) == (1, "")
    assert "expected one statement that only reads" in complained
    assert (tmp_path / "linli.db").read_bytes() == before
    assert not (tmp_path / "other.db").exists()


def test_migrate_refuses_beside_a_running_gateway(tmp_path, hand, linli) -> None:
    opened(tmp_path, hand).close()
    home = Home(tmp_path)
    code, _, complained = linli("db", "migrate")
    home.release()
    assert code == 1
    assert "found a gateway already running" in complained
    assert linli("db", "migrate")[0] == 0


def test_migrate_brings_an_empty_file_to_the_schema_and_refuses_a_newer_one(tmp_path, linli) -> None:
    sqlite3.connect(tmp_path / "linli.db").execute("VACUUM").connection.close()
    assert linli("db", "migrate")[0:2] == (0, f"{tmp_path}/linli.db: schema {SCHEMA_VERSION}, was 0\n")
    with sqlite3.connect(tmp_path / "linli.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    code, _, complained = linli("db", "migrate")
    assert code == 1
    assert f"schema 99 found, {SCHEMA_VERSION} expected" in complained


@pytest.mark.parametrize("arguments", [["tables", "packs"], ["query"], ["rows"], ["migrate", "now"]])
def test_an_argument_too_many_or_too_few_is_wrong_use(linli, arguments) -> None:
    code, _, complained = linli("db", *arguments)
    assert code == 2
    assert "see linli db --help" in complained


def test_looking_at_the_outbox_loads_no_library_of_the_schema() -> None:
    script = (
        "import sys, gateway.outbox, gateway.doctor; sys.exit('sqlite_utils' in sys.modules or 'paho' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=30).returncode == 0
