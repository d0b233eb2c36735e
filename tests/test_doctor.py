"""On a box where no gateway runs the doctor tries everything itself, and harms nothing by looking."""

import json
import os
import pty
import random
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers import node_frame
from drivers.node_side import NodeSide
from gateway import cli
from gateway.contract import Label
from gateway.home import Home
from gateway.schema import PAGE_BYTES, SCHEMA_VERSION
from gateway.store import Store
from tests.doctor_place import ROOT, Findings, Place, examine


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def doctor_says(place: Place, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Findings]]:
    return lambda *more: examine(place, capsys, *more)


class Line:
    """A pseudo-terminal in the links folder, and somebody at its far end."""

    def __init__(self, link: Path, answer: Callable[[bytes], bytes]) -> None:
        self._master, self._slave = pty.openpty()
        self.path = Path(os.ttyname(self._slave))
        link.symlink_to(self.path)
        self.heard = b""
        self._answer = answer
        self._ends = threading.Event()
        os.set_blocking(self._master, False)
        self._thread = threading.Thread(target=self._talk, daemon=True)
        self._thread.start()

    def _talk(self) -> None:
        while not self._ends.wait(0.02):
            try:
                data = os.read(self._master, 4096)
            except BlockingIOError:
                data = b""
            self.heard += data
            if out := self._answer(data):
                os.write(self._master, out)

    def close(self) -> None:
        self._ends.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)


@pytest.fixture
def line(place: Place) -> Iterator[Callable[..., Line]]:
    made: list[Line] = []

    def make(answer: Callable[[bytes], bytes]) -> Line:
        made.append(Line(place.links / "n1", answer))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_node_that_answers_is_fine_and_loses_nothing_by_being_asked(place, line, doctor_says) -> None:
    node = NodeSide(3, 64, "fw;flow*1 loop*1", lambda: 0)
    for _ in range(5):
        node.add(node_frame.DATA, 0, 0.001)

    def speak(data: bytes) -> bytes:
        node.feed(data)
        return bytes(node.outgoing(4096)) if data else b""

    wire = line(speak)
    _, lines = doctor_says("--links", str(place.links))
    assert lines["n1"]["verdict"] == "ok"
    assert "boot 3" in lines["n1"]["found"]
    said = {kind for kind, *_ in node_frame.Splitter().feed(wire.heard)}
    assert said == {node_frame.ASK}, "an ACK from the doctor would free what no gateway holds"


def test_a_line_where_nothing_comes_names_power_and_swapped_wires(place, line, doctor_says) -> None:
    line(lambda data: b"")
    code, lines = doctor_says("--links", str(place.links))
    assert code == 1
    assert lines["n1"]["verdict"] == "FAIL"
    assert "not one byte" in lines["n1"]["found"]
    assert "TX and RX" in lines["n1"]["do"]


def test_a_line_of_garbage_names_the_speed(place, line, doctor_says) -> None:
    line(lambda data: b"\x00\x55\xaa\x55\x00")
    _, lines = doctor_says("--links", str(place.links))
    assert "no intact frame" in lines["n1"]["found"]
    assert "speed" in lines["n1"]["do"]


def test_a_missing_port_says_where_to_plug(place, doctor_says) -> None:
    place.write(port="/dev/linli-nothing-here")
    code, lines = doctor_says()
    assert code == 1
    assert lines["n1"]["found"] == "there is no port /dev/linli-nothing-here"
    assert lines["n1"]["do"].startswith("plug the adapter into that socket")


def test_a_port_of_the_simulator_needs_links(place, doctor_says) -> None:
    assert "--links DIR" in doctor_says()[1]["n1"]["do"]
    assert "start the simulator" in doctor_says("--links", str(place.links))[1]["n1"]["do"]


def test_a_busy_port_names_the_program_that_holds_it(place, line, doctor_says) -> None:
    wire = line(lambda data: b"")
    script = f"import serial; p = serial.Serial({str(wire.path)!r}, exclusive=True); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        _, lines = doctor_says("--links", str(place.links))
        holder.communicate("\n", timeout=10)
    assert lines["n1"]["verdict"] == "FAIL"
    assert f"(pid {holder.pid})" in lines["n1"]["found"]
    assert lines["n1"]["do"] == "stop that program"


def test_a_pin_is_read_and_a_pulled_cord_is_named(place, tmp_path) -> None:
    place.write(more='sensor.door = { from = "gpio:22", kind = "door", name = "Door" }\n'
                     'sensor."wc2/cord" = { from = "gpio:18", kind = "pull-cord", name = "Cord 2" }')  # fmt: skip
    script = (
        "import selectors, sys; from pathlib import Path; from simulator.pin_server import PinServer\n"
        "s = selectors.DefaultSelector(); p = PinServer(Path(sys.argv[1]), s, lambda g, v: None)\n"
        "p.inputs.update({22: 1, 18: 0}); p.open(); print('open', flush=True)\n"
        "while True: [key.data() for key, _ in s.select()]"
    )
    pins = subprocess.Popen(
        [sys.executable, "-c", script, str(place.links / "pins.sock")], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert pins.stdout
        assert pins.stdout.readline() == "open\n"
        command = [sys.executable, "-m", "gateway", *place.arguments("--links", str(place.links), "--json")]
        shown = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)
    finally:
        pins.kill()
        pins.wait()
    lines = {line["name"]: line for line in json.loads(shown.stdout)["findings"]}
    assert (lines["door"]["verdict"], lines["door"]["found"]) == ("ok", "closed (gpio:22)")
    assert lines["wc2/cord"]["verdict"] == "warn"
    assert "normally open or closed" in lines["wc2/cord"]["do"]


def test_a_refused_broker_names_the_port(place, doctor_says) -> None:
    _, lines = doctor_says()
    assert lines["broker"]["verdict"] == "FAIL"
    assert "refuses the connection" in lines["broker"]["found"]
    assert place.broker.removeprefix("mqtt://") in lines["broker"]["found"]


@pytest.fixture
def tls_broker(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A TLS listener on loopback whose certificate names 127.0.0.1 alone: (port, its certificate)."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=broker",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
                with context.wrap_socket(client, server_side=True) as secured:
                    secured.recv(1)
            except ssl.SSLError:
                continue
            except OSError:
                return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1], cert
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


@pytest.mark.parametrize(
    ("host", "ca", "verdict", "words"),
    [
        ("127.0.0.1", True, "ok", "certificate and name fit"),
        ("localhost", True, "FAIL", "the certificate is not localhost's"),
        ("127.0.0.1", False, "FAIL", "not trusted"),
    ],
)
def test_a_brokers_certificate_is_checked_with_its_name(
    place, doctor_says, tls_broker, tmp_path, host, ca, verdict, words
) -> None:
    port, cert = tls_broker
    other = Path(ssl.get_default_verify_paths().openssl_cafile)
    if not ca and not other.is_file():
        pytest.skip("this machine has no authorities of its own")
    place.write(tls=f'tls = {{ ca = "file:{cert if ca else other}" }}', broker=f"mqtts://{host}:{port}")
    _, lines = doctor_says()
    assert lines["broker"]["verdict"] == verdict, lines["broker"]
    assert words in lines["broker"]["found"]


def test_a_missing_authority_file_is_named(place, doctor_says) -> None:
    place.write(tls='tls = { ca = "file:no-such.pem" }', broker="mqtts://127.0.0.1:1")
    assert "certificate files cannot be used" in doctor_says()[1]["broker"]["found"]


class Stamp:
    boot = 1

    def label(self) -> Label:
        return Label(self.boot, 10.0, 1_800_000_000.0, "ntp", None, "cfg00000")


def a_database(folder: Path) -> Path:
    store = Store(folder / "linli.db", Stamp(), random.Random(1))
    store.open("boot")
    store.close()
    return folder / "linli.db"


def test_a_sound_database_is_checked_and_not_touched(place, doctor_says) -> None:
    path = a_database(place.state)
    before = path.read_bytes()
    assert doctor_says()[1]["database"]["found"].startswith(f"schema {SCHEMA_VERSION}, quick_check passed")
    assert path.read_bytes() == before


def test_a_corrupt_database_is_found_and_left_as_it_is(place, doctor_says) -> None:
    path = a_database(place.state)
    broken = bytearray(path.read_bytes())
    broken[PAGE_BYTES : 4 * PAGE_BYTES] = b"\xa5" * (3 * PAGE_BYTES)
    path.write_bytes(broken)
    code, lines = doctor_says()
    assert code == 1
    assert "broken" in lines["database"]["found"]
    assert "replace the card" in lines["database"]["do"]
    assert path.read_bytes() == broken


def test_a_file_that_is_no_database_is_found(place, doctor_says) -> None:
    place.state.mkdir()
    (place.state / "linli.db").write_bytes(b"not a database at all" * 500)
    assert "broken" in doctor_says()[1]["database"]["found"]


def test_a_database_of_a_newer_version_fails(place, doctor_says) -> None:
    path = a_database(place.state)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert "99 is newer" in doctor_says()[1]["database"]["found"]


def test_a_file_in_the_place_of_the_state_folder_fails(place, doctor_says) -> None:
    place.state.write_text("")
    assert "is no folder" in doctor_says()[1]["state folder"]["found"]


def test_a_gateway_that_holds_the_folder_but_is_mute_keeps_the_doctor_from_its_ports(place, line, doctor_says) -> None:
    wire = line(lambda data: b"")
    home = Home(place.state)
    try:
        code, lines = doctor_says("--links", str(place.links))
    finally:
        home.release()
    assert code == 1
    assert f"(pid {os.getpid()})" in lines["gateway"]["found"]
    assert set(lines) == {"site file", "gateway"}
    assert wire.heard == b""


def test_mistakes_in_the_site_file_are_lines_of_the_doctor(place, doctor_says) -> None:
    place.write(more="sensor.x = { from = 5 }")
    code, lines = doctor_says("--lang", "en")
    assert code == 1
    assert list(lines) == ["site file"]
    assert "sensor.x.from" in lines["site file"]["found"]


def test_wrong_use_leaves_with_two(place, capsys) -> None:
    assert cli.main(["doctor", "no-such.toml", "--state", "x"]) == 2
    assert "expected a site file" in capsys.readouterr().err
    assert cli.main(place.arguments("--broker", "127.0.0.1:1883")) == 2
    assert "mqtt://HOST:PORT" in capsys.readouterr().err


@pytest.mark.slow
def test_what_one_centre_has_stored_is_never_told_under_the_name_of_another(place, doctor_says, capsys) -> None:
    run = ["run", str(place.site), "--state", str(place.state), "--links", str(place.links)]
    gateway = subprocess.Popen([sys.executable, "-m", "gateway", *run], cwd=ROOT, stderr=subprocess.DEVNULL)
    until_s = time.monotonic() + 20
    while not (place.state / "linli.sock").exists() and time.monotonic() < until_s:
        time.sleep(0.05)
    gateway.terminate()
    assert gateway.wait(20) == 0
    assert doctor_says()[1]["database"]["verdict"] == "ok"
    place.site.write_text(place.site.read_text().replace('id = "centre"', 'id = "other"'))
    assert cli.main(run) == 1
    assert "found the data of centre, expected those of other; see that box" in capsys.readouterr().err
    assert doctor_says()[1]["database"]["found"] == "it holds the data of centre, the site file is of other"
    place.site.write_text(place.site.read_text().replace('id = "other"', 'id = "centre"'))
    assert doctor_says()[1]["database"]["verdict"] == "ok"
