"""The questions about a new site, in their order: `ask_site`. What hangs on the walls: wall.py; the hall: hall.py."""

import zoneinfo

from drivers import frame_table
from gateway import opening
from gateway.opening import OpeningError
from gateway.site_rules import broker_mistake
from gateway.site_types import FileRef, Line, Name, Port, Region, Slug, Title, Topic
from gateway.words import LANGUAGES
from provisioning.dialogue import Dialogue, Wrong, of_type, optional
from provisioning.draft import Draft, Entry, free
from provisioning.hall import ask_hall
from provisioning.sockets import Socket
from provisioning.wall import ask_outputs, ask_sensors, ask_units

BUS_LETTERS = {"node": "n", "kiosk-line": "k", "modbus": "b", "escpos": "p", "call-bus": "c", "rating-pad": "r"}
"""Kind of a bus -> the first letter of the name that is proposed."""


def ask_language(dialogue: Dialogue) -> str:
    return dialogue.choose("lang", {"zh-CN": "中文", "en": "English"}, LANGUAGES[0])


def ask_site(dialogue: Dialogue, plugged: list[Socket]) -> Draft:
    """Every question after the language. plugged: the serial sockets of this machine. Raises GivenUp."""
    draft = Draft(dialogue.say.lang)
    _ask_place(dialogue, draft)
    _ask_buses(dialogue, draft, plugged)
    ask_units(dialogue, draft)
    ask_sensors(dialogue, draft)
    ask_outputs(dialogue, draft)
    if any(bus["kind"] not in ("node", "modbus") for bus in draft.tables.get("bus", {}).values()):
        ask_hall(dialogue, draft)
    _ask_uplink(dialogue, draft)
    return draft


def _ask_place(dialogue: Dialogue, draft: Draft) -> None:
    ask = dialogue.ask
    place: Entry = {"id": ask("site.id", of_type(Slug))}
    place["gateway"] = ask("site.gateway", of_type(Slug), f"{place['id'][:38]}-a")
    place["name"] = ask("site.name", of_type(Title))
    place["region"] = ask("site.region", optional(of_type(Region)))
    place["tz"] = ask("site.tz", _zone, "Asia/Shanghai")
    place["open"] = ask("site.open", optional(_hours))
    place["lang"] = dialogue.say.lang
    draft.add("site", "", {key: value for key, value in place.items() if value})


def _zone(text: str) -> str:
    try:
        zoneinfo.ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise Wrong from None
    return text


def _hours(text: str) -> str:
    try:
        opening.parse(text)
    except OpeningError:
        raise Wrong from None
    return text


def _ask_buses(dialogue: Dialogue, draft: Draft, plugged: list[Socket]) -> None:
    say = dialogue.say
    lines = [
        f"  {number:>2}  {socket.port:<14} {socket.plugged or say('socket.board')} ({socket.tty})"
        for number, socket in enumerate(plugged, 1)
    ]
    dialogue.tell("\n".join([say("sockets" if lines else "sockets.none"), *lines]))

    def port(text: str) -> str:
        if text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= len(plugged):
            text = plugged[int(text) - 1].port
        if text in [bus["port"] for bus in draft.tables.get("bus", {}).values()]:
            raise Wrong("taken")
        return str(of_type(Port)(text))

    def one(key: str) -> bool:
        entry: Entry = {"port": dialogue.ask(f"{key}.port", optional(port))}
        if not entry["port"]:
            return False
        kind = dialogue.choose(f"{key}.kind", {kind: say(f"bus.{kind}") for kind in BUS_LETTERS})
        letter = BUS_LETTERS[kind]
        count = sum(bus["kind"] == kind for bus in draft.tables.get("bus", {}).values())
        name = dialogue.ask(f"{key}.name", free(draft, Name, "bus", "device", "pulse"), f"{letter}{count + 1}")
        draft.add("bus", name, {"kind": kind} | entry | _ask_line(dialogue, key, kind))
        return True

    dialogue.items("bus", one)


def _ask_line(dialogue: Dialogue, key: str, kind: str) -> Entry:
    """What a line of this kind needs besides its port."""
    entry: Entry = {}
    if kind in ("call-bus", "rating-pad"):
        titles = {name: frame_table.load(path).title for name, path in frame_table.tables().items()}
        entry["table"] = dialogue.choose(f"{key}.table", titles)
    if kind not in ("node", "kiosk-line"):
        entry["line"] = dialogue.ask(f"{key}.line", of_type(Line), "9600 8N1")
    if kind == "escpos":
        entry["ticket"] = dialogue.ask(f"{key}.ticket", _ticket, "您的号码: {label}")
    return entry


def _ticket(text: str) -> list[str]:
    lines = [line.strip() for line in text.split("|")]
    if not all(lines) or sum("{label}" in line for line in lines) != 1:
        raise Wrong
    return lines


def _ask_uplink(dialogue: Dialogue, draft: Draft) -> None:
    broker = dialogue.ask("uplink.broker", _broker)
    uplink: Entry = {"broker": broker, "root": dialogue.ask("uplink.root", of_type(Topic), "linli")}
    tables: dict[str, Entry] = {"uplink": uplink}
    if broker.startswith("mqtts://"):
        reference = of_type(FileRef, secret=True)
        tables["tls"] = {"ca": dialogue.ask("tls.ca", reference, "file:city-ca.pem")}
        if dialogue.yes("tls.own", "yes"):
            tables["tls"]["key"] = dialogue.ask("tls.key", reference, "file:/var/lib/linli/id.key")
            tables["tls"]["cert"] = dialogue.ask("tls.cert", reference, "file:/var/lib/linli/id.pem")
    draft.add_all(tables)


def _broker(text: str) -> str:
    """Whatever may be a password is never repeated."""
    if "@" in text:
        raise Wrong("uplink.secret", secret=True)
    if broker_mistake(text):
        raise Wrong("uplink.tls" if text.startswith("mqtt://") else "", secret=True)
    return text
