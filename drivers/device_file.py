"""A device file: the registers of one model of meter, with their source and a dump that proves how to read them.

docs/device-file.md describes the keys, docs/device-file.schema.json is the same for editors. `load` gives the file,
checked whole, or raises with every mistake: what was found, what was expected, what to do.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from drivers.kinds import KINDS
from drivers.reading import DriverError

FOLDER = Path(__file__).parent / "devices"
FILE_MAX_BYTES = 200_000

Area = Literal["coil", "discrete", "holding", "input"]
Type = Literal["bool", "u16", "i16", "u32", "i32", "f32", "u64", "i64", "f64"]
Name = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9_]{0,31}\Z")]
Text = Annotated[str, Meta(min_length=1, max_length=400)]


class Unit(NamedTuple):
    """value in `unit` = value as printed * factor + offset."""

    unit: str
    factor: float = 1.0
    offset: float = 0.0


UNITS: dict[str, Unit] = {
    "": Unit(""), "m3/s": Unit("m3/s"), "m3/h": Unit("m3/s", 1 / 3600), "L/s": Unit("m3/s", 1e-3),
    "L/min": Unit("m3/s", 1 / 60_000), "L/h": Unit("m3/s", 1 / 3_600_000), "m3": Unit("m3"), "L": Unit("m3", 1e-3),
    "Pa": Unit("Pa"), "kPa": Unit("Pa", 1e3), "MPa": Unit("Pa", 1e6), "bar": Unit("Pa", 1e5),
    "mbar": Unit("Pa", 100.0), "kgf/cm2": Unit("Pa", 98_066.5), "psi": Unit("Pa", 6894.757293168),
    "mH2O": Unit("Pa", 9806.65), "mmH2O": Unit("Pa", 9.80665), "m": Unit("m"), "cm": Unit("m", 0.01),
    "mm": Unit("m", 0.001), "m/s": Unit("m/s"), "mm/s": Unit("m/s", 0.001),
    "m/s2": Unit("m/s2"), "g": Unit("m/s2", 9.80665), "Cel": Unit("Cel"), "A": Unit("A"), "mA": Unit("A", 1e-3),
    "uA": Unit("A", 1e-6), "V": Unit("V"), "mV": Unit("V", 1e-3), "%": Unit("%"), "s": Unit("s"),
    "count": Unit("count"),
}  # fmt: skip
"""What may stand in `unit` -> the SI unit of its kind, and how to get there."""

POINT_KINDS = ("contact", "setting", *(kind for kind in KINDS if not KINDS[kind].is_contact))


class Point(Struct, frozen=True, forbid_unknown_fields=True):
    """One value of the device. register: as the maker prints it; address_base of the file says where he begins.

    kind: "contact" (the site file says of what), "status" (a word), or a kind of number. mask: of the raw integer,
    shifted down. active: the codes that mean active. plus: a point whose value is added (a fraction in registers of
    its own). decimals, unit_from: points that hold how many decimals and which unit there are. limits: SI; beyond is a
    fault. fault_values: raw. namur: a 4-20 mA loop after NAMUR NE 43. counter: only grows; wraps_at: where it begins
    again (SI). access "output": may be driven when the site file names it; written is `on` or `off`.
    """

    area: Area
    register: Annotated[int, Meta(ge=0, le=65_536)]
    kind: str
    type: Type = "u16"
    byte_order: Literal["big", "little"] = "big"
    word_order: Literal["high-first", "low-first"] = "high-first"
    mask: Annotated[int, Meta(ge=1, le=0xFFFF_FFFF)] | None = None
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    labels: dict[str, str] = {}
    bits: dict[str, str] = {}
    active: list[int] = []
    plus: str = ""
    decimals: str = ""
    unit_from: str = ""
    limits: tuple[float, float] | None = None
    fault_values: list[int] = []
    namur: bool = False
    counter: bool = False
    wraps_at: float | None = None
    access: Literal["read", "output"] = "read"
    on: Annotated[int, Meta(ge=0, le=0xFFFF)] = 1
    off: Annotated[int, Meta(ge=0, le=0xFFFF)] = 0
    title: str = ""
    name: str = ""


class Setting(Struct, frozen=True, forbid_unknown_fields=True):
    """A point that must not change behind our back. expect: what we rely on; the site file's `expect` goes before.

    guards: the points whose values rest on it, [] for all of them; while it is wrong their readings are faults.
    """

    point: str
    why: Text
    expect: int | None = None
    guards: list[str] = []


class Health(Struct, frozen=True, forbid_unknown_fields=True):
    """The unit's own word that it cannot measure: while a bit of `mask` is set in `point`, its readings are faults."""

    point: str
    mask: Annotated[int, Meta(ge=1, le=0xFFFF_FFFF)]


class Golden(Struct, frozen=True, forbid_unknown_fields=True):
    """Registers of a real device and what its source says they mean; values in SI units.

    kind: "recorded" from a real one, "stated" as an example by the maker, "computed" by hand from the table.
    """

    kind: Literal["recorded", "stated", "computed"]
    source: Text
    values: dict[str, float | bool | str]
    holding: dict[str, int] = {}
    input: dict[str, int] = {}
    coil: dict[str, int] = {}
    discrete: dict[str, int] = {}

    @property
    def registers(self) -> dict[str, dict[str, int]]:
        areas = {"holding": self.holding, "input": self.input, "coil": self.coil, "discrete": self.discrete}
        return {area: words for area, words in areas.items() if words}


class DeviceFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One model. line, address: as delivered. poll_s: default period. bridge: unknown registers that one read may
    cross, 0 = none. max_registers: of one read. verified: read from a real one by us or with a recorded dump.
    """

    model: Text
    title: Text
    source: Text
    verified: bool
    line: Annotated[str, Meta(pattern=r"\A[1-9][0-9]{2,6} [78][NEO][12]\Z")]
    address_base: Literal[0, 1]
    point: dict[Name, Point]
    golden: Annotated[list[Golden], Meta(min_length=1)]
    address: Annotated[int, Meta(ge=1, le=247)] | None = None
    poll_s: Annotated[float, Meta(ge=0.1, le=3600)] = 1.0
    max_registers: Annotated[int, Meta(ge=1, le=125)] = 32
    bridge: Annotated[int, Meta(ge=0, le=100)] = 0
    setting: dict[Name, Setting] = {}
    health: Health | None = None

    def named(self) -> "DeviceFile":
        """With each point's own name in it."""
        point = {name: msgspec.structs.replace(point, name=name) for name, point in self.point.items()}
        return msgspec.structs.replace(self, point=point)

    @property
    def outputs(self) -> list[str]:
        return [name for name, point in self.point.items() if point.access == "output"]


class DeviceFileError(DriverError):
    """`mistakes`: each a line with what was found, what was expected and what to do."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def models() -> dict[str, Path]:
    """{model: file} of the device files that are shipped."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def load(path: Path) -> DeviceFile:
    """Raises DeviceFileError with every mistake. Goldens are tried by the caller (drivers/golden.py)."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        why = (error.strerror or "an error").lower()
        raise DeviceFileError([f"{path}: found {why}, expected a device file; see the path"]) from None
    return parse(data, str(path))


def parse(data: bytes, name: str) -> DeviceFile:
    """Raises DeviceFileError."""
    if len(data) > FILE_MAX_BYTES:
        raise DeviceFileError([f"{name}: found more than 200 kB, expected a device file; see the path"])
    try:
        raw = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DeviceFileError([f"{name}: found no TOML text ({error}), expected one; mend that line"]) from None
    mistakes = _form(raw)
    if not mistakes:
        device = msgspec.convert(raw, DeviceFile).named()
        mistakes = list(_sense(device))
        if not mistakes:
            return device
    raise DeviceFileError([f"{name}: {mistake}" for mistake in mistakes])


def _form(raw: dict[str, Any]) -> list[str]:
    """Table by table, so that one run names a mistake in each."""
    mistakes: list[str] = []
    tables: list[tuple[str, Any, Any]] = []
    for key, kind in (("point", Point), ("setting", Setting)):
        entries = raw.get(key, {})
        tables += [(f"{key}.{n}", t, kind) for n, t in entries.items()] if isinstance(entries, dict) else []
    goldens = raw.get("golden", [])
    tables += [(f"golden[{i + 1}]", t, Golden) for i, t in enumerate(goldens)] if isinstance(goldens, list) else []
    for where, table, kind in tables:
        mistakes += _mistake(where, table, kind)
    return mistakes or _mistake("", raw, DeviceFile)


def _mistake(where: str, table: Any, kind: Any) -> list[str]:
    try:
        msgspec.convert(table, kind)
        return []
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `")
        path = place.rstrip("`").removeprefix("$").removeprefix(".").replace("key in ", "")
        spot = ".".join(part for part in (where, path) if part) or "the file"
        found = _found(table, path)
        said = message[0].lower() + message[1:]
        return [f"{spot}: found {found}, {said}; docs/device-file.md lists every key"]


def _found(table: Any, path: str) -> str:
    value = table
    for step in re.findall(r"[^.\[\]`$]+", path):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return "something else"
    return "a table" if isinstance(value, dict) else repr(value)[:60]


def _sense(device: DeviceFile) -> Iterator[str]:
    """What must fit between the keys."""
    for name, point in device.point.items():
        for found, expected, do in (*_of_place(device, point), *_of_value(point), *_of_helpers(device, point)):
            yield f"point.{name}: found {found}, expected {expected}; {do}"
    for name, setting in device.setting.items():
        for key, named in (("point", setting.point), *(("guards", guarded) for guarded in setting.guards)):
            if named not in device.point:
                yield f"setting.{name}.{key}: found {named!r}, expected a point of this file; name one"
    if device.health and device.health.point not in device.point:
        yield f"health.point: found {device.health.point!r}, expected a point of this file; name one"
    for index, golden in enumerate(device.golden):
        for name in golden.values:
            if name not in device.point:
                yield f"golden[{index + 1}].values: found {name!r}, expected a point of this file; name one"
        numbers = [number for words in golden.registers.values() for number in words]
        for number in numbers:
            if not number.isdecimal():
                yield f"golden[{index + 1}]: found register {number!r}, expected a number; write the printed one"


Wrong = Iterator[tuple[str, str, str]]  # found, expected, what to do


def _of_place(device: DeviceFile, point: Point) -> Wrong:
    bit_area = point.area in ("coil", "discrete")
    if bit_area != (point.type == "bool"):
        good = '"bool"' if bit_area else "a number type"
        yield f'type "{point.type}" in area "{point.area}"', good, "correct type or area"
    if point.register < device.address_base:
        yield f"register {point.register}", f"{device.address_base} or more", "see address_base"
    if point.access == "output" and (point.area not in ("coil", "holding") or point.kind != "contact"):
        yield f'an output in area "{point.area}"', "a contact in coil or holding", "correct area, kind or access"
    if point.mask and point.type not in ("u16", "u32"):
        yield f'mask with type "{point.type}"', '"u16" or "u32"', "correct one"


def _of_value(point: Point) -> Wrong:
    if point.kind not in POINT_KINDS:
        yield f'kind "{point.kind}"', f"one of {', '.join(POINT_KINDS)}", "choose one"
    elif point.kind in KINDS:
        if point.unit not in UNITS or UNITS[point.unit].unit != KINDS[point.kind].unit:
            yield f'unit "{point.unit}"', f"a unit of {KINDS[point.kind].unit} for kind {point.kind}", "correct one"
    elif point.unit:
        yield f'unit "{point.unit}"', f"none for kind {point.kind}", "remove it"
    if point.namur and UNITS.get(point.unit, Unit("")).unit != "A":
        yield f'namur with unit "{point.unit}"', "mA, uA or A", "correct one"
    if point.scale == 0:
        yield "scale 0", "another number", "correct it"


def _of_helpers(device: DeviceFile, point: Point) -> Wrong:
    for key in ("plus", "decimals", "unit_from"):
        other = getattr(point, key)
        if other and other not in device.point:
            yield f"{key} = {other!r}", "a point of this file", "name one"
        elif other and device.point[other].area != point.area:
            yield f"{key} = {other!r} of another area", f'one in "{point.area}"', "they must come in one read"
    codes = [code for code in (*point.labels, *point.bits) if not re.fullmatch(r"[0-9]{1,5}", code)]
    if codes:
        yield f"code {codes[0]!r}", "a decimal number", "correct it"
