"""Nights see each commit by what is new in it; whoever reads both files from the beginning must find the same."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.reading import Reading
from gateway.contract import Record, Topics
from gateway.pending import Pending
from gateway.reader import Reader
from gateway.store import Store
from simulator.holdings import Holdings
from simulator.ledger import Ledger
from simulator.virtual_broker import VirtualBroker, VirtualCity
from simulator.virtual_loop import VirtualLoop
from tests.test_store import Hand, opened

TOPICS = Topics("linli", "box-a")


class Scene:
    """A store that works, a ledger that takes what it is given, and the holdings that follow both."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.hand = Hand()
        self._folder = folder
        self.ledger = Ledger(folder / "city.db")
        self.holdings = Holdings(TOPICS)
        self._seq = 0
        self._sent: set[int] = set()
        self.store: Store
        self.restart()
        self.store._db.execute("CREATE TABLE fill (body BLOB)")  # so that little is left of the budget
        self.store._db.execute("INSERT INTO fill VALUES (zeroblob(91000))")

    def restart(self) -> None:
        if hasattr(self, "store"):
            self.holdings.let_go()
            self.store._db.close()
        self.store = opened(self._folder, self.hand, seed=self.dice.randrange(99), budget_mb=0.13)
        self.pending = Pending(self.hand.label, 1.0, 30.0)
        self.holdings.moved(self.store.path)

    def commit(self) -> None:
        """Some of it closed, some of it still open and so in the journal."""
        hand, dice = self.hand, self.dice
        hand.mono += dice.uniform(0.1, 2.0)
        for _ in range(dice.randrange(1, 60)):
            self._seq += 1
            if dice.random() < 0.3:
                record = Record("ticket.issued", "k1", hand.mono, {"value": f"A{self._seq}"}, f"k1/1/{self._seq}")
                self.pending.record("events", record, hand.mono)
            else:
                reading = Reading("n1:flow1", dice.random(), hand.mono, 3, self._seq)
                self.pending.reading("basin/flow", "m3/s", "n1", reading, hand.mono)
        work = self.pending.take(hand.mono, everything=dice.random() < 0.3, dense=dice.random() < 0.5)
        if work:
            self.store.commit([work])
            self.holdings.read_disk()

    def send(self) -> None:
        reader = Reader(self.store.path)
        for stream in ("events", "readings"):
            for row in reader.stored(self.store.epoch_no, stream, 0, 1000):
                if row.id not in self._sent and self.dice.random() < 0.7:
                    self._sent.add(row.id)
                    self.ledger.take(TOPICS.up(stream), reader.payload(row, TOPICS), 0.0)
        reader.close()
        self.ledger.commit()
        self.holdings.read_ledger(self.ledger)

    def step(self) -> None:
        self.dice.choices((self.commit, self.send, self.restart), (8, 2, 1))[0]()

    def unlike(self) -> list[str]:
        self.holdings.read_disk(everything=True)
        return list(self.holdings.unlike(self.holdings.anew(self.ledger)))

    def close(self) -> None:
        self.holdings.let_go()
        self.store._db.close()
        self.ledger.close()


@pytest.fixture
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    made = Scene(tmp_path, getattr(request, "param", 1))
    yield made
    made.close()


@pytest.mark.parametrize("scene", range(5), indirect=True)
def test_what_was_seen_commit_by_commit_is_what_there_is(scene: Scene) -> None:
    for _ in range(60):
        scene.step()
        assert scene.unlike() == []
    holdings = scene.holdings
    assert holdings.gone, "nothing was given up, so it was not tried"
    assert holdings.ledger.facts
    assert holdings.twice == holdings.changed == []


def test_what_a_ledger_has_taken_and_not_committed_is_not_there_yet(scene: Scene) -> None:
    scene.commit()
    scene.send()
    reader = Reader(scene.store.path)
    row = reader.stored(scene.store.epoch_no, "health", 0, 1)[0]
    scene.ledger.take(TOPICS.up("health"), reader.payload(row, TOPICS), 0.0)
    reader.close()
    assert scene.unlike() == []
    scene.ledger.commit()
    assert any(text.startswith("packs in the ledger: ") for text in scene.unlike())


def test_a_city_holds_what_its_backup_has_while_nobody_runs_it(scene: Scene, tmp_path: Path) -> None:
    """A month is asked while the city is away: what the box has pruned long ago is in the backup alone."""
    while not scene.holdings.ledger.facts:
        scene.commit()
        scene.send()
    loop = VirtualLoop()
    broker = VirtualBroker(loop, scene.dice, TOPICS, lambda *words: None)
    folder = tmp_path / "city"
    folder.mkdir()
    city = VirtualCity(loop, folder, broker, "box-a", lambda *words: None)
    for stream, body in scene.ledger.rows("SELECT stream, body FROM packs ORDER BY rowid"):
        city.ledger.take(TOPICS.up(stream), body, 0.0)
    city.ledger.commit()
    city.fell_back = scene.holdings.ledger_fell_back
    before = set(scene.holdings.ledger.facts)
    city.copy()
    city.die()
    city.restore()
    loop.close()
    assert before
    assert set(scene.holdings.ledger.facts) == before


# -- asked for bit by bit --------------------------------------------------------------------------------------------


def lose(scene: Scene) -> None:
    """As a bug would: a pack goes, and no gap says so."""
    ids = [row[0] for row in scene.store._db.execute("SELECT id FROM packs WHERE notice = 0")]
    if ids:
        scene.store._db.execute("DELETE FROM packs WHERE id = ?", (scene.dice.choice(ids),))
        scene.holdings.read_disk(everything=True)


def fall_back(scene: Scene, folder: Path) -> None:
    """The city is restored from a backup, which has only some of it."""
    held = scene.ledger.rows("SELECT stream, body FROM packs ORDER BY rowid").fetchall()
    scene.ledger.close()
    scene.ledger = Ledger(folder / f"city-{scene.dice.getrandbits(40)}.db")
    for stream, body in held[: len(held) * 2 // 3]:
        scene.ledger.take(TOPICS.up(stream), body, 0.0)
    scene.ledger.commit()
    scene.holdings.ledger_fell_back(scene.ledger)


def all_holes(held: Holdings) -> list[tuple[str, str, int]]:
    names = [(*key, n) for key, (head, _) in held.heads.items() for n in range(1, head + 1)]
    there = held.disk.packs.keys() | held.ledger.packs.keys()
    return [name for name in names if name not in there and name[2] not in held.named.get(name[:2], ())]


@pytest.mark.parametrize("scene", range(5), indirect=True)
def test_what_is_asked_bit_by_bit_is_what_asking_for_all_gives(scene: Scene, tmp_path: Path) -> None:
    held, durable = scene.holdings, set()
    lost, holes = set(), set()
    deeds = (scene.commit, scene.send, scene.restart, lambda: lose(scene), lambda: fall_back(scene, tmp_path))
    for _ in range(80):
        scene.dice.choices(deeds, (10, 5, 1, 2, 1))[0]()
        durable |= held.disk.facts.keys() | held.journal
        held.call_durable(held.disk.facts.keys() | held.journal)
        assert held.lost() == held.absent(durable)
        assert list(held.holes()) == all_holes(held)
        lost, holes = lost | held.lost(), holes | set(held.holes())
    assert lost, "nothing was lost, so it was not tried"
    assert holes


# -- what is overlooked ----------------------------------------------------------------------------------------------


def overlook(scene: Scene, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene.holdings, name, lambda *_: iter(()))


def test_a_pack_that_was_overlooked_is_found_when_all_is_read_anew(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlook(scene, "_all_new", monkeypatch)
    overlook(scene, "_grown", monkeypatch)
    while not any(scene.store.heads()[stream] > 1 for stream in ("events", "readings")):
        scene.commit()
    assert any(text.startswith("packs on the disk: ") for text in scene.unlike())


def test_a_journal_that_was_overlooked_is_found_when_all_is_read_anew(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlook(scene, "_read_journal", monkeypatch)
    for _ in range(20):
        scene.commit()
        if scene.holdings.anew(scene.ledger).journal:
            break
    assert any(text.startswith("the journal: ") for text in scene.unlike())


def test_a_pack_that_says_something_else_under_its_name_is_found(scene: Scene) -> None:
    scene.commit()
    while not any(pack.facts for pack in scene.holdings.disk.packs.values()):
        scene.commit()
    (row_id,) = scene.store._db.execute("SELECT id FROM packs WHERE notice = 0 LIMIT 1").fetchone()
    scene.store._db.execute("UPDATE packs SET boot = boot + 1 WHERE id = ?", (row_id,))
    assert any(text.startswith("packs on the disk: ") for text in scene.unlike())
