"""The proof of upkeep for a month: a page to print and sign, and the same as CSV for whoever counts again."""

import csv
import io
from collections.abc import Iterable

from gateway.contract import rfc3339
from gateway.facility_figures import Case, FacilityMonth, Hours
from gateway.month import Month
from gateway.page import Html, Part, el, page, table, text
from gateway.report_figures import CentreMonth
from gateway.report_parts import cause, doubts, hours, moment, period, share, with_who
from gateway.words import LANGUAGES, REPORT_WORDS, Words

_FORMULA = tuple("=+-@\t\r\n＝＋－＠")  # a spreadsheet in a Chinese locale takes the wide ones, too


def proof(each: CentreMonth) -> str:
    """The page."""
    bodies = {lang: _body(each, Words(lang, REPORT_WORDS)) for lang in LANGUAGES}
    return page(Words(LANGUAGES[0], REPORT_WORDS)("proof.title", month=each.month.name), bodies)


def _body(each: CentreMonth, say: Words) -> Html:
    about = each.centre.about
    signs = [el("span", say(f"proof.sign.{who}")) for who in ("duty", "centre")]
    parts: list[Part] = [
        el("h1", say("proof.title", month=each.month.name)),
        el("p", str(about.get("name", "")), " · ", each.centre.gateway), el("p", say("proof.law")),
        period(each.month, each.until_s, each.known_from_s, say),
        None if each.facilities else el("p", say("access.none")),
        *(_facility(facility, each.month, say) for facility in each.facilities),
        el("h2", say("doubt.title")), doubts(each, say),
        el("p", say("proof.how"), class_="soft"), el("div", *signs, class_="sign"),
    ]  # fmt: skip
    return Html(text(parts))


def _facility(f: FacilityMonth, month: Month, say: Words) -> list[Part]:
    limits = say("proof.limits", duty=f.duty or say("unknown"), repair=f"{f.repair_hours:g}", test=f.test_days)
    spans = [_hours(say("proof.open"), f.open, say)] if f.open else []
    heads = ["proof.basis", "state.in-service", "state.out-of-service", "state.unknown", "access.available"]
    parts: list[Part] = [
        el("h2", f.title), el("p", limits),
        table(say("proof.hours"), [say(key) for key in heads], [_hours(say("proof.all"), f.all, say), *spans],
              (1, 2, 3, 4), of=f.title),
        el("h3", say("proof.cases")),
    ]  # fmt: skip
    if f.cases:
        keys = ("number", "opened", "acknowledged", "repaired", "took", "cause")
        rows = [_case(case, f, month, say) for case in f.cases]
        heads = [say(f"proof.{key}") for key in keys]
        parts.append(table(say("proof.cases"), heads, rows, of=f.title, shown=False))
    else:
        parts.append(el("p", say("proof.no_cases")))
    return [*parts, el("h3", say("proof.tests")), *_tests(f, month, say)]


def _hours(basis: str, found: Hours, say: Words) -> list[Part]:
    return [basis, *(hours(count, say) for count in found), share(found.availability, say)]


def _case(case: Case, f: FacilityMonth, month: Month, say: Words) -> list[Part]:
    took: Part = hours(case.hours(f.until_s), say)
    if case in f.late:
        took = el("span", str(took), say("proof.late"), class_="bad")
    ended: Part = el("span", say("proof.still"), class_="bad")
    if not case.is_open:
        ended = with_who(moment(case.repaired_s, month, say), case.repaired_by)
    acknowledged: Part = say("none")
    if case.acknowledged_s is not None:
        acknowledged = with_who(moment(case.acknowledged_s, month, say), case.acknowledged_by)
    told = [cause(case, say), *([el("br"), note] for note in case.notes)]
    return [str(case.number), moment(case.opened_s, month, say), acknowledged, ended, took, told]


def _tests(f: FacilityMonth, month: Month, say: Words) -> list[Part]:
    rows: list[list[Part]] = [[moment(test.at_s, month, say), _who(test.by, say), test.note] for test in f.tests]
    heads = [say("proof.at"), say("proof.by"), say("proof.note")]
    told = table(say("proof.tests"), heads, rows, of=f.title, shown=False) if rows else el("p", say("proof.no_tests"))
    if f.untested_days is None:
        return [told, el("p", say("proof.never"), class_="bad")]
    late = f.untested_days > f.test_days
    since = say("proof.untested", days=f"{f.untested_days:.0f}") + (say("proof.overdue") if late else "")
    return [told, el("p", since, class_="bad" if late else None)]


def _who(by: str, say: Words) -> str:
    sort, _, name = by.partition(":")
    return say("cause.sensor", name=name) if sort == "sensor" and name else by


# -- the same for a spreadsheet ----------------------------------------------------------------------------------------


def tables(each: CentreMonth) -> dict[str, str]:
    """{file name: CSV}. Times are UTC, RFC 3339; what is not known is empty."""
    return {
        "facilities.csv": _csv(_FACILITIES, (_summary(f) for f in each.facilities)),
        "cases.csv": _csv(_CASES, (_case_row(f, case) for f in each.facilities for case in f.cases)),
        "entries.csv": _csv(_ENTRIES, (row for f in each.facilities for row in _entries(f))),
    }


_FACILITIES = (
    "facility", "name", "duty", "repair_hours", "test_days",
    "all_in_service_h", "all_out_of_service_h", "all_unknown_h",
    "open_in_service_h", "open_out_of_service_h", "open_unknown_h",
    "cases", "cases_too_long", "tests", "days_since_test",
)  # fmt: skip
_CASES = (
    "facility", "case", "opened", "acknowledged", "acknowledged_by", "repaired", "repaired_by", "hours", "too_long",
    "cause", "notes",
)  # fmt: skip
_ENTRIES = ("id", "time", "facility", "entry", "state", "case", "by", "note")


def _summary(f: FacilityMonth) -> list[object]:
    spans = [*f.all, *(f.open or ("", "", ""))]
    since = "" if f.untested_days is None else f"{f.untested_days:.2f}"
    shown = [f"{count:.3f}" if isinstance(count, float) else count for count in spans]
    return [
        f.name, f.title, f.duty, f"{f.repair_hours:g}", f.test_days, *shown, len(f.cases), len(f.late), len(f.tests),
        since,
    ]  # fmt: skip


def _case_row(f: FacilityMonth, case: Case) -> list[object]:
    lasted = case.hours(f.until_s)
    return [
        f.name, case.number, _utc(case.opened_s), _utc(case.acknowledged_s), case.acknowledged_by,
        _utc(case.repaired_s), case.repaired_by, "" if lasted is None else f"{lasted:.3f}",
        "yes" if case in f.late else "no", case.cause, " / ".join(case.notes),
    ]  # fmt: skip


def _entries(f: FacilityMonth) -> Iterable[list[object]]:
    for fact in f.entries:
        data = fact.data
        what = fact.kind.removeprefix("facility.")
        yield [
            fact.id, _utc(fact.wall_s), f.name, what, data["value"], data["case"], data.get("by", ""),
            data.get("note", ""),
        ]  # fmt: skip


def _utc(wall_s: float | None) -> str:
    return "" if wall_s is None else rfc3339(wall_s)


def _csv(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """With a byte order mark, so that a spreadsheet takes it for UTF-8; a text is never taken for a formula."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(heads)
    for row in rows:
        writer.writerow(
            [f"'{cell}" if isinstance(cell, str) and cell.lstrip(" ").startswith(_FORMULA) else cell for cell in row]
        )
    return "\ufeff" + out.getvalue()
