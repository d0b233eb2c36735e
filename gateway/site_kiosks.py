"""What must fit between lines that are overheard, their templates and frame tables, and the windows they belong to."""

import difflib
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path as FilePath

from drivers import call_bus, frame_table
from drivers.escpos_tap import Template, TemplateError
from drivers.frame_table import FrameTable, FrameTableError
from gateway.site_lines import Path
from gateway.site_reader import UNREAD, Mistake, one_of, quoted
from gateway.site_rules import entries, read, twice, unknown
from gateway.site_tables import LINE_NOT_GIVEN, Bus, SiteFile

_KEYS = {"ticket": ("escpos",), "text": ("escpos",), "reprint": ("escpos",), "table": ("call-bus", "rating-pad")}
_NEEDS = {"escpos": "ticket", "call-bus": "table", "rating-pad": "table"}
_EXAMPLE = {"ticket": '["您的号码: {label}"]', "call-bus": '"keypad-21"', "rating-pad": '"pad-byte"'}


def table_of(bus: Bus) -> FrameTable:
    """The frame table of a call bus or pad. Raises FrameTableError."""
    path = FilePath(bus.table.removeprefix("file:")) if bus.table.startswith("file:") else None
    path = path or frame_table.tables().get(bus.table)
    if path is None:
        raise FrameTableError([f"found table {bus.table!r}, expected one of {', '.join(frame_table.tables())}"])
    try:
        changed_ns = path.stat().st_mtime_ns
    except OSError:
        changed_ns = 0
    return _loaded(path, changed_ns)


@lru_cache(maxsize=32)
def _loaded(path: FilePath, changed_ns: int) -> FrameTable:
    table = frame_table.load(path)
    if mistakes := call_bus.golden_mistakes(table):
        raise FrameTableError([f"{path}: {mistake}" for mistake in mistakes])
    return table


def bus_rules(file: SiteFile) -> Iterator[Mistake]:
    for name, bus in entries(file.bus):
        if read(bus, "kind"):
            yield from _key_rules(bus, ("bus", name))
            yield from _template_rules(bus, ("bus", name))
            yield from _table_rules(bus, ("bus", name))


def _key_rules(bus: Bus, path: Path) -> Iterator[Mistake]:
    """Each key where it belongs, and what a kind cannot do without."""
    for key, kinds in _KEYS.items():
        if read(bus, key) and getattr(bus, key) and bus.kind not in kinds:
            do = "remove it, or correct kind"
            expected = f"{key} for a bus of kind {one_of(kinds)}"
            yield Mistake((*path, key), f"{key} for the {bus.kind} {quoted(str(path[-1]))}", expected, do)
    key = _NEEDS.get(bus.kind, "")
    if key and read(bus, key) and not getattr(bus, key):
        example = _EXAMPLE["ticket"] if key == "ticket" else _EXAMPLE[bus.kind]
        yield Mistake(
            (*path, key), "nothing", f"{key} for a bus of kind {quoted(bus.kind)}", f"add for example {key} = {example}"
        )
    if bus.is_overheard and bus.line is LINE_NOT_GIVEN:
        do = 'add what the device uses, for example line = "9600 8N1"'
        yield Mistake((*path, "line"), "nothing", "speed, data bits, parity and stop bits", do)


def _template_rules(bus: Bus, path: Path) -> Iterator[Mistake]:
    if bus.kind != "escpos" or not read(bus, "ticket") or not bus.ticket or UNREAD in bus.ticket:
        return
    try:
        Template(bus.ticket)
    except TemplateError as error:
        found, _, expected = str(error).partition("; expected ")
        if not expected:
            found, _, expected = str(error).partition(", expected ")
        do = "correct the lines; docs/devices/kiosks.md shows some"
        yield Mistake((*path, "ticket"), found.removeprefix("found "), expected, do)


def _table_rules(bus: Bus, path: Path) -> Iterator[Mistake]:
    if bus.kind not in _KEYS["table"] or not read(bus, "table") or not bus.table:
        return
    known = frame_table.tables()
    if not bus.table.startswith("file:") and bus.table not in known:
        near = difflib.get_close_matches(bus.table, known, 1)
        do = f"write table = {quoted(near[0])}" if near else 'name one, or write "file:/PATH" for one of yours'
        yield Mistake((*path, "table"), quoted(bus.table), f"one of {', '.join(known)}", do)
        return
    try:
        table_of(bus)
    except FrameTableError as error:
        found = error.mistakes[0]
        yield Mistake((*path, "table"), quoted(bus.table), "a frame table without mistakes", f"correct it: {found}")


def window_rules(file: SiteFile) -> Iterator[Mistake]:
    for key in ("calls", "rating"):
        claims = [
            (getattr(window, key), ("window", name, key))
            for name, window in entries(file.window)
            if read(window, key) and getattr(window, key)
        ]
        for point, where in claims:
            yield from _place_rules(file, key, point, where)
        yield from twice(claims, "terminal" if key == "calls" else "pad")


def _place_rules(file: SiteFile, key: str, point: str, where: Path) -> Iterator[Mistake]:
    source, _, address = point.partition(":")
    yield from unknown(file.bus, source, where, "bus")
    bus = (file.bus or {}).get(source, UNREAD) if isinstance(file.bus, dict) else UNREAD
    if bus is UNREAD or not read(bus, "kind"):
        return
    kinds = ("call-bus",) if key == "calls" else ("rating-pad", "call-bus", "node")
    form = "pad[1-9][0-9]?" if bus.kind == "node" else "(?:[1-9]?[0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])"
    if bus.kind not in kinds:
        do = "name another bus" if key == "calls" else 'name another, for example "n1:pad1"'
        yield Mistake(
            where, f"{quoted(point)}, on a bus of kind {quoted(bus.kind)}", f"a bus of kind {one_of(kinds)}", do
        )
    elif not re.fullmatch(form, address):
        example = f"{source}:pad1" if bus.kind == "node" else f"{source}:1"
        expected = "a node's pad" if bus.kind == "node" else "an address from 0 to 255 (1 for a pad without one)"
        yield Mistake(where, quoted(point), expected, f"write for example {key} = {quoted(example)}")
