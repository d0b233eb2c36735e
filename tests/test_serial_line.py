"""A serial port that appears late, is taken, is unplugged and comes back; shown on pseudo-terminals."""

import errno
import fcntl
import os
import select
import subprocess
import sys
import termios
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers import serial_line
from drivers.reading import DriverError
from drivers.serial_line import SerialLine
from tests.line_world import Clock

SPEED = "115200 8N1"


class Socket:
    """A place where an adapter is plugged in: a link to a pseudo-terminal, as udev would make it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._master = -1

    def plug(self) -> None:
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.path.symlink_to(os.ttyname(slave))
        os.close(slave)

    def unplug(self) -> None:
        self.path.unlink()
        os.close(self._master)
        self._master = -1

    def say(self, data: bytes) -> None:
        os.write(self._master, data)

    def heard(self) -> bytes:
        ready, _, _ = select.select([self._master], [], [], 1.0)
        return os.read(self._master, 1000) if ready else b""

    def close(self) -> None:
        if self._master >= 0:
            self.unplug()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Socket]:
    made = Socket(tmp_path / "n1")
    yield made
    made.close()


@pytest.fixture
def line(socket: Socket, clock: Clock) -> Iterator[SerialLine]:
    made = SerialLine(lambda: socket.path, SPEED, clock.mono_s)
    yield made
    made.close()


def heard(line: SerialLine, wait_s: float = 1.0) -> bytes | None:
    select.select([line.fd], [], [], wait_s)
    return line.read(1000)


def test_bytes_go_both_ways_whatever_they_are(socket: Socket, line: SerialLine) -> None:
    socket.plug()
    assert line.open() and line.open()
    every_byte = bytes(range(256))
    socket.say(every_byte)
    assert heard(line) == every_byte
    assert line.write(every_byte) == 256
    assert socket.heard() == every_byte


def test_a_silent_line_is_not_a_lost_one(socket: Socket, line: SerialLine) -> None:
    socket.plug()
    line.open()
    assert line.read(1000) == b""
    assert line.fd >= 0 and line.error == ""


def test_a_line_that_takes_no_more_says_how_much_it_took_and_closes_at_once(socket: Socket, line: SerialLine) -> None:
    socket.plug()
    line.open()
    taken = 0
    while (written := line.write(b"x" * 4096)) > 0:
        taken += written
        assert taken < 10_000_000
    assert written == 0 and line.fd >= 0
    line.close()
    assert line.fd == -1


def test_a_port_that_appears_late_is_opened_then(socket: Socket, line: SerialLine, clock: Clock) -> None:
    assert not line.open()
    assert str(socket.path) in line.error and "no such port" in line.error and "plug the adapter" in line.error
    socket.plug()
    assert line.open()
    assert line.error == "" and line.fd >= 0


def test_tries_grow_rarer_up_to_two_seconds_and_a_byte_makes_them_quick_again(
    socket: Socket, line: SerialLine, clock: Clock
) -> None:
    waits = []
    for _ in range(7):
        line.open()
        waits.append(round(line.next_try_s - clock.s, 3))
        clock.s = line.next_try_s
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    socket.plug()
    line.open()
    socket.unplug()
    assert heard(line) is None
    assert line.next_try_s - clock.s == pytest.approx(2.0), "it opened, yet never spoke"
    socket.plug()
    line.open()
    socket.say(b"x")
    heard(line)
    socket.unplug()
    heard(line)
    assert line.next_try_s - clock.s == pytest.approx(0.1)


def test_an_unplugged_line_is_seen_and_comes_back_under_the_same_link_again_and_again(
    socket: Socket, line: SerialLine
) -> None:
    opened_before = set(os.listdir("/proc/self/fd"))
    for round_ in range(5):
        socket.plug()
        assert line.open(), line.error
        socket.say(b"round %d" % round_)
        assert heard(line) == b"round %d" % round_
        socket.unplug()
        assert heard(line) is None
        assert (line.fd, line.read(10)) == (-1, None)
        assert "gone" in line.error and "plug and the cable" in line.error
    assert len(os.listdir("/proc/self/fd")) == len(opened_before), "a file descriptor leaks at each unplug"


def test_writing_to_a_vanished_port_tells_the_loss_and_raises_nothing(socket: Socket, line: SerialLine) -> None:
    socket.plug()
    line.open()
    socket.unplug()
    assert line.write(b"hello") == -1
    assert line.fd == -1 and "gone" in line.error
    assert line.write(b"hello") == -1


def test_a_port_is_never_shared_and_its_holder_is_named(socket: Socket, line: SerialLine, clock: Clock) -> None:
    socket.plug()
    hold = "import sys, serial; port = serial.Serial(sys.argv[1], exclusive=True); print(flush=True); input()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(socket.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout and holder.stdout.readline() == b"\n"
        assert not line.open()
        assert f"(pid {holder.pid})" in line.error and "python" in line.error and "stop that program" in line.error
    finally:
        holder.communicate(b"\n", timeout=10)
    assert line.open(), line.error


def test_a_second_line_on_the_same_port_is_refused_and_the_first_goes_on(
    socket: Socket, line: SerialLine, clock: Clock
) -> None:
    socket.plug()
    assert line.open()
    second = SerialLine(lambda: socket.path, SPEED, clock.mono_s)
    assert not second.open()
    assert f"(pid {os.getpid()})" in second.error
    socket.say(b"still here")
    assert heard(line) == b"still here"


def test_while_the_cause_stays_the_holder_is_looked_for_once(
    socket: Socket, line: SerialLine, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look through all processes takes milliseconds of the loop that drives the alarms."""
    looked: list[Path] = []
    monkeypatch.setattr(serial_line, "_holder", lambda path: looked.append(path) or "somebody")
    socket.plug()
    line.open()
    second = SerialLine(lambda: socket.path, SPEED, clock.mono_s)
    assert [second.open() for _ in range(5)] == [False] * 5
    assert len(looked) == 1 and "somebody" in second.error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EACCES, "Permission denied"), "dialout"),
        (OSError(errno.EBUSY, "Device or resource busy"), "expected it free"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (termios.error(22, "Invalid argument"), "Invalid argument"),
        (TypeError("an integer is required"), "an integer is required"),
    ],
)
def test_whatever_a_port_raises_ends_in_words_for_the_installer(
    socket: Socket, line: SerialLine, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    socket.plug()

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(serial_line.serial, "Serial", refuse)
    assert not line.open()
    assert told in line.error and "expected" in line.error


def test_a_file_that_is_no_serial_port_is_refused_in_words(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "notes.txt").write_text("no port")
    line = SerialLine(lambda: tmp_path / "notes.txt", SPEED, clock.mono_s)
    assert not line.open()
    assert "expected a serial port" in line.error and line.fd == -1


def test_a_place_that_cannot_be_found_is_told_and_tried_again(tmp_path: Path, clock: Clock) -> None:
    answers: list[Path | DriverError] = [tmp_path, DriverError("found usb:9, expected a socket"), tmp_path / "gone"]

    def find() -> Path:
        answer = answers.pop(0)
        if isinstance(answer, DriverError):
            raise answer
        return answer

    line = SerialLine(find, SPEED, clock.mono_s)
    assert not line.open() and line.error == "found usb:9, expected a socket"
    assert not line.open() and "no such port" in line.error


def test_speed_and_stop_bits_are_set_as_the_site_file_says(socket: Socket, clock: Clock) -> None:
    socket.plug()
    line = SerialLine(lambda: socket.path, "9600 7E2", clock.mono_s)
    assert line.open()
    _, _, control, _, speed, _, _ = termios.tcgetattr(line.fd)
    assert speed == termios.B9600
    assert control & termios.CSTOPB  # parity and 7 bits do not exist on a pseudo-terminal
    assert fcntl.fcntl(line.fd, fcntl.F_GETFL) & os.O_NONBLOCK
    line.close()
