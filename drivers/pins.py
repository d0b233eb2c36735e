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

FACTORY = "linli-socket"  # entry point group gpiozero_pin_factories


class DigitalIn:
    """One input with a pull-up. level: True = high."""

    def __init__(self, gpio: int, factory: Any, mono_s: Callable[[], float]) -> None:
        self.gpio = gpio
        self._known = getattr(factory, "level_known", None)
        self._mono_s = mono_s
        self._on_edge: Edge | None = None
        self._pin = factory.pin(gpio)
        self._pin.function = "input"
        self._pin.pull = "up"
        self._pin.bounce = None
        self._pin.edges = "both"

    def when_edge(self, on_edge: Edge) -> None:
        """on_edge(gpio, level, mono_s) is called in gpiozero's thread and must only queue."""
        self._on_edge = on_edge
        self._pin.when_changed = self._changed  # gpiozero holds it weakly: a bound method of ours lives long enough

    def _changed(self, _ticks: object, state: int) -> None:
        if self._on_edge:
            self._on_edge(self.gpio, bool(state), self._mono_s())

    @property
    def level(self) -> bool:
        return bool(self._pin.state)

    @property
    def known(self) -> bool:
        """Whether the level means anything yet; only a simulated pin may not know."""
        return self._known is None or bool(self._known(self.gpio))

    def close(self) -> None:
        self._pin.when_changed = None
        self._pin.close()


class DigitalOut:
    """One output. Its level is not touched before the first `drive`."""

    def __init__(self, gpio: int, factory: Any, *, active_high: bool) -> None:
        self.gpio = gpio
        self._active_high = active_high
        self._pin = factory.pin(gpio)
        self._ready = False

    def drive(self, on: bool) -> None:
        level = on == self._active_high
        if self._ready:
            self._pin.state = level
        else:
            self._pin.output_with_state(level)  # one step, so that a relay does not click at the start
            self._ready = True

    def close(self) -> None:
        """The level stays: what an output is left as was decided before."""


class Pins:
    """The pins of this box. factory: a gpiozero pin factory."""

    def __init__(self, factory: Any, mono_s: Callable[[], float]) -> None:
        self._factory = factory
        self._mono_s = mono_s

    def input(self, gpio: int) -> DigitalIn:
        return DigitalIn(gpio, self._factory, self._mono_s)

    def output(self, gpio: int, active: str) -> DigitalOut:
        """active: "high" or "low"."""
        return DigitalOut(gpio, self._factory, active_high=active == "high")


def open_pins(socket: Path | None, mono_s: Callable[[], float]) -> Pins:
    """The box's own pins, or those that a simulator serves on `socket`. Raises DriverError."""
    from gpiozero import Device
    from gpiozero.exc import BadPinFactory, PinUnknownPi

    if socket:
        os.environ["GPIOZERO_PIN_FACTORY"] = FACTORY
        os.environ["LINLI_PINS"] = str(socket)
    try:
        Device.ensure_pin_factory()
    except (BadPinFactory, PinUnknownPi, OSError) as error:
        raise DriverError(
            f"pins: found no GPIO here ({error}), expected a Raspberry Pi with lgpio; "
            "install lgpio, add the user to the group gpio, or start with --links for simulated pins"
        ) from None
    return Pins(Device.pin_factory, mono_s)
