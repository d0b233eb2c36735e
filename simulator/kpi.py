"""A day's figures from the truth alone: persons, what happened to them and when. Shares nothing with the gateway.

Definitions: docs/queues.md. Where a hall is only overheard, what nobody says is not known here either.
"""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Key = tuple[str, str, str]  # day, hall, service; "" for the whole hall

LEAST = 5
ENDS = ("served", "no_show", "cancelled")


def rows(path: Path) -> Iterator[Row]:
    """Of a truth file with {"kind": "hall", "day", "hall", "person", "what", "said", "t", ...}."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            if row["kind"] == "hall":
                yield row


def kpis(truth: Iterable[Row], within_s: float) -> dict[Key, Row]:
    """After the last row, every day closed."""
    people: dict[tuple[str, str], dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    windows: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in sorted((row for row in truth if row["said"]), key=lambda row: row["t"]):
        place = (row["day"], row["hall"])
        if row["person"] >= 0:
            people[place][row["person"]].append(row)
        if row.get("window") and row["what"] != "rated":
            windows[place][row["window"]].append(row)
    found: dict[Key, Row] = {}
    for place, persons in people.items():
        followers = _followers(windows[place])
        stories = {person: _story(events, followers) for person, events in persons.items()}
        for service in ["", *sorted({story["for"] for story in stories.values()})]:
            these = [story for story in stories.values() if not service or story["for"] == service]
            found[(*place, service)] = _figures(these, within_s)
        found[(*place, "")]["windows"] = _windows(windows[place], stories.values())
    return found


def _followers(windows: dict[str, list[Row]]) -> dict[tuple[str, int, float], float]:
    """{(window, person, time of a call): when that window called somebody else next}."""
    found = {}
    for window, events in windows.items():
        calls = [row for row in events if row["what"] == "called"]
        for i, call in enumerate(calls):
            later = (row["t"] for row in calls[i + 1 :] if row["person"] != call["person"])
            found[window, call["person"], call["t"]] = next(later, math.inf)
    return found


def _story(events: list[Row], followers: dict[tuple[str, int, float], float]) -> Row:
    """One person's day: what the definitions ask for."""
    first = {what: next((row["t"] for row in events if row["what"] == what), None) for what in ("issued", "called")}
    calls = [row for row in events if row["what"] == "called"]
    moves = [row for row in events if row["what"] not in ("recalled", "rated", "reprinted", "issued")]
    last = moves[-1] if moves else None
    story: Row = {"for": events[0]["for"], "sort": events[0]["sort"], "issued": first["issued"] is not None}
    story["called"] = first["called"] is not None
    story["wait"] = first["called"] - first["issued"] if calls else None
    story["end"] = last["what"] if last and last["what"] in ENDS else None
    story["service"], story["from_call"], story["inferred"] = None, False, False
    story["window"] = calls[-1]["window"] if calls else None
    if last is None:
        return story
    if story["end"] == "served":
        servings = [row["t"] for row in moves if row["what"] == "serving" and row["t"] >= calls[-1]["t"]]
        story["service"] = last["t"] - (servings[0] if servings else calls[-1]["t"])
        story["from_call"] = not servings
    elif last["what"] in ("called", "serving"):
        call = calls[-1]
        end = followers[call["window"], call["person"], call["t"]]
        if end < math.inf:
            story |= {"end": "served", "service": end - call["t"], "from_call": True, "inferred": True}
    return story


def _figures(stories: list[Row], within_s: float) -> Row:
    served = [story for story in stories if story["end"] == "served"]
    no_show = sum(story["end"] == "no_show" for story in stories)
    cancelled = sum(story["end"] == "cancelled" for story in stories)
    abandoned = cancelled + sum(not story["called"] and story["end"] is None for story in stories)
    issued = sum(story["issued"] for story in stories)
    called = sum(story["called"] for story in stories)
    within = sum(story["wait"] <= within_s for story in served)
    judged = len(served) + no_show + abandoned
    services = [story for story in served if story["service"] is not None]
    return {
        "issued": issued, "called": called, "served": len(served), "no_show": no_show, "cancelled": cancelled,
        "abandoned": abandoned, "within": within, "judged": judged, "share": _share(within, judged),
        "no_show_rate": _share(no_show, called), "abandonment": _share(abandoned, issued),
        "wait": _durations([story["wait"] for story in stories if story["called"]]),
        "service_time": _durations([story["service"] for story in services])
        | {"from_call": sum(story["from_call"] for story in services)}
        | {"by_next_call": sum(story["inferred"] for story in services)},
        "sorts": {
            sort: {
                "issued": len(these), "called": sum(story["called"] for story in these),
                "wait": _durations([story["wait"] for story in these if story["called"]]),
            }
            for sort in ("priority", "appointment")
            if (these := [story for story in stories if story["sort"] == sort])
        },
    }  # fmt: skip


def _windows(windows: dict[str, list[Row]], stories: Iterable[Row]) -> Row:
    served: dict[str, int] = defaultdict(int)
    for story in stories:
        if story["window"]:
            served[story["window"]] += story["end"] == "served"
    found = {}
    for window, count in served.items():
        open_s, since, last = 0.0, None, None
        for row in windows[window]:
            if row["what"] in ("window_pause", "window_close"):
                open_s += row["t"] - since if since is not None else 0.0
                since = None
                continue
            if row["what"] in ("window_open", "called", "serving") and since is None:
                since = row["t"]
            last = row["t"]
        open_s += last - since if since is not None and last is not None else 0.0
        found[window] = {"served": count, "open_s": open_s}
    return found


def _durations(seconds: list[float]) -> Row:
    if not seconds:
        return {"n": 0}
    ordered = sorted(seconds)
    return {
        "n": len(ordered), "mean_s": statistics.fmean(ordered), "max_s": ordered[-1],
        "p50_s": _nearest(ordered, 50), "p90_s": _nearest(ordered, 90),
    }  # fmt: skip


def _nearest(ordered: list[float], percent: int) -> float:
    return ordered[-(-percent * len(ordered) // 100) - 1]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole >= LEAST else None
