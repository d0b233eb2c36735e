"""`linli model`: signed packages of models. Works beside a running gateway and never touches what it runs.

linli model verify FOLDER --key CITY.pub
linli model install FOLDER --key CITY.pub --state DIR
linli model list --state DIR
"""

import argparse
import json
import sys
from pathlib import Path

from gateway.model_packages import Package, checked, install, installed
from gateway.signing import PublicKey, SignatureError, parse_public_key
from models.package import shipped
from models.session import ModelError

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2
FOLDER = "models"  # below the state folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("do", choices=("list", "verify", "install"), help="what to do")
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="verify, install: the package")
    parser.add_argument("--key", action="append", type=Path, default=[], metavar="PUB", help="who may sign; repeat it")
    parser.add_argument("--state", type=Path, metavar="DIR", help="list, install: the gateway's state folder")
    parser.add_argument("--json", action="store_true", help="a JSON document")


def run(args: argparse.Namespace) -> int:
    """0: done. 1: refused, with the reason. 2: wrong use."""
    lacks = _lacks(args)
    if lacks:
        return _say(lacks, WRONG_USE)
    try:
        if args.do == "list":
            return _list(args)
        keys = [_key(path) for path in args.key]
        if args.do == "verify":
            return _show(args, checked(args.folder, keys), "is sound")
        return _show(args, install(args.folder, keys, args.state / FOLDER), "is installed")
    except ModelError as error:
        return _say(str(error), CHECK_FAILED)


def _lacks(args: argparse.Namespace) -> str:
    if args.do != "list" and (args.folder is None or not args.key):
        return f"{args.do} needs FOLDER and --key PUB: whose signature is taken."
    if args.do != "verify" and args.state is None:
        return f"{args.do} needs --state DIR: the gateway's state folder."
    if args.state is not None and not args.state.is_dir():
        return f"{args.state} is no folder. Expected the gateway's state folder (linli run makes it)."
    return ""


def _key(path: Path) -> PublicKey:
    try:
        return parse_public_key(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SignatureError) as error:
        raise ModelError(f"{path} is no public key: {error}.") from error


def _show(args: argparse.Namespace, package: Package, what: str) -> int:
    if args.json:
        print(json.dumps(package._asdict(), ensure_ascii=False))
    else:
        print(f"{package.name} {package.version} {what}: signed by {package.signer} ({package.comment}), ", end="")
        print(f"{package.ms:.1f} ms for 64 windows.")
    return GOOD


def _list(args: argparse.Namespace) -> int:
    rows = [{"name": name, "version": version, "from": "linli", "fault": ""} for name, version in shipped()]
    rows += [
        {"name": name, "version": version, "from": "package", "fault": fault}
        for name, version, fault in installed(args.state / FOLDER)
    ]
    if args.json:
        print(json.dumps(rows, ensure_ascii=False))
    else:
        for row in rows:
            print(f"{row['name']:<14}{row['version']:<10}{row['from']:<10}{row['fault'] or 'sound'}")
    return CHECK_FAILED if any(row["fault"] for row in rows) else GOOD


def _say(text: str, code: int) -> int:
    print(f"linli model: {text}", file=sys.stderr)
    return code
