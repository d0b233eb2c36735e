"""The command line: what it imports, and what it says when it is used wrongly."""

import subprocess
import sys
from argparse import ArgumentParser, Namespace
from types import ModuleType

import pytest

from gateway import cli


def module_named(name: str, monkeypatch: pytest.MonkeyPatch, **members: object) -> None:
    module = ModuleType(name)
    vars(module).update(members)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def greet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command of the tests' own, `linli greet --times N`, that leaves with 1 when N is odd."""

    def add_arguments(parser: ArgumentParser) -> None:
        parser.add_argument("--times", type=int, required=True)

    def run(args: Namespace) -> int:
        print("hello " * args.times)
        return int(args.times % 2)

    module_named("greeting", monkeypatch, add_arguments=add_arguments, run=run)
    monkeypatch.setitem(cli.COMMANDS, "greet", cli.Command("greeting", "say hello"))


def test_help_lists_every_command_and_imports_none() -> None:
    script = (
        "import sys; from gateway.cli import main; code = main(['--help']);"
        "print('IMPORTED', *sorted(m for m in sys.modules if m.split('.')[0] in"
        " {'simulator', 'drivers', 'models', 'provisioning', 'paho', 'numpy', 'sqlite_utils', 'msgspec'}"
        " or m.startswith('gateway.') and m != 'gateway.cli')); sys.exit(code)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert shown.stdout.splitlines()[-1] == "IMPORTED"
    for name, command in cli.COMMANDS.items():
        assert f"{name} " in shown.stdout
        assert command.help in shown.stdout


def test_an_unknown_command_is_wrong_use_and_answered_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["unplug"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "'unplug'" in said.err
    assert all(name in said.err for name in cli.COMMANDS)


def test_a_command_that_is_interrupted_leaves_no_traceback(monkeypatch, capsys) -> None:
    def run(args: Namespace) -> int:
        raise KeyboardInterrupt

    module_named("waiting", monkeypatch, add_arguments=lambda parser: None, run=run)
    monkeypatch.setitem(cli.COMMANDS, "wait", cli.Command("waiting", "wait"))
    assert cli.main(["wait"]) == 130
    assert capsys.readouterr() == ("", "")


def test_no_command_at_all_is_wrong_use_and_shows_the_overview(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "usage: linli" in capsys.readouterr().err


@pytest.mark.usefixtures("greet")
@pytest.mark.parametrize(("times", "code"), [("2", 0), ("3", 1)])
def test_a_commands_own_exit_code_is_linlis(times: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["greet", "--times", times]) == code
    assert capsys.readouterr().out.count("hello") == int(times)


@pytest.mark.usefixtures("greet")
def test_a_missing_argument_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["greet"])
    assert left.value.code == 2
    assert "linli greet" in capsys.readouterr().err


def test_a_command_without_its_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(args: Namespace) -> int:
        raise ModuleNotFoundError("No module named 'rich'", name="rich.console")

    module_named("show", monkeypatch, add_arguments=lambda parser: None, run=run)
    monkeypatch.setitem(cli.COMMANDS, "show", cli.Command("show", "a page"))
    assert cli.main(["show"]) == 2
    assert "install linli[demo]" in capsys.readouterr().err


def test_a_module_of_ours_that_is_missing_is_never_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "gone", cli.Command("gateway.gone_with_the_wind", "nothing"))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["gone"])


def test_a_reader_that_stops_early_is_no_error() -> None:
    piped = subprocess.run(
        [
            "sh",
            "-c",
            f'{{ "{sys.executable}" -c "{MANY_LINES}"; echo "code $?" >&2; }} | head -n 1',
        ],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert piped.stdout == "0\n"
    assert piped.stderr == "code 0\n"


MANY_LINES = """
import sys; from types import SimpleNamespace; from gateway import cli
sys.modules['many'] = SimpleNamespace(add_arguments=lambda p: None, run=lambda a: print(*range(99999), sep='\\n') or 0)
cli.COMMANDS['many'] = cli.Command('many', 'lines'); sys.exit(cli.main(['many']))
"""
