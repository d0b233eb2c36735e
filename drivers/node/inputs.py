"""Contacts, buttons, pulse meters and rating pads of a node. Pins are machine.Pin: value() and irq()."""

import time

from drivers.node.loops import Held

NOT_RATED = 0
QUIET_MS = 2000  # after a rating: the same finger once more is not another person


class Contact:
    """A contact to ground with a pull-up: closed reads low. closed_is: 1 when it is normally open, 0 when closed."""

    def __init__(self, pin, hold_ms, closed_is=1):
        self._pin = pin
        self._closed_is = closed_is
        self._held = Held(hold_ms)

    @property
    def state(self):
        """1 active, 0 idle, None before the first has held."""
        return self._held.level

    def sample(self, now_ms):
        """Whether the state has just changed."""
        return self._held.update(self._closed_is if not self._pin.value() else 1 - self._closed_is, now_ms)


class Pulses:
    """Counts falling edges in the interrupt; those within debounce_ms of the one before are bounces."""

    def __init__(self, pin, irq_falling, debounce_ms):
        self.count = 0
        self._debounce_ms = debounce_ms
        self._last = None
        pin.irq(handler=self._edge, trigger=irq_falling)

    def _edge(self, _pin):
        now = time.ticks_ms()
        if self._last is None or time.ticks_diff(now, self._last) >= self._debounce_ms:
            self.count += 1
        self._last = now


class Flow:
    """A pulse meter's mean flow over each window of every_ms. pulse_ul: microlitres of one pulse."""

    def __init__(self, pulses, pulse_ul, every_ms, now_ms):
        self.m3_s = None
        self._pulses = pulses
        self._m3 = pulse_ul * 1e-9
        self._every_ms = every_ms
        self._since_ms = now_ms
        self._counted = pulses.count

    def sample(self, now_ms):
        """Whether there is something to tell: water ran in the window that has just ended, or has just stopped."""
        passed_ms = now_ms - self._since_ms
        if passed_ms < self._every_ms:
            return False
        count = self._pulses.count
        before, self.m3_s = self.m3_s, (count - self._counted) * self._m3 * 1000 / passed_ms
        self._since_ms, self._counted = now_ms, count
        return self.m3_s > 0 or before != self.m3_s


class Pad:
    """Five grade buttons, worst first, and the clerk's button that asks for a grade. All contacts of their own.

    A grade counts with or without being asked for; who was asked and presses nothing within wait_ms has not rated.
    """

    def __init__(self, grades, ask, wait_ms):
        self._grades = grades
        self._ask = ask
        self._wait_ms = wait_ms
        self._asked_ms = None
        self._rated_ms = None

    def sample(self, now_ms):
        """1 to 5, NOT_RATED when the time is over, None when there is nothing to tell."""
        pressed = None
        for grade, button in enumerate(self._grades, 1):
            if button.sample(now_ms) and button.state and pressed is None:
                pressed = grade
        if self._ask.sample(now_ms) and self._ask.state:
            self._asked_ms = now_ms
        if pressed is not None:
            if self._rated_ms is not None and now_ms - self._rated_ms < QUIET_MS:
                return None
            self._asked_ms, self._rated_ms = None, now_ms
            return pressed
        if self._asked_ms is not None and now_ms - self._asked_ms >= self._wait_ms:
            self._asked_ms = None
            return NOT_RATED
        return None
