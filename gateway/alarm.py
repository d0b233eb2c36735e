"""`linli alarm --state DIR list|ack NAME|reset NAME`: the alarms of the gateway that runs here, from its own box."""

import argparse
import sys
from pathlib import Path

from gateway.alarms import LATCHED, NORMAL, RETURNED, UNACKNOWLEDGED
from gateway.contract import Json
from gateway.control import NotRunning, ask
from gateway.words import LANGUAGES, Words

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the gateway's state folder")
    parser.add_argument("--lang", choices=LANGUAGES, help="instead of the site file's")
    parser.add_argument("deed", choices=("list", "ack", "reset"))
    parser.add_argument("name", nargs="?", metavar="NAME", help="of the alarm, as in the site file")


def run(args: argparse.Namespace) -> int:
    """0: done. 1: no gateway runs, it has no such alarm, or the alarm's state does not allow it. 2: wrong use."""
    if (args.name is not None) == (args.deed == "list"):
        print(f"linli alarm: found {args.name or 'no name'} after {args.deed}, expected {_after(args.deed)}; "
              "see linli alarm --help", file=sys.stderr)  # fmt: skip
        return WRONG_USE
    say = Words(args.lang or LANGUAGES[0])
    try:
        status = ask(args.state, {"ask": "status"})
        if not args.lang and status.get("lang") in LANGUAGES:
            say = Words(str(status["lang"]))
        return _list(_states(status), say) if args.deed == "list" else _do(args, _states(status), say)
    except NotRunning:
        print(say("alarm.no_gateway", folder=args.state), file=sys.stderr)
    except ValueError as error:
        print(" ".join(say.fault(str(error))), file=sys.stderr)
    return CHECK_FAILED


def _after(deed: str) -> str:
    return "nothing" if deed == "list" else "the name of an alarm"


def _states(answer: Json) -> dict[str, str]:
    """{name: state} of all that are not normal."""
    alarms = answer.get("alarms")
    return {str(name): str(state) for name, state in alarms.items()} if isinstance(alarms, dict) else {}


def _list(standing: dict[str, str], say: Words) -> int:
    for name, state in standing.items():
        print(_is(name, state, say))
    if not standing:
        print(say("alarms.none"))
    return GOOD


def _is(name: str, state: str, say: Words) -> str:
    return say("alarm.is", name=name, state=say(f"alarm.state.{state}"))


def _do(args: argparse.Namespace, before: dict[str, str], say: Words) -> int:
    """The gateway does it; whether it could is told by the state before."""
    word, possible, refused = {
        "ack": ("acknowledge", (UNACKNOWLEDGED, RETURNED), "alarm.unacked"),
        "reset": ("reset", (LATCHED,), "alarm.still"),
    }[args.deed]
    after = _states(ask(args.state, {"ask": word, "alarm": args.name})).get(args.name, NORMAL)
    if (state := before.get(args.name, NORMAL)) not in possible:
        print(say(refused, name=args.name, state=say(f"alarm.state.{state}")), file=sys.stderr)
        return CHECK_FAILED
    print(_is(args.name, after, say))
    return GOOD
