"""`linli sickdisk`: a real gateway under load while its disk falls ill, and what became of every fact.

For each fault of simulator/sick_faults.py: city, broker, gateway and simulated devices run; the disk breaks and heals;
a cord is pulled meanwhile and must light the strobe at once; then calm, and truth and ledger are compared as `linli
verify` does. What systemd would do for the gateway (start it again, watch its watchdog) is done here in its place.
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.clock import SystemClock
from gateway.config import load
from gateway.contract import Json
from simulator import scenario as scenarios
from simulator.broker import Broker, BrokerError, free_port
from simulator.centre import Centre
from simulator.fuse_door import what_is_missing
from simulator.hardware import Device
from simulator.keeper import Keeper
from simulator.ledger_file import open_file
from simulator.mounts import MountError, make_ext4, mounted, served
from simulator.processes import Died, Interrupted, Processes, WrongPlace, workplace
from simulator.relay import Relay
from simulator.scenario import Deed
from simulator.sick_faults import FAULTS, Fault
from simulator.stage import SITE, START_S, Stage, Verdict

GOOD, FAILED, WRONG_USE = 0, 1, 2
CORD, STROBE_GPIO = "toilet-f2/cord", 27
ALARM_MAX_S = 1.0  # far above what it takes, far below every stall
_STEP_S = 0.02
_BEFORE_S = 3.0
_CORD_AFTER_S = 1.0
_LOOK_BEFORE_END_S = 1.0
_HEAL_MAX_S = 60.0
_CALM_MAX_S = 60.0
_HELD_MAX_S = 60.0
_LOOP_BYTES = 100_000_000
_json = msgspec.json.Decoder().decode


class Row(NamedTuple):
    """What one fault did. lost: facts the ledger does not hold; silent: of what nobody says anything."""

    fault: str
    what: str
    facts: int
    lost: int
    silent: int
    gaps: dict[str, int]
    sources_lost: int
    alarm_ms: float | None
    told: str
    records: dict[str, int]
    heal_s: float | None
    pause_s: float
    restarts: int
    troubles: list[str]

    @property
    def good(self) -> bool:
        return not self.troubles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--fault", action="append", choices=[*names, "all"], help="may be repeated (default: all)")
    parser.add_argument("--seed", type=int, default=1, metavar="K", help="of all chance (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the table, as one JSON object")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this new folder and leave everything there")


def run(args: argparse.Namespace) -> int:
    """0: nothing was lost in silence, every alarm was at once, everything healed. 1: not so. 2: not on this machine."""
    asked = args.fault or ["all"]
    chosen = [fault for fault in FAULTS if fault.name in asked or "all" in asked]
    if any(fault.place != "folder" for fault in chosen) and (missing := what_is_missing()):
        without = ", ".join(fault.name for fault in FAULTS if fault.place == "folder")
        print(f"linli sickdisk: {missing}. Without it there are: {without}", file=sys.stderr)
        return WRONG_USE
    rows: list[Row] = []
    try:
        with workplace(args.keep, "sick") as folder, Processes(folder) as processes:
            for fault in chosen:
                rows.append(_one(folder, processes, fault, args.seed))
                print(line(rows[-1]), flush=True)
    except WrongPlace as error:
        print(f"linli sickdisk: {error}", file=sys.stderr)
        return WRONG_USE
    except Interrupted:
        print("linli sickdisk: ended early, no verdict", file=sys.stderr)
        return FAILED
    good = all(row.good for row in rows)
    print(
        "sickdisk " + ("GOOD" if good else f"BAD: {', '.join(row.fault for row in rows if not row.good)}"), flush=True
    )
    if args.json:
        table: list[Json] = [row._asdict() | {"good": row.good} for row in rows]
        said: Json = {"good": good, "seed": args.seed, "rows": table}
        args.json.write_text(json.dumps(said, ensure_ascii=False, indent=1) + "\n")
    return GOOD if good else FAILED


def line(row: Row) -> str:
    """For a person."""
    gaps = ", ".join(f"{count} {reason}" for reason, count in row.gaps.items()) or "none"
    records = ", ".join(f"{count} {name}" for name, count in row.records.items()) or "none"
    alarm = "NEVER" if row.alarm_ms is None else f"{row.alarm_ms:.0f} ms"
    heal = "NEVER" if row.heal_s is None else f"{row.heal_s:.1f} s"
    text = (
        f"{row.fault}: {row.lost} of {row.facts} facts lost, {row.silent} in silence; gap records: {gaps}; "
        f"sources that lost: {row.sources_lost}\n"
        f"         alarm {alarm}; acknowledged again after {heal}, longest pause {row.pause_s:.1f} s; "
        f"{row.restarts} restarts; health records: {records}\n"
        f"         told: {row.told or 'nothing'}"
    )
    return "\n".join([text, *(f"         TROUBLE {trouble}" for trouble in row.troubles)])


def _one(folder: Path, processes: Processes, fault: Fault, seed: int) -> Row:
    ward = Ward(folder / fault.name, processes, fault, seed)
    try:
        return ward.run()
    except (Died, MountError, BrokerError) as error:
        ward.troubles.append(str(error))
        return ward.row(Verdict(FAILED, "", {}))


class _Watched(Centre):
    """Notes when the cord's pin changes and when the strobe's does."""

    pulled_s: float | None = None
    lit_s: float | None = None

    def _output(self, gpio: int, level: int) -> None:
        if gpio == STROBE_GPIO and self.pulled_s is not None and self.lit_s is None:
            self.lit_s = self._mono_s()
        super()._output(gpio, level)

    def pull(self) -> None:
        self.pulled_s = self._mono_s()
        self.building.do(Deed(s=0, do="pull", sensor=CORD), self.now_s())

    def durable(self) -> dict[str, int]:
        """{source: how far it heard that it is durable}"""
        devices = {name: line.device for name, line in self.lines.items()}
        return {name: device.side.durable for name, device in devices.items() if isinstance(device, Device)}


class Ward:
    """One fault, one centre. Is the Bed that the fault works on."""

    def __init__(self, folder: Path, processes: Processes, fault: Fault, seed: int) -> None:
        folder.mkdir()
        self._folder = folder
        self._processes = processes
        self._fault = fault
        self._mono_s = SystemClock().mono_s
        self.dice = random.Random(f"{seed}/{fault.name}")
        self._seed = seed
        self._stage = Stage(folder, processes, self._mono_s)
        self._broker = Broker(folder / "broker", port=free_port())
        self._relay = Relay(self._broker.port)
        self.orders = folder / "orders.json"
        self.real = self._stage.state
        self.troubles: list[str] = []
        self._keeper: Keeper
        self._centre: _Watched
        self._progress_s: dict[str, float] = {}
        self._marks: dict[str, int] = {}
        self._pause_s = 0.0
        self._heal_s: float | None = None
        self._told = ""

    # -- what a fault may ask for ------------------------------------------------------------------------------------

    def kill_gateway(self) -> None:
        self._keeper.kill()

    def start_gateway(self) -> None:
        self._keeper.start()

    def city_away(self, away: bool) -> None:
        self._relay.hold() if away else self._relay.mend()

    # -- the course ---------------------------------------------------------------------------------------------------

    def run(self) -> Row:
        """Raises Died, Interrupted, MountError, BrokerError."""
        with ExitStack() as open_things:
            self._make_bed(open_things)
            open_things.enter_context(self._broker)
            open_things.enter_context(self._relay)
            city = self._stage.start_city(self._broker.url, "5" if self._broker.kind == "embedded" else "auto")
            self._stage.links.mkdir()
            self._keeper = open_things.enter_context(self._make_keeper())
            self._centre = open_things.enter_context(self._make_centre())
            self._keeper.start()
            self._until(lambda: len(self._marks) == 3, START_S, "not every source was acknowledged at the start")
            self._turn(_BEFORE_S)
            self._fall_ill()
            self._calm()
            if self._keeper.stop():
                self.troubles.append("the gateway did not end cleanly")
            self._stage.end(self._keeper.child, city)
        return self.row(self._stage.verify())

    def _make_bed(self, open_things: ExitStack) -> None:
        """Where the gateway's state lies."""
        if self._fault.place == "loop":
            image = self._folder / "disk.img"
            make_ext4(image, _LOOP_BYTES)
            disk = open_things.enter_context(mounted(image, self._folder / "disk"))
            self._stage.state = self.real = disk / "state"
        elif self._fault.place == "fuse":
            below, shown = self._folder / "below", self._folder / "disk"
            below.mkdir()
            ordered = [str(below), str(self.orders)]
            open_things.enter_context(served(self._processes, "simulator.sick_folder", ordered, shown, self._mono_s))
            self._stage.state, self.real = shown / "state", below / "state"

    def _make_keeper(self) -> Keeper:
        site = SITE
        if self._fault.budget_mb is not None:
            site = self._folder / "site.toml"
            site.write_text(f"{SITE.read_text()}store = {{ budget_mb = {self._fault.budget_mb} }}\n")
        command = ["run", str(site), "--state", str(self._stage.state), "--links", str(self._stage.links)]
        return Keeper(self._processes, [*command, "--broker", self._relay.url], self._folder, self._mono_s)

    def _make_centre(self) -> _Watched:
        return _Watched(
            load(SITE), scenarios.load(self._fault.scenario), self._stage.links, self._stage.truth, self._seed, 1.0,
            self._mono_s, SystemClock().wall_s,
        )  # fmt: skip

    def _fall_ill(self) -> None:
        fault = self._fault
        fault.begin(self)
        if fault.starts:  # how long a start takes is not the disk's doing
            self._until(lambda: self._keeper.child.said("linli: running"), START_S, "the gateway did not start")
        self._turn(_CORD_AFTER_S)
        self._centre.pull()
        until_s = self._mono_s() + fault.lasts_s - _CORD_AFTER_S - _LOOK_BEFORE_END_S
        while self._mono_s() < until_s:
            fault.each_s(self)
            self._turn(1.0)
        self._look()
        self._turn(_LOOK_BEFORE_END_S)
        fault.end(self)
        began_s, before = self._mono_s(), dict(self._marks)
        healed = self._until(
            lambda: all(self._marks[name] > durable for name, durable in before.items()), _HEAL_MAX_S,
            "not every source was acknowledged again",
        )  # fmt: skip
        self._heal_s = self._mono_s() - began_s if healed else None

    def _look(self) -> None:
        """What the box says of itself at the worst moment: what the doctor and the page show."""
        status = self._stage.status()
        trouble = (status or {}).get("trouble")
        disk = trouble.get("disk") if isinstance(trouble, dict) else None
        self._told = str(disk or "") if status is not None else "no answer"

    def _calm(self) -> None:
        self._centre.calm()
        self._until(lambda: not self._centre.undurable(), _CALM_MAX_S, "devices still hold what is not durable")
        self._until(self._stage.all_is_held, _HELD_MAX_S, "the ledger did not get everything")

    # -- time passes --------------------------------------------------------------------------------------------------

    def _turn(self, seconds: float) -> None:
        until_s = self._mono_s() + seconds
        while self._mono_s() < until_s:
            self._step()

    def _until(self, true: Callable[[], bool], seconds: float, otherwise: str) -> bool:
        until_s = self._mono_s() + seconds
        while not (met := true()) and self._mono_s() < until_s:
            self._turn(0.1)
        if not met:
            self.troubles.append(f"{otherwise} within {seconds:.0f} s")
        return met

    def _step(self) -> None:
        self._centre.step(_STEP_S)
        self._processes.watch()
        self._keeper.look()
        now_s = self._mono_s()
        for name, durable in self._centre.durable().items():
            if durable > self._marks.get(name, 0):
                self._pause_s = max(self._pause_s, now_s - self._progress_s.get(name, now_s))
                self._marks[name], self._progress_s[name] = durable, now_s

    # -- the verdict --------------------------------------------------------------------------------------------------

    def row(self, verdict: Verdict) -> Row:
        counts = {name: value for name, value in verdict.counts.items() if isinstance(value, int)}
        gaps, named, records = self._ledger_says()
        lost = counts.get("missing", 0) + counts.get("given_up", 0)
        silent = sum(counts.get(name, 0) for name in ("holes", "heads_not_reached", "conflicts", "wrong", "twice",
                                                      "invented"))  # fmt: skip
        silent += int(max(0, lost - named))
        centre = getattr(self, "_centre", None)
        alarm_s = centre.lit_s - centre.pulled_s if centre and centre.lit_s and centre.pulled_s else None
        troubles = list(self.troubles)
        if not counts:
            troubles.append(f"no verdict: {verdict.text}")
        if silent:
            troubles.append(f"lost in silence: {verdict.text}")
        if lost and not self._fault.gives_up:
            troubles.append("this fault may lose nothing")
        if alarm_s is None or alarm_s > ALARM_MAX_S:
            troubles.append("the alarm did not drive its output at once")
        if self._fault.tells and not (self._told or records.get("disk.trouble")):
            troubles.append("nobody was told")
        keeper = getattr(self, "_keeper", None)
        return Row(
            self._fault.name, self._fault.what, counts.get("facts", 0), lost, silent, gaps,
            counts.get("lost_events", 0), None if alarm_s is None else round(alarm_s * 1000, 1), self._told, records,
            self._heal_s, round(self._pause_s, 1), keeper.restarts if keeper else 0, troubles,
        )  # fmt: skip

    def _ledger_says(self) -> tuple[dict[str, int], float, dict[str, int]]:
        """Gap records by reason (those of polled readings aside), how many facts those that this fault may cause can
        name, and the health records about the disk by type."""
        gaps: Counter[str] = Counter()
        records: Counter[str] = Counter()
        named = 0.0
        if not self._stage.ledger_path.is_file():
            return {}, named, {}
        db = open_file(self._stage.ledger_path, watching=True)
        try:
            for (body,) in db.execute("SELECT body FROM packs"):
                for record in _json(body)["records"]:
                    gap = record.get("gap")
                    if gap and gap["reason"] != "polled-loss":
                        gaps[gap["reason"]] += 1
                        if gap["reason"] in self._fault.gives_up:
                            named += gap.get("records") or inf  # nobody knows what stood on a page that is gone
                    elif str(record.get("type", "")).startswith("linli.disk."):
                        records[record["type"].removeprefix("linli.").removesuffix(".v1")] += 1
        finally:
            db.close()
        return dict(gaps), named, dict(records)
