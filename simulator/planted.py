"""`python -m simulator.planted NAME run SITE ...`: the gateway with one bug in it, to see that chaos finds it.

The product knows nothing of this file: it takes the place of `linli` and changes one method before it calls it.

    ack-before-commit    sources hear "durable" when work is handed to the storage thread
    delete-before-ack    a pack is forgotten when it was published, not when the city has it
    number-from-memory   numbers are counted in memory from what stood at the start; the disk hears of them now and then
    none                 no bug: the same card as with the others, and nothing may be found
    synchronous-normal   a commit is not flushed to the disk (only a power cut shows it)

Those and these are known to `linli nights`, which needs no process of its own for them:

    wall-for-a-wait      the uplink's back-off ends by the wall
    gap-forgotten        what the disk budget gives up is named nowhere
    mark-apart           how far a source is, is committed before what it said
    marks-forgotten      a source is believed when it says again, after a restart, what was durable already
    journal-forgotten    what was durable in a pack still open is dropped at the next start
    restart-unseen       a source that counts anew is taken for the one before
    confirmed-forgotten  what the city has is deleted at once; a city restored from its backup asks in vain
    deed-after-commit    outputs move when the disk has the alarm
    window-ignored       the broker's Receive Maximum is not obeyed
    sync-untold          nobody says what the time was once the clock is known

In a process, but for synchronous-normal, a commit takes 50 ms longer than this machine's disk needs, as on a slow card:
a bug of the first kind lives for the length of a commit, and a kill at a random moment has to meet it.
"""

import sys
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from drivers.numbered import Numbered
from gateway import cli, confirming
from gateway import schema as schema_module
from gateway import store as store_module
from gateway.box import Box
from gateway.budget import Budget
from gateway.clock import sleep_s
from gateway.contract import STREAMS
from gateway.courier import Courier, Parcel
from gateway.deeds import Deeds
from gateway.numbers import Numbers
from gateway.pending import Confirm, Work
from gateway.schema import pack_id, pack_name
from gateway.session import Session
from gateway.storage import StorageThread
from gateway.store import Store
from gateway.uplink import Uplink

CARD_S = 0.05
HEADS_EVERY = 50  # commits


def ack_before_commit() -> None:
    start = Box.start

    def starting(box: Any) -> None:
        storage: StorageThread = box._parts.storage
        put = storage.put

        def putting(item: Work | Confirm) -> None:
            put(item)
            if isinstance(item, Work):
                for source, (boot, seq) in item.marks.items():
                    if source in box._ports:
                        box._ports[source].durable(boot, seq)

        storage.put = putting
        start(box)

    Box.start = starting


def delete_before_ack() -> None:
    sent, init, write = Courier.sent, Uplink.__init__, confirming.write
    told: list[Callable[[Confirm], None]] = []

    def made(uplink: Uplink, *args: Any, **named: Any) -> None:
        init(uplink, *args, **named)
        told.append(uplink._shared.on_confirm)

    def sending(courier: Courier, mid: int, parcel: Parcel, size: int, now_s: float) -> None:
        sent(courier, mid, parcel, size, now_s)
        no, stream, n = pack_name(parcel.row.id)
        told[-1](Confirm(courier.epochs[no], also={stream: [(n, n)]}))

    def forgetting(db: Any, words: list[Confirm], epoch: str, label: Any) -> Any:
        for no, name in db.execute("SELECT no, epoch FROM epochs").fetchall():
            also = [word.also for word in words if word.epoch == name == epoch]
            alone = [
                pack_id(no, s, n) for streams in also for s, spans in streams.items() for n, last in spans if n == last
            ]
            db.executemany("DELETE FROM packs WHERE id = ?", [(row_id,) for row_id in alone])
        return write(db, words, epoch, label)

    Uplink.__init__ = made
    Courier.sent = sending
    confirming.write = forgetting


def number_from_memory() -> None:
    """The heads reach the database now and then only; what a crash takes is numbered once more."""
    write = Numbers.write

    def seldom(numbers: Any) -> None:
        if next(numbers.__dict__.setdefault("turns", count())) % HEADS_EVERY == 0:
            write(numbers)

    store_module._INSERT = store_module._INSERT.replace("INSERT INTO", "INSERT OR REPLACE INTO")
    Numbers.write = seldom


def synchronous_normal() -> None:
    schema_module._WRITE_PRAGMAS = tuple(
        pragma.replace("synchronous=FULL", "synchronous=NORMAL") for pragma in schema_module._WRITE_PRAGMAS
    )


# -- for `linli nights`, whose clock, card and line are the bug's worst --------------------------------------------


def wall_for_a_wait() -> None:
    init = Uplink.__init__

    def by_the_wall(uplink: Any, *args: Any, **named: Any) -> None:
        init(uplink, *args, **named)  # whose session goes on by the monotonic clock
        uplink._mono_s = uplink._mono_s.__self__.wall_s

    Uplink.__init__ = by_the_wall


def gap_forgotten() -> None:
    evict = Budget.evict
    Budget.evict = lambda budget: evict(budget)._replace(gaps={})


def mark_apart() -> None:
    commit = Store.commit

    def in_two(store: Store, works: Iterable[Work], confirms: Iterable[Confirm] = ()) -> None:
        works = list(works)
        commit(store, [Work([], work.marks, {}, frozenset(), [], []) for work in works])
        commit(store, [work._replace(marks={}) for work in works], confirms)

    Store.commit = in_two


def marks_forgotten() -> None:
    Store.marks = lambda store: {}


def journal_forgotten() -> None:
    Store._number_journal = lambda store: store._db.execute("DELETE FROM journal")


def restart_unseen() -> None:
    hello = Numbered.hello

    def as_before(numbered: Any, boot: int, oldest: int, ring: int = 0, following: int = 0) -> Any:
        received = numbered.received
        gone = hello(numbered, boot, oldest, ring, following)
        if received:
            numbered.received = numbered.durable = max(received, numbered.received)
        return gone

    Numbered.hello = as_before


def confirmed_forgotten() -> None:
    write = confirming.write

    def forgetting(db: Any, words: list[Confirm], epoch: str, label: Any) -> Any:
        said = write(db, words, epoch, label)
        for no, stream, acked in db.execute("SELECT epoch_no, stream, acked FROM streams").fetchall():
            first = pack_id(no, STREAMS[stream], 0)
            db.execute("DELETE FROM packs WHERE id > ? AND id <= ?", (first, first + acked))
        return said

    confirming.write = forgetting


def deed_after_commit() -> None:
    settle, stored = Deeds._settle, Box._stored

    def then(box: Any, what: Any) -> None:
        stored(box, what)
        settle(box.pipeline.deeds, box.mono_s())

    Deeds._settle = lambda deeds, now_s: None
    Box._stored = then


def window_ignored() -> None:
    connected = Session.connected
    Session.connected = lambda session, receive_max: connected(session, 65_535)


def sync_untold() -> None:
    Box._synced = lambda box: None


def _slow_card() -> None:
    commit = Store.commit

    def slowly(store: Store, works: Iterable[Work], confirms: Iterable[Confirm] = ()) -> None:
        sleep_s(CARD_S)
        commit(store, works, confirms)

    Store.commit = slowly


PLANTS: dict[str, Callable[[], None]] = {
    "ack-before-commit": ack_before_commit,
    "delete-before-ack": delete_before_ack,
    "number-from-memory": number_from_memory,
    "none": lambda: None,
}

# A killed process cannot show these: the kernel still has what was written. For `linli powercut`, on the card as it is.
POWER_PLANTS: dict[str, Callable[[], None]] = {"synchronous-normal": synchronous_normal}

NIGHT_PLANTS: dict[str, Callable[[], None]] = {
    "ack-before-commit": ack_before_commit,
    "delete-before-ack": delete_before_ack,
    "number-from-memory": number_from_memory,
    "synchronous-normal": synchronous_normal,
    "wall-for-a-wait": wall_for_a_wait,
    "gap-forgotten": gap_forgotten,
    "mark-apart": mark_apart,
    "marks-forgotten": marks_forgotten,
    "journal-forgotten": journal_forgotten,
    "restart-unseen": restart_unseen,
    "confirmed-forgotten": confirmed_forgotten,
    "deed-after-commit": deed_after_commit,
    "window-ignored": window_ignored,
    "sync-untold": sync_untold,
}


def main(arguments: list[str]) -> int:
    plants = PLANTS | POWER_PLANTS
    if not arguments or arguments[0] not in plants:
        print(f"found {arguments[:1]}, expected one of {', '.join(plants)} and then `run SITE ...`", file=sys.stderr)
        return 2
    if arguments[0] in PLANTS:
        _slow_card()
    plants[arguments[0]]()
    return cli.main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
