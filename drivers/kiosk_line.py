"""LK1, the line protocol a ticket kiosk speaks: text lines <-> messages, and the gateway's end of the line.

    LK1 <kind> <fields...>*<CRC-32 of everything before the '*', 8 upper-case hex digits>\\n

At most 512 bytes with the LF; CR is ignored. Values are percent-encoded UTF-8. Numbering is that of numbered.py.
"""

import re
from binascii import crc32
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from drivers.numbered import NumberedLink
from drivers.reading import Event, Fact, Lost
from drivers.ticket_words import EVENTS, value_of

LINE_MAX_BYTES = 512

# What may stand in a value as it is: visible ASCII without the characters that have a meaning.
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in "%*=")
_NUMBER_MAX = 0xFFFFFFFF
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

# kind: (how many u32 numbers come first, how many words after them); an E goes on freely.
_FORMS = {b"H": (3, 1), b"E": (3, 0), b"L": (3, 0), b"B": (1, 0), b"A": (3, 0), b"N": (3, 0), b"?": (0, 0)}


class Line(NamedTuple):
    """One message. kind: H E L B (kiosk), A N ? (gateway).

    numbers: H boot, oldest, ring; E boot, seq, age_ms; L boot, first, last; B uptime_s; A and N boot, received,
    durable. word: H the kiosk's name, E the event's. fields: of E.
    """

    kind: str
    numbers: tuple[int, ...] = ()
    word: str = ""
    fields: Mapping[str, str] = {}


def encode_event(boot: int, seq: int, age_ms: int, event: str, fields: Mapping[str, object]) -> bytes:
    """age_ms: since it happened, at sending. fields: see event_words."""
    return seal_event(boot, seq, age_ms, event_words(event, fields))


def event_words(event: str, fields: Mapping[str, object]) -> str:
    """What of an event stays the same however often it is sent. fields: service, number, label, window, to, grade;
    one that is None is left out."""
    said = [f"{_quoted(key)}={_quoted(str(value))}" for key, value in fields.items() if value is not None]
    return " ".join((_quoted(event), *said))


def seal_event(boot: int, seq: int, age_ms: int, words: str) -> bytes:
    """The line for event_words. Raises ValueError when it is longer than 512 bytes."""
    return _sealed(f"LK1 E {boot} {seq} {min(age_ms, _NUMBER_MAX)} {words}")


def encode_hello(boot: int, oldest: int, ring: int, name: str) -> bytes:
    """oldest: the oldest number it can still send. ring: events it can hold, or numbers from oldest if more."""
    return _sealed(f"LK1 H {boot} {oldest} {ring} {_quoted(name)}")


def encode_lost(boot: int, first: int, last: int) -> bytes:
    return _sealed(f"LK1 L {boot} {first} {last}")


def encode_beat(uptime_s: int) -> bytes:
    return _sealed(f"LK1 B {uptime_s}")


def encode_ack(boot: int, received: int, durable: int, go_back: bool = False) -> bytes:
    """go_back: the kiosk must send again from received + 1."""
    return _sealed(f"LK1 {'N' if go_back else 'A'} {boot} {received} {durable}")


def encode_ask() -> bytes:
    return _sealed("LK1 ?")


class FieldsError(ValueError):
    """An event whose number is clear (boot, seq, age_ms) and whose fields nobody can read."""

    def __init__(self, why: str, numbers: tuple[int, ...]) -> None:
        super().__init__(why)
        self.numbers = numbers


def parse_line(line: bytes) -> Line:
    """One line without its LF. Raises ValueError, saying what was found, when it is not exactly in the form."""
    text, star, crc = line.rpartition(b"*")
    if not star or crc != b"%08X" % crc32(text):
        raise ValueError("its CRC is missing or does not fit")
    version, _, said = text.partition(b" ")
    kind, *rest = said.split(b" ")
    if version != b"LK1" or kind not in _FORMS:
        raise ValueError("it does not begin with LK1 and a known kind")
    numbers_wanted, words_wanted = _FORMS[kind]
    numbers = tuple([_number(word) for word in rest[:numbers_wanted]])
    tail = rest[numbers_wanted:]
    if len(numbers) != numbers_wanted or (kind != b"E" and len(tail) != words_wanted):
        raise ValueError(f"a line of kind {kind.decode()} has more or fewer fields")
    if kind == b"E":
        try:
            return _event(numbers, tail)
        except ValueError as why:
            raise FieldsError(str(why), numbers) from why
    return Line(kind.decode(), numbers, _unquoted(tail[0]) if tail else "")


def _event(numbers: tuple[int, ...], tail: list[bytes]) -> Line:
    if not tail:
        raise ValueError("it names no event")
    fields: dict[str, str] = {}
    for pair in tail[1:]:
        key, equals, value = pair.partition(b"=")
        name = _unquoted(key)
        if not equals or not name or name in fields:
            raise ValueError(f"{pair!r} is not key=value, or its key stands twice")
        fields[name] = _unquoted(value)
    return Line("E", numbers, _unquoted(tail[0]), fields)


def _number(word: bytes) -> int:
    if not (word.isdigit() and len(word) <= 10 and int(word) <= _NUMBER_MAX):
        raise ValueError(f"{word!r} is not a number from 0 to {_NUMBER_MAX}")
    return int(word)


def _unquoted(word: bytes) -> str:
    if b"%" in word:
        if _BAD_ESCAPE.search(word):
            raise ValueError(f"{word!r} has a % without two hex digits")
        word = unquote_to_bytes(word)
    return word.decode()


def _quoted(text: str) -> str:
    return quote(text, safe=_PLAIN)


def _sealed(text: str) -> bytes:
    line = text.encode("ascii")
    line += b"*%08X\n" % crc32(line)
    if len(line) > LINE_MAX_BYTES:
        raise ValueError(f"the line has {len(line)} bytes; at most {LINE_MAX_BYTES} fit; shorten its values")
    return line


class LineSplitter:
    """Cuts a stream of bytes into lines; holds at most one unfinished line.

    good, bad: lines taken and refused since the start. why: what was wrong with the last one, or "". rest: the
    unfinished line.
    """

    def __init__(self) -> None:
        self.good = 0
        self.bad = 0
        self.why = ""
        self.rest = b""

    def feed(self, data: bytes) -> list[Line]:
        """The good lines completed by data. A bad one is counted and dropped; its neighbours never suffer.

        An event with unreadable fields comes without event name and fields: its number must not be waited for.
        """
        pieces = (self.rest + data.replace(b"\r", b"")).split(b"\n")
        # An endless run without an LF is kept just long enough to be known as too long.
        self.rest = pieces.pop()[:LINE_MAX_BYTES]
        lines = []
        for piece in pieces:
            if not piece:
                continue
            try:
                if len(piece) >= LINE_MAX_BYTES:
                    raise ValueError("it is longer than 512 bytes")
                lines.append(parse_line(piece))
                self.why = ""
            except FieldsError as why:
                self.why = str(why)
                lines.append(Line("E", why.numbers))
            except ValueError as why:
                self.why = str(why)
                self.bad += 1
        self.good += len(lines)
        return lines


class KioskLink(NumberedLink):
    """One kiosk: bytes in, Event and Lost out. Opens no port. See NumberedLink for what it tells about itself.

    name: what the kiosk calls itself.
    """

    def __init__(self, source: str, mono_s: Callable[[], float], mark: tuple[int, int] = (0, 0)) -> None:
        self.name = ""
        self._splitter = LineSplitter()
        super().__init__(source, mono_s, mark, self._splitter)

    def feed(self, data: bytes) -> list[Fact]:
        """The facts that these bytes complete, in the kiosk's order."""
        lines = self._splitter.feed(data)
        if not lines:
            return []
        now_s = self.last_heard_s = self._mono_s()
        facts: list[Fact] = []
        for line in lines:
            self._take(line, now_s, facts)
        return facts

    def _take(self, line: Line, now_s: float, facts: list[Fact]) -> None:
        gone = None
        kind, numbers, word, fields = line
        if kind == "E":
            boot, seq, age_ms = numbers
            if self._numbered.accept(boot, seq):
                facts.append(self._ticket(boot, seq, now_s - age_ms * 0.001, word, fields))
        elif kind == "L":
            boot, first, last = numbers
            gone = self._numbered.lost(boot, first, last)
        elif kind == "H":
            boot, oldest, self.ring = numbers
            if self.name and word != self.name:
                self._numbered.replaced()
            self.name = word
            gone = self._numbered.hello(boot, oldest, self.ring)
        elif kind == "B":
            self.beat = {"uptime_s": numbers[0]}
        else:
            self.frames_odd += 1  # our own voice: the line echoes, or two gateways are on it
        if gone:
            facts.append(Lost(self.source, boot, *gone, now_s))

    def _ticket(self, boot: int, seq: int, at_s: float, event: str, fields: Mapping[str, str]) -> Fact:
        try:
            if event not in EVENTS:
                raise ValueError(f"{event!r} is not an event of LK1")
            data: dict[str, object] = dict(fields)
            if "number" in fields:
                data["number"] = _number(fields["number"].encode())
            grade = fields.get("grade")
            if grade is not None:
                if grade not in ("1", "2", "3", "4", "5"):
                    raise ValueError(f"grade {grade!r} is not 1 to 5")
                data["grade"] = int(grade)
        except ValueError as why:
            # Asking for it again would never end: its number is spent, and the loss is told.
            self.frames_odd += 1
            self._splitter.why = str(why)
            return Lost(self.source, boot, seq, seq, at_s)
        data["value"] = value_of(event, data.get("label"), data.get("window"), data.get("grade"))
        return Event(self.source, EVENTS[event], data, at_s, boot, seq)

    @property
    def error(self) -> str:
        """What was wrong with the last line, or "" when it could be used."""
        if not self._splitter.why:
            return ""
        return (
            f"The last line from the kiosk on {self.source} could not be used: {self._splitter.why}. "
            "Expected: a line as drivers/kiosk_line.py describes it. "
            "Check the line's speed and its cable; if it goes on, show this to the kiosk's maker."
        )

    def _mark_bytes(self, go_back: bool) -> bytes:
        return encode_ack(self.boot, self.received, self.durable_seq, go_back)

    def _ask_bytes(self) -> bytes:
        return encode_ask()
