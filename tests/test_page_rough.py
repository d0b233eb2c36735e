"""The page with a hasty user, a wrong form that has the right token, and a gateway that ends within a word."""

import asyncio
import socket
import threading

import pytest

from gateway.control import SOCKET_NAME, NotRunning, ask
from gateway.page_desk import SESSION
from gateway.web import Ask
from tests.page_rig import PIN, Page, row, run


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
    assert page.get(token=token).body.count('bad" role="status"') == 4, "and a hundred of them are not kept"


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
