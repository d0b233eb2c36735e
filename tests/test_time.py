"""Honest time: nights in which nothing fails but the clock. By the end every stamp is true, and none was ever made up.

What `Night` itself asks all the time: order, differences, no negative wait, every stamp within 1 s of the truth once
the time of its boot is known.
"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from simulator.night import Night, Place
from simulator.night_faults import Deed, Plan
from simulator.night_ground import EPOCH_S
from simulator.nights import theatre

HOUR_S = 3600.0


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with theatre() as found:
        yield found


def night(place: Place, first: Deed, *deeds: tuple[float, Deed], faulty_s: float = 100.0) -> Night:
    """One that went well."""
    folder = Path(tempfile.mkdtemp(dir=place.template.parent))
    played = Night(3, place, folder, faulty_s, partial(Plan, first=first, deeds=deeds))
    outcome = played.run()
    assert outcome.problems == []
    assert outcome.facts > 100
    return played


def unsure(wall_error_s: float) -> Deed:
    def so(night: Night) -> None:
        night.clock.synced, night.clock.wall_error_s = False, wall_error_s

    return so


def believed(wall_error_s: float) -> Deed:
    def so(night: Night) -> None:
        night.clock.synced, night.clock.wall_error_s = True, wall_error_s

    return so


def reboot(wall_error_s: float) -> Deed:
    """A power cut of some seconds, and no battery behind the clock."""

    def so(night: Night) -> None:
        night.cut_power()
        unsure(wall_error_s)(night)
        night.loop.call_later(5.0, night.power_on)

    return so


def walls(night: Night, boot: int) -> list[float | None]:
    """What the readings of this boot say by themselves, as an error in seconds; None where they name no time."""
    return [
        None if found.wall_s is None else found.wall_s - EPOCH_S - night.truths[found.src].true_s
        for pack in night.holdings.ledger.packs.values()
        for found in pack.facts
        if found.boot == boot and found.sensor
    ]


def told(night: Night, boot: int) -> list[float]:
    """How far off each word about this boot's clock was, in the order in which it was said."""
    return [
        wall_s - mono_s - EPOCH_S - night.boots[boot]
        for _, pack in sorted(night.holdings.ledger.packs.items(), key=lambda item: item[0][2])
        for of, mono_s, wall_s in pack.synced
        if of == boot
    ]


@pytest.mark.parametrize(
    "wall_error_s",
    [pytest.param(-EPOCH_S, id="boot in 1970"), pytest.param(-2 * HOUR_S, id="plausible and late by the outage")],
)
def test_nothing_is_stamped_before_the_time_is_known_and_all_of_it_after(place: Place, wall_error_s: float) -> None:
    played = night(place, unsure(wall_error_s), (60.0, believed(0.0)))
    errors = walls(played, 1)
    before = errors.count(None)
    assert before > 50
    assert len(errors) - before > 50
    assert max(abs(error) for error in errors if error is not None) < 0.1
    assert len(told(played, 1)) == 1
    assert abs(told(played, 1)[0]) < 0.1


@pytest.mark.parametrize("step_h", [5, -5])
def test_a_step_of_a_believed_clock_corrects_what_was_stamped_before_it(place: Place, step_h: int) -> None:
    """The kernel called it disciplined while it was hours off, and so are the stamps until the word that mends them."""
    played = night(place, believed(-step_h * HOUR_S), (180.0, believed(0.0)), faulty_s=240.0)
    errors = [error for error in walls(played, 1) if error is not None]
    assert {round(error / HOUR_S) for error in errors} == {-step_h, 0}
    assert max(min(abs(error), abs(error + step_h * HOUR_S)) for error in errors) < 0.1
    assert [round(error / HOUR_S) for error in told(played, 1)] == [-step_h, 0]


def test_two_boots_that_never_knew_the_time_name_none_and_the_third_that_does_is_true(place: Place) -> None:
    played = night(
        place, unsure(-HOUR_S), (40.0, reboot(-EPOCH_S)), (80.0, reboot(-2 * HOUR_S)), (110.0, believed(0.0)),
        faulty_s=150.0,
    )  # fmt: skip
    assert sorted(played.boots) == [1, 2, 3]
    assert set(walls(played, 1)) == set(walls(played, 2)) == {None}
    assert told(played, 1) == told(played, 2) == []
    assert len(told(played, 3)) == 1
    assert max(abs(error) for error in walls(played, 3) if error is not None) < 0.1
