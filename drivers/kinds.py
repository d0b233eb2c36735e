"""What a sensor can be: the list the site file chooses `kind` from."""

from typing import NamedTuple


class Kind(NamedTuple):
    """unit: SenML unit of the values, "" for contacts. active, idle: the words conditions use."""

    unit: str
    active: str = ""
    idle: str = ""

    @property
    def is_contact(self) -> bool:
        return self.active != ""


KINDS: dict[str, Kind] = {
    "leak": Kind("", "wet", "dry"),
    "pull-cord": Kind("", "pulled", "idle"),
    "door": Kind("", "open", "closed"),
    "ramp": Kind("", "blocked", "free"),
    "lift": Kind("", "out-of-service", "in-service"),
    "mains": Kind("", "failed", "present"),
    "button": Kind("", "pressed", "released"),
    "flow": Kind("m3/s"),
    "total": Kind("m3"),
    "pressure": Kind("Pa"),
    "temperature": Kind("Cel"),
    "current": Kind("A"),
    "voltage": Kind("V"),
    "level": Kind("m"),
    "velocity": Kind("m/s"),
    "vibration": Kind("m/s"),
    "acceleration": Kind("m/s2"),
    "quality": Kind("%"),
    "count": Kind("count"),
    "status": Kind(""),
}

LOOP_STATES = ("short", "normal", "alarm", "cut")


def is_active(value: float | bool | str) -> bool:
    """Whether a contact's value means its active word: True, or a supervised loop in "alarm"."""
    return value is True or value == "alarm"
