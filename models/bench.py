"""`linli bench models`: the detectors of this version on the published tables, by the tables' own protocols.

    ./dev bench models --set nab --data DIR --json

Each set has a file of its own (SETS), which offers `table(folder) -> Table`. Every scorer is shown to be right by
published rows that it reproduces (docs/models.md). The last line printed is our row, by the table's column names.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import NamedTuple

from models.data import data_dir


class Table(NamedTuple):
    """columns: the table's own names. rows: (who, one figure a column; None: none was published).

    ours: the row that is ours. notes: what must be known to read the table, a sentence each.
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, tuple[float | None, ...]]]
    ours: tuple[float, ...]
    notes: list[str]


SETS = {  # name of the set: (the file that scores it, its folder below the data's)
    "leakdb": ("models.bench_leakdb", "leakdb-hanoi"),
    "nab": ("models.bench_nab", "nab"),
    "skab": ("models.bench_skab", "skab"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", required=True, choices=sorted(SETS), help="whose table")
    parser.add_argument("--data", type=Path, help="a folder of that set's format (the default: docs/models.md)")
    parser.add_argument("--json", action="store_true", help="the last line as JSON")


def run(args: argparse.Namespace) -> int:
    """0: measured and printed. 2: data that is not there or cannot be read."""
    module, name = SETS[args.set]
    try:
        table = importlib.import_module(module).table(args.data or data_dir(name))
    except (OSError, ValueError) as error:
        print(f"linli bench models: {error}", file=sys.stderr)
        return 2
    show(table, as_json=args.json)
    return 0


def show(table: Table, *, as_json: bool) -> None:
    """Print the table, its notes, and our row as the last line."""
    wide = max(len(who) for who, _ in table.rows)
    print(" " * wide, *(f"{name:>9}" for name in table.columns))
    for who, figures in table.rows:
        print(f"{who:<{wide}}", *(f"{figure:9.2f}" if figure is not None else f"{'–':>9}" for figure in figures))
    for note in table.notes:
        print(note)
    named = dict(zip(table.columns, (round(figure, 4) for figure in table.ours), strict=True))
    print(json.dumps(named) if as_json else "  ".join(f"{name} {figure}" for name, figure in named.items()))
