"""A Modbus line without a port: units that answer at the real byte times, and what can be wrong with them."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from drivers import device_file, registers
from drivers.device_file import DeviceFile
from drivers.modbus import Master, Timing, crc
from drivers.modbus_unit import Unit
from drivers.reading import Fact

LINE = "9600 8N1"
TIMEOUT_MS = 300
TUF = device_file.load(device_file.models()["tuf-2000m"])
IO = device_file.load(device_file.models()["generic-8di-8do"])


@dataclass
class Slave:
    """image: its registers. spoil: what becomes of an answer. after_s: how long it thinks."""

    address: int
    image: registers.Image
    spoil: Callable[[bytes], bytes] = lambda frame: frame
    after_s: float = 0.005
    dead: bool = False
    asked: list[float] = field(default_factory=list)

    def answer(self, request: bytes) -> bytes:
        assert crc(request[:-2]) == request[-2:], "the master sends intact frames only"
        code, at, count = request[1], int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
        if code in (5, 6):
            area = "coil" if code == 5 else "holding"
            self.image[area, at] = int(count == 0xFF00) if code == 5 else count
            return request
        area = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}[code]
        try:
            words = [self.image[area, at + i] for i in range(count)]
        except KeyError:
            return self._framed(bytes([code | 0x80, 2]))
        if code in (1, 2):
            data = bytes(sum(bit << i for i, bit in enumerate(words[at : at + 8])) for at in range(0, count, 8))
        else:
            data = b"".join(word.to_bytes(2, "big") for word in words)
        return self._framed(bytes([code, len(data)]) + data)

    def _framed(self, pdu: bytes) -> bytes:
        body = bytes([self.address]) + pdu
        return body + crc(body)


class Line:
    """A master and its slaves on a virtual clock: bytes take their time, two never speak at once."""

    def __init__(
        self, units: list[Unit], slaves: list[Slave], line: str = LINE, timeout_ms: float = TIMEOUT_MS
    ) -> None:
        self.now_s = 100.0
        self.timing = Timing.of(line, timeout_ms)
        self.master = Master(units, self.timing, self.now_s)
        self.slaves = slaves
        self.facts: list[Fact] = []
        self.sent: list[tuple[float, bytes]] = []
        self.echo = False
        self._under_way: list[tuple[float, bytes]] = []

    def run(self, seconds: float) -> list[Fact]:
        """What the master made of that time."""
        until_s, before = self.now_s + seconds, len(self.facts)
        while self.now_s < until_s:
            self.facts += self.master.tick(self.now_s)
            if frame := self.master.next(self.now_s):
                self._send(frame)
            times = [self.master.due_s(self.now_s), *(at_s for at_s, _ in self._under_way), until_s]
            self.now_s = max(self.now_s + 1e-6, min(times))
            arrived = [piece for piece in self._under_way if piece[0] <= self.now_s]
            self._under_way = [piece for piece in self._under_way if piece[0] > self.now_s]
            for _, data in sorted(arrived):
                self.facts += self.master.feed(data, self.now_s)
        return self.facts[before:]

    def _send(self, frame: bytes) -> None:
        self.sent.append((self.now_s, frame))
        heard_s = self.now_s + len(frame) * self.timing.char_s
        if self.echo:
            self._under_way.append((heard_s, frame))
        for slave in self.slaves:
            if slave.address == frame[0]:
                slave.asked.append(self.now_s)
                if not slave.dead:
                    data = slave.spoil(slave.answer(frame))
                    self._under_way.append((heard_s + slave.after_s + len(data) * self.timing.char_s, data))


def tuf_image(flow_m3h: float = 3.6, total: int = 1234) -> registers.Image:
    """All registers of a TUF-2000M that anybody asks for, with these values."""
    image: registers.Image = {("holding", at): 0 for at in (*range(110), *range(1430, 1445))}
    put(TUF, image, flow=flow_m3h, total=total, total_fraction=0.5, multiplier=3, quality=90)
    return image


def put(device: DeviceFile, image: registers.Image, **values: float) -> None:
    for name, value in values.items():
        point = device.point[name]
        for i, word in enumerate(registers.encode(point, value)):
            image[point.area, registers.wire(device, point) + i] = word


def tuf(name: str, address: int, poll_s: float = 1.0, names: tuple[str, ...] = ("flow", "total")) -> Unit:
    return Unit(name, address, TUF, list(names), poll_s)


def noisy(dice: random.Random, share: float) -> Callable[[bytes], bytes]:
    """Turns a bit over in so many of the answers."""

    def spoil(frame: bytes) -> bytes:
        if dice.random() >= share:
            return frame
        at = dice.randrange(len(frame))
        return frame[:at] + bytes([frame[at] ^ 1 << dice.randrange(8)]) + frame[at + 1 :]

    return spoil
