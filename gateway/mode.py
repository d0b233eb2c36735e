"""`linli mode --state DIR test|maintenance|end|list`: a test of the alarms, or work at a place, with an end."""

import argparse
import sys
from pathlib import Path

from gateway.contract import Json
from gateway.control import NotRunning, ask
from gateway.words import LANGUAGES, Words

GOOD, CHECK_FAILED = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the gateway's state folder")
    parser.add_argument("--lang", choices=LANGUAGES, help="instead of the site file's")
    parser.add_argument("--minutes", type=float, default=15.0, metavar="N", help="for so long (default 15)")
    parser.add_argument("--place", default="", metavar="PREFIX",
                        help="maintenance of one place or sensor, e.g. toilet-f1 (else: the whole centre)")  # fmt: skip
    parser.add_argument("--by", default="desk", metavar="WHO", help="who does it, for the record")
    parser.add_argument("mode", choices=("test", "maintenance", "end", "list"))


def run(args: argparse.Namespace) -> int:
    """0: done. 1: no gateway runs, or it refuses. `end` ends a test, and the maintenance of PREFIX."""
    say = Words(args.lang or LANGUAGES[0])
    try:
        status = ask(args.state, {"ask": "status"})
        if not args.lang and status.get("lang") in LANGUAGES:
            say = Words(str(status["lang"]))
        if args.mode != "list":
            wanted: Json = {"ask": "mode", "mode": args.mode, "place": args.place, "by": args.by}
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
    modes = status["modes"]
    assert isinstance(modes, list)
    for mode in modes:
        words = say(f"mode.{mode['mode']}"), mode["place"] or say("mode.everywhere")
        print(say("mode.is", mode=words[0], place=words[1], by=mode["by"], minutes=-(-mode["left_s"] // 60)))
    if not modes:
        print(say("mode.none"))
    for key, word in (("covered", "mode.covered"), ("also_elsewhere", "mode.also_elsewhere")):
        names = status.get(key)
        if isinstance(names, list) and names:
            print(say(word, names=", ".join(map(str, names))))
