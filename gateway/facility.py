"""`linli facility list|open|ack|repaired|tested`: the log of doors, lifts, ramps and cords, by hand."""

import argparse
import sys
from datetime import datetime
from pathlib import Path

from gateway.contract import Json
from gateway.control import NotRunning, ask
from gateway.facilities import DEEDS
from gateway.words import LANGUAGES, REPORT_WORDS, Words

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the gateway's state folder")
    parser.add_argument("--lang", choices=LANGUAGES, help="instead of the site file's")
    parser.add_argument("--by", metavar="WHO", help="who does it; needed for all but list")
    parser.add_argument("--note", default="", metavar="TEXT", help="what was seen or done")
    parser.add_argument("deed", choices=DEEDS)
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the facility, as in the site file")


def run(args: argparse.Namespace) -> int:
    """0: done. 1: no gateway runs, or the state of the facility does not allow it. 2: wrong use."""
    if mistake := _mistake(args):
        print(f"linli facility: {mistake}; see linli facility --help", file=sys.stderr)
        return WRONG_USE
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
    if args.deed == "list":
        return f"found {args.name!r} after list, expected nothing" if args.name is not None else ""
    if args.name is None:
        return f"found nothing after {args.deed}, expected the name of a facility"
    return "" if args.by else "found no --by, expected who does it"


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
