"""The site file: what a good one says, and that each mistake in a bad one is named with its line and a way out."""

import argparse
import hashlib
import random
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from drivers.reading import DriverError
from gateway import check, cli
from gateway.config import ConfigErrors, load, problems, read, resolve_port
from gateway.site_lines import Lines
from gateway.site_tables import Report
from gateway.site_writer import effective

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "simulator/sites/demo.toml"
GOOD = ROOT / "tests/bad_sites/good.toml"


@pytest.fixture
def site_file(tmp_path):
    """A function that writes a text where a site file may stand."""

    def write(text: str) -> Path:
        path = tmp_path / "site.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def edited(*changes: tuple[str, str]) -> str:
    text = GOOD.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, f"good.toml no longer has {old}"
        text = text.replace(old, new, 1)
    return text


def bad_edits() -> Iterator[tuple[str, str, list[str]]]:
    """(old, new, what is said) for each block of edits.txt."""
    text = (ROOT / "tests/bad_sites/edits.txt").read_text(encoding="utf-8")
    for block in text.split("\n\n"):
        marked = {mark: [line[2:] for line in block.splitlines() if line[:1] == mark] for mark in "-+>"}
        if marked["-"]:
            [old], [new] = marked["-"], marked["+"]
            yield old.replace("\\n", "\n"), new.replace("\\n", "\n"), marked[">"]


EDITS = list(bad_edits())


# What a good file says


def test_the_demo_centre_reads_as_it_is_written():
    site = load(DEMO)
    assert (site.id, site.gateway, site.lang, site.tz) == ("demo-centre", "demo-centre-a", "zh-CN", "Asia/Shanghai")
    assert {name: bus.kind for name, bus in site.buses.items()} == {
        "n1": "node",
        "n2": "node",
        "k1": "kiosk-line",
        "b1": "modbus",
    }
    rope = site.sensors["basement/rope"]
    assert (rope.point, rope.kind, rope.wiring, rope.on_s, rope.unit) == ("gpio:17", "leak", "normally-closed", 1.0, "")
    assert site.outputs["valve"].at_crash == "keep"
    assert site.alarms["cord"].title == "卫生间求助"
    assert [c.sensor for c in site.alarms["cord"].any] == ["toilet-f1/cord", "toilet-f2/cord"]
    close = site.reactions["close-main"]
    assert (close.alarm, close.after_s, close.output, close.action) == ("leak", 2.0, "valve", "close")
    assert (site.uplink.host, site.uplink.port, site.uplink.tls, site.uplink.root) == (
        "127.0.0.1",
        1883,
        False,
        "linli",
    )
    assert [(d.name, d.sensor) for d in site.detectors.values()] == [("water-leak", "basement/main/flow")]
    assert site.queues["hall"].services == ["A", "B", "C"]


def test_what_follows_from_the_point_need_not_be_written():
    sensors = load(DEMO).sensors
    assert (sensors["kitchen/tap/flow"].kind, sensors["kitchen/tap/flow"].unit) == ("flow", "m3/s")
    assert sensors["toilet-f2/cord"].wiring == "normally-open"


def test_each_reading_of_a_node_is_reported_and_a_pin_each_minute(site_file):
    sensors = load(site_file(edited(('kind = "door"', 'kind = "door", report = { every_s = 5 }')))).sensors
    assert sensors["basement/main/flow"].report == Report(every_s=0.0)
    assert sensors["basement/rope"].report == Report(every_s=60.0)
    assert sensors["main-door"].report == Report(every_s=5.0)
    slow = ("silent_s = 120", "report = { every_s = 60 }")
    assert load(site_file(edited(slow))).sensors["basement/main/flow"].report == Report(every_s=60.0)


def test_a_broker_elsewhere_is_reached_with_tls_and_files_stand_beside_the_site_file(site_file):
    tls = 'tls = { ca = "file:ca.pem", key = "file:/id.key", cert = "file:id.pem" }\n[uplink]'
    path = site_file(edited(("[uplink]", tls), ("mqtt://127.0.0.1:1883", "mqtts://192.0.2.10")))
    site = load(path)
    assert (site.uplink.host, site.uplink.port, site.uplink.tls) == ("192.0.2.10", 8883, True)
    assert site.tls is not None
    assert [site.file(site.tls.ca), site.file(site.tls.key or "")] == [path.parent / "ca.pem", Path("/id.key")]


@pytest.mark.parametrize("url", ["mqtt://localhost", "mqtt://127.9.9.9:1", "mqtt://[::1]:1883"])
def test_a_broker_on_this_machine_needs_no_tls(url, site_file):
    assert problems(site_file(edited(("mqtt://127.0.0.1:1883", url)))) == []


def test_a_file_from_another_editor_reads_the_same(tmp_path):
    path = tmp_path / "site.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.read_bytes().replace(b"\n", b"\r\n"))
    assert load(path).cfg == load(GOOD).cfg


# What is said about a bad one


@pytest.mark.parametrize(("old", "new", "said"), EDITS, ids=[f"{old} -> {new}"[:60] for old, new, _ in EDITS])
def test_a_mistake_is_named_with_its_line_what_was_expected_and_what_to_do(old, new, said, site_file):
    path = site_file(edited((old, new)))
    assert [str(problem).removeprefix(f"{path}:") for problem in problems(path)] == said
    with pytest.raises(ConfigErrors, match=re.escape(said[0])):
        load(path)


def test_there_are_bad_files_for_every_rule_and_no_two_say_the_same_of_the_same_change():
    assert len(EDITS) >= 100
    assert len({(old, new) for old, new, _ in EDITS}) == len(EDITS)


def test_five_mistakes_give_five_lines_in_the_order_of_the_file(site_file):
    path = site_file(
        edited(
            ('tz = "Asia/Shanghai"', 'tz = "Asia/Shangai"'),
            ("on_s = 1,", 'on_s = "1", latch = 3,'),
            ('do = "valve close"', 'do = "valve shut"'),
            ('root = "linli"', 'root = "linli/+"'),
        )
    )
    found = [(problem.line, problem.path) for problem in problems(path)]
    assert found == [
        (3, "site.tz"),
        (15, 'sensor."basement/rope".on_s'),
        (15, 'sensor."basement/rope".latch'),
        (29, "reaction.close-main.do"),
        (48, "uplink.root"),
    ]


def test_a_table_with_one_mistake_is_still_checked_for_the_others(site_file):
    path = site_file(
        edited(('from = "gpio:17", kind = "leak"', 'from = "gpio:17", kind = "flow", on_s = "x"'), ("on_s = 1,", ""))
    )
    assert [problem.path.split(".")[-1] for problem in problems(path)] == ["on_s", "kind"]


def test_a_broken_table_makes_no_further_mistakes_of_those_who_name_it(site_file):
    assert len(problems(site_file(edited(('sensor."basement/rope" = {', 'sensor."basement/rope" = 3 # '))))) == 1
    assert len(problems(site_file(edited(('output.valve = { to = "gpio:5"', "output.valve = { to = 5"))))) == 1


@pytest.mark.parametrize("secret", ["geheim", "-----BEGIN PRIVATE KEY-----"])
def test_a_secret_in_the_file_is_never_repeated(secret, site_file):
    for change in (
        ("[uplink]", f'tls = {{ ca = "{secret}", key = "{secret}" }}\n[uplink]'),
        ("mqtt://127.0.0.1:1883", f"mqtts://demo:{secret}@192.0.2.10:8883"),
        ('root = "linli"', f'password = "{secret}"'),
    ):
        said = "\n".join(map(str, problems(site_file(edited(change)))))
        assert said
        assert secret not in said


def test_a_file_that_is_no_text_is_refused_with_its_line(tmp_path):
    path = tmp_path / "site.toml"
    path.write_bytes("schema = 1\nsite = { name = '社区' }".encode("gb18030"))
    assert [str(problem) for problem in problems(path)] == [
        f"{path}:2: found bytes that are no UTF-8, expected UTF-8 text; save the file as UTF-8"
    ]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "nothing"),
        (b"a = " + b"[" * 5000, "brackets nested too deep"),
        (b"a = " + b"9" * 5000, '"a = 9999999999999999" at column 1'),
        (b"a = 0x" + b"f" * 9000, 'key "a"'),
        (b"#" * 1_000_001, "more than 1 MB"),
    ],
)
def test_an_extreme_file_is_refused_like_any_other(content, found, tmp_path):
    path = tmp_path / "site.toml"
    path.write_bytes(content)
    assert found in [problem.found for problem in problems(path)]


@pytest.mark.parametrize("seed", range(8))
def test_no_text_whatever_ends_in_a_traceback(seed, site_file):
    dice = random.Random(seed)
    demo = DEMO.read_text(encoding="utf-8")
    refused = 0
    for _ in range(60):
        text = demo
        for _ in range(dice.randint(1, 4)):
            text = mutated(text, dice)
        path = site_file(text)
        found = problems(path)
        refused += bool(found)
        assert all(1 <= problem.line <= text.count("\n") + 1 for problem in found), f"seed {seed}"
        assert all(problem.found and problem.expected and problem.do for problem in found), f"seed {seed}"
        assert all(len(str(problem).splitlines()) == 1 for problem in found), f"seed {seed}"
        if not found:
            assert load(path).cfg
    assert refused > 20


def mutated(text: str, dice: random.Random) -> str:
    """The text with one hostile edit: cut, doubled, swapped, or something odd put in place of a value."""
    at = dice.randrange(len(text))
    end = at + dice.choice([1, 1, 3, 20])
    values = list(re.finditer(r'"[^"\n]*"|\b[0-9.]+\b|true|\{[^{}\n]*\}|\[[^\[\]\n]*\]', text))
    value = dice.choice(values) if values else None
    odd = dice.choice(
        ['""', "3", "-1", "1e400", "nan", "true", "[]", "{}", "[[]]", "{ a = 1 }", "1979-05-27", '"\\u0000"', "'''x'''"]
        + [each.group() for each in values[:60]]
    )
    how = dice.randrange(5)
    if how == 0:
        return text[:at] + text[end:]
    if how == 1:
        return text[:at] + text[at:end] * 2 + text[end:]
    if how == 2:
        return text[:at] + dice.choice('"=.[]{}#\n,\\\x00\u3000é') + text[at:]
    if value is None:
        return text
    return text[: value.start()] + odd + text[value.end() :]


# Lines


def test_each_key_of_any_form_of_toml_has_its_line():
    text = """\
a = 1
[b."x.y".c]  # a table
d = '''x
]y'''
"e\\t" = [1, # an array over lines
  { q.r = 2, "s t" = [
 3 ] } ,
 'x]',
]
[[f.g]]
h = 1979-05-27T07:32:00Z
[[f.g]]
h = \"\"\"a
b\"\"\"\"\"
[f.g.i]
j=-1
"""
    lines = Lines(text)
    expected = {
        ("a",): 1,
        ("b", "x.y", "c"): 2,
        ("b", "x.y", "c", "d"): 3,
        ("b", "x.y", "c", "e\t"): 5,
        ("b", "x.y", "c", "e\t", 0): 5,
        ("b", "x.y", "c", "e\t", 1, "q", "r"): 6,
        ("b", "x.y", "c", "e\t", 1, "s t", 0): 7,
        ("b", "x.y", "c", "e\t", 2): 8,
        ("f", "g", 0, "h"): 11,
        ("f", "g", 1, "h"): 13,
        ("f", "g", 1, "i", "j"): 16,
        ("f", "g", 1, "not there"): 12,
        ("not there",): 1,
    }
    tomllib.loads(text)
    assert {path: lines.of(path) for path in expected} == expected


@pytest.mark.parametrize("path", [DEMO, GOOD], ids=["demo", "good"])
def test_each_key_of_a_real_file_stands_on_the_line_it_is_said_to(path):
    text = path.read_text(encoding="utf-8")
    lines, rows = Lines(text), text.splitlines()

    def leaves(value, place) -> Iterator[tuple[str | int, ...]]:
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, each in inside:
            yield (*place, key)
            yield from leaves(each, (*place, key))

    places = list(leaves(tomllib.loads(text), ()))
    assert len(places) > 100
    for place in places:
        if isinstance(place[-1], str):
            assert place[-1] in rows[lines.of(place) - 1], place


# Settings and their hash


def test_comments_and_order_do_not_change_cfg_and_values_do(site_file):
    good = load(GOOD).cfg
    assert re.fullmatch("[0-9a-f]{8}", good)
    head, *tables = GOOD.read_text(encoding="utf-8").split("\n\n")
    tables.reverse()
    shuffled = [head, *sorted(tables, key=lambda table: table.startswith("["))]
    assert load(site_file("# another comment\n" + "\n\n".join(shuffled))).cfg == good
    assert load(site_file(edited(("on_s = 1,", "on_s = 1.0,")))).cfg == good
    assert load(site_file(edited(("off_s = 60", "off_s = 61")))).cfg != good


@pytest.mark.parametrize("path", [DEMO, GOOD], ids=["demo", "good"])
def test_the_effective_settings_are_a_site_file_that_means_the_same(path, site_file):
    file, wrong = read(path)
    assert (file is not None, wrong) == (True, [])
    assert file is not None
    text = effective(file)
    again = load(site_file(text))
    assert again.cfg == load(path).cfg == hashlib.sha256(text.encode()).hexdigest()[:8]
    assert msgspec.structs.replace(again, path=path).sensors == load(path).sensors


def test_the_box_s_key_is_one_of_the_effective_settings(site_file):
    """`tls.key` is a setting; only the key of a table's own name is none."""
    tls = '[tls]\nca = "file:ca.pem"\nkey = "file:{key}.key"\ncert = "file:id.pem"\n'
    text = GOOD.read_text(encoding="utf-8")
    one = site_file(text + tls.format(key="one"))
    cfg, (file, _) = load(one).cfg, read(one)
    assert load(site_file(effective(file))).tls == file.tls
    assert load(site_file(text + tls.format(key="two"))).cfg != cfg


# Ports


def test_a_port_is_a_link_of_the_simulator_a_socket_of_the_box_or_a_device(tmp_path):
    (tmp_path / "platform-x.usb-usb-0:1.2:1.0-port0").touch()
    (tmp_path / "platform-x.usb-usb-0:1.2.1:1.0-port0").touch()
    assert resolve_port("link:n1", tmp_path) == tmp_path / "n1"
    assert resolve_port("/dev/ttyAMA0", None) == Path("/dev/ttyAMA0")
    assert resolve_port("usb:1-1.2", None, by_path=tmp_path) == tmp_path / "platform-x.usb-usb-0:1.2:1.0-port0"
    with pytest.raises(DriverError, match="--links"):
        resolve_port("link:n1", None)


def test_an_empty_socket_has_a_path_that_does_not_exist(tmp_path):
    path = resolve_port("usb:1-1.3", None, by_path=tmp_path)
    assert path.parent == tmp_path
    assert not path.exists()


# The command


def run_check(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    return check.run(parser.parse_args(arguments))


def test_check_counts_what_a_good_file_has(capsys):
    assert run_check(str(DEMO)) == 0
    cfg = load(DEMO).cfg
    counts = "4 buses, 1 device, 1 pulse meter, 11 sensors, 2 outputs, 3 alarms, 2 reactions, 1 queue"
    talk = "b1 talks 0.09 s in each second"
    assert capsys.readouterr() == (f"{DEMO}: OK, demo-centre-a, cfg {cfg}: {counts}; {talk}\n", "")


def test_check_prints_each_mistake_on_a_line_and_fails(capsys, site_file):
    path = site_file(edited(("off_s = 60", "off_s = -1"), ('root = "linli"', 'root = "#"')))
    assert run_check(str(path)) == 1
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(problem) for problem in problems(path)]
    assert err == "2 mistakes\n"


def test_check_of_a_file_that_is_not_there_is_wrong_use(capsys, tmp_path):
    assert cli.main(["check", str(tmp_path / "none.toml")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "found no such file or directory, expected a site file; see that the path is right" in err


def test_check_effective_prints_the_settings_and_nothing_else(capsys):
    assert run_check(str(DEMO), "--effective") == 0
    text = capsys.readouterr().out
    assert hashlib.sha256(text.encode()).hexdigest()[:8] == load(DEMO).cfg
    assert tomllib.loads(text)["store"]["node_commit_ms"] == 30_000
