"""How good the forecast of waits is: `linli bench queues --data DIR`, DIR as models/queues/snapshots.py says.

Each day is replayed in order of time. A forecast sees rows at or before its moment, and whole earlier days: those of
the folder and those that ship with the model. Margins learn from judged waits alone, each when a snapshot shows its
call; whether a queue's day is judged at all is known at its end. The head of a line is the oldest ticket that was asked
about and no snapshot shows as called; who is never called is left out, which matters only where a later number is
called nevertheless (card.md). Judged are the rows where every plain forecast is defined, as in the published table.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from math import inf, sqrt
from pathlib import Path
from typing import Any, NamedTuple

from models.queues.labels import CLIP_MIN, Pair
from models.queues.margins import NOMINAL, Margins, score_of
from models.queues.predictor import FOLDER, Forecast, Predictor
from models.queues.replay import Asked, Replay
from models.queues.snapshots import Folder, Queue, SnapshotError, read
from models.session import ModelError

PLAIN = ("hol", "les", "ql_rate", "ql_system")


class Judged(NamedTuple):
    """One forecast and what became of it, minutes."""

    office: str
    date: str
    wait_min: float
    low_min: float
    high_min: float
    pair: Pair


def judged(folder: Folder, predictor: Predictor, first: str) -> list[Judged]:
    """Forecasts for every labelled row from the date `first` on; days before it are history."""
    replay = Replay(predictor.history())
    margins: dict[str, Margins] = {}
    found: list[Judged] = []
    for date, queues in folder.days.items():
        asked = replay.replay(date, queues)
        if date <= predictor.upto and date < first:
            continue  # its errors on days of the training would make the margins too narrow
        day = _day(date, asked, predictor.forecast([a.features for a in asked]), predictor, margins)
        found.extend(day if date >= first else [])
    return found


def _day(
    date: str, asked: Sequence[Asked], forecasts: Sequence[Forecast], predictor: Predictor, margins: dict[str, Margins]
) -> list[Judged]:
    """Offices one after the other, each in order of time; what a wait became is learnt when a snapshot shows it."""
    found: list[Judged] = []
    for office, group in groupby(zip(asked, forecasts, strict=True), lambda pair: pair[0].queue[0]):
        found.extend(_office(date, list(group), margins.setdefault(office, predictor.margins(office))))
    return found


def _office(date: str, asked: Sequence[tuple[Asked, Forecast]], margins: Margins) -> Iterator[Judged]:
    ended: list[tuple[int, int, tuple[float, float]]] = []
    waiting: dict[Queue, dict[int, None]] = {}  # of each, the first is the head of its line

    def learn(until_min: float) -> None:
        while ended and ended[0][0] <= until_min:
            _, k, told_min = heapq.heappop(ended)
            a, forecast = asked[k]
            del waiting[a.queue][k]
            margins.learn(*forecast, told_min, a.pair.wait_min)

    def head_score(queue: Queue, minute: int) -> float:
        head = next(iter(waiting.get(queue, ())), None)
        return -inf if head is None else score_of(*asked[head][1], minute - asked[head][0].pair.minute)

    for k, (a, forecast) in enumerate(asked):
        learn(a.pair.minute)
        told_min = margins.interval(*forecast, head_score(a.queue, a.pair.minute))
        waiting.setdefault(a.queue, {})[k] = None
        yield Judged(a.queue[0], date, forecast.wait_min, *told_min, a.pair)
        heapq.heappush(ended, (a.pair.called_minute, k, told_min))
    learn(inf)  # the day is over


def errors(pairs: Iterable[tuple[float, float]]) -> dict[str, float]:
    """pairs: (forecast, real) minutes. {} of none."""
    off = [min(max(forecast, 0.0), CLIP_MIN) - real for forecast, real in pairs]
    if not off:
        return {}
    return {
        "mae": round(sum(map(abs, off)) / len(off), 3),
        "rmse": round(sqrt(sum(e * e for e in off) / len(off)), 3),
        "bias": round(sum(off) / len(off), 3),
    }


def ours(rows: Sequence[Judged]) -> dict[str, Any]:
    inside = sum(row.low_min <= row.pair.wait_min <= row.high_min for row in rows)
    return {**errors((row.wait_min, row.pair.wait_min) for row in rows), "coverage": round(inside / len(rows), 4)}


def _plain(rows: Sequence[Judged], name: str) -> dict[str, float]:
    return errors((getattr(row.pair, name), row.pair.wait_min) for row in rows)


def measure(folder: Folder, model: Path = FOLDER, first: str = "") -> dict[str, Any]:
    """All figures. Raises ModelError, SnapshotError when there is nothing to judge."""
    predictor = Predictor(model)
    every = judged(folder, predictor, first)
    rows = [row for row in every if row.pair.is_whole()]
    if not rows:
        raise SnapshotError(
            f"No row of {folder.rows} can be judged{f' from {first} on' if first else ''}. Expected queues "
            "with at least 20 snapshots a day that have a ticket number, people waiting and counters open. "
            "Name other days or another folder."
        )
    plain = {name: _plain(rows, name) for name in PLAIN}
    by_office = {
        office: {
            "pairs": len(own),
            **ours(own),
            "hol_mae": errors((r.pair.hol or 0.0, r.pair.wait_min) for r in own)["mae"],
        }
        for office in sorted({row.office for row in rows})
        if (own := [row for row in rows if row.office == office])
    }
    return {
        "rows": folder.rows, "bad_rows": folder.bad, "dates": sorted({row.date for row in rows}),
        "labelled": len(every), "pairs": len(rows), "nominal": NOMINAL, "ours": ours(rows), **plain,
        "gain": {key: round(1 - ours(rows)[key] / plain["hol"][key], 4) for key in ("mae", "rmse")},
        "ours_all_labelled": ours(every), "by_office": by_office, "model_upto": predictor.upto,
        "width_min": round(sum(row.high_min - row.low_min for row in rows) / len(rows), 2),
    }  # fmt: skip


def tables(found: dict[str, Any]) -> str:
    """The figures as card.md shows them."""
    lines = [f"| {found['pairs']:,} pairs | MAE | RMSE | bias |", "|---|---|---|---|"]
    lines += [
        f"| {name.replace('_', '-')} | {e['mae']:.2f} | {e['rmse']:.2f} | {e['bias']:+.2f} |"
        for name, e in ((name, found[name]) for name in ("ours", *PLAIN))
    ]
    lines += ["", "| office | pairs | MAE | RMSE | HOL's MAE | inside |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {office} | {e['pairs']} | {e['mae']:.2f} | {e['rmse']:.2f} | {e['hol_mae']:.2f} | {e['coverage']:.1%} |"
        for office, e in found["by_office"].items()
    ]
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder with snapshots_*.csv.gz")
    parser.add_argument("--from", dest="first", default="", metavar="DATE", help="judge days from this one on")
    parser.add_argument("--model", type=Path, default=FOLDER, help="a model's folder (default: the one shipped)")
    parser.add_argument("--json", action="store_true", help="the last line is the figures as JSON")


def run(args: argparse.Namespace) -> int:
    try:
        folder = read(args.data)
        found = measure(folder, args.model, args.first)
    except (SnapshotError, ModelError) as error:
        print(f"linli bench queues: {error}", file=sys.stderr)
        return 1
    bad = "; ".join(f"{count} {reason}" for reason, count in found["bad_rows"].items()) or "none bad"
    print(f"{found['rows']:,} rows ({bad}); judged {found['dates'][0]} to {found['dates'][-1]}: "
          f"{found['labelled']:,} labelled, {found['pairs']:,} with every plain forecast")  # fmt: skip
    if found["dates"][0] <= found["model_upto"]:
        print(f"NOTE: this model has seen days up to {found['model_upto']}: on those its figures are too good.")
    print(tables(found))
    print(f"gain over HOL: MAE {found['gain']['mae']:.1%}, RMSE {found['gain']['rmse']:.1%}; intervals for "
          f"{NOMINAL:.0%} held {found['ours']['coverage']:.1%}, mean width {found['width_min']} min")  # fmt: skip
    if args.json:
        keys = ("mae", "rmse")
        last = {
            "ours": {key: found["ours"][key] for key in (*keys, "coverage")},
            "hol": {key: found["hol"][key] for key in keys},
        }
        print(json.dumps(last))
    return 0
