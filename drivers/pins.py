"""Digital in, digital out, edges; the only file that imports gpiozero.

gpiozero only moves levels here: debounce and safe states are our own, because its software debounce drops edges and its
mock ignores it.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivers.reading import DriverError

Edge = Callable[[int, bool, float], None]

SOCKET_FACTORY = "linli-socket"  # entry point group gpiozero_pin_factories
REAL_FACTORY = "lgpio"
STAMP_AGE_MAX_S = 1.0  # an edge older than this was not stamped by the clock we think


class PinError(DriverError, OSError):
    """A pin that cannot be had or driven."""


class DigitalIn:
    """One input with a pull-up. level: True = high."""

    def __init__(self, gpio: int, factory: Any, mono_s: Callable[[], float]) -> None:
        self.gpio = gpio
        self._factory = factory
        self._mono_s = mono_s
        self._on_edge: Edge | None = None
        self._pin = factory.pin(gpio)
        self._pin.input_with_pull("up")
        self._pin.bounce = None
        self._pin.edges = "both"

    def when_edge(self, on_edge: Edge) -> None:
        """on_edge(gpio, level, mono_s) is called in gpiozero's thread and must only queue."""
        self._on_edge = on_edge
        self._pin.when_changed = self._changed  # gpiozero holds it weakly: a bound method of ours lives long enough

    def _changed(self, ticks: Any, state: int) -> None:
        """ticks: when the kernel saw the edge, on the factory's clock; this thread may come to it much later."""
        now_s = self._mono_s()
        age_s = self._factory.ticks_diff(self._factory.ticks(), ticks)
        if not 0.0 <= age_s <= STAMP_AGE_MAX_S:
            age_s = 0.0
        if self._on_edge:
            self._on_edge(self.gpio, bool(state), now_s - age_s)

    @property
    def level(self) -> bool:
        return bool(self._pin.state)

    @property
    def known(self) -> bool:
        """Whether the level means anything yet; only a simulated pin may not know."""
        level_known = getattr(self._factory, "level_known", None)
        return level_known is None or bool(level_known(self.gpio))

    def close(self) -> None:
        self._pin.when_changed = None
        self._pin.close()


class DigitalOut:
    """One output. Nothing is done to it before the first `drive`."""

    def __init__(self, gpio: int, factory: Any, *, active_high: bool) -> None:
        self.gpio = gpio
        self._factory = factory
        self._active_high = active_high
        self._pin: Any = None

    def drive(self, on: bool) -> None:
        """on: energised. Raises PinError."""
        level = on == self._active_high
        try:
            if self._pin is None:
                # lgpio makes it a low output first and sets the level some microseconds later; no relay follows that.
                pin = self._factory.pin(self.gpio)
                pin.output_with_state(level)
                self._pin = pin
            else:
                self._pin.state = level
        except Exception as error:
            raise PinError(
                f"gpio:{self.gpio}: found an output that refused to go {'on' if on else 'off'} ({error}), expected it "
                "to follow; see that no other program uses this pin"
            ) from error

    def close(self) -> None:
        """The level stays: what an output is left as was decided before."""


class Pins:
    """The pins of this box. factory: a gpiozero pin factory. mono_s: seconds on this boot's clock."""

    def __init__(self, factory: Any, mono_s: Callable[[], float]) -> None:
        self._factory = factory
        self._mono_s = mono_s

    def input(self, gpio: int) -> DigitalIn:
        """Raises PinError when there is no such pin, or it is taken."""
        try:
            return DigitalIn(gpio, self._factory, self._mono_s)
        except Exception as error:
            raise PinError(
                f"gpio:{gpio}: found no input to be had ({error}), expected a free pin; see its number (BCM, not the "
                "header's) and that no other program uses it"
            ) from error

    def output(self, gpio: int, active: str) -> DigitalOut:
        """active: "high" or "low"."""
        return DigitalOut(gpio, self._factory, active_high=active == "high")


NO_PINS = Pins(None, lambda: 0.0)  # of a box that has nothing wired to any


def open_pins(socket: Path | None, mono_s: Callable[[], float]) -> Pins:
    """The box's own pins, or those that a simulator serves on `socket`. Raises DriverError.

    GPIOZERO_PIN_FACTORY may name another library than lgpio for the box's own.
    """
    from gpiozero import Device

    if socket:
        os.environ["GPIOZERO_PIN_FACTORY"] = SOCKET_FACTORY
        os.environ["LINLI_PINS"] = str(socket)
    else:
        # Else gpiozero would try one library after the other, down to one that misses edges.
        os.environ.setdefault("GPIOZERO_PIN_FACTORY", REAL_FACTORY)
    try:
        Device.ensure_pin_factory()
    except Exception as error:  # each GPIO library has errors of its own
        raise DriverError(
            f"pins: found no GPIO here ({error}), expected a Raspberry Pi with lgpio; "
            "install lgpio, add the user to the group gpio, or start with --links for simulated pins"
        ) from error
    # Taken out of gpiozero's hands: at exit it would turn every output into an input, and a valve would move.
    factory, Device.pin_factory = Device.pin_factory, None
    return Pins(factory, mono_s)
