"""The city's command client, mosquitto with the ACL of docs/commands.md, and a gateway as it runs on a box."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Mosquitto

from drivers.node_frame import EVENT
from drivers.node_side import NodeSide
from gateway import cli
from tests import test_contract_live
from tests.test_contract_live import SITE, Site

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/commands.md").read_text()
[ACL] = re.findall(r"mosquitto, where [^\n]*\n\n((?:(?:    .*)?\n)+)", PAGE)
WAIT_MAX_S = 30.0


class Answer(NamedTuple):
    code: int
    result: dict[str, Any]
    error: str


class Centre:
    """ask(user, ...) runs `linli command` as that user of the broker, while the centre's nodes go on talking."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.site = Site(folder, broker.url)
        self.port = broker.port
        self.until(lambda: (self.site.state / "linli.sock").exists())
        node = self.site.sides["n2"]
        assert isinstance(node, NodeSide)
        for value in (1.0, 2.0):
            node.add(EVENT, 1, value)
        self.until(lambda: self.site.all_durable)
        self.until(lambda: self.site.ask(ask="status")["uplink"]["connected"])

    def until(self, ready: Callable[[], bool]) -> None:
        give_up_s = time.monotonic() + WAIT_MAX_S
        while not ready():
            assert time.monotonic() < give_up_s
            self.site.talk()
            time.sleep(0.01)

    def ask(self, user: str, *words: str) -> Answer:
        command = [sys.executable, "-m", "gateway", "command", "--broker", f"mqtt://{user}@127.0.0.1:{self.port}"]
        command += ["--gateway", "demo-centre-a", "--by", "王调度", *words]
        asking = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.until(lambda: asking.poll() is not None)
        said, error = asking.communicate()
        return Answer(asking.returncode, json.loads(said) if said else {}, error)


def new_key(minisign: str, folder: Path, name: str) -> str:
    """The path of its secret half."""
    files = ["-p", f"{name}.pub", "-s", f"{name}.key"]
    subprocess.run([minisign, "-G", "-W", *files], cwd=folder, check=True, capture_output=True, timeout=30)
    return str(folder / f"{name}.key")


@pytest.fixture
def centre(
    tmp_path: Path, minisign: str, make_mosquitto: Callable[..., Mosquitto], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Centre]:
    site = SITE.read_text().replace(
        'confirm = "city" }', 'confirm = "city", obey = ["read", "operate"], keys = ["file:city.pub"] }'
    )
    assert "obey" in site
    (tmp_path / "site.toml").write_text(site)
    monkeypatch.setattr(test_contract_live, "SITE", tmp_path / "site.toml")
    new_key(minisign, tmp_path, "city")
    made = Centre(tmp_path, make_mosquitto(acl=re.sub("^    ", "", ACL, flags=re.M)))
    yield made
    made.site.close()


@pytest.mark.slow
def test_an_alarm_is_acknowledged_from_the_city_and_only_by_whom_acl_and_signature_let(
    centre: Centre, minisign: str, tmp_path: Path
) -> None:
    city, thief = str(tmp_path / "city.key"), new_key(minisign, tmp_path, "thief")
    standing = centre.ask("screens", "state")
    assert (standing.code, standing.result["data"]["alarms"]["cord"]) == (0, "unacknowledged"), standing.error

    stolen = centre.ask("dispatch", "--sign", thief, "acknowledge", "alarm=cord")
    assert (stolen.code, stolen.result["reason"]) == (1, "signature")
    silent = centre.ask("screens", "--wait", "2", "--sign", city, "acknowledge", "alarm=cord")
    assert (silent.code, silent.result) == (1, {})
    assert "found no result, expected it in time; see the gateway, uplink.obey and the ACL" in silent.error
    assert centre.ask("screens", "state").result["data"]["alarms"]["cord"] == "unacknowledged"

    done = centre.ask("dispatch", "--mqtt", "3.1.1", "--sign", city, "acknowledge", "alarm=cord")
    assert (done.code, done.result["data"]) == (0, {"done": True, "state": "acknowledged"}), done.error
    assert centre.site.ask(ask="status")["alarms"]["cord"] == "acknowledged"
    on_site = centre.ask("dispatch", "--sign", city, "reset", "alarm=cord")
    assert (on_site.code, on_site.result["reason"]) == (1, "not-possible")
    assert "found reset of cord from city, expected from desk" in on_site.result["why"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["acknowledge", "alarm=leak"], "found acknowledge without --sign or --by, expected both"),
        (["state", "now"], "found 'now', expected NAME=VALUE; write for example alarm=leak"),
        (["--gateway", "A", "state"], "found --gateway 'A', expected 3 to 40 of a-z"),
        (["--broker", "broker", "state"], "broker 'broker'; expected mqtt://host:port"),
        (["--sign", "/nowhere", "state"], "/nowhere: [Errno 2]"),
    ],
)
def test_wrong_use_is_told_before_anything_is_sent(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["command", "--broker", "mqtt://127.0.0.1:1", "--gateway", "box", *words]) == 2
    assert said in capsys.readouterr().err


def test_without_a_broker_the_client_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["command", "--broker", "mqtt://127.0.0.1:1", "--gateway", "box", "state"]) == 1
    assert "found no broker" in capsys.readouterr().err
