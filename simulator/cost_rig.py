"""What a gateway costs, counted: the real build under a clock of its own, so that an hour takes seconds and is exact.

Bytes reach it as from a line, its database lies where it is told, and a city that answers at once counts what is
published. Ports, pipeline, storage and uplink are those of `linli run`; only who waits for whom is decided here.
"""

import asyncio
import random
import re
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from drivers.kiosk_side import KioskSide
from drivers.node_side import NodeSide
from drivers.pins import Pins
from drivers.reading import Run
from gateway.build import Ground, build_on
from gateway.clock import Belief, SystemClock
from gateway.config import Bus, load
from gateway.home import Home
from gateway.link import Link
from gateway.reader import Reader
from gateway.storage import Storage
from gateway.uplink import Uplink
from gateway.wire import Listener, Will
from simulator.virtual_loop import Process, VirtualLoop

ACK_EVERY_S = 1.0
_STEPS_A_CALL = 10  # of SQLite's machine between two calls of its progress handler
_VALUES = re.compile(r"x'[0-9a-f]*'|'(?:[^']|'')*'|-?\b\d[\d.e+-]*\b|\bNULL\b")
_BORN_S = 1000.0
_WALL_S = 1_800_000_000.0


class Clock(SystemClock):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__("system")
        self._loop = loop

    def mono_s(self) -> float:
        return _BORN_S + self._loop.time()

    def wall_s(self) -> float:
        return _WALL_S + self._loop.time()

    def _ask_kernel(self) -> Belief:
        return Belief("ntp", 0.05)


class Line:
    """drivers/serial_line.py's SerialLine with a device at its far end that hears and answers at once."""

    path = Path("line")
    error = ""
    next_try_s = 0.0

    def __init__(self, fd: int, process: Process) -> None:
        self.fd = fd
        self.side: NodeSide | KioskSide | None = None
        self._process = process
        self._heard = bytearray()

    def open(self) -> bool:
        return True

    def read(self, size: int) -> bytes:
        data = bytes(self._heard[:size])
        del self._heard[:size]
        if self._heard:
            self._process.call_soon(self._process.readable, self.fd)
        return data

    def write(self, data: bytes) -> int:
        if self.side:
            self.side.feed(data)
        return len(data)

    def close(self) -> None:
        pass

    def bring(self) -> None:
        if self.side and (data := self.side.outgoing(65536)):
            self._heard += data
            self._process.call_soon(self._process.readable, self.fd)


class Counter:
    """Statements and steps of SQLite's machine. seen: {a statement without its values: with the first it had}."""

    def __init__(self) -> None:
        self.statements = self.steps = 0
        self.seen: dict[str, str] = {}

    def watch(self, db: sqlite3.Connection) -> None:
        db.set_trace_callback(self._statement)
        db.set_progress_handler(self._progress, _STEPS_A_CALL)

    def _statement(self, sql: str) -> None:
        self.statements += 1
        self.seen.setdefault(_VALUES.sub("?", sql), sql)

    def _progress(self) -> int:
        self.steps += _STEPS_A_CALL
        return 0


class Wire:
    """To a broker that takes and answers at once. What it says is heard at the uplink's next turn."""

    def __init__(self, rig: "CostRig", listener: Listener, ring: Callable[[], None]) -> None:
        self._rig = rig
        self._listener = listener
        self._ring = ring
        self._inbox: deque[Callable[[], None]] = deque()
        self._mid = 0

    def _soon(self, what: Callable[[], None]) -> None:
        self._inbox.append(what)
        self._ring()

    def connect(self) -> None:
        if self._rig.away:
            raise OSError("the city is away")
        self._rig.wire = self
        self._soon(lambda: self._listener.connected(65_535))

    def subscribe(self, topics: Sequence[str]) -> None:
        self._soon(lambda: self._listener.subscribed([""] * len(topics)))

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> tuple[int, str]:
        self._mid += 1
        mid = self._mid
        self._rig.published(topic, payload, retain)
        self._soon(lambda: self._listener.published(mid, ""))
        return mid, ""

    def hear(self, topic: str, payload: bytes) -> None:
        self._soon(lambda: self._listener.message(topic, payload))

    def turn(self) -> str:
        while self._inbox:
            self._inbox.popleft()()
        return ""

    def disconnect(self) -> None:
        pass

    def close(self) -> None:
        self._inbox.clear()


class InlineStorage(Storage):
    """A round at once for what is put, and one a second for upkeep."""

    def __init__(self, process: Process, *rest: Any) -> None:
        super().__init__(*rest)
        self._process = process

    def start(self) -> None:
        self._process.call_later(1.0, self.start)
        self.round()

    def put(self, item: Any) -> None:
        super().put(item)
        self._process.call_soon(self.round)

    async def close(self, _timeout_s: float) -> bool:  # type: ignore[override]
        self.put(None)
        while not self.finished:
            self.round()
        self._process.die()
        self.end()
        return True


class InlineUplink(Uplink):
    """Its turns, as soon as something rings."""

    def __init__(self, process: Process, open_wire: Callable[[Listener, Callable[[], None]], Wire], *rest: Any) -> None:
        def open_counted(_link: Link, _version: int, _will: Will, listener: Listener) -> Wire:
            return open_wire(listener, self._ring)

        super().__init__(*rest, open_wire=open_counted)
        self._process = process
        self._steps: Iterator[float] | None = None
        self._timer: asyncio.Handle | None = None
        self._rung = False

    def start(self) -> None:
        self._steps = self.turns()
        self._step()

    def _ring(self) -> None:
        self._rung = True
        if self._timer:
            self._timer.cancel()
            self._timer = self._process.call_soon(self._step)

    def _step(self) -> None:
        self._timer, self._rung = None, False  # what rings in here has it come back at once
        if self._steps and (rest_s := next(self._steps, None)) is not None:
            self._timer = self._process.call_later(0.0 if self._rung else rest_s, self._step)
        else:
            self._steps = None

    async def close(self, _timeout_s: float) -> bool:  # type: ignore[override]
        self.end()
        while self._steps:
            await asyncio.sleep(0.01)
        return True


class _Pack(msgspec.Struct):
    n: int


class Costs(NamedTuple):
    """Since the rig began. read_...: of the uplink. handled: readings that passed Pipeline.handle. sent: published."""

    commits: int
    statements: int
    steps: int
    read_statements: int
    read_steps: int
    messages: int
    wire_bytes: int
    handled: int
    sent: int

    def __sub__(self, other: "Costs") -> "Costs":  # type: ignore[override]
        return Costs(*(now - before for now, before in zip(self, other, strict=True)))


class CostRig:
    """with CostRig(site, folder, vfs) as rig: ...; rig.go(60.0).

    away: the city cannot be reached. acks: its ledger says each second what has arrived. step_s: how often lines speak.
    """

    def __init__(
        self, site: Path, folder: Path, vfs: str = "", *, away: bool = False, acks: bool = True, step_s: float = 0.02
    ) -> None:
        self.loop = VirtualLoop()
        self.process = Process(self.loop)
        self.clock = Clock(self.loop)
        self.away, self._acks, self._step_s = away, acks, step_s
        self.store_sql, self.reader_sql = Counter(), Counter()
        self.lines: dict[str, Line] = {}
        self.handled = self.sent = self.messages = self.wire_bytes = 0
        self.wire: Wire | None = None
        self._arrived: dict[str, int] = {}
        self._vfs = vfs
        self._site, self._home = load(site), Home(folder)
        self._produce: list[Callable[[float], None]] = []

    def __enter__(self) -> "CostRig":
        self.loop.run_until_complete(self._start())
        return self

    async def _start(self) -> None:
        ground = Ground(
            self.clock, "the-kernel", random.Random(1), Pins(_NoPins(), self.clock.mono_s),
            self._line, lambda *rest: InlineStorage(self.process, *rest), self._uplink, vfs=self._vfs,
        )  # fmt: skip
        self.box = build_on(ground, self._site, self._home, None, self.process)  # type: ignore[arg-type]
        parts = self.box._parts
        self.store, self.pipeline, self.storage = parts.store, parts.pipeline, parts.storage
        self._topics = parts.topics
        self.store_sql.watch(self.store._db)
        self._handle, self.pipeline.handle = self.pipeline.handle, self._counted  # type: ignore[method-assign]
        self.box.start()
        self._step()
        if self._acks:
            self._ack_each_second()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.loop.run_until_complete(self.box.stop())
        self.process.die()
        self._home.release()

    def _line(self, bus: Bus) -> Any:
        return self.lines.setdefault(bus.name, Line(100 + len(self.lines), self.process))

    def _uplink(self, link: Link, identity: Any, open_reader: Callable[[], Reader], *rest: Any) -> InlineUplink:
        def watched() -> Reader:
            reader = open_reader()
            self.reader_sql.watch(reader._db)
            return reader

        def wire(listener: Listener, ring: Callable[[], None]) -> Wire:
            return Wire(self, listener, ring)

        return InlineUplink(self.process, wire, link, identity, watched, *rest)

    # -- what comes in ------------------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        return round(self.loop.time() * 1000)

    def node(self, bus: str, ring: int, text: str) -> NodeSide:
        side = self.lines[bus].side = NodeSide(1, ring, text, self.now_ms)
        return side

    def kiosk(self, bus: str) -> KioskSide:
        side = self.lines[bus].side = KioskSide(1, 200, "kiosk", self.now_ms)
        return side

    def each_step(self, produce: Callable[[float], None]) -> None:
        """produce(seconds since the start) is called every step_s; then the lines bring what the devices have."""
        self._produce.append(produce)

    def _step(self) -> None:
        self.process.call_later(self._step_s, self._step)
        for produce in self._produce:
            produce(self.loop.time())
        for line in self.lines.values():
            line.bring()

    def go(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        if self.loop.errors:
            raise AssertionError(self.loop.errors[0])

    # -- the city ----------------------------------------------------------------------------------------------------

    def _ack_each_second(self) -> None:
        self.process.call_later(ACK_EVERY_S, self._ack_each_second)
        self.ack({stream: {"upto": n} for stream, n in self._arrived.items()})
        self._arrived = {}

    def ack(self, streams: dict[str, Any]) -> None:
        """The ledger's word, see docs/contract.md."""
        if self.wire and streams:
            said = {"v": 1, "epoch": self.store.epoch, "streams": streams}
            self.wire.hear(self._topics.ack, msgspec.json.encode(said))

    # -- what is counted ---------------------------------------------------------------------------------------------

    def _counted(self, facts: Any) -> None:
        self.handled += sum(len(fact.points) if isinstance(fact, Run) else 1 for fact in facts)
        self._handle(facts)

    def published(self, topic: str, payload: bytes, retain: bool) -> None:
        if not retain:
            self.messages += 1
            self.wire_bytes += len(payload)
            stream = topic.rpartition("/")[2]
            self._arrived[stream] = max(self._arrived.get(stream, 0), msgspec.json.decode(payload, type=_Pack).n)
            if stream == "readings":
                self.sent += payload.count(b'"src":')

    def costs(self) -> Costs:
        return Costs(
            self.store.commits, self.store_sql.statements, self.store_sql.steps, self.reader_sql.statements,
            self.reader_sql.steps, self.messages, self.wire_bytes, self.handled, self.sent,
        )  # fmt: skip


class _NoPin:
    """A pin that nothing moves."""

    state = 1
    bounce: float | None = None
    edges = ""
    when_changed: Callable[[float, int], None] | None = None

    def input_with_pull(self, pull: str) -> None:
        pass

    def output_with_state(self, level: bool) -> None:
        self.state = int(level)

    def close(self) -> None:
        pass


class _NoPins:
    """A gpiozero pin factory whose world stands still."""

    def pin(self, _gpio: int) -> _NoPin:
        return _NoPin()

    def ticks(self) -> float:
        return 0.0

    def ticks_diff(self, later: float, earlier: float) -> float:
        return later - earlier
