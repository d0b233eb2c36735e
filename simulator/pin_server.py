"""The pins' other end: a socket where the simulated world sets inputs and hears what the gateway's outputs do."""

import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path

LINE_MAX_BYTES = 64
CLIENTS_MAX = 8
PATH_MAX_BYTES = 107  # of a Unix socket's address
UNSENT_MAX_BYTES = 65_536  # a client that reads nothing for so long is dropped; it gets all levels when it returns


class PinServer:
    """Serves DIR/pins.sock on a selector whose keys' data are callbacks without arguments.

    inputs: gpio -> level as the world has it; every client hears all of them at connecting, then each change.
    outputs: gpio -> level as clients last told; `on_output(gpio, level)` is called at each change.
    garbage: lines nobody understood. Raises OSError for a path no socket can have.
    """

    def __init__(self, path: Path, selector: selectors.BaseSelector, on_output: Callable[[int, int], None]) -> None:
        if len(os.fsencode(path)) > PATH_MAX_BYTES:
            raise OSError(f"{path}: found a path longer than {PATH_MAX_BYTES} bytes, which no socket can have")
        self.inputs: dict[int, int] = {}
        self.outputs: dict[int, int] = {}
        self.garbage = 0
        self._path = path
        self._selector = selector
        self._on_output = on_output
        self._listener: socket.socket | None = None
        self._clients: dict[socket.socket, tuple[bytearray, bytearray]] = {}  # received, unsent

    def open(self) -> None:
        """Listen (again), in the place of a socket file that a dead simulator left behind. Raises OSError."""
        if self._listener:
            return
        listener = socket.socket(socket.AF_UNIX)
        listener.setblocking(False)
        self._path.unlink(missing_ok=True)
        listener.bind(str(self._path))
        listener.listen(CLIENTS_MAX)
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Gone, for clients and for the file system; what was learnt stays."""
        if self._listener:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)
        for client in list(self._clients):
            self._drop(client)

    def set(self, gpio: int, level: int) -> None:
        """The world changes an input; everyone connected hears it."""
        if self.inputs.get(gpio) != level:
            self.inputs[gpio] = level
            for client in list(self._clients):
                self._tell(client, f"in {gpio} {level}\n")

    def _accept(self) -> None:
        assert self._listener
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # gone before we looked
        if len(self._clients) >= CLIENTS_MAX:
            client.close()
            return
        client.setblocking(False)
        self._clients[client] = (bytearray(), bytearray())
        self._selector.register(client, selectors.EVENT_READ, lambda: self._serve(client))
        self._tell(client, "".join(f"in {gpio} {level}\n" for gpio, level in sorted(self.inputs.items())))

    def _serve(self, client: socket.socket) -> None:
        """Readable, or room to send again."""
        self._flush(client)
        if client not in self._clients:
            return
        try:
            data = client.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        received = self._clients[client][0]
        received += data
        *lines, rest = bytes(received).split(b"\n")
        received[:] = rest[:LINE_MAX_BYTES]
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        match line.split():
            case [b"hello"]:
                pass  # a greeting; all inputs were sent at connecting
            case [b"out", gpio, (b"0" | b"1") as level] if gpio.isdigit() and len(gpio) <= 3:
                if self.outputs.get(int(gpio)) != int(level):
                    self.outputs[int(gpio)] = int(level)
                    self._on_output(int(gpio), int(level))
            case _:
                self.garbage += 1

    def _tell(self, client: socket.socket, text: str) -> None:
        unsent = self._clients[client][1]
        unsent += text.encode()
        self._flush(client)

    def _flush(self, client: socket.socket) -> None:
        unsent = self._clients[client][1]
        try:
            while unsent:
                del unsent[: client.send(unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        if len(unsent) > UNSENT_MAX_BYTES:
            self._drop(client)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if unsent else 0)
        if self._selector.get_key(client).events != wanted:
            self._selector.modify(client, wanted, self._selector.get_key(client).data)

    def _drop(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        self._clients.pop(client)
        client.close()
