"""HTML in which no text can become markup: `el` escapes whatever is not Html already. One self-contained page, for
the screen from 320 px on and for paper, each language with its own `lang`.
"""

import html
from collections.abc import Iterable, Sequence

HTML_LANG = {"zh-CN": "zh-Hans", "en": "en"}
_VOID = ("meta", "br", "input", "link")

STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #4d5662; --line: #c6ccd4; --bad: #9c1f1f; --good: #1d6a37; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; font: 1rem/1.6 "Noto Sans CJK SC", "Noto Sans SC", "PingFang SC",
  "Microsoft YaHei", system-ui, sans-serif; }
:lang(en) { font-family: system-ui, "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "Noto Sans SC", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
nav.languages { max-width: 60rem; margin: 0 auto; padding: .5rem 1rem 0; }
nav.languages a { display: inline-block; min-height: 1.75rem; margin-right: 1.5rem; padding: .15rem 0; }
a { color: #12498a; }
h1 { font-size: 1.6rem; line-height: 1.3; margin: .5rem 0; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 2rem 0 .5rem; padding-top: .5rem; border-top: 2px solid var(--ink); }
h3 { font-size: 1.1rem; margin: 1.5rem 0 .25rem; }
section + section { margin-top: 4rem; }
p, ul { margin: .4rem 0; max-width: 44rem; overflow-wrap: anywhere; }
.heard { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.soft { color: var(--soft); }
.wide { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--soft); padding: .25rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .75rem .35rem 0; text-align: left; vertical-align: top;
  overflow-wrap: break-word; }
th { font-weight: 600; }
.num { text-align: right; font-variant-numeric: tabular-nums; }
td.num, td > .good, td > .bad { white-space: nowrap; }
th[scope="row"] { min-width: 5em; }
.bad { color: var(--bad); font-weight: 600; }
.good { color: var(--good); font-weight: 600; }
figure { margin: .75rem 0; }
figcaption { color: var(--soft); }
svg { display: block; width: 100%; height: auto; max-width: 44rem; }
details summary { cursor: pointer; min-height: 1.75rem; color: #12498a; }
.sign { display: flex; flex-wrap: wrap; gap: 2rem; margin: 2.5rem 0 1rem; }
.sign span { flex: 1 1 14rem; border-top: 1px solid var(--ink); padding-top: .25rem; }
@media (max-width: 30rem) {
  main { padding: .75rem; } h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; }
  th, td { padding-right: .4rem; font-size: .9rem; }
}
@media print {
  @page { size: A4; margin: 15mm; }
  body { font-size: 10.5pt; } main { max-width: none; padding: 0; } nav, details { display: none; }
  h2, h3 { break-after: avoid; } figure, tr { break-inside: avoid; } .wide { overflow: visible; }
  section + section { break-before: page; }
}
"""


class Html(str):
    """Markup already."""

    __slots__ = ()


Part = str | Iterable["Part"] | None


def text(part: Part) -> str:
    if part is None:
        return ""
    if isinstance(part, Html):
        return part
    if isinstance(part, str):
        return html.escape(part)
    return "".join(text(each) for each in part)


def el(name: str, /, *parts: Part, **attributes: str | None) -> Html:
    """`class_` and `aria_label` become class and aria-label; None leaves one out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(text(part) for part in parts)
    return Html(f"<{name}{written}>" if name in _VOID and not inside else f"<{name}{written}>{inside}</{name}>")


def table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[Part]], numbers: Sequence[int] = (), *,
    of: str = "", shown: bool = True,
) -> Html:  # fmt: skip
    """The first cell of each row is its heading. numbers: columns of numbers. Where it is too wide it scrolls alone.

    of: what tells it from tables of the same caption on this page. shown: whether the caption is; a heading just
    above may say the same.
    """

    def style(index: int) -> str | None:
        return "num" if index in numbers else None

    heads = [el("th", cell, scope="col", class_=style(i)) for i, cell in enumerate(head)]
    lines = [
        el("tr", *(el("th", c, scope="row") if i == 0 else el("td", c, class_=style(i)) for i, c in enumerate(row)))
        for row in rows
    ]
    whole = el(
        "table",
        el("caption", el("span", caption, class_=None if shown else "heard")),
        el("thead", el("tr", *heads)),
        el("tbody", *lines),
    )
    return el("div", whole, class_="wide", role="region", aria_label=f"{of} {caption}".strip(), tabindex="0")


def page(title: str, bodies: dict[str, Html]) -> str:
    """The whole file. bodies: {language: what stands in its main}, the first one first."""
    first, *_ = bodies
    links = [
        el("a", name, href=f"#{lang}", lang=HTML_LANG[lang], hreflang=HTML_LANG[lang])
        for lang, name in (("zh-CN", "中文"), ("en", "English"))
        if lang in bodies
    ]
    sheets = [el("section", body, id=lang, lang=HTML_LANG[lang]) for lang, body in bodies.items()]
    head = el(
        "head", el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="robots", content="noindex"), el("title", title), el("style", Html(STYLE)),
    )  # fmt: skip
    nav = el("nav", *links, class_="languages", aria_label="语言 Language")
    return "<!doctype html>\n" + el("html", head, el("body", nav, el("main", *sheets)), lang=HTML_LANG[first]) + "\n"
