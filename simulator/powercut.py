"""`linli powercut`: the power is cut at hundreds of moments of a real run, and nothing acknowledged may be gone.

The gateway runs for real, with its state on ext4, on a loop device, on a disk that notes each write and each flush
(simulator/logged_disk.py). Afterwards that disk is made again as a cut at some moment could have left it, the kernel
recovers its journal, the real store opens what is there, and every acknowledged fact is looked up. Two controls, with
commits or the whole file system not flushed, must be seen to lose facts. What is modelled and what not: docs/power.md.
"""

import argparse
import json
import random
import shutil
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from gateway.clock import SystemClock
from gateway.config import load
from gateway.contract import Json
from gateway.home import DATABASE
from simulator import scenario as scenarios
from simulator.centre import Centre
from simulator.disk_log import FATES, Entry, Replay, read_log, seen_until, unflushed
from simulator.fuse_door import what_is_missing
from simulator.hardware import Device
from simulator.logged_disk import FILE, FLUSH, WRITE
from simulator.mounts import MountError, make_ext4, mounted, served
from simulator.powercut_check import Found, examine
from simulator.processes import Died, Interrupted, Processes, WrongPlace, workplace
from simulator.stage import SITE, START_S, Stage
from simulator.truth_book import TruthBook, TruthError, read_truth

GOOD, FAILED, WRONG_USE = 0, 1, 2
STATES, SECONDS = 200, 40.0
DISK_BYTES = 64_000_000
NOWHERE = "mqtt://127.0.0.1:1"  # no city: then nothing is confirmed, and everything acknowledged must be on the disk
_STEP_S = 0.02
_RERUN_EACH = 20  # states between two that a whole new gateway has to start on
_CONTROL_SHARE = 10
_CONTROL_MIN = 4
_LONG_TAILS = 50  # one in so many entries counts as one with much unflushed before it
_EXAMPLES_MAX = 10


class Way(NamedTuple):
    """A way to run the gateway. plant: of simulator/planted.py. options: of mount. loses: facts must be seen gone."""

    name: str
    options: str = ""
    plant: str = ""
    loses: bool = False


WAYS = (
    Way("as delivered"),
    Way("synchronous=NORMAL", plant="synchronous-normal", loses=True),
    Way("ext4 nobarrier", options="barrier=0", loses=True),
)


class Mark(NamedTuple):
    """A source had heard that it is durable up to `durable` when the log was `position` long."""

    position: int
    source: str
    durable: int


class Recording(NamedTuple):
    """One run of the gateway: the disk before it, what the disk was asked, and what the sources had heard by when."""

    image: Path
    log: Path
    marks: list[Mark]
    end: int
    book: TruthBook


class Tally:
    """What the cuts of one way showed."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.states = self.acked_states = self.acked = self.lossy_states = self.worst = self.reruns = 0
        self.writes = self.flushes = self.log_bytes = self.unflushed_max = 0
        self.fates: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.examples: list[str] = []

    def add(self, fate: str, unflushed: int, found: Found) -> None:
        self.states += 1
        self.acked_states += found.acked > 0
        self.acked += found.acked
        self.fates[fate] += 1
        self.unflushed_max = max(self.unflushed_max, unflushed)
        self.lossy_states += not found.good
        self.worst = max(self.worst, found.faults.get("lost", 0))
        self.faults.update(found.faults)
        self.examples = (self.examples + [f"{fate}: {text}" for text in found.examples])[:_EXAMPLES_MAX]

    @property
    def good(self) -> bool:
        """Nothing is wrong; of a control: it was seen to lose."""
        if self.way.loses:
            return self.faults["lost"] + self.faults["damaged"] > 0
        return self.acked_states > 0 and not any(self.faults.values())

    def line(self) -> str:
        kept = self.states - self.lossy_states
        other = ", ".join(f"{self.faults[name]} {name}" for name in ("damaged", "holes", "wrong", "twice", "invented"))
        return (
            f"{self.way.name}: {kept} of {self.states} states keep everything\n"
            f"         {self.acked} acknowledged facts looked up in {self.acked_states} states: "
            f"{self.faults['lost']} lost (worst {self.worst}); {other}\n"
            f"         {self.writes} writes, {self.flushes} flushes, up to {self.unflushed_max / 1000:.0f} KB "
            f"unflushed at a cut; a new gateway started on {self.reruns} of them"
        )

    def as_json(self) -> Json:
        return {
            "way": self.way.name, "control": self.way.loses, "good": self.good, "states": self.states,
            "states_with_acknowledged": self.acked_states, "acknowledged": self.acked, "lossy": self.lossy_states,
            "worst": self.worst, "faults": dict(self.faults), "fates": dict(self.fates), "reruns": self.reruns,
            "writes": self.writes, "flushes": self.flushes, "log_bytes": self.log_bytes,
            "unflushed_b_max": self.unflushed_max, "examples": self.examples,
        }  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--states", type=_states, default=STATES, metavar="N", help="cuts (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, metavar="K", help="of all chance (default: %(default)s)")
    parser.add_argument("--seconds", type=_seconds, default=SECONDS, metavar="S", help="of load (default: %(default)g)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="what was found, as one JSON object")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="work in this new folder and leave disks and logs there"
    )


def _states(text: str) -> int:
    states = int(text)
    if not 1 <= states <= 100_000:
        raise argparse.ArgumentTypeError(f"found {text}; expected 1 to 100000")
    return states


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 2 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"found {text}; expected 2 to 600")
    return seconds


def run(args: argparse.Namespace) -> int:
    """0: every state keeps everything acknowledged, and both controls lose. 1: not so. 2: not on this machine."""
    if missing := what_is_missing():
        print(f"linli powercut: {missing}", file=sys.stderr)
        return WRONG_USE
    tallies: list[Tally] = []
    try:
        with workplace(args.keep, "powercut") as folder, Processes(folder) as processes:
            for way in WAYS:
                tallies.append(PowerCut(folder / way.name.replace(" ", "-"), processes, args, way).run())
                print(tallies[-1].line(), flush=True)
    except WrongPlace as error:
        print(f"linli powercut: {error}", file=sys.stderr)
        return WRONG_USE
    except (Died, MountError, TruthError) as error:
        print(f"linli powercut: {error}", file=sys.stderr)
        return FAILED
    except Interrupted:
        print("linli powercut: ended early, no verdict", file=sys.stderr)
        return FAILED
    return _conclude(args, tallies)


def _conclude(args: argparse.Namespace, tallies: list[Tally]) -> int:
    good = all(tally.good for tally in tallies)
    for tally in tallies:
        if not tally.good:
            what = "was not seen to lose anything" if tally.way.loses else "lost what was acknowledged, or held nothing"
            print(f"trouble  {tally.way.name}: {what}; {'; '.join(tally.examples)}")
    again = f"linli powercut --states {args.states} --seconds {args.seconds:g} --seed {args.seed}"
    print("powercut " + ("GOOD" if good else f"BAD; the same again: {again}"), flush=True)
    if args.json:
        said: Json = {"good": good, "command": again, "ways": [tally.as_json() for tally in tallies]}
        args.json.write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n")
    return GOOD if good else FAILED


class PowerCut:
    """One way to run the gateway: recorded once, cut many times. folder: a new one of its own."""

    def __init__(self, folder: Path, processes: Processes, args: argparse.Namespace, way: Way) -> None:
        folder.mkdir()
        self._folder = folder
        self._processes = processes
        self._clock = SystemClock()
        self._args = args
        self._way = way
        self._dice = random.Random(f"{args.seed}/powercut/{way.name}")
        self._site = load(SITE)
        self._stage = Stage(folder, processes, self._clock.mono_s)

    def run(self) -> Tally:
        """Raises Died, Interrupted, MountError, TruthError."""
        recording = self._record()
        entries = read_log(recording.log)
        tally = Tally(self._way)
        seen = entries[: seen_until(entries, recording.end)]
        tally.writes = sum(entry.kind == WRITE for entry in seen)
        tally.flushes = sum(entry.kind == FLUSH for entry in seen)
        tally.log_bytes = recording.end
        replay = Replay(recording.image, recording.log, entries)
        try:
            for number, at in enumerate(self._moments(recording, entries)):
                self._processes.watch()
                self._one(recording, replay, entries, number, at, tally)
        finally:
            replay.close()
        return tally

    # -- the run that is cut -----------------------------------------------------------------------------------------

    def _record(self) -> Recording:
        image, live, log = (self._folder / name for name in ("before.img", "disk.img", "disk.log"))
        make_ext4(image, DISK_BYTES)
        shutil.copyfile(image, live)
        with ExitStack() as open_things:
            disk = served(
                self._processes, "simulator.logged_disk", [str(live), str(log)], self._folder / "fuse",
                self._clock.mono_s,
            )  # fmt: skip
            open_things.enter_context(disk)
            device = self._folder / "fuse" / FILE[1:]
            where = open_things.enter_context(mounted(device, self._folder / "disk", self._way.options))
            marks = self._load(where, log)
            end = log.stat().st_size
        live.unlink()
        return Recording(image, log, marks, end, read_truth(self._stage.truth))

    def _load(self, where: Path, log: Path) -> list[Mark]:
        """The gateway under load until the time is over, then killed: what its sources heard, and when."""
        self._stage.state = where / "state"
        self._stage.links.mkdir()
        scenario = scenarios.load("powercut")
        gateway = self._stage.start_gateway(NOWHERE, self._way.plant or None)
        centre = Centre(
            self._site, scenario, self._stage.links, self._stage.truth, self._args.seed, 1.0,
            self._clock.mono_s, self._clock.wall_s,
        )  # fmt: skip
        marks: list[Mark] = []
        try:
            with centre:
                ends_s = self._clock.mono_s() + START_S
                while self._clock.mono_s() < ends_s:
                    centre.step(_STEP_S)
                    self._processes.watch()
                    fresh = _heard(centre, log, marks)
                    if fresh and not marks:
                        ends_s = self._clock.mono_s() + self._args.seconds
                    marks += fresh
        finally:
            gateway.kill()
        if not marks:
            raise Died(
                f"no source heard anything durable within {START_S:.0f} s; the end of {gateway.log}:\n{gateway.tail()}"
            )
        return marks

    # -- the cuts ----------------------------------------------------------------------------------------------------

    def _moments(self, recording: Recording, entries: list[Entry]) -> list[int]:
        """How many entries each cut has seen, rising: in turn anywhere, just when a source had heard, and where most
        was written without a flush (a checkpoint of SQLite, the kernel's own writing back)."""
        states = self._args.states
        if self._way.loses:
            states = max(_CONTROL_MIN, states // _CONTROL_SHARE)
        last = seen_until(entries, recording.end)
        tails = unflushed(entries[:last])
        longest = sorted(range(1, last + 1), key=lambda seen: tails[seen - 1])[-max(1, last // _LONG_TAILS) :]
        choose = (
            lambda: self._dice.randint(1, last),
            lambda: seen_until(entries, self._dice.choice(recording.marks).position),
            lambda: self._dice.choice(longest),
        )
        return sorted(choose[number % len(choose)]() for number in range(states))

    def _one(
        self, recording: Recording, replay: Replay, entries: list[Entry], number: int, seen: int, tally: Tally
    ) -> None:
        fate = self._dice.choice(FATES)
        acked = _acknowledged(recording.marks, entries[seen - 1].end)
        image = self._folder / "after.img"
        waiting, _ = replay.cut(seen, fate, self._dice, image)
        try:
            with mounted(image, self._folder / "after") as where:
                database = where / "state" / DATABASE
                trouble = ""
                if number % _RERUN_EACH == 0 and not self._way.loses:
                    trouble = self._rerun(where)
                    tally.reruns += 1
                found = examine(database, acked, recording.book, self._folder)
                if trouble:
                    found = found._replace(faults=found.faults | {"damaged": 1}, examples=[trouble, *found.examples])
        except MountError as error:
            found = Found(sum(acked.values()), 0, {"damaged": 1}, [str(error)])
        tally.add(fate, waiting, found)

    def _rerun(self, where: Path) -> str:
        """A whole new gateway on what is left: "" when it starts, serves and ends in order."""
        stage = Stage(self._folder / "again", self._processes, self._clock.mono_s)
        stage.state = where / "state"
        stage.links.mkdir(parents=True, exist_ok=True)
        with Centre(
            self._site, scenarios.load("quiet"), stage.links, stage.truth, self._args.seed, 1.0,
            self._clock.mono_s, self._clock.wall_s,
        ):  # fmt: skip
            gateway = stage.start_gateway(NOWHERE)
            try:
                up = self._processes.wait_for(lambda: stage.status() is not None, START_S, self._clock.mono_s)
            except Died as error:
                return str(error)
            code = gateway.stop()
        return "" if up and code == 0 else f"a new gateway {'ended with ' + str(code) if up else 'did not serve'}"


def _heard(centre: Centre, log: Path, before: list[Mark]) -> list[Mark]:
    """What sources heard since the last mark of each. The log is measured after it: a cut then has seen all of it."""
    known = {mark.source: mark.durable for mark in before[-50:]}
    fresh = []
    position = -1
    for name, line in centre.lines.items():
        if isinstance(line.device, Device):
            source, durable = f"{name}/{line.device.side.boot}", line.device.side.durable
            if durable > known.get(source, 0):
                position = log.stat().st_size if position < 0 else position
                fresh.append(Mark(position, source, durable))
    return fresh


def _acknowledged(marks: list[Mark], position: int) -> dict[str, int]:
    """{source/boot: the last number heard as durable} when the log was `position` long."""
    return {mark.source: mark.durable for mark in marks if mark.position <= position}
