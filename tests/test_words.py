"""What a person reads stands in both languages, and no sentence of the code is left without its Chinese."""

import ast
import json
import re

import pytest

from gateway.words import Words
from tests.doctor_place import ROOT

FILES = ("words.json", "report_words.json", "page_words.json")
TEXTS: dict[str, list[str]] = {
    key: text for name in FILES for key, text in json.loads((ROOT / "gateway" / name).read_text())["texts"].items()
}
FAULTS: list[list[str]] = json.loads((ROOT / "gateway/words.json").read_text())["faults"]


@pytest.mark.parametrize("key", TEXTS)
def test_a_text_stands_in_both_languages_with_the_same_blanks(key) -> None:
    chinese, english = TEXTS[key]
    assert sorted(set(re.findall(r"{\w+}", chinese))) == sorted(set(re.findall(r"{\w+}", english)))
    plain = re.sub(r"{\w+}", "", chinese)
    assert not re.search(r"[a-z]", plain.lower()) or re.search(r"[\u4e00-\u9fff]", plain), "not translated"
    assert not re.search(r"[\u4e00-\u9fff]", english)


# What the code says, by file, with <what it fills in> between angles.
SENTENCES = {
    "drivers/serial_line.py": [
        "</dev/x>: found no such port, expected one there; plug the adapter into that socket. There is: <a, b>",
        "</nothing-in-usb-1>: found no such port, expected one there; plug the adapter into that socket. There is: <>",
        "</dev/x>: found no permission, expected to read and write; add the user to the group dialout",
        "</dev/x>: found it opened by <cat (pid 7)>, expected it free; stop that program",
        "</dev/x>: found <[Errno 5] x>, expected a serial port; see that the path is right",
        "</dev/x>: found the line gone (<end of file>), expected it to stay; see the plug and the cable",
    ],
    "drivers/node_link.py": [
        "The node on <n1> said a HELLO that cannot be used: <it speaks version 9>. Expected: version <1> and point<…>",
        "The node on <n1> has <flow1>, and no <loop1>, which the site file wants there<>: it fits <n2>. Nothing<…>",
        "The node on <n1> has <flow1>, and no <loop1>, which the site file wants there<>. Correct the site<…>",
    ],
    "gateway/ports.py": [
        "the line was unplugged",
        "<n1>: found <a kiosk that speaks LK1> in this socket, expected <a node>; swap the two plugs, or correct port",
    ],
    "drivers/escpos_tap.py": [
        "The kiosk on <p1> prints its tickets as pictures: <3> in a row without text. Expected: tickets printed as<…>",
    ],
    "drivers/call_bus.py": [
        "The last frame on <c1> could not be used: <its grade 77 is none>. Expected: frames as the table<…>",
    ],
    "gateway/switches.py": [
        "found output <'valves'>, expected one of <valve>",
        "found <'on'> for the <valve> <valve>, expected one of <open, close>",
        "found <0> minutes, expected more than 0, <1440> at most; ask again then",
        "found <'close'> for <hydrant>, which stands on a fire line, expected open: no program may close it; <turn it>",
    ],
    "gateway/deeds.py": [
        "found <'open'> for <valve>, which a reaction holds until somebody on the spot lets go of it<…>"
    ],
    "gateway/modes.py": [
        "found <0> minutes of <test>, expected more than 0, <240> at most; ask again then",
        "found place <'attic'>, which no alarm looks at; expected the start of a sensor's id",
        "found a test of <'attic'>, expected the whole centre; maintenance knows places",
        "found <32> modes that are on, expected fewer; end one of them",
    ],
    "gateway/facilities.py": [
        "found facility <'lift-2'>, expected one of <lift-1>",
        "found case <3> of <lift-1> open, expected none; acknowledge or repair that one",
        "found no open case of <lift-1>, expected one; open it first",
        "found case <3> of <lift-1> acknowledged, expected one that is not; repair it",
        "found <lift-1> still out of order by <lift/ok>, expected its sensors to say that it serves; see the <…>",
    ],
    "gateway/desk.py": [
        "found <''> as who did it, expected a name of 1 to <200> characters",
        "found a note or name of several lines or too long, expected <200> characters at most",
    ],
    "gateway/by_hand.py": ["found alarm <'leek'>, expected one of <leak, cord>"],
    "gateway/alarm_life.py": [
        "found <acknowledge> of <leak> from <city>, expected from <desk>; do it there",
        "found shelve of <leak> for <9> h, expected <at most 8 h>; see to its cause",
    ],
    "gateway/config.py": ["found port <link:n1>, expected a folder of links; start with --links DIR"],
    "drivers/pins.py": [
        "pins: found no GPIO here (<x>), expected a Raspberry Pi with lgpio; install lgpio, add the user to the <…>",
    ],
    "gateway/session.py": [
        "the broker refused the connection: <Not authorized>; see user, certificate and ACL",
        "the broker refused <linli/v1/a/down/ack>: <Not authorized>; see its ACL",
        "the broker closed the connection: <Unspecified error>",
        "another box uses the id <a>: a copied card? Waiting <60> s",
        "the broker does not accept <linli/v1/a/up/events: Quota exceeded>; see its ACL and quota",
        "an ack of the city was refused: <x>",
        "<OSError: mqtt://x>: no answer to CONNECT and SUBSCRIBE within <10> s",
    ],
    "gateway/wire.py": ["the connection was lost: <x>", "the connection was lost", "publish failed: <x>"],
    "gateway/store.py": [
        "the disk does not take what is to be stored: <x>",
        "the disk is full and nothing is left to give up; free some room on it",
        "the database was broken (<x>) and was set aside; a new epoch began",
    ],
    "gateway/storage.py": ["storage ended: <x>"],
    "": [
        "<ConnectionRefusedError: [Errno 111] Connection refused>",
        "<TimeoutError: timed out>",
        "<gaierror: [Errno -2] Name or service not known>",
        "<SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] x>",
        "<OSError: [Errno 101] Network is unreachable>",
    ],
}


def spoken(template: str) -> str:
    return re.sub("[<>]", "", template)


@pytest.mark.parametrize("path", SENTENCES)
def test_a_sentence_of_the_code_is_known_in_chinese(path) -> None:
    code = re.sub(r'"\s*\n\s*f?"', "", (ROOT / path).read_text()) if path else ""
    for template in SENTENCES[path]:
        found, do = Words("zh-CN").fault(spoken(template))
        assert re.search("[\u4e00-\u9fff]", found), template
        assert re.search("[\u4e00-\u9fff]", do), template
        for piece in re.split("<.*?>", template):
            assert piece in code or not path, f"{path} does not say {piece!r} any more; words.json has to follow"


def test_every_pattern_of_a_fault_is_tried_by_a_sentence() -> None:
    sentences = [spoken(template) for templates in SENTENCES.values() for template in templates]
    tried = {next(pattern for pattern, _ in FAULTS if re.fullmatch(pattern, text)) for text in sentences}
    assert tried == {pattern for pattern, _ in FAULTS}


def test_a_sentence_nobody_has_translated_stays_whole() -> None:
    assert Words("en").fault("found a cat, expected a mouse; feed it") == ("found a cat, expected a mouse", "feed it")
    assert Words("zh-CN").fault("strange") == ("strange", TEXTS["fault.unknown.do"][0])


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0.4 s"), (90, "90 s"), (7200, "2 h"), (3 * 86_400, "3 days")])
def test_a_span_is_told_in_the_unit_a_person_would_choose(seconds, words) -> None:
    assert Words("en").span(seconds) == words


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [("leak", True, "有水"), ("pull-cord", "cut", "断线"), ("flow", 0.0002, "12.00 L/min"),
     ("pressure", 3e5, "300000 Pa"), ("door", False, "关"), ("flow", None, "无")],
)  # fmt: skip
def test_a_value_is_told_in_the_words_of_its_kind(kind, value, words) -> None:
    assert Words("zh-CN").value(kind, value) == words


def said_in_code() -> set[str]:
    """Every text constant of the gateway, f-strings with `*` for what they fill in."""
    found: set[str] = set()
    for path in (ROOT / "gateway").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.add("".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values))
    return found


def test_every_text_that_is_asked_for_is_there() -> None:
    asked: set[str] = set()
    for path in (ROOT / "gateway").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func) == "say"
                and isinstance(node.args[0], ast.Constant)
            ):
                asked.add(node.args[0].value)
    assert asked - TEXTS.keys() == set()


def test_no_text_is_there_that_nobody_says() -> None:
    said = said_in_code() | {key for _, key in FAULTS}
    families = tuple(text.removesuffix("*") for text in said if re.fullmatch(r"[a-z]+(\.[a-z]+)*\.\*", text))
    for key in TEXTS:
        base = key.removesuffix(".do")
        assert {key, base} & said or base.startswith(families), f"nobody says {key}"
