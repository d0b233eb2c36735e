"""Shadow, promotion and rollback: what counts, who decides, and that no version can do harm for long."""

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from gateway import cli
from gateway.contract_catalogue import RECORD_TYPES
from gateway.detectors import Detectors
from gateway.model_packages import install
from gateway.rollout import HIGH, JUDGED, KEEP, PROBATION_MIN, SLOW_MAX, SPENT_S_MAX, Rollout
from models.session import ModelError
from tests import onnx_made
from tests.test_model_packages import KEYS, package

WINDOW = [[0.0] * 60]


class Version:
    """A model that answers what it is told to, and spends what it is told to."""

    def __init__(self, version: str, house: "House") -> None:
        self.version, self._house = version, house
        self.answer: float | str = 0.1
        self.spends_s = 0.001

    def score(self, windows: Sequence[Sequence[float]]) -> list[float]:
        self._house.spent_s += self.spends_s
        if isinstance(self.answer, str):
            raise ModelError(self.answer)
        return [self.answer] * len(windows)

    def because(self, window: Sequence[float]) -> list[tuple[str, float]]:
        return [(self.version, 0.5)]


class House:
    def __init__(self) -> None:
        self.spent_s = 0.0
        self.versions = {name: Version(name, self) for name in ("1.0.0", "2.0.0", "3.0.0")}
        self.kept: dict[str, object] = {}
        self.shipped, self.high = "1.0.0", HIGH
        self.start()

    def start(self, crashed: bool = False) -> None:
        """Again, with what was kept."""
        self.rollout = Rollout(
            "water-leak",
            self.shipped,
            self._open,
            dict(self.kept),
            self._keep,
            self.high,
            lambda: self.spent_s,
            crashed=crashed,
        )

    def _open(self, version: str) -> Version:
        if version not in self.versions:
            raise ModelError(f"There is no {version!r} here.")
        return self.versions[version]

    def _keep(self, key: str, value: object) -> None:
        self.kept[key] = json.loads(json.dumps(value))

    def score(self, times: int = 1) -> list[float]:
        for _ in range(times):
            scores = self.rollout.score(WINDOW)
        return scores

    def said(self) -> list[tuple[str, str, str, str]]:
        """(value, version, active, by) since the last time; each fits the contract."""
        found = list(self.rollout.decided)
        self.rollout.decided.clear()
        for data in found:
            msgspec.convert(data, RECORD_TYPES["events"]["model.decided"])
        return [(data["value"], data["version"], data["active"], data["by"]) for data in found]  # type: ignore[misc]


@pytest.fixture
def house() -> House:
    return House()


def promoted(house: House) -> None:
    house.rollout.shadow("2.0.0", 0, "王工")
    house.rollout.promote("王工")
    house.said()


def test_a_shadow_is_counted_and_raises_nothing(house: House) -> None:
    house.rollout.shadow("2.0.0", 0, "王工")
    house.versions["2.0.0"].answer = 0.95
    assert house.score(10) == [0.1]
    house.versions["1.0.0"].answer = 0.97
    assert house.score(5) == [0.97]
    house.versions["2.0.0"].answer = 0.2
    house.score(2)
    counts = house.rollout.standing()["counts"]
    assert counts == {"minutes": 17, "windows": 17, "both": 5, "only_active": 2, "only_other": 10, "shed": 0}
    assert house.said() == [("shadowed", "2.0.0", "1.0.0", "王工")]
    assert house.rollout.because(WINDOW[0]) == [("1.0.0", 0.5)]


def test_a_person_promotes_it_and_a_week_confirms_it(house: House) -> None:
    house.rollout.shadow("2.0.0", 0, "王工")
    house.versions["2.0.0"].answer = 0.3
    house.score(JUDGED * 3)
    house.rollout.promote("李工")
    assert house.score() == [0.3]
    assert house.rollout.version == "2.0.0"
    house.score(PROBATION_MIN)
    assert house.said() == [
        ("shadowed", "2.0.0", "1.0.0", "王工"),
        ("promoted", "2.0.0", "2.0.0", "李工"),
        ("confirmed", "2.0.0", "2.0.0", "rule"),
    ]
    assert house.rollout.standing()["other"] == ""


def test_the_rule_promotes_after_the_days_that_were_said(house: House) -> None:
    house.rollout.shadow("2.0.0", 2, "王工")
    house.score(2 * 1440 - 1)
    assert house.rollout.version == "1.0.0"
    house.score()
    assert house.rollout.version == "2.0.0"
    assert house.said()[-1] == ("promoted", "2.0.0", "2.0.0", "rule")


@pytest.mark.parametrize("answer", ["found, expected, do", float("nan"), 1.5, -0.1])
def test_a_shadow_that_errs_is_withdrawn_and_the_active_one_never_notices(house: House, answer: float | str) -> None:
    house.rollout.shadow("2.0.0", 0, "desk")
    house.versions["2.0.0"].answer = answer
    assert house.score() == [0.1]
    assert house.said()[-1] == ("withdrawn", "2.0.0", "1.0.0", "rule")


@pytest.mark.parametrize("answer", ["found, expected, do", float("nan"), 1.5])
def test_a_promoted_version_that_errs_is_replaced_in_the_same_minute(house: House, answer: float | str) -> None:
    promoted(house)
    house.versions["2.0.0"].answer = answer
    assert house.score() == [0.1]
    assert house.said() == [("rolled-back", "2.0.0", "1.0.0", "rule")]


def test_one_that_errs_long_after_its_probation_gives_way_to_the_shipped_one(house: House) -> None:
    promoted(house)
    house.score(PROBATION_MIN)
    house.versions["2.0.0"].answer = "found, expected, do"
    assert house.score() == [0.1]
    assert house.said()[-1] == ("rolled-back", "2.0.0", "1.0.0", "rule")


def test_a_slow_shadow_is_shed_and_counted_and_then_withdrawn(house: House) -> None:
    house.rollout.shadow("2.0.0", 0, "desk")
    house.versions["2.0.0"].spends_s = 2 * SPENT_S_MAX
    house.score(3)
    assert house.rollout.standing()["counts"]["shed"] == 1  # type: ignore[index,call-overload]
    house.score(2 * SLOW_MAX)
    assert house.said()[-1] == ("withdrawn", "2.0.0", "1.0.0", "rule")


def test_a_slow_version_is_rolled_back_and_one_slow_minute_is_forgiven(house: House) -> None:
    promoted(house)
    new = house.versions["2.0.0"]
    for _ in range(5):
        new.spends_s = 2 * SPENT_S_MAX
        house.score(SLOW_MAX)
        new.spends_s = 0.001
        house.score()
    assert house.said() == []
    new.spends_s = 2 * SPENT_S_MAX
    house.score(SLOW_MAX + 1)
    assert house.said() == [("rolled-back", "2.0.0", "1.0.0", "rule")]


def test_a_version_that_alarms_constantly_is_rolled_back_after_a_block(house: House) -> None:
    promoted(house)
    house.versions["2.0.0"].answer = 0.99
    house.score(JUDGED - 1)
    assert house.said() == []
    house.score()
    assert house.said() == [("rolled-back", "2.0.0", "1.0.0", "rule")]
    assert house.score() == [0.1]


def test_a_shadow_that_alarms_constantly_is_withdrawn(house: House) -> None:
    house.rollout.shadow("2.0.0", 1, "desk")
    house.versions["2.0.0"].answer = 0.99
    house.score(JUDGED)
    assert house.said()[-1] == ("withdrawn", "2.0.0", "1.0.0", "rule")


def test_a_leak_that_both_see_ends_nobody(house: House) -> None:
    promoted(house)
    for version in house.versions.values():
        version.answer = 0.99
    house.score(3 * JUDGED)
    assert house.said() == []


def test_a_person_rolls_back_from_the_shadow_and_from_the_active_one(house: House) -> None:
    house.rollout.shadow("2.0.0", 0, "a")
    house.rollout.rollback("b")
    assert house.said()[-1] == ("withdrawn", "2.0.0", "1.0.0", "b")
    promoted(house)
    house.rollout.rollback("c")
    assert house.said() == [("rolled-back", "2.0.0", "1.0.0", "c")]
    with pytest.raises(ValueError, match=r"found 1.0.0, which came with the program, expected"):
        house.rollout.rollback("d")
    with pytest.raises(ValueError, match="found no shadow, expected one; run linli model shadow"):
        house.rollout.promote("d")
    with pytest.raises(ValueError, match="found 1.0.0, which is active, expected another"):
        house.rollout.shadow("1.0.0", 0, "d")
    with pytest.raises(ValueError, match="no '9.9.9' here"):
        house.rollout.shadow("9.9.9", 0, "d")
    with pytest.raises(ValueError, match="found 91 days, expected 0 to 90"):
        house.rollout.shadow("2.0.0", 91, "d")
    assert house.said() == []


def test_what_was_decided_outlives_a_restart(house: House) -> None:
    house.rollout.shadow("2.0.0", 2, "desk")
    house.score(1440)
    house.start()
    assert house.rollout.standing()["counts"]["minutes"] == 1440  # type: ignore[index,call-overload]
    house.score(1440)
    assert house.rollout.version == "2.0.0"
    house.start()
    assert house.rollout.version == "2.0.0"
    house.versions["2.0.0"].answer = "found, expected, do"
    assert house.score() == [0.1], "the one before it is still there"


def test_a_version_that_is_gone_at_the_start_gives_way_and_it_is_told(house: House) -> None:
    promoted(house)
    del house.versions["2.0.0"]
    house.start()
    assert house.rollout.version == "1.0.0"
    assert house.said() == [("rolled-back", "2.0.0", "1.0.0", "rule")]
    house.rollout.shadow("3.0.0", 0, "desk")
    del house.versions["3.0.0"]
    house.start()
    assert house.said() == [("withdrawn", "3.0.0", "1.0.0", "rule")]


@pytest.mark.parametrize("kept", [None, 3, {"active": 3}, {"other": "2.0.0"}])
def test_what_cannot_be_read_of_an_earlier_run_leaves_the_shipped_version(kept: object) -> None:
    house = House()
    house.kept = {KEEP + "water-leak": kept}
    house.start()
    assert house.rollout.version == "1.0.0"


def test_the_shipped_version_that_fails_is_the_detectors_matter(house: House) -> None:
    house.versions["1.0.0"].answer = "found, expected, do"
    with pytest.raises(ModelError, match="found, expected, do"):
        house.score()


# -- with real packages ------------------------------------------------------------------------------------------------


def test_a_real_package_runs_as_shadow_and_after_its_promotion_names_itself_in_the_evidence(tmp_path: Path) -> None:
    install(package(tmp_path / "new", onnx_made.linear(0.1, -1.1)), KEYS, tmp_path / "models")
    detectors = Detectors.of_site({"water-leak": ["main"]}, {}, lambda key, value: None, tmp_path / "models")
    assert detectors.ask("shadow", "water-leak", "2.0.0", 0, "desk")[0]["other"] == "2.0.0"
    for minute in range(40):
        detectors.feed("main", 0.0, minute * 60.0)
        detectors.tick(minute * 60.0 + 6, None)
    before = detectors.score("water-leak", "main")
    assert detectors.evidence("water-leak", "main", 0.0)["version"] == "1.0.0"
    detectors.ask("promote", "water-leak", "", 0, "desk")
    detectors.feed("main", 0.0, 2400.0)
    detectors.tick(2466.0, None)
    assert detectors.score("water-leak", "main") == pytest.approx(0.269, abs=0.001) != before
    assert detectors.evidence("water-leak", "main", 0.0)["version"] == "2.0.0"
    assert [data["value"] for _, data in detectors.decided()] == ["shadowed", "promoted"]
    assert detectors.decided() == []
    with pytest.raises(ValueError, match=r"no water-leak '7.0.0' here. There are: 2.0.0"):
        detectors.ask("shadow", "water-leak", "7.0.0", 0, "desk")
    with pytest.raises(ValueError, match="found model 'generic', expected one of those that run here: water-leak"):
        detectors.ask("shadow", "generic", "2.0.0", 0, "desk")


def test_a_package_that_rotted_on_the_disk_gives_way_at_the_start(tmp_path: Path) -> None:
    install(package(tmp_path / "new"), KEYS, tmp_path / "models")
    kept: dict[str, object] = {}
    one = Detectors.of_site({"water-leak": ["main"]}, {}, kept.__setitem__, tmp_path / "models")
    one.ask("shadow", "water-leak", "2.0.0", 0, "desk")
    one.ask("promote", "water-leak", "", 0, "desk")
    (tmp_path / "models/water-leak/2.0.0/model.onnx").write_bytes(onnx_made.linear(bias=9.0))
    again = Detectors.of_site({"water-leak": ["main"]}, kept, kept.__setitem__, tmp_path / "models")
    [(name, data)] = again.decided()
    assert (name, data["value"], data["active"], again.fault) == ("water-leak", "rolled-back", "1.0.0", "")
    assert "The manifest vouches for" in str(data["why"])


def test_the_command_asks_the_gateway_that_runs_and_says_when_none_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state", str(tmp_path)]
    assert cli.main(["model", "promote", "water-leak", *state]) == 1
    assert "found no gateway that runs on" in (said := capsys.readouterr().err)
    assert "linli.sock: [Errno 2] No such file or directory), expected one; see linli doctor." in said
    assert cli.main(["model", "list", *state]) == 0
    assert "which of them runs is not known, as no gateway answers" in capsys.readouterr().err
    for words in (["shadow", "water-leak"], ["promote"], ["rollback", "a", "b", "c"], ["list", "x"], ["verify"]):
        assert cli.main(["model", *words, *state]) == 2
    install(package(tmp_path / "new"), KEYS, tmp_path / "models")
    detectors = Detectors.of_site({"water-leak": ["main"]}, {}, lambda key, value: None, tmp_path / "models")

    def answer(_state: Path, wanted: dict) -> dict:
        words = (wanted["deed"], wanted["name"], wanted["version"], wanted["after_days"], wanted["by"])
        return {"models": detectors.ask(*words)}

    monkeypatch.setattr("gateway.model.ask", answer)
    assert cli.main(["model", "shadow", "water-leak", "2.0.0", "--after-days", "14", *state]) == 0
    assert capsys.readouterr().out == "water-leak: 1.0.0 is active, 2.0.0 as its shadow.\n"
    assert cli.main(["model", "list", *state, "--json"]) == 0
    runs = {row["version"]: row["runs"] for row in json.loads(capsys.readouterr().out) if row["name"] == "water-leak"}
    assert runs == {"1.0.0": "active", "2.0.0": "shadow"}
    assert cli.main(["model", "promote", "water-leak", "3.0.0", *state]) == 1
    assert "found 3.0.0, expected 2.0.0, the shadow there is; see linli model list" in capsys.readouterr().err
    assert cli.main(["model", "promote", "water-leak", "2.0.0", *state]) == 0
    assert capsys.readouterr().out == "water-leak: 2.0.0 is active, 1.0.0 before it.\n"
    assert cli.main(["model", "shadow", "water-leak", "2.0.0", *state]) == 1
    assert "which is active" in capsys.readouterr().err
