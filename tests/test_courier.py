"""How much of a backlog may be under way: judged by delay, on links that are numbers here."""

import random

import pytest

from gateway.contract import STREAMS
from gateway.courier import Courier, Parcel
from gateway.reader import Row
from gateway.schema import pack_id

PACK_B = 5_000
PACKS = 2_000


class Waiting:
    """A store with PACKS packs of readings that the city lacks, as the courier reads it."""

    def epochs(self) -> dict[int, str]:
        return {1: "0000cafe"}

    def streams(self) -> dict[tuple[int, str], tuple[int, int]]:
        return {(1, stream): (PACKS if stream == "readings" else 0, 0) for stream in STREAMS}

    def after(self, epoch_no: int, stream: str, n: int, upto: int, limit: int) -> list[Row]:
        return [
            Row(pack_id(epoch_no, stream, i), 0, 1, 0.0, None, "unsure", None, "", b"")
            for i in range(n + 1, min(upto, n + limit) + 1)
        ]

    def one(self, epoch_no: int, stream: str, n: int) -> Row:
        return self.after(epoch_no, stream, n - 1, n, 1)[0]


class Link:
    """bytes_s: one message after the other. rtt_s: there and back for the smallest. Turns a courier for a while."""

    def __init__(self, bytes_s: float, rtt_s: float) -> None:
        self.now_s = 0.0
        self._bytes_s, self._rtt_s = bytes_s, rtt_s
        self._free_s = 0.0
        self._answers: list[tuple[float, int]] = []
        self.courier = Courier(Waiting(), random.Random(1), "city", 20, 600, 0.0, rtt_s)  # type: ignore[arg-type]
        self.sent = 0

    def turn(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            while parcel := self.courier.next(self.now_s):
                self.sent += 1
                self._free_s = max(self._free_s, self.now_s) + PACK_B / self._bytes_s
                self._answers.append((self._free_s + self._rtt_s, self.sent))
                self.courier.sent(self.sent, parcel, PACK_B, self.now_s)
            self.now_s, mid = self._answers.pop(0)
            self.courier.puback(mid, True, self.now_s)


def test_on_a_narrow_link_an_alarm_finds_one_pack_before_it() -> None:
    link = Link(bytes_s=32_000, rtt_s=0.02)
    link.turn(10)
    for _ in range(50):
        link.turn(0.1)
        assert link.courier.under_way <= 1
    assert link.sent > 0.8 * 15 * 32_000 / PACK_B, "the link is not left idle for it"


@pytest.mark.parametrize("rtt_s", [0.02, 0.2])
def test_on_a_wide_link_the_window_fills_however_long_it_is(rtt_s: float) -> None:
    link = Link(bytes_s=10_000_000, rtt_s=rtt_s)
    link.turn(10 * rtt_s)
    assert link.courier.under_way >= 10


def test_behind_a_pack_that_the_broker_never_takes_nothing_piles_up() -> None:
    """With confirm = "broker": each further pack is said once, and kept as one range until the hole is filled."""
    courier = Courier(Waiting(), random.Random(1), "broker", 20, 600, 0.0, 0.02)  # type: ignore[arg-type]
    refused, now_s = 3, 0.0
    said: list[int] = []
    for mid in range(1, 500):
        now_s += 60.0
        parcel = courier.next(now_s)
        assert parcel
        courier.sent(mid, parcel, PACK_B, now_s)
        is_hole = parcel.row.id == pack_id(1, "readings", refused)
        courier.puback(mid, not is_hole, now_s)
        for confirm in courier.broker_confirms():
            assert confirm.upto["readings"] <= refused - 1
            said += [first for first, _ in confirm.also["readings"]]
        assert sum(map(len, courier._beyond.values())) <= 1
    assert said == list(range(refused + 1, max(said) + 1)) and len(said) > 200
    courier.sent(1000, Parcel(Waiting().one(1, "readings", refused), backlog=True), PACK_B, now_s)
    courier.puback(1000, True, now_s)
    assert courier.broker_confirms()[0].upto == {"readings": max(said)}
