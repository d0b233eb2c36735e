"""The last steps of the alarms, for the staff: read from the database, which is opened read-only and only for this."""

import sqlite3
from pathlib import Path

from gateway.alarm_journal import Step, latest
from gateway.config import Site
from gateway.home import DATABASE
from gateway.page import Html, el, table
from gateway.page_frame import Tongue, local
from gateway.reader import Reader

STEPS = 50


def steps(folder: Path) -> list[Step] | None:
    """Newest first; None when the database does not give them now."""
    if not (folder / DATABASE).is_file():
        return None
    try:
        reader = Reader(folder / DATABASE)
        try:
            return latest(reader, STEPS)
        finally:
            reader.close()
    except (sqlite3.Error, ValueError, KeyError):
        return None


def journal(site: Site, found: list[Step] | None, tongue: Tongue) -> Html:
    say = tongue.say
    if found is None:
        return el("section", el("p", say("journal.none"), class_="notice bad"), id="journal")
    rows = [_row(site, step, tongue) for step in found]
    heads = [say(f"journal.{key}") for key in ("when", "alarm", "what", "by")]
    whole = table(say("journal.last", n=len(rows)), heads, rows) if rows else el("p", tongue.base("journal.empty"))
    return el("section", whole, id="journal")


def _row(site: Site, step: Step, tongue: Tongue) -> list[str]:
    base, data = tongue.base, step.data
    if step.wall_s is None:
        when = base("journal.boot", boot=step.boot, at=round(step.mono_s))
    else:
        when = local(site, step.wall_s, "%m-%d %H:%M:%S")
    states = " → ".join(dict.fromkeys(base(f"alarm.state.{data[key]}") for key in ("prev", "state")))
    marks = [base(f"journal.{mark}") for mark in ("test", "maintenance") if data.get(mark)]
    what = base("alarm.comma").join([base(f"journal.{data['what']}"), states, *marks])
    return [when, str(data["name"]), what, str(data.get("by") or "")]
