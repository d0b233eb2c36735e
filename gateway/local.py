"""The pins of this box on the loop: contacts in, outputs out."""

import asyncio
import logging
from collections.abc import Callable

from drivers.contacts import Contact
from drivers.outputs import Output
from drivers.pins import DigitalIn
from drivers.pulses import PulseMeter
from drivers.reading import Fact, Reading

log = logging.getLogger(__name__)

REREAD_S = 60.0


class Local:
    """contacts, meters: {gpio: (pin, what is on it)}. take: what the loop does with facts. counted: a meter's count."""

    def __init__(
        self,
        contacts: dict[int, tuple[DigitalIn, Contact]],
        outputs: dict[str, Output],
        loop: asyncio.AbstractEventLoop,
        take: Callable[[list[Fact]], None],
        mono_s: Callable[[], float],
        meters: dict[int, tuple[DigitalIn, PulseMeter]] | None = None,
        counted: Callable[[PulseMeter], None] = lambda meter: None,
    ) -> None:
        self._contacts: dict[int, tuple[DigitalIn, Contact | PulseMeter]] = {**contacts, **(meters or {})}
        self._counted = counted
        self.outputs = outputs
        self._loop = loop
        self._take = take
        self._mono_s = mono_s
        self._reread_s = 0.0

    def start(self) -> None:
        for pin, _ in self._contacts.values():
            pin.when_edge(self._edge)

    def _edge(self, gpio: int, level: bool, mono_s: float) -> None:
        """In gpiozero's thread: only queues."""
        self._loop.call_soon_threadsafe(self._on_edge, gpio, level, mono_s)

    def _on_edge(self, gpio: int, level: bool, mono_s: float) -> None:
        contact = self._contacts[gpio][1]
        contact.edge(level, mono_s)
        self._loop.call_soon(self._settle, contact)  # after the edges that wait already: a bounce comes back at once

    def _settle(self, contact: Contact | PulseMeter) -> None:
        """Take what is settled now, and come back when the debounce has run out."""
        now_s = self._mono_s()
        found: list[Reading] = contact.tick(now_s)
        if found:
            self._take(list(found))
        if found and isinstance(contact, PulseMeter):
            self._counted(contact)
        if (due_s := contact.due_s) is not None:
            self._loop.call_later(max(0.0, due_s - now_s), self._settle, contact)

    def tick(self, now_s: float) -> None:
        """Edges can be lost: every level is read again each minute, and as soon as a pin is known at all."""
        again = now_s - self._reread_s >= REREAD_S
        if again:
            self._reread_s = now_s
        for pin, contact in self._contacts.values():
            if pin.known and (again or not contact.known):
                contact.level(pin.level, now_s)
                self._settle(contact)
            elif isinstance(contact, PulseMeter):
                self._settle(contact)  # its flow falls while nothing comes

    def stop(self) -> None:
        """One stuck output does not keep the others from their state at the end."""
        for name, output in self.outputs.items():
            try:
                output.stop()
            except OSError as error:
                log.error("output %s could not be left as at_stop says: %s", name, error)

    def close(self) -> None:
        for pin, _ in self._contacts.values():
            pin.close()
        for output in self.outputs.values():
            output.close()
