"""`linli output --state DIR list|open|close|on|off|auto NAME`: hold an output by hand for a while, and let go."""

import argparse
import sys
from pathlib import Path

from gateway.contract import Json
from gateway.control import NotRunning, ask
from gateway.words import LANGUAGES, Words

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2
MINUTES = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the gateway's state folder")
    parser.add_argument("--lang", choices=LANGUAGES, help="instead of the site file's")
    parser.add_argument("--minutes", type=float, default=MINUTES, metavar="N", help="for so long (default 30)")
    parser.add_argument("--by", default="desk", metavar="WHO", help="who wants it, for the record")
    parser.add_argument("name", metavar="NAME", help="of the output, or: list")
    parser.add_argument("action", nargs="?", choices=("open", "close", "on", "off", "auto"),
                        help="auto lets go: it rests, unless the alarm of a reaction still stands")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """0: done. 1: no gateway runs, or it refuses. 2: wrong use."""
    if (args.action is None) != (args.name == "list"):
        print("linli output: found a name without an action, or an action without a name, expected NAME ACTION or "
              "list; see linli output --help", file=sys.stderr)  # fmt: skip
        return WRONG_USE
    say = Words(args.lang or LANGUAGES[0])
    try:
        status = ask(args.state, {"ask": "status"})
        if not args.lang and status.get("lang") in LANGUAGES:
            say = Words(str(status["lang"]))
        if args.action:
            wanted: Json = {"ask": "output", "output": args.name, "action": args.action, "by": args.by}
            status = ask(args.state, wanted | {"minutes": args.minutes})
        _list(status, say)
    except NotRunning:
        print(say("alarm.no_gateway", folder=args.state), file=sys.stderr)
        return CHECK_FAILED
    except ValueError as error:
        print(" ".join(say.fault(str(error))), file=sys.stderr)
        return CHECK_FAILED
    return GOOD


def _list(status: Json, say: Words) -> None:
    outputs, hands = status["outputs"], status["hands"]
    assert isinstance(outputs, dict) and isinstance(hands, dict)
    for name, on in outputs.items():
        print(say("output.is", name=name, state=say("output.on" if on else "output.off")))
        if hand := hands.get(name):
            print("  " + say("output.hand", by=hand["by"], minutes=-(-hand["left_s"] // 60)))
