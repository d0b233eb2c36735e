"""`linli simulate`: a centre's hardware on this machine, from its site file and a scenario, with the truth beside it.

One thread, one loop: people and water say what happened, devices take it into their rings, lines carry it. Real time.
"""

import argparse
import fcntl
import json
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import IO, Self

from gateway.config import ConfigErrors, Site, load
from simulator import scenario as scenarios
from simulator.centre import Centre
from simulator.firmware import MICROPYTHON, interpreter
from simulator.firmware_node import BOARD, not_on_board
from simulator.scenario import Scenario, ScenarioError

STEP_S = 0.02
FIRMWARE, SIMULATED, AUTO = "firmware", "simulated", "auto"
NODES_SAID = "firmware.json"  # in --links, at the end: what each node that ran its firmware did
SETTLE_S, SETTLE_AFTER_SIGNAL_S = 60.0, 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("site", metavar="SITE", type=Path, help="the site file; its buses and pins are simulated")
    parser.add_argument("--links", metavar="DIR", type=Path, required=True, help="folder for the lines and pins.sock")
    parser.add_argument("--truth", metavar="FILE", type=Path, required=True, help="every fact, a JSON line; appended")
    parser.add_argument("--scenario", metavar="S", default="quiet", help="a name (demo, chaos, quiet) or a file")
    parser.add_argument("--seed", metavar="K", type=int, default=1, help="of all chance (default 1)")
    parser.add_argument("--seconds", metavar="N", type=_seconds, help="then stop making facts; default: the scenario's")
    parser.add_argument("--speed", metavar="X", type=_speed, default=1.0, help="of people's and water's habits")
    parser.add_argument(
        "--nodes",
        choices=(AUTO, FIRMWARE, SIMULATED),
        default=AUTO,
        help="whether nodes run their real firmware (auto: where MicroPython is, and the scenario has no node load)",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 1e9:
        raise argparse.ArgumentTypeError(f"found {text}; expected 0 or more")
    return seconds


def _speed(text: str) -> float:
    speed = float(text)
    if not 0.1 <= speed <= 1000:
        raise argparse.ArgumentTypeError(f"found {text}; expected 0.1 to 1000")
    return speed


def run(args: argparse.Namespace) -> int:
    """0: everything made is durable at the gateway. 1: it is not. 2: the site file or the scenario is wrong."""
    try:
        site = load(args.site)
        scenario = scenarios.load(args.scenario)
        args.links.mkdir(parents=True, exist_ok=True)
        lock = _lock(args.links)
        own = nodes_with_firmware(site, scenario, args.nodes)
        centre = Centre(site, scenario, args.links, args.truth, args.seed, args.speed, time.monotonic, time.time, own)
    except (ConfigErrors, ScenarioError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error}; expected a folder for --links and a file for --truth. Give others.", file=sys.stderr)
        return 2
    seconds = args.seconds if args.seconds is not None else scenario.seconds
    with lock, centre, _Asked() as asked:
        print(f"simulating {site.gateway}: {', '.join(site.buses)} and pins.sock in {args.links}", flush=True)
        if own:
            print(f"{', '.join(own)}: the real firmware, under {interpreter()[0]}", flush=True)
        _generate(centre, seconds, asked)
        code = _settle(centre, asked)
        if own:
            said = {name: node.summary() for name, node in centre.nodes.items()}
            (args.links / NODES_SAID).write_text(json.dumps(said) + "\n")
        return code


def nodes_with_firmware(site: Site, scenario: Scenario, wanted: str) -> list[str]:
    """Names of the nodes that run it. Raises ScenarioError when all shall and one cannot."""
    nodes = [bus.name for bus in site.buses.values() if bus.kind == "node"]
    if wanted == SIMULATED or (wanted == AUTO and (scenario.load.node_per_s or interpreter()[0] != MICROPYTHON)):
        return []
    if scenario.load.node_per_s:
        raise ScenarioError(
            f"{scenario.name}: found [load] node_per_s beside --nodes firmware; expected none: a node's firmware "
            "says what its inputs do. Take it out, or say --nodes simulated."
        )
    strange = not_on_board(sensor.point for sensor in site.sensors.values() if sensor.source in nodes)
    if strange and wanted == FIRMWARE:
        raise ScenarioError(
            f"found {strange[0]} in the site file; expected points that drivers/node/boards/{BOARD}.py has. "
            "Take another point, or say --nodes simulated."
        )
    return [name for name in nodes if not any(point.startswith(f"{name}:") for point in strange)]


def _lock(links: Path) -> IO[str]:
    """Held while it is open. Two simulators under the same names would each take the other's lines."""
    file = open(links / "lock", "w")  # noqa: SIM115  held open until the end
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ScenarioError(
            f"{links}: found another simulator at work in it; expected a folder of our own. "
            "End that one, or give --links another folder."
        ) from None
    return file


class _Asked:
    """Whether SIGTERM or SIGINT has come."""

    def __enter__(self) -> Self:
        self.to_stop = False
        self._before = {number: signal.signal(number, self._take) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.to_stop = True


def _generate(centre: Centre, seconds: float | None, asked: _Asked) -> None:
    while not asked.to_stop and (seconds is None or centre.now_s() < seconds):
        centre.step(STEP_S)
    centre.calm()


def _settle(centre: Centre, asked: _Asked) -> int:
    """Go on serving until nothing is un-durable; who asks to stop waits five seconds at most."""
    ends_s = centre.now_s() + SETTLE_S
    while (left := centre.undurable()) and centre.now_s() < ends_s:
        if asked.to_stop:
            asked.to_stop = False
            ends_s = min(ends_s, centre.now_s() + SETTLE_AFTER_SIGNAL_S)
        centre.step(STEP_S)
    return _verdict(centre, left)


def _verdict(centre: Centre, left: dict[str, int]) -> int:
    print(f"{centre.truth.facts} facts, {sum(left.values())} of them not durable", flush=True)
    for name, count in left.items():
        print(
            f"{name} still holds {count} facts; expected the gateway to make all durable. "
            f"See that it runs, has {name} in its site file and this folder as --links.",
            file=sys.stderr,
        )
    return 1 if left else 0
