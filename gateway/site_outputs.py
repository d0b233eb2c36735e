"""The tables of what the box does by itself: outputs, reactions, the test mode."""

from typing import Annotated, Literal

from msgspec import Meta

from gateway.conditions import Do, When
from gateway.site_types import (
    KEY,
    Contact,
    Deadband,
    Drive,
    ModeName,
    Moments,
    Name,
    Pin,
    Rest,
    Seconds,
    SensorId,
    SomeSeconds,
    Table,
    TestMinutes,
    Times,
    Title,
)


class Output(Table, frozen=True, rename={"name": "key"}):
    """One switched thing, on a pin or on a device's output. travel_s: how long a valve takes from end to end.

    proof: a device's contact, or a sensor that is one, active when the thing is energised and has arrived. line: what
    the pipe is for; a fire line is never closed. interlock: outputs that are never energised together with it. flow: a
    sensor behind the valve that must show no more than flow_above (m3/s) when it is closed, judged for flow_s.
    approved_by: who agreed in writing that reactions drive a valve. exercise: when it is closed and opened again.
    """

    NOT_YET = frozenset({"drive", "silence"})
    name: Annotated[str, KEY]
    to: Drive
    kind: Literal["valve", "strobe", "buzzer", "led"]
    active: Literal["high", "low"] = "high"
    at_start: Rest = "off"
    at_stop: Rest = "off"
    at_crash: Rest = "off"
    travel_s: Seconds = 0.0
    line: Literal["domestic", "fire"] = "domestic"
    interlock: Annotated[list[Name], Meta(description="a list of outputs", extra={"example": '["pump"]'})] = []
    proof: Contact = ""
    flow: SensorId = ""
    flow_above: Deadband = 0.000005
    flow_s: SomeSeconds = 60.0
    approved_by: Title = ""
    exercise: Moments = ""


class ReactionTable(Table, frozen=True, rename={"name": "key"}):
    """`reaction.<name>` as written; `Reaction` in config.py is what the program uses."""

    name: Annotated[str, KEY]
    when: When
    do: Do
    per_day: Times | None = None
    unless: Annotated[
        list[ModeName], Meta(description="a list of modes", extra={"example": '["maintenance", "test"]'})
    ] = []
    undo: Literal["on-site", "auto"] | None = None


class TestMode(Table, frozen=True):
    """`test`: a button on a pin that begins and ends it, and how long it lasts when nobody ends it."""

    button: Pin = ""
    lasts_min: TestMinutes = 15.0
