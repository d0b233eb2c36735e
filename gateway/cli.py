"""The command `linli`: one line per sub-command; only the module of the one that is called is imported.

Each module offers `add_arguments(parser)` and `run(args) -> int`. Exit codes: 0 good, 1 a check failed, 2 wrong use,
130 ended by Ctrl-C.
The simulator's modules stand here by name alone: the gateway itself never imports the simulator.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

GOOD, CHECK_FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


class Command(NamedTuple):
    module: str
    help: str


COMMANDS = {
    "demo": Command("simulator.demo", "a whole centre on this machine, with a page to look at"),
    "run": Command("gateway.run", "the gateway: linli run SITE --state DIR"),
    "check": Command("gateway.check", "every mistake in a site file, and what to do about it"),
    "check-device": Command("gateway.check_device", "every mistake in a device file, tried on its golden dumps"),
    "provision": Command("provisioning.command", "a new site file; the gateway on this machine, and away again"),
    "doctor": Command("gateway.doctor", "try every bus, pin, sensor, clock, disk and the broker"),
    "scan-bus": Command("gateway.scan_bus", "which addresses answer on a Modbus line; read-only"),
    "alarm": Command("gateway.alarm", "which alarms stand; acknowledge, reset or shelve one at the box; their journal"),
    "facility": Command(
        "gateway.facility", "the log of doors, lifts, ramps and cords: cases, repairs, tests, as proof"
    ),
    "page": Command(
        "gateway.page_command", "the page in the centre: queues for the hall, alarms and deeds for the staff"
    ),
    "page pin": Command("gateway.page_pin", "set the PIN of the staff's page"),
    "output": Command("gateway.output", "hold an output by hand for a while, and let go of it"),
    "mode": Command("gateway.mode", "test or maintenance: alarms are marked, some reactions wait; ends by itself"),
    "model": Command(
        "gateway.model",
        "signed packages of models: which there are, which runs, and windows to train the next",
    ),
    "report": Command("gateway.report", "the month of a centre, or of many, as one page for the residents' council"),
    "db": Command("gateway.db", "look inside the gateway's database"),
    "outbox": Command("gateway.outbox", "what waits for the city, and since when"),
    "contract": Command("gateway.contract_command", "the city's contract for machines: AsyncAPI and JSON Schemas"),
    "simulate": Command("simulator.simulate", "a building's hardware, byte for byte and pin for pin"),
    "city": Command("simulator.city", "the city's ledger: keep, check and acknowledge what arrives"),
    "command": Command("simulator.command", "ask a gateway as the city does: sign, send, wait for the result"),
    "verify": Command("simulator.verify", "compare the simulator's truth with the city's ledger"),
    "bench": Command("simulator.bench", "measure the README's figures on this machine"),
    "bench models": Command(
        "models.bench", "the detectors on published tables (NAB, LeakDB, SKAB), by their protocols"
    ),
    "bench rates": Command("simulator.bench_rates", "a stated rate of alarms, beside what came on real series"),
    "bench queues": Command("models.queues.bench", "how good the forecast of waits is, on a folder of snapshots"),
    "kpi": Command("simulator.kpi_check", "the queues' figures against the truth, and estimates of a wait"),
    "soak": Command("simulator.soak", "the centre for an hour or a night; does anything grow?"),
    "chaos": Command("simulator.chaos", "seeded faults against a running centre, then the promises"),
    "nights": Command("simulator.nights", "seeded nights: the whole gateway in one thread on a virtual clock, failing"),
    "reactions": Command("simulator.reactions", "every reaction with city, disk and gateway failing: output and time"),
    "powercut": Command("simulator.powercut", "the power cut at hundreds of moments of a real run; needs root"),
    "sickdisk": Command("simulator.sick_disk", "a disk that is full, read-only, slow or broken under a real run"),
}
DEMO_EXTRA = {"rich", "iotcore"}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments:
        print(overview(), file=sys.stderr)
        return WRONG_USE
    name, *rest = arguments
    if rest and f"{name} {rest[0]}" in COMMANDS:  # of two words
        name, rest = f"{name} {rest[0]}", rest[1:]
    if name in ("-h", "--help", "help"):
        print(overview())
        return GOOD
    if name == "--version":
        print(f"linli {version()}")
        return GOOD
    if name not in COMMANDS:
        print(f"linli: no command '{name}'; it is one of: {', '.join(COMMANDS)}.", file=sys.stderr)
        print("`linli --help` says what each is for.", file=sys.stderr)
        return WRONG_USE
    return call(name, rest)


def overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: linli COMMAND ...", "", *lines, "", "`linli COMMAND --help` lists its arguments."])


def version() -> str:
    from importlib.metadata import version as installed  # 20 ms that only --version pays

    return installed("linli")


def call(name: str, arguments: Sequence[str]) -> int:
    """Import the command's module and run it. argparse itself leaves with 2 when the arguments are wrong."""
    command = COMMANDS[name]
    try:
        module = importlib.import_module(command.module)
        parser = argparse.ArgumentParser(prog=f"linli {name}", description=command.help)
        module.add_arguments(parser)
        code: int = module.run(parser.parse_args(arguments))
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in DEMO_EXTRA:
            raise
        print(f"linli {name} needs {error.name} of the extra 'demo', which is not installed here.", file=sys.stderr)
        print(f"Use `./dev linli {name}`, which brings it along, or install linli[demo].", file=sys.stderr)
        return WRONG_USE
    except KeyboardInterrupt:  # by the person who started it: no news, and no fault
        return INTERRUPTED
    except BrokenPipeError:  # `linli db ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return GOOD
    return code
