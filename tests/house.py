"""A site file's pipeline without threads, disk or network: its time is a number, and it can be killed."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from drivers.outputs import Output
from drivers.pins import PinError
from drivers.reading import Reading
from gateway import build_deeds
from gateway.build import _pipeline
from gateway.config import load
from gateway.contract import Json, Label
from gateway.contract_catalogue import RECORD_TYPES
from gateway.deeds import Deeds
from gateway.pending import Pending
from gateway.pipeline import Pipeline

HEAD = """
schema = 1
site = { id = "house", gateway = "house-a", name = "屋" }
uplink = { broker = "mqtt://127.0.0.1" }
"""
WALL_S = 1_793_500_000.0


class Pin:
    """driven: (when, energised) of each drive."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self.on = False
        self.driven: list[tuple[float, bool]] = []
        self.broken = False

    def drive(self, on: bool) -> None:
        if self.broken:
            raise PinError("the pin refuses")
        self.on = on
        self.driven.append((round(self._house.now_s, 1), on))

    def close(self) -> None: ...


class House:
    """committed: what the disk has; `kill` starts again from there. wall_s: of time 0, None while nobody knows it."""

    def __init__(self, folder: Path, site: str) -> None:
        self._folder = folder
        path = folder / "site.toml"
        path.write_text(HEAD + site, encoding="utf-8")
        self.site = load(path)
        self.now_s = 1000.0
        self.boot = 1
        self.wall_s: float | None = WALL_S
        self.committed: dict[str, object] = {}
        self.pins = {name: Pin(self) for name in self.site.outputs}
        self.events: list[Json] = []
        self.alarms: list[Json] = []
        self.crashed = False
        self.start()

    def mono_s(self) -> float:
        return self.now_s

    def label(self) -> Label:
        wall = None if self.wall_s is None else self.wall_s + self.now_s
        return Label(self.boot, self.now_s, wall, "unsure" if wall is None else "ntp", None, self.site.cfg)

    def start(self) -> None:
        kept = copy.deepcopy(self.committed)
        self.pending = Pending(self.label, 10.0, 30.0)
        self.pending.kept.update(kept)
        outputs = {
            name: Output(name, pin, last=kept.get(f"output:{name}") is True) for name, pin in self.pins.items()
        }  # fmt: skip
        self.deeds: Deeds = build_deeds.deeds(
            self.site, outputs, self.pending, kept, self.label, crashed=self.crashed
        )  # fmt: skip
        nothing: Any = SimpleNamespace(
            heard=None, path=self._folder / "linli.db", history=SimpleNamespace(means_before=lambda *_: {})
        )
        self.pipeline: Pipeline = _pipeline(self.site, self.deeds, kept, self.pending, self, self, nothing, nothing)

    def commit(self) -> None:
        work = self.pending.take(self.now_s, everything=True)
        for draft in work.drafts if work else []:
            if draft.stream in ("events", "alarms"):
                for record in draft._records:
                    _check(record["data"], RECORD_TYPES[draft.stream][str(record["type"])])
                    (self.events if draft.stream == "events" else self.alarms).append(record)
        self.committed = copy.deepcopy(self.pending.kept)

    def kill(self) -> None:
        """What was not committed never was."""
        self.crashed = True
        self.start()

    def reboot(self, off_s: float, *, knows_time: bool = True) -> None:
        """A power cut: another boot, whose clock begins at 0."""
        if self.wall_s is not None:
            self.wall_s += self.now_s + off_s
        if not knows_time:
            self.wall_s = None
        self.boot += 1
        self.now_s = 0.0
        self.kill()

    def say(self, point: str, value: float | bool | str) -> None:
        self.pipeline.handle([Reading(point, value, self.now_s, urgent=isinstance(value, bool))])

    def later(self, seconds: float, *, committing: bool = True) -> None:
        """In steps of the box's tick, or of a second when it is minutes."""
        step_s = 0.1 if seconds < 120 else 1.0
        for _ in range(round(seconds / step_s)):
            self.now_s += step_s
            self.pipeline.tick()
            if committing:
                self.commit()

    def types(self) -> list[str]:
        return [str(event["type"]) for event in self.events]

    def of(self, sort: str) -> list[Json]:
        """The `data` of all events of a type."""
        return [event["data"] for event in self.events if event["type"] == sort]  # type: ignore[misc]


def _check(data: Any, kind: type[msgspec.Struct]) -> None:
    """Everything that is told keeps the catalogue."""
    msgspec.convert(data, kind)
    unknown = set(data) - {field.name for field in msgspec.structs.fields(kind)}
    assert not unknown, f"{kind.__name__} has no {sorted(unknown)}"
