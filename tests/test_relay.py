"""The line that can be slow, narrow, silent or cut, and the brokers behind it."""

import socket
import threading
import time
from pathlib import Path

import pytest

from simulator import broker
from simulator.broker import Broker, BrokerError
from simulator.relay import Relay


class Echo:
    """The far end: sends everything back."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                end, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(end,), daemon=True).start()

    def _echo(self, end):
        with end:
            try:
                while data := end.recv(65_536):
                    end.sendall(data)
            except OSError:
                pass

    def close(self):
        self._server.close()


@pytest.fixture
def echo():
    far = Echo()
    yield far
    far.close()


def call(port):
    end = socket.create_connection(("127.0.0.1", port), timeout=5)
    end.settimeout(5)
    return end


def exchange(end, data):
    """Seconds until `data` is back."""
    began = time.monotonic()
    threading.Thread(target=end.sendall, args=(data,), daemon=True).start()
    back = bytearray()
    while len(back) < len(data):
        part = end.recv(65_536)
        assert part, f"closed after {len(back)} of {len(data)} bytes"
        back += part
    assert back == data
    return time.monotonic() - began


def test_bytes_pass_unchanged_and_are_counted(echo):
    with Relay(echo.port) as line, call(line.port) as end:
        exchange(end, bytes(range(256)) * 4_000)
        assert (line.bytes_up, line.bytes_down, line.connections) == (1_024_000, 1_024_000, 1)


def test_the_delay_counts_each_way_and_does_not_stop_the_flow(echo):
    with Relay(echo.port, delay_s=0.1) as line, call(line.port) as end:
        took_s = exchange(end, b"x" * 100_000)
    assert 0.2 <= took_s < 1.0


def test_a_narrow_line_takes_its_time(echo):
    with Relay(echo.port, bytes_s=100_000) as line, call(line.port) as end:
        took_s = exchange(end, b"x" * 50_000)
    assert 0.5 <= took_s < 1.5


def test_all_connections_share_the_narrow_line(echo):
    with Relay(echo.port, bytes_s=100_000) as line, call(line.port) as one, call(line.port) as other:
        threading.Thread(target=other.sendall, args=(b"y" * 40_000,), daemon=True).start()
        time.sleep(0.05)
        assert exchange(one, b"x" * 10_000) > 0.2


def test_a_narrow_line_does_not_swallow_what_it_cannot_send(echo):
    with Relay(echo.port, bytes_s=10_000) as line, call(line.port) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        end.settimeout(0.3)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 2_000_000:
                sent += end.send(b"x" * 4_096)
        assert sent < 200_000


def test_a_cut_resets_what_is_open_and_what_comes_until_it_is_mended(echo):
    with Relay(echo.port) as line:
        with call(line.port) as end:
            exchange(end, b"before")
            line.cut()
            with pytest.raises(ConnectionResetError):
                end.recv(1)
        with pytest.raises(ConnectionResetError), call(line.port) as end:
            end.recv(1)
        line.mend()
        with call(line.port) as end:
            exchange(end, b"after")


def test_a_held_line_tells_nobody_and_goes_on_where_it_was(echo):
    with Relay(echo.port) as line, call(line.port) as end:
        line.hold()
        end.sendall(b"under way")
        end.settimeout(0.3)
        with pytest.raises(TimeoutError):
            end.recv(1)
        line.mend()
        end.settimeout(5)
        assert end.recv(100) == b"under way"


def test_an_end_is_passed_on(echo):
    with Relay(echo.port) as line, call(line.port) as end:
        end.sendall(b"last words")
        end.shutdown(socket.SHUT_WR)
        assert end.recv(100) == b"last words"
        assert end.recv(1) == b""


def test_nobody_behind_the_line_is_a_reset():
    with Relay(broker.free_port()) as line, pytest.raises(ConnectionResetError), call(line.port) as end:
        end.recv(1)


def test_a_taken_port_is_an_error_at_the_start(echo):
    with pytest.raises(OSError, match="in use"):
        Relay(1, port=echo.port).start()


@pytest.mark.parametrize("kind", [pytest.param("mosquitto", marks=pytest.mark.mosquitto), "embedded"])
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_broker_comes_back_on_its_port(tmp_path: Path, kind, end):
    with Broker(tmp_path, kind) as one:
        port = one.port
        getattr(one, end)()
        assert not one.running
        assert not broker.answers(port)
        one.start()
        assert (one.port, one.running) == (port, True)
    assert not broker.answers(port)


@pytest.mark.mosquitto
def test_a_taken_port_is_told_and_not_taken_for_the_broker(tmp_path, echo):
    with pytest.raises(BrokerError, match="did not take connections"):
        Broker(tmp_path, "mosquitto", port=echo.port).start()
