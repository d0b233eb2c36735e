"""An asyncio loop on a clock of its own: it never waits, time jumps to what comes next.

Everything on it runs in one thread in an order that only depends on what was scheduled, so a night replays exactly.
`Process` is the loop as one program sees it: when the program dies, nothing that it scheduled runs any more.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from heapq import heappop, heappush
from typing import Any

Callback = Callable[..., object]
TURN_S = 1e-6  # time passes while things are done, else a wait that rounds to nothing would never end
TOGETHER_S = 1e-9  # what is due within it runs in the same turn; asyncio takes the resolution of its clock


class NothingLeft(Exception):
    """Somebody waits for what nobody will do."""


class Timer(float):
    """What runs at a moment: a float, so that the heap compares it without a line of Python. asyncio's handle, too."""

    __slots__ = ("args", "callback")
    args: tuple[Any, ...]
    callback: Callback | None

    def cancel(self) -> None:
        self.callback, self.args = None, ()

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return float(self)


class VirtualLoop(asyncio.BaseEventLoop):
    """now_s: virtual seconds, from 0. errors: what callbacks raised; nothing is printed.

    It turns as BaseEventLoop does, in the same order, without what only a real loop needs: a selector, a lock, a debug
    mode, and a copy of the context for each callback.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._timers: list[Timer] = []
        self._soon: deque[Timer] = deque()
        self.errors: list[str] = []
        self.set_exception_handler(self._raised)

    def time(self) -> float:
        return self.now_s

    def call_soon(self, callback: Callback, *args: Any, context: Context | None = None) -> Timer:  # type: ignore[override]
        timer = Timer()
        timer.callback, timer.args = (context.run, (callback, *args)) if context else (callback, args)
        self._soon.append(timer)
        return timer

    def call_at(self, when: float, callback: Callback, *args: Any, context: Context | None = None) -> Timer:  # type: ignore[override]
        timer = Timer(when)
        timer.callback, timer.args = (context.run, (callback, *args)) if context else (callback, args)
        heappush(self._timers, timer)
        return timer

    def call_later(self, delay: float, callback: Callback, *args: Any, context: Context | None = None) -> Timer:  # type: ignore[override]
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        timers, soon = self._timers, self._soon
        while timers and timers[0].callback is None:
            heappop(timers)
        self.now_s += TURN_S
        if not soon:
            if not timers:
                raise NothingLeft("every callback has run and somebody still waits")
            if timers[0] > self.now_s:
                self.now_s = float(timers[0])
        until_s = self.now_s + TOGETHER_S
        while timers and timers[0] < until_s:
            soon.append(heappop(timers))
        for _ in range(len(soon)):
            timer = soon.popleft()
            if timer.callback is None:
                continue
            try:
                timer.callback(*timer.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 -- as asyncio does it: a night goes on and tells it
                self._raised(self, {"message": f"Exception in callback {timer.callback!r}", "exception": error})

    def close(self) -> None:
        self._timers.clear()
        self._soon.clear()
        super().close()

    def _raised(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        where = error.__traceback__ if isinstance(error, BaseException) else None
        while where and where.tb_next:
            where = where.tb_next
        at = f" at {where.tb_frame.f_code.co_filename.rpartition('/')[2]}:{where.tb_lineno}" if where else ""
        self.errors.append(f"{context.get('message')}: {error!r}{at}")


class Files:
    """What the kernel knows of this program's lines: who waits for which file descriptor."""

    def __init__(self) -> None:
        self.readers: dict[int, Callback] = {}
        self.writers: dict[int, Callback] = {}


class Process:
    """The part of an event loop that a gateway uses, until `die`. threadsafe_delay_s: until another thread is heard."""

    def __init__(
        self, loop: VirtualLoop, threadsafe_delay_s: Callable[[], float] = lambda: 0.0, rest_s: float = 0.0
    ) -> None:
        """rest_s: how long, at least, whoever has nothing to do rests, where half a second or more was asked for."""
        self._loop = loop
        self._delay_s = threadsafe_delay_s
        self._rest_s = rest_s
        self._inbox: deque[tuple[Callback, tuple[object, ...]]] = deque()  # from other threads, in their order
        self._heard_s = 0.0  # when the last of it is heard
        self.alive = True
        self.files = Files()
        self.shortest_wait_s = 0.0
        self.before_each: Callable[[], None] = lambda: None  # called before each callback

    def die(self) -> None:
        self.alive = False
        self.files = Files()

    def time(self) -> float:
        return self._loop.now_s

    def _run(self, callback: Callback, *args: object) -> None:
        if self.alive:
            self.before_each()
            callback(*args)

    def call_soon(self, callback: Callback, *args: object) -> Timer:
        return self._loop.call_soon(self._run, callback, *args)

    def call_later(self, delay_s: float, callback: Callback, *args: object) -> Timer:
        if delay_s < self.shortest_wait_s:
            self.shortest_wait_s = delay_s
        return self._loop.call_later(delay_s, self._run, callback, *args)

    def rested(self, rest_s: float) -> float:
        return max(rest_s, self._rest_s) if rest_s >= 0.5 else rest_s

    def call_soon_threadsafe(self, callback: Callback, *args: object) -> Timer:
        self._heard_s = max(self._heard_s, self._loop.now_s + self._delay_s())
        self._inbox.append((callback, args))
        return self._loop.call_at(self._heard_s, self._hear)

    def _hear(self) -> None:
        callback, args = self._inbox.popleft()
        self._run(callback, *args)

    async def run_in_executor(self, _: None, function: Callable[..., Any], *args: object) -> Any:
        """A thread that waits is here a function that gives what to wait for."""
        return await function(*args)

    def add_reader(self, fd: int, callback: Callback) -> None:
        self.files.readers[fd] = callback
        self._loop.call_soon(self.readable, fd)

    def remove_reader(self, fd: int) -> bool:
        return self.files.readers.pop(fd, None) is not None

    def add_writer(self, fd: int, callback: Callback) -> None:
        self.files.writers[fd] = callback

    def remove_writer(self, fd: int) -> bool:
        return self.files.writers.pop(fd, None) is not None

    def readable(self, fd: int) -> None:
        if reader := self.files.readers.get(fd):
            reader()

    def writable(self, fd: int) -> None:
        if writer := self.files.writers.get(fd):
            writer()
