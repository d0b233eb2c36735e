"""One byte flipped, lost or doubled in each of 100,000 frames: no wrong record ever, and the next frame is there."""

import random

import pytest

from drivers import node_frame
from drivers.node_frame import (
    ACK,
    BEAT,
    CONFIG,
    CRC_RESIDUE,
    DATA,
    EVENT,
    HELLO,
    LOST,
    REFUSED,
    Splitter,
    ack_payload,
    beat_payload,
    config_payload,
    data_payload,
    encode,
    hello_payload,
    lost_payload,
    refused_payload,
)

FRAMES = 100_000
KINDS = 500  # different frames, each met 200 times with another damage
SEED = 4
HOW = ("flipped", "lost", "doubled")


def a_frame(dice: random.Random) -> tuple[int, int, int, bytes]:
    kind = dice.choice((HELLO, DATA, DATA, DATA, EVENT, EVENT, LOST, BEAT, REFUSED, ACK, CONFIG))
    number = dice.choice((0, 1, 255, 256, dice.getrandbits(32)))  # zeros are what COBS is about
    payload = {
        HELLO: lambda: hello_payload(128, "linli-node 1.0;loop*3 flow*2;cfg=00000000 next=1"),
        DATA: lambda: data_payload(dice.randrange(40), number, dice.choice((0.0, 1.0, dice.random() * 1e-3))),
        EVENT: lambda: data_payload(dice.randrange(40), number, float(dice.randrange(6))),
        LOST: lambda: lost_payload(number),
        BEAT: lambda: beat_payload(number, number, 1, 5000),
        REFUSED: lambda: refused_payload(number, "found loop_hold_mss"),
        ACK: lambda: ack_payload(7, number, number),
        CONFIG: lambda: config_payload(number, 5, b"x" * dice.randrange(226)),
    }[kind]()
    return kind, dice.choice((1, 7, dice.getrandbits(32))), number, payload


def damaged(wire: bytes, how: str, at: int, dice: random.Random) -> bytes:
    if how == "lost":
        return wire[:at] + wire[at + 1 :]
    if how == "doubled":
        return wire[: at + 1] + wire[at:]
    return wire[:at] + bytes((wire[at] ^ 1 << dice.randrange(8),)) + wire[at + 1 :]


def first_wrong(turns: int) -> str:
    """What a decoder made of a damaged frame and the one behind it, where that is not as it must be; else ""."""
    dice = random.Random(SEED)
    frames = [a_frame(dice) for _ in range(KINDS)]
    wires = [encode(*frame) for frame in frames]
    splitter = Splitter()
    for turn in range(turns):
        this, following = dice.randrange(KINDS), dice.randrange(KINDS)
        how, at = HOW[turn % 3], dice.randrange(len(wires[this]))
        found = splitter.feed(damaged(wires[this], how, at, dice) + wires[following])
        # The zeros around a frame may come once or twice; any other byte costs the frame, and never more than it.
        whole = at in (0, len(wires[this]) - 1) and how != "flipped"
        if found != ([frames[this]] if whole else []) + [frames[following]]:
            return f"turn {turn}, seed {SEED}: {frames[this]} {how} at {at}, then {frames[following]}: {found}"
    return ""


def test_no_damage_of_one_byte_makes_a_record_of_its_own_or_costs_the_next_frame() -> None:
    assert first_wrong(FRAMES) == ""


def test_without_the_crc_the_same_damage_makes_wrong_records(monkeypatch: pytest.MonkeyPatch) -> None:
    frames_are_made_with_it = node_frame.crc32

    def believes_all(body: bytes) -> int:
        return frames_are_made_with_it(body) if len(body) == body[node_frame.LENGTH_AT] + 10 else CRC_RESIDUE

    monkeypatch.setattr(node_frame, "crc32", believes_all)
    assert "flipped" in first_wrong(1000)
