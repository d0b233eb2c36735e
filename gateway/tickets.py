"""Which ticket an event is about: source / local business day / service / run / number. Given what was said and what
was kept, it says who is meant; does no input or output.

Numbers begin again at midnight, when a kiosk restarts, and for each letter; two kiosks may hand out one range; slips
are printed twice. So each range of numbers has runs: a run begins with a business day, or when its numbers begin again.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from drivers.reading import Event
from gateway.contract import Json, Label

UNSURE_DAY = "unsure"
"""The day of the first tickets of a box that has never known the time. A later start goes on with the last day."""

KEEP = "ticket:"
RANGES_MAX = 256  # ranges and windows beyond are a kiosk gone mad: their events have no identity, and are kept
_RUNS_MAX = 4  # of a range: today's, and those whose tickets may still be called
_SERVED_S = 60.0  # so long after it was served a rating at its window is still that ticket's
_DAY_S = 86_400

_SERVICE_MAX = 32  # of a service that the site file does not know, as its kiosk calls it
_NO_WORD = re.compile(r"[\s/]+")
_LABEL = re.compile(r"([^\d-]*)-?(\d+)")
_PRINTED = re.compile(r"(?:(\d{4})\D(\d{1,2})\D(\d{1,2})\D{0,5})?(\d{1,2}):(\d{2})(?::(\d{2}))?")


class Numbering(NamedTuple):
    """How a queue numbers its tickets, from the site file: queue.*.numbers.

    scope: whose numbers make one range: a "service"'s over all kiosks, the whole "queue"'s, or each "kiosk"'s own for
    each service. restart: "day", or also when a kiosk starts ("start"). label: as printed.
    strangers: kiosks that do not feed the queue, each of which has numbers of its own.
    """

    queue: str
    scope: str = "service"
    restart: str = "day"
    label: str = "{service}{number:03}"
    strangers: frozenset[str] = frozenset()


class Places(NamedTuple):
    """What the site file says of services and windows. calls, ratings: {point of a terminal or pad: window}.

    letters: {label of a service's priority tickets or appointments: the service}; each counts for itself.
    """

    numbering: Mapping[str, Numbering]
    calls: Mapping[str, str]
    ratings: Mapping[str, str]
    letters: Mapping[str, str] = {}


class Run(msgspec.Struct):
    """One stretch of numbers that count up. printed_s: when the last slip says it was printed. boots: of each kiosk."""

    day: str
    run: int
    first: int
    last: int
    printed_s: int | None = None
    boots: dict[str, int] = {}

    def holds(self, number: int) -> bool:
        return self.first <= number <= self.last


class _Said(NamedTuple):
    source: str
    boot: int
    numbered: bool
    number: int
    day: str | None
    printed_s: int | None

    @property
    def is_dated(self) -> bool:
        return self.printed_s is not None and self.printed_s >= _DAY_S


def business_day(label: Callable[[], Label], tz: str) -> Callable[[float], str | None]:
    """For Tickets: the local date, "2026-11-25", of a moment of this boot."""
    zone = ZoneInfo(tz)

    def day(mono_s: float) -> str | None:
        now = label()
        if now.wall is None:
            return None
        return datetime.fromtimestamp(now.wall + mono_s - now.mono, zone).date().isoformat()

    return day


class Tickets:
    """day: business day of a moment of this boot, None while the clock is unsure. kept: state of an earlier run."""

    def __init__(
        self, places: Places, day: Callable[[float], str | None], kept: Mapping[str, object],
        keep: Callable[[str, object], None],
    ) -> None:  # fmt: skip
        self._places = places
        self._day = day
        self._keep = keep
        self._ranges: dict[str, list[Run]] = {}
        self._at: dict[str, str] = {}
        self._served: dict[str, tuple[str, float]] = {}
        for key, value in kept.items():
            if key.startswith(f"{KEEP}at:"):
                self._at[key.removeprefix(f"{KEEP}at:")] = str(value)
            elif key.startswith(KEEP):
                self._ranges[key.removeprefix(KEEP)] = msgspec.convert(value, list[Run])

    def named(self, event: Event) -> Event:
        """The same event with `ticket`, `window`, `service`, `number` and `label` as far as they can be told."""
        if not event.type.startswith(("ticket.", "window.")):
            return event
        data = dict(event.data)
        data.pop("ticket", None)
        self._place(event, data)
        kind = event.type
        if kind == "ticket.rated":
            self._rated(event, data)
            return event._replace(data=data)
        if not kind.startswith("ticket."):
            data["value"] = data.get("window")
            return event._replace(data=data)
        self._parse(data)
        number = data.get("number")
        if isinstance(number, int):
            kind = self._identify(event, number, data)
        self._remember(kind, event.mono_s, data)
        return event._replace(type=kind, data=data)

    # -- what the site file knows ------------------------------------------------------------------------------------

    def _place(self, event: Event, data: Json) -> None:
        """The window of a terminal or pad by its address."""
        point = data.get("pad") or (f"{event.source}:{data.get('address', 1)}" if not event.seq else None)
        places = self._places.ratings if event.type == "ticket.rated" else self._places.calls
        if "window" not in data and isinstance(point, str) and point in places:
            data["window"] = places[point]

    def _parse(self, data: Json) -> None:
        """Number and service from the label, or the label from them."""
        label, service = data.get("label"), data.get("service")
        if isinstance(label, str) and (found := _LABEL.fullmatch(label)):
            prefix, digits = found.groups()
            data.setdefault("number", int(digits))
            is_known = prefix in self._places.numbering and service not in self._places.numbering
            is_letter = prefix in self._places.letters and self._places.letters[prefix] == service
            if prefix and (is_known or is_letter or service is None):
                data["service"] = prefix
        elif label is None and isinstance(number := data.get("number"), int) and service in self._places.numbering:
            data["label"] = data["value"] = labelled(self._places.numbering[str(service)].label, str(service), number)
        if data.get("value") is None:
            data["value"] = data.get("label")

    # -- whose number ------------------------------------------------------------------------------------------------

    def _identify(self, event: Event, number: int, data: Json) -> str:
        """Puts the identity into data. Returns the event's type, which a reprint or a second call changes."""
        printed_s = _printed_s(data.get("printed"))
        said = _Said(event.source, event.boot, event.seq > 0, number, self._day(event.mono_s), printed_s)
        service = data.get("service")
        if event.type == "ticket.issued":
            key = self._key(event.source, str(service) if service is not None else "-")
            if key not in self._ranges and len(self._ranges) >= RANGES_MAX:
                return event.type
            run, is_new = self._issued(key, said, self._restart(service))
            data["ticket"] = _identity(key, run, number)
            return event.type if is_new else "ticket.reprinted"
        ticket = self._known(said, service)
        if ticket is None:
            return event.type
        data["ticket"] = ticket
        here = self._at.get(str(data.get("window")))
        is_again = event.type == "ticket.called" and not said.numbered and here == ticket
        return "ticket.recalled" if is_again else event.type

    def _key(self, source: str, service: str) -> str:
        numbering = self._places.numbering.get(service)
        if numbering is None:
            return f"{source}/{_NO_WORD.sub('-', service)[:_SERVICE_MAX]}"
        if source in numbering.strangers:
            return f"{source}/{service}"
        owner = source if numbering.scope == "kiosk" else numbering.queue
        return f"{owner}/-" if numbering.scope == "queue" else f"{owner}/{service}"

    def _restart(self, service: object) -> str:
        numbering = self._places.numbering.get(str(service))
        return numbering.restart if numbering else "start"

    def _issued(self, key: str, said: _Said, restart: str) -> tuple[Run, bool]:
        """The run that this number belongs to, and whether it was issued just now (else the slip was printed again)."""
        runs = self._ranges.setdefault(key, [])
        run, is_new = _placed(runs, said, restart)
        if run not in runs:
            runs.append(run)
            runs.sort(key=_order)
            del runs[:-_RUNS_MAX]
        if is_new:
            run.first, run.last = min(run.first, said.number), max(run.last, said.number)
            run.printed_s = said.printed_s if said.printed_s is not None else run.printed_s
            if said.numbered:
                run.boots[said.source] = said.boot
            self._keep(f"{KEEP}{key}", msgspec.to_builtins(runs))
        return run, is_new

    def _known(self, said: _Said, service: object) -> str | None:
        """The ticket of this number that was issued last; one that nobody saw issued counts to the newest run."""
        own = self._key(said.source, str(service)) if service is not None else None
        keys = [own] if own in self._ranges else list(self._others(own, service))
        keys = [key for key in keys if not self._is_apart(key, said.source)]
        found = [(run, key) for key in keys for run in self._ranges[key] if run.holds(said.number)]
        if found:
            run, key = max(found, key=lambda pair: _order(pair[0]))
            if service is None and len({key for _, key in found}) > 1:
                return None  # a number alone, which two services have
            return _identity(key, run, said.number)
        if own is None:
            return None
        newest = self._ranges[own][-1] if own in self._ranges else None
        day = said.day or (newest.day if newest else UNSURE_DAY)
        return _identity(own, newest if newest and newest.day == day else Run(day, 1, 0, 0), said.number)

    def _others(self, own: str | None, service: object) -> Iterator[str]:
        """Ranges that may hold the number of a terminal, which knows no kiosk and perhaps no service."""
        for key in self._ranges:
            if own is None or key.rpartition("/")[2] == str(service):
                yield key

    def _is_apart(self, key: str, source: str) -> bool:
        """Whether one of the two is of a kiosk that does not feed the queue, and the other is not that kiosk's."""
        owner, _, service = key.rpartition("/")
        of_queue = (one for one in self._places.numbering.values() if one.queue == owner)
        numbering = self._places.numbering.get(service) or next(of_queue, None)
        return numbering is not None and owner != source and bool({owner, source} & numbering.strangers)

    # -- windows -----------------------------------------------------------------------------------------------------

    def _remember(self, kind: str, mono_s: float, data: Json) -> None:
        """Who is at which window, for the ratings."""
        window, ticket = data.get("window"), data.get("ticket")
        if not isinstance(window, str) or not isinstance(ticket, str):
            return
        if kind == "ticket.served" and (window in self._served or len(self._served) < RANGES_MAX):
            self._served[window] = (ticket, mono_s)
        if kind in ("ticket.called", "ticket.serving") and self._at.get(window) != ticket:
            if window not in self._at and len(self._at) >= RANGES_MAX:
                return
            self._at[window] = ticket
            self._keep(f"{KEEP}at:{window}", ticket)

    def _rated(self, event: Event, data: Json) -> None:
        """The ticket is the one just served at that window, else the one that was called there last."""
        number, window = data.get("number"), str(data.get("window"))
        if isinstance(number, int):
            said = _Said(event.source, event.boot, event.seq > 0, number, self._day(event.mono_s), None)
            ticket = self._known(said, data.get("service"))
        else:
            ticket, served_s = self._served.pop(window, (None, 0.0))
            if ticket is None or event.mono_s - served_s > _SERVED_S:
                ticket = self._at.get(window)
        if ticket:
            data["ticket"] = ticket


def labelled(form: str, service: str, number: int) -> str:
    return form.format(service=service, number=number)


def _identity(key: str, run: Run, number: int) -> str:
    owner, _, service = key.rpartition("/")
    return f"{owner}/{run.day}/{service}/{run.run}/{number}"


def _order(run: Run) -> tuple[str, int]:
    return "" if run.day == UNSURE_DAY else run.day, run.run


def _placed(runs: list[Run], said: _Said, restart: str) -> tuple[Run, bool]:
    """(run, whether the number was issued now); the run may be a new one."""
    newest = runs[-1] if runs else None
    if newest is None:
        return _begun(said.day or UNSURE_DAY, 1, said), True
    if said.day and said.day != newest.day:
        return _of_another_day(runs, newest, said)
    if said.number > newest.last:
        return newest, True
    if said.numbered:
        rebooted = newest.boots.get(said.source, said.boot) != said.boot
        again = said.number == newest.first or (rebooted and restart == "start")
        return (_begun(newest.day, newest.run + 1, said) if again else newest), True  # else late: two kiosks, one range
    later = _is_later(newest, said)
    begins = later if later is not None else said.number == newest.first < newest.last
    if newest.holds(said.number) and (restart != "start" or not begins):
        return newest, False
    if said.number < newest.first and later is False:
        return next((run for run in reversed(runs) if run.holds(said.number)), newest), False
    return _begun(newest.day, newest.run + 1, said), True


def _of_another_day(runs: list[Run], newest: Run, said: _Said) -> tuple[Run, bool]:
    """A new day begins, or a kiosk that was cut off tells of a day gone by."""
    day = str(said.day)
    for run in reversed(runs):
        if run.day == day:
            return run, True
    if said.is_dated and newest.holds(said.number) and _is_later(newest, said) is False:
        return newest, False  # yesterday's slip, printed again
    return _begun(day, 1, said), True


def _begun(day: str, run: int, said: _Said) -> Run:
    return Run(day, run, said.number, said.number)


def _printed_s(text: object) -> int | None:
    """Seconds that can be compared: of the calendar when the slip has a date, else of the day, below 86,400."""
    found = _PRINTED.search(text) if isinstance(text, str) else None
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(piece or 0) for piece in found.groups())
    return ((year * 12 + month) * 31 + day) * _DAY_S + hour * 3600 + minute * 60 + second


def _is_later(run: Run, said: _Said) -> bool | None:
    """Whether the slip was printed after the run's last one; None when they do not say."""
    if said.printed_s is None or run.printed_s is None or said.is_dated != (run.printed_s >= _DAY_S):
        return None
    difference_s = said.printed_s - run.printed_s
    if not said.is_dated:
        difference_s = (difference_s + _DAY_S // 2) % _DAY_S - _DAY_S // 2
    return difference_s > 0
