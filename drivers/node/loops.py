"""What stays, and what is only a bounce: levels that must hold before they count; supervised loops on the ADC."""

from drivers.node_settings import HYSTERESIS

SHORT, NORMAL, ALARM, CUT = range(4)  # as drivers/kinds.py names them: LOOP_STATES
FULL = 65535  # of ADC.read_u16


class Held:
    """A level that counts once the input has been away from the old one for hold_ms without a break.

    level: None before the first. What the input shows when that time is over counts, so that an input which wavers
    between two wrong levels is not taken for a good one.
    """

    def __init__(self, hold_ms):
        self.level = None
        self.hold_ms = hold_ms
        self._left_ms = None

    def update(self, level, now_ms):
        """Whether `self.level` has just changed. now_ms: never goes back or wraps."""
        if level == self.level:
            self._left_ms = None
            return False
        if self._left_ms is None:
            self._left_ms = now_ms
        if now_ms - self._left_ms < self.hold_ms:
            return False
        self.level = level
        self._left_ms = None
        return True


class Loop:
    """2.2 kOhm in series with the contact, 8.2 kOhm across it, 10 kOhm to the supply. read: () -> 0 to 65535.

    short_below, alarm_above, cut_above: thousandths of the supply. A state is left half of HYSTERESIS beyond them.
    """

    def __init__(self, read, short_below, alarm_above, cut_above, hold_ms):
        self._read = read
        self._bounds = (
            short_below * FULL // 1000,
            alarm_above * FULL // 1000,
            cut_above * FULL // 1000,
        )
        self._slack = HYSTERESIS * FULL // 2000
        self._held = Held(hold_ms)

    @property
    def state(self):
        """SHORT, NORMAL, ALARM or CUT; None before the first has held."""
        return self._held.level

    def sample(self, now_ms):
        """Whether the state has just changed."""
        return self._held.update(self._state_of(self._read()), now_ms)

    def _state_of(self, raw):
        state, slack = self._held.level, self._slack
        if state is None:
            state, slack = NORMAL, 0
        while state < CUT and raw > self._bounds[state] + slack:
            state += 1
        while state > SHORT and raw < self._bounds[state - 1] - slack:
            state -= 1
        return state
