"""Of a site file: what the hall is, its queues, services and windows, and what must be kept in order for everybody."""

from typing import Annotated, Literal

from msgspec import Meta

from gateway.site_types import (
    KEY,
    Days,
    Label,
    LabelForm,
    Minutes,
    Name,
    RepairHours,
    Seconds,
    Share,
    Table,
    Terminal,
    TimeOfDay,
    Title,
)

_KIOSKS = Meta(description="a list of kiosks, each a bus", extra={"example": '["k1"]'})
_LABELS = Meta(description="a list of letters, as the kiosk prints them", extra={"example": '["Y"]'})


class Numbers(Table, frozen=True):
    """How tickets are numbered: whose numbers are one range, when it begins again, how a label looks."""

    scope: Literal["service", "queue", "kiosk"] = "service"
    restart: Literal["day", "start"] = "day"
    label: LabelForm = "{service}{number:03}"


BY_LETTER_AND_DAY = Numbers()


class Queue(Table, frozen=True, rename={"name": "key", "title": "name"}):
    """A waiting line: `share` of its tickets are to be called within `within_min`.

    quiet_min: a window or kiosk of it that says nothing for so long while people wait is an alarm. sources: the kiosks
    whose tickets wait in it; empty: all.
    """

    name: Annotated[str, KEY]
    title: Title = ""
    services: list[Label] = []
    within_min: Minutes = 15.0
    share: Share = 0.8
    quiet_min: Minutes = 30.0
    numbers: Numbers = BY_LETTER_AND_DAY
    sources: Annotated[list[Name], _KIOSKS] = []


class Service(Table, frozen=True, rename={"name": "key", "title": "name"}):
    """priority, appointments: labels of tickets that go before the others, or come at an hour of their own.

    close: no ticket of it is called after that time of the day; "": as long as the centre is open.
    """

    name: Annotated[str, KEY]
    title: Title
    queue: Name
    priority: Annotated[list[Label], _LABELS] = []
    appointments: Label = ""
    close: TimeOfDay = ""


class Window(Table, frozen=True, rename={"name": "key", "title": "name"}):
    """A counter. calls, rating: the terminal and the pad that stand there, "c1:3" by bus and address, "n2:pad1".

    accessible: it has a low counter, or serves people who need it otherwise.
    """

    name: Annotated[str, KEY]
    services: Annotated[
        list[Label], Meta(min_length=1, description="a list of services", extra={"example": '["A", "B"]'})
    ]
    title: Title = ""
    calls: Terminal = ""
    rating: Terminal = ""
    accessible: bool = False


class Facility(Table, frozen=True, rename={"name": "key", "title": "name"}):
    """A door, lift, ramp, cord, hearing loop or toilet. duty: who is to mend it, within repair_hours.

    after_s: so long a sensor must say that it is out of order; alarms: while one stands, it is.
    """

    name: Annotated[str, KEY]
    title: Title
    duty: Title
    repair_hours: RepairHours = 24.0
    test_days: Days = 35
    after_s: Seconds = 60.0
    alarms: Annotated[list[Name], Meta(description="a list of alarms", extra={"example": '["lift-jam"]'})] = []
