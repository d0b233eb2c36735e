"""gpiozero's pins over a socket: levels come, outputs go, and neither end minds the other's absence."""

import random
import selectors
import socket
import threading
import time
from importlib.metadata import entry_points

import pytest
from gpiozero import Device, DigitalInputDevice, DigitalOutputDevice
from gpiozero.exc import BadPinFactory

from simulator.pin_server import PinServer
from simulator.pins import SocketFactory

WAIT_S = 3.0


class World:
    """The simulator's end in a thread of its own. Calls from the test go through `ask`, as pins are not thread-safe."""

    def __init__(self, path):
        self.selector = selectors.DefaultSelector()
        self.told = []
        self.server = PinServer(path, self.selector, lambda gpio, level: self.told.append((gpio, level)))
        self._asked, self._ends = [], threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._ends.is_set():
            for key, _ in self.selector.select(0.005):
                key.data()
            while self._asked:
                deed, done = self._asked.pop(0)
                deed()
                done.set()

    def ask(self, deed):
        done = threading.Event()
        self._asked.append((deed, done))
        assert done.wait(WAIT_S)

    def set(self, gpio, level):
        self.ask(lambda: self.server.set(gpio, level))

    def end(self):
        self.ask(self.server.close)
        self._ends.set()
        self._thread.join(WAIT_S)
        self.selector.close()


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "pins.sock")
    world.ask(world.server.open)
    yield world
    world.end()


@pytest.fixture
def factory(tmp_path, monkeypatch):
    monkeypatch.setenv("LINLI_PINS", str(tmp_path / "pins.sock"))
    factory = SocketFactory()
    yield factory
    factory.close()


def eventually(condition):
    ends_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < ends_s, "did not come true in time"
        time.sleep(0.002)


def test_gpiozero_finds_the_factory_by_its_entry_point(world, tmp_path, monkeypatch):
    if "linli-socket" not in {ep.name for ep in entry_points(group="gpiozero_pin_factories")}:
        pytest.skip("the package is not installed here, so it has no entry points")
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "linli-socket")
    monkeypatch.setenv("LINLI_PINS", str(tmp_path / "pins.sock"))
    factory = Device._default_pin_factory()
    try:
        assert isinstance(factory, SocketFactory)
    finally:
        factory.close()


def test_a_factory_without_a_path_says_what_to_set(monkeypatch):
    monkeypatch.delenv("LINLI_PINS", raising=False)
    with pytest.raises(BadPinFactory, match=r"LINLI_PINS is not set; .* expects .*Set it"):
        SocketFactory()


def test_a_level_is_unknown_until_the_world_says_it(world, factory):
    with DigitalInputDevice(17, pull_up=True, pin_factory=factory) as rope:
        assert not factory.level_known(17)
        assert rope.pin.state == 1  # the pull-up, nothing more
        world.set(17, 0)
        eventually(lambda: factory.level_known(17))
        eventually(lambda: rope.pin.state == 0)
        assert not factory.level_known(18)


def test_a_level_learnt_first_outlives_the_pull_of_a_device_opened_later(world, factory):
    world.set(17, 0)
    eventually(lambda: factory.level_known(17))
    with DigitalInputDevice(17, pull_up=True, pin_factory=factory) as rope:
        assert rope.pin.state == 0


def test_every_edge_calls_back_once(world, factory):
    edges = []
    with DigitalInputDevice(17, pull_up=True, pin_factory=factory) as pulse:
        pulse.pin.when_changed = keep = lambda ticks, state: edges.append(state)  # noqa: F841  held weakly
        world.set(17, 0)
        eventually(lambda: len(edges) == 1)
        for turn in range(200):
            world.ask(lambda level=turn % 2: world.server.set(17, 1 - level))
        eventually(lambda: len(edges) == 201)
    assert edges == [bool(i % 2) for i in range(201)]


def test_an_output_is_told_on_change_and_its_start_too(world, factory):
    with DigitalOutputDevice(5, initial_value=False, pin_factory=factory) as valve:
        eventually(lambda: world.told == [(5, 0)])
        valve.on()
        eventually(lambda: world.told == [(5, 0), (5, 1)])
        valve.on()
        valve.off()
        eventually(lambda: world.told == [(5, 0), (5, 1), (5, 0)])


def test_outputs_set_while_the_socket_was_away_are_told_after_it_returns(world, factory):
    with DigitalOutputDevice(5, pin_factory=factory) as valve:
        eventually(lambda: world.server.outputs == {5: 0})
        world.set(17, 1)
        world.ask(world.server.close)
        valve.on()
        assert factory.level_known(17)  # the last level stands
        world.ask(lambda: world.server.inputs.update({17: 0}))
        world.ask(world.server.open)
        eventually(lambda: world.server.outputs == {5: 1})
        eventually(lambda: factory._levels[17] is False)


def test_the_world_may_come_up_long_after_the_program(tmp_path, factory):
    time.sleep(0.2)
    world = World(tmp_path / "pins.sock")
    world.ask(lambda: world.server.inputs.update({4: 1}))
    world.ask(world.server.open)
    try:
        eventually(lambda: factory.level_known(4))
    finally:
        world.end()


def test_garbage_and_half_lines_change_nothing_and_cost_nobody_the_line(world, tmp_path):
    dice = random.Random(5)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(tmp_path / "pins.sock"))
        peer.sendall(b"hello\nout 5 2\nout -1 1\nout x 1\n\xff\xfe\nout 9999 1\nout 5\n" + b"z" * 100_000 + b"\n")
        peer.sendall(bytes(byte for byte in dice.randbytes(2000) if byte != 10) + b"\nou")
        time.sleep(0.05)
        peer.sendall(b"t 6 1\n")
        eventually(lambda: world.told == [(6, 1)])
        assert world.server.garbage >= 7


def test_garbage_from_the_world_changes_no_pin(tmp_path, factory):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "pins.sock"))
        listener.listen()
        peer, _ = listener.accept()
        with peer:
            peer.sendall(b"in 17 2\nin\nin 4 1 1\n\xff" + b"q" * 100_000 + b"\nin 5000 1\nin 2")
            time.sleep(0.05)
            peer.sendall(b"7 1\n")
            eventually(lambda: factory.level_known(27))
            assert set(factory._levels) == {27}


def test_two_programs_hear_the_same_inputs(world, tmp_path):
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        for peer in (one, two):
            peer.connect(str(tmp_path / "pins.sock"))
            peer.settimeout(WAIT_S)
        world.set(17, 1)
        time.sleep(0.05)
        assert one.recv(100) == two.recv(100) == b"in 17 1\n"
        two.close()
        world.set(17, 0)
        assert one.recv(100) == b"in 17 0\n"


def test_a_program_that_never_reads_is_let_go_and_hinders_no_other(world, tmp_path):
    with socket.socket(socket.AF_UNIX) as deaf, socket.socket(socket.AF_UNIX) as alive:
        deaf.connect(str(tmp_path / "pins.sock"))
        alive.connect(str(tmp_path / "pins.sock"))
        alive.settimeout(WAIT_S)
        eventually(lambda: len(world.server._clients) == 2)
        heard = 0

        def flip():
            for turn in range(2_000):
                world.server.set(17, turn % 2)

        for _ in range(100):
            world.ask(flip)
            wanted = heard + 2_000 * len(b"in 17 0\n")
            while heard < wanted:
                heard += len(alive.recv(65_536))
            if len(world.server._clients) == 1:
                break
        assert len(world.server._clients) == 1
