"""The monthly report and the proof of upkeep: their numbers are those of the ledger, counted again another way."""

import csv
import json
import re
import sqlite3
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from gateway import cli
from gateway.facility_figures import timeline
from gateway.facility_page import tables
from gateway.month import MonthError, month_of
from gateway.report_facts import Centre, Fact, of_box, of_city
from gateway.report_figures import of_month
from gateway.report_page import report
from simulator.month_story import MONTH, Told
from tests.conftest import HOSTILE

pytestmark = pytest.mark.slow

ZONE = ZoneInfo("Asia/Shanghai")
FROM_S = datetime(2026, 11, 1, tzinfo=ZONE).timestamp()
TO_S = datetime(2026, 12, 1, tzinfo=ZONE).timestamp()


@pytest.fixture(scope="module")
def told(told_month: Told) -> Told:
    return told_month


@pytest.fixture(scope="module")
def written(told: Told, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """{name: text} of all that the commands write; "box" and "city" are the report."""
    folder = tmp_path_factory.mktemp("written")
    month = ["--month", MONTH]
    assert cli.main(["report", "--state", str(told.state), *month, "--out", str(folder / "box.html")]) == 0
    assert cli.main(["report", "--db", str(told.ledger), *month, "--out", str(folder / "city.html")]) == 0
    assert cli.main(["facility", "--state", str(told.state), *month, "--out", str(folder / "proof"), "export"]) == 0
    found = {name: (folder / f"{name}.html").read_text() for name in ("box", "city")}
    return found | {path.name: path.read_text("utf-8-sig") for path in (folder / "proof").iterdir()}


def records(told: Told, stream: str) -> list[dict]:
    """Straight out of the ledger's file, in order of time; what has none is left out."""
    with sqlite3.connect(told.ledger) as db:
        bodies = db.execute("SELECT body FROM packs WHERE stream = ? ORDER BY epoch, n", (stream,)).fetchall()
    found = [r for (body,) in bodies for r in json.loads(body)["records"] if "type" in r]
    found = [r for r in found if not (r.get("test") and r["type"].startswith("linli.ticket."))]
    timed = [r | {"at": datetime.fromisoformat(r["time"]).timestamp()} for r in found if "time" in r]
    return sorted(timed, key=lambda record: record["at"])


def test_box_and_city_give_the_same_page(written):
    assert written["box"] == written["city"]


def test_hours_of_every_facility_are_those_of_the_ledger_minute_by_minute(told, written):
    rows = {row["facility"]: row for row in csv.DictReader(written["facilities.csv"].splitlines())}
    assert rows.keys() == {"lift-1", "ramp", "toilet-f1", "loop"}
    for name, row in rows.items():
        log = [r for r in records(told, "events") if r["subject"] == name and r["type"].startswith("linli.facility.")]
        off = [(r["at"] - r["data"]["unwatched_s"], r["at"]) for r in log if "unwatched_s" in r["data"]]
        counted = {"all": dict.fromkeys(("in-service", "out-of-service", "unknown"), 0)}
        counted["open"] = dict(counted["all"])
        at = 0
        for minute in range(int(TO_S - FROM_S) // 60):
            now_s = FROM_S + minute * 60 + 30
            while at < len(log) and log[at]["at"] <= now_s:
                at += 1
            state = log[at - 1]["data"]["value"] if at else "unknown"
            if state == "in-service" and any(a <= now_s < b for a, b in off):
                state = "unknown"
            counted["all"][state] += 1
            local = datetime.fromtimestamp(now_s, ZONE)
            if local.weekday() < 5 and (8, 30) <= (local.hour, local.minute) < (17, 0):
                counted["open"][state] += 1
        for sort, by_state in counted.items():
            for state, minutes in by_state.items():
                shown = float(row[f"{sort}_{state.replace('-', '_')}_h"])
                assert shown == pytest.approx(minutes / 60, abs=0.1), (name, sort, state)
        assert sum(counted["all"].values()) == 30 * 24 * 60


def test_cases_and_tests_are_those_that_happened(told, written):
    rows = list(csv.DictReader(written["cases.csv"].splitlines()))
    lasted = [(r["facility"], float(r["hours"]), r["too_long"]) for r in rows]
    assert lasted[0] == ("lift-1", pytest.approx(31.133, abs=0.05), "yes")
    assert [hours for name, hours, _ in lasted if name == "ramp"] == pytest.approx([35 / 60, 2.5, 55 / 60], abs=0.03)
    assert lasted[-1] == ("loop", pytest.approx(28.167, abs=0.05), "no")
    assert rows[0]["acknowledged_by"] == "李站长" and rows[0]["cause"] == "sensor:lift-1/service"
    assert rows[-1]["notes"] == "助听器用户反映无声 / 更换放大器保险"
    entries = list(csv.DictReader(written["entries.csv"].splitlines()))
    ids = {r["id"] for r in records(told, "events")}
    assert {entry["id"] for entry in entries} <= ids, "each is an event that the city holds"
    assert sum(entry["entry"] == "tested" for entry in entries) == 3


def test_waits_are_those_of_the_ledgers_tickets(told, written):
    issued: dict[str, dict] = {}
    called: dict[str, float] = {}
    for record in records(told, "events"):
        name = record["data"].get("ticket")
        if record["type"] == "linli.ticket.issued.v1":
            issued[name] = record
        elif record["type"] == "linli.ticket.called.v1" and name not in called:
            called[name] = record["at"] - issued[name]["at"] if name in issued else 0.0
    figures = of_month(of_box(told.state / "linli.db", FROM_S, TO_S), MONTH)
    for waits in figures.waits:
        mine = [name for name in issued if name.startswith(f"{waits.name}/")]
        in_time = [name for name in mine if called.get(name, 1e9) <= waits.within_min * 60]
        assert (waits.issued, waits.called) == (len(mine), sum(name in called for name in mine))
        assert waits.kept == pytest.approx(len(in_time) / len(mine))
        assert f"{len(in_time) / len(mine):.1%}" in written["city"]
        days = {day.day.isoformat(): day for day in waits.days}
        for day in ("2026-11-09", "2026-11-11"):
            of_day = [name for name in mine if f"/{day}/" in name]
            assert days[day].n == len(of_day) and days[day].kept == pytest.approx(
                sum(name in in_time for name in of_day) / len(of_day)
            )
    assert sum(waits.issued for waits in figures.waits) > 3000


def test_ratings_leaks_and_water_are_those_of_the_ledger(told, written):
    events = records(told, "events")
    figures = of_month(next(iter(of_city(told.ledger, [], FROM_S, TO_S))), MONTH)
    grades = [r["data"]["value"] for r in events if r["type"] == "linli.ticket.rated.v1"]
    assert figures.ratings.asked == len(grades) and figures.ratings.counts[5] == grades.count(5) > 100
    assert f"{grades.count(5) / sum(g is not None for g in grades):.1%}" in written["city"]

    came = [r for r in records(told, "alarms") if r["subject"] == "leak" and r["data"]["state"] == "unacknowledged"]
    [closed] = [r for r in events if r["type"] == "linli.output.changed.v1"]
    first, second = figures.leaks
    assert {r["data"]["occurrence"] for r in came} == {1, 2}
    assert first.closed_s == pytest.approx(closed["at"] - came[0]["at"], abs=0.01) and not first.was_shut
    assert second.closed_s is None and second.was_shut, "nobody has opened it again"

    nights = {r["data"]["day"]: r["data"]["value"] for r in events if r["type"] == "linli.water.night.v1"}
    [water] = figures.water
    assert {day.isoformat(): m3 for day, m3 in water.nights.items() if m3 is not None} == {
        day: m3 for day, m3 in nights.items() if m3 is not None and "2026-11-" in day
    }
    assert water.nights[datetime(2026, 11, 12).date()] is None, "without power nobody knows"
    assert nights["2026-11-14"] > 3 * nights["2026-11-13"], "the burst"
    known = [m3 for m3 in water.nights.values() if m3 is not None]
    assert f"{sum(known):.2f}" in written["city"]


def test_no_text_of_a_site_or_a_person_becomes_markup(written):
    for name in ("box", "proof.html"):
        assert HOSTILE not in written[name] and "<img" not in written[name], name
        assert "&lt;img src=x onerror=alert(1)&gt;&amp;" in written[name], name
        assert "<script" not in written[name] and "http" not in written[name].replace("http-equiv", ""), name


def test_every_number_says_what_it_is_of_in_both_languages(written):
    for words in (
        "等候时间从取号到第一次叫号",
        "A wait is from the ticket to its first call",
        "网关停机 1 次",
        "gateway was off: 1",
    ):
        assert words in written["box"], words
    assert re.search(r"29 夜共 [0-9.]+ 立方米，中位数每夜 [0-9]+ 升；1 夜未知", written["box"])


@pytest.mark.parametrize("name", ["2026-09", "2026-12"])
def test_a_month_before_the_box_and_one_that_has_not_begun_have_no_data(told, tmp_path, name):
    out = tmp_path / "report.html"
    assert cli.main(["report", "--db", str(told.ledger), "--month", name, "--out", str(out)]) == 0
    assert "No data for this month" in out.read_text() and "Data from" not in out.read_text()


def test_a_gateway_whose_dictionary_has_not_come_is_in_the_report_all_the_same(told, tmp_path, capsys):
    ledger = tmp_path / "city.db"
    with sqlite3.connect(told.ledger) as db:
        db.execute("VACUUM INTO ?", (str(ledger),))
    with sqlite3.connect(ledger) as db:
        db.execute("UPDATE gateways SET meta = NULL")
    out = tmp_path / "city.html"
    assert cli.main(["report", "--db", str(ledger), "--month", MONTH, "--out", str(out)]) == 0
    assert "<h2>demo-centre-a</h2>" in out.read_text() and "UTC" in out.read_text()
    assert cli.main(["report", "--db", str(ledger), "--gateway", "other", "--month", MONTH, "--out", str(out)]) == 1
    assert "found gateway 'other', expected one of demo-centre-a" in capsys.readouterr().err


@pytest.mark.parametrize(
    "meta",
    [
        b"[]",
        b'{"tz":"Nowhere/Land"}',
        b'{"tz":"../../etc/passwd"}',
        b'{"open":"always","facilities":{"lift":{}}}',
        b'{"sensors":{"a":1}}',
    ],
)
def test_a_dictionary_that_cannot_be_read_is_named_and_the_others_can_be_reported(told, tmp_path, capsys, meta):
    ledger, out = tmp_path / "city.db", tmp_path / "city.html"
    with sqlite3.connect(told.ledger) as db:
        db.execute("VACUUM INTO ?", (str(ledger),))
    with sqlite3.connect(ledger) as db:
        db.execute("INSERT INTO gateways (gateway, heard, meta) VALUES ('strange', 0, ?)", (meta,))
    asked = ["report", "--db", str(ledger), "--month", MONTH, "--out", str(out)]
    assert cli.main(asked) == 1
    assert "strange: found a dictionary or record that cannot be read" in capsys.readouterr().err
    assert cli.main([*asked, "--gateway", "demo-centre-a"]) == 0


def test_no_text_is_taken_for_a_formula():
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\n=1", "  =1", "＝1+1", "＋1", "－1", "＠A1"]
    log = [
        fact("facility.tested", FROM_S + n, "lift", value="in-service", case=0, cause="", by=what, note="好")
        for n, what in enumerate(texts)
    ]
    rows = csv.DictReader(tables(of_month(centre(*log), MONTH))["entries.csv"].removeprefix("\ufeff").splitlines(True))
    assert [row["by"] for row in rows] == ["'" + what for what in texts]


# -- small worlds ------------------------------------------------------------------------------------------------------


def fact(kind: str, at_s: float | None, subject: str = "k1", **data: object) -> Fact:
    return Fact("e-1", kind, subject, ("e", 1), at_s or 0.0, at_s, data)


def centre(*facts: Fact, about: dict | None = None, **more: object) -> Centre:
    fixed = {"gaps": [], "held_from_s": FROM_S - 9, "heard_to_s": TO_S, "unsure": 0, "missing": 0}
    words = {"name": "x", "tz": "Asia/Shanghai", "queues": {}, "facilities": {}} | (about or {})
    return Centre("demo", words, list(facts), **(fixed | more))


def test_fewer_than_five_ratings_are_not_shown_and_fewer_than_five_tickets_have_no_share():
    facts = [fact("ticket.rated", FROM_S + n, value=1, window="3") for n in range(4)]
    facts += [fact("ticket.issued", FROM_S + n, ticket=f"hall/2026-11-01/A/1/{n}", value="A") for n in range(4)]
    facts += [fact("ticket.called", FROM_S + 60 + n, ticket=f"hall/2026-11-01/A/1/{n}", value="A") for n in range(4)]
    figures = of_month(centre(*facts), MONTH)
    assert figures.waits[0].kept is None and figures.waits[0].half_s is None
    page = report(MONTH, [figures])
    assert "评价不足 5 条" in page and "very dissatisfied" not in page


def test_a_pad_that_is_pressed_twice_gives_one_grade_as_on_the_box():
    facts = [
        fact("ticket.rated", FROM_S + n, value=5 - n % 2, ticket=f"hall/2026-11-01/A/1/{n // 2}") for n in range(12)
    ]
    facts += [fact("ticket.rated", FROM_S + 20 + n, value=2) for n in range(2)]
    ratings = of_month(centre(*facts), MONTH).ratings
    assert (ratings.asked, ratings.counts[5], ratings.counts[4], ratings.counts[2]) == (8, 6, 0, 2)


def test_tickets_whose_calls_nobody_hears_have_an_unknown_wait_and_not_a_broken_promise():
    facts = [fact("ticket.issued", FROM_S + n, ticket=f"hall/2026-11-01/A/1/{n}", value="A") for n in range(9)]
    figures = of_month(centre(*facts), MONTH)
    assert figures.waits[0].unheard and figures.waits[0].is_kept is None
    assert "tickets are heard, calls are not" in report(MONTH, [figures])


def test_what_is_not_known_is_said_and_a_month_without_data_has_no_figures():
    page = report(MONTH, [of_month(centre(unsure=3, missing=2, held_from_s=FROM_S + 9 * 86_400), MONTH)])
    for words in ("3 records have no time", "2 packs have not reached the city", "before 2026-11-10 00:00 is not held"):
        assert words in page
    assert "No data for this month" in report(MONTH, [of_month(centre(held_from_s=None, heard_to_s=None), MONTH)])


def test_a_quiet_month_is_known_because_what_came_before_it_is_held():
    page = report(MONTH, [of_month(centre(held_from_s=FROM_S - 40 * 86_400), MONTH)])
    assert "Data from 2026-11-01 00:00 to 2026-12-01 00:00" in page and "is not held here" not in page


def test_a_log_that_fell_silent_is_unknown_after_a_day_but_an_open_case_stays_open():
    def states(state: str) -> list[tuple[float, str]]:
        log = [fact("facility.daily", FROM_S, "lift", value=state)]
        return [(round((b - a) / 3600), s) for (a, b), s in timeline(log, FROM_S + 100 * 3600)]

    assert states("in-service") == [(26, "in-service")]
    assert states("out-of-service") == [(100, "out-of-service")]


def test_a_case_whose_beginning_is_not_held_any_more_is_known_from_what_names_it():
    opened = "2026-10-20T00:00:00.000Z"
    log = [
        fact("facility.daily", FROM_S, "lift", value="out-of-service", case=4, cause="hand", opened=opened),
        fact("facility.repaired", FROM_S + 3600, "lift", value="in-service", case=4, opened=opened, by="李姐"),
    ]
    [found] = of_month(centre(*log), MONTH).facilities
    [case] = found.cases
    assert case.number == 4 and case.repaired_by == "李姐" and case.hours(TO_S) == pytest.approx(12 * 24 - 7)
    assert found.late == [case]


def test_times_are_local_and_a_month_is_one(capsys, tmp_path):
    month = month_of("2026-11", "Asia/Shanghai", "mon-fri 08:30-11:30 13:30-17:00")
    assert (month.from_s, month.to_s, len(month.days)) == (FROM_S, TO_S, 30)
    assert sum(b - a for a, b in month.hours()) == 21 * 6.5 * 3600
    for wrong in ("2026-13", "11-2026", "2026-1"):
        with pytest.raises(MonthError, match="expected a year and a month"):
            month_of(wrong, "UTC", "")
    asked = ["--month", "2026-13", "--out", str(tmp_path / "x.html")]
    assert cli.main(["report", "--state", str(tmp_path), *asked]) == 2
    asked[1] = "2026-11"
    assert cli.main(["report", "--state", str(tmp_path), *asked]) == 1
    assert "found no database, expected one" in capsys.readouterr().err
    (tmp_path / "not.db").write_bytes(b"no database at all, but long enough to be taken for one" * 40)
    assert cli.main(["report", "--db", str(tmp_path / "not.db"), *asked]) == 1
