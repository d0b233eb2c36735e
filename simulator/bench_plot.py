"""The ratios of a benchmark as a picture for the docs: the one door to pygal, a library of developers alone."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pygal
from pygal.style import CleanStyle

from simulator.bench_rig import BenchError
from simulator.bench_table import Figure

_HELD, _MISSED, _BARE = "#4c9f70", "#c4513d", "#5b7db1"


def draw(figures: Sequence[Figure], file: Path) -> None:
    """Each figure that has a limit as one bar, from 1 to the ratio, logarithmic; what is promised must not be above 1.

    Raises BenchError when there is nothing to draw, OSError.
    """
    bars = [figure for figure in reversed(figures) if figure.ratio]  # pygal begins below
    if not bars:
        raise BenchError(f"{file}: found no figure with a limit, expected some to draw; ask for other rows")
    tens = [math.log10(figure.ratio or 1.0) for figure in bars]
    low, high = min(-1, math.floor(min(tens))), max(1, math.ceil(max(tens)))
    style = CleanStyle(
        colors=(_HELD, _MISSED, _BARE), font_family="sans-serif", background="#ffffff", plot_background="#ffffff",
        opacity="1", value_font_size=11, label_font_size=11,
    )  # fmt: skip
    chart = pygal.HorizontalStackedBar(
        style=style, js=(), pretty_print=True, print_values=True, print_values_position="top", legend_at_bottom=True,
        legend_at_bottom_columns=3, width=1000, height=130 + 24 * len(bars), spacing=4, margin=12, range=(low, high),
        title="value / limit; to the left of 1 is below the limit", truncate_label=-1, truncate_legend=-1,
        value_formatter=_ratio_text, no_prefix=True,
    )  # fmt: skip
    chart.x_labels = [figure.name for figure in bars]
    chart.y_labels = [{"value": ten, "label": f"{10.0**ten:g}"} for ten in range(low, high + 1)]
    held = [figure.is_promise and not figure.is_missed for figure in bars]
    missed = [figure.is_missed for figure in bars]
    bare = [not figure.is_promise for figure in bars]
    for title, which in (("promised, held", held), ("promised, missed", missed), ("beside the bare limit", bare)):
        chart.add(title, [ten if its else None for ten, its in zip(tens, which, strict=True)])
    chart.add_xml_filter(_without_scripts)
    file.write_bytes(chart.render())


def _ratio_text(ten: float) -> str:
    return f"{10**ten:.3g}" if ten else ""  # a stack says 0 for what is not there


def _without_scripts(root: Any) -> Any:
    """A picture in a document runs nothing."""
    for parent in list(root.iter()):
        for child in [child for child in parent if str(child.tag).endswith("script")]:
            parent.remove(child)
    return root
