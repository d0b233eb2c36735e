"""Installing a model's package where somebody interferes: power, a second install, whoever owns the folder it is in."""

import fcntl
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import cli, model_packages
from gateway.model_packages import checked, install, installed
from models.package import with_packages
from models.session import ModelError
from tests import onnx_made
from tests.test_model_packages import CITY, KEYS, THIEF, package, seal

STEPS_MAX = 200
_STEPS = ("open", "os.mkdir", "os.rename", "os.rmdir", "os.remove", "os.chmod")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the trial, which touches no file of the state."""
    monkeypatch.setattr(model_packages, "tried", lambda folder: {"ms": 1.0})


def cut_after(steps: int, deed: Callable[[], object]) -> bool:
    """Do it in a child that ends without a word before its nth step on the disk. Whether it came to an end before."""
    child = os.fork()
    if child == 0:
        left = [steps]

        def step(event: str, args: tuple[object, ...]) -> None:
            if event in _STEPS and "state" in str(args[0]):
                left[0] -= 1
                if left[0] < 0:
                    os._exit(7)

        sys.addaudithook(step)
        deed()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_install_that_is_cut_at_any_step_leaves_all_or_nothing_and_is_done_again(
    tmp_path: Path, quick: None
) -> None:
    package(tmp_path / "new")
    models = tmp_path / "state" / "models"
    install(package(tmp_path / "before", version="1.9.0"), KEYS, models)
    ends = []
    for steps in range(STEPS_MAX):
        whole = cut_after(steps, lambda: install(tmp_path / "new", KEYS, models))
        there = installed(models)
        assert there in ([("water-leak", "1.9.0", "")], [("water-leak", "1.9.0", ""), ("water-leak", "2.0.0", "")])
        ends.append(len(there))
        if len(there) == 2:
            for path in (models / "water-leak" / "2.0.0").iterdir():
                path.unlink()
            (models / "water-leak" / "2.0.0").rmdir()
        if whole:
            break
    assert whole
    assert ends == sorted(ends) and len(ends) > 10
    install(tmp_path / "new", KEYS, models)
    assert [path.name for path in models.iterdir()] == ["water-leak"]


def test_of_two_installs_at_once_the_second_is_told_to_wait(tmp_path: Path, quick: None) -> None:
    models = tmp_path / "models"
    package(tmp_path / "new")
    (models / ".coming").mkdir(parents=True)
    (models / ".coming" / "theirs").touch()
    first = os.open(models, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    with pytest.raises(ModelError, match="another install at work in .* Expected one at a time. Try again"):
        install(tmp_path / "new", KEYS, models)
    assert (models / ".coming" / "theirs").exists()
    os.close(first)
    install(tmp_path / "new", KEYS, models)
    assert not (models / ".coming").exists()


def test_a_file_changed_after_it_was_checked_is_not_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = package(tmp_path / "new")

    def changed_now(folder: Path) -> dict[str, float]:
        (new / "model.onnx").write_bytes(b"something else")
        (new / "manifest.toml").write_text("")
        return {"ms": 1.0}

    monkeypatch.setattr(model_packages, "tried", changed_now)
    install(new, KEYS, tmp_path / "models")
    assert installed(tmp_path / "models") == [("water-leak", "2.0.0", "")]


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("file", ["manifest.toml", "manifest.toml.minisig", "model.onnx"])
@pytest.mark.parametrize(
    "become", [pipe, folder, lambda path: (path.unlink(), path.symlink_to("/dev/zero"))], ids=["pipe", "folder", "link"]
)
def test_what_is_no_plain_file_is_neither_waited_for_nor_followed(
    tmp_path: Path, quick: None, file: str, become: Callable[[Path], object]
) -> None:
    become(package(tmp_path / "new") / file)
    for deed in (lambda: checked(tmp_path / "new", KEYS), lambda: install(tmp_path / "new", KEYS, tmp_path / "models")):
        with pytest.raises(ModelError, match=f"{file} is no plain file. Expected one in a model package"):
            deed()


@pytest.mark.parametrize("bomb", ["a = " + "[" * 30_000, ".".join(["a"] * 30_000) + " = 1"])
def test_no_word_of_a_manifest_is_read_before_its_signature(tmp_path: Path, quick: None, bomb: str) -> None:
    new = package(tmp_path / "new", key=THIEF)
    (new / "manifest.toml").write_text(bomb)  # the second takes the parser half a minute
    for deed in (lambda: checked(new, KEYS), lambda: install(new, KEYS, tmp_path / "models")):
        with pytest.raises(ModelError, match="found a signature by key"):
            deed()


def test_a_signed_manifest_that_is_nested_without_end_is_refused(tmp_path: Path, quick: None) -> None:
    new = package(tmp_path / "new")
    (new / "manifest.toml").write_text("a = " + "[" * 30_000)
    seal(new, CITY)
    with pytest.raises(ModelError, match="cannot be read: maximum recursion depth .* Expected a model's manifest"):
        install(new, KEYS, tmp_path / "models")


def test_a_version_that_came_with_the_program_is_not_taken_from_a_package(tmp_path: Path, quick: None) -> None:
    new = package(tmp_path / "new", version=with_packages()["water-leak"])
    with pytest.raises(
        ModelError, match="names .water-leak. .1.0.0., which came with the program. Expected .* a new version"
    ):
        install(new, KEYS, tmp_path / "models")
    assert installed(tmp_path / "models") == []


def test_what_root_installs_is_readable_to_the_gateways_user_whatever_roots_umask_is(
    tmp_path: Path, quick: None
) -> None:
    mask = os.umask(0o077)
    try:
        install(package(tmp_path / "new"), KEYS, tmp_path / "models")
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(mask)
    for path in (tmp_path / "models", *(tmp_path / "models").rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_a_manifest_that_was_changed_by_hand_is_a_fault_in_the_list(tmp_path: Path, quick: None) -> None:
    models = tmp_path / "models"
    install(package(tmp_path / "new"), KEYS, models)
    manifest = models / "water-leak" / "2.0.0" / "manifest.toml"
    manifest.write_text(manifest.read_text() + '"more.txt" = 7\n')
    [(_, _, fault)] = installed(models)
    assert "lacks the SHA-256 of 'more.txt'" in fault


@pytest.mark.parametrize(
    ("folder", "message"),
    [("a" * 5000, "cannot be opened: File name too long. Expected a file of a model package"), ("x", "no plain file")],
)
def test_a_folder_nobody_can_read_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, message: str
) -> None:
    (tmp_path / "city.pub").write_text(CITY.public.as_text())
    key = ["--key", str(tmp_path / "city.pub")]
    assert cli.main(["model", "verify", folder, *key]) == 1
    assert message in capsys.readouterr().err
    assert cli.main(["model", "install", folder, *key, "--state", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
    assert cli.main(["model", "verify", folder, "--key", str(tmp_path / "none.pub")]) == 1
    assert "none.pub cannot be read: No such file or directory. Expected the .pub file" in capsys.readouterr().err


def test_a_state_that_cannot_be_written_is_told_and_nothing_is_left(tmp_path: Path, quick: None) -> None:
    (tmp_path / "models").write_text("a file where the folder belongs")
    with pytest.raises(ModelError, match="models cannot be written: .* Expected a folder with room. See linli doctor"):
        install(package(tmp_path / "new"), KEYS, tmp_path / "models")


def test_a_full_disk_is_told_and_leaves_what_was_there(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    install(package(tmp_path / "before", version="1.9.0"), KEYS, models)
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "model.onnx":
            write(path, data[:10])
            raise OSError(28, "No space left on device")
        return write(path, data)

    package(tmp_path / "new", onnx_made.linear(bias=-19.0))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ModelError, match="No space left on device. Expected a folder with room"):
        install(tmp_path / "new", KEYS, models)
    assert installed(models) == [("water-leak", "1.9.0", "")]
    assert not (models / ".coming").exists()
