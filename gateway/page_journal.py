"""What happened last, for the staff: steps of alarms, and what the box or somebody did.

Read from the database, which is opened read-only and only for this.
"""

import sqlite3
from pathlib import Path

from gateway.alarm_journal import Step, latest
from gateway.config import Site
from gateway.contract import Json
from gateway.home import DATABASE
from gateway.page import Html, el, table
from gateway.page_frame import Tongue, local, output_title, who
from gateway.reader import Reader

STEPS = 50
_DEEDS = frozenset({
    "output.changed", "output.refused", "output.exercised", "reaction.held", "mode.began", "mode.ended",
    "facility.opened", "facility.acknowledged", "facility.repaired", "facility.tested",
})  # fmt: skip


def steps(folder: Path) -> list[Step] | None:
    """Newest first; None when the database does not give them now."""
    if not (folder / DATABASE).is_file():
        return None
    try:
        reader = Reader(folder / DATABASE)
        try:
            found = latest(reader, STEPS) + latest(reader, STEPS, "events", _DEEDS)
        finally:
            reader.close()
    except (sqlite3.Error, ValueError, KeyError):
        return None
    return sorted(found, key=lambda step: (step.boot, step.mono_s), reverse=True)[:STEPS]


def journal(site: Site, found: list[Step] | None, tongue: Tongue) -> Html:
    say = tongue.say
    if found is None:
        return el("section", el("p", say("journal.none"), class_="notice bad"), id="journal")
    rows = [_told(site, step, tongue) for step in found]
    heads = [say(f"journal.{key}") for key in ("when", "name", "what", "by")]
    whole = table(say("journal.last", n=len(rows)), heads, rows) if rows else el("p", say("journal.empty"))
    return el("section", whole, id="journal")


def _told(site: Site, step: Step, tongue: Tongue) -> list[str]:
    """A record that a later version wrote, or a broken one, is told by its type and hides no other."""
    try:
        return [_when(site, step, tongue), *_row(site, step, tongue)]
    except (KeyError, ValueError, OverflowError, OSError):
        return [tongue.log("time.unknown"), step.subject, step.type, ""]


def _when(site: Site, step: Step, tongue: Tongue) -> str:
    if step.wall_s is None:
        return tongue.base("journal.boot", boot=step.boot, at=round(step.mono_s))
    return local(site, step.wall_s, "%m-%d %H:%M:%S")


def _row(site: Site, step: Step, tongue: Tongue) -> list[str]:
    """[what it is about, what happened, by whom or by what]"""
    say, data = tongue.say, step.data
    sort, _, what = step.type.partition(".")
    by = who(tongue, data.get("by"))
    if sort == "alarm":
        return [str(data["name"]), _alarm_words(data, tongue), by]
    if sort == "facility":
        facility = site.facilities.get(step.subject)
        return [facility.title if facility else step.subject, say(f"journal.facility.{what}"), _named(site, by, tongue)]
    if sort == "mode":
        place = str(data["place"] or tongue.base("mode.everywhere"))
        return [tongue.base(f"mode.{step.subject}") + say("comma") + place, say(f"journal.mode.{what}"), by]
    if sort == "reaction":
        return [step.subject, say(f"journal.held.{data['why']}"), _named(site, f"alarm:{data['alarm']}", tongue)]
    return [
        output_title(site, step.subject, tongue),
        _output_words(what, data, tongue),
        _of_cause(site, data.get("cause"), tongue),
    ]


def _alarm_words(data: Json, tongue: Tongue) -> str:
    base = tongue.base
    states = " → ".join(dict.fromkeys(base(f"alarm.state.{data[key]}") for key in ("prev", "state")))
    marks = [base(f"journal.{mark}") for mark in ("test", "maintenance") if data.get(mark)]
    return base("alarm.comma").join([base(f"journal.{data['what']}"), states, *marks])


def _output_words(what: str, data: Json, tongue: Tongue) -> str:
    value = data["value"]
    if what == "exercised":
        return tongue.say(f"journal.exercised.{value}")
    if what == "refused":
        return tongue.say("journal.refused", what=tongue.say(f"do.{value}"), why=who(tongue, data["why"]))
    return tongue.say(f"is.{value}")


def _of_cause(site: Site, cause: object, tongue: Tongue) -> str:
    if not isinstance(cause, dict):
        return ""
    return _named(site, f"alarm:{cause['alarm']}" if cause.get("alarm") else str(cause.get("by", "")), tongue)


def _named(site: Site, by: str, tongue: Tongue) -> str:
    """An alarm or sensor by the name that people know."""
    sort, _, name = by.partition(":")
    if sort == "alarm":
        return site.alarms[name].title if name in site.alarms else name
    return site.sensors[name].name if sort == "sensor" and name in site.sensors else who(tongue, by)
