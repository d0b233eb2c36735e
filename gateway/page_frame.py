"""What all views of the page share: its words, its frame, times as people say them. HTML is built in page.py alone."""

from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from gateway.config import Site
from gateway.page import HTML_LANG, Html, Part, el
from gateway.words import LANGUAGES, PAGE_WORDS, REPORT_WORDS, Words

CSS = Path(__file__).with_name("page.css")
SCRIPT = Path(__file__).with_name("page.js")
HALL, STAFF, JOURNAL = "/", "/staff", "/staff/journal"
_NAMES = {"zh-CN": "中文", "en": "English"}


class Tongue(NamedTuple):
    """One language: the page's own words, those of the commands, those of the facility log."""

    say: Words
    base: Words
    log: Words

    @property
    def lang(self) -> str:
        return self.say.lang


def tongues() -> dict[str, Tongue]:
    return {lang: Tongue(Words(lang, PAGE_WORDS), Words(lang), Words(lang, REPORT_WORDS)) for lang in LANGUAGES}


class Sight(NamedTuple):
    """What was seen of the gateway. found: what it said, None while it is away; away_s: for how long."""

    found: dict[str, Any] | None
    away_s: float = 0.0

    def clock(self, site: Site, back_s: float = 0.0) -> str:
        """The time on the centre's wall so long ago, "" while the gateway does not know it."""
        wall_s = self.found and self.found.get("wall")
        return local(site, wall_s - back_s, "%H:%M") if isinstance(wall_s, int | float) else ""


def local(site: Site, wall_s: float, form: str) -> str:
    return datetime.fromtimestamp(wall_s, ZoneInfo(site.tz)).strftime(form)


def output_title(site: Site, name: str, tongue: Tongue) -> str:
    """What people call it; its bare name where the site file has it no more."""
    if name not in site.outputs:
        return name
    kind = site.outputs[name].kind
    return tongue.say(f"kind.{kind}") + f" {name}" * (name != kind)


def who(tongue: Tongue, by: object) -> str:
    """By whom something was done: the way in words, and the person behind it if one is named."""
    way, _, person = str(by or "").partition(":")
    return tongue.say(f"way.{way}") + f" {person}".rstrip() if f"way.{way}" in tongue.say else str(by or "")


def minutes(tongue: Tongue, seconds: float) -> str:
    """A time span that changes once a minute at most, so that a page that renews itself stays quiet."""
    return tongue.say("less.minute") if seconds < 60 else tongue.base.span(seconds // 60 * 60)


def away(tongue: Tongue, sight: Sight) -> Html:
    """The gateway does not answer: nothing that is shown could be true."""
    say = tongue.say
    body = el(
        "p", el("strong", say("gateway.away")), " ", say("gateway.away.since", span=minutes(tongue, sight.away_s))
    )
    return el("section", body, el("p", say("gateway.away.do")), id="away", class_="notice bad",
              data_said=say("gateway.away"))  # fmt: skip


def document(
    tongue: Tongue, title: str, live: Html, *, path: str, back: str, every_s: int = 0, before: Part = None,
    after: Part = None, links: Part = None, kind: str = "",
) -> str:  # fmt: skip
    """The whole page. live: what the script renews from path every so many seconds, 0 for never. kind: of the body.

    back: where one is again after another language was chosen.
    """
    say = tongue.say
    head = el(
        "head", el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="robots", content="noindex"), el("title", title),
        el("link", rel="stylesheet", href="/page.css"),
        el("link", rel="stylesheet", href="/size.css") if kind == "hall" else None,
        el("script", src="/page.js", defer="") if every_s else None,
        el("noscript", el("meta", http_equiv="refresh", content="30")) if kind == "hall" else None,
    )  # fmt: skip
    switch = [
        el("a", name, href=f"/lang?to={lang}&back={back}", lang=HTML_LANG[lang], hreflang=HTML_LANG[lang])
        for lang, name in _NAMES.items()
        if lang != tongue.lang
    ]
    top = el("header", el("h1", title), el("nav", links, switch, aria_label=say("nav")))
    lost = el("p", say("page.lost"), id="lost", class_="notice bad", hidden="", role="alert")
    said = el("p", id="said", role="status", class_="heard")
    alive = el("div", live, id="live", data_every=f"{every_s}", data_from=path)
    body = el("body", top, el("main", before, lost, said, alive, after), class_=kind or None)
    return "<!doctype html>\n" + el("html", head, body, lang=HTML_LANG[tongue.lang]) + "\n"
