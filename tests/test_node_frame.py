"""Frames of the node link: what is written comes back, and the buffer has a bound."""

import struct
from binascii import crc32
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import node_frame
from drivers.node_frame import (
    DATA,
    Splitter,
    ack_payload,
    beat_payload,
    data_payload,
    encode,
    hello_payload,
    lost_payload,
)

FRAMES = st.tuples(st.integers(0, 255), st.integers(0, 0xFFFFFFFF), st.integers(0, 0xFFFFFFFF), st.binary(max_size=230))


@given(st.lists(FRAMES, max_size=5), st.data())
def test_any_frames_come_back_from_the_wire_however_it_is_cut(
    frames: list[tuple[int, int, int, bytes]], data: st.DataObject
) -> None:
    wire = b"".join(encode(*frame) for frame in frames)
    splitter, found = Splitter(), []
    while wire:
        cut = data.draw(st.integers(1, len(wire)))
        found += splitter.feed(wire[:cut])
        wire = wire[cut:]
    assert found == frames
    assert (splitter.good, splitter.bad) == (len(frames), 0)


@given(FRAMES)
def test_between_its_two_zeros_a_frame_has_none_and_one_byte_more_than_its_body(
    frame: tuple[int, int, int, bytes],
) -> None:
    wire = encode(*frame)
    assert wire[0] == wire[-1] == 0 and 0 not in wire[1:-1]
    assert len(wire) == 2 + 1 + 10 + len(frame[3]) + 4


@pytest.mark.parametrize("length", [0, 1, 230])
def test_payloads_up_to_230_bytes_pass(length: int) -> None:
    assert Splitter().feed(encode(DATA, 1, 2, b"\0" * length)) == [(DATA, 1, 2, b"\0" * length)]


def test_a_longer_payload_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="230"):
        encode(DATA, 1, 2, b"x" * 231)


@pytest.mark.parametrize(
    ("make", "parse", "values"),
    [
        (ack_payload, node_frame.parse_ack, (3, 0xFFFFFFFF, 0)),
        (beat_payload, node_frame.parse_beat, (1, 2, 3, 4)),
        (data_payload, node_frame.parse_data, (65_535, 0xFFFFFFFF, -1.25)),
        (hello_payload, lambda payload: node_frame.parse_hello(payload)[1:], (65_535, "fw;流量*1")),
        (lost_payload, lambda payload: (node_frame.parse_lost(payload),), (7,)),
    ],
)
def test_each_payload_is_read_as_it_was_written_and_refused_when_cut(
    make: Callable[..., bytes], parse: Callable[[bytes], tuple[object, ...]], values: tuple[object, ...]
) -> None:
    assert parse(make(*values)) == values
    with pytest.raises(ValueError):
        parse(make(*values)[:2])


def test_an_endless_line_without_a_zero_does_not_fill_the_memory() -> None:
    splitter = Splitter()
    for _ in range(1000):
        assert splitter.feed(b"\x55" * 1000) == []
    assert len(splitter.rest) < 300
    assert splitter.feed(encode(DATA, 1, 1, b"after the noise")) == [(DATA, 1, 1, b"after the noise")]
    assert splitter.bad == 1


@pytest.mark.parametrize("told", [0, 3, 5, 255])
def test_a_frame_whose_own_length_does_not_fit_is_refused_even_when_its_crc_is_right(told: int) -> None:
    head = struct.pack("<BIIB", DATA, 1, 1, told) + b"four"
    body = head + struct.pack("<I", crc32(head))
    splitter = Splitter()
    assert splitter.feed(b"\0" + node_frame.cobs(body) + b"\0") == []
    assert splitter.bad == 1


# The stuffing in C and the plain one, which is what the nodes run: no line may tell them apart.

PIECES = st.binary(min_size=1, max_size=300).map(lambda piece: piece.replace(b"\0", b"\1"))
CUTS = st.lists(st.integers(1, 40), min_size=1, max_size=8)


def undone(uncobs: Callable[[bytes], bytes], piece: bytes) -> bytes | None:
    try:
        return bytes(uncobs(piece))
    except (ValueError, node_frame.StuffingError):
        return None


def test_on_the_box_the_stuffing_is_done_in_c() -> None:
    assert node_frame.uncobs is not node_frame.plain_uncobs and node_frame.cobs is not node_frame.plain_cobs


@given(st.binary(min_size=1, max_size=253))
def test_both_stuffings_write_the_same_bytes_and_undo_them(body: bytes) -> None:
    assert node_frame.plain_cobs(body) == node_frame.cobs(body)
    assert node_frame.plain_uncobs(node_frame.cobs(body)) == body


@given(PIECES)
def test_both_stuffings_take_and_refuse_the_same_garbage(piece: bytes) -> None:
    if len(piece) <= node_frame.FRAME_MAX_BYTES:  # longer pieces never reach them
        assert undone(node_frame.plain_uncobs, piece) == undone(node_frame.uncobs, piece)


@given(st.lists(FRAMES.map(lambda frame: encode(*frame)) | PIECES | st.just(b"\0"), max_size=8), CUTS)
def test_a_splitter_without_c_finds_and_counts_the_same_on_any_line(parts: list[bytes], cuts: list[int]) -> None:
    wire, found = b"".join(parts), []
    for uncobs, refusal in (
        (node_frame.uncobs, node_frame.StuffingError),
        (node_frame.plain_uncobs, ValueError),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(node_frame, "uncobs", uncobs)
            patch.setattr(node_frame, "StuffingError", refusal)
            splitter, bodies, rest = Splitter(), [], wire
            for cut in [*cuts, len(wire)]:
                bodies += splitter.bodies(rest[:cut])
                rest = rest[cut:]
        found.append((bodies, splitter.good, splitter.bad, splitter.rest))
    assert found[0] == found[1]
