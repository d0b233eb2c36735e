"""Every decoder of serial bytes under a coverage-guided fuzzer: no exception may leave one, nothing may grow for ever.

    python -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris
    PYTHONPATH=.:.venv/lib/python3.11/site-packages /tmp/fuzz/bin/python tests/fuzz/fuzz_decoders.py -max_total_time=600

The first byte of an input chooses the decoder, the second how its bytes are cut and whether they are given the right
check first: no fuzzer guesses a CRC. Without atheris the targets are run by tests/test_decoders_survive_anything.py.
"""

import sys
from binascii import crc32
from collections.abc import Callable, Iterator

from drivers import frame_table, node_frame
from drivers.call_bus import CallBus, checksum
from drivers.device_file import load, models
from drivers.escpos import TEXTS
from drivers.escpos_tap import EscposTap, Template
from drivers.kiosk_line import KioskLink
from drivers.kiosk_side import KioskSide
from drivers.modbus import Master, Timing, crc
from drivers.modbus_unit import Unit
from drivers.node_link import NodeLink
from drivers.node_side import NodeSide
from tests.line_world import TEXT, Clock

TAP_LINES = [
    "您的号码: {label}",
    "业务: {service}",
    "前面还有 {ahead} 人",
    "{any}日期 {time}",
    "{any}请到 {window} 窗口{any}",
]
TABLES = {name: frame_table.load(path) for name, path in frame_table.tables().items()}
DEVICES = [load(path) for path in models().values()]


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(data), max(1, size)):
        yield data[at : at + max(1, size)]


def node(data: bytes, cut: int, sealed: bool) -> None:
    clock = Clock()
    link, side = NodeLink("n1", clock.mono_s), NodeSide(1, 8, TEXT, clock.mono_ms)
    hello = node_frame.encode(node_frame.HELLO, 1, 1, node_frame.hello_payload(8, TEXT))
    wire = hello + (b"".join(map(_frame, data.split(b"\0"))) if sealed else data)
    for piece in pieces(wire, cut):
        clock.s += 0.3
        link.feed(piece)
        link.durable(link.boot, link.received)
        link.tick()
        side.feed(piece)
        side.feed(link.outgoing())
        side.outgoing(200)
        assert 0 <= link.durable_seq <= link.received and 0 <= side.durable <= side.received < side.next


def _frame(body: bytes) -> bytes:
    """type, seq, and the payload; an intact frame of boot 1."""
    return node_frame.encode(body[0], 1, body[1], body[2:230]) if len(body) > 1 else body


def kiosk(data: bytes, cut: int, sealed: bool) -> None:
    clock = Clock()
    link, side = KioskLink("k1", clock.mono_s), KioskSide(1, 8, "k", clock.mono_ms)
    lines = [b"H 1 1 8 k", *data.split(b"\n")]
    wire = b"".join(b"LK1 %s*%08X\n" % (text, crc32(b"LK1 " + text)) for text in lines) if sealed else data
    for piece in pieces(wire, cut):
        clock.s += 0.3
        for fact in link.feed(piece):
            assert fact.mono_s <= clock.s
        link.tick()
        side.feed(piece)
        side.feed(link.outgoing())
        assert 0 <= link.durable_seq <= link.received and 0 <= side.durable <= side.received < side.next


def escpos(data: bytes, cut: int, sealed: bool) -> None:
    """sealed: behind a ticket's line, so that a slip is a ticket whatever follows."""
    clock = Clock()
    tap = EscposTap("p1", Template(TAP_LINES, "补打"), TEXTS[cut % len(TEXTS)], {"社会保障": "A"}, clock.mono_s)
    wire = "您的号码: A012\n".encode("gb18030") + data if sealed else data
    for piece in pieces(wire, cut):
        clock.s += 0.3
        facts = tap.feed(piece) + tap.tick()
        assert len(facts) <= 256
    clock.s += 10
    tap.tick()
    assert not tap._printer.printing, "a pause ends everything"


def call_bus(data: bytes, cut: int, sealed: bool) -> None:
    """sealed: data is cut at each FF into address, command and data of a frame of the table."""
    clock = Clock()
    for table in TABLES.values():
        bus = CallBus("c1", table, clock.mono_s)
        wire = b"".join(map(_call, data.split(b"\xff"))) if sealed and "sum" in table.frame else data
        for piece in pieces(wire, cut):
            clock.s += 0.05
            bus.feed(piece)
            bus.tick()
        clock.s += 1
        bus.tick()
        assert len(bus._latest) <= 256


def _call(body: bytes) -> bytes:
    body = body[:250]
    return b"\xff\x68" + bytes([len(body), len(body), 0x68]) + body + checksum("sum", body) + b"\x16"


def modbus(data: bytes, cut: int, sealed: bool) -> None:
    """A unit's answers: sealed with the right CRC, from the address that was asked."""
    device = DEVICES[cut % len(DEVICES)]
    points = [name for name, point in device.point.items() if point.kind != "setting"]
    unit = Unit("m1", 1, device, points, 1.0, outputs=device.outputs)
    master, now_s = Master([unit], Timing.of("9600 8N1", 300), 0.0), 0.0
    for answer in data.split(b"\xfe")[:50]:
        now_s += 0.05
        if asked := master.next(now_s):
            frame = asked[:2] + answer
            answer = frame + crc(frame) if sealed else answer
        now_s += 0.01
        for piece in pieces(answer, cut):
            master.feed(piece, now_s)
        now_s += 0.5
        master.tick(now_s)


TARGETS: dict[str, Callable[[bytes, int, bool], None]] = {
    "node": node, "kiosk": kiosk, "escpos": escpos, "call-bus": call_bus, "modbus": modbus,
}  # fmt: skip


def run_one(data: bytes) -> None:
    if len(data) < 2:
        return
    names = list(TARGETS)
    TARGETS[names[data[0] % len(names)]](data[2:4096], data[1] >> 1, bool(data[1] & 1))


def main() -> None:
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, run_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
