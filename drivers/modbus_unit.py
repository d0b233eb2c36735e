"""One Modbus unit as its master sees it: what to ask next, what the answers mean, how it is doing. Opens no port."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from drivers import registers
from drivers.device_file import DeviceFile, Point
from drivers.reading import FAULT, GOOD, Event, Fact, Reading
from drivers.registers import Batch, Image

SETTINGS_EVERY_S = 86_400.0
MISSES_MAX = 9  # then the unit is offline: three silences one after the other, or nine broken answers
SILENT_MISSES, BAD_MISSES = 3, 1  # who answers badly is there, and costs the line little
BACKOFF_FIRST_S, BACKOFF_MAX_S = 1.0, 60.0
LATE_S = 1.0  # an answer may still come so long after its time-out; until then the unit is asked nothing else


@dataclass
class Counts:
    """Of one unit, since the start. bad: answers with a wrong CRC or cut short. late: came after the time-out."""

    asked: int = 0
    good: int = 0
    bad: int = 0
    silent: int = 0
    refused: int = 0
    late: int = 0
    doubled: int = 0  # more came behind a good answer: as if two units had one address
    rewritten: int = 0  # an output that was found in another state than it was put into


@dataclass
class Write:
    """An output as it is wanted. tried: once already, so that the next try may wait. done: the unit confirmed it."""

    point: Point
    on: bool
    tried: bool = False
    done: bool = False


@dataclass
class Unit:
    """A device of the site file. names: the points that become readings. outputs: those that are driven, and read back.

    expect: by setting, before the device file's own.
    settings: as found last. wrong: {setting: (found, expected)} now.
    offline: it missed MISSES_MAX times and is asked with back-off.
    """

    name: str
    address: int
    device: DeviceFile
    names: list[str]
    poll_s: float
    outputs: list[str] = field(default_factory=list)
    expect: dict[str, int] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    heard_s: float = -math.inf
    next_s: float = 0.0
    misses: int = 0
    offline: bool = False
    backoff_s: float = BACKOFF_FIRST_S
    wrong: dict[str, tuple[int, int]] = field(default_factory=dict)
    settings: dict[str, int] = field(default_factory=dict)
    refused: str = ""  # the last request it answered with an exception
    wake: Callable[[], None] = lambda: None  # called when an output waits to be written

    def __post_init__(self) -> None:
        point = self.device.point
        self._wanted: dict[str, Write] = {}
        self._asked = set(self.names)
        self._contacts: dict[str, object] = {}
        self._first: dict[str, int] = {}  # settings nobody expects anything of must stay what they were
        self._settings = {
            name: setting
            for name, setting in self.device.setting.items()
            if not setting.guards or self._asked & set(setting.guards)
        }
        self._ill = False  # by its own word, as it was read last
        self._batches = registers.batches(
            self.device, self._with_helpers([point[name] for name in (*self.names, *self.outputs)])
        )
        self._settings_batches = registers.batches(
            self.device, [point[setting.point] for setting in self._settings.values()]
        )
        self._settings_due_s = -math.inf
        self._todo: deque[Batch] = deque()
        self._suspect: tuple[Batch | None, float] = (None, -math.inf)

    def _with_helpers(self, points: list[Point]) -> list[Point]:
        """The points, and those whose values theirs need, each once."""
        found = {point.name: point for point in points}
        if self.device.health and points:
            found.setdefault(self.device.health.point, self.device.point[self.device.health.point])
        for point in points:
            for helper in registers.helpers(self.device, point):
                found.setdefault(helper.name, helper)
        return list(found.values())

    @property
    def batches(self) -> list[Batch]:
        """What one poll reads."""
        return self._batches

    # -- what to ask -------------------------------------------------------------------------------------------------

    def due_s(self) -> float:
        """When the next read is wanted. While an answer to another read may still come, it must wait for that."""
        if self.offline:
            return self.next_s
        batch, until_s = self._suspect
        following = self._todo[0] if self._todo else self._batches[0]
        held_s = until_s if batch is not None and batch != following else -math.inf
        return max(held_s, -math.inf if self._todo else self.next_s)

    def take(self, now_s: float) -> Batch:
        """The next read."""
        if not self._todo:
            if now_s - self.next_s > self.poll_s:
                self.next_s = now_s  # a poll that was missed stays missed
            if self._settings_batches and now_s >= self._settings_due_s:
                self._todo.extend(self._settings_batches)
            self._todo.extend(self._batches)
        return self._todo[0]

    # -- what came ---------------------------------------------------------------------------------------------------

    def answered(self, batch: Batch, data: bytes, now_s: float, *, after_timeout: bool) -> list[Fact]:
        """A good answer. after_timeout: the one to the first try may still be under way."""
        self.alive(now_s)
        self.counts.good += 1
        self._suspect = (batch, now_s + LATE_S) if after_timeout else (None, -math.inf)
        image = batch.image(data)
        facts = self._settings_read(batch, image, now_s)
        facts += self._readings(batch, image, now_s)
        self._done(batch, now_s)
        return facts

    def refuses(self, batch: Batch, code: int, now_s: float) -> list[Fact]:
        """A Modbus exception: the unit lives and does not have what we ask for."""
        self.alive(now_s)
        self.counts.refused += 1
        first = batch.address + self.device.address_base
        self.refused = f"{batch.area} {first} to {first + batch.size - 1}: exception {code}"
        facts: list[Fact] = [
            Reading(f"{self.name}:{point.name}", math.nan, now_s, quality=FAULT)
            for point in batch.points
            if point.name in self._asked and point.kind not in ("contact", "status")
        ]
        self._done(batch, now_s)
        return facts

    def missed(self, batch: Batch | None, now_s: float, *, silent: bool, again: bool) -> None:
        """No good answer. again: the same request goes out once more at once."""
        self.misses += SILENT_MISSES if silent else BAD_MISSES
        self.counts.silent += silent
        self.counts.bad += not silent
        if silent and batch:
            self._suspect = (batch, now_s + LATE_S)
        if again:
            return
        self._todo.clear()  # the next poll begins at its beginning
        if self.misses >= MISSES_MAX:
            self.backoff_s = min(self.backoff_s * 2, BACKOFF_MAX_S) if self.offline else BACKOFF_FIRST_S
            self.offline = True
            self.next_s = now_s + max(self.backoff_s, self.poll_s)
        else:
            self.next_s = now_s + max(self.poll_s, LATE_S if silent else 0.0)

    def spoke_again(self, now_s: float) -> None:
        """A whole answer that was not awaited: late when one had been missed, else there are two at this address."""
        late = now_s < self._suspect[1]
        self.counts.late += late
        self.counts.doubled += not late

    def alive(self, now_s: float) -> None:
        """It said something that only it can say."""
        if self.offline:
            for write in self._wanted.values():
                write.done = False  # it may have lost its power, and its relays with it
            self._settings_due_s = now_s  # another one may hang there now
        self.heard_s, self.misses, self.offline = now_s, 0, False

    def _done(self, batch: Batch, now_s: float) -> None:
        if self._todo and self._todo[0] is batch:
            self._todo.popleft()
        if batch in self._settings_batches:
            self._settings_due_s = now_s + SETTINGS_EVERY_S
        if not self._todo:
            self.next_s += self.poll_s

    def _settings_read(self, batch: Batch, image: Image, now_s: float) -> list[Fact]:
        facts: list[Fact] = []
        for name, setting in self._settings.items():
            point = self.device.point[setting.point]
            if (point.area, registers.wire(self.device, point)) not in image:
                continue
            found = int(registers.decode_raw(self.device, point, image))
            expected = self.expect.get(name, setting.expect)
            if expected is None:
                expected = self._first.setdefault(name, found)
            self.settings[name] = found
            told = self.wrong.get(name, (expected, expected))[0]
            if found != told:
                data: dict[str, object] = {"value": found, "setting": name, "expected": expected, "was": told}
                facts.append(Event(self.name, "settings.changed", data, now_s))
            if found == expected:
                self.wrong.pop(name, None)
            else:
                self.wrong[name] = (found, expected)
        return facts

    def _readings(self, batch: Batch, image: Image, now_s: float) -> list[Fact]:
        facts: list[Fact] = []
        self._look_after(image)
        for point in batch.points:
            if write := self._wanted.get(point.name):
                self._compare(write, image)
            if point.name not in self._asked:
                continue
            try:
                value, quality = registers.decode(self.device, point, image)
            except KeyError:  # a helper ended up in another read; two reads are never mixed
                value, quality = math.nan, FAULT
            if quality == GOOD and (self._untrusted(point.name) or (self._ill and point.kind != "status")):
                quality = FAULT
            urgent = point.kind == "contact" and self._contacts.get(point.name) != value
            self._contacts[point.name] = value
            facts.append(Reading(f"{self.name}:{point.name}", value, now_s, quality=quality, urgent=urgent))
        return facts

    def _look_after(self, image: Image) -> None:
        if health := self.device.health:
            point = self.device.point[health.point]
            if (point.area, registers.wire(self.device, point)) in image:
                self._ill = bool(int(registers.decode_raw(self.device, point, image)) & health.mask)

    def _untrusted(self, name: str) -> bool:
        return any(not self._settings[wrong].guards or name in self._settings[wrong].guards for wrong in self.wrong)

    # -- outputs -----------------------------------------------------------------------------------------------------

    def want(self, name: str, on: bool) -> None:
        """The newest wish is written; an older one that is still waiting is forgotten. Raises KeyError."""
        point = self.device.point[name]
        if point.access != "output":
            raise KeyError(name)
        self._wanted[name] = Write(point, on)
        self.wake()

    def pending(self) -> Write | None:
        """An output that is not yet as it is wanted."""
        return next((write for write in self._wanted.values() if not write.done), None)

    @property
    def hurried(self) -> Write | None:
        """One that is to be written before anything else: at a silent unit only the first time."""
        waiting = (w for w in self._wanted.values() if not w.done and not (self.offline and w.tried))
        return next(waiting, None)

    def _compare(self, write: Write, image: Image) -> None:
        """An output is read back with each poll, and put right when somebody else switched it."""
        point = write.point
        raw = image.get((point.area, registers.wire(self.device, point)))
        if write.done and raw is not None and raw != (point.on if write.on else point.off):
            write.done = False
            self.counts.rewritten += 1
