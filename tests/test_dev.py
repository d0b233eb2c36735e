"""The one script, `./dev`: set up once, repaired when interrupted, two at a time. Python and pip are stand-ins here."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ("sh", "cat", "cksum", "dirname", "head", "mv", "rm", "mkdir", "cp", "touch", "sleep")

# Makes a .venv in no time and notes what it was asked for. `pip` waits while there is a file `hold` in the folder.
PYTHON = """#!/bin/sh
case "$*" in
    *realpath*) echo "$0" ;;
    "-m venv --clear "*)
        echo venv >>calls
        rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python"
        printf '#!/bin/sh\\necho "linli $*"\\n' >"$4/bin/linli" && chmod +x "$4/bin/linli" ;;
    "-m pip "*)
        echo pip >>calls
        while [ -e hold ]; do sleep 0.05; done
        test ! -e no-network ;;
    *) exec "REAL" "$@" ;;
esac
"""


class House:
    """A copy of the script and what it reads, beside a Python that only pretends to install."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "house"
        (self.folder / "requirements").mkdir(parents=True)
        for name in ("dev", "pyproject.toml", "requirements/dev.lock"):
            shutil.copy(ROOT / name, self.folder / name)
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in (*TOOLS, "chmod"):
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        self.put_python(PYTHON.replace("REAL", sys.executable))

    def put_python(self, script: str) -> None:
        (self.bin / "python3").write_text(script)
        (self.bin / "python3").chmod(0o755)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["./dev", *arguments],
            cwd=self.folder,
            env={"PATH": str(self.bin)},  # no HOME, no language, nothing of the developer's
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def dev(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    @property
    def calls(self) -> list[str]:
        notes = self.folder / "calls"
        return notes.read_text().split() if notes.exists() else []

    def until_called(self, *calls: str) -> None:
        give_up_s = time.monotonic() + 10
        while self.calls != list(calls):
            assert time.monotonic() < give_up_s, self.calls
            time.sleep(0.01)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_the_first_call_sets_up_and_the_next_one_only_runs(house: House) -> None:
    code, out, err = house.dev("linli", "check", "a site.toml")
    assert (code, out) == (0, "linli check a site.toml\n")
    assert "making .venv" in err
    assert house.dev("linli", "--help") == (0, "linli --help\n", "")
    assert house.calls == ["venv", "pip", "pip"]


def test_a_changed_lock_renews_what_is_there(house: House) -> None:
    house.dev("setup")
    with open(house.folder / "requirements/dev.lock", "a") as lock:
        lock.write("# one more\n")
    code, _, err = house.dev("setup")
    assert (code, house.calls[3:]) == (0, ["pip", "pip"])
    assert "has changed" in err


def test_a_moved_folder_is_set_up_anew(house: House) -> None:
    house.dev("setup")
    house.folder = house.folder.rename(house.folder.with_name("elsewhere"))
    house.dev("setup")
    assert house.calls == ["venv", "pip", "pip"] * 2


def test_a_set_up_that_failed_is_begun_again_by_the_next_call(house: House) -> None:
    (house.folder / "no-network").touch()
    code, out, _ = house.dev("linli", "--help")
    assert (code, out) == (1, "")
    (house.folder / "no-network").unlink()
    assert house.dev("linli", "--help")[:2] == (0, "linli --help\n")
    assert house.calls == ["venv", "pip", "venv", "pip", "pip"]


def test_a_set_up_that_was_killed_is_begun_again_by_the_next_call(house: House) -> None:
    (house.folder / "hold").touch()
    process = house.start("setup")
    house.until_called("venv", "pip")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    (house.folder / "hold").unlink()
    assert house.dev("linli", "--help")[:2] == (0, "linli --help\n")
    assert house.calls == ["venv", "pip", "venv", "pip", "pip"]


def test_of_two_calls_at_once_one_sets_up_and_both_run(house: House) -> None:
    (house.folder / "hold").touch()
    first = house.start("linli", "one")
    house.until_called("venv", "pip")
    second = house.start("linli", "two")
    assert second.stderr is not None
    assert "waiting for another set-up" in second.stderr.readline()
    (house.folder / "hold").unlink()
    assert first.communicate(timeout=30)[0] == "linli one\n"
    assert second.communicate(timeout=30)[0] == "linli two\n"
    assert house.calls == ["venv", "pip", "pip"]


def test_the_wait_for_another_set_up_has_an_end(house: House) -> None:
    script = house.folder / "dev"
    script.write_text(script.read_text().replace("wait_max_s=900", "wait_max_s=0.3"))
    (house.folder / "hold").touch()
    first = house.start("setup")
    house.until_called("venv", "pip")
    code, _, err = house.dev("setup")
    (house.folder / "hold").unlink()
    first.communicate(timeout=30)
    assert code == 1
    assert "has held" in err
    assert ".venv.lock" in err


def test_a_python_that_is_too_old_is_named_with_what_to_do(house: House) -> None:
    house.put_python('#!/bin/sh\ncase "$*" in *version_info*) exit 1 ;; *) echo 3.9.2 ;; esac\n')
    code, out, err = house.dev("linli", "--help")
    assert (code, out) == (1, "")
    assert "python3 is 3.9.2" in err
    assert "3.11 or later" in err


def test_a_python_without_venv_is_answered_with_the_one_apt_line(house: House) -> None:
    house.put_python('#!/bin/sh\ncase "$*" in *ensurepip*) exit 1 ;; *) echo 3.11.2 ;; esac\n')
    code, out, err = house.dev("test")
    assert (code, out) == (1, "")
    assert "apt-get install -y python3-venv" in err
    assert not (house.folder / ".venv").exists()


def test_a_machine_without_python_is_told_so(house: House) -> None:
    (house.bin / "python3").unlink()
    code, _, err = house.dev("lint")
    assert code == 1
    assert "no python3 found" in err


def test_an_unknown_command_is_wrong_use_and_sets_nothing_up(house: House) -> None:
    code, _, err = house.dev("build")
    assert code == 2
    assert "./dev test" in err
    assert house.calls == []
