"""The PIN of the page: how it is kept, and the commands that set it and start the page."""

import json
import os
import stat
from pathlib import Path

import pytest

from gateway import cli
from gateway.page_pin import FILE, LENGTH_MAX, Pin, keep, weakness
from gateway.words import LANGUAGES
from tests.page_rig import SITE


def test_the_pin_is_kept_as_a_salted_hash_that_only_its_user_can_read(tmp_path):
    keep(tmp_path, "hall482916")
    first = (tmp_path / FILE).read_text()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert "hall482916" not in first
    assert set(json.loads(first)) == {"salt", "n", "r", "p", "hash"}
    keep(tmp_path, "hall482916")
    assert (tmp_path / FILE).read_text() != first, "the salt is another"
    assert Pin(tmp_path).fits("hall482916")
    assert not any(Pin(tmp_path).fits(wrong) for wrong in ("", "hall482917", "hall48291", "HALL482916", "x" * 10_000))


@pytest.mark.parametrize(
    "text",
    ["", "{}", "null", '{"salt": "zz"}', "\x00", '{"salt":"00","n":1e400,"r":8,"p":1,"hash":""}', "[" * 9000,
     '{"salt":"00","n":1267650600228229401496703205376,"r":8,"p":1,"hash":""}'],
)  # fmt: skip
def test_a_pin_file_that_is_broken_lets_nobody_in_and_the_log_says_so(tmp_path, text, caplog):
    (tmp_path / FILE).write_text(text)
    assert not Pin(tmp_path).fits("") and not Pin(tmp_path).fits("hall482916")
    assert Pin(tmp_path).stamp() != "", "and it is not as if none were set"
    assert "run linli page pin" in caplog.text and "hall482916" not in caplog.text


def test_a_pin_file_that_is_whole_but_of_another_pin_lets_nobody_in(tmp_path):
    (tmp_path / FILE).write_text('{"salt":"00","n":16384,"r":8,"p":1,"hash":""}')
    assert not Pin(tmp_path).fits("") and not Pin(tmp_path).fits("hall482916")


@pytest.mark.parametrize(
    "pin", ["", "12345", "123456", "654321", "111111", "121212", "abcdef", "x" * (LENGTH_MAX + 1), "4829\x0716"]
)
def test_a_pin_that_is_easily_guessed_is_refused(pin):
    assert weakness(pin)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_the_command_sets_it_and_says_so(tmp_path, monkeypatch, capsys, lang):
    monkeypatch.setattr("sys.stdin", _Lines("hall482916\n"))
    assert cli.main(["page", "pin", "--state", str(tmp_path), "--lang", lang]) == 0
    assert Pin(tmp_path).fits("hall482916")
    monkeypatch.setattr("sys.stdin", _Lines("123456\n"))
    assert cli.main(["page", "pin", "--state", str(tmp_path), "--lang", lang]) == 1
    assert Pin(tmp_path).fits("hall482916"), "the old one stays"
    monkeypatch.setattr("sys.stdin", _Lines("hall482916\n"))
    assert cli.main(["page", "pin", "--state", str(tmp_path / "none"), "--lang", lang]) == 1
    told = capsys.readouterr()
    assert ("PIN 已设置" in told.out) == (lang == "zh-CN")
    assert "hall482916" not in told.out + told.err


def test_who_ends_the_input_instead_of_a_pin_gets_a_sentence(tmp_path, monkeypatch, capsys):
    def ended(_prompt: str) -> str:
        raise EOFError

    terminal = _Lines("")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    monkeypatch.setattr("getpass.getpass", ended)
    assert cli.main(["page", "pin", "--state", str(tmp_path)]) == 1
    assert "PIN" in capsys.readouterr().err and not (tmp_path / FILE).exists()


@pytest.mark.parametrize("port", ["99999", "-1", "x"])
def test_a_port_that_is_none_is_a_wrong_use_of_the_command(tmp_path, capsys, port):
    (tmp_path / "site.toml").write_text(SITE)
    with pytest.raises(SystemExit) as ended:
        cli.main(["page", str(tmp_path / "site.toml"), "--state", str(tmp_path), "--port", port])
    assert ended.value.code == 2 and port in capsys.readouterr().err


class _Lines:
    def __init__(self, text: str) -> None:
        self._text = text

    def isatty(self) -> bool:
        return False

    def readline(self) -> str:
        return self._text


def test_the_pin_belongs_to_whom_the_folder_does(tmp_path):
    if os.geteuid():
        pytest.skip("only root sets it for another")
    os.chown(tmp_path, 1234, 1235)
    keep(tmp_path, "hall482916")
    found = Path(tmp_path / FILE).stat()
    assert (found.st_uid, found.st_gid) == (1234, 1235)
