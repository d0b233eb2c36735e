"""`linli alarm --state DIR list|ack|reset|shelve|unshelve|journal`: the alarms of this box, from the box.

All but the journal ask the gateway that runs here; the journal is read from its database, whether it runs or not.
"""

import argparse
import sqlite3
import sys
from pathlib import Path

from gateway import alarm_journal
from gateway.alarms import NORMAL
from gateway.contract import Json
from gateway.control import NotRunning, ask
from gateway.home import DATABASE
from gateway.words import LANGUAGES, Words

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2
_DEEDS = {  # what the desk is asked, and what is said when there was nothing to do
    "ack": ("acknowledge", "alarm.unacked"),
    "reset": ("reset", "alarm.still"),
    "shelve": ("shelve", "alarm.unshelved"),
    "unshelve": ("unshelve", "alarm.unshelved"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the gateway's state folder")
    parser.add_argument("--lang", choices=LANGUAGES, help="instead of the site file's")
    parser.add_argument("--hours", type=float, metavar="H", help="shelve: for how long")
    parser.add_argument("--all", action="store_true", help="list: each one, also in a flood; ack: each one, not NAME")
    parser.add_argument("--json", action="store_true", help="journal: each step as a line of JSON")
    parser.add_argument("deed", choices=("list", *_DEEDS, "journal"))
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the alarm, as in the site file or `list`")


def run(args: argparse.Namespace) -> int:
    """0: done. 1: no gateway runs, it has no such alarm, or it may not be done. 2: wrong use."""
    if mistake := _mistake(args):
        print(f"linli alarm: {mistake}; see linli alarm --help", file=sys.stderr)
        return WRONG_USE
    say = Words(args.lang or LANGUAGES[0])
    if args.deed == "journal":
        return _journal(args, say)
    try:
        answer = ask(args.state, {"ask": "alarms"})
        if not args.lang and answer.get("lang") in LANGUAGES:
            say = Words(str(answer["lang"]))
        if args.deed == "list":
            return _list(answer, say, everything=args.all)
        return _acknowledge_all(args.state, answer, say) if args.name is None else _do(args, args.name, say)
    except NotRunning:
        print(say("alarm.no_gateway", folder=args.state), file=sys.stderr)
    except ValueError as error:
        print("; ".join(say.fault(str(error))), file=sys.stderr)
    return CHECK_FAILED


def _mistake(args: argparse.Namespace) -> str:
    if args.deed == "list" and args.name is not None:
        return f"found {args.name} after list, expected nothing"
    if args.deed in _DEEDS and (args.name is None) != (args.deed == "ack" and args.all):
        if args.name is not None:
            return f"found {args.name} and --all, expected one of the two"
        return f"found no name after {args.deed}, expected the name of an alarm"
    if (args.hours is not None) != (args.deed == "shelve"):
        found = "no --hours" if args.hours is None else "--hours"
        return f"found {found} with {args.deed}, expected it with shelve alone"
    return ""


def _list(answer: Json, say: Words, *, everything: bool) -> int:
    rows, flood = answer["alarms"], answer.get("flood")
    assert isinstance(rows, list)
    hidden = [] if everything or not isinstance(flood, dict) else [r for r in rows if r["severity"] != "urgent"]
    if isinstance(flood, dict):
        print(say("alarm.flood", alarms=flood["alarms"], first=flood["first"]))
    for row in rows:
        if row not in hidden:
            print(_line(row, say))
    if hidden:
        counts = [f"{sum(r['severity'] == s for r in hidden)} {say(f'alarm.severity.{s}')}" for s in ("high", "low")]
        print(say("alarm.hidden", counts=say("alarm.comma").join(counts)))
    if not rows:
        print(say("alarms.none"))
    return GOOD


def _line(row: Json, say: Words) -> str:
    since_s, chatter, left_s = row["since_s"], row["chatter"], row.get("shelved_left_s")
    words = [_is(str(row["alarm"]), str(row["state"]), say), say(f"alarm.severity.{row['severity']}")]
    if isinstance(since_s, float | int) and since_s >= 0:
        words.append(say.span(since_s))
    if row["first_out"]:
        words.append(say("alarm.first"))
    if isinstance(chatter, dict):
        words.append(say("alarm.chatter", times=chatter["times"], within=say.span(chatter["within_s"])))
    if row["escalation"]:
        words.append(say("alarm.escalation", step=row["escalation"]))
    if isinstance(left_s, float | int):
        words.append(say("alarm.shelf", by=row["by"], left=say.span(max(0.0, left_s))))
    if row["state"] == "shelved" and row["active"]:
        words.append(say("alarm.active"))
    return say("alarm.comma").join(words)


def _is(name: str, state: str, say: Words) -> str:
    return say("alarm.is", name=name, state=say(f"alarm.state.{state}"))


def _do(args: argparse.Namespace, name: str, say: Words) -> int:
    word, nothing = _DEEDS[args.deed]
    answer = ask(args.state, {"ask": word, "alarm": name, "hours": args.hours})
    states = answer["alarms"]
    assert isinstance(states, dict)
    state = states.get(name, NORMAL)
    if not answer["done"]:
        print(say(nothing, name=name, state=say(f"alarm.state.{state}")), file=sys.stderr)
        return CHECK_FAILED
    print(_is(name, state, say))
    return GOOD


def _acknowledge_all(folder: Path, before: Json, say: Words) -> int:
    """Those that may be acknowledged here, in the order of their coming; the others are named, with 1."""
    rows, code = before["alarms"], GOOD
    assert isinstance(rows, list)
    for row in rows:
        if row["acknowledged"]:
            continue
        try:
            states = ask(folder, {"ask": "acknowledge", "alarm": row["alarm"]})["alarms"]
            assert isinstance(states, dict)
            print(_is(row["alarm"], states.get(row["alarm"], NORMAL), say))
        except ValueError as error:
            print("; ".join(say.fault(str(error))), file=sys.stderr)
            code = CHECK_FAILED
    return code


def _journal(args: argparse.Namespace, say: Words) -> int:
    path: Path = args.state / DATABASE
    if not path.is_file():
        print(say("alarm.no_database", folder=args.state), file=sys.stderr)
        return CHECK_FAILED
    try:
        for line in alarm_journal.lines(path, args.name, say, as_json=args.json):
            print(line)
    except (sqlite3.Error, ValueError) as error:
        print(say("alarm.bad_database", path=path, why=error), file=sys.stderr)
        return CHECK_FAILED
    return GOOD
