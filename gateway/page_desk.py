"""What the page answers: which view for whom, and what a form asks the gateway to do. Every rule about it is there.

It sees the gateway through its control socket alone, so it works with the city away, says when the gateway is away, and
has it again by itself.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway import control, page_hall, page_journal, page_staff
from gateway.config import Page, Site
from gateway.control import NotRunning
from gateway.page import Html, el
from gateway.page_frame import (
    CSS,
    HALL,
    JOURNAL,
    SCRIPT,
    STAFF,
    Sight,
    Tongue,
    document,
    minutes,
    output_title,
    tongues,
)
from gateway.page_pin import SESSION_S, Pin, Session, Sessions, Tries
from gateway.web import Ask, Cookie, Reply
from gateway.words import LANGUAGES

log = logging.getLogger(__name__)

SESSION, LANG = "linli_session", "linli_lang"
_LANG_S = 365 * 86_400
_HALL_EVERY_S, _STAFF_EVERY_S = 5, 3
_LOOK_AGE_S, _LOOK_TIMEOUT_S = 1.0, 4.0
_TURN_TIMEOUT_S, _DO_TIMEOUT_S = 4.0, 10.0  # with a look at most what a connection lives
_DOING_MAX = 2  # at once: the gateway has eight places at its socket, for all
_SURE = ("output", "shelve")
_WORDS_MAX = 300  # of what a browser sends as one field
_NUMBER_MAX = 1e6
_SHOWN = frozenset({"connected", "troubles", "told", "facilities", "outputs", "hands", "modes", "queues"})
_SAID_MAX = 4  # a double click has two answers, and the first one counts

Asker = Callable[[Path, dict[str, Any], float], dict[str, Any]]


class Gateway:
    """What is seen of it, asked once a second at most however many look."""

    def __init__(self, folder: Path, mono_s: Callable[[], float], ask: Asker = control.ask) -> None:
        self._folder, self._mono_s, self._ask = folder, mono_s, ask
        self._looking, self._doing = asyncio.Lock(), asyncio.Semaphore(_DOING_MAX)
        self._found: dict[str, Any] | None = None
        self._looked_s, self._seen_s = float("-inf"), mono_s()
        self._is_away = False

    async def look(self) -> Sight:
        async with self._looking:
            if self._mono_s() - self._looked_s >= _LOOK_AGE_S:
                request = {"ask": "look", "way": "page"}
                try:
                    found = await asyncio.to_thread(self._ask, self._folder, request, _LOOK_TIMEOUT_S)
                    if lacks := _SHOWN - found.keys():
                        what = ", ".join(sorted(lacks))
                        raise ValueError(f"found no {what}, expected the page's own version; restart both")
                    self._found = found
                    self._seen_s = self._mono_s()
                    self._tell("")
                except (NotRunning, ValueError) as error:
                    self._found = None
                    self._tell(f"{error}")
                self._looked_s = self._mono_s()
            return Sight(self._found, self._mono_s() - self._seen_s)

    def _tell(self, trouble: str) -> None:
        """In the log, when it begins and when it ends."""
        if bool(trouble) != self._is_away:
            self._is_away = bool(trouble)
            log.warning("the gateway does not answer: %s" if trouble else "the gateway answers again%s", trouble)

    async def do(self, request: dict[str, Any]) -> dict[str, Any]:
        """Raises NotRunning, ValueError with the gateway's own words.

        A deed that waited for its turn until nobody waits for its answer is not done later on.
        """
        try:
            async with asyncio.timeout(_TURN_TIMEOUT_S):
                await self._doing.acquire()
        except TimeoutError:
            raise NotRunning("found deeds that wait for it already, expected a turn") from None
        try:
            return await asyncio.to_thread(self._ask, self._folder, {**request, "way": "page"}, _DO_TIMEOUT_S)
        finally:
            self._doing.release()
            async with self._looking:  # what was seen meanwhile may be older than the deed
                self._looked_s = float("-inf")


class Desk:
    """answer() is what the web server calls."""

    def __init__(self, site: Site, folder: Path, mono_s: Callable[[], float], gateway: Gateway) -> None:
        self._site, self._folder, self._gateway = site, folder, gateway
        self._page = site.page or Page()
        self._tongues = tongues()
        self._pin, self._tries, self._sessions = Pin(folder), Tries(mono_s), Sessions(mono_s)
        self._judging = asyncio.Lock()  # of PINs: each costs a core and 16 MiB
        self._reading = asyncio.Lock()  # of the journal
        self._mono_s = mono_s
        self._texts = {
            "/page.css": (CSS.read_text(encoding="utf-8"), "text/css"),
            "/page.js": (SCRIPT.read_text(encoding="utf-8"), "text/javascript"),
            "/size.css": (page_hall.size_css(self._page), "text/css"),
        }

    async def answer(self, ask: Ask) -> Reply:
        tongue = self._tongues.get(ask.cookies.get(LANG, ""), self._tongues[self._site.lang])
        posts = {"/staff/login": self._login, "/staff/logout": self._logout, "/staff/do": self._do}
        gets = {HALL: self._hall, STAFF: self._staff, JOURNAL: self._journal}
        if ask.path in self._texts and ask.method != "POST":
            body, kind = self._texts[ask.path]
            return Reply(body, kind=kind)
        if ask.path == "/lang" and ask.method != "POST":
            return _language(ask)
        found = (posts if ask.method == "POST" else gets).get(ask.path)
        if found is None:
            return self._plain(tongue, "nothing.here", 404)
        if ask.path != HALL and (refused := self._refused(ask, tongue)):
            return refused
        return await found(ask, tongue)

    # -- the hall -----------------------------------------------------------------------------------------------------

    async def _hall(self, ask: Ask, tongue: Tongue) -> Reply:
        if self._page.roles.display == "off":
            return Reply("", to=STAFF)
        if (lang := ask.query.get("lang")) in LANGUAGES:  # of one screen, whatever it showed before
            tongue = self._tongues[lang]
        only = ask.query.get("queue", "")
        only = only if only in self._site.queues else ""
        live = page_hall.hall(self._site, await self._gateway.look(), tongue, only)
        if ask.part:
            return Reply(live)
        path = f"/?lang={tongue.lang}" + f"&queue={only}" * bool(only)
        return Reply(document(tongue, self._site.name, live, path=path, back=HALL, every_s=_HALL_EVERY_S, kind="hall"))

    # -- who may ------------------------------------------------------------------------------------------------------

    def _refused(self, ask: Ask, tongue: Tongue) -> Reply | None:
        """Where the staff's view is not for anybody; a PIN never travels in clear."""
        role = self._page.roles.staff
        if role == "off":
            return self._plain(tongue, "nothing.here", 404)
        if not ask.local and (role == "box" or not ask.secure):
            return self._plain(tongue, "staff.box", 403)
        return None

    def _session(self, ask: Ask) -> Session | None:
        stamp = self._pin.stamp()
        return self._sessions.find(ask.cookies.get(SESSION, ""), stamp) if stamp else None

    def _must_sign_in(self, ask: Ask, session: Session | None) -> bool:
        """Until a PIN is set, at the box itself one may look."""
        return session is None and bool(self._pin.stamp() or not ask.local)

    def _checked(self, ask: Ask) -> Session | None:
        """Of a form that this page gave out."""
        session = self._session(ask)
        return session if session and _same(ask.form.get("form", ""), session.form) else None

    async def _login(self, ask: Ask, tongue: Tongue) -> Reply:
        wait_s = self._tries.wait_s()
        stamp = self._pin.stamp()
        if wait_s or self._judging.locked() or not stamp:
            key = "login.wait" if stamp else "pin.missing"
            return self._login_page(
                tongue, 429, tongue.say(key, span=tongue.base.span(max(1.0, wait_s)), folder=self._folder)
            )
        self._tries.begin()
        async with self._judging:
            fits = await asyncio.to_thread(self._pin.fits, ask.form.get("pin", "")[:_WORDS_MAX])
        if not fits or self._pin.stamp() != stamp:
            log.warning("a wrong PIN from %s", ask.peer)
            return self._login_page(tongue, 401, tongue.say("login.wrong"))
        self._tries.was_right()
        log.info("signed in from %s", ask.peer)
        self._sessions.close(ask.cookies.get(SESSION, ""))
        token, _ = self._sessions.open(stamp)
        return Reply("", to=STAFF, cookies=(Cookie(SESSION, token, int(SESSION_S)),))

    async def _logout(self, ask: Ask, tongue: Tongue) -> Reply:
        if self._session(ask) and not self._checked(ask):
            return Reply("", to=STAFF)  # still signed in, and seen to be so
        self._sessions.close(ask.cookies.get(SESSION, ""))
        return Reply("", to=STAFF, cookies=(Cookie(SESSION, "", 0),))

    # -- the staff ----------------------------------------------------------------------------------------------------

    async def _staff(self, ask: Ask, tongue: Tongue) -> Reply:
        session = self._session(ask)
        if self._must_sign_in(ask, session):
            return Reply("", 401, "text/plain") if ask.part else self._login_page(tongue, 200, "")
        live = page_staff.staff(self._site, await self._gateway.look(), tongue, session.form if session else "")
        if ask.part:
            return Reply(live)
        before = [
            # Read aloud because it has the focus: what stands there from the start is no news to a screen reader.
            el(
                "p",
                text,
                class_="notice good" if good else "notice bad",
                tabindex="-1",
                autofocus="" if not n else None,
            )
            for n, (good, text) in enumerate(session.said if session else [])
        ]
        if session:
            session.said = []
        else:
            before = [el("p", tongue.say("pin.missing", folder=self._folder), class_="notice")]
        return Reply(
            document(
                tongue, tongue.say("staff.title", name=self._site.name), live, path=STAFF, back=STAFF,
                every_s=_STAFF_EVERY_S, before=before, after=self._leave(session, tongue), links=self._links(tongue),
            )
        )  # fmt: skip

    def _links(self, tongue: Tongue) -> list[Html]:
        links = [el("a", tongue.say("to.staff"), href=STAFF), el("a", tongue.say("to.journal"), href=JOURNAL)]
        return links + ([el("a", tongue.say("to.hall"), href=HALL)] if self._page.roles.display != "off" else [])

    def _leave(self, session: Session | None, tongue: Tongue) -> Html | None:
        if session is None:
            return None
        left = minutes(tongue, session.until_s - self._mono_s())
        out = el("button", tongue.say("logout"), type="submit")
        form = el("form", page_staff.fields(session.form), out, method="post", action="/staff/logout")
        return el("footer", el("p", tongue.say("session.ends", span=left)), form)

    async def _journal(self, ask: Ask, tongue: Tongue) -> Reply:
        session = self._session(ask)
        if self._must_sign_in(ask, session):
            return self._login_page(tongue, 200, "")
        async with self._reading:
            found = await asyncio.to_thread(page_journal.steps, self._folder)
        live = page_journal.journal(self._site, found, tongue)
        title = tongue.say("journal.title", name=self._site.name)
        after, links = self._leave(session, tongue), self._links(tongue)
        return Reply(document(tongue, title, live, path=JOURNAL, back=JOURNAL, after=after, links=links))

    async def _do(self, ask: Ask, tongue: Tongue) -> Reply:
        session = self._checked(ask)
        if session is None:
            return self._login_page(tongue, 401, tongue.say("login.again"))
        deed, name = ask.form.get("deed", ""), ask.form.get("name", "")[:_WORDS_MAX]
        try:
            request = request_of(deed, name, ask.form)
        except ValueError:
            return self._plain(tongue, "nothing.asked", 400)
        if deed in _SURE and ask.form.get("sure") != "yes":
            return self._sure(ask, request, session, tongue)
        what = tongue.say(f"do.{_deed_word(deed, ask.form)}")
        try:
            answer = await self._gateway.do(request)
            done = answer.get("done", True)
            text = tongue.say("done" if done else "done.nothing", what=what, name=self._title(deed, name, tongue))
            if also := answer.get("also_elsewhere"):
                text += tongue.say("sentence") + tongue.base("mode.also_elsewhere", names=", ".join(map(str, also)))
            told = bool(done), text
        except NotRunning:
            told = False, tongue.say("done.away", what=what)
        except ValueError as error:
            told = False, tongue.say("sentence").join(tongue.base.fault(str(error)))
        session.said = [*session.said, told][-_SAID_MAX:]
        return Reply("", to=STAFF)

    def _sure(self, ask: Ask, request: Mapping[str, Any], session: Session, tongue: Tongue) -> Reply:
        """Asked again, on a page of its own: water goes off by this, or an alarm calls nobody."""
        say, form, deed = tongue.say, ask.form, ask.form["deed"]
        kept = {key: value for key, value in form.items() if key not in ("form", "sure")}
        what = say(f"do.{_deed_word(deed, form)}")
        for_s = 60 * request.get("minutes", 0.0) + 3600 * request.get("hours", 0.0)
        title = say("sure.title", what=what, name=self._title(deed, form.get("name", ""), tongue))
        yes = el("button", what, type="submit", id="yes")
        hidden = page_staff.fields(session.form, **kept, sure="yes")
        deeds = (
            el("form", hidden, yes, method="post", action=page_staff.DO),
            el("a", say("sure.no"), href=STAFF, class_="button"),
        )
        words = el("p", say(f"sure.{deed}")), el("p", say("sure.for", span=tongue.base.span(for_s))) if for_s else None
        live = el("section", words, el("div", deeds, class_="deeds"), id="sure")
        return Reply(document(tongue, title, live, path=STAFF, back=STAFF, links=self._links(tongue)))

    def _title(self, deed: str, name: str, tongue: Tongue) -> str:
        """What people call it."""
        if deed == "output":
            return output_title(self._site, name, tongue)
        tables: list[Mapping[str, Any]] = [self._site.alarms, self._site.facilities]
        return str(next((table[name].title for table in tables if name in table), name))

    # -- pages of one sentence ----------------------------------------------------------------------------------------

    def _login_page(self, tongue: Tongue, status: int, wrong: str) -> Reply:
        say = tongue.say
        if not self._pin.stamp():
            return self._plain(tongue, "pin.missing", status, folder=self._folder)
        field = el("input", type="password", name="pin", id="pin", required="", autocomplete="current-password",
                   maxlength="64", **{"aria_describedby": "wrong", "autofocus": ""} if wrong else {})  # fmt: skip
        form = el(
            "form", el("p", wrong, id="wrong", class_="notice bad", role="alert") if wrong else None,
            el("label", say("login.pin"), " ", field), el("button", say("login"), type="submit"),
            method="post", action="/staff/login", class_="login",
        )  # fmt: skip
        title = say("login.title", name=self._site.name)
        links = self._links(tongue)[2:]
        body = document(tongue, title, el("section", form, id="login"), path=STAFF, back=STAFF, links=links)
        return Reply(body, status)

    def _plain(self, tongue: Tongue, key: str, status: int, **values: object) -> Reply:
        text = el("section", el("p", tongue.say(key, **values)), id="told")
        links = self._links(tongue)[2:]
        return Reply(document(tongue, self._site.name, text, path=HALL, back=HALL, links=links), status)


def request_of(deed: str, name: str, form: Mapping[str, str]) -> dict[str, Any]:
    """What the control socket is asked. Raises ValueError for what no form of ours says."""
    short = {key: value[:_WORDS_MAX] for key, value in form.items()}
    if deed in ("acknowledge", "reset", "unshelve"):
        return {"ask": deed, "alarm": name}
    if deed == "shelve":
        return {"ask": deed, "alarm": name, "hours": _number(short, "hours")}
    if deed.startswith("facility-"):
        words = {key: short.get(key, "").strip() for key in ("by", "note")}
        return {"ask": "facility", "deed": deed.removeprefix("facility-"), "facility": name, **words}
    if deed == "output":
        action = short.get("action", "")
        for_min = 0.0 if action == "auto" else _number(short, "minutes")
        return {"ask": "output", "output": name, "action": action, "minutes": for_min}
    if deed == "mode":
        mode, place = short.get("mode", ""), short.get("place", "")
        for_min = 0.0 if mode == "end" else _number(short, "minutes")
        return {"ask": "mode", "mode": mode, "place": place, "minutes": for_min}
    raise ValueError(f"found {deed[:40]!r}, expected a deed of this page")


def _number(form: Mapping[str, str], key: str) -> float:
    number = float(form.get(key, ""))
    if not abs(number) <= _NUMBER_MAX:  # nor one that is none
        raise ValueError(f"found {number}, expected a number a form of this page has")
    return number


def _deed_word(deed: str, form: Mapping[str, str]) -> str:
    """Of the words "do.…"."""
    word = form.get({"output": "action", "mode": "mode"}.get(deed, ""), deed).removeprefix("facility-")
    known = ("acknowledge", "reset", "shelve", "unshelve", "open", "close", "on", "off", "auto", "test", "maintenance",
             "end", "ack", "repaired", "tested")  # fmt: skip
    return ("report" if deed == "facility-open" else word) if word in known else "it"


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _language(ask: Ask) -> Reply:
    """A cookie, and back to where it was asked."""
    to, back = ask.query.get("to", ""), ask.query.get("back", "")
    cookies = (Cookie(LANG, to, _LANG_S),) if to in LANGUAGES else ()
    return Reply("", to=back if back in (HALL, STAFF, JOURNAL) else HALL, cookies=cookies)
