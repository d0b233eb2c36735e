"""Plots of a month, a bar a day, as SVG inside the page: no script, no font, no colour alone.

A day whose figure is not known has a cross at its foot, which is something else than a bar of nothing.
"""

from collections.abc import Sequence

from gateway.page import Html, el

_WIDTH, _HEIGHT = 640, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 596, 12, 142


def bars(
    name: str, title: str, description: str, values: Sequence[float | None], top: float, unit: str,
    promise: float | None = None,
) -> Html:  # fmt: skip
    """name: of the figure, for its ids. values: one a day from the 1st. top: the highest tick, in `unit`.

    description: the same in words, for who does not see it. promise: a line drawn across.
    """
    step = (_RIGHT - _LEFT) / max(1, len(values))

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(value, top) / top

    drawn: list[Html] = [_tick(y(share * top), f"{share * top:g}{unit}") for share in (0.0, 0.5, 1.0)]
    for i, value in enumerate(values):
        left = _LEFT + i * step
        if value is None:
            drawn.append(_cross(left + step / 2))
        elif value > 0:
            height = max(1.5, _BOTTOM - y(value))
            drawn.append(_rect(left + step * 0.15, _BOTTOM - height, step * 0.7, height))
        if i == 0 or (i + 1) % 5 == 0:
            drawn.append(_label(left + step / 2, _BOTTOM + 18, str(i + 1), "middle"))
    if promise is not None:
        drawn.append(_line(_LEFT, y(promise), _RIGHT, y(promise), "#9c1f1f", "7 4"))
        drawn.append(_label(_RIGHT + 6, y(promise) + 4, f"{promise:g}{unit}", "start", "#9c1f1f"))
    return el(
        "svg", el("title", title, id=f"{name}-t"), el("desc", description, id=f"{name}-d"), *drawn,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_labelledby=f"{name}-t {name}-d",
    )  # fmt: skip


def nice_top(values: Sequence[float | None]) -> float:
    """A round number that none of them is above."""
    most = max((value for value in values if value is not None), default=0.0)
    scale = 1.0
    while scale < most:
        scale *= 10
    while scale / 10 >= most > 0:
        scale /= 10
    return next((scale * share for share in (0.2, 0.4, 0.5, 1.0) if scale * share >= most), scale)


def _tick(y: float, label: str) -> Html:
    return Html(_line(_LEFT, y, _RIGHT, y, "#c6ccd4") + _label(_LEFT - 6, y + 4, label, "end"))


def _rect(x: float, y: float, width: float, height: float) -> Html:
    return el("rect", x=f"{x:.1f}", y=f"{y:.1f}", width=f"{width:.1f}", height=f"{height:.1f}", fill="#1f5fa8")


def _cross(x: float) -> Html:
    y = _BOTTOM - 6
    return el("path", d=f"M{x - 3:.1f} {y - 3}l6 6m0 -6l-6 6", stroke="#4d5662", stroke_width="1.5", fill="none")


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str | None = None) -> Html:
    return el(
        "line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}", stroke=colour, stroke_width="1",
        stroke_dasharray=dashes,
    )  # fmt: skip


def _label(x: float, y: float, text: str, anchor: str, colour: str = "#4d5662") -> Html:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "fill": colour, "font-size": "12", "text-anchor": anchor}
    return el("text", text, **place)
