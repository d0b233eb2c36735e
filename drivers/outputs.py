"""Valve, strobe, buzzer, LED: what is switched, and what it is left as."""

from typing import Literal, Protocol

Safe = Literal["off", "on", "keep"]
When = Literal["start", "stop", "crash"]


class OutPin(Protocol):
    def drive(self, on: bool) -> None: ...

    def close(self) -> None: ...


class Output:
    """last: how it was driven before this start, for "keep". on: energised, as far as the pin could be driven."""

    def __init__(
        self, name: str, pin: OutPin, *, at_start: Safe = "off", at_stop: Safe = "off", at_crash: Safe = "off",
        last: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self.on = last
        self._pin = pin
        self._safe: dict[When, Safe] = {"start": at_start, "stop": at_stop, "crash": at_crash}

    def drive(self, on: bool) -> None:
        """Raises OSError (a PinError) when the pin refuses; `on` then says what it said before."""
        self._pin.drive(on)
        self.on = on

    def safe(self, when: When) -> None:
        """The state defined for this moment; "keep" drives what it was, so that the pin agrees with what we say.

        "crash" is for the next start after an end that nobody could shape: a killed process switches nothing.
        """
        state = self._safe[when]
        self.drive(self.on if state == "keep" else state == "on")

    def close(self) -> None:
        self._pin.close()
