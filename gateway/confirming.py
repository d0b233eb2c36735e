"""What the city said it holds, written into the store's tables. Works inside the store's transactions."""

import sqlite3

from gateway.contract import STREAMS, Gap, Json, Label, Record
from gateway.pending import Confirm, Draft
from gateway.schema import CONFIRMED, REJECTED, WAITING, pack_id

_GAPS_A_PACK = 200  # so that it fits a message


def write(db: sqlite3.Connection, confirms: list[Confirm], epoch: str, label: Label) -> list[Draft]:
    """What has to be said because of it: gap and health records. epoch: the one in force.

    Many may have come since the last commit: how far a stream is held, is noted once.
    """
    epochs = {name: int(no) for no, name in db.execute("SELECT no, epoch FROM epochs")}
    upto: dict[tuple[int, int], int] = {}
    said: list[Draft] = []
    for confirm in confirms:
        if epoch_no := epochs.get(confirm.epoch):
            for stream, n in confirm.upto.items():
                key = (epoch_no, STREAMS.index(stream))
                upto[key] = max(upto.get(key, 0), n)
            said += _apart(db, epoch_no, confirm, confirm.epoch if confirm.epoch != epoch else None, label)
    db.executemany(
        "UPDATE streams SET acked = max(acked, min(head, ?)) WHERE epoch_no = ? AND stream = ?",
        [(n, *key) for key, n in upto.items()],
    )
    return said


def _apart(db: sqlite3.Connection, epoch_no: int, confirm: Confirm, other: str | None, label: Label) -> list[Draft]:
    """What is said of single packs."""
    for stream, ranges in confirm.also.items():
        db.executemany(
            f"UPDATE packs SET state = {CONFIRMED} WHERE id BETWEEN ? AND ? AND state = {WAITING}",
            [(pack_id(epoch_no, stream, a), pack_id(epoch_no, stream, b)) for a, b in ranges],
        )
    said: list[Draft] = []
    for stream, rejected in confirm.reject.items():
        for n, why in rejected:
            said += _reject(db, (epoch_no, stream, n), why, confirm.epoch, other, label)
    for stream, unopened in confirm.unopened.items():
        for n, why in unopened:
            said += _reject(db, (epoch_no, stream, n), why, confirm.epoch, other, label, is_notice=None)
    for stream, ranges in confirm.pruned.items():
        said += _notices(stream, [Gap("pruned", a, b, None, epoch=other) for a, b in ranges], label)
    return said


def _reject(
    db: sqlite3.Connection, name: tuple[int, str, int], why: str, epoch: str, other: str | None, label: Label,
    *, is_notice: bool | None = False,
) -> list[Draft]:  # fmt: skip
    """Quarantine, say so in the stream and raise a health record; the pack stays on the box.

    is_notice: None for any. A notice that the city rejects is not answered by a notice, or there were no end.
    """
    _, stream, n = name
    found = db.execute(
        f"UPDATE packs SET state = {REJECTED} WHERE id = ? AND state = {WAITING} AND notice = coalesce(?, notice)"
        " RETURNING records",
        (pack_id(*name), is_notice),
    ).fetchone()
    if not found:
        return []
    data: Json = {"value": n, "stream": stream, "epoch": epoch, "why": why}
    record = Record("pack.rejected", stream, label.mono, data).as_record()
    gap = Gap(f"rejected: {why}"[:200], n, n, found[0], epoch=other)
    return [*_notices(stream, [gap], label), Draft("health", label, records=[record])]


def _notices(stream: str, gaps: list[Gap], label: Label) -> list[Draft]:
    chunks = [gaps[i : i + _GAPS_A_PACK] for i in range(0, len(gaps), _GAPS_A_PACK)]
    return [Draft(stream, label, records=[gap.as_record() for gap in chunk]) for chunk in chunks]
