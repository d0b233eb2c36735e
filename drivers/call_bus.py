"""A line of call terminals or rating pads overheard: bytes in, what was pressed out. Sends nothing, ever.

How frames look and what they mean stands in a frame table (drivers/frame_table.py), one for each maker.
"""

from collections.abc import Callable
from typing import NamedTuple

from drivers.frame_table import CHECKS, FrameTable, Item, Message
from drivers.reading import Event, Fact
from drivers.ticket_words import EVENTS, value_of

PAUSE_S = 0.2
"""Frames have no pauses inside: what is not whole after so long is no frame."""

LATEST_MAX = 256
"""Frames of which it is remembered when they came last."""


class Frame(NamedTuple):
    """address, command: None when the table's frames have none. raw: as it stood on the wire."""

    address: int | None
    command: int | None
    data: bytes
    raw: bytes


class Frames:
    """Cuts bytes into frames of one table. good, bad: frames that were whole, and those that only began well."""

    def __init__(self, table: FrameTable) -> None:
        self.good = self.bad = 0
        self._table = table
        self._parts = [bytes.fromhex(part) if len(part) == 2 else part for part in table.frame]
        first = self._parts[0]
        self._first = first if isinstance(first, bytes) else b""
        self._begins = _fixed_start(self._parts)
        self._others = sum(1 for part in table.counts if part != "data")
        self._held = b""

    def feed(self, data: bytes) -> list[Frame]:
        return self._cut(self._held + data, last=False)

    @property
    def waiting(self) -> bool:
        """Whether the beginning of a frame is held."""
        return bool(self._held)

    def pause(self) -> list[Frame]:
        """Nothing came for a while: what is held is no frame, but one may stand behind its beginning."""
        return self._cut(self._held, last=True)

    def _cut(self, held: bytes, *, last: bool) -> list[Frame]:
        frames, at = [], 0
        while at < len(held):
            if self._first and (at := held.find(self._first, at)) < 0:
                at = len(held)
                break
            size, frame = self._read(held, at)
            if frame:
                frames.append(frame)
            elif size == 0 and not last:
                break
            else:
                self.bad += held.startswith(self._begins, at) and len(self._begins) > 1
            at += size if frame else 1
        self._held = held[at:]
        self.good += len(frames)
        return frames

    def _read(self, held: bytes, at: int) -> tuple[int, Frame | None]:
        """(bytes, frame); (0, None) when more must come; (1, None) when none begins here."""
        begin, length = at, None
        found: dict[str, bytes] = {}
        for part in self._parts:
            size = len(part) if isinstance(part, bytes) else self._size(part, length)
            piece = held[at : at + size]
            if isinstance(part, bytes):
                if not part.startswith(piece):
                    return 1, None
            elif part == "length" and piece:
                if length not in (None, piece[0]) or piece[0] < self._others:
                    return 1, None
                length = piece[0]
            if len(piece) < size:
                return 0, None
            at += size
            if not isinstance(part, bytes):
                found[part] = piece
        if not self._checked(found):
            return 1, None
        address, command = found.get("address"), found.get("command")
        frame = Frame(address[0] if address else None, command[0] if command else None, found.get("data", b""),
                      held[begin:at])  # fmt: skip
        return at - begin, frame

    def _size(self, part: str, length: int | None) -> int:
        if part == "data":
            return self._table.data_bytes if length is None else length - self._others
        return CHECKS.get(part, 1)

    def _checked(self, found: dict[str, bytes]) -> bool:
        covered = b"".join(found[part] if part in found else bytes.fromhex(part) for part in self._table.checks)
        return all(found[check] == checksum(check, covered) for check in CHECKS if check in found)


def checksum(check: str, covered: bytes) -> bytes:
    """check: one of CHECKS."""
    if check == "sum":
        return bytes([sum(covered) & 0xFF])
    if check == "xor":
        value = 0
        for byte in covered:
            value ^= byte
        return bytes([value])
    crc = 0xFFFF  # Modbus over serial line V1.02, 6.2.2
    for byte in covered:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc.to_bytes(2, "little")


def _fixed_start(parts: "list[bytes | str]") -> bytes:
    start = b""
    for part in parts:
        if isinstance(part, str):
            break
        start += part
    return start


class Reader:
    """From frames to events: {command: what it means}."""

    def __init__(self, table: FrameTable) -> None:
        self._messages: dict[int | None, tuple[Message, list[Item]]] = {
            message.command: (message, message.items()) for message in table.message
        }

    def says(self, frame: Frame) -> dict[str, object] | None:
        """{"event", "address" and what the table names}; None for a command the table does not have (polls, answers).

        Raises ValueError when the data do not fit.
        """
        message, items = self._messages.get(frame.command, (None, []))
        if message is None:
            return None
        said: dict[str, object] = {"event": message.event}
        if frame.address is not None:
            said["address"] = frame.address
        at = 0
        for item in items:
            piece = frame.data[at : at + item.size]
            if len(piece) < item.size:
                raise ValueError(f"its data has {len(frame.data)} bytes, too few for {item.name or item.form}")
            at += item.size
            if item.name == "grade":
                if (grade := message.grades.get(piece.hex().upper())) is None:
                    raise ValueError(f"its grade {piece.hex().upper()} is not in the table")
                said["grade"] = grade or None
            elif item.name:
                said[item.name] = _value(item, piece)
        return said


def _value(item: Item, piece: bytes) -> object:
    if item.form == "ascii":
        text = piece.decode("ascii").strip(" \0")
        if not text.isprintable():
            raise ValueError(f"its {item.name} is no text")
        return int(text) if item.name == "number" else text
    if item.form == "bcd":
        number = int(piece.hex())  # a nibble above 9 is no number: ValueError
    else:
        number = int.from_bytes(piece, "little" if item.form == "u16le" else "big")
    return number if item.name == "number" else str(number)


def golden_mistakes(table: FrameTable) -> list[str]:
    """Where a table does not read its own golden frames as it says."""
    mistakes = []
    for index, golden in enumerate(table.golden):
        frames = Frames(table).feed(bytes.fromhex(golden.bytes))
        try:
            said = [Reader(table).says(frame) for frame in frames]
        except ValueError as why:
            said = [{"mistake": str(why)}]
        if said != [golden.says]:
            mistakes.append(
                f"golden[{index + 1}]: found {said}, expected [{golden.says}]; correct the table or the frame"
            )
    return mistakes


class CallBus:
    """One line of terminals or pads. hello: whether a frame of the table came since the start."""

    def __init__(self, source: str, table: FrameTable, mono_s: Callable[[], float]) -> None:
        self.source = source
        self.ring = self.undurable = 0  # nobody waits for an acknowledgement
        self.last_heard_s = mono_s()
        self.others = self.repeats = self.odd = 0
        self.why = ""
        self._mono_s = mono_s
        self._table = table
        self._frames = Frames(table)
        self._reader = Reader(table)
        self._latest: dict[bytes, float] = {}

    @property
    def hello(self) -> bool:
        return self._frames.good > 0

    @property
    def frames_good(self) -> int:
        return self._frames.good

    @property
    def frames_bad(self) -> int:
        return self._frames.bad

    @property
    def beat(self) -> dict[str, int]:
        return {"others": self.others, "repeats": self.repeats, "odd": self.odd}

    @property
    def error(self) -> str:
        """Frames that are whole and make no sense: another model, most likely."""
        if not self.why:
            return ""
        return (
            f"The last frame on {self.source} could not be used: {self.why}. Expected: frames as the table "
            f"{self._table.title} says. See that the table fits what hangs on the line."
        )

    def feed(self, data: bytes) -> list[Fact]:
        self.last_heard_s = self._mono_s()
        return self._take(self._frames.feed(data))

    def tick(self) -> list[Fact]:
        """To be called a few times a second."""
        if not self._frames.waiting or self._mono_s() - self.last_heard_s < PAUSE_S:
            return []
        return self._take(self._frames.pause())

    def _take(self, frames: list[Frame]) -> list[Fact]:
        facts: list[Fact] = []
        for frame in frames:
            try:
                said = self._reader.says(frame)
            except ValueError as why:
                self.odd += 1
                self.why = str(why)
                continue
            if said is None:
                self.others += 1
            elif self._is_repeat(frame.raw):
                self.repeats += 1
            else:
                self.why = ""
                facts.append(self._event(said))
        return facts

    def _is_repeat(self, raw: bytes) -> bool:
        """A terminal says a press again and again until its controller has answered."""
        now_s = self.last_heard_s
        before_s = self._latest.pop(raw, float("-inf"))
        self._latest[raw] = now_s
        if len(self._latest) > LATEST_MAX:
            del self._latest[next(iter(self._latest))]
        return now_s - before_s < self._table.repeat_s

    def _event(self, said: dict[str, object]) -> Event:
        event = str(said.pop("event"))
        data = {"value": value_of(event, said.get("label"), said.get("window"), said.get("grade")), **said}
        if event == "rated" and data["grade"] is None:
            del data["grade"]
        return Event(self.source, EVENTS[event], data, self.last_heard_s)
