"""A line of the doctor, and what the gateway tells of its lines: for all files that judge."""

from typing import NamedTuple

import msgspec

from gateway.words import Words

OK, WARN, FAIL = "ok", "warn", "FAIL"


class Finding(NamedTuple):
    """One line of the doctor. do: "" when there is nothing to do."""

    name: str
    verdict: str
    found: str
    do: str = ""


class UnitFacts(msgspec.Struct):
    """gateway/modbus_port.py, one unit of ModbusPort.facts()"""

    address: int
    offline: bool
    good: int
    bad: int
    late: int
    doubled: int
    refused: str
    silent_s: float | None
    settings: dict[str, int]
    wrong: dict[str, tuple[int, int]]


class BusFacts(msgspec.Struct):
    """gateway/ports.py, Port.facts(); units: of a Modbus line."""

    open: bool
    error: str
    hello: bool
    boot: int
    good: int
    bad: int
    silent_s: float
    beat: dict[str, int]
    refused: str = ""
    units: dict[str, UnitFacts] | None = None


def found(say: Words, name: str, verdict: str, key: str, **values: object) -> Finding:
    """A line from the catalogue: `key`, and `key.do` when something is to be done."""
    return Finding(name, verdict, say(key, **values), "" if verdict == OK else say(f"{key}.do", **values))


def fault(say: Words, name: str, text: str, verdict: str = FAIL) -> Finding:
    """A line from a sentence of the code."""
    return Finding(name, verdict, *say.fault(text))
