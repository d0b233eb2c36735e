"""The catalogue's part about what the box does by itself: outputs, reactions, modes."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.contract_types import Count, Some, known


class Why(Struct, kw_only=True):
    """Who wanted it, and why now. by: "reaction", "exercise", "start", or the person who asked."""

    by: str
    why: Annotated[str, Meta(extra_json_schema=known("standing", "returned", "asked", "over", "exercise"))]
    reaction: str | UnsetType = UNSET
    alarm: str | UnsetType = UNSET
    occurrence: Count | UnsetType = UNSET


Action = Literal["close", "open", "on", "off"]


class OutputChanged(Struct, kw_only=True):
    """An output was driven. It is what the box did, not proof that the valve has moved."""

    value: Action
    output: str
    cause: Why


class OutputRefused(Struct, kw_only=True):
    """It was wanted and not done. why: "fire-line", "interlock <output>", or who holds it otherwise by hand."""

    value: Action
    output: str
    why: str
    cause: Why


class OutputProved(Struct, kw_only=True):
    """Its contact agreed, took_s after it was driven."""

    value: Action
    output: str
    took_s: Some


class OutputExercised(Struct, kw_only=True):
    """An output was moved by the calendar, there and back. took_s: each way, as far as it came.

    done: nobody can prove it. broken-off: something else wanted it (why). skipped: it could not begin (why).
    """

    value: Annotated[str, Meta(extra_json_schema=known("proved", "unproved", "done", "broken-off", "skipped"))]
    output: str
    took_s: list[Some]
    why: str | UnsetType = UNSET


class OutputAsked(Struct, kw_only=True):
    """A person took an output in hand for `minutes`, or let go of it ("auto")."""

    value: Literal["close", "open", "on", "off", "auto"]
    output: str
    by: str
    minutes: Some | UnsetType = UNSET


class ReactionHeld(Struct, kw_only=True):
    """A reaction whose time had come did nothing; value is its name. In a mode it acts when that is over."""

    value: str
    alarm: str
    occurrence: Count
    why: Annotated[str, Meta(extra_json_schema=known("test", "maintenance", "per-day"))]


class ModeBegan(Struct, kw_only=True):
    """place: a sensor's id or what it begins with; empty: the whole centre."""

    value: Annotated[str, Meta(extra_json_schema=known("test", "maintenance"))]
    place: str
    by: str
    minutes: Some


class ModeEnded(Struct, kw_only=True):
    """by: who ended it; "end": its time was over. alarms: how many came in it."""

    value: Annotated[str, Meta(extra_json_schema=known("test", "maintenance"))]
    place: str
    by: str
    alarms: Count
