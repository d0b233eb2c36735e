"""From a parsed TOML document to the structs of site_tables.py, collecting every mistake on the way.

What could not be read stands as UNREAD in its struct, so that the checks across tables (site_rules.py)
can go on with the rest and one run names all mistakes. Such a struct never leaves `config.load`.
"""

import datetime
import difflib
import json
import re
import types
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec

from gateway.conditions import Condition, ConditionError, Do, When, parse, parse_do, parse_when
from gateway.site_lines import Lines, Path
from gateway.site_types import Table

UNREAD: Any = msgspec.UNSET
T = TypeVar("T", bound=Table)

FOUND_MAX = 60
_SECRETS = frozenset({"password", "passwd", "token", "secret", "psk", "pin"})
_SENTENCES: dict[type, tuple[Callable[[str], Any], str, str]] = {
    Condition: (parse, "a condition", '"basement/rope is wet"'),
    When: (parse_when, "an alarm and a time", '"alarm.leak active 30 s"'),
    Do: (parse_do, "an output and an action", '"valve close"'),
}


class Problem(NamedTuple):
    """One mistake: where, and the three parts. `path` is dotted as in TOML; list items count from 1."""

    file: str
    line: int
    path: str
    found: str
    expected: str
    do: str

    def __str__(self) -> str:
        path = f" {self.path}:" if self.path else ""
        return f"{self.file}:{self.line}:{path} found {self.found}, expected {self.expected}; {self.do}"


class Mistake(NamedTuple):
    """A mistake before its line is known."""

    path: Path
    found: str
    expected: str
    do: str


class Reader:
    """Reads one document; `problems` grows."""

    def __init__(self, file: str, lines: Lines) -> None:
        self._file = file
        self._lines = lines
        self.problems: list[Problem] = []

    def complain(self, mistake: Mistake) -> None:
        line = self._lines.of(mistake.path)
        self.problems.append(Problem(self._file, line, dotted(mistake.path), *mistake[1:]))

    def table(self, kind: type[T], value: dict[str, Any], path: Path = ()) -> T:
        """A struct of `kind`, with UNREAD for each key that is missing or wrong."""
        written = [f for f in msgspec.structs.fields(kind) if not _extra(f.type).get("key")]
        meant = self._unknown_keys(kind, [f.encode_name for f in written], value, path)
        fields = {f.name: path[-1] for f in msgspec.structs.fields(kind) if f not in written}
        for field in written:
            name = field.encode_name
            if name in value:
                fields[field.name] = self._value(field.type, value[name], (*path, name))
            elif field.required:
                fields[field.name] = UNREAD
                if name not in meant:
                    do = f"add for example {name} = {example(field.type)}"
                    self._complain((*path, name), "nothing", describe(field.type), do)
        return kind(**fields)

    def _complain(self, path: Path, found: str, expected: str, do: str) -> None:
        self.complain(Mistake(path, found, expected, do))

    def _unknown_keys(self, kind: type[Table], known: list[str], value: dict[str, Any], path: Path) -> set[str]:
        """Complain of each key that is not known. Returns the known ones that were probably meant."""
        meant: set[str] = set()
        for key in (key for key in value if key not in known):
            near = difflib.get_close_matches(key, [name for name in known if name not in value], 1)
            expected, do = "one of " + ", ".join(known), "remove it"
            if key in kind.NOT_YET:
                expected, do = "a key of this version", "not yet supported; remove it"
            elif key in _SECRETS:
                do = "remove it: no secret may stand in a site file"
            elif near:
                do = f'write "{near[0]}"'
                meant.update(near)
            self._complain((*path, key), f"key {quoted(key)}", expected, do)
        return meant

    def _value(self, kind: Any, value: Any, path: Path) -> Any:
        inner = _plain(kind)
        if get_origin(inner) is dict:
            key_kind, entry_kind = get_args(inner)
            return self._tables(key_kind, entry_kind, value, path)
        if get_origin(inner) is list:
            return self._items(kind, value, path)
        if inner in _SENTENCES:
            return self._sentence(inner, value, path)
        if not issubclass_of_table(inner):
            return self._leaf(kind, value, path)
        if isinstance(value, dict):
            return self.table(inner, value, path)
        return self._wrong(kind, value, path)

    def _tables(self, key_kind: Any, kind: type[Table], value: Any, path: Path) -> Any:
        """`bus`, `sensor`, ...: a table of tables of one kind. One that is no table stays, UNREAD, by name."""
        if not isinstance(value, dict):
            name = json.loads(_extra(key_kind)["example"])
            self._complain(path, found(value), "a table of tables", f"write {dotted((*path, name))} = {example(kind)}")
            return UNREAD
        tables: dict[str, Any] = {}
        for key, entry in value.items():
            try:
                msgspec.convert(key, key_kind)
            except msgspec.ValidationError:
                do = f"rename it, for example to {_extra(key_kind)['example']}"
                self._complain((*path, key), f"the name {quoted(key)}", describe(key_kind), do)
            tables[key] = self._value(kind, entry, (*path, key))
        return tables

    def _items(self, kind: Any, value: Any, path: Path) -> Any:
        """A list, with UNREAD in the place of an item that could not be read."""
        if not isinstance(value, list):
            return self._wrong(kind, value, path)
        if len(value) < (_meta(kind).min_length or 0):
            return self._wrong(kind, value, path)
        (item_kind,) = get_args(_plain(kind))
        return [self._value(item_kind, item, (*path, index)) for index, item in enumerate(value)]

    def _sentence(self, kind: type, value: Any, path: Path) -> Any:
        if not isinstance(value, str):
            return self._wrong(kind, value, path)
        try:
            return _SENTENCES[kind][0](value)
        except ConditionError as error:
            self._complain(path, f"{error.found} at character {error.at} of {quoted(value)}", error.expected, error.do)
            return UNREAD

    def _leaf(self, kind: Any, value: Any, path: Path) -> Any:
        try:
            read = msgspec.convert(value, kind)
        except msgspec.ValidationError:
            return self._wrong(kind, value, path)
        if "choices" in _extra(kind) and read not in _extra(kind)["choices"]:
            return self._wrong(kind, value, path)
        return read

    def _wrong(self, kind: Any, value: Any, path: Path) -> Any:
        shown = "no file reference" if _extra(kind).get("secret") else found(value)
        self._complain(path, shown, describe(kind), _what_to_do(kind, value, path))
        return UNREAD


def found(value: object) -> str:
    """A value of the file, short, as it would stand in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, int) and abs(value) > 10**18:
        return "a number too large"
    return str(value).removesuffix(".0")


def quoted(text: str) -> str:
    """In quotes, on one line and not too long."""
    return json.dumps(text if len(text) <= FOUND_MAX else text[:FOUND_MAX] + "…", ensure_ascii=False)


def dotted(path: Path) -> str:
    """("sensor", "a/b", "any", 0) -> sensor."a/b".any[1]"""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            text += "." * bool(text) + bare_or_quoted(part)
    return text


def bare_or_quoted(key: str) -> str:
    """A key as TOML wants it written."""
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else quoted(key)


def one_of(words: Iterable[object]) -> str:
    """'"a", "b" or "c"'"""
    *most, last = [found(word) for word in words]
    return f"{', '.join(most)} or {last}" if most else last


def describe(kind: Any) -> str:
    """What is expected of a value of this type, in words."""
    inner, extra = _plain(kind), _extra(kind)
    if choices := _choices(kind):
        return one_of(choices)
    if inner in _SENTENCES:
        return _SENTENCES[inner][1]
    if description := _meta(kind).description:
        return description
    if "key" not in extra and issubclass_of_table(inner):
        return "a table"
    return "true or false"


def example(kind: Any) -> str:
    """A value of this type as it may be written; for a table, with its required keys."""
    inner = _plain(kind)
    if choices := _choices(kind):
        return found(choices[0])
    if inner in _SENTENCES:
        return _SENTENCES[inner][2]
    if issubclass_of_table(inner):
        fields = [f for f in msgspec.structs.fields(inner) if f.required and not _extra(f.type).get("key")]
        pairs = ", ".join(f"{f.encode_name} = {example(f.type)}" for f in fields)
        return f"{{ {pairs} }}" if pairs else "{}"
    return str(_extra(kind).get("example", "true"))


def issubclass_of_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Table)


def _what_to_do(kind: Any, value: Any, path: Path) -> str:
    key = "" if isinstance(path[-1], int) else f"{dotted(path[-1:])} = "
    if isinstance(value, str) and value in _extra(kind).get("not_yet", ()):
        return "not yet supported; remove it"
    if isinstance(value, str):
        near = difflib.get_close_matches(value, [c for c in _choices(kind) if isinstance(c, str)], 1)
        if near:
            return f"write {key}{quoted(near[0])}"
        try:
            if not isinstance(msgspec.convert(value, kind, strict=False), str):  # a number or a truth in quotes
                return f"write {key}{value.lower()} without quotes"
        except msgspec.ValidationError:
            pass
    if len(_choices(kind)) > 1:
        return "choose one of them"
    return f"write {'for example ' * (not _choices(kind))}{key}{example(kind)}"


def _plain(kind: Any) -> Any:
    """Without Annotated and without `| None`: TOML has no null."""
    if get_origin(kind) is Annotated:
        return _plain(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return _plain(next(arg for arg in get_args(kind) if arg is not type(None)))
    return kind


def _meta(kind: Any) -> msgspec.Meta:
    if get_origin(kind) in (Union, types.UnionType):
        return _meta(next(arg for arg in get_args(kind) if arg is not type(None)))
    return next((m for m in getattr(kind, "__metadata__", ()) if isinstance(m, msgspec.Meta)), msgspec.Meta())


def _extra(kind: Any) -> dict[str, Any]:
    return _meta(kind).extra or {}


def _choices(kind: Any) -> tuple[Any, ...]:
    inner = _plain(kind)
    return get_args(inner) if get_origin(inner) is Literal else _extra(kind).get("choices", ())
