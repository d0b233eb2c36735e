"""The ticket printer overheard: slips made by an encoder that is not ours, read back, and what printers are told."""

import random
from collections.abc import Callable

import pytest
from escpos.printer import Dummy
from PIL import Image

from drivers.escpos import LINES_MAX, Printer, Slip
from drivers.escpos_tap import PAUSE_S, EscposTap, Template, TemplateError, flat
from drivers.reading import Event
from tests.line_world import Clock

CHINESE = ["{any}社区服务中心", "您的号码: {label}", "业务: {service}", "前面还有 {ahead} 人", "{time}"]
ENGLISH = ["Your number {label}", "Service: {service}", "{ahead} before you", "Printed {time}"]
SERVICES = {"社会保障": "A", "户籍与证件": "B", "Social security": "A", "Residence & papers": "B"}
CUT = b"\x1dV\x41\x03"


def tap(clock: Clock, lines: list[str] = CHINESE, text: str = "gb18030", reprint: str = "") -> EscposTap:
    return EscposTap("p1", Template(lines, reprint), text, SERVICES, clock.mono_s)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def chinese(printer: Dummy, text: str) -> None:
    printer._raw(b"\x1c&" + text.encode("gb18030") + b"\n\x1c.")


def slip_of(printer: Dummy, lines: list[tuple[str, bool]], dice: random.Random) -> bytes:
    """As a kiosk prints it: the lines among everything else that such printers are told. (text, whether Chinese)."""
    odd: list[Callable[[], object]] = [
        lambda: printer.set(align="center", bold=True, double_height=True, double_width=True),
        lambda: printer.set(align="left", font="b", underline=1),
        lambda: printer.image(Image.new("1", (48, 16), dice.randrange(2))),
        lambda: printer.image(Image.new("1", (48, 24), 0), impl="bitImageColumn"),
        lambda: printer.image(Image.new("1", (24, 24), 0), impl="graphics"),
        lambda: printer.barcode("4006381333931", "EAN13", check=False, force_software=False),
        lambda: printer.barcode("{BA012", "CODE128", function_type="B", check=False, force_software=False),
        lambda: printer.qr("https://example.org/?A012", native=True),
        lambda: printer._raw(b"\x10\x04" + bytes([dice.randrange(1, 5)])),  # asks for status
        lambda: printer._raw(dice.choice([b"\x12", b"\x16", b"\x1e"])),  # a status byte on the same wire
        lambda: printer._raw(b"\x14\x00\x00\x0f"),  # automatic status back
        lambda: printer._raw(b"\x1b!\x30\x1d!\x11\x1bJ\x18"),
        lambda: printer.line_spacing(60),
        lambda: printer.ln(dice.randrange(1, 3)),
    ]
    printer.hw("INIT")
    for text, is_chinese in lines:
        for deed in dice.sample(odd, dice.randrange(3)):
            deed()
        chinese(printer, text) if is_chinese else printer.text(text + "\n")
    dice.choice([printer.cut, lambda: printer.cut(mode="PART"), lambda: printer._raw(b"\x1bi")])()
    data = bytes(printer.output)
    printer.clear()
    return data


def full_width(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if 0x21 <= ord(c) <= 0x7E else c for c in text)


@pytest.mark.parametrize("lines", [CHINESE, ENGLISH], ids=["zh-CN", "en"])
def test_every_ticket_of_500_is_told_once_and_no_other_slip_is_taken_for_one(clock: Clock, lines: list[str]) -> None:
    dice, printer, heard = random.Random(f"tickets {lines[0]}"), Dummy(), tap(clock, lines, reprint="补打")
    is_chinese = lines is CHINESE
    printed, reprinted, wire = [], 0, bytearray()
    for number in range(1, 501):
        service = dice.choice(["社会保障", "户籍与证件"] if is_chinese else ["Social security", "Residence & papers"])
        label = f"{SERVICES[service]}{number:03}"
        time, ahead = f"2026-11-25 {dice.randrange(8, 18):02}:{dice.randrange(60):02}", dice.randrange(30)
        shown = full_width(label) if is_chinese and dice.random() < 0.3 else label
        english = [f"Your number {shown}", f"Service: {service}", f"{ahead} before you", f"Printed {time}", "Hall 1"]
        said = dice.choice([
            ["邻里社区服务中心", f"您的号码：{shown}", f"业务： {service}", f"前面还有{ahead}人", time],
            ["某某社区服务中心", f"前面还有 {ahead} 人", f"业务:{service}", f"您的号码:  {shown}", time, "请留意叫号"],
        ]) if is_chinese else english  # fmt: skip
        again = dice.random() < 0.1
        wire += slip_of(printer, [(line, is_chinese) for line in said], dice)
        printed.append({"value": label, "label": label, "service": SERVICES[service], "printed": time, "ahead": ahead})
        if again:
            reprinted += 1
            wire += slip_of(printer, [(line, is_chinese) for line in [*said, "补打"]], dice)
        if dice.random() < 0.3:  # what the same printer prints besides
            other = dice.choice(
                [["Test page", "A012", "2026-11-25"], ["收费凭证", "金额: 12.00", f"号码 {label}"], ["A012"]]
            )
            wire += slip_of(printer, [(line, True) for line in other], dice)
        if dice.random() < 0.1:
            printer.image(Image.new("1", (384, 200), 0))
            printer.cut()
            wire += printer.output
            printer.clear()
    facts = []
    while wire:
        size = dice.choice([1, 7, 64, 500, 4096])
        facts += heard.feed(bytes(wire[:size]))
        del wire[:size]
    assert heard.beat["odd"] == 0, "a command of python-escpos is not in our tables"
    assert [f.data for f in facts if isinstance(f, Event) and f.type == "ticket.issued"] == printed
    assert len(facts) == 500 + reprinted and heard.tickets == len(facts) and reprinted > 20
    assert heard.pictures > 20 and heard.others > 100


def test_tickets_printed_as_pictures_are_told_to_be_unreadable_until_one_has_text(clock: Clock) -> None:
    printer, heard = Dummy(), tap(clock)
    for _ in range(3):
        printer.image(Image.new("1", (384, 300), 0))
        printer.cut()
    assert heard.feed(printer.output) == [] and heard.pictures == 3
    assert "as pictures: 3 in a row" in heard.error and "LK1" in heard.error
    heard.feed("邻里社区服务中心\n您的号码: A001\n".encode("gb18030") + CUT)
    assert heard.error == ""


def test_a_slip_torn_off_by_hand_counts_after_a_pause_and_with_the_time_it_was_printed(clock: Clock) -> None:
    heard = tap(clock, ["号码 {label}"])
    assert heard.feed("号码 C007\n\n\n".encode("gb18030")) == []
    clock.s += PAUSE_S - 0.1
    assert heard.tick() == []
    clock.s += 0.2
    (fact,) = heard.tick()
    assert isinstance(fact, Event) and fact.data["label"] == "C007"
    assert fact.mono_s == pytest.approx(clock.s - PAUSE_S - 0.1)
    clock.s += 10
    assert heard.feed(CUT) == [] and heard.tick() == [], "the cut that comes late ends nothing"


def test_two_tickets_before_one_pause_are_two(clock: Clock) -> None:
    heard = tap(clock, ["号码 {label}", "业务 {service}"])
    heard.feed("业务 社会保障\n号码 A001\n业务 户籍与证件\n号码 B001\n".encode("gb18030"))
    clock.s += PAUSE_S
    labels = [fact.data for fact in heard.tick() if isinstance(fact, Event)]
    assert labels == [{"value": "A001", "label": "A001"}, {"value": "B001", "label": "B001"}], "whose service is unsure"


def test_a_picture_that_never_ends_costs_what_comes_before_the_next_pause_and_nothing_after(clock: Clock) -> None:
    heard = tap(clock, ["号码 {label}"])
    ticket = "号码 A001\n".encode("gb18030") + CUT
    assert heard.feed(b"\x1dv0\0\xff\x00\xff\x0f" + ticket * 3) == []
    clock.s += PAUSE_S
    assert heard.tick() == []
    assert len(heard.feed(ticket)) == 1
    assert len(heard.feed(b"\x1dv0\0\xff\xff\xff\xff" + ticket)) == 1, "4 GB cannot be meant"


@pytest.mark.parametrize(
    ("text", "data", "line"),
    [
        ("gb18030", "您的号码A012".encode("gb18030"), "您的号码A012"),
        ("gb18030", b"\x1c.\x1bt\x02caf\x82\x1c&" + "号".encode("gb18030"), "café号"),
        ("gb18030", b"\x1c.\x1b@" + "号".encode("gb18030"), "号"),
        ("cp437", b"\x1bt\x10Gr\xfc\xdfe", "Grüße"),
        ("cp437", b"Gr\x81\xe1e", "Grüße"),
        ("cp437", b"\x1c&" + "号".encode("gb18030") + b"\x1c.\x81", "号ü"),
        ("utf-8", "号码 é".encode(), "号码 é"),
        ("big5", "號碼".encode("big5"), "號碼"),
        ("gb18030", "𠮷".encode("gb18030") + b"\x1b!\x11" + "号".encode("gb18030"), "𠮷号"),
        ("gb18030", b"A" + b"\x1bE\x01" + b"\t012", "A 012"),
        ("gb18030", b"gone\x1b@A012", "A012"),
        ("gb18030", b"\xb0", "�"),
    ],
)  # fmt: skip
def test_text_is_read_as_the_printer_would_print_it(text: str, data: bytes, line: str) -> None:
    for whole in (True, False):
        printer, slips = Printer(text), []
        for chunk in [data + b"\n" + CUT] if whole else [bytes([byte]) for byte in data + b"\n" + CUT]:
            slips += printer.feed(chunk)
        assert slips == [Slip((line,), 0, True)]


@pytest.mark.parametrize(
    "command",
    [
        b"\x1b*\x00\x03\x00\x0a\x1d\x56", b"\x1b*\x21\x01\x00\x0aVi", b"\x1d(k\x03\x00\x31\x43\x0a",
        b"\x1d8L\x02\x00\x00\x00\x0a\x0a", b"\x1dk\x0212\x1d\x56\x0a\x00", b"\x1dkI\x03{B\x0a", b"\x1bD\x08\x10\x00",
        b"\x1b&\x01\x41\x42\x02\x0a\x0a\x01\x0a", b"\x1cq\x01\x01\x00\x01\x00" + b"\x0a" * 8,
        b"\x1d*\x01\x01" + b"\x0a" * 8, b"\x1dC\x00\x0a\x0a", b"\x1dC\x01" + b"\x0a" * 6, b"\x1dg0\0\x0a\x00",
        b"\x1bZ\0\0\0\x02\x00\x0a\x0a", b"\x10\x04\x08\x0a", b"\x10\x14\x01\x0a\x0a",
        b"\x1c2\x41\x41" + b"\x0a" * 72, b"\x1bc5\x0a", b"\x1bp\x0a\x0a\x0a", b"\x1bW" + b"\x0a" * 8,
        b"\x1d^\x0a\x0a\x0a", b"\x10\x05\x0a",
    ],
)  # fmt: skip
def test_what_belongs_to_a_command_is_never_a_line_or_a_cut(command: bytes) -> None:
    printer, slips = Printer(), []
    for byte in b"A0" + command + b"12\n" + CUT:
        slips += printer.feed(bytes([byte]))
    assert [slip.lines for slip in slips] == [("A012",)] and printer.unknown == 0


def test_what_is_held_is_bounded_whatever_comes() -> None:
    printer = Printer()
    for _ in range(3000):
        printer.feed(b"x" * 1000)
    printer.feed(b"\n" + b"y\n" * 1000)
    (slip,) = printer.feed(CUT)
    assert len(slip.lines) == LINES_MAX and max(map(len, slip.lines)) == 512


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["no field"], "exactly one"),
        (["a {label}", "b {label}"], "exactly one"),
        (["a {lable}"], "expected one of"),
        (["a {label}", "{service}"], "only fields"),
        (["a {label}{service}"], "side by side"),
        (["a {label} {service} {service}"], "twice"),
        (["{label} {time}"], "only fields"),
    ],
)
def test_a_template_that_cannot_be_used_says_why(lines: list[str], why: str) -> None:
    with pytest.raises(TemplateError, match=why):
        Template(lines)


def test_a_number_alone_on_its_line_needs_the_lines_around_it() -> None:
    template = Template(["{label}", "您的号码"])
    assert template.read(Slip(("您的号码", "A012"), 0, True)) == [{"label": "A012"}]
    assert template.read(Slip(("A012",), 0, True)) == []
    assert flat("ｎｏ：  １ \t２") == "no: 1 2"
