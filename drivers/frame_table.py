"""A frame table: how the terminals or pads of one maker frame what they say, and what their commands mean.

A TOML file. Its golden frames prove it: a table that does not read them as it says is refused.
docs/devices/call-buses.md describes the keys.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from drivers.reading import DriverError
from drivers.ticket_words import EVENTS

FOLDER = Path(__file__).parent / "calls"
FILE_MAX_BYTES = 100_000

FIELDS = ("length", "address", "command", "data")
CHECKS = {"sum": 1, "xor": 1, "crc16": 2}
"""{check: its bytes}; crc16 is that of Modbus, low byte first."""

_HEX = re.compile(r"[0-9A-F]{2}")
_ITEM = re.compile(r"(?:(service|number|label|window|to|grade):)?(u8|u16be|u16le|bcd|ascii|skip)([1-8]?)")

Part = Annotated[str, Meta(pattern=r"\A([0-9A-F]{2}|[a-z0-9]+)\Z")]
Text = Annotated[str, Meta(min_length=1, max_length=400)]
Grade = Annotated[int, Meta(ge=0, le=5)]


class Item(Struct, frozen=True):
    """One piece of a message's data. name: "" for what is skipped."""

    name: str
    form: str
    size: int


class Message(Struct, frozen=True, forbid_unknown_fields=True):
    """What a command means. data: its pieces, "number:bcd2", in their order. grades: {raw byte: 1 to 5, 0 = none}."""

    event: str
    data: list[str]
    command: Annotated[int, Meta(ge=0, le=255)] | None = None
    grades: dict[str, Grade] = {}

    def items(self) -> list[Item]:
        found = []
        for text in self.data:
            match = _ITEM.fullmatch(text)
            if match is None:
                raise ValueError(f"found {text!r}, expected for example number:bcd2, service:ascii1, grade:u8 or skip1")
            name, form, digits = match.groups()
            size = {"u8": 1, "u16be": 2, "u16le": 2}.get(form) or int(digits or 1)
            found.append(Item(name or "", form, size))
        return found


class Golden(Struct, frozen=True, forbid_unknown_fields=True):
    """kind: "recorded" from a real one, "stated" by the maker, "computed" by hand from the table."""

    kind: Literal["recorded", "stated", "computed"]
    source: Text
    bytes: Annotated[str, Meta(pattern=r"\A[0-9A-F]{2}( [0-9A-F]{2})*\Z")]
    says: dict[str, str | int | None]


class FrameTable(Struct, frozen=True, forbid_unknown_fields=True):
    """frame: its parts in the order of the wire: two hex digits for a fixed byte, or length, address, command, data,
    sum, xor, crc16. counts, checks: the parts that `length` counts and the check covers. data_bytes: of a frame without
    a length. repeat_s: an equal frame within so long of the last one is the same press, sent again.
    """

    title: Text
    source: Text
    verified: bool
    line: Annotated[str, Meta(pattern=r"\A[1-9][0-9]{2,6} [78][NEO][12]\Z")]
    frame: Annotated[list[Part], Meta(min_length=1, max_length=40)]
    message: Annotated[list[Message], Meta(min_length=1)]
    golden: Annotated[list[Golden], Meta(min_length=1)]
    counts: list[str] = []
    checks: list[str] = []
    data_bytes: Annotated[int, Meta(ge=0, le=64)] = 0
    repeat_s: Annotated[float, Meta(ge=0, le=60)] = 2.0


class FrameTableError(DriverError):
    """`mistakes`: each a line with what was found, what was expected and what to do."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def tables() -> dict[str, Path]:
    """{table: file} of those that are shipped."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.toml"))}


def load(path: Path) -> FrameTable:
    """Raises FrameTableError with every mistake of form and sense; the goldens are tried by the caller."""
    try:
        with open(path, "rb") as stream:
            raw = tomllib.loads(stream.read(FILE_MAX_BYTES).decode())
    except OSError as error:
        why = (error.strerror or "an error").lower()
        raise FrameTableError([f"{path}: found {why}, expected a frame table; see the path"]) from None
    except (ValueError, RecursionError) as error:
        raise FrameTableError([f"{path}: found no TOML text ({error}), expected one; mend that line"]) from None
    return parse(raw, str(path))


def parse(raw: dict[str, Any], name: str) -> FrameTable:
    """Raises FrameTableError."""
    try:
        table = msgspec.convert(raw, FrameTable)
    except msgspec.ValidationError as error:
        said = str(error)
        raise FrameTableError(
            [f"{name}: found what is no frame table, {said[0].lower()}{said[1:]}; mend that"]
        ) from None
    if mistakes := [f"{name}: {mistake}" for mistake in _sense(table)]:
        raise FrameTableError(mistakes)
    return table


def _sense(table: FrameTable) -> Iterator[str]:
    words = [part for part in table.frame if not _HEX.fullmatch(part)]
    known = (*FIELDS, *CHECKS)
    for part in words:
        if part not in known:
            yield f"frame: found {part!r}, expected two hex digits or one of {', '.join(known)}; correct it"
    if len([part for part in words if part in CHECKS]) > 1:
        yield "frame: found two checks, expected one at most; remove one"
    for part in ("address", "command", "data"):
        if words.count(part) > 1:
            yield f"frame: found {part} twice, expected it once; remove one"
    before = table.frame[: table.frame.index("data")] if "data" in table.frame else table.frame
    if "length" in words and "length" not in before:
        yield "frame: found length behind data, expected it before; correct the order"
    if "length" in words and "data" not in table.counts:
        yield "counts: found no data, expected the parts that length counts; for example counts = ['data']"
    for key in ("counts", "checks"):
        for part in getattr(table, key):
            if part not in table.frame or part in CHECKS:
                yield f"{key}: found {part!r}, expected a part of frame; correct it"
    for index, message in enumerate(table.message):
        yield from (f"message[{index + 1}]: {mistake}" for mistake in _message_sense(table, message))


def _message_sense(table: FrameTable, message: Message) -> Iterator[str]:
    if message.event not in EVENTS:
        yield f"event: found {message.event!r}, expected one of {', '.join(EVENTS)}; choose one"
    if (message.command is None) == ("command" in table.frame):
        yield "command: found it in only one of frame and message, expected both or neither; correct one"
    try:
        names = [item.name for item in message.items()]
    except ValueError as error:
        yield f"data: {error}; correct it"
        return
    if message.event == "rated" and ("grade" not in names or not message.grades):
        yield "found a rating without grade and grades, expected both; for example grades = { 05 = 5 }"
    for code in message.grades:
        if not _HEX.fullmatch(code):
            yield f"grades: found {code!r}, expected two hex digits; correct it"
