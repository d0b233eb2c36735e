"""`linli chaos`: a centre under load while gateway, broker and lines are killed at random; then calm, and the verdict.

Every moment comes from one seed. Gateway and broker are killed for real and start again on what their disks hold.
"""

import argparse
import json
import random
import re
import sys
from collections import Counter
from pathlib import Path

from gateway.clock import SystemClock
from gateway.config import load
from gateway.contract import Json
from simulator import nodes_soak
from simulator import scenario as scenarios
from simulator.broker import Broker, BrokerError, free_port, mosquitto_path
from simulator.faults import Change, Schedule
from simulator.firmware import interpreter
from simulator.processes import Child, Died, Interrupted, Processes, WrongPlace, workplace
from simulator.relay import Relay
from simulator.scenario import Fault
from simulator.simulate import FIRMWARE, NODES_SAID, SIMULATED
from simulator.stage import SITE, Stage, Verdict

GOOD, FAILED, WRONG_USE = 0, 1, 2
SECONDS, SECONDS_MIN, SECONDS_MAX = 600.0, 30.0, 86_400.0
DELAY_S = 0.1  # of the relay, each way
LINGER_S = 90.0  # the simulator waits 60 s itself until all it produced is durable
HOLD_S = 120.0
_STEP_S = 0.05
_TOLD_EVERY_S = 10.0
PLANTS = ("ack-before-commit", "delete-before-ack", "number-from-memory", "none")  # of simulator/planted.py

# Once in each window, anywhere in it: more often than a kill each 30 s and a broker's end each 60 s.
FAULTS = (
    Fault(do="kill", on="gateway", every_s=20, for_s=1),
    Fault(do="kill", on="broker", every_s=40, for_s=3),
    Fault(do="cut", on="relay", every_s=30, for_s=2),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=_seconds, default=SECONDS, metavar="N", help="(default: %(default)g)")
    parser.add_argument("--seed", type=int, default=1, metavar="K", help="of all chance (default: %(default)s)")
    parser.add_argument(
        "--vm-nodes", type=_nodes, default=0, metavar="N", help="so many nodes running their firmware, and nothing else"
    )
    parser.add_argument("--rate", type=_rate, metavar="X", help="facts a second in all (default: the scenario's)")
    parser.add_argument("--broker", choices=("mosquitto", "embedded"), default="mosquitto", help="(default: mosquitto)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this new folder and leave it there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="what was done and the verdict, as one JSON object")
    parser.add_argument("--plant", choices=PLANTS, help="put this bug into the gateway: it must be found")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not SECONDS_MIN <= seconds <= SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"found {text}; expected {SECONDS_MIN:g} to {SECONDS_MAX:g}")
    return seconds


def _nodes(text: str) -> int:
    nodes = int(text)
    if not 0 <= nodes <= nodes_soak.NODES_MAX:
        raise argparse.ArgumentTypeError(f"found {text}; expected 1 to {nodes_soak.NODES_MAX} nodes")
    return nodes


def _rate(text: str) -> float:
    rate = float(text)
    if not 1 <= rate <= 20_000:
        raise argparse.ArgumentTypeError(f"found {text}; expected 1 to 20000 facts a second")
    return rate


def run(args: argparse.Namespace) -> int:
    """0 when the ledger holds every fact once and unchanged."""
    if args.broker == "mosquitto" and mosquitto_path() is None:
        print(
            "linli chaos: found no mosquitto on PATH; expected it, because only it keeps messages over a restart; "
            "install Debian's package mosquitto, or use --broker embedded",
            file=sys.stderr,
        )
        return WRONG_USE
    if args.rate and args.vm_nodes:
        print("linli chaos: found --rate beside --vm-nodes, whose inputs make its rate; leave one out", file=sys.stderr)
        return WRONG_USE
    did: Counter[str] = Counter()
    verdict = Verdict(FAILED, "", {})
    nodes: Json = {}
    troubles: list[str] = []
    try:
        with workplace(args.keep, "chaos") as folder, Processes(folder) as processes:
            chaos = Chaos(folder, processes, args, did)
            verdict = chaos.run(troubles)
            nodes = chaos.nodes
    except WrongPlace as error:
        print(f"linli chaos: {error}", file=sys.stderr)
        return WRONG_USE
    except (Died, BrokerError) as error:
        troubles.append(str(error))
    except Interrupted:
        print("linli chaos: ended early, no verdict", file=sys.stderr)
        return FAILED
    return _conclude(args, did, verdict, troubles, nodes)


def replay(args: argparse.Namespace) -> str:
    """The command that does the same again."""
    words = ["linli", "chaos", f"--seconds {args.seconds:g}", f"--seed {args.seed}"]
    words += [f"--vm-nodes {args.vm_nodes}"] if args.vm_nodes else []
    words += [f"--rate {args.rate:g}"] if args.rate else []
    words += [f"--broker {args.broker}"] if args.broker != "mosquitto" else []
    words += [f"--plant {args.plant}"] if args.plant else []
    return " ".join(words)


def _conclude(args: argparse.Namespace, did: Counter[str], verdict: Verdict, troubles: list[str], nodes: Json) -> int:
    good = verdict.code == GOOD and not troubles
    print("done     " + ", ".join(f"{count} {name}" for name, count in did.items()))
    print(verdict.text or "no verdict")
    for trouble in troubles:
        print(f"trouble  {trouble}")
    print("chaos    " + ("GOOD" if good else f"BAD; the same again: {replay(args)}"), flush=True)
    if args.json:
        said: Json = {"good": good, "command": replay(args), "seconds": args.seconds, "seed": args.seed}
        said |= {"did": dict(did), "verdict": verdict.counts, "troubles": troubles}
        said |= {"nodes": nodes, "nodes_under": interpreter()[0]} if args.vm_nodes else {}
        args.json.write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n")
    return GOOD if good else FAILED


def scenario_file(folder: Path, rate: float | None) -> str:
    """The scenario's name, or the path of a copy with another load: `rate` shared by all sources alike."""
    if rate is None:
        return "chaos"
    each = rate / sum(bus.kind != "modbus" for bus in load(SITE).buses.values())
    text = (scenarios.FOLDER / "chaos.toml").read_text()
    path = folder / "chaos.toml"
    path.write_text(re.sub(r"(?m)^(node_per_s|kiosk_per_s) = \S+", rf"\1 = {each:g}", text))
    return str(path)


class Chaos:
    """One run. did: counts what was done, by name, for whoever asks after a failure too."""

    def __init__(self, folder: Path, processes: Processes, args: argparse.Namespace, did: Counter[str]) -> None:
        self._clock = SystemClock()
        self._args = args
        self._did = did
        self._processes = processes
        self._site = nodes_soak.write_site(folder, args.vm_nodes) if args.vm_nodes else SITE
        self._stage = Stage(folder, processes, self._clock.mono_s, self._site)
        self.nodes: Json = {}  # what each that ran its firmware did
        self._broker = Broker(folder / "broker", args.broker, port=free_port())
        self._relay = Relay(self._broker.port, delay_s=DELAY_S)
        self._dice = random.Random(f"{args.seed}/chaos")
        self._scenario = nodes_soak.SCENARIO if args.vm_nodes else scenario_file(folder, args.rate)
        self._gateway: Child
        self._began_s = 0.0

    def run(self, troubles: list[str]) -> Verdict:
        """Raises Died, Interrupted, BrokerError."""
        mqtt = "5" if self._args.broker == "embedded" else "auto"
        with self._broker, self._relay:
            city = self._stage.start_city(self._broker.url, mqtt)
            self._gateway = self._stage.start_gateway(self._relay.url, self._args.plant)
            self._stage.await_gateway(self._gateway)
            nodes = FIRMWARE if self._args.vm_nodes else SIMULATED
            simulator = self._stage.start_simulator(self._scenario, self._args.seconds, self._args.seed, nodes=nodes)
            self._began_s = self._clock.mono_s()
            simulator.wanted = False  # its end is not a fault
            self._strike()
            self._calm(simulator, troubles)
            if self._stage.end(self._gateway, city):
                troubles.append("the gateway did not end cleanly")
        if self._args.vm_nodes:
            self._judge_nodes(troubles)
        return self._stage.verify(excuse_lost=bool(self._args.vm_nodes))

    def _judge_nodes(self, troubles: list[str]) -> None:
        lines, found, self.nodes = nodes_soak.judge(self._stage.links / NODES_SAID)
        print("\n".join(lines))
        troubles += found

    def _s(self) -> float:
        return self._clock.mono_s() - self._began_s

    def _strike(self) -> None:
        """Faults at their moments, until the simulator makes no more facts."""
        schedule = Schedule(nodes_soak.FAULTS if self._args.vm_nodes else FAULTS, [], self._args.seed)
        told_s = 0.0
        while (s := self._s()) < self._args.seconds:
            for change in schedule.due(s):
                self._change(change)
            if s - told_s >= _TOLD_EVERY_S:
                told_s = s
                print(f"{s:6.0f} s  " + ", ".join(f"{n} {name}" for name, n in self._did.items()), flush=True)
            self._processes.wait(_STEP_S)
        self._count_line_faults()

    def _change(self, change: Change) -> None:
        if change.target == "relay":
            self._relay_fault(change.begins)
        elif change.target == "broker":
            self._broker_fault(change.begins)
        elif change.begins:
            self._kill_gateway()
        else:
            self._gateway = self._stage.start_gateway(self._relay.url, self._args.plant)

    def _kill_gateway(self) -> None:
        if self._dice.random() < 0.25:
            ended = self._gateway.stop()
            self._did["gateway terms" if ended >= 0 else "gateway terms that hung"] += 1
        else:
            self._gateway.kill()
            self._did["gateway kills"] += 1

    def _broker_fault(self, begins: bool) -> None:
        if not begins:
            self._broker.start()
        elif self._dice.random() < 0.5:
            self._broker.kill()
            self._did["broker kills"] += 1
        else:
            self._broker.stop()
            self._did["broker stops"] += 1

    def _relay_fault(self, begins: bool) -> None:
        if not begins:
            self._relay.mend()
        elif self._dice.random() < 0.5:
            self._relay.cut()
            self._did["relay cuts"] += 1
        else:
            self._relay.hold()
            self._did["relay holds"] += 1

    def _count_line_faults(self) -> None:
        """The simulator carries them out itself, from the same seed and the same schedule."""
        faults = scenarios.load(self._scenario).own_faults
        for change in Schedule(faults, list(load(self._site).buses), self._args.seed).due(self._args.seconds):
            if change.begins:
                where = "pins" if change.target == "pins" else "line"
                self._did[f"{where} {change.fault.do}"] += 1

    def _calm(self, simulator: Child, troubles: list[str]) -> None:
        """Everything up; then the devices' rings must empty and the ledger must get everything, in a bounded time."""
        self._relay.mend()
        if not self._broker.running:
            self._broker.start()
        if not self._gateway.wanted:
            self._gateway = self._stage.start_gateway(self._relay.url, self._args.plant)
        if not self._processes.wait_for(lambda: simulator.code is not None, LINGER_S, self._clock.mono_s):
            simulator.kill()
        if simulator.code:
            troubles.append(f"the simulator: {simulator.tail()}")
        if not self._processes.wait_for(self._stage.all_is_held, HOLD_S, self._clock.mono_s):
            status = json.dumps(self._stage.status(), ensure_ascii=False)
            troubles.append(f"the ledger did not get everything within {HOLD_S:.0f} s; the gateway says {status}")
