"""`linli scan-bus SITE BUS`: which addresses answer on a Modbus line, at the speeds units are delivered with.

Reads one register of each address and nothing else; whoever answers, be it with an exception, is there.
"""

import argparse
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from drivers.modbus import Timing, frame_size, intact, read_frame
from drivers.reading import DriverError
from drivers.serial_line import SerialLine
from gateway import config
from gateway.build_lines import serial_line
from gateway.clock import SystemClock
from gateway.config import Bus
from gateway.words import LANGUAGES, Words

GOOD, CHECK_FAILED, WRONG_USE = 0, 1, 2
LINES = ("9600 8N1", "19200 8N1", "4800 8N1", "9600 8E1", "19200 8E1", "38400 8N1", "115200 8N1", "2400 8N1")
WAIT_MS = 100.0
_READ_BYTES = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", type=Path, metavar="SITE", help="the site file")
    parser.add_argument("bus", metavar="BUS", help="the name of a modbus bus in it")
    parser.add_argument("--links", type=Path, metavar="DIR", help="the simulator's ports instead of real ones")
    parser.add_argument("--to", type=int, default=32, metavar="N", help="addresses 1 to N, 247 at most (default: 32)")
    parser.add_argument(
        "--all-speeds", action="store_true", help=f"try {', '.join(LINES)}, not only the bus's own line"
    )
    parser.add_argument("--lang", choices=LANGUAGES, help="instead of the site file's")


def run(args: argparse.Namespace) -> int:
    """0: somebody answers. 1: nobody does, or the port cannot be opened. 2: wrong use."""
    try:
        site = config.load(args.site)
    except config.ConfigErrors as errors:
        print(errors, file=sys.stderr)
        return CHECK_FAILED
    say = Words(args.lang or site.lang)
    bus = site.buses.get(args.bus)
    lines = [b.name for b in site.buses.values() if b.kind == "modbus"]
    if bus is None or bus.name not in lines:
        print(say("scan.nobus", bus=args.bus, lines=", ".join(lines) or "-"), file=sys.stderr)
        return WRONG_USE
    if not 1 <= args.to <= 247:
        print(f"linli scan-bus: --to: found {args.to}, expected 1 to 247; write it so", file=sys.stderr)
        return WRONG_USE
    names = {device.address: device.name for device in site.devices.values() if device.bus == bus.name}
    mono_s = SystemClock().mono_s
    count = 0
    for line in dict.fromkeys([bus.line, *(LINES if args.all_speeds else ())]):
        try:
            port = serial_line(_at(bus, line), args.links, mono_s)
        except DriverError as error:
            print(" ".join(say.fault(str(error))), file=sys.stderr)
            return WRONG_USE
        if not port.open():
            print(" ".join(say.fault(port.error)), file=sys.stderr)
            return CHECK_FAILED
        try:
            for address, verdict in answering(port, Timing.of(line, WAIT_MS), args.to, mono_s):
                count += verdict == "answers"
                known = say("scan.known", name=names[address]) if address in names else say("scan.stranger")
                print(f"{line}  {say(f'scan.{verdict}', address=address)}  {known}", flush=True)
        finally:
            port.close()
    print(say("scan.summary", count=count))
    return GOOD if count else CHECK_FAILED


def _at(bus: Bus, line: str) -> Bus:
    return Bus(name=bus.name, kind=bus.kind, port=bus.port, line=line)


def answering(port: SerialLine, timing: Timing, to: int, mono_s: Callable[[], float]) -> Iterator[tuple[int, str]]:
    """(address, "answers" or "noise") of each address where anything comes."""
    for address in range(1, to + 1):
        request = read_frame(address, "holding", 0, 1)
        if port.write(request) < 0:
            return
        heard = _heard(port, timing, request, mono_s)
        if heard.startswith(request):
            heard = heard[len(request) :]  # an adapter that hears itself
        size = frame_size(heard)
        if size and len(heard) >= size and heard[0] == address and intact(heard[:size]):
            yield address, "answers"
        elif heard:
            yield address, "noise"


def _heard(port: SerialLine, timing: Timing, request: bytes, mono_s: Callable[[], float]) -> bytes:
    """All that comes until the time-out, or until a whole answer is there and the line is quiet."""
    heard = b""
    until_s = mono_s() + len(request) * timing.char_s + timing.timeout_s
    while (left_s := until_s - mono_s()) > 0 and port.fd >= 0:
        if select.select([port.fd], [], [], left_s)[0]:
            heard += port.read(_READ_BYTES) or b""
            until_s = max(until_s, mono_s() + timing.gap_s)
    return heard
