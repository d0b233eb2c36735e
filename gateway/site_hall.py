"""Of a site file: what the hall is, its queues, services and windows."""

from typing import Annotated, Literal

from msgspec import Meta

from gateway.site_types import KEY, Label, LabelForm, Minutes, Name, Share, Table, Terminal, Title


class Numbers(Table, frozen=True):
    """How tickets are numbered: whose numbers are one range, when it begins again, how a label looks."""

    scope: Literal["service", "queue", "kiosk"] = "service"
    restart: Literal["day", "start"] = "day"
    label: LabelForm = "{service}{number:03}"


BY_LETTER_AND_DAY = Numbers()


class Queue(Table, frozen=True, rename={"name": "key", "title": "name"}):
    """A waiting line: `share` of its tickets are to be called within `within_min`."""

    NOT_YET = frozenset({"sources"})
    name: Annotated[str, KEY]
    title: Title = ""
    services: list[Label] = []
    within_min: Minutes = 15.0
    share: Share = 0.8
    numbers: Numbers = BY_LETTER_AND_DAY


class Service(Table, frozen=True, rename={"name": "key", "title": "name"}):
    NOT_YET = frozenset({"priority", "appointments", "close"})
    name: Annotated[str, KEY]
    title: Title
    queue: Name


class Window(Table, frozen=True, rename={"name": "key", "title": "name"}):
    """A counter. calls, rating: the terminal and the pad that stand there, "c1:3" by bus and address, "n2:pad1"."""

    NOT_YET = frozenset({"accessible"})
    name: Annotated[str, KEY]
    services: Annotated[
        list[Label], Meta(min_length=1, description="a list of services", extra={"example": '["A", "B"]'})
    ]
    title: Title = ""
    calls: Terminal = ""
    rating: Terminal = ""
