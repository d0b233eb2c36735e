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


@given(st.binary(min_size=1, max_size=253))
def test_the_stuffing_leaves_no_zero_and_is_undone_exactly(body: bytes) -> None:
    stuffed = node_frame.cobs(body)
    assert b"\0" not in stuffed and len(stuffed) == len(body) + 1
    assert node_frame.uncobs(stuffed) == body


@given(st.binary(min_size=1, max_size=node_frame.FRAME_MAX_BYTES).map(lambda piece: piece.replace(b"\0", b"\1")))
def test_garbage_is_refused_or_is_the_stuffing_of_what_it_gives(piece: bytes) -> None:
    try:
        body = node_frame.uncobs(piece)
    except ValueError:
        return
    assert len(body) == len(piece) - 1
