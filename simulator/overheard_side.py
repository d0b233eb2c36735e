"""What a hall without LK1 says on its wires: slips to a ticket printer, frames of call terminals. Nobody answers it.

Bytes of our own; python-escpos, which shares none of our thinking, is the encoder of tests/test_escpos_tap.py.
"""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from drivers.call_bus import checksum
from drivers.frame_table import FrameTable
from drivers.ticket_words import EVENTS
from simulator.hall import Ticket
from simulator.truth import Truth

TICKET_LINES = ["您的号码: {label}", "业务: {service}", "时间: {time}"]
"""What a site file has to write as `ticket` for a printer of the simulator."""

UNSENT_MAX_BYTES = 1_000_000  # of a line that takes nothing: the oldest is what a real printer would have printed


class OverheardSide:
    """Bytes out, as simulator/hardware.py's Line wants a side."""

    def __init__(self) -> None:
        self._unsent = b""

    def say(self, data: bytes) -> None:
        self._unsent = (self._unsent + data)[-UNSENT_MAX_BYTES:]

    def reset_line(self) -> None:
        """The plug was out: what was said meanwhile is gone."""
        self._unsent = b""

    def feed(self, data: bytes) -> None:
        """A printer prints, a terminal is not asked: what the other end writes goes nowhere."""

    def outgoing(self, size: int) -> bytes:
        out, self._unsent = self._unsent[:size], self._unsent[size:]
        return out


class OverheardDevice:
    """A printer, or the terminals of a line, where Line expects a device: it numbers nothing and holds nothing."""

    undurable = 0
    facts = 0

    def __init__(self, name: str, truth: Truth, wall_s: Callable[[], float]) -> None:
        self.name = name
        self.side: Any = OverheardSide()
        self.pending: deque[object] = deque()
        self._truth = truth
        self._wall_s = wall_s

    def say(self, data: bytes, event: str, value: str) -> None:
        """The truth first, then the wire."""
        self._truth.overheard(self.name, f"linli.{EVENTS[event]}.v1", value, self._wall_s())
        self._truth.flush()
        self.side.say(data)

    def pump(self) -> None:
        """Nothing waits: it is said at once."""

    def reboot(self) -> None:
        self.side.reset_line()


def slip(ticket: Ticket, service: str, wall_s: float) -> bytes:
    """A ticket as printed. service: its name."""
    time = datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    words = {"label": ticket.fields["label"], "service": service, "time": time}
    lines = ["邻里社区服务中心", *(line.format(**words) for line in TICKET_LINES), "请留意屏幕与语音叫号"]
    text = "\n".join(lines).encode("gb18030")
    qr = str(words["label"]).encode()
    code = b"\x1d(k" + (len(qr) + 3).to_bytes(2, "little") + b"\x31\x50\x30" + qr + b"\x1d(k\x03\x00\x31\x51\x30"
    return b"\x1b@\x1ba\x01\x1c&" + text + b"\n" + code + b"\x10\x04\x01\n\n\x1dV\x42\x00"


class Terminals:
    """Frames of one table. addresses: {window: address of its terminal}."""

    def __init__(self, table: FrameTable, addresses: Mapping[str, int]) -> None:
        self._table = table
        self._addresses = addresses
        self._messages = {message.event: message for message in table.message}

    def frame(self, ticket: Ticket) -> bytes | None:
        """None for what no terminal says, e.g. that somebody gave up waiting."""
        message = self._messages.get(ticket.event)
        address = self._addresses.get(str(ticket.fields.get("window")))
        if message is None or message.command is None or address is None:
            return None
        data = b"".join(_encoded(item.form, item.size, ticket.fields.get(item.name)) for item in message.items())
        found = {"address": bytes([address]), "command": bytes([message.command]), "data": data}
        found["length"] = bytes([sum(len(found[part]) for part in self._table.counts)])
        covered = b"".join(found.get(part) or bytes.fromhex(part) for part in self._table.checks)
        for check in {"sum", "xor", "crc16"}.intersection(self._table.frame):
            found[check] = checksum(check, covered)
        return b"".join(found[part] if part in found else bytes.fromhex(part) for part in self._table.frame)


def _encoded(form: str, size: int, value: object) -> bytes:
    if form == "ascii":
        return str(value or "").encode("ascii")[:size].ljust(size)
    if form == "bcd":
        return bytes.fromhex(f"{int(str(value)):0{2 * size}d}"[-2 * size :])
    return int(str(value or 0)).to_bytes(size, "little" if form == "u16le" else "big")
