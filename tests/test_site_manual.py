"""docs/site-file.md says of every key what the code says."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from drivers.kinds import KINDS
from gateway import site_hall, site_machines, site_page, site_tables
from gateway.config import problems
from gateway.site_tables import SiteFile
from gateway.site_types import KEY, Table

FILES = {"site_tables": site_tables, "site_hall": site_hall, "site_machines": site_machines, "site_page": site_page}
MANUAL = Path(__file__).parent.parent / "docs/site-file.md"


def tables(name: str = "", kind: type[Table] = SiteFile) -> Iterator[tuple[str, type[Table]]]:
    """("bus", Bus) for each table a site file may have, nested ones as "sensor.report"."""
    if name:
        yield name, kind
    for field in msgspec.structs.fields(kind):
        for module, inner in re.findall(r"gateway\.(site_(?:tables|hall|machines|page))\.(\w+)", str(field.type)):
            yield from tables(f"{name}.{field.encode_name}".lstrip("."), getattr(FILES[module], inner))


def documented() -> dict[str, dict[str, str]]:
    """{"bus": {"silent_s": "15"}}: the keys and defaults in the manual's tables, by the section's heading."""
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in MANUAL.read_text(encoding="utf-8").splitlines():
        if heading := re.match("## `(.+)`", line):
            section = found[heading[1]] = {}
        elif row := re.fullmatch(r"\| `(\w+)` \| .* \| (.*) \| `\w+ = .*` \|", line):
            section[row[1]] = row[2]
    return found


@pytest.mark.parametrize(("name", "kind"), list(tables()), ids=[name for name, _ in tables()])
def test_the_manual_has_every_key_with_its_default(name, kind):
    section = documented()[name]
    fields = [f for f in msgspec.structs.fields(kind) if KEY not in getattr(f.type, "__metadata__", ())]
    assert set(section) == {field.encode_name for field in fields}
    for field in fields:
        shown = section[field.encode_name]
        if field.required:
            assert shown == "required", field.encode_name
        elif shown.startswith("`"):
            assert tomllib.loads(f"v = {shown.strip('`')}")["v"] == field.default, field.encode_name
        else:  # "none", "by point": nothing stands there when it is left out
            nested = site_tables.NOT_GIVEN, site_hall.BY_LETTER_AND_DAY, site_tables.Chatter(), site_page.PageRoles()
            left_out = ("", None, *nested)
            assert field.default in left_out or field.default_factory in (list, dict), shown


def test_the_manual_has_every_kind_with_its_words_and_every_point():
    manual = MANUAL.read_text(encoding="utf-8")
    for name, kind in KINDS.items():
        words = f"{kind.active}, {kind.idle}" if kind.is_contact else ""
        assert f"| `{name}` | {kind.unit} | {words} |" in manual
    for family, kind_name in site_tables.FAMILIES.items():
        assert re.search(rf"^\| `(<bus>:)?{family}\S*` .*\| {kind_name or 'a contact'}", manual, re.MULTILINE), family


def test_the_manual_says_what_is_not_supported_yet():
    manual = MANUAL.read_text(encoding="utf-8").partition("## What is not supported yet")[2]
    for name, kind in [("", SiteFile), *tables()]:
        for key in kind.NOT_YET:
            assert f"`{key}`" in manual, f"{name}.{key}"


def test_the_examples_in_the_manual_are_right(tmp_path):
    text = MANUAL.read_text(encoding="utf-8")
    [whole] = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "site.toml").write_text(whole, encoding="utf-8")
    assert problems(tmp_path / "site.toml") == []
    examples = re.findall(r"^\| `(\w+)` \|.*\| `(\w+ = .*)` \|$", text, re.MULTILINE)
    assert len(examples) > 50
    for key, example in examples:
        assert list(tomllib.loads(example)) == [key]
