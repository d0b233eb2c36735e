"""How samples and minutes lie in the store: what goes in comes out, and a sample costs a few bytes."""

import math
import random
import zlib

import msgspec
import pytest

from gateway import minutes, samples
from gateway.packs import Column


def column(sensor: str, unit: str, monos: list[float], values: list) -> Column:
    made = Column(sensor, unit, "", 0)
    made.monos, made.values = monos, values
    return made


@pytest.mark.parametrize("seed", range(20))
def test_a_group_of_samples_opens_to_what_it_was(seed):
    dice = random.Random(seed)
    polls = [[1000.0 + i + round(dice.uniform(0, 0.01), 3) for i in range(dice.randint(1, 40))] for _ in range(3)]
    makers = {
        "Pa": lambda: round(dice.uniform(-1e5, 1e5), 1),
        "Pa/3": lambda: dice.uniform(-1e5, 1e5) / 3,
        "m3": lambda: dice.uniform(0, 1e9),
        "": lambda: dice.choice([True, False, "alarm", "cut"]),
    }
    columns = []
    for number in sorted(dice.sample(range(1, 500), 30)):
        unit, monos = dice.choice(list(makers)), dice.choice(polls)
        columns.append((number, column(f"s{number}", unit, monos, [makers[unit]() for _ in monos])))
        if dice.random() < 0.2:
            columns[-1][1].odd.append((dice.randrange(len(monos)), "range"))
    found = list(samples.decode(samples.encode(columns)))
    assert [number for number, _ in found] == [number for number, _ in columns], f"seed {seed}"
    for (_, had), (_, got) in zip(columns, found, strict=True):
        assert got.monos == pytest.approx(had.monos, abs=0.0006)
        assert got.odd == had.odd
        exact = had.unit != "Pa/3"
        assert got.values == (had.values if exact else pytest.approx(had.values, rel=6e-7)), f"seed {seed}"


@pytest.mark.parametrize("values", [[math.inf, 1.0], [math.nan], [1e300, -1e300], [0.0, -0.0, 5e-324]])
def test_numbers_that_are_none_or_too_large_are_kept_too(values):
    ((_, got),) = samples.decode(samples.encode([(1, column("s", "Pa", [1.0] * len(values), values))]))
    assert got.values == pytest.approx(values, nan_ok=True)


@pytest.mark.parametrize("body", [b"", b"\x93\xc4\x00\xc0\xc0", b"x" * 40, b"\x90"])
def test_bodies_that_are_none_of_ours_are_told_apart(body):
    with pytest.raises(ValueError, match="cannot be opened"):
        list(samples.decode(body))
    with pytest.raises(ValueError, match="cannot be opened"):
        minutes.decode(body, lambda no: ("s", ""))


def test_litres_a_minute_come_back_from_their_steps_to_the_last_bits_of_a_double():
    values = [count / 10 / 60_000 for count in (0, 7, 123, 4567)]
    ((_, got),) = samples.decode(samples.encode([(1, column("s", "m3/s", [1.0, 2.0, 3.0, 4.0], values))]))
    assert got.values == pytest.approx(values, rel=1e-13)


@pytest.mark.parametrize(("noise", "bytes_max"), [("float", 2.6), ("steps", 1.2)])
def test_a_polled_sample_costs_a_few_bytes(noise, bytes_max):
    """200 sensors of 20 meters at 1 Hz for 30 s: floating point with noise of 0.1 %, or 40 steps of a converter."""
    dice = random.Random(3)
    make = {"float": lambda: 3e5 * dice.gauss(1, 0.001) / 3.6, "steps": lambda: dice.randint(12_000, 12_040) * 1e-6}
    columns = []
    for number in range(200):
        if number % 10 == 0:
            monos = [1000.0 + i + round(dice.uniform(0, 0.02), 3) for i in range(30)]
        columns.append((number, column(f"s{number}", "Pa", monos, [make[noise]() for _ in monos])))
    assert len(samples.encode(columns)) / 6000 < bytes_max


@pytest.mark.parametrize("seed", range(30))
def test_a_body_with_a_part_missing_or_cut_is_told_apart_and_breaks_nothing(seed):
    dice = random.Random(seed)
    body = samples.encode([(1, column("a", "Pa", [1.0, 2.0], [0.5, 1 / 3])), (2, column("b", "", [1.0], [True]))])
    packed, *parts = msgspec.msgpack.decode(body)
    parts[dice.randrange(3)] = dice.choice([[], parts[0][:1], [parts[0][0]] * 4, [zlib.compress(b"")] * 8])
    try:
        samples.decode(msgspec.msgpack.encode([packed, *parts]))
    except ValueError as error:
        assert "cannot be opened" in str(error), f"seed {seed}"
