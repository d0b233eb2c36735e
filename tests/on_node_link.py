"""Checks of a node's end of the link, its ring and its settings; run by on_node.py, which says how."""

import binascii

from drivers.node import ring
from drivers.node_frame import (
    ACK,
    CONFIG,
    DATA,
    EVENT,
    HELLO,
    LOST,
    NACK,
    REFUSED,
    Splitter,
    ack_payload,
    config_payload,
    encode,
    parse_hello,
    parse_lost,
    parse_refused,
)
from drivers.node_settings import PART_BYTES, SettingError, Settings, cfg_of


class Dice:
    def __init__(self, seed):
        self._state = seed

    def below(self, count):
        self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self._state >> 8) % count


class Clock:
    def __init__(self):
        self.now = 0

    def ms(self):
        return self.now


# -- the ring ------------------------------------------------------------------------------------------------------


class Gateway:
    """Takes numbers in order only, as drivers/numbered.py does."""

    def __init__(self, side, boot):
        self.side, self.boot = side, boot
        self.splitter = Splitter()
        self.received = self.durable = 0
        self.took, self.lost, self.following = set(), set(), 0

    def hear(self, data):
        hole = False
        for kind, boot, seq, payload in self.splitter.feed(data):
            assert boot == self.boot
            if kind == HELLO:
                said = parse_hello(payload)[2]
                self.following = int(said.split("next=")[1])
                assert self.received < self.following
            elif kind in (DATA, EVENT) and seq == self.received + 1:
                self.took.add(seq)
                self.received = seq
            elif kind == LOST and parse_lost(payload) <= self.received + 1 and seq > self.received:
                self.lost |= set(range(self.received + 1, seq + 1))
                self.received = seq
            elif kind in (DATA, EVENT, LOST) and seq > self.received:
                hole = True
        return hole

    def say(self, hole=False):
        marks = ack_payload(self.boot, self.received, self.durable)
        self.side.feed(encode(NACK if hole else ACK, self.boot, 0, marks))

    def restart(self):
        """Killed: what was not durable is unknown again."""
        for seq in range(self.durable + 1, self.received + 1):
            self.took.discard(seq)
            self.lost.discard(seq)
        self.received = self.durable
        self.side.reset_line()


def check_no_event_gives_way_to_telemetry_and_every_number_given_up_is_told(_folder):
    for seed in range(40):
        _one_course(seed)


def _one_course(seed):
    dice, clock = Dice(seed), Clock()
    size = 4 + dice.below(29)
    side = ring.RingNode(7, size, "t;flow*1 contact*1", clock.ms, "", None)
    gateway = Gateway(side, 7)
    kept_events, away = set(), 0
    for _ in range(200):
        clock.now += 20
        for _ in range(dice.below(4)):
            urgent = dice.below(3) == 0
            seq, held, telemetry = side.next, side._held, side._telemetry
            kept = side.add(EVENT if urgent else DATA, 1 if urgent else 0, 1.0)
            assert side.next == seq + 1 and kept in (None, seq)
            if kept is None:
                assert held == size and telemetry == 0, "given up though there was room, or telemetry in the ring"
            elif urgent:
                kept_events.add(seq)
            assert 0 <= side._telemetry <= side._held <= size
            assert sorted(side._slots) == list(range(size))  # no place is lost, none is used twice
        if away == 0 and dice.below(50) == 0:
            away = dice.below(60)
        if away:
            away -= 1
            side.outgoing(256)  # into the void
            continue
        data = side.outgoing(256)
        hole = dice.below(20) != 0 and gateway.hear(data)
        if dice.below(5) == 0:
            gateway.durable = gateway.durable + dice.below(gateway.received - gateway.durable + 1)
        if dice.below(3):
            gateway.say(hole)
        if dice.below(100) == 0:
            gateway.restart()
    for _ in range(60):
        clock.now += 600
        hole = gateway.hear(side.outgoing(256))
        gateway.durable = gateway.received
        gateway.say(hole)
    last = side.next - 1
    assert gateway.received == last, (seed, gateway.received, last)
    assert gateway.took | gateway.lost == set(range(1, last + 1)), seed
    missing = [seq for seq in kept_events if seq not in gateway.took]
    assert not missing, (seed, missing)
    assert side.lost >= len(gateway.lost) > 0
    assert side._held == 0 and side._telemetry == 0


def check_a_ring_of_events_gives_up_the_newest_and_counts_it(_folder):
    side = ring.RingNode(7, 4, "t;contact*1", Clock().ms, "", None)
    assert [side.add(EVENT, 0, 1.0) for _ in range(6)] == [1, 2, 3, 4, None, None]
    assert side.add(DATA, 0, 1.0) is None
    assert (side.lost, side.free, side.next) == (3, 0, 8)
    frames = [(kind, seq, payload) for kind, _, seq, payload in Splitter().feed(side.outgoing(500))]
    assert [frame[:2] for frame in frames] == [(HELLO, 1), (EVENT, 1), (EVENT, 2), (EVENT, 3), (EVENT, 4), (LOST, 7)]
    assert parse_lost(frames[-1][2]) == 5


# -- settings ------------------------------------------------------------------------------------------------------


def give(side, text, cfg=None, only=None):
    """The settings as the gateway sends them; what the node answers: frames by type."""
    data = text.encode()
    parts = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)] or [b""]
    for part, piece in reversed(list(enumerate(parts))):
        if only is None or part == only:
            side.feed(encode(CONFIG, 7, part, config_payload(cfg_of(text) if cfg is None else cfg, len(parts), piece)))
    said = {}
    for _ in range(3):
        for kind, _, _, payload in Splitter().feed(side.outgoing(256)):
            said[kind] = payload
    return said


def check_settings_are_taken_by_name_and_named_in_the_hello(_folder):
    counts, taken = {"loop": 3, "flow": 2}, []
    side = ring.RingNode(7, 16, "t;loop*3", Clock().ms, "", lambda text: taken.append(Settings(text, counts)))
    side.outgoing(256)
    text = "flow1_pulse_ul=10000\nloop2_hold_ms=300\nloop_hold_ms=100"
    said = give(side, text)
    assert (f"cfg={cfg_of(text):08x}") in parse_hello(said[HELLO])[2]
    assert [taken[0].get("loop", number, "hold_ms") for number in (1, 2, 3)] == [100, 300, 100]
    assert [taken[0].get("flow", number, "pulse_ul") for number in (1, 2)] == [10000, 2222]
    assert HELLO in give(side, text) and len(taken) == 1  # told again, not written again
    long = "\n".join([f"loop{n}_{name}={v}" for n in (1, 2, 3) for name, v in _LOOP] * 3)[:900].rsplit("\n", 1)[0]
    assert HELLO in give(side, long) and len(taken) == 2
    assert HELLO in give(side, "") and taken[2].get("loop", 2, "hold_ms") == 200


_LOOP = (("hold_ms", 150), ("short_below", 91), ("alarm_above", 345), ("cut_above", 756))


def check_wrong_settings_are_refused_in_words_and_change_nothing(_folder):
    counts, taken = {"loop": 3}, []
    side = ring.RingNode(7, 16, "t;loop*3", Clock().ms, "", lambda text: taken.append(Settings(text, counts)))
    side.outgoing(256)
    for text, words in (
        ("loop_hold_mss=300", "found loop_hold_mss, expected one of loop_alarm_above"),
        ("loop_hold_ms=1", "found loop_hold_ms = 1, expected 10 to 60000"),
        ("loop_hold_ms=soon", "found loop_hold_ms = soon"),
        ("loop4_hold_ms=300", "found loop4_hold_ms, expected one of this node's 3 loop"),
        ("alarm", "found alarm, expected one of"),
        ("loop_cut_above=360", "thresholds 90, 344 and 360"),
    ):
        said = give(side, text)
        cfg, why = parse_refused(said[REFUSED])
        assert cfg == cfg_of(text) and words in why and HELLO not in said, why
    assert give(side, "tell_s=60", cfg=1) == {} and give(side, "x" * 400, only=1) == {}
    side.feed(encode(CONFIG, 7, 9, config_payload(1, 3, b"")) + encode(CONFIG, 7, 0, b"1234"))
    assert taken == [] and side.settings == ""
    for name in ("loop1000_hold_ms", "loop0_hold_ms", "_hold_ms", "tell"):
        try:
            Settings(name + "=300")
            raise AssertionError(name + " was taken")
        except SettingError as error:
            assert error.found == name, error.found


# -- both interpreters say the same bytes --------------------------------------------------------------------------


def digest():
    """CRC over what 400 frames look like and over what 400 damaged ones are taken for."""
    dice, crc, good = Dice(11), 0, 0
    splitter = Splitter()
    for turn in range(400):
        payload = bytes([dice.below(5) if dice.below(2) else dice.below(256) for _ in range(dice.below(231))])
        seq = dice.below(1 << 16) << 16 | dice.below(1 << 16)
        frame = bytearray(encode(dice.below(256), turn, seq, payload))
        crc = binascii.crc32(bytes(frame), crc)
        if dice.below(2):
            frame[dice.below(len(frame))] ^= 1 << dice.below(8)
        for found in splitter.feed(bytes(frame)):
            good += 1
            crc = binascii.crc32(repr(found).encode(), crc)
    return f"{crc:08x} {good} {splitter.good} {splitter.bad}"
