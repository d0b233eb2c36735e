"""The journal of alarms, read back from this box's database: every step of the `alarms` stream that is still there.

That is what the city has not confirmed yet, and what it has for `event_days` more.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from gateway.contract import Json
from gateway.packs import open_records
from gateway.reader import Reader, Row
from gateway.words import Words

STREAM = "alarms"
_BATCH = 200  # packs of one short read
_PACKS_BACK = 2000  # of a look at what was last


class Step(NamedTuple):
    """One record. wall_s: None while nobody knew the time of that boot."""

    boot: int
    mono_s: float
    wall_s: float | None
    data: Json
    type: str = "alarm"
    subject: str = ""


def steps(reader: Reader, name: str | None = None) -> Iterator[Step]:
    """Oldest first, of one alarm or of all. A gap says nothing about one alarm and is left out."""
    for epoch_no in reader.epochs():
        n = 0
        while rows := reader.stored(epoch_no, STREAM, n, _BATCH):
            n = rows[-1].n
            yield from _steps_of(reader, rows, name)


def latest(
    reader: Reader, count: int, stream: str = STREAM, types: frozenset[str] = frozenset({"alarm"})
) -> list[Step]:
    """The last so many records of these types, newest first, as far as _PACKS_BACK packs of the stream go."""
    found: list[Step] = []
    packs = 0
    heads = {no: head for (no, of), (head, _) in reader.streams().items() if of == stream}
    for epoch_no, head in sorted(heads.items(), reverse=True):
        while head > 0 and len(found) < count and packs < _PACKS_BACK:
            n = max(0, head - _BATCH)
            rows = reader.stored(epoch_no, stream, n, head - n)
            found += [step for step in _steps_of(reader, rows, None) if step.type in types][::-1]
            packs += head - n
            head = n
    return found[:count]


def _steps_of(reader: Reader, rows: list[Row], name: str | None) -> Iterator[Step]:
    for row in rows:
        for record in open_records(row.body):
            data, mono_s = record.get("data"), record.get("mono")
            if not isinstance(data, dict) or not isinstance(mono_s, float | int):
                continue
            if name is None or name == data["alarm_id"]:
                wall_s = row.wall + mono_s - row.mono if row.wall else reader.wall_s(row.boot, mono_s)
                yield Step(row.boot, mono_s, wall_s, data, str(record.get("type")), str(record.get("subject")))


def lines(path: Path, name: str | None, say: Words, *, as_json: bool) -> Iterator[str]:
    """Raises sqlite3.Error, ValueError for a database that is not sound."""
    reader = Reader(path)
    try:
        found = steps(reader, name)
        first = next(found, None)
        if not as_json:
            whole = reader.is_whole(STREAM)
            yield (
                say("journal.empty")
                if first is None
                else say("journal.whole" if whole else "journal.from", at=_when(first, say))
            )
        if first is not None:
            yield _shown(first, say, as_json)
        for step in found:
            yield _shown(step, say, as_json)
    finally:
        reader.close()


def _shown(step: Step, say: Words, as_json: bool) -> str:
    if as_json:
        return json.dumps({"boot": step.boot, "mono": step.mono_s, "wall": step.wall_s} | step.data, ensure_ascii=False)
    data = step.data
    words = [_when(step, say), str(data["alarm_id"]), say(f"journal.{data['what']}")]
    states = [say(f"alarm.state.{data[key]}") for key in ("prev", "state")]
    words.append(" → ".join(dict.fromkeys(states)))
    cause, chatter = data["cause"], data.get("chatter")
    if isinstance(cause, dict) and data["what"] in ("came", "chatters"):
        words.append(f"{cause['condition']} ({cause['value']}{', ' + cause['src'] if 'src' in cause else ''})")
    if isinstance(chatter, dict):
        words.append(say("alarm.chatter", times=chatter["times"], within=say.span(chatter["within_s"])))
    if data["what"] == "came" and "order" in data:
        words.append(say("journal.order", order=data["order"]))
    if data["what"] == "escalated":
        words.append(say("alarm.escalation", step=data["escalation"]))
    if data["what"] == "shelved":
        words.append(say.span(float(str(data["shelved_s"]))))
    words += [say("journal.by", by=data["by"])] if data.get("by") else []
    words += [say(f"journal.{mark}") for mark in ("test", "maintenance") if data.get(mark)]
    return "  ".join(words)


def _when(step: Step, say: Words) -> str:
    """By the clock on this machine's wall."""
    if step.wall_s is None:
        return say("journal.boot", boot=step.boot, at=round(step.mono_s, 1))
    return datetime.fromtimestamp(step.wall_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
