"""`linli output --state DIR list | NAME open|close|on|off|auto`: hold an output by hand for a while, and let go."""

import argparse
import sys

from gateway import at_box
from gateway.at_box import WRONG_USE, answered
from gateway.contract import Json
from gateway.words import Words

MINUTES = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    at_box.add_arguments(parser)
    parser.add_argument("--minutes", type=float, default=MINUTES, metavar="N", help="for so long (default 30)")
    parser.add_argument("name", metavar="NAME", help="of the output, or: list")
    parser.add_argument("action", nargs="?", choices=("open", "close", "on", "off", "auto"),
                        help="auto lets go: it rests, unless the alarm of a reaction still stands")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """0: done. 1: no gateway runs, or it refuses. 2: wrong use."""
    if (args.action is None) != (args.name == "list"):
        print("linli output: found a name without an action, or an action without a name, expected NAME ACTION or "
              "list; see linli output --help", file=sys.stderr)  # fmt: skip
        return WRONG_USE
    wanted: Json = {"ask": "output", "output": args.name, "action": args.action, "by": args.by, "minutes": args.minutes}
    return answered(args, wanted if args.action else None, _show)


def _show(status: Json, say: Words) -> None:
    outputs, hands = status["outputs"], status["hands"]
    assert isinstance(outputs, dict) and isinstance(hands, dict)
    for name, on in outputs.items():
        print(say("output.is", name=name, state=say("output.on" if on else "output.off")))
        if hand := hands.get(name):
            print("  " + say("output.hand", by=hand["by"], minutes=-(-hand["left_s"] // 60)))
