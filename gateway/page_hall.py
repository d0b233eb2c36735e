"""The hall's screen: how many wait, how long a ticket drawn now will, which windows serve; nothing about anybody.

Written to be read from page.display_distance_m: EN 301 549 5.1.4 asks for letters of 0.7°, 12.2 mm for each metre.
"""

import math
from typing import Any

from gateway.config import Page, Site
from gateway.facilities import OUT_OF_SERVICE
from gateway.page import Html, Part, el
from gateway.page_frame import Sight, Tongue

CAP_MM_PER_M = 12.2
CAP_RATIO = 0.72  # of a Latin capital or a digit, of its font's size
_EM_ACROSS = 12.5  # what stands side by side in a row of this page
_QUEUE_EM, _ROW_EM, _NOTICE_EM = 1.1, 1.8, 1.0  # what a queue's heads, a service and a notice take of the height
_HEIGHT_VH = 89.0  # without the page's own head
_EM_MAX = 60  # more than that scrolls


def size_css(page: Page) -> str:
    """The size of what must be read from afar, but so that a row fits across, and all of them down."""
    part = page.display_distance_m * CAP_MM_PER_M / CAP_RATIO / page.display_height_mm
    wanted = f"{100 * part:.2f}vh, {100 / _EM_ACROSS:.2f}vw"
    fits = (f".em-{em} {{ --far: min({wanted}, {_HEIGHT_VH / em:.2f}vh); }}\n" for em in range(1, _EM_MAX + 1))
    return f":root {{ --far: min({wanted}); }}\n" + "".join(fits)


def hall(site: Site, sight: Sight, tongue: Tongue, only: str) -> Html:
    """only: one queue, "" for all of them."""
    if sight.found is None:
        away = tongue.say("hall.away")
        return el("section", el("p", away), id="away", class_="notice", data_said=away)
    say, queues = tongue.say, sight.found["queues"]
    shown = [name for name in site.queues if name in queues and only in ("", name)]
    facilities = sight.found["facilities"].items()
    broken = [site.facilities[name].title for name, each in facilities
              if each["state"] == OUT_OF_SERVICE and name in site.facilities]  # fmt: skip
    rows = sum(len(queues[name]["services"]) for name in shown)
    em = min(_EM_MAX, math.ceil(len(shown) * _QUEUE_EM + rows * _ROW_EM + len(broken) * _NOTICE_EM))
    return el(
        "div",
        [el("p", el("strong", say("hall.broken")), " ", title, class_="notice") for title in broken],
        [el("section", _queue(site, name, queues[name], tongue)) for name in shown],
        None if shown else el("p", say("hall.none")),
        id="hall", class_=f"em-{max(1, em)}", data_said=" ".join((say("hall.broken"), *broken)) if broken else None,
    )  # fmt: skip


def _queue(site: Site, name: str, queue: dict[str, Any], tongue: Tongue) -> Html:
    say = tongue.say
    columns = [el("th", say(f"hall.{key}"), scope="col") for key in ("service", "waiting", "wait")]
    rows = [
        el(
            "tr",
            el("th", site.services[label].title, _windows(site, label, each, tongue), scope="row"),
            el("td", _label(say("hall.waiting")), f"{each['waiting']}", el("small", say("hall.people"))),
            el("td", _label(say("hall.wait")), _wait(each, tongue)),
        )
        for label, each in queue["services"].items()
        if label in site.services
    ]
    table = el("table", el("thead", el("tr", columns)), el("tbody", rows), aria_labelledby=f"name-{name}")
    return Html(el("h2", site.queues[name].title, id=f"name-{name}") + table)


def _label(word: str) -> Html:
    """What stands at the head of the column, where a telephone shows no columns."""
    return el("span", word, class_="label")


def _wait(service: dict[str, Any], tongue: Tongue) -> Part:
    """With its interval: a promise of one number would be none."""
    say, told = tongue.say, service["predicted"]
    if told is None:
        return say("hall.wait.none") if service["windows"] else say("hall.wait.shut")
    low, likely, high = (-(-told[key] // 60) for key in ("low_s", "wait_s", "high_s"))
    if high <= 1:
        return say("hall.wait.soon")
    return f"{likely}", el("small", say("hall.wait.about", low=low, high=high))


def _windows(site: Site, label: str, service: dict[str, Any], tongue: Tongue) -> Html:
    serve = [window.title for window in site.windows.values() if label in window.services]
    words = [tongue.say("hall.windows.open", n=service["windows"], names=tongue.say("comma").join(serve))]
    if service.get("accessible"):
        words.append(tongue.say("hall.windows.accessible", n=service["accessible"]))
    return el("small", tongue.say("sentence").join(words), class_="windows")
