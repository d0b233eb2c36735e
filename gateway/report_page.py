"""The monthly report as one HTML page, in zh-CN and English, for the residents' council."""

from collections.abc import Sequence
from datetime import date
from statistics import median

from gateway.facility_figures import FacilityMonth, Hours
from gateway.figures import N_LEAST
from gateway.page import Html, Part, el, page, table, text
from gateway.plot import bars, nice_top
from gateway.report_figures import CentreMonth, Leak, Ratings, Waits, Water
from gateway.report_parts import doubts, hours, minutes, moment, period, share
from gateway.words import LANGUAGES, REPORT_WORDS, Words


def report(month: str, centres: list[CentreMonth]) -> str:
    """The whole file. month: "2026-11"."""
    bodies = {lang: _body(month, centres, Words(lang, REPORT_WORDS)) for lang in LANGUAGES}
    return page(Words(LANGUAGES[0], REPORT_WORDS)("report.title", month=month), bodies)


def _body(month: str, centres: list[CentreMonth], say: Words) -> Html:
    parts: list[Part] = [el("h1", say("report.title", month=month)), el("p", say("report.for"), class_="soft")]
    if len(centres) != 1:
        parts.append(_overview(centres, say))
    parts += [_centre(each, f"{say.lang}-{i}", say) for i, each in enumerate(centres)]
    return Html(text(parts))


def _overview(centres: list[CentreMonth], say: Words) -> Html:
    head = ["report.centre", "waits.issued", "waits.share", "access.open", "leaks.title"]
    rows = []
    for each in centres:
        issued = sum(waits.issued for waits in each.waits)
        worst = min((waits.kept for waits in each.waits if waits.kept is not None), default=None)
        lost = sum(_counted(facility).out_of_service for facility in each.facilities)
        rows.append([_name(each), str(issued), share(worst, say), hours(lost, say), str(len(each.leaks))])
    return table(say("report.overview"), [say(key) for key in head], rows, (1, 2, 3, 4))


def _name(each: CentreMonth) -> str:
    return str(each.centre.about.get("name", each.centre.gateway))


def _centre(each: CentreMonth, name: str, say: Words) -> Html:
    parts: list[Part] = [
        el("h2", _name(each)), el("p", each.centre.gateway, class_="soft"),
        period(each.month, each.until_s, each.known_from_s, say),
        el("h3", say("waits.title")), _waits(each, name, say),
        el("h3", say("access.title")), _access(each, say),
        el("h3", say("leaks.title")), _leaks(each, say),
        el("h3", say("water.title")), _water(each.water, name, say),
        el("h3", say("ratings.title")), _ratings(each.ratings, each.centre.gateway, say),
        el("h3", say("doubt.title")), doubts(each, say),
    ]  # fmt: skip
    return Html(text(parts))


# -- waits -------------------------------------------------------------------------------------------------------------


def _waits(each: CentreMonth, name: str, say: Words) -> Html:
    if not each.waits:
        return el("p", say("waits.none"))
    keys = ("queue", "issued", "called", "share", "half", "most", "result")
    rows = [_queue(waits, say) for waits in each.waits]
    parts: list[Part] = [
        table(say("waits.table"), [say(f"waits.{key}") for key in keys], rows, (1, 2, 3, 4, 5), of=each.centre.gateway),
        el("p", say("waits.rule"), class_="soft"),
    ]
    parts += [el("p", _promise(waits, say)) for waits in each.waits]
    parts += [el("p", say("waits.unheard", queue=w.title), class_="bad") for w in each.waits if w.unheard]
    if each.tickets_without_identity:
        parts.append(el("p", say("waits.nameless", n=each.tickets_without_identity)))
    for i, waits in enumerate(each.waits):
        title = say("waits.plot", queue=waits.title, within=f"{waits.within_min:g}")
        values = [None if day.kept is None else day.kept * 100 for day in waits.days]
        note = say("plot.cross", few=N_LEAST)
        if any(value is not None for value in values):
            days = [day.day for day in waits.days]
            parts.append(_plot(f"{name}-q{i}", title, note, days, values, 100.0, "%", waits.promised * 100, say))
    return Html(text(parts))


def _promise(waits: Waits, say: Words) -> str:
    share, within = f"{waits.promised:.0%}", f"{waits.within_min:g}"
    return say("waits.promise", queue=waits.title, share=share, within=within)


def _queue(waits: Waits, say: Words) -> list[Part]:
    result: Part = say("unknown")
    if waits.is_kept is not None:
        key, style = ("kept", "good") if waits.is_kept else ("broken", "bad")
        result = el("span", say(f"waits.{key}"), class_=style)
    return [
        waits.title, str(waits.issued), str(waits.called),
        share(waits.kept, say), minutes(waits.half_s, say), minutes(waits.most_s, say), result,
    ]  # fmt: skip


def _plot(
    name: str, title: str, note: str, days: Sequence[date], values: Sequence[float | None], top: float, unit: str,
    promise: float | None, say: Words,
) -> Html:  # fmt: skip
    """The figure, what it shows in words, and the numbers as a table."""
    shown = [say("unknown") if value is None else f"{value:.0f}{unit}" for value in values]
    told = say("comma").join(
        say("plot.is", day=day.day, value=value) for day, value in zip(days, shown, strict=True)
    )  # fmt: skip
    rows: list[list[Part]] = [[day.isoformat(), value] for day, value in zip(days, shown, strict=True)]
    return el(
        "figure", bars(name, title, told, values, top, unit, promise), el("figcaption", title, el("br"), note),
        el("details", el("summary", say("plot.values")),
           table(title, [say("plot.day"), say("plot.value")], rows, (1,), of=name)),
    )  # fmt: skip


# -- facilities --------------------------------------------------------------------------------------------------------


def _counted(facility: FacilityMonth) -> Hours:
    """Opening hours where the centre has said them."""
    return facility.open or facility.all


def _access(each: CentreMonth, say: Words) -> Html:
    if not each.facilities:
        return el("p", say("access.none"))
    keys = ("facility", "open", "all", "unknown", "available", "cases", "tests")
    rows: list[list[Part]] = [
        [
            f.title, hours(f.open.out_of_service, say) if f.open else say("access.no_hours"),
            hours(f.all.out_of_service, say), hours(_counted(f).unknown, say), share(_counted(f).availability, say),
            str(len(f.cases)), str(len(f.tests)),
        ]
        for f in each.facilities
    ]  # fmt: skip
    basis = say(f"access.basis.{'open' if each.facilities[0].open else 'all'}")
    rule = el("p", say("access.rule", basis=basis), class_="soft")
    heads = [say(f"access.{key}") for key in keys]
    return Html(table(say("access.table"), heads, rows, (1, 2, 3, 4, 5, 6), of=each.centre.gateway) + rule)


# -- water and ratings -------------------------------------------------------------------------------------------------


def _leaks(each: CentreMonth, say: Words) -> Html:
    parts: list[Part] = []
    rows: list[list[Part]] = [
        [moment(leak.at_s, each.month, say), leak.title, _closing(leak, say)] for leak in each.leaks
    ]
    if rows:
        heads = [say("leaks.when"), say("leaks.what"), say("leaks.closed")]
        parts = [
            table(say("leaks.table"), heads, rows, of=each.centre.gateway),
            el("p", say("leaks.rule"), class_="soft"),
        ]
    else:
        parts.append(el("p", say("leaks.none")))
    if each.tests:
        parts.append(el("p", say("leaks.tests", n=each.tests)))
    return Html(text(parts))


def _closing(leak: Leak, say: Words) -> Part:
    if leak.closed_s is not None:
        return minutes(leak.closed_s, say)
    return say("leaks.was_shut") if leak.was_shut else el("span", say("leaks.open"), class_="bad")


def _water(meters: list[Water], name: str, say: Words) -> Html:
    if not meters:
        return el("p", say("water.none"))
    parts: list[Part] = []
    for i, meter in enumerate(meters):
        litres = [None if m3 is None else m3 * 1000 for m3 in meter.nights.values()]
        known = [value for value in litres if value is not None]
        if not known:
            parts.append(el("p", say("water.unknown", meter=meter.title)))
            continue
        told = say(
            "water.sum", meter=meter.title, known=len(known), sum=f"{sum(known) / 1000:.2f}",
            half=f"{median(known):.0f}", unknown=len(litres) - len(known),
        )  # fmt: skip
        title = say("water.plot", meter=meter.title)
        parts.append(el("p", told))
        note, days = say("plot.cross.plain"), list(meter.nights)
        parts.append(_plot(f"{name}-w{i}", title, note, days, litres, nice_top(litres), " L", None, say))
    return Html(text(parts))


def _ratings(ratings: Ratings, of: str, say: Words) -> Html:
    if ratings.n < N_LEAST:
        return el("p", say("ratings.few", few=N_LEAST))
    rows: list[list[Part]] = [
        [f"{grade} · {say(f'ratings.{grade}')}", str(n), f"{n / ratings.n:.1%}"] for grade, n in ratings.counts.items()
    ]
    heads = [say("ratings.grade"), say("ratings.n"), say("ratings.share")]
    asked = el("p", say("ratings.asked", asked=ratings.asked, none=ratings.asked - ratings.n))
    return Html(table(say("ratings.table"), heads, rows, (1, 2), of=of) + asked)
