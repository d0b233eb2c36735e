"""The page's answers: who sees what, what a form asks the gateway, and what happens when the gateway is away."""

import json
import re

import pytest

from gateway import page_journal, page_staff
from gateway.alarm_journal import Step
from gateway.config import load
from gateway.page_frame import tongues
from gateway.page_pin import SESSION_S, TRIES
from tests.page_rig import HOSTILE, PIN, SITE, Page, row, said


@pytest.fixture
def page(tmp_path):
    return Page(tmp_path)


# -- the hall ---------------------------------------------------------------------------------------------------------


def test_the_hall_shows_queues_and_what_is_out_of_order_and_no_alarm(page):
    body = page.get("/").body
    for words in ("Pensions", ">3<", "10<small> min (5–15)", "1 open: Window 1", "Out of order:", "Lift &lt;script"):
        assert words in body, words
    assert "Help" not in body and "Cord" not in body and "toilet" not in body


def test_the_hall_shows_nothing_when_the_gateway_is_away_and_comes_back_by_itself(page):
    page.found = None
    assert "No queue information" in page.get("/").body and "Pensions" not in page.get("/").body
    page.found = said()
    page.now_s += 2
    assert "Pensions" in page.get("/").body


def test_a_wait_that_nobody_can_tell_is_not_told(page):
    service = page.found["queues"]["hall"]["services"]["A"]
    service["predicted"] = None
    assert "unknown" in page.get("/", part=True).body
    service["windows"] = 0
    page.now_s += 2
    assert "paused" in page.get("/", part=True).body


def test_the_halls_letters_fill_seven_tenths_of_a_degree_at_the_distance_of_the_site_file(tmp_path):
    page = Page(tmp_path, SITE + "page = { display_distance_m = 3, display_height_mm = 700 }\n")
    [share] = re.findall(r":root { --far: min\(([\d.]+)vh", page.get("/size.css").body)
    cap_mm = 700 * float(share) / 100 * 0.72
    assert cap_mm == pytest.approx(3 * 12.2, rel=0.01)
    [em] = re.findall(r'class="em-(\d+)"', page.get("/").body)
    assert f".em-{em} {{ --far: min({share}vh, " in page.get("/size.css").body, (
        "never larger than that, and all in sight"
    )


def test_an_open_window_that_is_accessible_is_told(page):
    assert "accessible" not in page.get("/").body
    page.found["queues"]["hall"]["services"]["A"]["accessible"] = 1
    page.now_s += 2
    assert "1 open: Window 1; 1 accessible" in page.get("/").body


def test_one_queue_can_have_a_screen_of_its_own(page):
    assert "Pensions" in page.get("/", query={"queue": "hall"}).body
    assert "Pensions" in page.get("/", query={"queue": "../etc"}).body, "one that there is not is all of them"


def test_many_screens_ask_the_gateway_once_a_second(page):
    for _ in range(20):
        page.get("/", part=True)
    assert page.looks == 1
    page.now_s += 1.1
    page.get("/", part=True)
    assert page.looks == 2


# -- who may ----------------------------------------------------------------------------------------------------------


def test_without_the_pin_nobody_sees_an_alarm_or_does_anything(page):
    assert "Help" not in page.get().body and 'name="pin"' in page.get().body
    assert page.get(part=True).status == 401
    assert "Help" not in page.get("/staff/journal").body
    reply = page.post("/staff/do", deed="acknowledge", name="cord", form="")
    assert (reply.status, page.asked) == (401, [])


def test_the_pin_opens_the_staffs_view(page):
    token = page.login()
    assert "Help" in page.get(token=token).body
    assert page.post("/staff/logout", token, form=page.form(token)).to == "/staff"
    assert "Help" not in page.get(token=token).body


def test_a_form_without_this_sessions_own_token_does_nothing(page):
    token, other = page.login(), page.login()
    for form in ("", "x" * 43, page.form(other)):
        reply = page.post("/staff/do", token, deed="acknowledge", name="cord", form=form)
        assert (reply.status, page.asked) == (401, [])
    page.post("/staff/logout", token, form=page.form(other))
    assert "Help" in page.get(token=token).body, "nobody else signs it out"


def test_wrong_pins_are_bounded_for_all_together_and_the_right_one_waits_too(page):
    count, within_s = TRIES[0]
    assert [page.post("/staff/login", pin=f"wrong{n}").status for n in range(count + 1)] == [401] * count + [429]
    refused = page.post("/staff/login", pin=PIN)
    assert (refused.status, refused.cookies) == (429, ())
    assert "Too many wrong PINs" in refused.body
    page.now_s += within_s
    assert page.login()


def test_no_more_than_thirty_wrong_pins_an_hour(page):
    statuses = []
    for _ in range(40):
        statuses.append(page.post("/staff/login", pin="wrong-one").status)
        page.now_s += 61
    assert statuses.count(401) == 30


def test_right_pins_are_not_counted(page):
    assert all(page.login() for _ in range(20))


def test_a_session_ends_by_itself_with_a_restart_and_with_another_pin(page):
    token = page.login()
    page.now_s += SESSION_S
    assert 'name="pin"' in page.get(token=token).body
    token = page.login()
    page.restart()
    assert 'name="pin"' in page.get(token=token).body, "an old cookie"
    token = page.login()
    from gateway.page_pin import keep

    keep(page.folder, "another-482")
    assert 'name="pin"' in page.get(token=token).body
    assert page.login("another-482")


def test_without_a_pin_it_can_be_looked_at_at_the_box_alone_and_says_how_to_set_one(tmp_path):
    page = Page(tmp_path, pin="")
    body = page.get().body
    assert "Help" in body and "linli page pin --state" in body
    assert "<form" not in body
    assert page.post("/staff/login", pin="").status == 429
    assert page.post("/staff/do", deed="acknowledge", name="cord", form="").status == 401
    assert page.asked == []
    page = Page(tmp_path, SITE + TLS, pin="")
    body = page.get(local=False, secure=True, peer="192.0.2.7").body
    assert "Help" not in body and "linli page pin --state" in body


TLS = 'page = { listen = ["eth0"], roles = { staff = "pin" }, cert = "file:a.pem", key = "file:a.key" }\n'


def test_a_pin_is_never_asked_for_in_clear_beyond_the_box(tmp_path):
    page = Page(tmp_path)
    for path in ("/staff", "/staff/journal"):
        reply = page.get(path, local=False, secure=False, peer="192.0.2.7")
        assert reply.status == 403 and 'name="pin"' not in reply.body
    assert page.get("/", local=False, peer="192.0.2.7").status == 200, "the hall's screen may hang elsewhere"
    assert page.get(local=False, secure=True).status == 403, "roles.staff is box"
    page = Page(tmp_path, SITE + TLS)
    assert page.get(local=False, secure=False).status == 403
    assert 'name="pin"' in page.get(local=False, secure=True).body


def test_roles_that_are_off_are_not_there(tmp_path):
    page = Page(tmp_path, SITE + 'page = { roles = { staff = "off" } }\n')
    assert page.get().status == page.post("/staff/login", pin=PIN).status == 404
    page = Page(tmp_path, SITE + 'page = { roles = { display = "off" } }\n')
    assert page.get("/").to == "/staff"


@pytest.mark.parametrize(
    "path", ["/../etc/passwd", "/page.css/", "//", "/staff/../staff", "/page-pin", "/%2e", "", "/lang/x"]
)
def test_a_path_that_is_none_of_ours_is_not_found(page, path):
    assert page.get(path).status == 404
    assert page.post(path).status == 404


def test_another_language_leads_back_to_this_page_alone(page):
    reply = page.get("/lang", query={"to": "zh-CN", "back": "/staff"})
    assert (reply.to, reply.cookies[0].value) == ("/staff", "zh-CN")
    reply = page.get("/lang", query={"to": "xx", "back": "//evil.example/"})
    assert (reply.to, reply.cookies) == ("/", ())


# -- what is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lang", ["zh-CN", "en"])
def test_no_name_becomes_markup(page, lang):
    token = page.login()
    for body in (page.get("/", lang=lang).body, page.get(token=token, lang=lang).body, page.get(lang=lang).body):
        assert HOSTILE not in body
        assert "&lt;script&gt;" in body


@pytest.mark.parametrize("lang", ["zh-CN", "en"])
def test_an_alarm_is_shown_with_severity_since_place_and_cause_in_words(page, lang):
    page.found["troubles"] = ["the line was unplugged"]
    page.found["connected"] = False
    page.found["modes"] = [{"mode": "test", "place": "", "by": "page", "left_s": 300}]
    page.found["hands"] = {"valve": {"action": "close", "by": "page", "left_s": 600}}
    page.found["told"] += [
        row("leak", severity="high", state="shelved", shelved_left_s=3000.0, by="desk", marks=["test"], escalation=2,
            chatter={"times": 4, "within_s": 9.0}, active=False, since_s=None, first_out=True, acknowledged=True),
        row("source:n1", cause={"condition": "silent", "value": 15}),
        row("x", cause={"condition": "untold", "value": 1}),
    ]  # fmt: skip
    body = page.get(token=page.login(), lang=lang).body
    zh = (
        "紧急",
        "自 13:58 起（2 分钟）",
        "已拉下",
        "还剩 50 分钟",
        "测试",
        "15 秒没有信号",
        "与城市平台失去联系",
        "由 页面 手动保持",
    )
    en = (
        "urgent",
        "since 13:58 (2 min)",
        "pulled",
        "50 min left",
        "test",
        "nothing heard for 15 s",
        "The city is away",
        "held by the page",
    )
    for words in zh if lang == "zh-CN" else en:
        assert words in body, words


def test_every_reason_the_gateway_gives_has_words():
    """The conditions that the code writes itself, and not the site file."""
    known = ("silent", "cut", "short", "range", "fault", "stuck", "untested", "test-overdue", "repair-overdue", "quiet",
             "settings", "not proved", "left by itself", "not driven", "flow remains", "flood")  # fmt: skip
    for lang, tongue in tongues().items():
        for condition in known:
            site = object()
            words = page_staff.cause_words(site, {"condition": condition, "value": 1}, tongue)
            assert words != condition, (lang, condition)


def test_a_models_cause_names_its_sensor_or_machine(page):
    en = tongues()["en"]
    for condition, words in (("model:generic on basement/rope > 0.9", "finds Rope unusual"),
                             ("model:pump on pump-1 > 0.5 for 1 min", "finds pump-1 unusual")):  # fmt: skip
        assert words in page_staff.cause_words(page.site, {"condition": condition, "value": 0.95}, en)


_SWITCHED = {"value": "close", "cause": {"by": "reaction", "alarm": "leak"}}
_FIRE = {"value": "close", "why": "fire-line", "cause": {"by": "page"}}
HAPPENED = [
    ("output.changed", "valve", _SWITCHED, ["Valve", "closed", "Leak"]),
    ("output.changed", "hydrant", {"value": "open", "cause": {"by": "page"}}, ["Valve hydrant", "open", "the page"]),
    ("output.refused", "hydrant", _FIRE, ["Valve hydrant", "not done: Close (fire-line)", "the page"]),
    ("output.exercised", "gone", {"value": "skipped"}, ["gone", "exercise skipped", ""]),
    ("reaction.held", "shut", {"alarm": "leak", "why": "test"}, ["shut", "reaction held back: test", "Leak"]),
    ("mode.began", "maintenance", {"place": "lift", "by": "page"}, ["maintenance, lift", "began", "the page"]),
    ("mode.ended", "test", {"place": "", "by": "end"}, ["test mode, the whole centre", "ended", "its end"]),
    ("facility.opened", "gone", {"by": "sensor:basement/rope"}, ["gone", "reported out of order", "Rope"]),
]


@pytest.mark.parametrize(("sort", "subject", "data", "cells"), HAPPENED, ids=[f"{h[0]} {h[1]}" for h in HAPPENED])
def test_what_happened_is_told_by_the_names_people_know(page, sort, subject, data, cells):
    step = Step(1, 5.0, None, data, sort, subject)
    for lang, tongue in tongues().items():
        body = page_journal.journal(page.site, [step], tongue).partition("<tbody>")[2]
        _, *told = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", body)
        assert told == cells if lang == "en" else re.search("[\u4e00-\u9fff]", told[1])


def test_only_what_may_be_done_has_a_button(page):
    page.found["told"] = [row("cord", may=["reset"]), row("leak", may=[])]
    body = page.get(token=page.login()).body
    assert 'id="reset-cord"' in body
    for absent in ("acknowledge-cord", "shelve-cord", "acknowledge-leak", "reset-leak", "close.hydrant"):
        assert f'id="{absent}"' not in body, absent


def test_a_gateway_that_is_away_is_said_and_nothing_is_shown_as_if_it_were_now(page):
    token = page.login()
    assert "Help" in page.get(token=token).body
    page.found = None
    page.now_s += 130
    body = page.get(token=token).body
    assert "The gateway does not answer" in body and "2 min" in body
    assert "Help" not in body and "valve" not in body.lower().replace("valves", "")
    page.found = said()
    page.now_s += 2
    assert "Help" in page.get(token=token).body


# -- what is done -----------------------------------------------------------------------------------------------------

DEEDS = [
    ({"deed": "acknowledge", "name": "cord"}, {"ask": "acknowledge", "alarm": "cord"}),
    ({"deed": "reset", "name": "cord"}, {"ask": "reset", "alarm": "cord"}),
    ({"deed": "unshelve", "name": "cord"}, {"ask": "unshelve", "alarm": "cord"}),
    ({"deed": "shelve", "name": "cord", "hours": "2"}, {"ask": "shelve", "alarm": "cord", "hours": 2.0}),
    ({"deed": "output", "name": "valve", "action": "close", "minutes": "30"},
     {"ask": "output", "output": "valve", "action": "close", "minutes": 30.0}),
    ({"deed": "output", "name": "valve", "action": "auto"},
     {"ask": "output", "output": "valve", "action": "auto", "minutes": 0.0}),
    ({"deed": "mode", "mode": "test", "minutes": "15"}, {"ask": "mode", "mode": "test", "place": "", "minutes": 15.0}),
    ({"deed": "mode", "mode": "end", "place": "toilet-f1"},
     {"ask": "mode", "mode": "end", "place": "toilet-f1", "minutes": 0.0}),
    ({"deed": "facility-open", "name": "lift-1", "by": " Li ", "note": "door"},
     {"ask": "facility", "deed": "open", "facility": "lift-1", "by": "Li", "note": "door"}),
]  # fmt: skip


@pytest.mark.parametrize(("form", "asked"), DEEDS, ids=[f"{a['deed']} {a.get('action', '')}" for a, _ in DEEDS])
def test_a_form_asks_the_gateway_what_a_command_would_and_says_that_it_comes_from_the_page(page, form, asked):
    token = page.login()
    own = page.form(token)
    reply = page.post("/staff/do", token, form=own, **form)
    if form["deed"] in ("output", "shelve"):
        assert page.asked == [], "asked again first"
        assert "Are you sure" in reply.body
        again = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', reply.body))
        assert again == {"form": own, **form, "sure": "yes"}
        reply = page.post("/staff/do", token, **again)
    assert (reply.to, page.asked) == ("/staff", [asked | {"way": "page"}])
    assert "Done: " in page.get(token=token).body
    assert "Done: " not in page.get(token=token).body, "told once"


@pytest.mark.parametrize("lang", ["zh-CN", "en"])
def test_what_the_gateway_refuses_is_said_in_its_own_words(page, lang):
    token = page.login()
    page.refusal = "found acknowledge of cord from page, expected from button; do it there"
    page.post("/staff/do", token, deed="acknowledge", name="cord", form=page.form(token))
    body = page.get(token=token, lang=lang).body
    assert "button" in body and ("found acknowledge" not in body or lang == "en")
    assert ('class="notice bad"' in body) and "Done" not in body


def test_a_gateway_that_goes_away_in_the_middle_of_a_deed_is_told_as_unknown(page):
    token = page.login()
    own = page.form(token)
    page.found = None
    page.post("/staff/do", token, deed="acknowledge", name="cord", form=own)
    assert "may be done or not" in page.get(token=token).body


@pytest.mark.parametrize(
    "form",
    [
        {"deed": "probe"}, {"deed": "model", "name": "x"}, {"deed": "shelve", "name": "cord", "hours": "nan"},
        {"deed": "shelve", "name": "cord", "hours": ""}, {"deed": "output", "name": "valve", "action": "close"},
        {"deed": "mode", "mode": "test", "minutes": "inf", "sure": "yes"}, {},
    ],
)  # fmt: skip
def test_a_form_that_is_none_of_ours_asks_nothing(page, form):
    token = page.login()
    reply = page.post("/staff/do", token, form=page.form(token), **form)
    assert (reply.status, page.asked) == (400, [])


def test_the_places_for_maintenance_are_those_an_alarm_looks_at(page):
    assert list(page_staff.places(page.site, tongues()["en"].base)) == ["", "basement", "toilet-f1"]


def test_every_word_of_the_page_is_used():
    from tests.doctor_place import ROOT

    texts = json.loads((ROOT / "gateway/page_words.json").read_text())["texts"]
    code = "".join(path.read_text() for path in sorted((ROOT / "gateway").glob("page_*.py")))
    made = ("way.", "do.", "kind.", "is.", "cause.", "hall.", "sure.", "journal.", "pin.")
    unused = [key for key in texts if f'"{key}"' not in code and not key.startswith(made)]
    assert unused == []


def test_the_demos_site_file_has_a_page_that_can_be_shown(tmp_path):
    site = load("simulator/sites/demo.toml")
    page = Page(tmp_path, (site.path).read_text(encoding="utf-8"))
    page.found["told"], page.found["facilities"], page.found["queues"] = [], {}, {}
    page.found["outputs"] = {"valve": False, "strobe": True}
    assert "strobe" in page.get(token=page.login(), lang="zh-CN").body
