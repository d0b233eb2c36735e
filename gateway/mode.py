"""`linli mode --state DIR test|maintenance|end|list`: a test of the alarms, or work at a place, with an end."""

import argparse

from gateway import at_box
from gateway.at_box import answered
from gateway.contract import Json
from gateway.words import Words


def add_arguments(parser: argparse.ArgumentParser) -> None:
    at_box.add_arguments(parser)
    parser.add_argument("--minutes", type=float, default=15.0, metavar="N", help="for so long (default 15)")
    parser.add_argument("--place", default="", metavar="PREFIX",
                        help="maintenance of one place or sensor, e.g. toilet-f1 (else: the whole centre)")  # fmt: skip
    parser.add_argument("mode", choices=("test", "maintenance", "end", "list"))


def run(args: argparse.Namespace) -> int:
    """0: done. 1: no gateway runs, or it refuses. `end` ends a test, and the maintenance of PREFIX."""
    wanted: Json = {"ask": "mode", "mode": args.mode, "place": args.place, "by": args.by, "minutes": args.minutes}
    return answered(args, wanted if args.mode != "list" else None, _show)


def _show(status: Json, say: Words) -> None:
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
