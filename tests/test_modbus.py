"""The Modbus master on a line at real byte times: good units, dead ones, noise, echo, late answers, outputs."""

import random
from itertools import pairwise

import msgspec
import pytest

from drivers.modbus import Master, Timing, crc, read_frame, write_frame
from drivers.modbus_unit import SETTINGS_EVERY_S, Unit
from drivers.reading import FAULT, GOOD, Event, Fact, Reading
from gateway.contract_catalogue import SettingsChanged
from tests.modbus_rig import IO, LINE, TUF, Line, Slave, noisy, put, tuf, tuf_image


def readings(facts: list[Fact], point: str) -> list[Reading]:
    return [fact for fact in facts if isinstance(fact, Reading) and fact.point == point]


def periods(facts: list[Fact], point: str) -> list[float]:
    times = [reading.mono_s for reading in readings(facts, point)]
    return [b - a for a, b in pairwise(times)]


def test_the_frames_are_those_of_the_specification() -> None:
    assert read_frame(1, "holding", 0, 10) == bytes.fromhex("0103 0000 000A C5CD")  # from the meter's own manual
    assert read_frame(17, "input", 8, 1)[:6] == bytes.fromhex("1104 0008 0001")
    assert write_frame(1, IO.point["do1"], 0, True)[:6] == bytes.fromhex("0105 0000 FF00")


def test_no_frame_is_ever_a_broadcast() -> None:
    with pytest.raises(ValueError, match="expected 1 to 247"):
        read_frame(0, "holding", 0, 1)
    with pytest.raises(ValueError, match="expected an output at 1 to 247"):
        write_frame(0, IO.point["do1"], 0, True)


def test_what_is_no_output_of_the_device_file_is_never_written() -> None:
    with pytest.raises(ValueError, match="expected an output"):
        write_frame(1, TUF.point["total"], 8, True)
    with pytest.raises(KeyError):
        tuf("meter", 1).want("flow", True)


def test_a_meter_is_read_at_its_period_in_si_units() -> None:
    line = Line([tuf("meter", 1)], [Slave(1, tuf_image())])
    facts = line.run(10.2)
    flows = readings(facts, "meter:flow")
    assert len(flows) == 11
    assert flows[0].value == pytest.approx(0.001)
    assert readings(facts, "meter:total")[0].value == 1234.5
    assert {reading.quality for reading in flows} == {GOOD}
    assert periods(facts, "meter:flow") == pytest.approx([1.0] * 10, abs=0.06)


def test_the_line_is_quiet_for_three_and_a_half_characters_between_frames() -> None:
    slaves = [Slave(address, tuf_image(), after_s=0.0) for address in (1, 2)]
    line = Line([tuf("a", 1, 0.1), tuf("b", 2, 0.1)], slaves)
    line.run(3)
    ends = [at_s + (8 + 5 + 2 * (int.from_bytes(frame[4:6], "big"))) * line.timing.char_s for at_s, frame in line.sent]
    silences = [(at_s - end_s) / line.timing.char_s for end_s, (at_s, _) in zip(ends, line.sent[1:], strict=False)]
    assert min(silences) >= 3.49
    assert Timing.of("115200 8N1", 300).gap_s == 0.00175


@pytest.mark.parametrize("speed", ["300 8N1", "1200 8E1", "19200 8N1", "115200 8N1"])
def test_a_slow_line_is_not_taken_for_a_broken_answer(speed: str) -> None:
    """Each character comes by itself, as on a port without a buffer."""
    timing = Timing.of(speed, 300)
    unit, slave = tuf("meter", 1), Slave(1, tuf_image())
    master, now_s = Master([unit], timing, 0.0), 1.0
    for _ in range(2):
        while not (frame := master.next(now_s)):
            now_s += 0.001
        now_s += len(frame) * timing.char_s + 0.005
        for byte in slave.answer(frame):
            now_s += timing.char_s
            master.tick(now_s)
            master.feed(bytes([byte]), now_s)
    assert (unit.counts.good, unit.counts.bad, unit.counts.silent) == (2, 0, 0)


def test_a_silent_unit_is_offline_after_three_tries_and_then_asked_ever_more_rarely() -> None:
    dead = Slave(2, tuf_image(), dead=True)
    units = [tuf("meter", 1), tuf("gone", 2)]
    line = Line(units, [Slave(1, tuf_image()), dead])
    line.run(1.9)
    assert units[1].offline and len(dead.asked) == 3
    line.run(600)
    assert 8 <= len(dead.asked) - 3 <= 20
    assert max(periods(line.facts, "meter:flow")) < 1.4


def test_a_unit_that_returns_is_read_again_and_its_settings_are_looked_at() -> None:
    slave = Slave(1, tuf_image(), dead=True)
    line = Line([unit := tuf("meter", 1)], [slave])
    line.run(30)
    slave.dead = False
    put(TUF, slave.image, total_unit=2)
    line.run(65)
    assert not unit.offline
    assert unit.wrong == {"total_unit": (2, 0)}


def test_dead_and_noisy_units_leave_the_others_their_period_even_on_a_full_line() -> None:
    """Asked for more than it can carry, the line shows what the dead take: beside it, the same line without them."""

    def median_period(bad: bool) -> float:
        slaves = [Slave(address, tuf_image()) for address in range(1 if bad else 4, 17)]
        if bad:
            for slave in slaves[:3]:
                slave.dead = True
            slaves[3].spoil = noisy(random.Random(7), 0.3)
        line = Line([tuf(f"m{s.address}", s.address, 0.2) for s in slaves], slaves)
        line.run(60)  # the first minute finds out who is there
        found = sorted(periods(line.run(120), "m9:flow"))
        return found[len(found) // 2]

    assert median_period(bad=True) <= 1.1 * median_period(bad=False)


def test_a_broken_answer_is_asked_for_again_and_counted() -> None:
    slave = Slave(1, tuf_image(), noisy(random.Random(3), 0.2))
    line = Line([unit := tuf("meter", 1)], [slave])
    facts = line.run(300)
    assert unit.counts.bad > 20 and not unit.offline
    assert len(readings(facts, "meter:flow")) > 270
    assert {reading.value for reading in readings(facts, "meter:total")} == {1234.5}


def test_a_late_answer_never_passes_for_one_to_another_question() -> None:
    """Two reads of equal length, and a unit that now and then answers the first while the second is awaited."""
    dice = random.Random(5)
    image = tuf_image()
    put(TUF, image, temperature=21.0, velocity=0.5)
    slave = Slave(1, image)
    unit = Unit("m", 1, TUF, ["temperature", "velocity"], 0.3)
    line = Line([unit, tuf("other", 2)], [slave, Slave(2, tuf_image())])
    for _ in range(400):
        slave.after_s = dice.choice([0.005, 0.005, 0.31, 0.5, 0.8])
        line.run(0.5)
    assert unit.counts.late > 0
    temperatures, velocities = readings(line.facts, "m:temperature"), readings(line.facts, "m:velocity")
    assert len(temperatures) > 30 and len(velocities) > 30
    assert {r.value for r in temperatures} == {21.0}
    assert {r.value for r in velocities} == {0.5}


def test_an_adapter_that_hears_itself_is_understood_and_counted() -> None:
    line = Line([tuf("meter", 1)], [Slave(1, tuf_image())])
    line.echo = True
    facts = line.run(5)
    assert len(readings(facts, "meter:flow")) >= 5
    assert line.master.echoes >= 5


def test_two_units_at_one_address_are_counted_as_doubled_answers() -> None:
    slaves = [Slave(1, tuf_image()), Slave(1, tuf_image(7.2), after_s=0.02)]
    line = Line([unit := tuf("meter", 1)], slaves)
    line.run(20)
    assert unit.counts.doubled > 5


def test_swapped_wires_give_bytes_and_not_one_frame() -> None:
    slave = Slave(1, tuf_image(), lambda frame: bytes(byte ^ 0xFF for byte in frame))
    line = Line([unit := tuf("meter", 1)], [slave])
    assert readings(line.run(30), "meter:flow") == []
    assert line.master.frames_bad > 3 and line.master.frames_good == 0
    assert unit.counts.good == 0


def test_registers_a_unit_does_not_have_are_faults_and_it_is_not_silent() -> None:
    line = Line([unit := tuf("meter", 1)], [Slave(1, {})])
    facts = line.run(5)
    assert {reading.quality for reading in readings(facts, "meter:flow")} == {FAULT}
    assert unit.refused.startswith("holding ") and not unit.offline


def test_a_changed_setting_is_an_event_once_and_its_values_are_faults() -> None:
    slave = Slave(1, tuf_image())
    line = Line([unit := tuf("meter", 1, poll_s=30.0)], [slave])
    line.run(5)
    put(TUF, slave.image, total_unit=3)
    line.run(SETTINGS_EVERY_S + 60)
    events = [fact for fact in line.facts if isinstance(fact, Event)]
    assert [(e.type, e.data["setting"], e.data["value"], e.data["expected"]) for e in events] == [
        ("settings.changed", "total_unit", 3, 0)
    ]
    msgspec.convert(events[0].data, SettingsChanged)  # the city's contract
    assert readings(line.facts, "meter:flow")[-1].quality == FAULT
    put(TUF, slave.image, total_unit=0)
    line.run(SETTINGS_EVERY_S + 60)
    assert not unit.wrong
    assert readings(line.facts, "meter:flow")[-1].quality == GOOD


def test_a_meter_that_says_it_cannot_measure_gives_faults_until_it_can() -> None:
    slave = Slave(1, tuf_image(0.0))
    line = Line([tuf("meter", 1, names=("flow", "error"))], [slave])
    assert {r.quality for r in readings(line.run(3), "meter:flow")} == {GOOD}
    put(TUF, slave.image, error=1)
    line.run(1.5)
    facts = line.run(3)
    assert {r.quality for r in readings(facts, "meter:flow")} == {FAULT}
    assert {(r.value, r.quality) for r in readings(facts, "meter:error")} == {("no transducer", GOOD)}
    put(TUF, slave.image, error=0)
    line.run(1.5)
    assert {r.quality for r in readings(line.run(3), "meter:flow")} == {GOOD}


def io_line(**more: float) -> tuple[Line, Slave, Unit]:
    image = {(area, at): 0 for area in ("coil", "discrete") for at in range(8)}
    unit = Unit("io1", 1, IO, ["di1"], 0.5, outputs=["do1"])
    slave = Slave(1, image)
    return Line([unit], [slave]), slave, unit


def test_an_output_is_written_before_the_next_read_and_read_back() -> None:
    line, slave, unit = io_line()
    line.run(3)
    before = len(line.sent)
    unit.want("do1", True)
    line.run(0.2)
    assert line.sent[before][1][1] == 5
    assert slave.image["coil", 0] == 1 and unit.pending() is None


def test_an_output_that_somebody_else_switched_is_put_right() -> None:
    line, slave, unit = io_line()
    unit.want("do1", True)
    line.run(2)
    slave.image["coil", 0] = 0
    line.run(2)
    assert slave.image["coil", 0] == 1 and unit.counts.rewritten == 1


def test_a_relay_module_that_lost_its_power_gets_its_outputs_again() -> None:
    line, slave, unit = io_line()
    unit.want("do1", True)
    line.run(2)
    slave.dead = True
    slave.image["coil", 0] = 0
    line.run(5)
    assert unit.offline
    slave.dead = False
    line.run(61)
    assert slave.image["coil", 0] == 1


def test_of_many_wishes_for_a_silent_unit_the_newest_is_written() -> None:
    line, slave, unit = io_line()
    slave.dead = True
    line.run(10)
    for on in (True, False, True):
        unit.want("do1", on)
        line.run(1)
    slave.dead = False
    line.run(61)
    assert slave.image["coil", 0] == 1
    assert sum(frame[1] == 5 for _, frame in line.sent) < 12


def test_a_contact_is_urgent_only_when_it_changed() -> None:
    line, slave, _ = io_line()
    line.run(3)
    slave.image["discrete", 0] = 1
    found = readings(line.run(3), "io1:di1")
    assert next(reading.urgent for reading in found if reading.value is True)
    assert sum(reading.urgent for reading in found) == 1


def test_a_master_survives_any_bytes() -> None:
    dice = random.Random(11)
    master = Master([tuf("meter", 1), tuf("b", 2)], Timing.of(LINE, 300), 0.0)
    now_s = 0.0
    for _ in range(8_000):
        now_s += dice.uniform(0, 0.05)
        master.next(now_s)
        data = dice.randbytes(dice.randrange(40))
        if dice.random() < 0.3:
            body = bytes([dice.choice([1, 2, 3]), dice.choice([3, 0x83, 4, 5]), dice.randrange(20)]) + data
            data = body + crc(body)
        master.feed(data, now_s)
        master.tick(now_s)
        assert master.due_s(now_s) >= 0
