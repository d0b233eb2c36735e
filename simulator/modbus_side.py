"""The far end of a Modbus line: units that answer from their registers, and what can be wrong with them or the wires.

Bytes of our own, so that a fault can be told to the bit; pymodbus' server (modbus_peer.py) is the peer that shares none
of our thinking.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from drivers import registers
from drivers.device_file import DeviceFile
from drivers.modbus import crc
from drivers.reading import Value
from drivers.registers import Image

FAULTS = ("dead", "echo", "twin", "swapped", "slow")
THINK_MS = 4
SLOW_MS = 700  # later than any time-out
TWIN_MS = 15  # the second of two units at one address begins a little after the first
_REQUEST_BYTES = 8
_HELD_MAX = 256
_AREAS = {1: "coil", 2: "discrete", 3: "holding", 4: "input", 5: "coil", 6: "holding"}
_SOUND = {"quality": 90.0, "multiplier": 3.0}  # what a healthy one says besides what it measures


class SimUnit:
    """One unit with all registers of its device file. dead: says nothing."""

    def __init__(self, name: str, address: int, device: DeviceFile, expect: dict[str, int]) -> None:
        self.name, self.address, self.device = name, address, device
        self.dead = False
        self.image: Image = {}
        for batch in registers.batches(device, device.point.values()):
            self.image |= {(batch.area, batch.address + i): 0 for i in range(batch.size)}
        for point in device.point:
            if point in _SOUND:
                self.put(point, _SOUND[point])
        for setting_name, setting in device.setting.items():
            self.put(setting.point, float(expect.get(setting_name, setting.expect or 0)))

    def put(self, point_name: str, raw: float) -> None:
        """raw: in the unit of the registers."""
        point = self.device.point[point_name]
        at = registers.wire(self.device, point)
        if point.mask:
            shift = (point.mask & -point.mask).bit_length() - 1
            before = self.image[point.area, at] & ~point.mask
            self.image[point.area, at] = before | int(raw) << shift & point.mask
            return
        for i, word in enumerate(registers.encode(point, raw)):
            self.image[point.area, at + i] = word

    def measure(self, point_name: str, value: Value) -> Value:
        """value: SI. Returns what somebody reads in the registers from now on, rounded as they are."""
        point = self.device.point[point_name]
        if isinstance(value, str):
            raise ValueError(f"found {value!r} for {point_name}, expected a number or a truth")
        raw = float(value)
        if point.kind != "contact":
            unit = registers.UNITS[point.unit]
            raw = (raw - unit.offset) / unit.factor
        if point.plus:
            self.put(point.plus, raw % 1.0)
            raw = float(int(raw))
        self.put(point_name, raw)
        return registers.decode(self.device, point, self.image)[0]

    def answer(self, request: bytes) -> bytes:
        code, at, count = request[1], int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        area = _AREAS[code]
        if code in (5, 6):
            if (area, at) not in self.image:
                return self._framed(bytes([code | 0x80, 2]))
            self.image[area, at] = int(count == 0xFF00) if code == 5 else count
            return request
        words = [self.image.get((area, at + i)) for i in range(count)]
        if not words or None in words:
            return self._framed(bytes([code | 0x80, 2]))
        return self._framed(bytes([code]) + _data(area, [word or 0 for word in words]))

    def _framed(self, pdu: bytes) -> bytes:
        body = bytes([self.address]) + pdu
        return body + crc(body)


def _data(area: str, words: list[int]) -> bytes:
    if area in ("coil", "discrete"):
        data = bytes(sum(bit << i for i, bit in enumerate(words[at : at + 8])) for at in range(0, len(words), 8))
    else:
        data = b"".join(word.to_bytes(2, "big") for word in words)
    return bytes([len(data)]) + data


class ModbusSide:
    """All units of a line, as simulator/hardware.py's Line wants a side. faults: names out of FAULTS."""

    def __init__(self, units: Iterable[SimUnit], mono_ms: Callable[[], int]) -> None:
        self.units = {unit.name: unit for unit in units}
        self.faults: set[str] = set()
        self._mono_ms = mono_ms
        self._heard = bytearray()
        self._queue: deque[tuple[int, bytes]] = deque()

    def reset_line(self) -> None:
        self._heard.clear()
        self._queue.clear()

    def feed(self, data: bytes) -> None:
        self._heard += data
        while len(self._heard) >= _REQUEST_BYTES:
            frame = bytes(self._heard[:_REQUEST_BYTES])
            if frame[1] in _AREAS and crc(frame[:-2]) == frame[-2:]:
                del self._heard[:_REQUEST_BYTES]
                self._asked(frame)
            else:
                del self._heard[0]  # a damaged byte: whole again at the next frame
        del self._heard[:-_HELD_MAX]

    def _asked(self, frame: bytes) -> None:
        now_ms = self._mono_ms()
        if "echo" in self.faults:
            self._queue.append((now_ms, frame))
        for unit in self.units.values():
            if unit.address == frame[0] and not unit.dead and "dead" not in self.faults:
                answer = unit.answer(frame)
                if "swapped" in self.faults:
                    answer = bytes(byte ^ 0xFF for byte in answer)
                after_ms = SLOW_MS if "slow" in self.faults else THINK_MS
                self._queue.append((now_ms + after_ms, answer))
                if "twin" in self.faults:
                    self._queue.append((now_ms + after_ms + TWIN_MS, answer))

    def outgoing(self, size: int) -> bytes:
        """What is due by now; `size` is ample for any answer."""
        found = b""
        while self._queue and self._queue[0][0] <= self._mono_ms() and len(found) < size:
            found += self._queue.popleft()[1]
        return found


class ModbusDevice:
    """A line of units where hardware.py's Line expects a device: it numbers nothing and holds nothing back."""

    undurable = 0
    facts = 0

    def __init__(self, name: str, side: ModbusSide) -> None:
        self.name = name
        self.side: Any = side
        self.pending: deque[object] = deque()

    def pump(self) -> None:
        """Nothing waits: a unit is asked."""

    def reboot(self) -> None:
        """The units lose what was under way, and nothing else."""
        self.side.reset_line()
