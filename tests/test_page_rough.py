"""The page with a hasty user, a wrong form that has the right token, and a gateway that ends within a word."""

import asyncio
import re
import socket
import threading

import pytest

from gateway import page_desk, page_journal
from gateway.alarm_journal import Step
from gateway.control import SOCKET_NAME, NotRunning, ask
from gateway.page_desk import SESSION, Gateway
from gateway.page_frame import tongues
from gateway.web import CONNECTION_S, Ask
from tests.page_rig import HOSTILE, PIN, SITE, Page, row, run, said


@pytest.fixture
def page(tmp_path):
    return Page(tmp_path)


CUT = [b'{"ok": {"done": tr', b'{"ok": {}}', b"", b"nonsense\n", b"[]\n", b"{}\n", b'{"ok": 1}\n', b"\xff\n",
       b"[" * 9000 + b"\n"]  # fmt: skip


@pytest.mark.parametrize("said", CUT, ids=[f"{each[:20]!r}" for each in CUT])
def test_an_answer_that_was_cut_is_no_refusal_but_a_gateway_that_went_away(tmp_path, said):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / SOCKET_NAME))
        listening.listen()

        def answer() -> None:
            client, _ = listening.accept()
            with client:
                client.recv(1000)
                client.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(NotRunning):
            ask(tmp_path, {"ask": "reset", "alarm": "cord"})
        thread.join(10)


def test_a_double_click_is_told_that_it_was_done(page):
    token = page.login()
    own = page.form(token)
    page.post("/staff/do", token, deed="facility-open", name="lift-1", by="Li", form=own)
    page.refusal = "found lift-1 out of order already; accept that case"
    page.post("/staff/do", token, deed="facility-open", name="lift-1", by="Li", form=own)
    assert "Done: Report a fault" in page.get(token=token).body
    for _ in range(20):
        page.post("/staff/do", token, deed="facility-open", name="lift-1", by="Li", form=own)
    assert page.get(token=token).body.count('bad" tabindex') == 4, "and a hundred of them are not kept"


@pytest.mark.parametrize(
    "form",
    [
        {"deed": "output", "name": "valve", "action": "close", "minutes": "1e308"},
        {"deed": "shelve", "name": "cord", "hours": "-1e308"},
        {"deed": "output", "name": "valve", "action": "close", "minutes": "9" * 400},
    ],
)
def test_a_number_without_sense_is_refused_and_no_fault(page, form):
    token = page.login()
    assert page.post("/staff/do", token, form=page.form(token), **form).status == 400


def test_what_is_asked_again_is_what_will_be_asked_of_the_gateway(page):
    token = page.login()
    body = page.post(
        "/staff/do",
        token,
        form=page.form(token),
        deed="output",
        name="valve",
        action="close",
        minutes="30",
        hours="abc",
    ).body
    assert "For 30 min" in body
    deeds = {"deed": "output", "name": "valve", "action": "auto", "minutes": "30"}
    assert "For " not in page.post("/staff/do", token, form=page.form(token), **deeds).body


def test_who_reads_the_journal_keeps_nobody_from_signing_in(page, monkeypatch):
    token, go_on = page.login(), threading.Event()
    monkeypatch.setattr("gateway.page_journal.steps", lambda _folder: go_on.wait(10) and None)

    async def both() -> int:
        reading = asyncio.create_task(page.desk.answer(Ask("GET", "/staff/journal", {}, {}, {SESSION: token})))
        await asyncio.sleep(0.05)
        reply = await page.desk.answer(Ask("POST", "/staff/login", {}, {"pin": PIN}, {}))
        go_on.set()
        await reading
        return reply.status

    assert run(both()) == 200


def test_an_alarm_that_is_gone_meanwhile_is_told_so(page):
    token = page.login()
    own = page.form(token)
    page.refusal = "found no alarm cord"
    page.post("/staff/do", token, deed="reset", name="cord", form=own)
    page.found["told"] = [row("leak")]
    page.now_s += 2
    assert 'class="notice bad"' in page.get(token=token).body


def test_the_first_thing_a_screen_reader_meets_is_what_came_of_a_deed_or_of_a_pin(page):
    token = page.login()
    for _ in range(2):
        page.post("/staff/do", token, deed="reset", name="cord", form=page.form(token))
        assert re.findall(r"<(\w+)[^>]*autofocus", page.get(token=token).body) == ["p"]
    assert "autofocus" not in page.get(token=token).body + page.get().body, "nothing draws the focus for nothing"
    assert re.findall(r"<(\w+)[^>]*autofocus", page.post("/staff/login", pin="wrong").body) == ["input"]


def test_a_facility_may_be_called_as_an_output_is(tmp_path):
    page = Page(tmp_path, SITE + 'facility.valve = { name = "Shower", duty = "Caretaker" }\n')
    in_service = {"state": "in-service", "case": 0, "open": False, "opened": None, "acknowledged": False,
                  "cause": "", "tested": None}  # fmt: skip
    page.found["facilities"]["valve"] = in_service
    ids = re.findall(r' id="([^"]+)"', page.get(token=page.login()).body)
    assert sorted(ids) == sorted(set(ids)) and "open-valve" in ids and "open.valve" in ids


OF_ANOTHER_VERSION = [
    Step(1, 5.0, None, {"value": "half-open", "cause": {"by": HOSTILE}}, "output.changed", HOSTILE),
    Step(1, 5.0, None, {"alarm": "leak", "why": "lunch"}, "reaction.held", "shut"),
    Step(1, 5.0, 1e18, {"by": "Li"}, "facility.opened", "lift-1"),
    Step(1, 5.0, None, {"name": "cord", "what": "?", "prev": "?", "state": "?"}, "alarm", "cord"),
    Step(1, 5.0, None, {}, "alarm", "cord"),
]


@pytest.mark.parametrize("step", OF_ANOTHER_VERSION, ids=[each.type for each in OF_ANOTHER_VERSION])
def test_a_record_without_words_for_it_hides_no_other(page, step):
    known = Step(1, 4.0, None, {"by": "Li"}, "facility.tested", "lift-1")
    for tongue in tongues().values():
        body = page_journal.journal(page.site, [step, known], tongue)
        assert tongue.say("journal.facility.tested") in body and step.type in body and HOSTILE not in body


@pytest.mark.parametrize("key", ["told", "queues", "facilities", "connected"])
def test_a_gateway_of_another_version_is_told_once_as_away_and_not_as_a_fault_of_each_look(page, caplog, key):
    token = page.login()
    del page.found[key]
    for _ in range(5):
        page.now_s += 2
        assert "No queue information" in page.get("/").body and 'id="away"' in page.get(token=token).body
    assert len(caplog.records) == 1 and key in caplog.text
    page.found = said()
    page.now_s += 2
    assert "Help" in page.get(token=token).body


@pytest.mark.parametrize("lang", ["zh-CN", "en"])
def test_a_screen_reader_hears_that_the_gateway_is_away(page, lang):
    """The script reads `data-said` of what comes first aloud when it changes."""
    token = page.login()
    page.found = None
    for path in ("/", "/staff"):
        assert re.match(r'<section [^>]*data-said="[^"]{5,}"', page.get(path, token=token, lang=lang, part=True).body)


def test_a_deed_that_got_no_turn_at_a_hung_gateway_is_not_done_when_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(page_desk, "_TURN_TIMEOUT_S", 0.05)
    goes_on, asked = threading.Event(), []

    def hung(_folder, request, _timeout_s):
        asked.append(request["alarm"])
        goes_on.wait(10)
        return {}

    async def impatient() -> list:
        gateway = Gateway(tmp_path, lambda: 0.0, hung)
        deeds = [asyncio.create_task(gateway.do({"ask": "reset", "alarm": f"{n}"})) for n in range(5)]
        await asyncio.sleep(0.3)
        goes_on.set()
        return await asyncio.gather(*deeds, return_exceptions=True)

    told = run(impatient())
    assert sorted(asked) == ["0", "1"] and told[:2] == [{}, {}]
    assert [type(each) for each in told[2:]] == [NotRunning] * 3
    assert page_desk._DO_TIMEOUT_S + page_desk._LOOK_TIMEOUT_S + 4.0 < CONNECTION_S, "told before the connection ends"


def test_nobody_who_is_still_signed_in_looks_signed_out(page):
    """An older tab's button: the session goes on, so its cookie stays and the view is what comes."""
    token = page.login()
    reply = page.post("/staff/logout", token, form="of another session")
    assert (reply.to, reply.cookies) == ("/staff", ()) and "Help" in page.get(token=token).body
    reply = page.post("/staff/logout", token, form=page.form(token))
    assert [(each.value, each.for_s) for each in reply.cookies] == [("", 0)]
