"""`linli outbox --state DIR`: what waits for the city, since when, and what was given up. It only reads.

`linli outbox --state DIR show STREAM N` prints one pack as it is published.
"""

import argparse
import json
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from gateway.clock import SystemClock, boot_id
from gateway.config import ConfigErrors, load
from gateway.contract import STREAMS, Topics
from gateway.home import DATABASE
from gateway.packs import open_records
from gateway.reader import Reader
from gateway.schema import N_MAX, WAITING, connect, pack_id
from gateway.words import Words

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2
READ_S = 5.0  # a read as long as that would keep the gateway's log from being tidied
_STEPS = 10_000  # of SQLite's machine between two looks at the clock
_USE = "linli outbox --state DIR [show STREAM N]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the gateway's state folder")
    parser.add_argument("--site", type=Path, metavar="SITE", help="root and gateway for show; else linli and local")
    parser.add_argument("--epoch", metavar="HEX", help="show: of this epoch instead of the one in force")
    parser.add_argument("--json", action="store_true", help="a JSON document instead of a table")
    parser.add_argument("look", nargs="*", metavar="show STREAM N", help="one pack as it is published")


def run(args: argparse.Namespace) -> int:
    """0: shown. 1: no such pack, or the file cannot be read. 2: wrong use."""
    path: Path = args.state / DATABASE
    if not path.is_file():
        return _say(f"{path}: found no database, expected one; see --state (linli run makes it)", WRONG_USE)
    try:
        if args.look:
            return _show(args, path)
        clock = SystemClock()
        rows = overview(path, clock)
    except (sqlite3.Error, ValueError) as error:
        return _say(f"{path}: found {error}, expected a sound database; see linli doctor", CHECK_FAILED)
    print(json.dumps([row._asdict() for row in rows], ensure_ascii=False) if args.json else _table(rows))
    return GOOD


def _say(text: str, code: int) -> int:
    print(f"linli outbox: {text}", file=sys.stderr)
    return code


# -- one pack ----------------------------------------------------------------------------------------------------------


def _show(args: argparse.Namespace, path: Path) -> int:
    match args.look:
        case ["show", stream, number] if stream in STREAMS and number.isascii() and number.isdigit():
            n = min(int(number), N_MAX)
        case _:
            streams = ", ".join(STREAMS)
            return _say(f"found {' '.join(args.look)!r}, expected {_USE} with STREAM one of {streams}", WRONG_USE)
    try:
        topics = _topics(args.site)
    except ConfigErrors as error:
        return _say(f"{error.problems[0]}; linli check says more", WRONG_USE)
    reader = Reader(path)
    try:
        epochs = {epoch: no for no, epoch in reader.epochs().items()}
        epoch = args.epoch or list(epochs)[-1]
        if epoch not in epochs:
            return _say(f"found epoch {epoch}, expected one of {', '.join(epochs)}; see linli outbox", CHECK_FAILED)
        row = reader.one(epochs[epoch], stream, n)
        if row is None:
            head = reader.streams().get((epochs[epoch], stream), (0, 0))[0]
            why = "one still here (given up, or confirmed long ago)" if 1 <= n <= head else f"1 to {head}"
            return _say(f"found no {stream} {n} in epoch {epoch}, expected {why}; see linli outbox", CHECK_FAILED)
        print(reader.payload(row, topics).decode())
    finally:
        reader.close()
    return GOOD


def _topics(site: Path | None) -> Topics:
    if site is None:
        return Topics("linli", "local")
    settings = load(site)
    return Topics(settings.uplink.root, settings.gateway)


# -- the overview ---------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One stream of one epoch. oldest_s: age of the oldest record that waits, None: nothing waits, or nobody can say.

    gaps: {reason: gap records}; None when counting them took too long.
    """

    epoch: str
    stream: str
    head: int
    acked: int
    packs: int
    records: int
    bytes: int
    oldest_s: float | None
    gaps: dict[str, int] | None


def overview(path: Path, clock: SystemClock) -> list[Row]:
    """Epochs oldest first, streams in order of precedence. Raises sqlite3.Error."""
    db = connect(path, read_only=True, timeout_s=2)
    try:
        rows = db.execute(
            "SELECT epoch_no, epoch, stream, head, acked FROM streams JOIN epochs ON no = epoch_no"
            " ORDER BY epoch_no, stream"
        ).fetchall()
        return [_row(db, clock, *row) for row in rows]
    finally:
        db.close()


def _row(
    db: sqlite3.Connection, clock: SystemClock, epoch_no: int, epoch: str, stream: int, head: int, acked: int
) -> Row:
    name = STREAMS[stream]
    waiting = (pack_id(epoch_no, name, acked + 1), pack_id(epoch_no, name, N_MAX))
    packs, records, size, oldest = db.execute(
        "SELECT count(*), total(records), total(length(body)), min(id) FROM packs"
        f" WHERE id BETWEEN ? AND ? AND state = {WAITING}",
        waiting,
    ).fetchone()
    age_s = _age_s(db, clock, oldest) if packs else None
    gaps = _gaps(db, clock, epoch_no, name)
    return Row(epoch, name, head, acked, packs, int(records), int(size), age_s, gaps)


def _age_s(db: sqlite3.Connection, clock: SystemClock, row_id: int) -> float | None:
    """By the monotonic clock when the pack is of this boot, else by its wall; None when it never knew the time."""
    boot, mono, wall, first = db.execute(
        "SELECT boot, mono, wall, first_mono FROM packs WHERE id = ?", (row_id,)
    ).fetchone()
    box = dict(db.execute("SELECT key, value FROM box").fetchall())
    if box.get("boot_id") == boot_id() and box.get("boot") == str(boot):
        return max(0.0, clock.mono_s() - float(first))
    return max(0.0, clock.wall_s() - (wall + first - mono)) if wall is not None else None


def _gaps(db: sqlite3.Connection, clock: SystemClock, epoch_no: int, stream: str) -> dict[str, int] | None:
    until_s = clock.mono_s() + READ_S
    db.set_progress_handler(lambda: clock.mono_s() > until_s, _STEPS)
    try:
        bodies = db.execute(
            "SELECT body FROM packs WHERE id BETWEEN ? AND ? AND notice = 1",
            (pack_id(epoch_no, stream, 0), pack_id(epoch_no, stream, N_MAX)),
        ).fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname != "SQLITE_INTERRUPT":
            raise
        return None
    finally:
        db.set_progress_handler(None, 0)
    gaps = (record["gap"] for (body,) in bodies for record in open_records(body) if "gap" in record)
    return dict(Counter(_reason(gap) for gap in gaps))


def _reason(gap: object) -> str:
    return str(gap.get("reason")).partition(":")[0] if isinstance(gap, dict) else "?"


def _table(rows: list[Row]) -> str:
    lines = [["epoch", "stream", "head", "acked", "packs", "records", "bytes", "oldest", "gaps"]]
    say = Words("en")
    for row in rows:
        age = "-" if not row.packs else "?" if row.oldest_s is None else say.span(row.oldest_s)
        gaps = "?" if row.gaps is None else ", ".join(f"{why} {count}" for why, count in row.gaps.items()) or "-"
        numbers = (str(number) for number in (row.head, row.acked, row.packs, row.records))
        lines.append([row.epoch, row.stream, *numbers, say.size(row.bytes), age, gaps])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)
