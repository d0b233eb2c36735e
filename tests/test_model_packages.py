"""Signed packages of models: what a bad one meets before it may lie beside what runs, and that a good one passes."""

import hashlib
import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import cli, model_packages
from gateway.alarm_rules import MODELS
from gateway.forecast import WAITS
from gateway.model_packages import checked, install, installed
from gateway.signing import SecretKey, new_key, sign
from models import onnx_file, trial
from models.features import NAMES
from models.inflow.step import constants
from models.session import ModelError
from tests import onnx_made

CITY = new_key(bytes(range(32)), b"thecity1")
THIEF = new_key(bytes(range(1, 33)), b"athief01")
KEYS = [CITY.public]
GOOD = onnx_made.linear()


def package(
    folder: Path, model: bytes = GOOD, version: str = "2.0.0", key: SecretKey = CITY, change: Callable[[str], str] = str
) -> Path:
    """A package as its maker leaves it. change: what is done to the manifest before it is signed."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model)
    (folder / "card.md").write_text("made in a test\n")
    sums = "".join(
        f'"{name}" = "{hashlib.sha256((folder / name).read_bytes()).hexdigest()}"\n'
        for name in ("model.onnx", "card.md")
    )
    text = (
        f'name = "water-leak"\nversion = "{version}"\nwindow_min = 60\nopset = 17\nbytes = {len(model)}\n'
        f'input = "features"\noutput = "score"\nfeatures = {json.dumps(NAMES)}\n[sha256]\n{sums}'
    )
    (folder / "manifest.toml").write_text(change(text))
    seal(folder, key)
    return folder


def seal(folder: Path, key: SecretKey = CITY) -> None:
    signed = sign((folder / "manifest.toml").read_bytes(), key, "water-leak for the winter")
    (folder / "manifest.toml.minisig").write_text(signed)


def test_a_good_package_is_installed_whole_beside_the_others(tmp_path: Path) -> None:
    models = tmp_path / "state" / "models"
    (package(tmp_path / "new") / "install.py").write_text("print('code')")
    done = install(tmp_path / "new", KEYS, models)
    assert (done.name, done.version, done.signer) == ("water-leak", "2.0.0", CITY.public.name)
    assert {path.name for path in (models / "water-leak" / "2.0.0").iterdir()} == {
        "manifest.toml", "manifest.toml.minisig", "model.onnx", "card.md",
    }  # fmt: skip
    install(package(tmp_path / "newer", version="10.0.0"), KEYS, models)
    assert installed(models) == [("water-leak", "2.0.0", ""), ("water-leak", "10.0.0", "")]
    assert sorted(path.name for path in models.iterdir()) == ["water-leak"]


def test_a_sum_in_capitals_is_the_same_sum(tmp_path: Path) -> None:
    sums = hashlib.sha256(GOOD).hexdigest()
    package(tmp_path / "new", change=lambda text: text.replace(sums, sums.upper()))
    assert checked(tmp_path / "new", KEYS).version == "2.0.0"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: seal(p, THIEF), r"by key .*, expected one of .*; sign with that, or add the key"),
        (lambda p: (p / "manifest.toml").write_text((p / "manifest.toml").read_text() + "\n"), "of something else"),
        (
            lambda p: (p / "manifest.toml.minisig").unlink(),
            r"minisig is no plain file. Expected one in a model package",
        ),
        (lambda p: (p / "manifest.toml.minisig").write_text("signed, honestly"), "expected the four lines"),
        (lambda p: (p / "model.onnx").write_bytes(onnx_made.linear(2.0)), r"model.onnx has SHA-256 .* vouches for"),
        (lambda p: (p / "model.onnx").unlink(), "model.onnx is no plain file"),
        (lambda p: ((p / "model.onnx").unlink(), (p / "model.onnx").symlink_to("/dev/zero")), "is no plain file"),
        (lambda p: (p / "card.md").write_bytes(bytes(300_000)), r"has 300000 bytes. Expected 262144 at most"),
        (
            lambda p: (p / "model.onnx").write_bytes(bytes(onnx_file.BYTES_MAX + 1)),
            r"has 4194305 bytes. Expected 4194304",
        ),
        (lambda p: (p / "manifest.toml").write_bytes(bytes(70_000)), r"has 70000 bytes. Expected 65536 at most"),
    ],
)
def test_a_package_that_was_touched_is_refused(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(package(tmp_path / "new"))
    refused(tmp_path / "new", tmp_path, message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"water-leak"', '"../../etc"', r"names '../../etc' '2.0.0'. Expected one of water-leak, as this program"),
        ('"water-leak"', '"generic"', "Expected one of water-leak, as this program can run no other"),
        ('"2.0.0"', '"2.0"', "Expected one of water-leak, .* and a new version such as 1.2.0"),
        ('"2.0.0"', '"2.٣.0"', "names 'water-leak' '2.٣.0'. Expected"),  # Arabic digits sort among ours, and look else
        ('"card.md" =', '"../card.md" =', r"lists '../card.md'. Expected 16 plain file names"),
        ("opset = 17", "opset = 18", r"has opset 17. The manifest says 18"),
        ("bytes = ", "bytes = 1", r"has bytes \d+. The manifest says 1"),
        ('"low_5"', '"low_6"', "trained for other features than this version computes"),
        ("window_min = 60", 'window_min = "60"', "lacks window_min"),
        ('"model.onnx" =', '"other.onnx" =', "lacks the SHA-256 of model.onnx|other.onnx is no plain file"),
    ],
)
def test_a_signed_manifest_that_does_not_fit_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    package(tmp_path / "new", change=lambda text: text.replace(old, new))
    refused(tmp_path / "new", tmp_path, message)


def _loop() -> bytes:
    inner = onnx_made.node("Identity", ["features"], "score")
    return onnx_made.made([onnx_made.node("Loop", ["features"], "score", onnx_made.attribute_graph("body", inner))])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            onnx_made.made(
                [onnx_made.node("Gemm", ["features", "w"], "score")],
                [onnx_made.floats("w", (16, 1), [0.0] * 16), onnx_made.floats("features", (1, 16), [0.0] * 16)],
            ),
            "takes nothing. Expected one",
        ),
        (b"no model", "model.onnx cannot be read .*Expected an ONNX model"),
        (GOOD[:-9], "model.onnx cannot be read .cut short"),
        (onnx_made.linear(opset=99), "needs opset 99 of ai.onnx. Expected ai.onnx 13 to 21"),
        (
            onnx_made.made([onnx_made.node("Run", ["features"], "score", domain="evil.ops")], domain="evil.ops"),
            "needs opset 1 of evil.ops",
        ),
        (_loop(), "has a loop or a branch"),
        (
            onnx_made.made([onnx_made.node("MatMul", ["features", "w"], "score")], [onnx_made.elsewhere("w", (16, 1))]),
            "keeps weights in another file",
        ),
        (onnx_made.linear(weight=float("nan")), "has the weight nan in w. Expected weights that are finite"),
        (onnx_made.linear(bias=float("inf")), "has the weight inf in b"),
        (onnx_made.made([onnx_made.node("Abs", ["features"], "score")] * 501), "has 501 nodes. Expected 1 to 500"),
        (onnx_made.linear(width=12), r"takes features tensor\(float\) \['n', 12\]. Expected one .* \(n, 16\)"),
        (onnx_made.made([onnx_made.node("Log", ["features"], "x")]), "cannot be opened|gives"),
        (onnx_made.linear(0.0, 3.0), "scores a pipe in which nothing flows as 0.95. Expected 0.5 at most"),
        (onnx_made.linear(weight=1.0, bias=-2.0), "scores a tap that was open .*: it would alarm constantly"),
        (
            onnx_made.linear(0.0, -3.0),
            r"an hour of 100 ml/s without a pause as 0.05. Expected more than 0.5: it would see no",
        ),
        (
            onnx_made.made(
                [onnx_made.node("Gemm", ["features", "w"], "score")], [onnx_made.floats("w", (16, 1), [-1.0] * 16)]
            ),
            "The model answers -.* Expected one score from 0 to 1",
        ),
    ],
)
def test_a_hostile_model_is_refused_although_it_is_signed(tmp_path: Path, model: bytes, message: str) -> None:
    package(tmp_path / "new", model)
    refused(tmp_path / "new", tmp_path, message)


def test_a_file_of_any_bytes_is_read_or_refused_and_nothing_else() -> None:
    dice = random.Random(5)
    models = [GOOD, _loop(), onnx_made.square(3, 2), onnx_made.linear(weight=float("nan"))]
    refusals = 0
    for n in range(4000):
        data = bytearray(dice.choice(models))
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        try:
            onnx_file.opset_of(bytes(data[: dice.randint(1, len(data))] if n % 3 == 0 else data))
        except ModelError:
            refusals += 1
    assert 2000 < refusals < 4000


def test_a_slow_model_is_refused_by_the_time_it_takes(tmp_path: Path) -> None:
    package(tmp_path / "new", onnx_made.square(10, 8))
    refused(tmp_path / "new", tmp_path, r"takes \d+ ms for 64 windows. Expected 50 ms|ended with signal")


def test_a_model_that_wants_all_memory_ends_in_its_own_process(tmp_path: Path) -> None:
    package(tmp_path / "new", onnx_made.square(16, 1))  # 17 GB from a file of 2 KB
    refused(tmp_path / "new", tmp_path, r"failed: |ended with|cannot be opened")


def test_a_model_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "WALL_S_MAX", 0.01)
    package(tmp_path / "new")
    refused(tmp_path / "new", tmp_path, "had not scored 64 windows after")


def test_a_version_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    models = tmp_path / "models"
    install(package(tmp_path / "one"), KEYS, models)
    with pytest.raises(ModelError, match="2.0.0 is installed already. Expected a new version"):
        install(package(tmp_path / "two", onnx_made.linear(bias=-19.0)), KEYS, models)
    assert (models / "water-leak" / "2.0.0" / "model.onnx").read_bytes() == GOOD


def test_debians_minisign_and_this_program_take_each_others_packages(minisign: str, tmp_path: Path) -> None:
    made = package(tmp_path / "new")
    (tmp_path / "ours.pub").write_text(CITY.public.as_text())
    verify = [minisign, "-V", "-p", tmp_path / "ours.pub", "-m", "manifest.toml"]
    assert b"verified" in subprocess.run(verify, cwd=made, check=True, capture_output=True, timeout=60).stdout
    pair = ["-p", tmp_path / "city.pub", "-s", tmp_path / "city.key"]
    subprocess.run([minisign, "-G", "-W", *pair], check=True, capture_output=True, timeout=60)
    (made / "manifest.toml.minisig").unlink()
    signing = [minisign, "-S", "-s", tmp_path / "city.key", "-m", "manifest.toml", "-t", "冬季"]
    subprocess.run(signing, cwd=made, check=True, capture_output=True, timeout=60)
    assert cli.main(["model", "verify", str(made), "--key", str(tmp_path / "city.pub")]) == 0
    assert cli.main(["model", "verify", str(made), "--key", str(tmp_path / "ours.pub")]) == 1


def test_the_command_installs_lists_and_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "city.pub").write_text(CITY.public.as_text())
    state = ["--state", str(tmp_path)]
    key = ["--key", str(tmp_path / "city.pub")]
    assert cli.main(["model", "install", str(package(tmp_path / "new")), *key, *state]) == 0
    said = capsys.readouterr()
    assert "water-leak 2.0.0 is installed: signed by" in said.out
    assert f"no gateway has run on {tmp_path} yet; see that `linli run --state` has the same" in said.err
    assert cli.main(["model", "list", *state, "--json"]) == 0
    rows = {(row["name"], row["version"]): row for row in json.loads(capsys.readouterr().out)}
    sound = {"runs": "", "fault": "", "sensors": {}}
    flow = {"kind": "onnx", "at": "flow", **sound}
    assert rows["water-leak", "2.0.0"] == {"name": "water-leak", "version": "2.0.0", "from": "package", **flow}
    assert rows["water-leak", "1.0.0"] == {"name": "water-leak", "version": "1.0.0", "from": "linli", **flow}
    generic = {"name": "generic", "version": "1.0.0", "from": "linli", "kind": "numpy", "at": "numbers", **sound}
    assert rows["generic", "1.0.0"] == generic
    (tmp_path / "models" / "water-leak" / "2.0.0" / "model.onnx").write_bytes(b"rotten")
    assert cli.main(["model", "list", *state]) == 1
    assert "The manifest vouches for" in capsys.readouterr().out
    assert cli.main(["model", "install", str(tmp_path / "new"), *state]) == 2
    assert cli.main(["model", "install", str(tmp_path / "none"), *key, *state]) == 1
    assert "none/manifest.toml is no plain file" in capsys.readouterr().err
    assert cli.main(["model", "list", "--state", str(tmp_path / "nowhere")]) == 2


def test_the_list_has_every_model_that_came_with_the_program_and_what_of_a_site_it_looks_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["model", "list", "--state", str(tmp_path)]) == 0
    plain = [line.split()[:5] for line in capsys.readouterr().out.splitlines()]
    assert [(name, kind, at) for name, _, _, kind, at in plain] == [
        ("generic", "numpy", "numbers"), ("inflow", "numpy", "flow"), ("pump", "numpy", "machine"),
        ("queue-waits", "onnx", "queues"), ("water-leak", "onnx", "flow"),
    ]  # fmt: skip
    assert [version for _, version, *_ in plain][1] == constants().version
    assert set(MODELS) | {WAITS} == {name for name, *_ in plain}, "whoever adds a model adds it to both"
    good = Path(__file__).parent / "bad_sites" / "good.toml"
    assert cli.main(["model", "list", "--state", str(tmp_path), "--site", str(good), "--json"]) == 0
    rows = {row["name"]: row["sensors"] for row in json.loads(capsys.readouterr().out)}
    assert rows["water-leak"] == {"basement/main/flow": ""}
    assert rows["pump"] == {"heating-pump": ""}
    assert rows["queue-waits"] == {"hall": ""}
    assert rows["generic"] == rows["inflow"] == {}
    (tmp_path / "site.toml").write_text("schema = 1\n")
    assert cli.main(["model", "list", "--state", str(tmp_path), "--site", str(tmp_path / "site.toml")]) == 1
    assert "mistakes, expected none; see linli check" in capsys.readouterr().err


def refused(folder: Path, tmp_path: Path, message: str) -> None:
    """By check and by install alike, and nothing is left behind."""
    with pytest.raises(ModelError, match=message):
        checked(folder, KEYS)
    with pytest.raises(ModelError, match=message) as found:
        install(folder, KEYS, tmp_path / "models")
    assert ".coming" not in str(found.value), "that folder is gone"
    assert not [path for path in (tmp_path / "models").rglob("*") if path.is_file()]
    assert model_packages.installed(tmp_path / "models") == []
