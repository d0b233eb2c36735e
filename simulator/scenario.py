"""What happens in a simulated centre, and when: a scenario file, read once and checked whole (docs/scenarios.md)."""

import difflib
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

FOLDER = Path(__file__).parent / "scenarios"
HANDS_MIN_S = 5.0
PAGE = "docs/scenarios.md lists every key"

Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
Speed = Annotated[float, Meta(gt=0, le=1000)]
Hour = Annotated[float, Meta(ge=0, lt=24)]
Rate = Annotated[float, Meta(ge=0, le=20_000)]
Share = Annotated[float, Meta(ge=0, le=1)]

# What can happen -> the keys it takes besides `s` and `do`.
DEEDS: dict[str, set[str]] = {
    "leak": {"ml_s", "wet_s", "sensor"},
    "repair": set(),
    "pull": {"sensor"},
    "reset": {"sensor"},
    "open": {"sensor"},
    "close": {"sensor"},
    "set": {"sensor", "value"},
    "rush": {"tickets", "for_s"},
    "jam": {"for_s"},
}
# What can break -> the keys it takes besides `do`, `on`, `at_s`, `every_s`, and what it can be done to.
FAULTS: dict[str, tuple[set[str], str]] = {
    "cut": ({"for_s"}, "lines"),
    "mute": ({"for_s"}, "lines"),
    "garble": ({"for_s", "share"}, "lines"),
    "delay": ({"for_s", "delay_s"}, "lines"),
    "reboot": (set(), "lines"),
    "dead": ({"for_s"}, "modbus"),
    "echo": ({"for_s"}, "modbus"),
    "twin": ({"for_s"}, "modbus"),
    "swapped": ({"for_s"}, "modbus"),
    "slow": ({"for_s"}, "modbus"),
    "away": ({"for_s"}, "pins"),
    "stop": ({"for_s"}, "broker gateway"),
    "kill": ({"for_s"}, "broker gateway"),
}


class ScenarioError(Exception):
    """What was found in the file, what was expected and what to do."""


class Frozen(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file. A key that is not named here is an error."""


class Water(Frozen):
    on: bool = True
    hour: Hour = 7.0
    speed: Speed = 1.0


class Hall(Frozen):
    on: bool = True
    hour: Hour = 9.0
    speed: Speed = 1.0


class Load(Frozen):
    """Facts beyond what the building gives. points: added to each node as flow points (and as many contacts)."""

    node_per_s: Rate = 0.0
    kiosk_per_s: Rate = 0.0
    points: Annotated[int, Meta(ge=1, le=200)] = 4
    urgent: Share = 0.2
    ring: Annotated[int, Meta(ge=8, le=65_535)] = 64


class Hands(Frozen):
    """Of nodes that run their firmware. change_s: each input is moved about that often; 0 = by the building alone."""

    change_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0


class Deed(Frozen):
    """`do` at `s` seconds of real time after the start."""

    s: Seconds
    do: str
    sensor: str = ""
    value: float | bool | str | None = None
    ml_s: Annotated[float, Meta(gt=0, le=100_000)] = 80.0
    wet_s: Seconds = 2.0
    tickets: Annotated[int, Meta(ge=1, le=10_000)] = 12
    for_s: Seconds = 10.0


class Fault(Frozen):
    """`do` on a target, once at `at_s` or once in each `every_s` seconds at a moment the dice choose; for `for_s`."""

    do: str
    on: str = "lines"
    at_s: Seconds | None = None
    every_s: Annotated[float, Meta(ge=0.1, le=31_536_000)] | None = None
    for_s: Seconds = 1.0
    share: Share = 0.02
    delay_s: Annotated[float, Meta(gt=0, le=30)] = 0.3


class Scenario(Frozen):
    """One file of simulator/scenarios. seconds: how long it generates when nobody says otherwise; None = until told."""

    name: str
    title: str = ""
    seconds: Seconds | None = None
    water: Water = Water()
    hall: Hall = Hall()
    load: Load = Load()
    hands: Hands = Hands()
    at: tuple[Deed, ...] = ()
    fault: tuple[Fault, ...] = ()

    @property
    def broker_faults(self) -> tuple[Fault, ...]:
        """Faults on the broker and the gateway: for whoever runs those processes; the simulator does not."""
        return tuple(fault for fault in self.fault if fault.on in ("broker", "gateway"))

    @property
    def own_faults(self) -> tuple[Fault, ...]:
        """Faults the simulator carries out itself: on lines and pins."""
        return tuple(fault for fault in self.fault if fault.on not in ("broker", "gateway"))


TABLES = (("water", Water), ("hall", Hall), ("load", Load), ("hands", Hands))


def load(name: str) -> Scenario:
    """The scenario of that name in simulator/scenarios, or at that path. Raises ScenarioError."""
    path = Path(name) if "/" in name or name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise ScenarioError(
            f"scenario {name!r} cannot be read ({error}); expected one of {known}, "
            "or the path of a file. Choose one of these."
        ) from None
    return parse(text, path.stem)


def parse(text: str, name: str) -> Scenario:
    """Text of a scenario file to a checked Scenario. Raises ScenarioError with found, expected and what to do."""
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{name}: {error}; expected a TOML file. Mend that line.") from None
    _known_keys(name, raw)
    try:
        scenario = msgspec.convert({**raw, "name": name}, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{name}: {error}{_found(raw, str(error))}. Correct that value; {PAGE}.") from None
    if 0 < scenario.hands.change_s < HANDS_MIN_S:
        raise ScenarioError(
            f"{name}: [hands]: found change_s {scenario.hands.change_s:g}; expected 0, or at least {HANDS_MIN_S:g}: "
            "to a pad, two presses within 2 s are one. Write a larger number."
        )
    for index, deed in enumerate(raw.get("at", [])):
        _check_deed(f"{name}: [[at]] number {index + 1}", deed)
    for index, fault in enumerate(raw.get("fault", [])):
        _check_fault(f"{name}: [[fault]] number {index + 1}", fault)
    return scenario


def _found(raw: dict[str, Any], message: str) -> str:
    """ ", found x" for a message that ends in "at `$.load.ring`": the library says only what it wanted."""
    place: Any = raw
    for step in message.rpartition("`$.")[2].rstrip("`").replace("[", ".[").split("."):
        try:
            place = place[int(step[1:-1])] if step.startswith("[") else place[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return ""
    return f", found {place!r}"


def _known_keys(name: str, raw: dict[str, Any]) -> None:
    """Every unknown key at once, before types are looked at: a misspelt key is the likeliest mistake."""
    tables: list[tuple[str, Any, type[Struct]]] = [("the file", raw, Scenario)]
    tables += [(f"[{key}]", raw.get(key), cls) for key, cls in TABLES]
    for key, cls in (("at", Deed), ("fault", Fault)):
        rows = raw.get(key, [])
        rows = rows if isinstance(rows, list) else []
        tables += [(f"[[{key}]] number {i + 1}", row, cls) for i, row in enumerate(rows)]
    for where, table, cls in tables:
        if isinstance(table, dict):
            known = [field for field in cls.__struct_fields__ if field != "name"]
            _refuse(f"{name}: {where}", set(table) - set(known), known)


def _check_deed(where: str, deed: dict[str, Any]) -> None:
    do = deed["do"]
    if do not in DEEDS:
        _refuse(f"{where}: do", {do}, list(DEEDS), what="deed")
    _refuse(f"{where} ({do})", set(deed) - {"s", "do"} - DEEDS[do], ["s", "do", *sorted(DEEDS[do])])
    if isinstance(deed.get("value"), float) and not math.isfinite(deed["value"]):
        raise ScenarioError(f"{where}: found value {deed['value']}; expected a finite number. Write one.")
    if do == "set" and not {"sensor", "value"} <= set(deed):
        raise ScenarioError(f"{where}: found set without sensor or value; expected both. Add the missing one.")


def _check_fault(where: str, fault: dict[str, Any]) -> None:
    do, on = fault["do"], fault.get("on", "lines")
    if do not in FAULTS:
        _refuse(f"{where}: do", {do}, list(FAULTS), what="fault")
    takes, targets = FAULTS[do]
    common = {"do", "on", "at_s", "every_s"}
    _refuse(f"{where} ({do})", set(fault) - common - takes, sorted(common | takes))
    if ("at_s" in fault) == ("every_s" in fault):
        found = "both at_s and every_s" if "at_s" in fault else "neither at_s nor every_s"
        raise ScenarioError(
            f"{where}: found {found}; expected one of them. "
            "Give at_s for once, or every_s for once in each so many seconds."
        )
    elsewhere = on in ("pins", "broker", "gateway") or (targets == "modbus" and on == "lines")
    if elsewhere if targets in ("lines", "modbus") else on not in targets.split():
        wanted = {"lines": '"lines" or the name of a bus', "modbus": "the name of a modbus bus"}.get(
            targets, targets.replace(" ", " or ")
        )
        raise ScenarioError(f"{where}: found {do} on {on!r}; expected {wanted}. Change `on`, or `do`.")


def _refuse(where: str, unknown: set[str], known: list[str], what: str = "key") -> None:
    if unknown:
        word = sorted(unknown, key=str)[0]
        near = difflib.get_close_matches(str(word), known, n=1)
        advice = f"Did you mean {near[0]!r}?" if near else f"Take it out; {PAGE}."
        raise ScenarioError(f"{where}: found {what} {word!r}; expected one of {', '.join(known)}. {advice}")
