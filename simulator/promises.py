"""What must hold in every night, as a list. Each promise looks at a night and gives what is broken, in words.

`always` is asked every second while everything fails, and whenever a device is told that something is durable;
`at_the_end` once, when all has been well for long enough.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from simulator.night_devices import Src
from simulator.night_packs import Found, Name

if TYPE_CHECKING:
    from simulator.night import Night

TIME_S = 1.0  # how far a stamp may be off
OUTPUT_S = 2.0  # from the rope to the output: 0.5 s of debounce, and room for a tick
WAITING_MAX = 101_000  # the box's bound on what waits for the disk, and one hand-over
HANDED_OVER_S = 0.5  # beyond commit_every_s or node_commit_ms
EXAMPLES_MAX = 5

Promise = Callable[["Night"], Iterable[str]]


def of_fresh(night: "Night", sources: set[Src]) -> list[str]:
    """P1, at the moment it is given: what a device was just told is durable is held."""
    return list(_nowhere(night.holdings.absent(sources)))


def always(night: "Night") -> list[str]:
    return _asked(night, ALWAYS)


def at_the_end(night: "Night") -> list[str]:
    """Of all that there ever was; until now what was seen in the ledger was not asked for again."""
    night.holdings.ask_all_again()
    return _asked(night, [*ALWAYS, *AT_THE_END])


def _asked(night: "Night", promises: list[Promise]) -> list[str]:
    found: list[str] = []
    for promise in promises:
        found += [f"{promise.__name__}: {text}" for text in list(promise(night))[:EXAMPLES_MAX]]
    return found


def _nowhere(absent: set[Src]) -> Iterator[str]:
    for src in sorted(absent):
        yield f"{src} was called durable and is nowhere"


# -- at all times --------------------------------------------------------------------------------------------------


def what_was_called_durable_is_held(night: "Night") -> Iterator[str]:
    """P1: on the gateway's disk, in the city's ledger, or named in a gap record of either."""
    yield from _nowhere(night.holdings.lost())


def numbers_have_no_holes(night: "Night") -> Iterator[str]:
    """P2: every number of every stream up to its head is held somewhere or named in a gap."""
    for name in night.holdings.holes():
        yield f"{name} is nowhere, and no gap names it"


def no_fact_is_held_twice(night: "Night") -> Iterator[str]:
    held = night.holdings
    yield from held.twice
    for src in held.disk.facts.keys() & held.journal:
        yield f"{src} is in the journal and in {held.disk.facts[src]}"


def no_pack_changes(night: "Night") -> Iterator[str]:
    for what in night.holdings.changed:
        yield f"{what} holds other records than before"
    if night.city.up and (conflicts := night.city.ledger.counts["conflicts"]):
        yield f"the ledger was sent {conflicts} packs again with other records"


def every_fact_is_true(night: "Night") -> Iterator[str]:
    """Nothing invented, nothing altered, and its time as true as its label says. Looks at each pack once."""
    fresh, night.holdings.fresh = night.holdings.fresh, []
    for name, pack in fresh:
        for found in pack.facts:
            yield from _judged(night, name, found)


def _judged(night: "Night", name: Name, found: Found) -> Iterator[str]:
    truth = night.truths.get(found.src)
    if truth is None:
        yield f"{found.src} in {name} was never produced"
        return
    if (found.sensor, found.value) != (truth.name, truth.value):
        yield f"{found.src} in {name} says {found.sensor} {found.value!r}, the truth is {truth.name} {truth.value!r}"
    born_s = night.boots.get(found.boot)
    if born_s is None:
        yield f"{name} is of boot {found.boot}, which never was"
    elif abs(born_s + found.mono_s - truth.true_s) > TIME_S:
        yield f"{found.src} in {name} is {born_s + found.mono_s - truth.true_s:+.3f} s off by the boot's clock"


def outputs_follow_the_rope(night: "Night") -> Iterator[str]:
    """P3: whatever disk and city do. The strobe is on while it is wet, the valve stays closed from then on."""
    life, now_s = night.life, night.loop.time()
    patience_s = OUTPUT_S + 2 * night.pace.rest_s
    if life is None or life.stopping or now_s - max(life.since_s, night.rope_since_s) < patience_s:
        return
    wet = not night.pins.pin(night.ROPE).state
    if bool(night.pins.pin(night.STROBE).state) != wet:
        yield f"the rope is {'wet' if wet else 'dry'} for {now_s - night.rope_since_s:.1f} s and the strobe is not so"
    if wet and not night.pins.pin(night.VALVE).state:
        yield f"the rope is wet for {now_s - night.rope_since_s:.1f} s and the valve is open"


def every_queue_is_bounded(night: "Night") -> Iterator[str]:
    broker = night.broker
    if broker.most_under_way > broker.receive_max:
        yield f"{broker.most_under_way} messages were under way; the broker had said {broker.receive_max}"
    if (life := night.life) and (waiting := life.box._under_way + life.pending.records) > WAITING_MAX:
        yield f"{waiting} records wait for the disk"


def what_is_due_is_handed_over(night: "Night") -> Iterator[str]:
    """Whatever the wall says. What numbered sources said waits for its own, shorter interval."""
    life, store = night.life, night.place.site.store
    if life is None or life.stopping:
        return
    now_s, patience_s = night.loop.time(), HANDED_OVER_S + 3 * night.pace.rest_s
    waited_s = now_s - life.storage.put_s
    if life.pending.records and waited_s > store.commit_every_s + patience_s:
        yield f"{life.pending.records} records wait, and nothing was handed to the storage for {waited_s:.1f} s"
    waited_s = now_s - life.storage.counted_s
    if life.pending.has_marks and waited_s > store.node_commit_ms / 1000 + patience_s:
        yield f"sources wait for {waited_s:.1f} s until what they said is handed to the storage"


def waits_are_never_negative(night: "Night") -> Iterator[str]:
    if night.life and night.life.process.shortest_wait_s < -1e-9:
        yield f"a wait of {night.life.process.shortest_wait_s} s was asked for"


def no_part_has_died(night: "Night") -> Iterator[str]:
    if life := night.life:
        for part in (life.storage, life.uplink):
            if part.fault:
                yield f"{type(part).__name__} ended: {part.fault!r}"


ALWAYS: list[Promise] = [
    what_was_called_durable_is_held,
    numbers_have_no_holes,
    no_fact_is_held_twice,
    no_pack_changes,
    every_fact_is_true,
    outputs_follow_the_rope,
    every_queue_is_bounded,
    what_is_due_is_handed_over,
    waits_are_never_negative,
    no_part_has_died,
]


# -- once all is well -------------------------------------------------------------------------------------------------


def has_settled(night: "Night") -> bool:
    return not any(True for promise in (everything_has_arrived, the_store_has_drained) for _ in promise(night))


def everything_has_arrived(night: "Night") -> Iterator[str]:
    """P1: in the ledger itself, but for what its device had given up before, or a gap record names."""
    held = night.holdings
    gone = set().union(*(device.given_up for device in night.devices))
    for src in night.truths:
        if src not in held.ledger.facts and src not in gone and not held.given_up(src):
            yield f"{src} has not arrived"


def the_store_has_drained(night: "Night") -> Iterator[str]:
    held = night.holdings
    for device in night.devices:
        if not device.settled:
            yield f"{device.name} still holds {device.side.undurable} facts"
    newest = next(reversed(held.heads), ("", ""))[0]
    for (epoch, stream), (head, acked) in held.heads.items():
        on_disk = held.disk.numbers.get((epoch, stream), set())
        if epoch != newest and not any(n > acked for n in on_disk):
            continue  # the rest is named in gap records: whether the city's word of it got lost, too, is all one
        if stream != "health" and acked < head - night.pace.lag_packs:
            yield f"{stream} of epoch {epoch}: {head} packs, the city is known to hold {acked}"


def the_ledger_lacks_nothing_and_refuses_nothing(night: "Night") -> Iterator[str]:
    ledger = night.city.ledger
    for (_, epoch, stream), state in ledger.streams.items():
        if stream != "health" and state.missing():
            yield f"{stream} of epoch {epoch}: {state.missing()[:3]} missing"
    for count in ("unreadable", "strange topics", "rejects"):
        if ledger.counts[count]:
            yield f"{ledger.counts[count]} {count}"


def order_is_kept(night: "Night") -> Iterator[str]:
    """By (epoch, n): what a source said, in its order, for each sensor."""
    last: dict[tuple[str, str, int, str], int] = {}
    epochs = {epoch: at for at, epoch in enumerate(dict.fromkeys(epoch for epoch, _ in night.holdings.heads))}
    packs = sorted(night.holdings.ledger.packs.items(), key=lambda item: (epochs[item[0][0]], item[0][1:]))
    for name, pack in packs:
        for found in pack.facts:
            key = (found.sensor, *found.src[:2], name[1])
            if found.src[2] <= last.get(key, 0):
                yield f"{found.src} of {found.sensor or 'the events'} comes after {last[key]}"
            last[key] = found.src[2]


def stamps_are_true_once_the_clock_is_known(night: "Night") -> Iterator[str]:
    """P4: by the last `clock.synced` of its boot, else by its own label."""
    syncs = {
        boot: wall_s - mono_s
        for _, pack in sorted(night.holdings.ledger.packs.items(), key=lambda item: item[0][2])
        for boot, mono_s, wall_s in pack.synced
    }
    for name, pack in night.holdings.ledger.packs.items():
        if pack.known and pack.boot not in syncs and not night.gives_up:
            yield f"{name} of boot {pack.boot} knew the time, and nobody said what corrects the packs before it"
        for found in pack.facts:
            offset_s = syncs.get(found.boot)
            wall_s = found.wall_s if offset_s is None else found.mono_s + offset_s
            if wall_s is not None and abs(wall_s - night.EPOCH_S - night.truths[found.src].true_s) > TIME_S:
                off_s = wall_s - night.EPOCH_S - night.truths[found.src].true_s
                yield f"{found.src} in {name} of boot {found.boot} is {off_s:+.3f} s off"


def what_was_seen_is_what_there_is(night: "Night") -> Iterator[str]:
    """The holdings follow each commit by what is new in it; read anew, both files have to say the same."""
    yield from night.holdings.unlike(night.holdings.anew(night.city.ledger))


AT_THE_END: list[Promise] = [
    everything_has_arrived,
    the_store_has_drained,
    the_ledger_lacks_nothing_and_refuses_nothing,
    order_is_kept,
    stamps_are_true_once_the_clock_is_known,
    what_was_seen_is_what_there_is,
]
