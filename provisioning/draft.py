"""A site file that is being put together: judged after each table by the rules every site file is judged by."""

import copy
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.config import read_bytes
from gateway.site_reader import Problem, bare_or_quoted
from gateway.site_writer import toml
from gateway.words import LANGUAGES
from provisioning.dialogue import Unfit, Wrong, of_type

Entry = dict[str, Any]
TEMPLATES: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("templates.toml").read_text("utf-8"))

_NAMED = ("bus", "device", "pulse", "sensor", "output", "alarm", "reaction", "queue", "service", "window")
_STAND_IN: Entry = {"broker": "mqtt://127.0.0.1:1883"}  # until the broker has been asked for
_ORDER = ("site", *_NAMED, "uplink", "tls", "store")


class DraftError(Unfit):
    """What was added does not fit, in the words of the site file's rules."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(f"{p.path}: found {p.found}, expected {p.expected}; {p.do}" for p in problems))


class Draft:
    """tables: {"site": {…}, "bus": {"n1": {…}}, …}, as TOML would read them."""

    def __init__(self, lang: str) -> None:
        self._language = LANGUAGES.index(lang)
        self.tables: dict[str, Entry] = {}

    def title(self, texts: list[str]) -> str:
        return texts[self._language]

    def add(self, table: str, name: str, entry: Entry) -> None:
        """One table; name: "" for those that have none. Raises DraftError, and stays as it was, if it does not fit."""
        self.add_all({table: {name: entry} if name else entry})

    def add_all(self, tables: dict[str, Entry]) -> None:
        """Tables that only fit together."""
        before = copy.deepcopy(self.tables)
        for table, entry in tables.items():
            self.tables.setdefault(table, {}).update(entry)
        if problems := self.problems():
            self.tables = before
            raise DraftError(problems)

    def problems(self) -> list[Problem]:
        return read_bytes(self.text().encode(), "site.toml")[1]

    def names(self, table: str) -> list[str]:
        return list(self.tables.get(table, {}))

    def points_used(self) -> set[str]:
        used = {sensor["from"] for sensor in self.tables.get("sensor", {}).values()}
        used |= {output["to"] for output in self.tables.get("output", {}).values()}
        return used | {pulse["pin"] for pulse in self.tables.get("pulse", {}).values()}

    def sensor(self, template: str, name: str, entry: Entry, also: dict[str, Entry]) -> None:
        """A sensor after its template, the conditions of alarms that it brings, and `also`. Raises DraftError."""
        form = TEMPLATES["sensor"][template]
        point = entry["from"]
        sort = point.partition(":")[2].rstrip("0123456789")
        keys = form["keys"] | (form.get("gpio", {}) if point.startswith("gpio:") else {})
        conditions = dict(form.get("alarms", {}))
        if sort == "loop" and point.partition(":")[0] in self.tables.get("bus", {}):
            conditions |= form.get("loop", {})
        alarms = copy.deepcopy(self.tables.get("alarm", {}))
        for alarm, texts in conditions.items():
            alarm_form = TEMPLATES["alarm"][alarm]
            alarms.setdefault(alarm, {"name": self.title(alarm_form["title"]), **alarm_form["keys"], "any": []})
            alarms[alarm]["any"] += [text.format(id=name) for text in texts]
        self.add_all({**also, "sensor": {name: entry | keys}, "alarm": alarms})

    def text(self, heading: str = "") -> str:
        """As TOML, a line a table, parted by kind."""
        tables = {"uplink": _STAND_IN} | self.tables
        blocks = [heading + "schema = 1\n"]
        for table in _ORDER:
            entries = tables.get(table, {})
            if table in _NAMED and entries:
                blocks.append("".join(f"{table}.{bare_or_quoted(n)} = {_line(e)}\n" for n, e in entries.items()))
            elif entries:
                blocks.append(f"{table} = {_line(entries)}\n")
        return "\n".join(blocks)


def _line(entry: Entry) -> str:
    return "{ " + ", ".join(f"{key} = {toml(value)}" for key, value in entry.items()) + " }"


def free(draft: Draft, kind: Any, *tables: str) -> Callable[[str], str]:
    """A judge for a name that none of these tables has yet."""

    def judge(text: str) -> str:
        name = str(of_type(kind)(text))
        if name in ("gpio", "model") or any(name in draft.names(table) for table in tables):
            raise Wrong("taken")
        return name

    return judge
