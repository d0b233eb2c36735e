"""The socket in the state folder through which `linli doctor` asks the running gateway; 0600, so only its user can.

One JSON object a line each way: {"ask": "status"} -> {"ok": ...} or {"error": "..."}. A request may take its time.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.contract import Json

SOCKET_NAME = "linli.sock"
_LINE_MAX = 65_536
_CLIENTS_MAX = 8

Answer = Callable[[Json], Awaitable[Json]]


class Control:
    """asks: {word: coroutine function}; each gets the request and returns what stands under "ok"."""

    def __init__(self, folder: Path, asks: dict[str, Answer]) -> None:
        self._path = folder / SOCKET_NAME
        self._asks = asks
        self._clients = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._client, path=str(self._path), limit=_LINE_MAX)
        self._path.chmod(0o600)

    async def close(self) -> None:
        if self._server:
            self._server.close()
        with contextlib.suppress(OSError):  # on a disk that is read-only by now it stays; the next start replaces it
            self._path.unlink(missing_ok=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            while self._clients <= _CLIENTS_MAX and (line := await reader.readline()):
                writer.write(json.dumps(await self._answer(line), ensure_ascii=False).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # gone, or a line longer than any request of ours
        finally:
            self._clients -= 1
            with contextlib.suppress(OSError):
                writer.close()

    async def _answer(self, line: bytes) -> Json:
        try:
            request = json.loads(line)
            ask = self._asks[request["ask"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"error": f'found {line[:80]!r}, expected {{"ask": one of {", ".join(self._asks)}}}'}
        try:
            return {"ok": await ask(request)}
        except (KeyError, ValueError) as error:
            return {"error": f"{error}"}


class NotRunning(Exception):
    """No gateway answers in this state folder."""


def ask(folder: Path, request: Json, timeout_s: float = 10.0) -> Json:
    """Ask the gateway that runs on this state folder. Raises NotRunning, ValueError with the gateway's own words."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(timeout_s)
        try:
            channel.connect(str(folder / SOCKET_NAME))
            channel.sendall(json.dumps(request).encode() + b"\n")
            with channel.makefile("rb") as stream:
                line = stream.readline(_LINE_MAX * 16)
        except OSError as error:
            raise NotRunning(f"{folder / SOCKET_NAME}: {error}") from None
    if not line.endswith(b"\n"):  # also in the middle of it: whether it was done nobody knows
        raise NotRunning(f"{folder / SOCKET_NAME}: the gateway hung up")
    try:
        answer = dict(json.loads(line))
        found: Json = {} if "error" in answer else dict(answer["ok"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NotRunning(f"{folder / SOCKET_NAME}: found {line[:80]!r}, expected an answer of a gateway") from None
    if "error" in answer:
        raise ValueError(answer["error"])
    return found
