"""`linli facility`: the log of doors, lifts, ramps and cords.

list, open, ack, repaired, tested ask the gateway that runs; export reads what its database holds, and needs none.
"""

import argparse
import sqlite3
import sys
from datetime import datetime
from pathlib import Path

from gateway.contract import Json
from gateway.control import NotRunning, ask
from gateway.facilities import DEEDS
from gateway.facility_page import proof, tables
from gateway.home import DATABASE
from gateway.month import MonthError, month_of
from gateway.report_facts import FactsError, of_box
from gateway.report_figures import of_month
from gateway.words import LANGUAGES, REPORT_WORDS, Words

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2
EXPORT = "export"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the gateway's state folder")
    parser.add_argument("--lang", choices=LANGUAGES, help="instead of the site file's")
    parser.add_argument("--by", metavar="WHO", help="who does it; needed for all but list")
    parser.add_argument("--note", default="", metavar="TEXT", help="what was seen or done")
    parser.add_argument("--month", metavar="YYYY-MM", help="of export")
    parser.add_argument("--out", type=Path, metavar="DIR", help="of export: where proof.html and the CSV files go")
    parser.add_argument("deed", choices=(*DEEDS, EXPORT))
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the facility, as in the site file")


def run(args: argparse.Namespace) -> int:
    """0: done. 1: no gateway runs, no facts, or the state of the facility does not allow it. 2: wrong use."""
    if mistake := _mistake(args):
        print(f"linli facility: {mistake}; see linli facility --help", file=sys.stderr)
        return WRONG_USE
    if args.deed == EXPORT:
        return _export(args)
    say = Words(args.lang or LANGUAGES[0], REPORT_WORDS)
    request: Json = {"ask": "facility", "deed": args.deed, "facility": args.name, "by": args.by, "note": args.note}
    try:
        answer = ask(args.state, request)
    except NotRunning:
        print(say("facility.no_gateway", folder=args.state), file=sys.stderr)
        return CHECK_FAILED
    except ValueError as error:
        print(f"linli facility: {error}", file=sys.stderr)
        return CHECK_FAILED
    if not args.lang:
        say = Words(str(answer["lang"]), REPORT_WORDS)
    facilities = answer["facilities"]
    assert isinstance(facilities, dict)
    for name, stands in facilities.items():
        if args.deed == "list" or name == args.name:
            print(_line(name, stands, say))
    if not facilities:
        print(say("facility.none"))
    return GOOD


def _mistake(args: argparse.Namespace) -> str:
    if args.deed in ("list", EXPORT) and args.name is not None:
        return f"found {args.name!r} after {args.deed}, expected nothing"
    if args.deed == EXPORT:
        return "" if args.month and args.out else "found no --month or no --out, expected both for export"
    if args.deed == "list":
        return ""
    if args.name is None:
        return f"found nothing after {args.deed}, expected the name of a facility"
    return "" if args.by else "found no --by, expected who does it"


def _export(args: argparse.Namespace) -> int:
    try:
        month = month_of(args.month, "UTC", "")
        each = of_month(of_box(args.state / DATABASE, *month.widest), args.month)
        args.out.mkdir(parents=True, exist_ok=True)
        written = {"proof.html": proof(each)} | tables(each)
        for name, content in written.items():
            (args.out / name).write_text(content, encoding="utf-8", newline="")
    except MonthError as error:
        print(f"linli facility: {error}", file=sys.stderr)
        return WRONG_USE
    except (FactsError, sqlite3.Error, ValueError) as error:
        print(f"linli facility: {error}", file=sys.stderr)
        return CHECK_FAILED
    except OSError as error:
        found = f"{args.out}: found {error.strerror}, expected a folder that can be written; see --out"
        print(f"linli facility: {found}", file=sys.stderr)
        return WRONG_USE
    cases, tests = sum(len(f.cases) for f in each.facilities), sum(len(f.tests) for f in each.facilities)
    print(f"{args.out}: {', '.join(written)}; {len(each.facilities)} facilities, {cases} cases, {tests} tests")
    return GOOD


def _line(name: str, stands: Json, say: Words) -> str:
    words = [say("facility.is", name=name, state=say(f"state.{stands['state']}"))]
    if stands["open"]:
        key = "facility.acknowledged" if stands["acknowledged"] else "facility.open"
        words.append(say(key, case=stands["case"], since=_local(stands["opened"], say), cause=stands["cause"]))
    tested = stands["tested"]
    words.append(say("facility.tested", at=_local(tested, say)) if tested else say("facility.untested"))
    return say("comma").join(words)


def _local(wall_s: object, say: Words) -> str:
    """By the clock on this machine's wall."""
    if not isinstance(wall_s, int | float):
        return say("time.unknown")
    return datetime.fromtimestamp(wall_s).astimezone().strftime("%Y-%m-%d %H:%M")
