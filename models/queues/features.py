"""Who draws a ticket now, as the model's input: one way for training and for running.

Plain Python over models/queues/days.py, so that a gateway without queues pays for no numpy. Every feature is a finite
number; what is not known is the usual in its place, and two features say how much is known.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from math import log

from models.queues.days import RATE, Day

_SPANS_MIN = (15.0, 30.0, 60.0, 120.0)
_WHOLE_DAY_MIN = 1440.0
_SOON_MIN = 2.5  # half the time between two snapshots: waits below are not told apart
_RECENT_MIN = 60.0

NAMES: tuple[str, ...] = (
    "people", "open", "open_hour", "longest", "number", "unseen",
    *(f"{what}_{span:.0f}" for what in ("calls", "drawn", "gone", "rule") for span in _SPANS_MIN),
    "calls_day", "gone_day", "rule_day", "rule_busy", "rule_gone_60", "rule_gone_day", "rule_counters",
    "trend_15", "trend_30", "trend_60",
    "head_age", "head_known", "last_wait", "since_call", "since_call_usual", "gone_since_call",
    "steps_60", "steps_120", "step_max_60", "step_max", "gap_max",
    "done_wait", "done_pace", "done_pace_last", "done_known", "off_last", "off_5", "off_day", "off_head",
    "days_known", "usual_wait", "usual_pace", "around_wait", "around_pace", "until", "until_today",
    "busy_60", "busy_day", "calls_usual", "usual_rate", "usual_hour", "usual_rest", "to_last", "to_latest",
    "since_first", "hall_60", "hall_day", "hall_waiting",
)  # fmt: skip
"""people: ln(waiting + 1). rule_*: ln minutes if people go on being called as in that span. off_*: ln of real over
usual wait. busy_*: ln of calls over the usual while people waited. hall_*: the same over all queues of the house, and
ln of all who wait there."""


def hall(days: Iterable[Day]) -> tuple[float, float, float]:
    """The hall_* features, from all queues' days as seen so far."""
    calls = usual = day_calls = day_usual = 0.0
    waiting = 0
    for day in days:
        if day.minutes:
            k, i = day.since(_RECENT_MIN), len(day.minutes) - 1
            calls += day.busy_calls[i] - day.busy_calls[k]
            usual += day.busy_usual[i] - day.busy_usual[k]
            day_calls += day.busy_calls[i]
            day_usual += day.busy_usual[i]
            waiting += day.waiting[i]
    return log((calls + 5) / (usual + 5)), log((day_calls + 5) / (day_usual + 5)), log(waiting + 1)


def features(day: Day, house: tuple[float, float, float]) -> list[float]:
    """One number for each of NAMES, for who draws a ticket at the day's last snapshot. house: hall() of all queues."""
    found = [*_now(day), *_paces(day), *_head(day), *_steps(day), *_waits_of_others(day), *_usual(day), *house]
    return found


def _now(day: Day) -> list[float]:
    opened = day.open[day.since(_RECENT_MIN) :]
    waiting, called = day.waiting[-1], day.called[-1]
    unseen = day.drawn[-1] - called - waiting
    return [log(waiting + 1), day.open[-1], sum(opened) / len(opened), max(day.waiting), called, unseen]


def _paces(day: Day) -> list[float]:
    starts = [day.since(span) for span in _SPANS_MIN]
    people, rate = day.waiting[-1] + 1, day.usual.rate
    calls = [day.called[-1] - day.called[k] for k in starts]
    gone = [day.gone[-1] - day.gone[k] for k in starts]
    spans = [day.minutes[-1] - day.minutes[k] for k in starts]
    all_calls, span = day.called[-1] - day.called[0], day.minutes[-1] - day.minutes[0]

    def rule(calls: float, span: float) -> float:
        return log(people * (span + 10) / (calls + 10 * rate))

    return [
        *calls,
        *(day.drawn[-1] - day.drawn[k] for k in starts),
        *gone,
        *(rule(c, s) for c, s in zip(calls, spans, strict=True)),
        all_calls, day.gone[-1], rule(all_calls, span), rule(day.busy_calls[-1], day.busy_min[-1]),
        rule(gone[2], spans[2]), rule(day.gone[-1], span),
        log(people / (day.usual.per_counter * max(day.open[-1], 1)) + 1),
        *(day.waiting[-1] - day.waiting[k] for k in starts[:3]),
    ]  # fmt: skip


def _head(day: Day) -> list[float]:
    """The ticket at the head of the line and the one called last."""
    called, now, last = day.called[-1], day.minutes[-1], len(day.minutes) - 1
    head, drawn, call = (bisect_left(day.drawn, called + 1), bisect_left(day.drawn, called),
                         bisect_left(day.called, called))  # fmt: skip
    age = now - day.at(head) if head <= last else 0.0
    wait = max(day.at(call) - day.at(drawn), 0.0) if call else day.usual.wait
    since = now - day.at(call)
    return [
        log(age + _SOON_MIN), float(0 < head <= last), log(wait + _SOON_MIN), since, since * day.usual.rate,
        day.gone[-1] - day.gone[call],
    ]  # fmt: skip


def _steps(day: Day) -> list[float]:
    """How the calls came: one by one, or a display that stands still for hours and then jumps."""
    hour, two_hours = day.since(60.0), day.since(120.0)
    recent = [calls for i, calls in day.steps if i > hour]
    gaps = [day.minutes[b] - day.minutes[a] for (a, _), (b, _) in zip(day.steps, day.steps[1:], strict=False)]
    return [
        len(recent), sum(i > two_hours for i, _ in day.steps), max(recent, default=0),
        max((calls for _, calls in day.steps), default=0), max(gaps, default=0.0),
    ]  # fmt: skip


def _waits_of_others(day: Day) -> list[float]:
    """Waits that have ended today, beside what was to be expected of them."""
    people, now, called = day.waiting[-1] + 1, day.minutes[-1], day.called[-1]
    recent = [done for done in day.done if done.ended >= now - _RECENT_MIN]
    off = [log((done.wait_min + 5) / (done.expected_min + 5)) for done in day.done]
    head = bisect_left(day.drawn, called + 1)
    pace = sum(d.wait_min / d.people for d in recent) / len(recent) if recent else day.usual.pace
    wait = sum(d.wait_min for d in recent) / len(recent) if recent else day.usual.wait
    last = recent[-1].wait_min / recent[-1].people if recent else day.usual.pace
    so_far = log((now - day.at(head) + 5) / (day.expected[max(head - 1, 0)] + 5)) if head < len(day.drawn) else 0.0
    return [
        log(wait + 1), log(pace * people + 1), log(last * people + 1), float(bool(recent)),
        off[-1] if off else 0.0, sum(off[-5:]) / (len(off[-5:]) + 1), sum(off) / (len(off) + 3), so_far,
    ]  # fmt: skip


def _usual(day: Day) -> list[float]:
    usual, now, people = day.usual, day.minutes[-1], day.waiting[-1] + 1
    hour = day.since(_RECENT_MIN)
    busy_60 = (day.busy_calls[-1] - day.busy_calls[hour] + 2) / (day.busy_usual[-1] - day.busy_usual[hour] + 2)
    busy_day = (day.busy_calls[-1] + 2) / (day.busy_usual[-1] + 2)
    wait, pace = usual.around(now)
    until = day.expected[-1]
    so_far = usual.called_between(day.minutes[0], now)
    return [
        usual.weight, log(usual.wait + 1), log(usual.pace * people + 1), log(wait + 1), log(pace * people + 1),
        log(until + 1), log(until / busy_60 + 1), log(busy_60), log(busy_day),
        log((day.called[-1] - day.called[0] + 2) / (so_far + 2)) if usual.weight else 0.0,
        log(usual.rate / RATE), usual.called_between(now, now + 60), usual.called_between(now, _WHOLE_DAY_MIN),
        usual.last - now, usual.latest - now, now - usual.first,
    ]  # fmt: skip
