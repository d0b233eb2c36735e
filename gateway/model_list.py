"""`linli model list`: every model there is here, which version of it runs, and what of the site it looks at."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gateway.alarm_rules import MODELS, NUMBERS
from gateway.config import Site
from gateway.contract import Json
from gateway.forecast import WAITS
from gateway.model_packages import installed
from models.package import shipped

LOOKS_AT = {name: kind if kind != NUMBERS else "numbers" for name, kind in MODELS.items()} | {WAITS: "queues"}
_COLUMNS = ("name", "version", "from", "kind", "at", "runs")


def uses(site: Site) -> dict[str, list[str]]:
    """{model: the sensors, machines or queues of the site that it looks at}."""
    found: dict[str, list[str]] = {}
    for one in site.detectors.values():
        found.setdefault(one.name, []).append(one.sensor)
    return found | ({WAITS: list(site.queues)} if site.queues else {})


def rows(packages: Path, answer: Mapping[str, Any] | None, named: Mapping[str, list[str]]) -> list[Json]:
    """One for each version. answer: of the gateway that runs here, None without one. named: as uses() says.

    {"name", "version", "from": linli or package, "kind": onnx or numpy, "at": what it looks at, "runs", "sensors":
    {what it looks at: how far it is there}, "fault"}.
    """
    answer = answer and {"uses": {}, "faults": {}, **answer}  # one of an earlier version does not say so much
    found: list[Json] = []
    for name, version, kind in shipped():
        found.append({"name": name, "version": version, "from": "linli", "kind": kind, "fault": ""})
    for name, version, fault in installed(packages):
        found.append({"name": name, "version": version, "from": "package", "kind": "onnx", "fault": fault})
    for row in found:
        name = str(row["name"])
        row["at"] = LOOKS_AT.get(name, "")
        row["runs"] = _runs(answer, name, str(row["version"]))
        used: dict[str, str] = answer["uses"].get(name, {}) if answer else dict.fromkeys(named.get(name, ()), "")
        row["sensors"] = used if row["from"] == "linli" or row["runs"] else {}
        if row["runs"] and answer and name in answer["faults"]:
            row["fault"] = answer["faults"][name]
    return found


def _runs(answer: Mapping[str, Any] | None, name: str, version: str) -> str:
    """ "active", "probation", "shadow", "before" (of one on probation), or ""."""
    if answer is None:
        return ""
    for one in answer["models"]:
        if one["model"] == name and one["active"] == version:
            return "probation" if one["on_probation"] else "active"
        if one["model"] == name and one["other"] == version:
            return "before" if one["on_probation"] else "shadow"
    with_versions = {one["model"] for one in answer["models"]}
    return "active" if name in answer["uses"] and name not in with_versions else ""


def lines(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """In columns; behind them what it looks at, and what is wrong."""
    table = [[str(row[column]) for column in _COLUMNS] for row in found]
    widths = [max(map(len, column)) + 2 for column in zip(*table, strict=True)]
    told = []
    for row, cells in zip(found, table, strict=True):
        used = ", ".join(f"{name} ({state})" if state else name for name, state in row["sensors"].items())
        start = "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        told.append((start + "; ".join(filter(None, (row["fault"] or "sound", used)))).rstrip())
    return told
