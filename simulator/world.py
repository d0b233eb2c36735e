"""Gateway, broker and city without threads, sockets or waiting: the same store, courier and ledger, a virtual clock.

A source hands in numbered facts and keeps what is not durable; the broker may be away, refuse, acknowledge and drop,
or forget; gateway and ledger may die at any step. What was acknowledged as durable is the truth the ledger is held to.
"""

import json
import random
import shutil
from collections import deque
from pathlib import Path

from drivers.reading import Event, Reading
from gateway.contract import STREAMS, Label, Record, Topics, parse_ack, status
from gateway.courier import Courier, Parcel
from gateway.pending import Confirm, Pending
from gateway.reader import Reader
from gateway.schema import migrate, pack_name
from gateway.store import Store, StoreCorrupt
from simulator.ledger import Ledger

ROOT, GATEWAY = "linli", "night"
TOPICS = Topics(ROOT, GATEWAY)
RESEND_S = 30.0


class World:
    """folder: for the two databases. dice: everything that is left to chance."""

    def __init__(self, folder: Path, dice: random.Random, *, confirm: str = "city", budget_mb: float = 50) -> None:
        self.folder, self.dice = folder, dice
        self._confirm, self._budget_mb = confirm, budget_mb
        self.now_s = 1000.0
        self.boot = 0
        self.kernel_boot = "first"
        self.clock_known = True
        self.seq = 0  # of the one source; counts what it handed in
        self.durable = 0  # what it was told
        self._template = folder / "template.db"
        if not self._template.exists():
            migrate(self._template)
        self.deny = self.refuse = self.away = False
        self._broker: deque[tuple[str, bytes]] = deque()
        self._to_gateway: deque[bytes] = deque()
        self._mid = 0
        self._courier: Courier | None = None
        self._reader: Reader | None = None
        self._answers: deque[tuple[int, bool]] = deque()
        self.start_gateway()
        self.start_city()

    # -- the gateway -------------------------------------------------------------------------------------------------

    def label(self) -> Label:
        wall = 1_800_000_000.0 + self.now_s if self.clock_known else None
        return Label(self.boot, self.now_s, wall, "ntp" if self.clock_known else "unsure", None, "cfg00000")

    def start_gateway(self) -> None:
        path = self.folder / "linli.db"
        if not path.exists() and not path.with_name("heads.json").exists():
            shutil.copy(self._template, path)
        self.boot = 0
        self.store = Store(path, self, self.dice, budget_mb=self._budget_mb)
        self.store.open(self.kernel_boot)
        self.pending = Pending(self.label, 1.0, 5.0)
        self._confirms: list[Confirm] = []
        self.seq = max(self.durable, self.store.marks().get("n1", (1, 0))[1])

    def kill_gateway(self) -> None:
        """As kill -9: what was not committed is gone, the connection is cut, nobody says goodbye."""
        self.disconnect()
        self.store._db.close()
        self.start_gateway()

    def facts(self, count: int) -> None:
        """The source says its next numbers: readings, and an event now and then."""
        for _ in range(count):
            self.seq += 1
            if self.seq % 7 == 0:
                event = Event("n1", "ticket.issued", {"value": self.seq}, self.now_s, 1, self.seq)
                record = Record(event.type, "n1", event.mono_s, event.data, f"n1/1/{self.seq}")
                self.pending.record("events", record, self.now_s)
            else:
                reading = Reading("n1:flow1", float(self.seq), self.now_s, 1, self.seq)
                self.pending.reading(f"s{self.seq % 5}", "m3/s", "n1", reading, self.now_s)
        self.pending.mark("n1", 1, self.seq)

    def commit(self, *, everything: bool = True) -> None:
        """everything: as at a clean end; else what is due at an event, with open packs only in the journal."""
        self.pending.hurry(self.now_s)
        work = self.pending.take(self.now_s, everything=everything, dense=self.dice.random() < 0.5)
        works = [work] if work else []
        try:
            self.store.commit(works, self._confirms)
        except StoreCorrupt as error:
            self.disconnect()
            self.store.renew(str(error))
            self.store.commit(works)
        self._confirms = []
        self.durable = max(self.durable, self.store.marks().get("n1", (1, 0))[1])
        if self._courier:
            self._courier.stored(self.store.heads())

    # -- the connection ----------------------------------------------------------------------------------------------

    def connect(self) -> None:
        if self.away or self._courier:
            return
        self._reader = Reader(self.store.path)
        self._courier = Courier(self._reader, self.dice, self._confirm, 8, RESEND_S, self.now_s)
        self._deliver(TOPICS.status, self._status(online=True))

    def _status(self, *, online: bool) -> bytes:
        return status(
            online=online, session=int(self.now_s * 1000), epoch=self.store.epoch, boot=self.boot, cfg="cfg00000",
            versions={}, heads=self.store.heads(),
        )  # fmt: skip

    def disconnect(self) -> None:
        if self._reader:
            self._reader.close()
        self._courier = self._reader = None
        self._answers.clear()
        self._to_gateway.clear()

    def forget(self) -> None:
        """The broker lost its memory: what it had acknowledged and not delivered."""
        self._broker.clear()

    def _deliver(self, topic: str, payload: bytes) -> None:
        if not self.deny:
            self._broker.append((topic, payload))

    def step(self) -> None:
        """A tenth of a second of everything that is up."""
        self.now_s += 0.1
        courier, reader = self._courier, self._reader
        if courier and reader:
            for _ in range(4):
                parcel = courier.next(self.now_s)
                if parcel:
                    self._publish(courier, reader, parcel)
            while self._answers and self.dice.random() < 0.8:
                courier.puback(*self._answers.popleft(), self.now_s)
            while self._to_gateway:
                if confirm := courier.ack(parse_ack(self._to_gateway.popleft()), self.now_s):
                    self._confirms.append(confirm)
            if self._confirm == "broker":
                self._confirms += courier.broker_confirms()

    def _publish(self, courier: Courier, reader: Reader, parcel: Parcel) -> None:
        payload = reader.payload(parcel.row, TOPICS)
        self._mid += 1
        courier.sent(self._mid, parcel, len(payload), self.now_s)
        self._answers.append((self._mid, not self.refuse))
        if not self.refuse:
            self._deliver(TOPICS.up(pack_name(parcel.row.id)[1]), payload)

    # -- the city ------------------------------------------------------------------------------------------------------

    def start_city(self) -> None:
        self.ledger = Ledger(self.folder / "city.db", ROOT)

    def kill_city(self) -> None:
        self.ledger.close()
        self.start_city()

    def restore_city(self, backup: Path) -> None:
        """The ledger of an hour ago is put back."""
        self.ledger.close()
        for old in self.folder.glob("city.db*"):
            old.unlink()
        shutil.copy(backup, self.folder / "city.db")
        self.start_city()

    def city_step(self) -> None:
        while self._broker and self.dice.random() < 0.9:
            topic, payload = self._broker.popleft()
            self.ledger.take(topic, payload, self.now_s)
            if self.dice.random() < 0.05:
                self.ledger.take(topic, payload, self.now_s)  # QoS 1: at least once
        self.ledger.commit()
        for _, word in self.ledger.acks(self.now_s):
            if self._courier:
                self._to_gateway.append(word)

    def run(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.step()
            self.city_step()
            if self._confirms:
                self.commit()

    # -- the verdict ---------------------------------------------------------------------------------------------------

    def held(self) -> dict[str, int]:
        """{src: in how many packs} of what the ledger holds."""
        found: dict[str, int] = {}
        for (body,) in self.ledger.rows("SELECT body FROM packs"):
            for record in json.loads(body)["records"]:
                if src := record.get("src"):
                    found[src] = found.get(src, 0) + 1
        return found

    def gaps(self) -> list[dict[str, object]]:
        """Every gap record the ledger holds, with its stream."""
        found = []
        for stream, body in self.ledger.rows("SELECT stream, body FROM packs ORDER BY stream, n"):
            records = json.loads(body)["records"]
            found += [{"stream": stream} | record["gap"] for record in records if "gap" in record]
        return found

    def silent_losses(self) -> list[str]:
        """Numbers up to the head that the ledger neither holds nor finds in a gap; facts that came twice."""
        wrong = [f"{src} stands in {count} packs" for src, count in self.held().items() if count > 1]
        for epoch, heads in self._epochs():
            for stream in STREAMS:
                rows = self.ledger.rows("SELECT n FROM packs WHERE epoch = ? AND stream = ?", epoch, stream)
                known = {n for (n,) in rows}
                for gap in self.gaps():
                    if gap["stream"] == stream and gap.get("epoch", self.store.epoch) == epoch and "first" in gap:
                        known |= set(range(int(str(gap["first"])), int(str(gap["last"])) + 1))
                lost = set(range(1, heads.get(stream, 0) + 1)) - known
                wrong += [f"{epoch}/{stream}/{n} is neither held nor named" for n in sorted(lost)]
        return wrong

    def _epochs(self) -> list[tuple[str, dict[str, int]]]:
        """Every epoch and how far it got; an older one's heads are what the next one's `began` says."""
        found = [(self.store.epoch, self.store.heads())]
        for (body,) in self.ledger.rows("SELECT body FROM packs WHERE stream = 'events' AND n = 1"):
            began = json.loads(body)["records"][0]["began"]
            if began.get("prev"):
                found.append((began["prev"], began.get("heads") or {}))
        return found

    def missing(self) -> list[int]:
        """Durable numbers of the source that the ledger does not hold."""
        held = self.held()
        return [seq for seq in range(1, self.durable + 1) if f"n1/1/{seq}" not in held]
