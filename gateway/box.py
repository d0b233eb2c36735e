"""The running gateway: one loop that owns the state, with the storage thread and the uplink beside it.

The loop never blocks. Edges and lines only hand in facts; what is durable comes back from the storage thread, and only
then are nodes and kiosks acknowledged.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from drivers.reading import Said, Value
from gateway import snapshot
from gateway.clock import Wall
from gateway.contract import Json, Record, Topics, dictionary
from gateway.durable import Durable
from gateway.facilities import Facilities
from gateway.listen_port import ListenPort
from gateway.local import Local
from gateway.night_water import NightWater
from gateway.notify import notify
from gateway.own_alarms import source_alarm
from gateway.pending import Pending, Work
from gateway.pipeline import Pipeline
from gateway.ports import Port
from gateway.queues import Queues
from gateway.retained import fitting
from gateway.storage import Storage, Stored
from gateway.store import Store
from gateway.upkeep import Upkeep
from gateway.uplink import Uplink

if TYPE_CHECKING:
    from gateway.modbus_port import ModbusPort  # which imports pymodbus

log = logging.getLogger(__name__)

TICK_S = 0.1
HEALTH_EVERY_S = 60.0
UPKEEP_EVERY_S = 1.0
STATE_EVERY_S = 60.0
WATCHDOG_EVERY_S = 5.0
SNAPSHOT_EVERY_S = 3600.0  # and at the start
SLOW_S = 3.0  # of a commit, which takes milliseconds on a disk that is well
_SLOW = f"the disk is slow: a commit takes longer than {SLOW_S:.0f} s"
STALLED_S = 20.0  # a thread that has not come round for so long is not alive
_GATHERED_MAX = 10_000  # records of one commit that nobody but full rings hurries
_WAITING_MAX = 100_000  # records not yet durable: beyond it the lines are not read
_STOP_STORE_S, _STOP_UPLINK_S = 1.5, 2.0
_STOP_FILE_S = 1.0


class Parts:
    """What build.py put together."""

    def __init__(
        self, wall: Wall, mono_s: Callable[[], float], pipeline: Pipeline, pending: Pending, store: Store,
        topics: Topics, meta: Json, versions: Json,
    ) -> None:  # fmt: skip
        self.wall, self.mono_s, self.pipeline, self.pending, self.store = wall, mono_s, pipeline, pending, store
        self.topics, self.meta, self.versions = topics, meta, versions
        self.ports: list[Port | ListenPort | ModbusPort] = []
        self.upkeep: Upkeep
        self.facilities: Facilities
        self.queues: Queues
        self.night_water: NightWater
        self.local: Local
        self.storage: Storage
        self.uplink: Uplink

    def tell(self, record: Record) -> None:
        """An event of the box's own."""
        self.pending.record("events", record, self.mono_s())

    def contact(self, sensor: str, value: Value, mono_s: float) -> None:
        """A contact changed."""
        self.upkeep.changed(sensor, value, mono_s)
        self.facilities.contact(sensor, value, mono_s)


class Box:
    """start() to stop(), on one asyncio loop."""

    def __init__(self, parts: Parts, loop: asyncio.AbstractEventLoop) -> None:
        self._parts = parts
        self._loop = loop
        self._pending = parts.pending
        self.mono_s = self._mono_s = parts.mono_s
        self._flush: asyncio.TimerHandle | None = None
        self._flush_at_s = 0.0
        self._ticker: asyncio.TimerHandle | None = None
        self._ports: dict[str, Port | ListenPort | ModbusPort] = {}
        self._under_way = 0  # records handed to the storage thread and not yet durable
        self._due_s = {"health": 0.0, "state": 0.0, "watchdog": 0.0, "snapshot": 0.0, "upkeep": 0.0}
        self._state_changes = -1
        self._disk_trouble = ""
        self._slowest_tick_s = 0.0
        self._started_s = parts.mono_s()
        self.stopping = False
        self._durable = Durable()
        self.heads: dict[str, int] = {}

    def start(self) -> None:
        parts = self._parts
        self._ports = {port.name: port for port in parts.ports}
        parts.wall.look()
        self._synced()
        parts.storage.start()
        parts.uplink.retain(parts.topics.meta, dictionary(parts.meta))
        parts.uplink.start()
        parts.local.start()
        self._tick()
        notify("READY=1")

    # -- facts in ---------------------------------------------------------------------------------------------------

    def take(self, facts: Sequence[Said]) -> None:
        """On the loop: the whole flow, then see when it must be committed."""
        if self.stopping:
            return  # the outputs are in their safe state; nothing of this was acknowledged, so it comes again
        self._parts.pipeline.handle(facts)
        self._arm()

    def _arm(self) -> None:
        """Have `_commit` called when something is due, and at once when a ring is half full.

        While a commit is under way the next one is being gathered, up to a size; else a busy line would be committed
        read by read.
        """
        now_s = self._mono_s()
        if self._pending.has_marks and (not self._under_way or self._pending.records >= _GATHERED_MAX):
            links = [port.link for port in self._ports.values()]
            if any(link.ring and link.undurable * 2 > link.ring for link in links):
                self._pending.hurry(now_s)
        due_s = self._pending.due_in_s(now_s)
        if due_s is None:
            return
        if due_s <= 0:
            self._commit()
        elif self._flush is None or now_s + due_s < self._flush_at_s:
            if self._flush:
                self._flush.cancel()
            self._flush_at_s = now_s + due_s
            self._flush = self._loop.call_later(due_s, self._commit)

    def _commit(self, everything: bool = False) -> None:
        if self._flush:
            self._flush.cancel()
            self._flush = None
        if self._under_way > _WAITING_MAX and not everything:
            self._pause(True)
            return
        work = self._pending.take(self._mono_s(), everything=everything, dense=self._parts.uplink.state.behind)
        if work:
            self._under_way += _records(work)
            self._durable.handed()
            self._parts.storage.put(work)
        self._arm()

    def _pause(self, on: bool) -> None:
        for port in self._ports.values():
            if port.paused != on:
                port.pause(on)

    # -- what is durable comes back ----------------------------------------------------------------------------------

    def on_stored(self, stored: Stored) -> None:
        """From the storage thread: only queues."""
        self._parts.uplink.stored(stored.heads, stored.generation)
        self._loop.call_soon_threadsafe(self._stored, stored)

    def on_trouble(self, why: str) -> None:
        """From the storage thread: only queues."""
        self._loop.call_soon_threadsafe(self._trouble, why)

    def _stored(self, stored: Stored) -> None:
        self.heads = stored.heads
        for work in stored.works:
            self._under_way -= _records(work)
            for source, (boot, seq) in work.marks.items():
                if port := self._ports.get(source):
                    port.durable(boot, seq)
        self._durable.stored(len(stored.works))
        if self._under_way < _WAITING_MAX / 2:
            self._pause(False)
        if not self.stopping:
            self._arm()

    def _tell_slow(self, now_s: float) -> None:
        """A commit that does not return cannot tell it itself."""
        since_s = self._parts.storage.busy_since_s
        slow = since_s is not None and now_s - since_s > SLOW_S
        if slow and not self._disk_trouble:
            log.error(_SLOW)
            self._trouble(_SLOW)
        elif not slow and self._disk_trouble == _SLOW:
            log.warning("the disk is as fast as it was")
            self._trouble("")

    def _trouble(self, why: str) -> None:
        if why != self._disk_trouble:
            self._disk_trouble = why
            record = Record("disk.trouble" if why else "disk.well", "store", self._mono_s(), {"value": why})
            self._pending.record("health", record, self._mono_s())
            self._due_s["health"] = 0.0

    # -- a few times a second ----------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._ticker = self._loop.call_later(TICK_S, self._tick)  # first, so that no error below ends the ticking
        began_s = self._mono_s()
        for port in self._ports.values():
            port.tick()
            self._tell_silence(port)
            for alarm, cause in port.faults():
                self._parts.pipeline.fault(alarm, cause)
        self._parts.local.tick(began_s)
        self._parts.pipeline.tick()
        self._look_after(began_s)
        if self._parts.wall.look():
            self._clock_changed()
        self._tell_slow(began_s)
        self._periodic(began_s)
        self._arm()
        self._slowest_tick_s = max(self._slowest_tick_s, self._mono_s() - began_s)

    def _look_after(self, now_s: float) -> None:
        """Sensors that need a person, the facilities that they tell of, and queues: promises in danger, figures."""
        if now_s < self._due_s["upkeep"]:
            return
        self._due_s["upkeep"] = now_s + UPKEEP_EVERY_S
        label = self._parts.wall.label()
        wall_s = None if label.wall is None else label.wall + now_s - label.mono
        told = self._parts.queues.tick(now_s)
        self._pending.many("events", told.records, now_s)
        changes = self._parts.upkeep.tick(now_s, wall_s, self._parts.pipeline.latest)
        for alarm, cause in (*changes, *told.alarms):
            self._parts.pipeline.fault(alarm, cause)
        self._parts.night_water.tick(label, self._parts.pipeline.latest)
        standing = self._parts.pipeline.in_earnest()
        for alarm, cause in self._parts.facilities.tick(label, self._parts.pipeline.latest, standing):
            self._parts.pipeline.fault(alarm, cause)

    def _tell_silence(self, port: "Port | ListenPort | ModbusPort") -> None:
        for source in port.sources():
            silent = source.silent_s is not None
            if silent != source.told_silent and (silent or source.spoke):  # silent before the restart: until it speaks
                source.told_silent = silent
                self._parts.pipeline.source_silent(source_alarm(source.name), source.silent_s)

    def _periodic(self, now_s: float) -> None:
        changes = self._parts.pipeline.alarm_changes
        if now_s >= self._due_s["state"] or changes != self._state_changes:
            self._state_changes = changes
            self._due_s["state"] = now_s + STATE_EVERY_S
            self._parts.uplink.retain(self._parts.topics.state, fitting(self.state()))
        if now_s >= self._due_s["health"]:
            self._due_s["health"] = now_s + HEALTH_EVERY_S
            self._pending.record("health", Record("health", "box", now_s, self.health()), now_s)
        if now_s >= self._due_s["snapshot"]:
            self._due_s["snapshot"] = now_s + SNAPSHOT_EVERY_S
            for data in snapshot.parts(self._pending.kept):
                self._pending.apart("health", Record("snapshot", "box", now_s, data), now_s)
        if now_s >= self._due_s["watchdog"] and self.alive(now_s):
            self._due_s["watchdog"] = now_s + WATCHDOG_EVERY_S
            notify("WATCHDOG=1")

    def _clock_changed(self) -> None:
        """One label is true for a whole pack, so what is open is closed first; `label` already speaks the new time."""
        self._pending.seal()
        self._parts.pipeline.clock_changed()
        self._synced()

    def _synced(self) -> None:
        """What corrects every pack of this boot, sent or not."""
        label = self._parts.wall.label()
        if label.wall is not None:
            self._pending.clock_known(label)
            data: Json = {"value": label.clock, "boot": label.boot, "mono": round(label.mono, 3)}
            data |= {"wall": round(label.wall, 3), "err_s": label.err_s}
            self._pending.record("events", Record("clock.synced", "clock", label.mono, data), label.mono)

    @property
    def epoch(self) -> str:
        epoch: str = self._parts.store.epoch
        return epoch

    @property
    def pipeline(self) -> Pipeline:
        return self._parts.pipeline

    def facility(self, deed: str, name: str, by: str, note: str) -> Json:
        """Where the log of each facility stands, after a deed by hand. Raises ValueError."""
        if deed != "list":
            self._parts.facilities.deed(deed, name, by, note, self._parts.wall.label())
            self.hurry()
        return self._parts.facilities.list()

    def note(self, stream: str, record: Record) -> None:
        """A record of the box's own, e.g. the doctor's probe."""
        self._pending.record(stream, record, self._mono_s())
        self.hurry()

    def hurry(self) -> None:
        """Somebody stands here and waits: commit what there is now."""
        self._commit(everything=True)

    def when_durable(self, then: Callable[[], None]) -> None:
        """`then`, once all that was said until now is stored; it is committed now."""
        self.hurry()
        self._durable.when(then)

    def acked(self) -> dict[str, int]:
        """How far the city holds each stream."""
        return dict(self._parts.uplink.state.acked)

    def _unwritten(self) -> bool:
        """A safe state that is still on its way to a unit."""
        return any(port.unwritten for port in self._ports.values())

    # -- looking -----------------------------------------------------------------------------------------------------

    def alive(self, now_s: float) -> bool:
        """Every part came round lately. A disk that stalls keeps its thread alive: it is tried again and told."""
        storage, uplink = self._parts.storage, self._parts.uplink
        if storage.fault or uplink.fault:
            return False
        stuck = storage.busy_since_s is None and now_s - storage.alive_s > STALLED_S
        return not stuck and now_s - uplink.alive_s <= STALLED_S

    def troubles(self) -> list[str]:
        """What is wrong with the disk, the way to the city and the lines, each a sentence."""
        uplink = self._parts.uplink.state
        return [t for t in (self._disk_trouble, uplink.trouble, *(p.trouble for p in self._ports.values())) if t]

    def health(self) -> Json:
        parts = self._parts
        uplink = parts.uplink.state
        slowest_ms, self._slowest_tick_s = round(self._slowest_tick_s * 1000, 1), 0.0
        return {
            "value": "trouble" if (troubles := self.troubles()) else "well", "troubles": troubles, "heads": self.heads,
            "uptime_s": round(self._mono_s() - self._started_s), **parts.storage.figures,
            "commits": parts.store.commits,
            "tick_ms_max": slowest_ms, "waiting": self._under_way + self._pending.records,
            "uplink": {"connected": uplink.connected, "packs": uplink.packs_sent, "bytes": uplink.bytes_sent,
                       "connections": uplink.connections, "acked": uplink.acked},
            "ports": {name: port.facts() for name, port in self._ports.items()},
            "model": parts.pipeline.model_fault,
            "raw_given_up": self._pending.samples.given_up + parts.store.history.given_up,
        }  # fmt: skip

    def state(self) -> Json:
        """Latest values, standing alarms, outputs, queues. A sensor that never spoke is left out, not shown as fine."""
        label = self._parts.wall.label()
        deeds = self._parts.pipeline.deeds
        values: Json = {}
        for sensor, (value, mono_s) in self._parts.pipeline.values().items():
            values[sensor] = {"value": value, "age_s": round(label.mono - mono_s, 1)}
        flood = self._parts.pipeline.flooding()
        more: Json = {"flood": flood} if flood else {}
        return more | {
            "boot": label.boot, "mono": round(label.mono, 3), "wall": label.wall and round(label.wall, 3),
            "values": values, "alarms": self._parts.pipeline.standing(), "outputs": deeds.outputs(),
            "hands": deeds.hands(), "modes": deeds.modes.on(),
            "queues": self._parts.queues.state(label.mono),
        }  # fmt: skip

    # -- the end -----------------------------------------------------------------------------------------------------

    async def stop(self, *, for_good: bool = True) -> bool:
        """Within 5 s: safe states, commit, tell the sources, say goodbye with the heads. False when a part hung.

        for_good: else another box of this process takes over at once, and outputs stay as they are until it does.
        """
        self.stopping = True
        parts = self._parts
        if for_good:
            notify("STOPPING=1")
            parts.local.stop()
        for name, output in parts.local.outputs.items():
            self._pending.keep(f"output:{name}", output.on)
        if self._ticker:
            self._ticker.cancel()
        self._pending.many("events", parts.queues.news(self._mono_s()), self._mono_s())
        self._commit(everything=True)
        until_s = self._mono_s() + _STOP_STORE_S
        while (self._under_way or self._unwritten()) and self._mono_s() < until_s:
            await asyncio.sleep(0.01)
        for port in self._ports.values():
            port.close()
        run = self._loop.run_in_executor
        said = await run(None, parts.uplink.close, _STOP_UPLINK_S)
        kept = await run(None, parts.storage.close, _STOP_FILE_S)
        parts.local.close()
        return said and kept


def _records(work: Work) -> int:
    return 1 + sum(draft.records for draft in (*work.drafts, *work.journal)) + sum(g.samples for g in work.samples)
