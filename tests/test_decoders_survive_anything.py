"""What a decoder of serial bytes owes its line: no exception, no good frame lost beside a bad one, none invented.

LINLI_MUTATIONS=1000000 mutates for as long as it takes; the normal run takes 50,000 for each decoder.
"""

import os
import random
from binascii import crc32
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import frame_table, kiosk_line, node_frame
from drivers.call_bus import CallBus
from drivers.escpos_tap import EscposTap, Template
from drivers.kiosk_line import KioskLink
from drivers.kiosk_side import KioskSide
from drivers.modbus import Master, Timing, frame_size, intact, read_frame
from drivers.node_link import NodeLink
from drivers.node_side import NodeSide
from drivers.reading import Lost, Reading
from tests.fuzz.fuzz_decoders import TARGETS, run_one
from tests.line_world import TEXT, Clock
from tests.modbus_rig import Slave, tuf, tuf_image

RECORDED = Path(__file__).parent / "recorded"
MUTATIONS = int(os.environ.get("LINLI_MUTATIONS", "50000"))
SLOWEST_MS = 3.0  # a mutation, on a busy machine: for the time limit of the long run


class Decoder(NamedTuple):
    """file: recorded bytes, each frame between two of `cut`. splitter: ours. slowly: a second, plain decoder."""

    file: str
    cut: bytes
    splitter: Callable[[], node_frame.Splitter | kiosk_line.LineSplitter]
    slowly: Callable[[bytes], object | None]


def node_frame_slowly(piece: bytes) -> object | None:
    """One COBS frame as the paper on COBS describes it, block by block."""
    body, at = b"", 0
    while at < len(piece):
        block = piece[at + 1 : at + piece[at]]
        if len(block) != piece[at] - 1:
            return None
        at += piece[at]
        body += block + (b"\0" if at < len(piece) else b"")
    if len(body) < 14 or body[9] != len(body) - 14 or crc32(body[:-4]) != int.from_bytes(body[-4:], "little"):
        return None
    return body[0], int.from_bytes(body[1:5], "little"), int.from_bytes(body[5:9], "little"), body[10:-4]


def kiosk_line_slowly(piece: bytes) -> object | None:
    piece = piece.replace(b"\r", b"")
    try:
        return kiosk_line.parse_line(piece) if len(piece) < 512 else None
    except kiosk_line.FieldsError as why:
        return kiosk_line.Line("E", why.numbers)
    except ValueError:
        return None


DECODERS = {
    "node": Decoder("node_frames.bin", b"\0", node_frame.Splitter, node_frame_slowly),
    "kiosk": Decoder("kiosk_lines.txt", b"\n", kiosk_line.LineSplitter, kiosk_line_slowly),
}


def recorded(decoder: Decoder) -> list[bytes]:
    return [piece for piece in (RECORDED / decoder.file).read_bytes().split(decoder.cut) if piece]


def mutated(piece: bytes, pieces: list[bytes], dice: random.Random) -> bytes:
    """One to six harms of the kind that lines, adapters and broken programs do."""
    data = bytearray(piece)
    for _ in range(dice.randrange(1, 7)):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
            case 1 if at < len(data):
                data[at] = dice.choice(b"\x00\x01\x0a\x0d\x25\x2a\xff")
            case 2:
                del data[at : at + dice.randrange(1, 5)]
            case 3:
                data[at:at] = dice.randbytes(dice.randrange(1, 5))
            case 4:
                data[at:at] = data[at : at + dice.randrange(1, 20)]
            case 5:
                other = dice.choice(pieces)
                data[at:] = other[dice.randrange(len(other)) :]
            case 6:
                data[at:at] = bytes([dice.randrange(256)]) * dice.choice((1, 100, 600))
    return bytes(data)


def in_cuts(data: bytes, dice: random.Random) -> Iterator[bytes]:
    """The same bytes as a port might hand them over."""
    at = dice.choice((len(data), dice.randrange(1, max(2, len(data))), dice.randrange(1, 20)))
    while data:
        yield data[:at]
        data = data[at:]


@pytest.mark.timeout(60 + MUTATIONS * SLOWEST_MS / 1000)
@pytest.mark.parametrize("name", DECODERS)
def test_a_harmed_frame_never_takes_its_neighbours_with_it_and_never_passes(name: str) -> None:
    decoder = DECODERS[name]
    pieces = recorded(decoder)
    frames = {piece: decoder.slowly(piece) for piece in pieces}
    assert len(frames) > 50 and None not in frames.values()
    good = list(frames.values())
    dice = random.Random(f"{name} 1")
    splitter = decoder.splitter()  # one for all: what one harm leaves behind must not meet the next one
    cut, passed = decoder.cut, 0
    for number in range(MUTATIONS):
        before, harmed, after = dice.choice(pieces), mutated(dice.choice(pieces), pieces, dice), dice.choice(pieces)
        found: list[object] = []
        for chunk in in_cuts(cut + before + cut + harmed + cut + after + cut, dice):
            found += splitter.feed(chunk)
        # A harm may leave a whole frame standing, e.g. a delimiter put in front; a second decoder tells.
        standing = [frame for piece in harmed.split(cut) if (frame := decoder.slowly(piece)) is not None]
        assert found == [frames[before], *standing, frames[after]], f"mutation {number}: {harmed!r}"
        assert all(frame in good for frame in standing), f"mutation {number} invented {standing} from {harmed!r}"
        passed += len(standing)
    assert splitter.bad > MUTATIONS * 0.9, "the harms must harm"
    assert splitter.good == 2 * MUTATIONS + passed


@pytest.mark.timeout(60 + MUTATIONS * SLOWEST_MS / 1000)
@pytest.mark.parametrize("name", DECODERS)
def test_nothing_on_a_line_makes_a_link_or_a_device_fall_over(name: str) -> None:
    decoder = DECODERS[name]
    pieces = recorded(decoder)
    dice, clock = random.Random(f"{name} 2"), Clock()
    make = NodeLink if name == "node" else KioskLink
    link = make("x1", clock.mono_s)
    side = NodeSide(258, 64, TEXT, clock.mono_ms) if name == "node" else KioskSide(258, 64, "k", clock.mono_ms)
    facts = 0
    for number in range(MUTATIONS):
        clock.s += 0.01
        if number % len(pieces) == 0:
            link = make("x1", clock.mono_s)  # the recording begins anew, so must the gateway
        harmed = mutated(dice.choice(pieces), pieces, dice)
        data = decoder.cut.join((b"", pieces[number % len(pieces)], harmed, b""))
        for fact in link.feed(data):
            link.durable(fact.boot, fact.last if isinstance(fact, Lost) else fact.seq)
            facts += 1
        link.tick()
        link.outgoing()
        side.feed(data)
        side.outgoing(200)
        assert 0 <= link.durable_seq <= link.received and 0 <= side.durable <= side.received < side.next
    assert facts > MUTATIONS / 10, "all was refused, so nothing was tried"


SLIP = "\x1b@邻里社区服务中心\n您的号码: A012\n业务: 社会保障\n".encode("gb18030") + b"\x1dv0\0\x02\0\x04\0" + bytes(8)
CALL = bytes.fromhex("FF 68 05 05 68 03 01 41 00 12 57 16")
OVERHEARD: dict[str, tuple[Callable[[Callable[[], float]], EscposTap | CallBus], list[bytes]]] = {
    "escpos": (
        lambda mono_s: EscposTap("p1", Template(["您的号码: {label}", "业务: {service}"]), "gb18030", {}, mono_s),
        [SLIP + b"\x1dVA\x03", SLIP + b"\x1dk\x02400638133393\0\x1bi",
         SLIP + b"\x1d(k\x03\0\x31\x43\x03\x10\x04\x01\x1dV\0"],
    ),
    "call-bus": (
        lambda mono_s: CallBus("c1", frame_table.load(frame_table.tables()["keypad-21"]), mono_s),
        [CALL, bytes.fromhex("FF 68 05 05 68 04 02 42 01 20 69 16"), bytes.fromhex("FF 68 02 02 68 0A 11 1B 16")],
    ),
}  # fmt: skip


@pytest.mark.timeout(60 + MUTATIONS * SLOWEST_MS / 1000)
@pytest.mark.parametrize("name", OVERHEARD)
def test_an_overheard_line_survives_anything_and_hears_the_next_one_after_a_pause(name: str) -> None:
    """What is only overheard has no acknowledgement and, on a printer's line, no check: a harm may cost its
    neighbours, but only up to the next pause."""
    make, pieces = OVERHEARD[name]
    dice, clock = random.Random(f"{name} 3"), Clock()
    decoder, harms = make(clock.mono_s), 0
    for number in range(MUTATIONS):
        clock.s += 5
        harmed = mutated(dice.choice(pieces), pieces, dice)
        facts = 0
        for chunk in in_cuts(harmed + dice.choice(pieces), dice):
            facts += len(decoder.feed(chunk))
        harms += facts < 2
        clock.s += 5
        decoder.tick()
        clock.s += 5
        assert len(decoder.feed(dice.choice(pieces))) == 1, f"mutation {number}: {harmed!r}"
    assert harms > MUTATIONS / 5, "the harms must harm"


ASKS_MAX = 8  # until the flow's turn has come again


@pytest.mark.timeout(60 + MUTATIONS * SLOWEST_MS / 1000)
def test_a_harmed_answer_of_a_meter_is_no_reading_and_the_next_intact_one_is() -> None:
    """A CRC-16 lets one harm in 65,536 through: what is taken must at least have borne a right one."""
    dice, taken = random.Random("modbus 5"), 0
    unit, slave = tuf("meter", 1), Slave(1, tuf_image())
    master, now_s = Master([unit], Timing.of("9600 8N1", 300), 0.0), 1.0
    answers = [slave.answer(read_frame(1, "holding", at, count)) for at, count in ((0, 2), (0, 10), (8, 2))]

    def ask() -> bytes:
        nonlocal now_s
        while not (frame := master.next(now_s)):
            now_s = max(now_s + 0.001, master.due_s(now_s))
            master.tick(now_s)
        now_s += 0.02
        return frame

    for number in range(MUTATIONS):
        harmed = mutated(slave.answer(ask()), answers, dice)
        facts = [fact for chunk in in_cuts(harmed, dice) for fact in master.feed(chunk, now_s)]
        if facts:
            taken += 1
            frames = (harmed[at : at + frame_size(harmed[at:])] for at in range(len(harmed)))
            assert any(intact(frame) and frame[0] == 1 for frame in frames), f"mutation {number}: {harmed!r}"
        now_s += 0.4
        master.tick(now_s)
        for _ in range(ASKS_MAX):
            heard = master.feed(slave.answer(ask()), now_s)
            if flows := [fact.value for fact in heard if isinstance(fact, Reading) and fact.point == "meter:flow"]:
                break
        assert flows == [pytest.approx(0.001)], f"mutation {number}: {harmed!r}"
    assert taken < MUTATIONS / 2, "the harms must harm"


@pytest.mark.parametrize("name", TARGETS)
def test_the_targets_of_the_fuzzer_take_what_chance_makes_too(name: str) -> None:
    """The fuzzer itself is no part of the environment; its targets must not rot meanwhile."""
    dice = random.Random(f"{name} 4")
    start = list(TARGETS).index(name)
    for _ in range(300):
        run_one(bytes([start, dice.randrange(256)]) + dice.randbytes(dice.randrange(200)))


U32 = st.integers(0, 0xFFFFFFFF) | st.integers(0, 5)
ODD_FRAMES = st.builds(
    node_frame.encode, st.sampled_from([1, 2, 3, 4, 5, 6, 16, 17, 18, 255]), U32, U32, st.binary(max_size=20)
)
NUMBERED = st.builds(
    lambda kind, seq, point, value: node_frame.encode(kind, 1, seq, node_frame.data_payload(point, 0, value)),
    st.sampled_from([node_frame.DATA, node_frame.EVENT]), st.integers(1, 5), st.integers(0, 9), st.floats(),
)  # fmt: skip
HELLOS = st.builds(
    lambda boot, seq, text: node_frame.encode(node_frame.HELLO, boot, seq, node_frame.hello_payload(8, text)),
    st.integers(0, 2), U32, st.sampled_from([TEXT, "", "x;pad*9999", "x;flow*0", "x;*1", "x;a*1 a*1"]),
)  # fmt: skip


@given(st.lists(ODD_FRAMES | NUMBERED | HELLOS, max_size=12))
def test_frames_with_a_right_crc_and_any_nonsense_in_them_are_survived_too(frames: list[bytes]) -> None:
    clock = Clock()
    link, side = NodeLink("n1", clock.mono_s), NodeSide(1, 8, TEXT, clock.mono_ms)
    for frame in frames:
        clock.s += 0.6
        for fact in link.feed(frame):
            link.durable(fact.boot, fact.last if isinstance(fact, Lost) else fact.seq)
        link.tick()
        side.feed(frame)
        side.feed(link.outgoing())
        assert 0 <= link.durable_seq <= link.received and 0 <= side.durable <= side.received < side.next
    assert link.frames_bad == 0


WORDS = st.sampled_from(
    ["E", "H", "L", "A", "N", "B", "?", "issued", "rated", "grade=1", "grade=", "number=²", "=", "%"]
)


@given(st.lists(st.lists(WORDS | st.integers(0, 3).map(str) | st.text(max_size=3), max_size=8), max_size=12))
def test_lines_with_a_right_crc_and_any_nonsense_in_them_are_survived_too(lines: list[list[str]]) -> None:
    clock = Clock()
    link, side = KioskLink("k1", clock.mono_s), KioskSide(1, 8, "k", clock.mono_ms)
    for words in lines:
        text = " ".join(["LK1", *words]).encode("utf-8", "replace")
        line = text + b"*%08X\n" % crc32(text)
        clock.s += 0.6
        for fact in link.feed(line):
            link.durable(fact.boot, fact.last if isinstance(fact, Lost) else fact.seq)
        link.tick()
        side.feed(line)
        side.feed(link.outgoing())
        assert 0 <= link.durable_seq <= link.received and 0 <= side.durable <= side.received < side.next
