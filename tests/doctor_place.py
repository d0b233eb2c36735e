"""A site file and a state folder for the tests of the doctor, and the doctor's answer by line."""

import json
from pathlib import Path

import pytest

from gateway import cli
from tests.conftest import free_port

ROOT = Path(__file__).parent.parent
SITE = """
schema = 1
site = {{ id = "centre", gateway = "centre-a", name = "Centre", lang = "{lang}" }}
clock = {{ trust = "system" }}
bus.n1 = {{ kind = "node", port = "{port}" }}
sensor."main/flow" = {{ from = "n1:flow1", name = "Main", valid = [0, 0.01], silent_s = 120 }}
sensor."wc/cord" = {{ from = "n1:loop1", kind = "pull-cord", name = "Cord" }}
{more}
uplink = {{ broker = "{broker}" }}
{tls}
"""


class Place:
    """A site file, a folder of links and a state folder."""

    def __init__(self, folder: Path) -> None:
        self.links, self.state, self.site = folder / "links", folder / "state", folder / "site.toml"
        self.links.mkdir()
        self.broker = f"mqtt://127.0.0.1:{free_port()}"
        self.write()

    def write(self, lang: str = "en", port: str = "link:n1", more: str = "", tls: str = "", broker: str = "") -> None:
        text = SITE.format(lang=lang, port=port, more=more, tls=tls, broker=broker or self.broker)
        self.site.write_text(text, encoding="utf-8")

    def arguments(self, *more: str) -> list[str]:
        return ["doctor", str(self.site), "--state", str(self.state), *more]


Findings = dict[str, dict[str, str]]


def examine(place: Place, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, Findings]:
    """Runs the doctor; gives its exit code and its lines by name."""
    code = cli.main(place.arguments("--json", *more))
    return code, {line["name"]: line for line in json.loads(capsys.readouterr().out)["findings"]}
