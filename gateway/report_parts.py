"""What the report and the proof say alike: times, hours, shares, causes, and what is not known."""

from datetime import datetime

from gateway.facility_figures import Case
from gateway.month import Month
from gateway.page import Html, Part, el, text
from gateway.report_figures import CentreMonth
from gateway.words import Words


def moment(wall_s: float | None, month: Month, say: Words) -> str:
    """Local time of the centre."""
    return say("unknown") if wall_s is None else datetime.fromtimestamp(wall_s, month.zone).strftime("%Y-%m-%d %H:%M")


def hours(count: float | None, say: Words) -> str:
    return say("unknown") if count is None else say("access.hours", n=f"{count:.1f}")


def share(part: float | None, say: Words) -> str:
    return say("unknown") if part is None else f"{part:.1%}"


def minutes(seconds: float | None, say: Words) -> str:
    return say("unknown") if seconds is None else say("waits.minutes", n=f"{seconds / 60:.1f}")


def cause(case: Case, say: Words) -> str:
    sort, _, name = case.cause.partition(":")
    return say("cause.hand") if sort == "hand" else say(f"cause.{sort}", name=name) if name else case.cause


def with_who(when: str, who: str) -> Part:
    """What a sensor did is told by the cause already."""
    return [when, el("br"), who] if who and ":" not in who else when


def period(month: Month, until_s: float, known_from_s: float | None, say: Words) -> Html:
    if known_from_s is None:
        return el("p", say("report.period.none"), class_="bad")
    end = moment(until_s, month, say)
    said = el("p", say("report.period", start=moment(known_from_s, month, say), end=end, zone=month.zone.key))
    late = known_from_s > month.from_s + 3600
    more = el("p", say("report.period.later", start=moment(known_from_s, month, say)), class_="bad") if late else None
    return Html(text([said, more]))


def doubts(each: CentreMonth, say: Words) -> Html:
    """What is known to be missing, in words."""
    centre = each.centre
    lines = [say("doubt.restarts", n=each.restarts)] if each.restarts else []
    lines += [say("doubt.unsure", n=centre.unsure)] if centre.unsure else []
    lines += [say("doubt.missing", n=centre.missing)] if centre.missing else []
    lines += [
        say("doubt.gap", stream=gap.stream, n=say("unknown") if gap.records is None else gap.records, reason=gap.reason)
        for gap in each.gaps
    ]
    return el("ul", *(el("li", line) for line in lines)) if lines else el("p", say("doubt.none"))
