"""Carries packs to the city: one connection after the other, as long as the gateway runs.

`Uplink` is the work, as a generator that rests where it yields; `UplinkThread` is the one thread that turns it. That
thread owns the wire, the messages under way and a read-only database connection, and whatever comes from the broker is
heard in it, so there is no lock. A connection has a wire of its own, which is handed at most the window, so the store
stays the only queue.
"""

import logging
import random
import select
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterator

from gateway.commands import Delivery
from gateway.link import Backoff, Identity, Link, State, Wake
from gateway.pending import Confirm
from gateway.reader import Reader
from gateway.schema import is_corrupt
from gateway.session import Session, Shared
from gateway.storage import Broken
from gateway.wire import OpenWire, PahoWire, Wire

__all__ = ["Identity", "Link", "State", "Uplink", "UplinkThread"]

log = logging.getLogger(__name__)


class Uplink:
    """on_confirm hands what the storage has to note to the storage; it must only queue.

    Whoever inherits turns `turns`, and comes back early when `_ring` is called, from any thread.
    """

    def __init__(
        self,
        link: Link,
        identity: Identity,
        open_reader: Callable[[], Reader],
        mono_s: Callable[[], float],
        dice: random.Random,
        on_confirm: Callable[[Confirm | Broken], None],
        open_wire: OpenWire = PahoWire,
    ) -> None:
        self._shared = Shared(link, identity, open_reader, open_wire, mono_s, dice, on_confirm)
        self._mono_s = mono_s
        self.wire: Wire | None = None  # of the connection there is
        self.fault: BaseException | None = None

    @property
    def state(self) -> State:
        return self._shared.state

    @property
    def alive_s(self) -> float:
        return self._shared.alive_s

    # -- from the loop and the storage ------------------------------------------------------------------------------

    def stored(self, heads: dict[str, int], generation: int) -> None:
        """There is more to send; a new generation is a new database file."""
        self._shared.heads, self._shared.generation = heads, generation
        self._ring()

    def retain(self, topic: str, payload: bytes) -> None:
        """The latest `meta` or `state`: only the newest is sent, again after each connect."""
        self._shared.retained[topic] = payload
        self._ring()

    def obey(self, on_command: Callable[[Delivery], None]) -> None:
        """Before `start`. on_command must only queue, and each command that it is given be answered once."""
        self._shared.on_command = on_command

    def answer(self, result: bytes | None) -> None:
        """What became of a command; None when there is nobody to answer."""
        self._shared.results.append(result)
        self._ring()

    def send_again(self, epoch: str, stream: str, ranges: list[tuple[int, int]]) -> None:
        """Packs of the epoch in force, up to its head."""
        self._shared.again.append((epoch, stream, ranges))
        self._ring()

    def start(self) -> None:
        raise NotImplementedError

    def close(self, timeout_s: float) -> bool:
        """`end`, and wait for it. False when it took too long, and there was somebody to say goodbye to."""
        raise NotImplementedError

    def end(self) -> None:
        """Publish what is stored, if the broker takes it in time, and `status` offline with the heads."""
        self._shared.closing = True
        self._ring()

    def _ring(self) -> None:
        raise NotImplementedError

    # -- the work ----------------------------------------------------------------------------------------------------

    def turns(self) -> Iterator[float]:
        """One connection after the other until `end`. Each value: seconds to rest at most."""
        shared = self._shared
        backoff = Backoff(shared.dice)
        while not shared.closing:
            lasted_s, wait_s = yield from self._connection()
            shared.state.connected, shared.state.behind = False, True
            until_s = self._mono_s() + backoff.after(lasted_s, wait_s)
            while not shared.closing and (left_s := until_s - self._mono_s()) > 0:
                shared.alive_s = self._mono_s()
                yield min(left_s, 1.0)

    def _connection(self) -> Generator[float, None, tuple[float, float]]:
        """One connection from its opening to its end: how long it was up, how long to wait now (0: as usual)."""
        shared = self._shared
        session = None
        generation = shared.generation
        try:
            session = Session(shared, generation)
            self.wire = session.wire
            yield from session.serve()
        except (OSError, ValueError, sqlite3.Error) as error:
            shared.state.say("link", f"{type(error).__name__}: {error}")
            if isinstance(error, sqlite3.DatabaseError) and is_corrupt(error):
                shared.on_confirm(Broken(generation, str(error)))
        except Exception as error:
            log.exception("what the broker sent cannot be read")  # paho raises what it likes on bytes it did not expect
            shared.state.say("link", f"what the broker sent cannot be read: {error!r}; is it an MQTT broker?")
        finally:
            self.wire = None
            if session:
                session.close()
        if session is None:
            return 0.0, 0.0
        if session.reached:
            shared.versions.learn(answered=session.answered, unsupported=session.unsupported)
        return session.lasted_s, session.wait_s


class UplinkThread(Uplink):
    """The turns, by a thread of their own."""

    _wake: Wake | None = None
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._wake = Wake()
        self._thread = threading.Thread(target=self._run, args=[self._wake], name="uplink", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float) -> bool:
        self.end()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not (self._thread.is_alive() and self.state.connected)  # a connect that hangs has nothing to say

    def _ring(self) -> None:
        if self._wake:
            self._wake.ring()

    def _run(self, wake: Wake) -> None:
        try:
            for rest_s in self.turns():
                if self.wire:
                    self.wire.rest(wake.fd, rest_s)
                else:
                    select.select([wake.fd], [], [], rest_s)
                wake.clear()
        except BaseException as error:
            self.fault = error
            log.exception("the uplink thread ended")
