"""Modbus registers to values, and which registers to read together: pure functions, no port, no library, no clock.

An image is {(area, address on the wire): 16 bits, or one bit}: what one unit held. Values come out in the SI unit of
the point's kind (drivers/kinds.py).
"""

import math
import struct
from collections.abc import Iterable
from typing import NamedTuple

from drivers.device_file import UNITS, DeviceFile, Point
from drivers.reading import FAULT, GOOD, Value

Image = dict[tuple[str, int], int]

RANGE = "range"
WORDS = {"bool": 1, "u16": 1, "i16": 1, "u32": 2, "i32": 2, "f32": 2, "u64": 4, "i64": 4, "f64": 4}
_FORMAT = {
    "u16": ">H", "i16": ">h", "u32": ">I", "i32": ">i", "f32": ">f", "u64": ">Q", "i64": ">q", "f64": ">d",
}  # fmt: skip
NAMUR_VALID_A = (0.0038, 0.0205)
"""NAMUR NE 43: a measured value; between these and the next two a sensor that is at its end, but lives."""
NAMUR_ALIVE_A = (0.0036, 0.021)
BITS_MAX = 2000  # of one read of coils or discrete inputs; the device file says how many registers


class Batch(NamedTuple):
    """One read: `size` registers or bits from `address` (on the wire), and the points that are in it."""

    area: str
    address: int
    size: int
    points: tuple[Point, ...]

    @property
    def is_bits(self) -> bool:
        return self.area in ("coil", "discrete")

    @property
    def data_bytes(self) -> int:
        """Of the answer, between the byte count and the CRC."""
        return (self.size + 7) // 8 if self.is_bits else self.size * 2

    def image(self, data: bytes) -> Image:
        """The answer's data as an image. Raises ValueError for another length."""
        if len(data) != self.data_bytes:
            raise ValueError(f"found {len(data)} bytes, expected {self.data_bytes}")
        if self.is_bits:
            bits = (data[i // 8] >> i % 8 & 1 for i in range(self.size))
            return {(self.area, self.address + i): bit for i, bit in enumerate(bits)}
        words = struct.unpack(f">{self.size}H", data)
        return {(self.area, self.address + i): word for i, word in enumerate(words)}


def wire(device: DeviceFile, point: Point) -> int:
    """The address that travels: what the maker prints, less the number his table begins with."""
    return point.register - device.address_base


def batches(device: DeviceFile, points: Iterable[Point]) -> list[Batch]:
    """The fewest reads for these points: neighbours together, never across a gap that the file does not bridge."""
    found: list[Batch] = []
    for point in sorted(points, key=lambda p: (p.area, p.register)):
        at, size = wire(device, point), WORDS[point.type]
        last = found[-1] if found else None
        limit = BITS_MAX if point.type == "bool" else device.max_registers
        if last and last.area == point.area:
            end = max(last.address + last.size, at + size)
            if at - (last.address + last.size) <= device.bridge and end - last.address <= limit:
                found[-1] = last._replace(size=end - last.address, points=(*last.points, point))
                continue
        found.append(Batch(point.area, at, size, (point,)))
    return found


def decode(device: DeviceFile, point: Point, image: Image) -> tuple[Value, str]:
    """(value, quality) of one point. A fault has its value too where there is a number, else NaN.

    Raises KeyError when a register that it needs is not in the image.
    """
    raw = _raw(device, point, image)
    if point.kind == "contact":
        active = raw in point.active if point.active else bool(raw)
        return active, FAULT if raw in point.fault_values else GOOD
    if point.bits:
        words = [word for bit, word in point.bits.items() if int(raw) >> int(bit) & 1]
        return ", ".join(words) or "ok", GOOD
    if point.labels and point.kind == "status":
        word = point.labels.get(str(int(raw)))
        return (word, GOOD) if word is not None else (f"code {int(raw)}", FAULT)
    return _number(device, point, raw, image)


def _raw(device: DeviceFile, point: Point, image: Image) -> float:
    at, size = wire(device, point), WORDS[point.type]
    words = [image[point.area, at + i] for i in range(size)]
    if point.type == "bool":
        return words[0]
    if point.word_order == "low-first":
        words.reverse()
    data = struct.pack(f"{'<' if point.byte_order == 'little' else '>'}{size}H", *words)
    (raw,) = struct.unpack(_FORMAT[point.type], data)
    if point.mask:
        raw = (raw & point.mask) >> (point.mask & -point.mask).bit_length() - 1
    return float(raw) if isinstance(raw, float) else int(raw)


def _number(device: DeviceFile, point: Point, raw: float, image: Image) -> tuple[float, str]:
    value = raw * point.scale + point.offset
    unit = point.unit
    if point.plus:
        value += float(decode_raw(device, device.point[point.plus], image))
    if point.decimals:
        decimals = decode_raw(device, device.point[point.decimals], image)
        if not 0 <= decimals <= 9:
            return math.nan, FAULT
        value /= 10.0**decimals
    if point.unit_from:
        code = decode_raw(device, device.point[point.unit_from], image)
        unit = device.point[point.unit_from].labels.get(str(int(code)), "")
        if unit not in UNITS or UNITS[unit].unit != UNITS[point.unit].unit:
            return math.nan, FAULT
    value = value * UNITS[unit].factor + UNITS[unit].offset
    if not math.isfinite(value) or raw in point.fault_values:
        return value, FAULT
    if point.namur:
        return value, _namur(value)
    if point.limits and not point.limits[0] <= value <= point.limits[1]:
        return value, FAULT
    return value, GOOD


def decode_raw(device: DeviceFile, point: Point, image: Image) -> float:
    """The number as it stands in the registers, scaled, in the unit the device uses."""
    return _raw(device, point, image) * point.scale + point.offset


def _namur(current_a: float) -> str:
    if not NAMUR_ALIVE_A[0] <= current_a <= NAMUR_ALIVE_A[1]:
        return FAULT
    return GOOD if NAMUR_VALID_A[0] <= current_a <= NAMUR_VALID_A[1] else RANGE


def encode(point: Point, value: float) -> list[int]:
    """The registers that decode to this number (before unit, `plus` and the like): for simulated units."""
    if point.type == "bool":
        return [int(bool(value))]
    raw = (value - point.offset) / point.scale
    data = struct.pack(_FORMAT[point.type], raw if point.type in ("f32", "f64") else round(raw))
    words = [word for (word,) in struct.iter_unpack("<H" if point.byte_order == "little" else ">H", data)]
    return words[::-1] if point.word_order == "low-first" else words


def golden_image(device: DeviceFile, registers: dict[str, dict[str, int]]) -> Image:
    """A golden dump, by printed register numbers, as an image."""
    return {
        (area, int(number) - device.address_base): word
        for area, words in registers.items()
        for number, word in words.items()
    }


def helpers(device: DeviceFile, point: Point) -> list[Point]:
    """The other points that its value needs."""
    return [device.point[name] for name in (point.plus, point.decimals, point.unit_from) if name]


def golden_mistakes(device: DeviceFile) -> list[str]:
    """What the dumps of a device file do not decode to. [] when the file reads its own evidence."""
    mistakes = [
        f"point.{name}: found its helpers too far away, expected one read for all; correct bridge or max_registers"
        for name, point in device.point.items()
        if len(batches(device, {p.name: p for p in (point, *helpers(device, point))}.values())) > 1
    ]
    for index, golden in enumerate(device.golden):
        image = golden_image(device, golden.registers)
        for name, expected in golden.values.items():
            where = f"golden[{index + 1}].values.{name}"
            try:
                value, _ = decode(device, device.point[name], image)
            except KeyError as missing:
                area, at = missing.args[0]
                number = at + device.address_base
                mistakes.append(
                    f"{where}: found no {area} register {number} in the dump, expected it; write it, or correct "
                    "register, address_base and type"
                )
                continue
            if not _same(value, expected):
                mistakes.append(
                    f"{where}: found {value!r}, expected {expected!r}; see register, address_base, orders, scale, unit"
                )
    return mistakes


def _same(value: Value, expected: Value) -> bool:
    if isinstance(value, float) and isinstance(expected, float):
        return math.isclose(value, expected, rel_tol=2e-5)
    return type(value) is type(expected) and value == expected
