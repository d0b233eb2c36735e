"""Checks of the firmware, under MicroPython as under CPython: on_node.py PROJECT FOLDER. Says "ok NAME", or why not.

No pytest in here: what a board cannot import is not used. Chance comes from a generator that both have alike.
"""

import os
import sys

if __name__ == "__main__":
    sys.path[0] = sys.argv[1]

from drivers.node import flash, inputs, loops, node
from drivers.node_settings import Settings
from tests import on_node_link
from tests.on_node_link import Dice, digest


class Ticks:
    """time.ticks_* of a board, turned by hand: they wrap after 2^30."""

    PERIOD = 1 << 30

    def __init__(self, now):
        self.now = now

    def ticks_ms(self):
        return self.now % self.PERIOD

    def ticks_diff(self, later, earlier):
        return (later - earlier + self.PERIOD // 2) % self.PERIOD - self.PERIOD // 2


class Switch:
    """A machine.Pin: high until closed."""

    def __init__(self):
        self.closed = False
        self.handler = None

    def value(self):
        return 0 if self.closed else 1

    def irq(self, handler, trigger):
        self.handler = handler


# -- supervised loops ----------------------------------------------------------------------------------------------


def loop_at(raw, hold_ms=200):
    get = Settings("").get
    names = ("short_below", "alarm_above", "cut_above")
    return loops.Loop(lambda: raw[0], *([get("loop", 1, name) for name in names] + [hold_ms]))


def check_the_four_states_of_a_loop_are_read_from_the_resistors_on_the_wall(_folder):
    """2.2 kOhm in series, 8.2 kOhm across, 10 kOhm pull-up; resistors within 5 %, and 100 Ohm of cable."""
    for ohms, state in ((0, 0), (200, 0), (2090, 1), (2200, 1), (2410, 1), (9900, 2), (10400, 2), (11000, 2), (1e9, 3)):
        for pull_up in (9500, 10000, 10500):
            raw = [int(65535 * ohms / (ohms + pull_up))]
            loop = loop_at(raw)
            for now_ms in range(0, 300, 5):
                loop.sample(now_ms)
            assert loop.state == state, (ohms, pull_up, loop.state)


def check_a_loop_changes_once_it_has_held_and_never_before(_folder):
    raw = [11800]
    loop = loop_at(raw)
    assert [now_ms for now_ms in range(0, 500, 5) if loop.sample(now_ms)] == [200]
    raw[0] = 33400
    assert [now_ms for now_ms in range(500, 1000, 5) if loop.sample(now_ms)] == [700]
    for now_ms in range(1000, 3000, 5):  # a bounce of 195 ms, again and again, is none of our business
        raw[0] = 11800 if now_ms % 200 else 33400
        assert not loop.sample(now_ms) and loop.state == loops.ALARM


def check_a_loop_that_wavers_between_two_wrong_states_is_not_taken_for_a_good_one(_folder):
    raw = [11800]
    loop = loop_at(raw)
    for now_ms in range(0, 400, 5):
        loop.sample(now_ms)
    for now_ms in range(400, 700, 5):
        raw[0] = 33400 if now_ms % 10 else 65535
        loop.sample(now_ms)
    assert loop.state in (loops.ALARM, loops.CUT)


def check_noise_of_two_percent_on_a_threshold_changes_nothing(_folder):
    for threshold in (90, 344, 755):
        middle = threshold * 65535 // 1000
        raw = [middle - 1]
        loop = loop_at(raw, hold_ms=10)
        dice = Dice(threshold)
        for now_ms in range(0, 100, 5):
            loop.sample(now_ms)
        before = loop.state
        for now_ms in range(100, 5000, 5):
            raw[0] = middle + dice.below(2 * 1310) - 1310
            assert not loop.sample(now_ms) and loop.state == before


# -- contacts, meters, pads ----------------------------------------------------------------------------------------


def check_a_contact_counts_after_its_hold_time_and_in_both_wirings(_folder):
    for closed_is in (0, 1):
        switch = Switch()
        contact = inputs.Contact(switch, 50, closed_is)
        for now_ms in range(0, 100, 5):
            contact.sample(now_ms)
        assert contact.state == 1 - closed_is
        switch.closed = True
        assert [now_ms for now_ms in range(100, 300, 5) if contact.sample(now_ms)] == [150]
        assert contact.state == closed_is


def check_pulses_are_counted_without_their_bounces_over_the_wrap_of_the_counter(_folder):
    ticks = Ticks(Ticks.PERIOD - 5000)
    inputs.time, kept = ticks, inputs.time
    try:
        switch = Switch()
        pulses = inputs.Pulses(switch, 4, 3)
        for _ in range(100):
            for after in (0, 1, 1):  # the edge and two bounces
                ticks.now += after
                switch.handler(switch)
            ticks.now += 98
        assert pulses.count == 100
    finally:
        inputs.time = kept


def check_a_flow_is_the_mean_of_its_window_and_its_end_is_told_once(_folder):
    class Count:
        count = 0

    flow = inputs.Flow(Count, 2222, 1000, 0)
    assert not flow.sample(999)
    assert flow.sample(1000) and flow.m3_s == 0.0  # the first one tells that there is none
    Count.count += 45
    assert flow.sample(2000) and abs(flow.m3_s - 45 * 2.222e-6) < 1e-12
    Count.count += 45
    assert flow.sample(4000) and abs(flow.m3_s - 22.5 * 2.222e-6) < 1e-12
    assert flow.sample(5000) and flow.m3_s == 0.0
    assert not flow.sample(6000) and not flow.sample(7000)


def check_a_pad_tells_the_grade_or_that_nobody_rated(_folder):
    pins = [Switch() for _ in range(6)]
    buttons = [inputs.Contact(pin, 50) for pin in pins]
    pad = inputs.Pad(buttons[:5], buttons[5], 30000)
    told = []

    def until(end_ms, pressed=None):
        for index, pin in enumerate(pins):
            pin.closed = index == pressed
        while told_ms[0] < end_ms:
            told_ms[0] += 5
            grade = pad.sample(told_ms[0])
            if grade is not None:
                told.append((grade, told_ms[0]))

    told_ms = [0]
    until(1000)
    until(1200, 5)  # the clerk asks
    until(5000)
    until(5200, 3)  # four
    until(5400)
    until(5600, 0)  # the same finger again: within two seconds that is nobody else
    until(40000)
    assert [grade for grade, _ in told] == [4], told
    until(40200, 5)
    until(80000)
    assert [grade for grade, _ in told] == [4, inputs.NOT_RATED] and 70000 <= told[1][1] <= 70100, told
    until(80200, 0)  # rated without being asked
    assert told[2][0] == 1


def check_uptime_goes_on_over_the_wrap_of_the_ticks(_folder):
    ticks = Ticks(Ticks.PERIOD - 1500)
    node.time, kept = ticks, node.time
    try:
        uptime = node.Uptime()
        before = uptime.ms()
        for day in range(60):
            ticks.now += 86400000
            after = uptime.ms()
            assert after - before == 86400000, day
            before = after
    finally:
        node.time = kept


# -- flash ---------------------------------------------------------------------------------------------------------


def write_file(path, data):
    with open(path, "wb") as file:
        file.write(data)


def read_file(path):
    with open(path, "rb") as file:
        return file.read()


def check_a_boot_number_serves_one_start_wherever_its_write_is_cut(folder):
    slots = flash.TwoSlots(folder, "boot")
    used = [flash.next_boot(slots) for _ in range(3)]
    assert used == [used[0], used[0] + 1, used[0] + 2]
    before = [read_file(f"{folder}/boot.{slot}") for slot in (0, 1)]
    assert flash.next_boot(slots) == used[-1] + 1
    after = [read_file(f"{folder}/boot.{slot}") for slot in (0, 1)]
    written = 0 if after[0] != before[0] else 1
    assert after[1 - written] == before[1 - written]
    whole = after[written]
    for cut in range(len(whole) + 1):
        for rest in (b"", before[written][cut:], b"\xff" * (len(whole) - cut)):
            write_file(f"{folder}/boot.{written}", whole[:cut] + rest)
            write_file(f"{folder}/boot.{1 - written}", before[1 - written])
            boot = flash.next_boot(slots)
            # Cut before its end, the start that was writing never had a number.
            expected = used[-1] + (2 if whole[:cut] + rest == whole else 1)
            assert boot == expected, (cut, boot, expected)
            assert flash.next_boot(slots) == boot + 1


def check_a_flash_without_a_number_or_a_place_for_one_draws_it(folder):
    drawn = set()
    for turn in range(20):
        for slot in (0, 1):
            write_file(f"{folder}/boot.{slot}", b"\xff" * turn)
        drawn.add(flash.next_boot(flash.TwoSlots(folder, "boot")))
        drawn.add(flash.next_boot(flash.TwoSlots(folder + "/not-there", "boot")))
    assert len(drawn) == 40 and all(1 <= boot <= 0x80000000 for boot in drawn)


def checks():
    here = (globals(), on_node_link.__dict__)
    return {name: found for names in here for name, found in names.items() if name.startswith("check_")}


def clean(folder):
    for name in os.listdir(folder):
        if ".0" in name or ".1" in name:
            os.remove(folder + "/" + name)


if __name__ == "__main__":
    for name, check in checks().items():
        try:
            clean(sys.argv[2])
            check(sys.argv[2])
            print("ok", name)
        except Exception as error:  # noqa: BLE001  the next check goes on
            print("BAD", name, repr(error))
    print("digest", digest())
