"""A whole gateway on a virtual clock, and models that mean it no good: it reads, keeps and tells all the same."""

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from drivers.node_frame import DATA
from gateway import cli
from gateway.config import load
from gateway.desk import Desk
from gateway.model_list import lines, rows
from gateway.model_packages import PACKAGES, install
from models.session import ModelError, Session
from simulator.cost_rig import CostRig
from tests import onnx_made
from tests.cost_load import site
from tests.test_model_packages import KEYS, package

SENSORS = 20
EVERY_S = 30.0
CALM = onnx_made.linear(bias=-21.0)
NERVOUS = onnx_made.linear(weight=1.0, bias=-8.0)
"""Passes the trial: low for a pipe at rest and for one use of a tap. A use each ten minutes it scores above 0.9."""


class Taps:
    """Flows that rest, with a minute of 100 ml/s each ten."""

    def __init__(self, rig: CostRig, leak_m3_s: float = 0.0) -> None:
        self.made = 0
        self._leak_m3_s = leak_m3_s
        self._node = rig.node("n1", 4096, f"taps;flow*{SENSORS}")
        self._next_s: float | None = None
        rig.each_step(self._produce)

    def _produce(self, now_s: float) -> None:
        self._next_s = now_s if self._next_s is None else self._next_s
        if now_s < self._next_s:
            return
        self._next_s += EVERY_S
        for point in range(SENSORS):
            runs = (now_s // 60 + point) % 10 == 0
            assert self._node.add(DATA, point, 1e-4 if runs else self._leak_m3_s)
            self.made += 1


class Told(NamedTuple):
    decided: list[dict[str, Any]]
    counts: tuple[int, ...]
    models: list[dict[str, Any]]
    fault: str


def told(tmp_path: Path, steps: list[tuple[str, str]], seconds: float) -> Told:
    """Run for so long, ask for the steps half an hour after the start; what is said, counted, and stands in the end."""
    path = site(tmp_path / "site", sensors=SENSORS, model=True)
    with CostRig(path, tmp_path / "state", step_s=1.0) as rig:
        events: list[dict[str, Any]] = []
        published = rig.published

        def heard(topic: str, payload: bytes, retain: bool) -> None:
            if topic.endswith("/events") and not retain:
                events.extend(msgspec.json.decode(payload)["records"])
            published(topic, payload, retain)

        rig.published = heard  # type: ignore[method-assign]
        desk = Desk(rig.box, load(path), rig.clock.mono_s).asks()

        def ask(deed: str, version: str = "") -> list[dict[str, Any]]:
            wanted = {"deed": deed, "name": "water-leak", "version": version, "after_days": 0, "by": "王工"}
            return rig.loop.run_until_complete(desk["model"](wanted))["models"]  # type: ignore[arg-type,no-any-return]

        taps = Taps(rig)
        rig.go(1900.0)
        for deed, version in steps:
            ask(deed, version)
        rig.go(seconds)
        standing = ask("list")
        fault = rig.box.health()["model"]
        rig.loop.run_until_complete(asyncio.sleep(30.0))
        costs = rig.costs()
        assert costs.handled >= taps.made - SENSORS
        decided = [record["data"] for record in events if record.get("type") == "linli.model.decided.v1"]
        return Told(decided, (taps.made, costs.handled, costs.sent), standing, str(fault))


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return told(tmp_path_factory.mktemp("calm"), [], 1800.0)


def test_a_model_that_alarms_constantly_passes_the_trial_and_is_rolled_back_while_no_reading_is_lost(
    tmp_path: Path, calm: Told
) -> None:
    install(package(tmp_path / "new", NERVOUS), KEYS, tmp_path / "it" / "state" / PACKAGES)
    found = told(tmp_path / "it", [("shadow", "2.0.0"), ("promote", "")], 1800.0)
    assert [(data["value"], data["active"], data["by"]) for data in found.decided] == [
        ("shadowed", "1.0.0", "王工"), ("promoted", "2.0.0", "王工"), ("rolled-back", "1.0.0", "rule"),
    ]  # fmt: skip
    assert "of 360 windows above 0.9, the other version 0. Expected 5% at most" in found.decided[-1]["why"]
    assert found.decided[-1]["counts"]["minutes"] == 360 / SENSORS
    assert found.models[0]["active"] == "1.0.0"
    assert (found.counts, found.fault) == (calm.counts, "")


def test_a_model_that_fails_at_each_run_is_rolled_back_while_no_reading_is_lost(
    tmp_path: Path, calm: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(package(tmp_path / "new", CALM), KEYS, tmp_path / "it" / "state" / PACKAGES)
    score = Session.score

    def fails(session: Session, batch: Any) -> Any:
        if PACKAGES in session._path.parts[:-3] and "2.0.0" in session._path.parts and len(batch) > 1:
            raise ModelError("model.onnx failed: no memory. Expected one score a row. Install the model again.")
        return score(session, batch)

    monkeypatch.setattr(Session, "score", fails)
    found = told(tmp_path / "it", [("shadow", "2.0.0"), ("promote", "")], 1800.0)
    assert [data["value"] for data in found.decided] == ["shadowed", "promoted", "rolled-back"]
    assert "no memory" in found.decided[-1]["why"]
    assert (found.counts, found.fault) == (calm.counts, "")


def test_the_list_says_of_a_gateway_that_runs_what_each_model_looks_at_and_which_version_runs(tmp_path: Path) -> None:
    install(package(tmp_path / "new", CALM), KEYS, tmp_path / "state" / PACKAGES)
    path = site(tmp_path / "site", sensors=2, model=True)
    with CostRig(path, tmp_path / "state", step_s=1.0) as rig:
        desk = Desk(rig.box, load(path), rig.clock.mono_s).asks()

        def listed() -> dict[tuple[str, str], dict[str, Any]]:
            wanted = {"deed": "list", "name": "", "version": "", "after_days": 0, "by": "desk"}
            answer: Any = rig.loop.run_until_complete(desk["model"](wanted))  # type: ignore[arg-type]
            found: list[Any] = rows(tmp_path / "state" / PACKAGES, answer, {})
            return {(row["name"], row["version"]): row for row in found}

        learn = {"deed": "learn", "name": "water-leak", "of": "s000", "after_days": 0, "by": "desk"}
        with pytest.raises(ValueError, match="found model 'water-leak', expected one that learns and runs here: none"):
            rig.loop.run_until_complete(desk["model"](learn))  # type: ignore[arg-type]
        before = listed()
        assert before["water-leak", "1.0.0"]["sensors"] == {"s000": "no score", "s001": "no score"}
        Taps(rig)
        rig.go(2400.0)
        after = listed()
    assert after["water-leak", "1.0.0"]["sensors"] == {"s000": "", "s001": ""}
    assert after["water-leak", "1.0.0"]["runs"] == "active"
    assert (after["water-leak", "2.0.0"]["runs"], after["water-leak", "2.0.0"]["sensors"]) == ("", {})
    assert after["generic", "1.0.0"]["runs"] == ""
    assert lines(after.values())[-1].startswith("water-leak") and "2.0.0  package" in lines(after.values())[-1]


def test_a_sound_model_runs_as_shadow_and_is_counted(tmp_path: Path, calm: Told) -> None:
    install(package(tmp_path / "new", CALM), KEYS, tmp_path / "it" / "state" / PACKAGES)
    found = told(tmp_path / "it", [("shadow", "2.0.0")], 1800.0)
    assert [data["value"] for data in found.decided] == ["shadowed"]
    [water] = found.models
    assert (water["active"], water["other"], water["on_probation"]) == ("1.0.0", "2.0.0", False)
    assert water["counts"]["minutes"] == 30 and water["counts"]["windows"] == 30 * SENSORS
    assert found.counts == calm.counts


@pytest.mark.parametrize(
    ("deeds", "labels"),
    [
        ([], []),
        (["acknowledge"], ["acknowledged"]),
        (["acknowledge", "shelve"], ["rejected"]),
    ],
)
def test_what_people_made_of_a_models_alarm_is_collected_without_a_word_of_who_or_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], deeds: list[str], labels: list[str]
) -> None:
    with CostRig(site(tmp_path, sensors=SENSORS, model=True), tmp_path / "state", step_s=1.0) as rig:
        Taps(rig, leak_m3_s=2e-5)
        rig.go(3000.0)
        assert rig.pipeline.standing()["model"] == "unacknowledged"
        for deed in deeds:
            by = "desk:王工"
            assert rig.pipeline.shelve("model", 1.0, by) if deed == "shelve" else rig.pipeline.acknowledge("model", by)
        rig.go(120.0)
    assert cli.main(["model", "collect", "--state", str(tmp_path / "state")]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["label"] for row in rows] == labels
    for row in rows:
        assert set(row) == {"model", "version", "label", "score", "m3_s"}
        assert (row["model"], row["version"]) == ("water-leak", "1.0.0") and row["score"] > 0.9
        known = [minute for minute in row["m3_s"] if minute is not None]
        assert len(row["m3_s"]) == 60 and len(known) >= 40
        assert min(known) == pytest.approx(2e-5, rel=0.05) and max(known) > 5e-5


def test_collecting_from_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["model", "collect", "--state", str(tmp_path)]) == 2
    assert "found no database, expected one" in capsys.readouterr().err
