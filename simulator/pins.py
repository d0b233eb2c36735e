"""gpiozero's pins over a socket: the gateway's side. The simulator's side is pin_server.py.

Loaded by gpiozero itself through the entry point `linli-socket`, so that the gateway starts unchanged.
Lines of text: `in <gpio> <0|1>` comes, `out <gpio> <0|1>` and `hello` go. LINLI_PINS says where the socket is.
"""

import os
import socket
import threading

from gpiozero.exc import BadPinFactory
from gpiozero.pins.mock import MockFactory, MockPin

BACK_OFF_S = (0.05, 1.0)  # first and longest wait before the next try to connect
LINE_MAX_BYTES = 64


class SocketPin(MockPin):
    """A mock pin whose level comes from the socket and stands above its pull resistor."""

    def __init__(self, factory: "SocketFactory", info: object) -> None:
        super().__init__(factory, info)
        factory.adopt(self, self._number)

    def _set_pull(self, value: str) -> None:
        super()._set_pull(value)
        self._factory.settle(self, self._number)

    def _set_state(self, value: float) -> None:
        super()._set_state(value)
        self._factory.report(self._number, int(bool(value)))

    def _change_state(self, value: bool) -> bool:
        # The parent keeps every state it ever had, for assertions; a demo of a week must not.
        if self._state == value:
            return False
        self._state, self._last_change = value, self._factory.ticks()
        return True

    def drive(self, level: bool) -> None:
        """The world sets the level. A pin that the program made an output drives itself."""
        if self._function == "input":
            self.drive_high() if level else self.drive_low()


class SocketFactory(MockFactory):
    """Raises BadPinFactory when LINLI_PINS is not set. While the socket is away the last levels stand."""

    def __init__(self) -> None:
        path = os.environ.get("LINLI_PINS")
        if not path:
            raise BadPinFactory(
                "LINLI_PINS is not set; the factory linli-socket expects in it the path of the "
                "simulator's pins.sock. Set it, or take another GPIOZERO_PIN_FACTORY."
            )
        super().__init__(pin_class=SocketPin)
        self._path = path
        self._levels: dict[int, bool] = {}
        self._adopted: dict[int, SocketPin] = {}
        self._outputs: dict[int, int] = {}
        self._lock = threading.Lock()  # for _socket and _outputs; never held while waiting
        self._socket: socket.socket | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="linli-pins", daemon=True)
        self._thread.start()

    def level_known(self, gpio: int) -> bool:
        """Whether the world has said this pin's level yet; before that its value is only its pull."""
        return gpio in self._levels

    def adopt(self, pin: SocketPin, gpio: int) -> None:
        self._adopted[gpio] = pin
        self.settle(pin, gpio)

    def settle(self, pin: SocketPin, gpio: int) -> None:
        """Give the pin the level it has; again when the other thread learnt a newer one meanwhile."""
        level = None
        while level != self._levels.get(gpio):
            level = self._levels[gpio]
            pin.drive(level)

    def report(self, gpio: int, level: int) -> None:
        """An output was set: tell it on change. Never waits: what does not go out goes out after a reconnect."""
        with self._lock:
            if self._outputs.get(gpio) == level:
                return
            self._outputs[gpio] = level
            if self._socket:
                self._send(self._socket, f"out {gpio} {level}\n")

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            if self._socket:
                self._drop(self._socket)
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=2.0)
        super().close()

    def _run(self) -> None:
        wait_s = 0.0
        while not self._closing.wait(wait_s):
            try:
                with socket.socket(socket.AF_UNIX) as peer:
                    peer.connect(self._path)
                    wait_s = 0.0
                    self._serve(peer)
            except OSError:
                pass  # no socket there yet, or gone again: the simulator is not up, which is no fault of ours
            wait_s = min(max(wait_s * 2, BACK_OFF_S[0]), BACK_OFF_S[1])

    def _serve(self, peer: socket.socket) -> None:
        with self._lock:
            told = "".join(f"out {gpio} {level}\n" for gpio, level in sorted(self._outputs.items()))
            self._socket = peer
            self._send(peer, "hello\n" + told)
        rest = b""
        try:
            while not self._closing.is_set() and (data := peer.recv(4096)):
                *lines, rest = (rest + data).split(b"\n")
                rest = rest[:LINE_MAX_BYTES]
                for line in lines:
                    self._take(line)
        finally:
            with self._lock:
                self._socket = None

    def _take(self, line: bytes) -> None:
        match line.split():
            case [b"in", gpio, (b"0" | b"1") as level] if gpio.isdigit() and len(gpio) <= 3:
                number = int(gpio)
                self._levels[number] = level == b"1"
                if pin := self._adopted.get(number):
                    pin.drive(level == b"1")

    def _send(self, peer: socket.socket, text: str) -> None:
        data = text.encode()
        try:
            sent = peer.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except OSError:
            sent = 0
        if sent < len(data):
            self._drop(peer)

    @staticmethod
    def _drop(peer: socket.socket) -> None:
        """Wake the reading thread with an end of file; it connects again and tells every output anew."""
        try:
            peer.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
