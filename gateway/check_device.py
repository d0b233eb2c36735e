"""`linli check-device FILE`: every mistake in a device file, and whether it decodes its own golden dumps."""

import argparse
import json
import sys
from pathlib import Path

import msgspec

from drivers import device_file, registers
from drivers.device_file import DeviceFile, DeviceFileError

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="*", type=Path, metavar="FILE", help="device files (default: those of Linli)")
    parser.add_argument("--schema", action="store_true", help="print the JSON Schema of device files instead")


def run(args: argparse.Namespace) -> int:
    """0: good. 1: mistakes, each a line on standard output. 2: there is no such file."""
    if args.schema:
        print(schema(), end="")
        return GOOD
    good = True
    for path in args.file or device_file.models().values():
        if not path.is_file():
            print(f"linli check-device: {path}: found no file, expected a device file; see the path", file=sys.stderr)
            return WRONG_USE
        mistakes, summary = look(path)
        for line in mistakes or [summary]:
            print(line)
        good = good and not mistakes
    return GOOD if good else CHECK_FAILED


def look(path: Path) -> tuple[list[str], str]:
    """(mistakes, one line about a file that has none)."""
    try:
        device = device_file.load(path)
    except DeviceFileError as error:
        return error.mistakes, ""
    proofs = ", ".join(golden.kind for golden in device.golden)
    verified = "verified" if device.verified else "not verified on a real one"
    counts = f"{len(device.point)} points, {len(device.outputs)} outputs, {len(device.setting)} settings"
    summary = f"{path}: OK, {device.model}, {verified}: {counts}, goldens: {proofs}"
    return [f"{path}: {mistake}" for mistake in registers.golden_mistakes(device)], summary


def schema() -> str:
    """JSON Schema of a device file, as docs/device-file.schema.json holds it."""
    body = msgspec.json.schema(DeviceFile)
    body = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Linli device file"} | body
    return json.dumps(body, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
