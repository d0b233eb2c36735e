"""The whole flow, START HERE: what drivers read becomes records, alarms and deeds.

`handle` is the one method that every fact passes: it keeps the fact, asks the detectors and the alarms, lets the
reactions act at once, and leaves the rest (commit, publish) to the threads behind `pending`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec

from drivers.kinds import is_active
from drivers.reading import GOOD, Event, Lost, Reading, Run, Said, Value
from gateway.alarms import CAME, CENTRE, Alarms, Came, Change
from gateway.around import Around
from gateway.conditions import Condition
from gateway.contract import Json, Label, Record, rfc3339
from gateway.deeds import Deeds
from gateway.detectors import Detectors
from gateway.modes import MAINTENANCE, TEST
from gateway.moment import Here
from gateway.pending import Pending
from gateway.reporting import Reporting
from gateway.sensor_faults import SensorFaults
from gateway.sensors import Role, Sensor, Sensors


class Pipeline:
    """label: the wall as the packs see it. deeds: reactions and outputs. kept: state of an earlier run.

    faults: which alarm tells what is wrong with a sensor. buttons: {sensor: the alarms it acknowledges}.
    """

    def __init__(
        self,
        roles: list[Role],
        alarms: Alarms,
        deeds: Deeds,
        detectors: Detectors,
        pending: Pending,
        mono_s: Callable[[], float],
        label: Callable[[], Label],
        kept: Mapping[str, object] | None = None,
        named: Callable[[Event], Event] = lambda event: event,
        faults: SensorFaults | None = None,
        buttons: Mapping[str, Sequence[str]] | None = None,
        heard: Callable[[Event, bool], list[Record]] = lambda event, test: [],
    ) -> None:
        self._alarms = alarms
        self._faults = faults or SensorFaults({})
        self._buttons = buttons or {}
        self.deeds = deeds
        self._detectors = detectors
        self._pending = pending
        self._named = named
        self._heard = heard
        self._mono_s = mono_s
        self._label = label
        self._sensors = Sensors(roles, alarms.watches, detectors.sensors)
        sampled = [sensor for sensor in self._sensors.all() if sensor.report]
        self._with_statistics = [(s, s.report) for s in sampled if s.report and s.report.stats]
        self.sampled = {s.id: s.unit for s in sampled}  # sensors of which the box keeps each sample
        self._around = Around(self.sampled, kept or {}, pending.keep)
        self.alarm_changes = 0
        self.on_contact: Callable[[str, Value, float], None] = lambda sensor, value, mono_s: None

    # -- the one method ---------------------------------------------------------------------------------------------

    def handle(self, facts: Sequence[Said]) -> None:
        """Everything that one source had to say at once, in its order."""
        now_s = self._mono_s()
        for fact in facts:
            if type(fact) is Reading:
                self._reading(fact, now_s)
            elif type(fact) is Run:
                self._run(fact, now_s)
            elif type(fact) is Event:
                event = self._named(fact)
                self._pending.record("events", _event_record(event), now_s)
                for record in self._heard(event, self._pending.test):
                    self._pending.record("events", record, now_s)
            elif type(fact) is Lost:
                self._pending.record("events", _lost_record(fact), now_s)
        self._mark(facts[-1])

    def _run(self, run: Run, now_s: float) -> None:
        """Plain sensors in columns; any other's reading by itself, in its place."""
        at, plain = 0, self._sensors.plain
        for i, point in enumerate(run.points):
            if point not in plain:
                self._columns(run.part(at, i), now_s)
                self._reading(run.reading(i), now_s)
                at = i + 1
        self._columns(run.part(at, len(run.points)), now_s)

    def _columns(self, run: Run, now_s: float) -> None:
        if not run.points:
            return
        sensors = list(map(self._sensors.plain.__getitem__, run.points))
        for sensor, value, mono_s in zip(sensors, run.values, run.monos_s, strict=True):
            sensor.value, sensor.last_s = value, mono_s
        self._pending.run(run, [sensor.name for sensor in sensors], now_s)
        if self._detectors.pairs:
            self._detectors.run([sensor.id for sensor in sensors], run.values, run.monos_s)

    def _reading(self, reading: Reading, now_s: float) -> None:
        sensor = self._sensors.at(reading.point)
        reading = sensor.judged(reading)
        before, changed = sensor.value, sensor.value != reading.value
        sensor.value, sensor.last_s = reading.value, reading.mono_s
        self._faults.seen(sensor.id, reading)
        if sensor.report:
            self._sampled(sensor, sensor.report, reading, now_s)
        else:
            self._pending.reading(sensor.id, sensor.unit, sensor.source, reading, now_s)
        if sensor.is_contact and changed:
            self._pending.keep(f"level:{sensor.id}", reading.value)
            self.on_contact(sensor.id, reading.value, reading.mono_s)
        if sensor.scored and isinstance(reading.value, float) and reading.quality == GOOD:
            self._detectors.feed(sensor.id, reading.value, reading.mono_s)
        if sensor.watched and reading.quality != GOOD:
            self._alarms.spoke(sensor.id, reading.mono_s)
        elif sensor.watched:
            src = f"{sensor.source}/{reading.boot}/{reading.seq}" if reading.seq else None
            self._changed(self._alarms.reading(sensor.id, reading.value, reading.mono_s, now_s, src), now_s)
        if sensor.id in self._buttons and changed and before is not None and is_active(reading.value):
            self._pressed(sensor.id)

    def _pressed(self, button: str) -> None:
        """One that is found pressed at the start was not pressed for what stands now."""
        for name in self._buttons[button]:
            self.acknowledge(name, f"button:{button}")

    def _sampled(self, sensor: Sensor, report: Reporting, reading: Reading, now_s: float) -> None:
        """Every sample is kept on the box; the city is told what its report says."""
        self._pending.samples.add(sensor.id, sensor.unit, reading, now_s)
        if report.told(reading):
            self._pending.reading(sensor.id, sensor.unit, sensor.source, reading, now_s)
        if report.stats:
            self._statistics(sensor, report.count(reading), now_s)

    def _statistics(self, sensor: Sensor, found: list[tuple[str, Reading]], now_s: float) -> None:
        """Derived records: they have a time and no source's number."""
        for name, reading in found:
            unit = "" if name == "count" else sensor.unit
            self._pending.reading(f"{sensor.id}/{name}", unit, "", reading, now_s)

    def _mark(self, last: Said) -> None:
        """How far this source is in what waits for the next commit."""
        if isinstance(last, Lost | Run):
            self._pending.mark(last.source, last.boot, last.last)
        elif last.seq:
            source = last.source if isinstance(last, Event) else last.point.partition(":")[0]
            self._pending.mark(source, last.boot, last.seq)

    def tick(self) -> None:
        """Several times a second: delays, silence, rows of the models."""
        now_s = self._mono_s()
        label = self._label()
        self._alarms.here = Here.by(label)
        for (model, sensor), score in self._detectors.tick(now_s, label.wall).items():
            evidence = partial(self._detectors.evidence, model, sensor, score)
            self._changed(self._alarms.score(model, sensor, score, now_s, evidence), now_s)
        for model, data in self._detectors.decided():
            self._pending.record("events", Record("model.decided", model, now_s, data), now_s)
        for model, sensor in self._detectors.pairs:
            if self._detectors.score(model, sensor) is None:  # silent, or the model was taken out
                self._alarms.no_score(model, sensor)
        for alarm, cause in self._faults.tick(self._alarms.has, self._alarms.stands):
            self._changed(self._alarms.fault(alarm, cause, now_s), now_s)
        self._changed(self._alarms.tick(now_s), now_s)
        for alarm, cause in self.deeds.tick(now_s, self._sensors.latest):
            self._changed(self._alarms.fault(alarm, cause, now_s), now_s)
        for alarm in self.deeds.modes.outlived():
            self._changed(self._alarms.again(alarm, now_s), now_s)
        for counted, report in self._with_statistics:
            self._statistics(counted, report.over(now_s), now_s)
        if self._around.waiting:
            self._pending.want(self._around.due(label.boot, self._pending.samples.closed_s(now_s)))

    def clock_changed(self) -> None:
        """The label is another one from now on."""
        self._alarms.here = Here.by(self._label())

    def source_silent(self, alarm: str, silent_s: float | None) -> None:
        """A line or a unit says nothing for longer than it may (silent_s), or speaks again (None)."""
        self.fault(alarm, {"condition": "silent", "value": round(silent_s)} if silent_s is not None else None)

    def fault(self, alarm: str, cause: Json | None) -> None:
        """An alarm of the box's own: why it stands, None when it is over."""
        now_s = self._mono_s()
        self._changed(self._alarms.fault(alarm, cause, now_s), now_s)

    # -- alarms and what follows -------------------------------------------------------------------------------------

    def restore(self, levels: dict[str, Value], now_s: float) -> None:
        """After a restart: outputs as they shall be, the last known levels, the reactions to what stands already."""
        self.clock_changed()
        self.deeds.restored(self._alarms.stands, now_s)
        for sensor in self._sensors.all():
            if sensor.id in levels and sensor.source:
                sensor.value = levels[sensor.id]
                self._changed(self._alarms.reading(sensor.id, levels[sensor.id], now_s, now_s), now_s)
        for name in self._alarms.standing():
            if self._alarms.stands(name):
                self.deeds.alarm(name, True, self._alarms.kept(name).occurrence, now_s)

    def carry(self, came: Mapping[str, Came], now_s: float) -> None:
        """Alarms that came before this start, while there was no disk."""
        for name, alarm in came.items():
            self._changed(self._alarms.came(name, alarm, now_s), now_s)

    def acknowledge(self, name: str, by: str = "desk") -> bool:
        """by: "<way>" or "<way>:<who>", see alarm_life.WAYS. Whether there was something to do.

        Raises KeyError for an alarm that there is not, Refused for what the site file does not allow; so do the others.
        """
        return self._done(self._alarms.acknowledge(name, self._mono_s(), by))

    def reset(self, name: str, by: str = "desk") -> bool:
        return self._done(self._alarms.reset(name, self._mono_s(), by))

    def shelve(self, name: str, hours: float, by: str = "desk") -> bool:
        """Out of sight for so long; it ends by itself."""
        return self._done(self._alarms.shelve(name, hours * 3600, self._mono_s(), by))

    def unshelve(self, name: str, by: str = "desk") -> bool:
        return self._done(self._alarms.unshelve(name, self._mono_s(), by))

    def _done(self, changes: list[Change]) -> bool:
        self._changed(changes, self._mono_s())
        return bool(changes)

    def _changed(self, changes: list[Change], now_s: float) -> None:
        for change in changes:
            rule, kept = change.rule, change.kept
            self.deeds.alarm(rule.name, change.standing, change.occurrence, now_s)
            wall_s = self._alarms.here.wall_s(kept.entered) if kept.entered else None
            marks = self.deeds.modes.marks(rule.name, change.occurrence)
            data = change.data(rfc3339(wall_s) if wall_s is not None else None, TEST in marks)
            data[MAINTENANCE] = MAINTENANCE in marks
            self._pending.record("alarms", Record("alarm", rule.name, change.mono_s, data), now_s)
            self._pending.keep(f"alarm:{rule.name}", msgspec.to_builtins(self._alarms.kept(rule.name)))
            self.alarm_changes += 1
            if change.what == CAME:
                self._came(change)

    def _came(self, change: Change) -> None:
        for group in {CENTRE, change.rule.group} - {""}:
            self._pending.keep(f"run:{group}", msgspec.to_builtins(self._alarms.runs.of(group)))
        for condition in change.rule.any:
            for sensor in self._looked_at(condition):
                self._around.alarm(sensor, self._alarms.here.boot, change.mono_s)

    def _looked_at(self, condition: Condition) -> list[str]:
        model, named = condition.model, condition.sensor
        if model and (model, named) in self._detectors.pairs:
            return self._detectors.looks_at(model, named)
        return [named]

    # -- looking -----------------------------------------------------------------------------------------------------

    def values(self) -> dict[str, tuple[Value, float]]:
        """{sensor: (latest value, when)}; a sensor that never spoke is left out."""
        return self._sensors.values()

    def latest(self, sensor: str) -> tuple[Value, float] | None:
        """None while it never spoke since the start."""
        return self._sensors.latest(sensor)

    def stands(self, alarm: str) -> bool:
        """Whether the cause of an alarm is there now."""
        return self._alarms.stands(alarm)

    def standing(self) -> dict[str, str]:
        return self._alarms.standing()

    def in_earnest(self) -> dict[str, str]:
        """The same without those that were born in a test."""
        marks, kept = self.deeds.modes.marks, self._alarms.kept
        return {n: state for n, state in self.standing().items() if TEST not in marks(n, kept(n).occurrence)}

    def flooding(self) -> Json | None:
        """What is said of a flood of alarms; None while there is none."""
        return self._alarms.flooding()

    def told(self, way: str = "desk") -> list[Json]:
        """Each alarm that is not normal, as its newest record says, in the order of their coming; for a person.

        way: from where that person acts, which decides what may be done.
        """
        marks, kept = self.deeds.modes.marks, self._alarms.kept
        told = self._alarms.told(self._mono_s(), way)
        return [row | {"marks": marks(name := str(row["alarm"]), kept(name).occurrence)} for row in told]

    def models(self, deed: str, name: str, version: str, after_days: float, by: str) -> list[Json]:
        """What a person wants of a model's versions: see Detectors.ask(). Raises ValueError."""
        return self._detectors.ask(deed, name, version, after_days, by)

    def learn_anew(self, model: str, scored: str, by: str) -> None:
        """A model is to forget a sensor or machine, and with it what it alarmed there. Raises ValueError."""
        now_s = self._mono_s()
        data = self._detectors.learn_anew(model, scored, by)
        self._pending.record("events", Record("model.decided", model, now_s, data), now_s)
        self._changed(self._alarms.refuted(model, scored, now_s), now_s)

    def model_uses(self) -> dict[str, dict[str, str]]:
        """What each model looks at: see Detectors.uses()."""
        return self._detectors.uses()

    def model_faults(self) -> dict[str, str]:
        """{model: why it is out}."""
        return self._detectors.faults()

    @property
    def model_fault(self) -> str:
        return self._detectors.fault


def _event_record(event: Event) -> Record:
    src = f"{event.source}/{event.boot}/{event.seq}" if event.seq else None
    return Record(event.type, event.source, event.mono_s, event.data, src)


def _lost_record(lost: Lost) -> Record:
    data: Json = {"value": None, "first": lost.first, "last": lost.last}
    return Record("source.lost", lost.source, lost.mono_s, data, f"{lost.source}/{lost.boot}/{lost.last}")
