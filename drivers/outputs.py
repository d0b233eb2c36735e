"""Valve, strobe, buzzer, LED: what is switched, and what it is left as."""

from typing import Literal, Protocol

Safe = Literal["off", "on", "keep"]


class OutPin(Protocol):
    def drive(self, on: bool) -> None: ...

    def close(self) -> None: ...


class Output:
    """last: how it was driven before this start. on: energised, as far as the pin could be driven."""

    def __init__(self, name: str, pin: OutPin, *, at_stop: Safe = "off", last: bool = False) -> None:
        self.name = name
        self.on = last
        self._pin = pin
        self._at_stop = at_stop

    def drive(self, on: bool) -> None:
        """Raises OSError (a PinError) when the pin refuses; `on` then says what it said before."""
        self._pin.drive(on)
        self.on = on

    def stop(self) -> None:
        """The state defined for the program's end; "keep" drives what it was, so that the pin is as we say."""
        self.drive(self.on if self._at_stop == "keep" else self._at_stop == "on")

    def close(self) -> None:
        self._pin.close()
