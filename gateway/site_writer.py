"""A site file with every default filled in and no comments: what `linli check --effective` prints.

Tables and keys stand in a fixed order, so that two files that mean the same give the same text; `cfg`
is its hash. The text is itself a site file with the same meaning.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.conditions import Condition, Do, When
from gateway.site_reader import bare_or_quoted
from gateway.site_tables import SiteFile
from gateway.site_types import KEY, Table


def effective(file: SiteFile) -> str:
    """The file as TOML, one line a table. What has no value (an empty text, no limit) is left out."""
    lines: list[str] = []
    for name, value in _written(file):
        if isinstance(value, dict):
            lines += [f"{name}.{bare_or_quoted(key)} = {toml(value[key])}" for key in sorted(value)]
        else:
            lines.append(f"{name} = {toml(value)}")
    return "\n".join(lines) + "\n"


def cfg(file: SiteFile) -> str:
    """First 8 hex digits of the SHA-256 of `effective`."""
    return hashlib.sha256(effective(file).encode()).hexdigest()[:8]


def _written(table: Table) -> Iterator[tuple[str, Any]]:
    """The keys that stand in the file, with their values."""
    for field in msgspec.structs.fields(table):
        value = getattr(table, field.name)
        if KEY not in getattr(field.type, "__metadata__", ()) and value is not None and value not in ("", {}):
            yield field.encode_name, value


def toml(value: Any) -> str:
    """A value of a site file as TOML writes it, on one line."""
    if isinstance(value, Condition | When | Do):
        return toml(value.text)
    if isinstance(value, Table):
        return "{ " + ", ".join(f"{name} = {toml(each)}" for name, each in _written(value)) + " }"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{bare_or_quoted(key)} = {toml(value[key])}" for key in sorted(value)) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
