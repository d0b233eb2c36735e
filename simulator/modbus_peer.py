"""A Modbus line of somebody else's making: pymodbus' own server plays the units, behind bytes that take their time.

The one file of the simulator that imports pymodbus. Between gateway and server lies a pair of pseudo-terminals that
this process joins byte by byte at the line's speed, so that a poll takes as long as on a real line.
"""

import asyncio
import os
import pty
import random
import tty
from collections.abc import Callable, Iterable
from pathlib import Path

from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.registers import Image

_AREAS = {
    "coil": DataType.BITS, "discrete": DataType.BITS, "holding": DataType.REGISTERS, "input": DataType.REGISTERS,
}  # fmt: skip
_READS = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
_REQUEST_BYTES = 8
PACE_S = 0.002  # bytes are handed on in bites of about this length


class Faults:
    """dead: addresses that say nothing. noisy: {address: share of its answers that lose a bit}."""

    def __init__(self, dice: random.Random, dead: Iterable[int] = (), noisy: dict[int, float] | None = None) -> None:
        self.dead = set(dead)
        self.noisy = noisy or {}
        self._dice = dice

    def packet(self, sending: bool, data: bytes) -> bytes:
        """pymodbus' trace_packet hook: what it returns goes on the line."""
        if not sending or not data:
            return data
        if data[0] in self.dead:
            return b""
        if self._dice.random() < self.noisy.get(data[0], 0.0):
            at = self._dice.randrange(len(data))
            return data[:at] + bytes([data[at] ^ 1 << self._dice.randrange(8)]) + data[at + 1 :]
        return data


class Pair:
    """A pseudo-terminal under a name, raw, not blocking."""

    def __init__(self, link: Path) -> None:
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.link = link
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(self.slave))

    def close(self) -> None:
        self.link.unlink(missing_ok=True)
        os.close(self.master)
        os.close(self.slave)


class PacedLine:
    """Joins two pairs at the line's byte times. Serves until `close`."""

    def __init__(self, ours: Pair, theirs: Pair, char_s: float, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._char_s = char_s
        self._ends = ((ours.master, theirs.master), (theirs.master, ours.master))
        self._free_s = 0.0  # when the line has carried all it was given: half duplex, one after the other
        self.carried_s = 0.0
        for source, target in self._ends:
            loop.add_reader(source, self._take, source, target)

    def _take(self, source: int, target: int) -> None:
        try:
            data = os.read(source, 4096)
        except OSError:
            return
        now_s = self._loop.time()
        bite = max(1, round(PACE_S / self._char_s))
        for at in range(0, len(data), bite):
            piece = data[at : at + bite]
            self._free_s = max(self._free_s, now_s) + len(piece) * self._char_s
            self.carried_s += len(piece) * self._char_s
            self._loop.call_at(self._free_s, self._give, target, piece)

    @staticmethod
    def _give(target: int, piece: bytes) -> None:
        try:
            os.write(target, piece)
        except OSError:
            pass  # nobody reads there: the bytes are gone, as on a wire

    def close(self) -> None:
        for source, _ in self._ends:
            self._loop.remove_reader(source)


class Peer:
    """units: {address: image}. Start it on a running loop; link: what the gateway opens."""

    def __init__(self, link: Path, line: str, units: dict[int, Image], faults: Faults) -> None:
        self.link = link
        self._line = line
        self._units = units
        self.faults = faults
        self._close: list[Callable[[], None]] = []
        self.asked_s: dict[tuple[int, int], list[float]] = {}  # (unit, first register) -> when it was read

    async def start(self) -> None:
        baud, frame = self._line.split()
        ours, theirs = Pair(self.link), Pair(self.link.with_name(f"{self.link.name}.peer"))
        char_s = (1 + int(frame[0]) + (frame[1] != "N") + int(frame[2])) / int(baud)
        self.wire = PacedLine(ours, theirs, char_s, asyncio.get_running_loop())
        server = ModbusSerialServer(
            [_device(address, image) for address, image in self._units.items()], port=str(theirs.link),
            baudrate=int(baud), trace_packet=self._packet,
        )  # fmt: skip
        await server.serve_forever(background=True)
        self._server = server
        self._close = [self.wire.close, ours.close, theirs.close]

    def _packet(self, sending: bool, data: bytes) -> bytes:
        if not sending and len(data) == _REQUEST_BYTES:  # the hook sees what has come so far, again and again
            key = (data[0], int.from_bytes(data[2:4], "big"))
            self.asked_s.setdefault(key, []).append(asyncio.get_running_loop().time())
        if sending and data and data[0] not in self._units:
            return b""  # the server would answer for a unit that is not there; on a line nobody does
        return self.faults.packet(sending, data)

    async def set(self, address: int, area: str, at: int, word: int) -> None:
        """As if the thing on the wall had changed."""
        values = [bool(word)] if _AREAS[area] == DataType.BITS else [word]
        await self._server.async_setValues(address, _READS[area], at, values)

    async def get(self, address: int, area: str, at: int) -> int:
        return int((await self._server.async_getValues(address, _READS[area], at, 1))[0])

    async def stop(self) -> None:
        await self._server.shutdown()
        for close in self._close:
            close()


def _device(address: int, image: Image) -> SimDevice:
    """The four areas apart, as old devices have them; what is not in the image is not there."""
    areas = [_area(image, area, kind) for area, kind in _AREAS.items()]
    return SimDevice(address, simdata=(areas[0], areas[1], areas[2], areas[3]))


def _area(image: Image, area: str, kind: DataType) -> list[SimData]:
    words = sorted((at, word) for (where, at), word in image.items() if where == area)
    found = [SimData(at, values=bool(word) if kind == DataType.BITS else word, datatype=kind) for at, word in words]
    return found or [SimData(65_535, values=kind != DataType.BITS and 0, datatype=kind)]
