"""`linli db --state DIR ...`: look inside the gateway's database, or bring it to this program's schema.

Reading never writes and may go on beside a running gateway; `migrate` and `restore-snapshot` take the state folder's
lock and may not.
"""

import argparse
import json
import sqlite3
import sys
from pathlib import Path

from gateway import snapshot
from gateway.home import DATABASE, AlreadyRunning, Home
from gateway.schema import SCHEMA_VERSION, SchemaError, ensure, query, tables, version_of
from gateway.snapshot import SnapshotError

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2
DEEDS = ("migrate", "tables", "query", "rows", "restore-snapshot")
_WANTS = {"query": "an SQL statement in quotes", "rows": "a table", "restore-snapshot": "a file"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the gateway's state folder")
    parser.add_argument("--limit", type=int, default=100, metavar="N", help="rows at most (0: all), default 100")
    parser.add_argument("deed", choices=DEEDS, help="query takes SQL, rows a table, restore-snapshot a file")
    parser.add_argument("what", nargs="?", metavar="SQL|TABLE|FILE")


def run(args: argparse.Namespace) -> int:
    """0: done. 1: the file refused. 2: no such database, or an argument too many or too few."""
    path: Path = args.state / DATABASE
    if (args.what is not None) != (args.deed in _WANTS):
        given = "an argument" if args.what is not None else "nothing"
        wanted = _WANTS.get(args.deed, "nothing")
        return _say(f"found {given} after {args.deed}, expected {wanted}; see linli db --help", WRONG_USE)
    if args.deed != "restore-snapshot" and not path.is_file():
        return _say(f"{path}: found no database, expected one; see --state (linli run makes it)", WRONG_USE)
    try:
        if args.deed == "restore-snapshot":
            return _restore(args.state, path, Path(args.what))
        return _migrate(args.state, path) if args.deed == "migrate" else _show(args, path)
    except (AlreadyRunning, SchemaError, SnapshotError) as error:
        return _say(str(error), CHECK_FAILED)
    except (sqlite3.Error, ValueError) as error:
        expected = "one statement that only reads" if args.deed == "query" else "a sound database"
        advice = "linli db tables lists what there is; linli doctor says whether the file is sound"
        return _say(f"{path}: found {error}, expected {expected}; {advice}", CHECK_FAILED)


def _say(text: str, code: int) -> int:
    print(f"linli db: {text}", file=sys.stderr)
    return code


def _migrate(folder: Path, path: Path) -> int:
    home = Home(folder)
    try:
        before = version_of(path)
        ensure(path)
    finally:
        home.release()
    print(f"{path}: schema {SCHEMA_VERSION}" + (f", was {before}" if before != SCHEMA_VERSION else " already"))
    return GOOD


def _restore(folder: Path, path: Path, file: Path) -> int:
    """Also into the folder of a box that never ran: its first start then goes on from there."""
    snapshot.read(file)  # before anything is made
    home = Home(folder)
    try:
        ensure(path)
        path.chmod(0o600)
        done = snapshot.restore(path, file)
    finally:
        home.release()
    print(f"{path}: {done.values} values of {done.source}, {done.time}", end="")
    print(f"; {done.kept_newer} alarms left as they are, because they came as often here" if done.kept_newer else "")
    return GOOD


def _show(args: argparse.Namespace, path: Path) -> int:
    if args.deed == "tables":
        for name, rows in tables(path).items():
            print(f"{name:<20}  {rows}")
        return GOOD
    if args.deed == "rows" and args.what not in (known := tables(path)):
        return _say(f"found table {args.what!r}, expected one of {', '.join(known)}; name one of them", CHECK_FAILED)
    rows_found = query(path, args.what if args.deed == "query" else f"SELECT * FROM [{args.what}]")
    try:
        for number, row in enumerate(rows_found):
            if args.limit and number >= args.limit:
                print(f"linli db: more than {args.limit} rows; --limit 0 shows all", file=sys.stderr)
                break
            print(json.dumps({key: _plain(value) for key, value in row.items()}, ensure_ascii=False))
    finally:
        rows_found.close()
    return GOOD


def _plain(value: object) -> object:
    """A body is no text: `linli outbox show` opens packs."""
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else value
