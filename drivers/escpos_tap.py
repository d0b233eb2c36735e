"""A ticket printer's line overheard: bytes in, tickets issued out. Sends nothing, so it can only tell what was printed.

What a ticket looks like is said line by line in a template: text as it is printed, with `{label}`, `{service}`,
`{time}`, `{window}`, `{ahead}` or `{any}` where it differs. A slip is a ticket when one of its lines fits the one with
`{label}` and every line of the template without a field stands on it.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from drivers.escpos import Printer, Slip
from drivers.reading import Event, Fact

PAUSE_S = 3.0
"""Without a cut for so long a slip was torn off by hand; a garbled command is forgotten then too."""

FIELDS: dict[str, str] = {
    "label": r"[A-Z]{0,3}-?[0-9]{1,6}",
    "service": r"\S(?:.{0,62}\S)?",
    "time": r"(?:[0-9]{4}[-/.年][0-9]{1,2}[-/.月][0-9]{1,2}日?\s{0,4})?[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?",
    "window": r"[A-Za-z0-9-]{1,16}",
    "ahead": r"[0-9]{1,4}",
    "any": r".{0,128}",
}
"""What may stand for a field."""

_FIELD = re.compile(r"\{(\w+)\}")
_PICTURES_FEW = 3  # slips of pictures alone, before the installer is told


class TemplateError(ValueError):
    """A template that cannot be used: found, expected."""


class Template:
    """lines: see the top. reprint: a text on slips that repeat an earlier one, or "".

    Raises TemplateError.
    """

    def __init__(self, lines: Sequence[str], reprint: str = "") -> None:
        self._lines = [_compiled(line) for line in lines if _FIELD.search(line)]
        self._marks = {flat(line) for line in lines if not _FIELD.search(line)}
        self._reprint = flat(reprint)
        if len([line for line in lines if "{label}" in line]) != 1:
            raise TemplateError("found no line, or several, with {label}; expected exactly one")

    def read(self, slip: Slip) -> list[dict[str, str]]:
        """The fields of each ticket on the slip, [] when it is none. Two tickets on one slip were torn by hand."""
        found: list[dict[str, str]] = []
        others: dict[str, str] = {}
        printed = [flat(line) for line in slip.lines]
        if not self._marks.issubset(printed):
            return []
        for line in printed:
            for pattern in self._lines:
                if match := pattern.fullmatch(line):
                    fields = {name: value for name, value in match.groupdict().items() if value}
                    if "label" in fields:
                        found.append(fields)
                    else:
                        others = fields | others
                    break
        if len({fields["label"] for fields in found}) == 1:
            return [others | found[0]]
        return found

    def is_reprint(self, slip: Slip) -> bool:
        return bool(self._reprint) and any(self._reprint in flat(line) for line in slip.lines)


def flat(text: str) -> str:
    """Full-width digits, letters and colons as the plain ones; any run of blanks as one."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def _compiled(line: str) -> re.Pattern[str]:
    text = flat(line)
    ends = [(0, 0), *((m.start(), m.end()) for m in _FIELD.finditer(text)), (len(text), len(text))]
    names = _FIELD.findall(text)
    if unknown := [name for name in names if name not in FIELDS]:
        raise TemplateError(f"found {{{unknown[0]}}}, expected one of {', '.join(f'{{{n}}}' for n in FIELDS)}")
    if twice := [name for name in names if name != "any" and names.count(name) > 1]:
        raise TemplateError(f"found {{{twice[0]}}} twice in one line, expected it once")
    if any(left[1] == right[0] and left != right for left, right in pairwise(ends[1:-1])):
        raise TemplateError("found two fields side by side, expected a text between them")
    if not _FIELD.sub("", text).strip() and names not in (["time"], ["label"]):
        raise TemplateError("found a line that is only fields, expected a text that tells it from other lines")
    pieces = [re.escape(text[left[1] : right[0]]).replace(r"\ ", r"\s*") for left, right in pairwise(ends)]
    fields = [FIELDS[name] if name == "any" else f"(?P<{name}>{FIELDS[name]})" for name in names]
    return re.compile(pieces[0] + "".join(field + piece for field, piece in zip(fields, pieces[1:], strict=True)))


class EscposTap:
    """One printer's line. services: {name as printed: service}, so that a ticket says the service's key.

    tickets, others: slips that were a ticket, and those that were not. hello: whether a ticket came since the start.
    """

    def __init__(
        self, source: str, template: Template, text: str, services: Mapping[str, str], mono_s: Callable[[], float]
    ) -> None:
        self.source = source
        self.ring = self.undurable = 0  # nobody waits for an acknowledgement
        self.tickets = self.others = self.pictures = 0
        self.last_heard_s = mono_s()
        self._mono_s = mono_s
        self._template = template
        self._printer = Printer(text)
        self._services = {flat(name): service for name, service in services.items()}
        self._pictures_in_a_row = 0

    @property
    def hello(self) -> bool:
        return self.tickets > 0

    @property
    def frames_good(self) -> int:
        return self.tickets

    @property
    def frames_bad(self) -> int:
        """Slips of pictures alone; other slips are no fault."""
        return self.pictures

    @property
    def beat(self) -> dict[str, int]:
        return {"tickets": self.tickets, "others": self.others, "pictures": self.pictures, "odd": self._printer.unknown}

    @property
    def error(self) -> str:
        """What keeps tickets from being read, or ""."""
        if self._pictures_in_a_row < _PICTURES_FEW:
            return ""
        return (
            f"The kiosk on {self.source} prints its tickets as pictures: {self._pictures_in_a_row} in a row without "
            "text. Expected: tickets printed as text. Have its maker print text, or send the lines of LK1."
        )

    def feed(self, data: bytes) -> list[Fact]:
        """The tickets that these bytes finish."""
        self.last_heard_s = now_s = self._mono_s()
        return [fact for slip in self._printer.feed(data) for fact in self._judge(slip, now_s)]

    def tick(self) -> list[Fact]:
        """To be called a few times a second."""
        if not self._printer.printing or self._mono_s() - self.last_heard_s < PAUSE_S:
            return []
        slip = self._printer.pause()
        return self._judge(slip, self.last_heard_s) if slip else []

    def _judge(self, slip: Slip, at_s: float) -> list[Fact]:
        found = self._template.read(slip)
        if not found:
            is_picture = slip.pictures > 0 and not slip.lines
            self.pictures += is_picture
            self._pictures_in_a_row += is_picture
            self.others += not is_picture
            return []
        self.tickets += len(found)
        self._pictures_in_a_row = 0
        kind = "ticket.reprinted" if self._template.is_reprint(slip) else "ticket.issued"
        return [Event(self.source, kind, self._data(fields), at_s) for fields in found]

    def _data(self, fields: Mapping[str, str]) -> dict[str, object]:
        data: dict[str, object] = {"value": fields["label"], "label": fields["label"]}
        if service := fields.get("service"):
            data["service"] = self._services.get(service, service)
        if time := fields.get("time"):
            data["printed"] = time
        if window := fields.get("window"):
            data["window"] = window
        if ahead := fields.get("ahead"):
            data["ahead"] = int(ahead)
        return data
