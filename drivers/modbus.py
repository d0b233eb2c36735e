"""A Modbus RTU master: one a bus, bytes in, facts out. The only file that imports pymodbus; opens no port.

Reads only, except outputs that the site file names. Broadcasts never. What goes wrong may take a bounded share of the
line: silent units are asked with back-off, and retries and those tries together draw on SPARE_SHARE of the time, so
that one dead or noisy unit does not slow the others down.
"""

import math
from typing import NamedTuple

from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

from drivers import registers
from drivers.device_file import Point
from drivers.modbus_unit import Unit, Write
from drivers.reading import Fact
from drivers.registers import Batch

RETRIES = 2
SPARE_SHARE = 0.05  # of the line's time, for retries and for units that are offline
SPARE_MAX_S = 1.0  # saved up while all is well
ADAPTER_S = 0.016  # a USB adapter holds bytes back for so long
QUIET_S = 0.03
GAP_FAST_S = 0.00175  # above 19,200 Bd the 3.5 characters are fixed (Modbus over serial line 1.02, 2.5.1.1)
BUFFER_MAX = 512
_READ = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
_WRITE = {"coil": 5, "holding": 6}
_framer = FramerRTU(DecodePDU(False))


class Timing(NamedTuple):
    """char_s: one character on this line. gap_s: silence between two frames. timeout_s: until an answer begins."""

    char_s: float
    gap_s: float
    timeout_s: float

    @property
    def quiet_s(self) -> float:
        """An answer that stops in the middle for so long has ended."""
        return max(QUIET_S, ADAPTER_S + 3.5 * self.char_s)

    @classmethod
    def of(cls, line: str, timeout_ms: float, gap_ms: float | None = None) -> "Timing":
        """line: "9600 8N1"."""
        baud, frame = line.split()
        char_s = (1 + int(frame[0]) + (frame[1] != "N") + int(frame[2])) / int(baud)
        least_s = 3.5 * char_s if int(baud) <= 19_200 else GAP_FAST_S
        return cls(char_s, max(least_s, (gap_ms or 0) / 1000), timeout_ms / 1000)


def crc(data: bytes) -> bytes:
    """As it stands behind the data on the wire."""
    return FramerRTU.compute_CRC(data).to_bytes(2, "big")


def read_frame(address: int, area: str, at: int, count: int) -> bytes:
    """A request, CRC included. Raises ValueError for the broadcast address."""
    if not 1 <= address <= 247:
        raise ValueError(f"found address {address}, expected 1 to 247")
    body = bytes([address, _READ[area]]) + at.to_bytes(2, "big") + count.to_bytes(2, "big")
    return body + crc(body)


def write_frame(address: int, point: Point, at: int, on: bool) -> bytes:
    """A request to switch one output, CRC included; its answer is the same bytes. Raises ValueError."""
    if not 1 <= address <= 247 or point.access != "output":
        raise ValueError(f"found {point.name} at address {address}, expected an output at 1 to 247")
    value = (0xFF00 if on else 0) if point.area == "coil" else (point.on if on else point.off)
    body = bytes([address, _WRITE[point.area]]) + at.to_bytes(2, "big") + value.to_bytes(2, "big")
    return body + crc(body)


def frame_size(data: bytes | bytearray) -> int:
    """How long the answer at the beginning of `data` is by its own words; 0 while that cannot be told."""
    if len(data) < 3:
        return 0
    if data[1] & 0x80:
        return 5
    return 5 + data[2] if data[1] in _READ.values() else 8


def intact(frame: bytes) -> bool:
    return len(frame) >= 5 and crc(frame[:-2]) == frame[-2:]


class _Asked(NamedTuple):
    """What we wait for. until_s: when it is too late. tries: this one included."""

    unit: Unit
    frame: bytes
    batch: Batch | None
    write: Write | None
    sent_s: float
    until_s: float
    tries: int
    after_timeout: bool


class Master:
    """Asks one thing at a time. `next` gives bytes to send, `feed` and `tick` the facts, `due_s` when to come again.

    echoes, strays, frames_bad: own requests heard again; bytes nobody asked for; answers that were no frame.
    """

    ring = undurable = 0  # a polled bus has nothing to be acknowledged

    def __init__(self, units: list[Unit], timing: Timing, now_s: float) -> None:
        self.units = units
        self.timing = timing
        self.last_heard_s = now_s
        self.error = ""
        self.echoes = self.strays = self.frames_good = self.frames_bad = 0
        self._by_address = {unit.address: unit for unit in units}
        self._asked: _Asked | None = None
        self._retry: _Asked | None = None
        self._last: Unit | None = None  # who answered last
        self._buffer = bytearray()
        self._quiet_from_s = -math.inf  # the line has been quiet since
        self._spare_s = SPARE_MAX_S
        self._refilled_s = now_s

    @property
    def hello(self) -> bool:
        """Whether any unit ever answered."""
        return self.frames_good > 0

    def reset(self) -> None:
        """The line was lost: nothing comes of what was asked."""
        self._asked = self._retry = self._last = None
        self._buffer.clear()

    # -- asking ------------------------------------------------------------------------------------------------------

    def next(self, now_s: float) -> bytes:
        """The next request, b"" while there is none or the line must be quiet."""
        if self._asked or now_s < self._quiet_from_s + self.timing.gap_s:
            return b""
        self._refill(now_s)
        if self._retry:
            again, self._retry = self._retry, None
            return self._ask(again.unit, again.batch, again.write, now_s, again.tries + 1, again.after_timeout)
        for unit in self.units:
            if write := unit.hurried:
                return self._ask(unit, None, write, now_s, 1, False)
        turn = self._turn(now_s)
        if turn is None:
            return b""
        write = turn.pending()  # of a silent one: it shows as well as a read that the unit is back
        return self._ask(turn, None if write else turn.take(now_s), write, now_s, 1, False)

    def _turn(self, now_s: float) -> Unit | None:
        """Whose turn it is: a silent unit as far as its share goes, else who has waited longest."""
        due = [unit for unit in self.units if unit.batches and unit.due_s() <= now_s]
        if self._spare_s > 0:
            offline = [unit for unit in due if unit.offline]
            if offline:
                return min(offline, key=lambda unit: unit.next_s)
        online = [unit for unit in due if not unit.offline]
        return min(online, key=lambda unit: unit.next_s, default=None)

    def _ask(
        self, unit: Unit, batch: Batch | None, write: Write | None, now_s: float, tries: int, after_timeout: bool
    ) -> bytes:
        if write:
            write.tried = True
            at = registers.wire(unit.device, write.point)
            frame, answer = write_frame(unit.address, write.point, at, write.on), 8
        else:
            assert batch
            frame = read_frame(unit.address, batch.area, batch.address, batch.size)
            answer = 5 + batch.data_bytes
        unit.counts.asked += 1
        until_s = now_s + self.timing.timeout_s + (len(frame) + answer) * self.timing.char_s
        self._buffer.clear()
        self._asked = _Asked(unit, frame, batch, write, now_s, until_s, tries, after_timeout)
        self._quiet_from_s = now_s + len(frame) * self.timing.char_s
        return frame

    def due_s(self, now_s: float) -> float:
        """When `next` or `tick` has something to do, inf for never."""
        if self._asked:
            broken_s = self._quiet_from_s + self.timing.quiet_s if self._buffer else math.inf
            return min(self._asked.until_s, broken_s)
        ready_s = self._quiet_from_s + self.timing.gap_s
        if self._retry or any(unit.hurried for unit in self.units):
            return ready_s
        times = [unit.due_s() for unit in self.units if unit.batches and not unit.offline]
        lacking_s = max(0.0, -self._spare_s) / SPARE_SHARE
        times += [max(unit.due_s(), now_s + lacking_s) for unit in self.units if unit.batches and unit.offline]
        return max(ready_s, min(times, default=math.inf))

    # -- hearing -----------------------------------------------------------------------------------------------------

    def feed(self, data: bytes, now_s: float) -> list[Fact]:
        """Bytes that came, and the facts that they complete."""
        if self._asked is None:
            self.strays += len(data)
            if self._last and now_s < self._quiet_from_s + self.timing.quiet_s:
                self._last.counts.doubled += 1
            self._quiet_from_s = now_s
            return []
        self._quiet_from_s = now_s
        self._buffer += data[: BUFFER_MAX - len(self._buffer)]
        return self._look(now_s)

    def _look(self, now_s: float) -> list[Fact]:
        asked = self._asked
        assert asked
        self._drop_echo(asked)
        size = frame_size(self._buffer)
        if not size or len(self._buffer) < size:
            return []
        frame, rest = bytes(self._buffer[:size]), bytes(self._buffer[size:])
        if not intact(frame):
            # Its own length may be what is wrong; then the silence behind it ends it.
            return self._broken(asked, now_s) if size == self._expected(asked) or frame[1] & 0x80 else []
        if frame[0] != asked.unit.address:
            return self._stranger(frame, rest, now_s)
        if not self._fits(asked, frame):
            return self._stranger(frame, rest, now_s)
        self._asked = None
        self._last = asked.unit
        asked.unit.counts.doubled += bool(rest)
        self.frames_good += 1
        self.last_heard_s = now_s
        if asked.tries > 1 or asked.unit.offline:
            self._spare_s -= now_s - asked.sent_s
        return self._said(asked, frame, now_s)

    def _expected(self, asked: _Asked) -> int:
        return 8 if asked.write else 5 + (asked.batch.data_bytes if asked.batch else 0)

    def _drop_echo(self, asked: _Asked) -> None:
        """Some adapters hear themselves. A write's answer equals its request: there only an earlier echo tells."""
        if self._buffer.startswith(asked.frame) and (asked.batch or self.echoes):
            del self._buffer[: len(asked.frame)]
            self.echoes += 1

    def _stranger(self, frame: bytes, rest: bytes, now_s: float) -> list[Fact]:
        """A whole answer to another question: of a unit that was too slow, or of the second one at its address."""
        if unit := self._by_address.get(frame[0]):
            unit.spoke_again(now_s)
        else:
            self.strays += len(frame)
        self._buffer[:] = rest
        return self._look(now_s) if rest else []

    def _fits(self, asked: _Asked, frame: bytes) -> bool:
        if frame[1] == asked.frame[1] | 0x80:
            return True
        if asked.write:
            return frame == asked.frame
        return frame[1] == asked.frame[1] and len(frame) == self._expected(asked)

    def _said(self, asked: _Asked, frame: bytes, now_s: float) -> list[Fact]:
        refused = bool(frame[1] & 0x80)
        if asked.write:
            asked.unit.alive(now_s)
            asked.write.done = True
            asked.unit.counts.good += not refused
            asked.unit.counts.refused += refused
            if refused:
                asked.unit.refused = f"the output {asked.write.point.name}: exception {frame[2]}"
            return []
        assert asked.batch
        if refused:
            return asked.unit.refuses(asked.batch, frame[2], now_s)
        # pymodbus has the last word on what a frame is; `intact` and `_fits` only decide when there is one.
        _, address, _, pdu = _framer.decode(frame)
        if address != asked.unit.address or _framer.decoder.decode(pdu) is None:
            return self._broken(asked, now_s)
        return asked.unit.answered(asked.batch, frame[3:-2], now_s, after_timeout=asked.after_timeout)

    # -- what did not come -------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> list[Fact]:
        """Time has passed: an answer may be too late, or have stopped in the middle."""
        asked = self._asked
        if asked is None:
            return []
        if self._buffer and now_s >= self._quiet_from_s + self.timing.quiet_s:
            return self._broken(asked, now_s)
        if now_s >= asked.until_s:
            self._failed(asked, now_s, silent=True)
        return []

    def _broken(self, asked: _Asked, now_s: float) -> list[Fact]:
        self.frames_bad += 1
        self._failed(asked, now_s, silent=False)
        return []

    def _failed(self, asked: _Asked, now_s: float, *, silent: bool) -> None:
        self._asked = None
        self._last = None
        unit = asked.unit
        again = asked.tries <= RETRIES and not unit.offline and self._spare_s > 0
        if asked.tries > 1 or unit.offline:
            self._spare_s -= now_s - asked.sent_s
        unit.missed(asked.batch, now_s, silent=silent, again=again)
        if again:
            self._retry = asked._replace(after_timeout=asked.after_timeout or silent)
        self._buffer.clear()

    def _refill(self, now_s: float) -> None:
        self._spare_s = min(SPARE_MAX_S, self._spare_s + (now_s - self._refilled_s) * SPARE_SHARE)
        self._refilled_s = now_s
