"""What commands for a person at the box share: ask the gateway that runs here, answer in the centre's language."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from gateway.contract import Json
from gateway.control import NotRunning, ask
from gateway.words import LANGUAGES, Words

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", required=True, type=Path, metavar="DIR", help="the gateway's state folder")
    parser.add_argument("--lang", choices=LANGUAGES, help="instead of the site file's")
    parser.add_argument("--by", default="desk", metavar="WHO", help="who wants it, for the record")


def answered(args: argparse.Namespace, wanted: Json | None, show: Callable[[Json, Words], None]) -> int:
    """wanted: what to ask for; None only looks at the status. 0: done and shown. 1: no gateway runs, or it refuses."""
    say = Words(args.lang or LANGUAGES[0])
    try:
        status = ask(args.state, {"ask": "status"})
        if not args.lang and status.get("lang") in LANGUAGES:
            say = Words(str(status["lang"]))
        show(ask(args.state, wanted) if wanted else status, say)
    except NotRunning:
        print(say("alarm.no_gateway", folder=args.state), file=sys.stderr)
        return CHECK_FAILED
    except ValueError as error:
        print(" ".join(say.fault(str(error))), file=sys.stderr)
        return CHECK_FAILED
    return GOOD
