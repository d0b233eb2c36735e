"""`python -m simulator.planted NAME run SITE ...`: the gateway with one bug in it, to see that chaos finds it.

The product knows nothing of this file: it takes the place of `linli` and changes one method before it calls it.

    ack-before-commit    sources hear "durable" when work is handed to the storage thread
    delete-before-ack    a pack is forgotten when it was published, not when the city has it
    number-from-memory   numbers are counted in memory from what stood at the start; the disk hears of them now and then
    none                 no bug: the same card as with the others, and nothing may be found
    synchronous-normal   a commit is not flushed to the disk (only a power cut shows it)

But for the last, a commit takes 50 ms longer than this machine's disk needs, as on a slow card: a bug of the first kind
lives for the length of a commit, and a kill at a random moment has to meet it.
"""

import sys
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from gateway import cli
from gateway import store as store_module
from gateway.box import Box
from gateway.clock import sleep_s
from gateway.courier import Courier, Parcel
from gateway.numbers import Numbers
from gateway.pending import Confirm, Work
from gateway.schema import pack_id, pack_name
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
    sent, init, confirm = Courier.sent, Uplink.__init__, Store._confirm
    told: list[Callable[[Confirm], None]] = []

    def made(uplink: Uplink, *args: Any, **named: Any) -> None:
        init(uplink, *args, **named)
        told.append(uplink._shared.on_confirm)

    def sending(courier: Courier, mid: int, parcel: Parcel, size: int, now_s: float) -> None:
        sent(courier, mid, parcel, size, now_s)
        no, stream, n = pack_name(parcel.row.id)
        told[-1](Confirm(courier.epochs[no], also={stream: [(n, n)]}))

    def forgetting(store: Any, word: Confirm) -> None:
        confirm(store, word)
        if word.epoch == store.epoch:
            names = [pack_id(store.epoch_no, s, n) for s, spans in word.also.items() for n, last in spans if n == last]
            store._db.executemany("DELETE FROM packs WHERE id = ?", [(name,) for name in names])

    Uplink.__init__ = made
    Courier.sent = sending
    Store._confirm = forgetting


def number_from_memory() -> None:
    """The heads reach the database now and then only; what a crash takes is numbered once more."""
    write = Numbers.write
    turns = count()

    def seldom(numbers: Numbers) -> None:
        if next(turns) % HEADS_EVERY == 0:
            write(numbers)

    store_module._INSERT = store_module._INSERT.replace("INSERT INTO", "INSERT OR REPLACE INTO")
    Numbers.write = seldom


def synchronous_normal() -> None:
    store_module._PRAGMAS = tuple(
        pragma.replace("synchronous=FULL", "synchronous=NORMAL") for pragma in store_module._PRAGMAS
    )


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
