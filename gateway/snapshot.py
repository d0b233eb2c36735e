"""The hourly snapshot: what a replaced box needs to go on, told to the city, and taken back from the city's ledger.

It is all that the store's `keep` holds: alarms with their occurrence and latches, what outputs were driven to, levels
of contacts, counts of pulses and totals. Several records when it is long, so that each fits a message.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from gateway.alarms import Kept
from gateway.around import KEEP as AROUND
from gateway.commands import KEEP as COMMANDS
from gateway.contract import Json
from gateway.home import ABOUT, OWNER  # whose box it is, its own site file says

PART_BYTES_MAX = 40_000
FILE_BYTES_MAX = 50_000_000
_WIRE_TYPE = "linli.snapshot.v1"
# Around an alarm, commands, on this box's own clock, what things are called, what its forecast of waits learns from.
_NOT_TOLD = (AROUND, COMMANDS, "hall:", ABOUT, "waits:days:")


class SnapshotError(Exception):
    """A file that is no whole snapshot: found, expected, what to do."""


class Restored(NamedTuple):
    """values: how many were written. kept_newer: alarms whose own occurrence was as high already."""

    values: int
    kept_newer: int
    source: str
    time: str


class _Data(msgspec.Struct):
    part: Annotated[int, Meta(ge=1)]
    parts: Annotated[int, Meta(ge=1)]
    keep: dict[str, Any]


class _Event(msgspec.Struct):
    source: str
    monoms: int
    data: _Data
    time: str = "an unknown time"


def parts(kept: Mapping[str, object]) -> list[Json]:
    """The `data` of each record. kept: all that the store keeps, by key."""
    chunks: list[dict[str, object]] = [{}]
    size = 0
    for key in sorted(key for key in kept if not key.startswith(_NOT_TOLD) and key != OWNER):
        size += len(msgspec.json.encode({key: kept[key]}))
        if size > PART_BYTES_MAX and chunks[-1]:
            chunks.append({})
            size = 0
        chunks[-1][key] = kept[key]
    return [{"value": "hour", "part": i, "parts": len(chunks), "keep": chunk} for i, chunk in enumerate(chunks, 1)]


def read(path: Path) -> tuple[dict[str, Any], str, str]:
    """(keep, source, time) of a file with all parts of one snapshot, as packs or as records. Raises SnapshotError."""
    do = "save the records linli.snapshot.v1 of one moment from the city's ledger as one JSON list"
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise SnapshotError(f"{path}: found more than {FILE_BYTES_MAX:,} bytes, expected one snapshot; {do}")
        events = [msgspec.convert(event, _Event) for event in _events(json.loads(path.read_text()))]
    except OSError as error:
        raise SnapshotError(f"{path}: found {error.strerror}, expected a file; see the path") from None
    except (ValueError, RecursionError) as error:
        raise SnapshotError(f"{path}: found {error}, expected a snapshot in JSON; {do}") from None
    moments = {(event.source, event.monoms) for event in events}
    if len(moments) != 1:
        raise SnapshotError(f"{path}: found {len(moments)} snapshots, expected one; {do}")
    wanted = events[0].data.parts
    if missing := set(range(1, wanted + 1)) - {event.data.part for event in events}:
        raise SnapshotError(f"{path}: found no part {min(missing)}, expected parts 1 to {wanted}; {do}")
    keep = {key: value for event in events for key, value in event.data.keep.items() if key != OWNER}
    _check(path, keep)
    return keep, events[0].source, events[0].time


def _events(found: Any) -> Iterator[Any]:
    """Records of the right type, in lists and packs of whatever depth people saved them."""
    if isinstance(found, list):
        for item in found:
            yield from _events(item)
    elif isinstance(found, dict) and isinstance(found.get("records"), list):
        yield from _events(found["records"])
    elif isinstance(found, dict) and found.get("type") == _WIRE_TYPE:
        yield found


def _check(path: Path, keep: dict[str, Any]) -> None:
    for key, value in keep.items():
        sort, colon, name = key.partition(":")
        if not (sort and colon and name):
            raise SnapshotError(f"{path}: found the key {key!r}, expected <sort>:<name>; take the record as it came")
        if sort == "alarm":
            try:
                msgspec.convert(value, Kept)
            except msgspec.ValidationError as error:
                raise SnapshotError(
                    f"{path}: {key}: found {error}, expected an alarm's state; take it as it came"
                ) from None


def restore(database: Path, path: Path) -> Restored:
    """Into the database of a box that does not run. Raises SnapshotError, sqlite3.Error.

    What the box keeps and the snapshot does not name stays. An alarm that has come as often here stays, too, because
    with its occurrence it is one alarm to the city, and must not come twice.
    """
    keep, source, time = read(path)
    connection = sqlite3.connect(database)
    try:
        with connection:
            here = {key: json.loads(value) for key, value in connection.execute("SELECT key, value FROM keep")}
            newer = {
                key for key in keep if key.startswith("alarm:") and key in here and _is_newer(here[key], keep[key])
            }
            rows = [(key, json.dumps(value, ensure_ascii=False)) for key, value in keep.items() if key not in newer]
            _write(connection, rows)
    finally:
        connection.close()
    return Restored(len(rows), len(newer), source, time)


def _is_newer(here: Any, told: Any) -> bool:
    return msgspec.convert(here, Kept).occurrence >= msgspec.convert(told, Kept).occurrence > 0


def _write(connection: sqlite3.Connection, rows: Iterable[tuple[str, str]]) -> None:
    connection.executemany("INSERT INTO keep VALUES (?,?) ON CONFLICT DO UPDATE SET value = excluded.value", rows)
