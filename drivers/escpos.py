"""ESC/POS as a ticket printer hears it: bytes in, slips of printed lines out. Opens no port, sends nothing.

Each command is known by its length, so that what belongs to pictures, bar codes and settings is never taken for text.
Source of commands and lengths: Epson's ESC/POS reference; FS, ESC B, ESC C and ESC Z as Chinese printers have them.
"""

import re
from typing import NamedTuple

LINES_MAX = 200  # of a slip; what is printed beyond is not looked at
LINE_MAX_BYTES = 512
SKIP_MAX_BYTES = 1 << 20  # a picture that claims more is a garbled one

_LF, _CR, _HT, _FF, _DLE, _ESC, _FS, _GS = 0x0A, 0x0D, 0x09, 0x0C, 0x10, 0x1B, 0x1C, 0x1D
_TEXT = re.compile(rb"[\x20-\xff]+")

# Bytes behind the two of the command. Those with a length of their own stand in _measured.
_FIXED: dict[int, dict[int, int]] = {
    _ESC: {
        **dict.fromkeys(b"\x0c2<@LSimv", 0), **dict.fromkeys(b" !%-3=?EGJKMRTVadertu{", 1),
        **dict.fromkeys(b"$\\Bc", 2), **dict.fromkeys(b"Cp", 3), ord("W"): 8,
    },
    _FS: {**dict.fromkeys(b"&.", 0), **dict.fromkeys(b"!-CWr", 1), **dict.fromkeys(b"Sp", 2), ord("2"): 74},
    _GS: {
        **dict.fromkeys(b"\x0c:c", 0), **dict.fromkeys(b"!/BEHITabfhjrwx", 1),
        **dict.fromkeys(b"$LPW\\", 2), **dict.fromkeys(b"^z", 3),
    },
    _DLE: {0x05: 1},
}  # fmt: skip
_REAL_TIME = {1: 3, 2: 3, 3: 6, 7: 2, 8: 8}  # DLE DC4 fn: bytes behind the two

CODE_PAGES = {
    0: "cp437", 2: "cp850", 3: "cp860", 4: "cp863", 5: "cp865", 13: "cp857", 14: "cp737", 15: "iso8859_7", 16: "cp1252",
    17: "cp866", 18: "cp852", 19: "cp858", 33: "cp775", 34: "cp855", 35: "cp861", 36: "cp862", 37: "cp864",
    38: "cp869", 39: "iso8859_2", 40: "iso8859_15", 45: "cp1250", 46: "cp1251", 47: "cp1253", 48: "cp1254",
    49: "cp1255", 50: "cp1256", 51: "cp1257", 52: "cp1258",
}  # fmt: skip
"""ESC t n -> codec. Another n is read as cp437: digits and Latin letters are the same in all of them."""

TEXTS = ("gb18030", "big5", "utf-8", "cp437")
"""What a printer takes text for when it is switched on. The first three last until FS . switches them off."""


class Slip(NamedTuple):
    """What was printed up to a cut, or up to a pause. lines: without blank ones. pictures: images among them."""

    lines: tuple[str, ...]
    pictures: int
    cut: bool


class Printer:
    """text: one of TEXTS. unknown: commands that are not in the tables, of which two bytes were skipped."""

    def __init__(self, text: str = "gb18030") -> None:
        self.unknown = 0
        self._text = text
        self._wide = "gb18030" if text == "cp437" else text  # what FS & switches on
        self._forget()
        self._held = b""
        self._skip = 0
        self._lines: list[str] = []
        self._pictures = 0

    @property
    def printing(self) -> bool:
        """Whether something was heard that no cut has ended."""
        return bool(self._lines or self._line or self._pictures or self._held or self._skip)

    def feed(self, data: bytes) -> list[Slip]:
        """The slips that these bytes cut off."""
        slips: list[Slip] = []
        held, at = self._held + data, 0
        while at < len(held):
            if self._skip:
                step = min(self._skip, len(held) - at)
                self._skip -= step
            elif text := _TEXT.match(held, at):
                self._print(text.group())
                step = text.end() - at
            else:
                step = self._control(held, at, slips)
            if not step:
                break  # a command whose end has not come yet
            at += step
        self._held = held[at:]
        return slips

    def pause(self) -> Slip | None:
        """Nothing came for a while: a command cut short is forgotten, what was printed is a slip torn off by hand."""
        self._held, self._skip = b"", 0
        return self._ended(cut=False)

    # -- what bytes do -----------------------------------------------------------------------------------------------

    def _print(self, text: bytes) -> None:
        room = LINE_MAX_BYTES - self._line_bytes
        if room > 0:
            self._line.append((self._wide if self._is_wide else self._page, text[:room]))
            self._line_bytes += len(text)

    def _control(self, held: bytes, at: int, slips: list[Slip]) -> int:
        """How many bytes from `at` on are done with; 0 when the command is not whole. Lone control codes print nothing,
        nor do a printer's own status bytes, should they be on the same wire."""
        first = held[at]
        if first in (_LF, _CR, _FF):
            self._end_line()
        elif first == _HT:
            self._print(b" ")
        if first not in _FIXED:
            return 1
        if at + 1 >= len(held):
            return 0
        second = held[at + 1]
        size = _FIXED[first].get(second)
        if size is None:
            size, skip = _measured(held, at)
            if size < 0:
                return 0
            if skip < 0 or skip > SKIP_MAX_BYTES:
                if first == _DLE:
                    return 1
                self.unknown += 1
                return 2 + size
            self._skip = skip
        elif at + 2 + size > len(held):
            return 0
        self._do(first, second, held[at + 2 : at + 2 + size], slips)
        return 2 + size

    def _do(self, first: int, second: int, said: bytes, slips: list[Slip]) -> None:
        command = bytes((first, second))
        if command == b"\x1b@":
            self._forget()
        elif command == b"\x1bt":
            self._page = CODE_PAGES.get(said[0], "cp437")
        elif command in (b"\x1c&", b"\x1c."):
            self._is_wide = second == ord("&")
        elif command in (b"\x1bd", b"\x1bJ"):
            self._end_line()
        elif command in (b"\x1b*", b"\x1dv", b"\x1d8", b"\x1cp", b"\x1d/", b"\x1dQ") or (
            command == b"\x1d(" and said[:1] == b"L"
        ):
            self._pictures += 1
        elif command in (b"\x1dV", b"\x1bi", b"\x1bm") and (slip := self._ended(cut=True)):
            slips.append(slip)

    def _forget(self) -> None:
        """As when it is switched on: what it has not printed is gone."""
        self._is_wide = self._text != "cp437"
        self._page = "cp437"
        self._line: list[tuple[str, bytes]] = []
        self._line_bytes = 0

    def _end_line(self) -> None:
        if self._line and len(self._lines) < LINES_MAX:
            parts: list[tuple[str, bytes]] = []
            for encoding, text in self._line:  # a character may have come in two pieces
                if parts and parts[-1][0] == encoding:
                    parts[-1] = encoding, parts[-1][1] + text
                else:
                    parts.append((encoding, text))
            if line := "".join(text.decode(encoding, "replace") for encoding, text in parts).strip():
                self._lines.append(line)
        self._line, self._line_bytes = [], 0

    def _ended(self, *, cut: bool) -> Slip | None:
        self._end_line()
        if not self._lines and not self._pictures:
            return None
        slip = Slip(tuple(self._lines), self._pictures, cut)
        self._lines, self._pictures = [], 0
        return slip


def _measured(held: bytes, at: int) -> tuple[int, int]:
    """(bytes behind the command's two that say its length, bytes behind those that are data).

    (-1, 0): more must come to tell. (0, -1): no such command.
    """
    more = held[at + 2 : at + 15]
    asks, measure = _MEASURED.get(held[at : at + 2], (0, None))
    if measure is None:
        return 0, -1
    if len(more) < asks:
        return -1, 0
    return measure(held, at + 2)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _dots(held: bytes, at: int) -> tuple[int, int]:
    """ESC * m n: columns of one or three bytes."""
    return 3, _number(held, at + 1) * (3 if held[at] >= 32 else 1)


def _raster(held: bytes, at: int) -> tuple[int, int]:
    """GS v 0 m x y and GS Q 0 m x y: x bytes in each of y rows."""
    return 6, _number(held, at + 2) * _number(held, at + 4)


def _block(held: bytes, at: int) -> tuple[int, int]:
    """( fn p: p bytes follow."""
    return 3, _number(held, at + 1)


def _large_block(held: bytes, at: int) -> tuple[int, int]:
    """GS 8 L p1 p2 p3 p4."""
    return 5, int.from_bytes(held[at + 1 : at + 5], "little")


def _until_zero(held: bytes, at: int, taken: int = 0) -> tuple[int, int]:
    """taken: bytes at `at` that are no data yet."""
    end = held.find(b"\0", at + taken, at + taken + 257)
    if end < 0:
        return (-1, 0) if len(held) < at + taken + 257 else (0, -1)
    return end + 1 - at, 0


def _bar_code(held: bytes, at: int) -> tuple[int, int]:
    """GS k m: up to a zero, or from 65 on with its length."""
    if held[at] <= 6:
        return _until_zero(held, at, 1)
    if held[at] < 65:
        return 0, -1
    return (2, held[at + 1]) if len(held) > at + 1 else (-1, 0)


def _cut(held: bytes, at: int) -> tuple[int, int]:
    """GS V m, and from 65 on n: how far to feed before."""
    size = 2 if held[at] >= 65 else 1
    return (size, 0) if len(held) >= at + size else (-1, 0)


def _status(held: bytes, at: int) -> tuple[int, int]:
    """DLE EOT n; 7, 8 and 18 have one more."""
    size = 2 if held[at] in (7, 8, 18) else 1
    return (size, 0) if len(held) >= at + size else (-1, 0)


def _real_time(held: bytes, at: int) -> tuple[int, int]:
    """DLE DC4 fn."""
    size = _REAL_TIME.get(held[at], 0)
    return (0, -1) if not size else (size, 0) if len(held) >= at + size else (-1, 0)


def _characters(held: bytes, at: int) -> tuple[int, int]:
    """ESC & y c1 c2, then for each character its width x and x * y bytes."""
    rows, first, last = held[at : at + 3]
    end = at + 3
    for _ in range(first, last + 1):
        if end >= len(held):
            return -1, 0
        end += 1 + held[end] * rows
    return (end - at, 0) if end <= len(held) else (-1, 0)


def _logos(held: bytes, at: int) -> tuple[int, int]:
    """FS q n, then n pictures of x * y * 8 bytes."""
    end = at + 1
    for _ in range(held[at]):
        if len(held) < end + 4:
            return -1, 0
        end += 4 + _number(held, end) * _number(held, end + 2) * 8
        if end - at > SKIP_MAX_BYTES:
            return 0, -1
    return (end - at, 0) if end <= len(held) else (-1, 0)


def _logo(held: bytes, at: int) -> tuple[int, int]:
    """GS * x y: x * y * 8 bytes."""
    return 2, held[at] * held[at + 1] * 8


def _counter(held: bytes, at: int) -> tuple[int, int]:
    """GS C 0, 1, 2, and the old ones with semicolons, which print nothing."""
    size = {0: 3, 1: 7, 2: 3}.get(held[at], 1)
    return (size, 0) if len(held) >= at + size else (-1, 0)


def _sets(held: bytes, at: int) -> tuple[int, int]:
    """GS g 0 or 2 m nL nH."""
    return 4, 0


def _qr(held: bytes, at: int) -> tuple[int, int]:
    """ESC Z m n k d: d bytes follow."""
    return 5, _number(held, at + 3)


_MEASURED = {
    b"\x1b*": (3, _dots), b"\x1b(": (3, _block), b"\x1bD": (1, _until_zero), b"\x1b&": (3, _characters),
    b"\x1bZ": (5, _qr), b"\x1c(": (3, _block), b"\x1cq": (1, _logos), b"\x1d(": (3, _block),
    b"\x1d8": (5, _large_block),
    b"\x1dv": (6, _raster), b"\x1dQ": (6, _raster), b"\x1dk": (1, _bar_code), b"\x1dV": (1, _cut), b"\x1d*": (2, _logo),
    b"\x1dC": (1, _counter), b"\x1dg": (4, _sets), b"\x10\x04": (1, _status), b"\x10\x14": (1, _real_time),
}  # fmt: skip
