"""What the doctor thinks of a Modbus line and of each unit on it, from its master's counts (gateway/modbus_port.py)."""

from collections.abc import Iterator

from gateway.config import Bus, Device
from gateway.doctor_finding import FAIL, OK, WARN, BusFacts, Finding, UnitFacts, fault, found
from gateway.words import Words

_NOISY_SHARE = 0.01  # of a unit's answers
_FEW = 5  # answers: too few to judge by
_BAD_MIN = 3  # one or two broken answers are the plug that was just put in


def judge_line(bus: Bus, facts: BusFacts, say: Words) -> Finding:
    """The line as a whole; what only one unit has is said at that unit."""
    units = facts.units if isinstance(facts.units, dict) else {}
    if facts.error:
        return fault(say, bus.name, facts.error)
    if not facts.open:
        return found(say, bus.name, FAIL, "bus.closed")
    bytes_came = facts.bad + facts.beat.get("strays", 0)
    if not facts.good:
        key = "line.swapped" if bytes_came else "line.mute"
        return found(say, bus.name, FAIL, key, line=bus.line, bad=facts.bad)
    if echoes := facts.beat.get("echoes", 0):
        return found(say, bus.name, WARN, "line.echo", echoes=echoes)
    answering = sum(not unit.offline for unit in units.values())
    share = _percent(facts.bad, facts.good + facts.bad)
    return found(say, bus.name, OK, "line.well", answering=answering, all=len(units), share=share)


def judge_units(devices: list[Device], facts: BusFacts, say: Words) -> Iterator[Finding]:
    units = facts.units if isinstance(facts.units, dict) else {}
    for device in devices:
        if device.name not in units:
            yield found(say, device.name, FAIL, "unit.unknown")
        elif facts.open:
            yield _unit(device, units[device.name], say)


def _unit(device: Device, unit: UnitFacts, say: Words) -> Finding:
    name, answers = device.name, unit.good + unit.bad
    values = {"address": unit.address, "model": device.model, "share": _percent(unit.bad, answers)}
    if not unit.good and unit.bad:
        return found(say, name, FAIL, "unit.broken", bad=unit.bad, **values)
    if not unit.good and not unit.refused:
        return found(say, name, FAIL, "unit.never", **values)
    if unit.offline:
        return found(say, name, FAIL, "unit.silent", silent=say.span(unit.silent_s or 0.0), **values)
    if unit.doubled > _FEW and unit.doubled > _NOISY_SHARE * answers:
        return found(say, name, FAIL, "unit.twin", doubled=unit.doubled, **values)
    if unit.wrong:
        said = ", ".join(f"{setting}: {now} ≠ {expected}" for setting, (now, expected) in unit.wrong.items())
        return found(say, name, FAIL, "unit.settings", settings=said, **values)
    if unit.refused:
        return found(say, name, FAIL, "unit.refused", refused=unit.refused, **values)
    if unit.late > _FEW:
        return found(say, name, WARN, "unit.late", late=unit.late, **values)
    if unit.bad >= _BAD_MIN and unit.bad > _NOISY_SHARE * answers:
        return found(say, name, WARN, "unit.noisy", bad=unit.bad, **values)
    settings = "".join(say("unit.setting", name=name, value=value) for name, value in unit.settings.items())
    return found(say, name, OK, "unit.well", good=unit.good, settings=settings, **values)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "0 %"
