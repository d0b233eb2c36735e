"""`linli contract`: the city's contract for machines, an AsyncAPI 3.0 document and JSON Schemas (2020-12).

Without arguments it prints the AsyncAPI document. With --out DIR it writes asyncapi.json and schemas/*.json there;
with --check it writes nothing and says whether those in DIR (docs/contract) are what this version would write.
"""

import argparse
import json
import sys
from pathlib import Path

from gateway.contract_schema import asyncapi, schemas

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2
_CHECKED_IN = Path("docs/contract")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="write asyncapi.json and schemas/*.json there")
    parser.add_argument("--check", action="store_true", help="compare instead; without --out: those in docs/contract")


def run(args: argparse.Namespace) -> int:
    """0: printed, written, or the same. 1: --check found a difference. 2: DIR cannot be written or read."""
    texts = files()
    out: Path = args.out or _CHECKED_IN
    try:
        if args.check:
            return _check(out, texts)
        if args.out is None:
            print(texts[Path("asyncapi.json")], end="")
            return GOOD
        for name, text in texts.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text)
    except OSError as error:
        print(
            f"linli contract: {out}: found {(error.strerror or 'an error').lower()}, expected a folder; see --out",
            file=sys.stderr,
        )
        return WRONG_USE
    print(f"{out}: {len(texts)} files written")
    return GOOD


def files() -> dict[Path, str]:
    """{path below the folder: text} of every file of the contract."""
    found = {Path("asyncapi.json"): asyncapi()}
    found |= {Path("schemas", f"{name}.json"): schema for name, schema in schemas().items()}
    return {path: json.dumps(body, ensure_ascii=False, indent=2) + "\n" for path, body in found.items()}


def _check(folder: Path, texts: dict[Path, str]) -> int:
    list(folder.iterdir())  # a folder that is not there is wrong use, not nine differences
    here = {path.relative_to(folder): path.read_text() for path in folder.rglob("*.json")}
    wrong = [f"{folder / name}: is missing" for name in texts if name not in here]
    wrong += [f"{folder / name}: differs" for name, text in texts.items() if here.get(name, text) != text]
    wrong += [f"{folder / name}: is none of ours" for name in here if name not in texts]
    for line in wrong:
        print(f"{line}; expected what this version makes; run `linli contract --out {folder}`, or delete what is extra")
    if not wrong:
        print(f"{folder}: {len(texts)} files, all as this version makes them")
    return CHECK_FAILED if wrong else GOOD
