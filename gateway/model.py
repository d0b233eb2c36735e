"""`linli model`: signed packages of models, and which version runs.

    linli model verify FOLDER --key CITY.pub
    linli model install FOLDER --key CITY.pub --state DIR
    linli model list --state DIR [--site SITE]
    linli model collect --state DIR > windows.jsonl
    linli model shadow NAME VERSION --state DIR [--after-days N] [--by WHO]
    linli model promote|rollback NAME [VERSION] --state DIR [--by WHO]
    linli model learn NAME SENSOR --state DIR [--by WHO]

The first four need no gateway and touch nothing that runs; the others ask the one that runs here.
"""

import argparse
import json
import sqlite3
import sys
from pathlib import Path

from gateway.config import ConfigErrors, load
from gateway.contract import Json
from gateway.control import NotRunning, ask
from gateway.home import DATABASE
from gateway.model_collect import labelled
from gateway.model_list import lines, rows, uses
from gateway.model_packages import PACKAGES, Package, checked, install
from gateway.signing import PublicKey, SignatureError, parse_public_key
from models.session import ModelError

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2
_PACKAGES = ("verify", "install")
_DEEDS = ("shadow", "promote", "rollback")
_WORDS = {
    "list": (0, 0, "nothing more"), "collect": (0, 0, "nothing more"), "verify": (1, 1, "FOLDER"),
    "install": (1, 1, "FOLDER"), "shadow": (2, 2, "NAME VERSION"), "promote": (1, 2, "NAME, or NAME VERSION"),
    "rollback": (1, 2, "NAME, or NAME VERSION"), "learn": (2, 2, "NAME and the sensor or machine"),
}  # fmt: skip
"""{do: how many words may follow it, and which}."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("do", choices=("list", "collect", *_PACKAGES, *_DEEDS, "learn"), help="what to do")
    parser.add_argument("what", nargs="*", metavar="FOLDER | NAME [VERSION | SENSOR]", help="the package, or the model")
    parser.add_argument("--key", action="append", type=Path, default=[], metavar="PUB", help="who may sign; repeat it")
    parser.add_argument("--state", type=Path, metavar="DIR", help="the gateway's state folder; all but verify need it")
    parser.add_argument("--site", type=Path, metavar="SITE", help="list: whose sensors to name where no gateway runs")
    parser.add_argument("--after-days", type=float, default=0.0, metavar="N",
                        help="shadow: promote it by itself after so many sound days (else: never)")  # fmt: skip
    parser.add_argument("--by", default="desk", metavar="WHO", help="who wants it, for the record")
    parser.add_argument("--json", action="store_true", help="a JSON document")


def run(args: argparse.Namespace) -> int:
    """0: done. 1: refused, with the reason. 2: wrong use."""
    lacks = _lacks(args)
    if lacks:
        return _say(lacks, WRONG_USE)
    try:
        if args.do == "list":
            return _list(args)
        if args.do == "collect":
            return _collect(args)
        if args.do in _DEEDS:
            return _decide(args)
        if args.do == "learn":
            return _learn(args)
        folder, keys = Path(args.what[0]), [_key(path) for path in args.key]
        if args.do == "verify":
            return _show(args, checked(folder, keys), "is sound")
        package = install(folder, keys, args.state / PACKAGES)
        if not (args.state / DATABASE).is_file():
            print(
                f"linli model: no gateway has run on {args.state} yet; see that `linli run --state` has the same",
                file=sys.stderr,
            )
        return _show(args, package, "is installed")
    except (ModelError, ValueError, OSError) as error:
        return _say(str(error), CHECK_FAILED)


def _lacks(args: argparse.Namespace) -> str:
    least, most, expected = _WORDS[args.do]
    if not least <= len(args.what) <= most:
        return f"found {' '.join(args.what) or 'nothing'} after {args.do}, expected {expected}."
    if args.do in _PACKAGES and not args.key:
        return f"{args.do} needs --key PUB: whose signature is taken."
    if args.do != "verify" and args.state is None:
        return f"{args.do} needs --state DIR: the gateway's state folder."
    if args.state is not None and not args.state.is_dir():
        return f"{args.state} is no folder. Expected the gateway's state folder (linli run makes it)."
    return ""


def _key(path: Path) -> PublicKey:
    try:
        return parse_public_key(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}. Expected the .pub file of whoever may sign. Correct --key."
        ) from error
    except (ValueError, SignatureError) as error:
        raise ModelError(f"{path} is no public key: {error}.") from error


def _show(args: argparse.Namespace, package: Package, what: str) -> int:
    if args.json:
        print(json.dumps(package._asdict(), ensure_ascii=False))
    else:
        print(f"{package.name} {package.version} {what}: signed by {package.signer} ({package.comment}), ", end="")
        print(f"{package.ms:.1f} ms for 64 windows.")
    return GOOD


# -- which there are, and which runs -----------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    """What runs is asked of the gateway that runs here; else --site says what would."""
    try:
        answer = _asked(args, "list")
    except NotRunning as error:
        print(f"linli model: which of them runs is not known, as no gateway answers: {error}", file=sys.stderr)
        answer = None
    try:
        named = uses(load(args.site)) if args.site else {}
    except ConfigErrors as error:
        return _say(f"{args.site}: found {len(error.problems)} mistakes, expected none; see linli check.", CHECK_FAILED)
    found = rows(args.state / PACKAGES, answer, named)
    if args.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        print("\n".join(lines(found)))
    return CHECK_FAILED if any(row["fault"] for row in found) else GOOD


def _collect(args: argparse.Namespace) -> int:
    database: Path = args.state / DATABASE
    if not database.is_file():
        return _say(f"{database}: found no database, expected one; see --state (linli run makes it).", WRONG_USE)
    try:
        for row in labelled(database):
            print(json.dumps(row))
    except sqlite3.Error as error:
        return _say(f"{database}: found {error}, expected a sound database; see linli doctor.", CHECK_FAILED)
    return GOOD


def _decide(args: argparse.Namespace) -> int:
    try:
        rows = _asked(args, args.do)["models"]
        assert isinstance(rows, list)
    except NotRunning as error:
        return _no_gateway(args, error)
    for row in rows:
        if row["model"] == args.what[0]:
            other = (
                f", {row['other']} {'before it' if row['on_probation'] else 'as its shadow'}" if row["other"] else ""
            )
            print(json.dumps(row) if args.json else f"{row['model']}: {row['active']} is active{other}.")
    return GOOD


def _learn(args: argparse.Namespace) -> int:
    name, of = args.what
    try:
        _asked(args, "learn", of=of)
    except NotRunning as error:
        return _no_gateway(args, error)
    print(f"{name} learns {of} anew.")
    return GOOD


def _no_gateway(args: argparse.Namespace, error: NotRunning) -> int:
    return _say(
        f"found no gateway that runs on {args.state} and answers ({error}), expected one; see linli doctor.",
        CHECK_FAILED,
    )


def _asked(args: argparse.Namespace, deed: str, **more: object) -> Json:
    """Raises NotRunning, ValueError."""
    name, version = [*args.what, "", ""][:2]
    wanted: Json = {"ask": "model", "deed": deed, "name": name, "version": version, "by": args.by,
                    "after_days": args.after_days}  # fmt: skip
    return ask(args.state, wanted | more)


def _say(text: str, code: int) -> int:
    print(f"linli model: {text}", file=sys.stderr)
    return code
