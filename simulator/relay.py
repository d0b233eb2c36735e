"""A TCP line between two programs that can be slow, narrow, silent or cut: the city's mobile link, on one machine."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable

_HOST = "127.0.0.1"
_CHUNK_MAX = 16_384
_CHUNKS_WAITING_MAX = 64
_NARROW_CHUNK_S = 0.05  # a narrow line passes pieces of 50 ms and holds four: its own buffer adds 0.2 s, not minutes
_NARROW_WAITING_MAX = 4
_WAIT_S = 5.0


class _Way:
    """One direction of the line, shared by all connections."""

    def __init__(self) -> None:
        self.free_s = 0.0  # when the line has sent what it was given so far
        self.bytes = 0


class Relay:
    """Listens on 127.0.0.1:`port` and passes every connection on to 127.0.0.1:`to_port`.

    delay_s: each way. bytes_s: of the line each way, None for no limit; both may be changed while it runs, for what
    is read from then on. Runs an event loop in a thread of its own; every method is for other threads.
    """

    def __init__(self, to_port: int, *, port: int = 0, delay_s: float = 0.0, bytes_s: float | None = None) -> None:
        self.to_port = to_port
        self.port = port
        self.delay_s = delay_s
        self.bytes_s = bytes_s
        self.connections = 0
        self._up, self._down = _Way(), _Way()
        self._is_cut = False
        self._open: set[asyncio.StreamWriter] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._server: asyncio.Server | None = None
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None

    @property
    def bytes_up(self) -> int:
        """Bytes handed to `to_port` so far."""
        return self._up.bytes

    @property
    def bytes_down(self) -> int:
        return self._down.bytes

    @property
    def url(self) -> str:
        return f"mqtt://{_HOST}:{self.port}"

    def start(self) -> "Relay":
        """Raises OSError when the port is taken."""
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.bytes_s is not None:  # else the kernel hides megabytes in front of a narrow line
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CHUNK_MAX)
        try:
            listening.bind((_HOST, self.port))
        except OSError:
            listening.close()
            raise
        self.port = listening.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relay", daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(listening), self._loop).result(_WAIT_S)
        return self

    def cut(self) -> None:
        """Every connection is reset, and so is every new one, until `mend`."""
        self._call(self._cut)

    def hold(self) -> None:
        """Nothing passes and nobody is told, as with a pulled cable; what waits goes on after `mend`."""
        self._call(self._passing.clear)

    def mend(self) -> None:
        self._call(self._mend)

    def stop(self) -> None:
        """Safe to call twice."""
        if self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(_WAIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_WAIT_S)
        self._thread = None
        self._loop.close()

    def __enter__(self) -> "Relay":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _call(self, deed: Callable[[], None]) -> None:
        async def do() -> None:
            deed()

        asyncio.run_coroutine_threadsafe(do(), self._loop).result(_WAIT_S)

    def _cut(self) -> None:
        self._is_cut = True
        self._reset(*self._open)

    def _mend(self) -> None:
        self._is_cut = False
        self._passing.set()

    async def _listen(self, listening: socket.socket) -> None:
        self._server = await asyncio.start_server(self._connected, sock=listening)

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        self._cut()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._join(reader, writer)
        except asyncio.CancelledError:
            pass  # `_close` ends it, and asyncio's server would print a traceback for a handler that says so

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            self._reset(writer)
            return
        self._open.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(_HOST, self.to_port)
        except OSError:
            self._reset(writer)
            return
        self._open.add(far_writer)
        self.connections += 1
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, far_writer, self._up))
                both.create_task(self._pass_on(far_reader, writer, self._down))
        except* OSError:
            self._reset(writer, far_writer)
        finally:
            for end in (writer, far_writer):
                self._open.discard(end)
                end.close()

    def _reset(self, *writers: asyncio.StreamWriter) -> None:
        for writer in writers:
            self._open.discard(writer)
            if not writer.transport.is_closing():
                end = writer.get_extra_info("socket")
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST instead of FIN
                writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: _Way) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(
            _CHUNKS_WAITING_MAX if self.bytes_s is None else _NARROW_WAITING_MAX
        )
        async with asyncio.TaskGroup() as both:
            both.create_task(self._send(waiting, writer, way))
            data = b"first"
            while data:
                data = await reader.read(self._chunk())
                await waiting.put((self._due_s(way, len(data)), data))

    def _chunk(self) -> int:
        return _CHUNK_MAX if self.bytes_s is None else min(_CHUNK_MAX, max(64, int(self.bytes_s * _NARROW_CHUNK_S)))

    def _due_s(self, way: _Way, count: int) -> float:
        now_s = self._loop.time()
        if self.bytes_s is not None:
            way.free_s = max(now_s, way.free_s) + count / self.bytes_s
            now_s = way.free_s
        return now_s + self.delay_s

    async def _send(self, waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter, way: _Way) -> None:
        while True:
            due_s, data = await waiting.get()
            await asyncio.sleep(max(0.0, due_s - self._loop.time()))
            await self._passing.wait()
            if not data:
                writer.write_eof()
                return
            way.bytes += len(data)
            writer.write(data)
            await writer.drain()
